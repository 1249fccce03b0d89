//! Boards that show themselves as disks: mounted, registered, unmounted, gone; and disks that do it wrong.
//!
//! The daemon has mounts of its own (root). Needs the peer leshan: `make peers`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use world::{Daemon, Leshan, World, eventually, holds, world};

/// Ten times what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

const UF2: &str = "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n";
const DAPLINK: &str = "# DAPLink Firmware - see https://mbed.com/daplink\r\n\
    Unique ID: 9904360254734e45001f800c00000030000000009796990b\r\nHIC ID: 9796990b\r\nDaplink Mode: Interface\r\n\
    Interface Version: 0255\r\nBootloader Version: 0255\r\nUSB Interfaces: MSD, CDC, HID, WebUSB\r\n";

/// A folder of the test's own in which disks come and go.
fn media(world: &World) -> PathBuf {
    let media = world.home().join("media");
    fs::create_dir_all(&media).expect("made");
    media
}

fn daemon(world: &World, media: &Path, own_mounts: bool) -> Daemon {
    let (factory, _) = Leshan::pair();
    let paths = format!("[disk]\nenabled = true\npaths = [\"{}/*\"]", media.display());
    let daemon = world.daemon().server("factory", &factory.uri(), 123, "lifetime = \"30s\"").toml(&paths);
    if own_mounts { daemon.own_mounts().start() } else { daemon.start() }
}

fn link(protocol: &str, place: &Path) -> String {
    format!("discovered:disk/{protocol}/{}", place.display())
}

fn why(daemon: &Daemon, link: &str) -> String {
    daemon.cli(&["why", link]).output
}

/// The device's name, which is its endpoint name too.
fn endpoint_of(daemon: &Daemon, link: &str) -> String {
    eventually("the disk's device", PATIENCE, || {
        daemon.cli(&["why", link, "--json"]).json()["subject"]["device"].as_str().map(str::to_owned)
    })
}

fn is_listed(daemon: &Daemon, text: &str) -> bool {
    daemon.cli(&["devices"]).output.contains(text)
}

/// Whether mounts of its own can be had; only root can.
fn mounts_work() -> bool {
    let possible = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !possible {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "unshare -m does not work here, and in CI it must");
    }
    possible
}

#[test]
fn a_disk_that_is_mounted_is_registered_with_its_facts_and_leaves_when_it_is_unmounted() {
    if !mounts_work() {
        return eprintln!("not run: unshare -m does not work here (it needs root)");
    }
    let world = world!();
    let media = media(&world);
    let (rp2, microbit) = (media.join("RPI-RP2"), media.join("MICROBIT"));
    for (place, name, text) in [(&rp2, "INFO_UF2.TXT", UF2), (&microbit, "DETAILS.TXT", DAPLINK)] {
        fs::create_dir(place).expect("made");
        fs::write(media.join(format!("of-{name}")), text).expect("written");
    }
    let mut daemon = daemon(&world, &media, true);
    let mount = |daemon: &mut Daemon, place: &Path, file: &str| {
        let (place, of) = (place.to_str().expect("UTF-8"), media.join(format!("of-{file}")));
        daemon.among_mounts(&["mount", "-t", "tmpfs", "board", place]);
        daemon.among_mounts(&["cp", of.to_str().expect("UTF-8"), &format!("{place}/{file}")]);
    };
    let unmount = |daemon: &mut Daemon, place: &Path| {
        daemon.among_mounts(&["umount", place.to_str().expect("UTF-8")]);
    };
    mount(&mut daemon, &rp2, "INFO_UF2.TXT");
    mount(&mut daemon, &microbit, "DETAILS.TXT");
    let server = &Leshan::pair().0;
    let (rp2_link, microbit_link) = (link("uf2", &rp2), link("daplink", &microbit));
    let (rp2_endpoint, microbit_endpoint) = (endpoint_of(&daemon, &rp2_link), endpoint_of(&daemon, &microbit_link));
    server.await_client(&rp2_endpoint);
    server.await_client(&microbit_endpoint);
    assert_eq!(server.read(&rp2_endpoint, "3/0/1").text(), "Raspberry Pi RP2");
    assert_eq!(server.read(&rp2_endpoint, "3/0/3").code, 404, "the boot loader's version is none of the program's");
    assert_eq!(server.read(&microbit_endpoint, "3/0/1").text(), "BBC micro:bit V2");
    assert_eq!(server.read(&microbit_endpoint, "3/0/2").text(), "9904360254734e45001f800c00000030000000009796990b");
    assert_eq!(server.read(&microbit_endpoint, "3/0/18").text(), "9904");
    assert_eq!(server.read(&microbit_endpoint, "3/0/3").code, 404, "nor is the interface's");
    let told = why(&daemon, &rp2_link);
    for part in
        ["rp2040-bootsel", "board-id=RPI-RP2", "bootloader=UF2 Bootloader v3.0", "INFO_UF2.TXT", "property model"]
    {
        assert!(told.contains(part), "{part} in {told}");
    }
    unmount(&mut daemon, &rp2);
    eventually("it leaves", PATIENCE, || server.client(&rp2_endpoint).is_none().then_some(()));
    assert!(server.client(&microbit_endpoint).is_some());
    assert!(!is_listed(&daemon, &rp2_link) && is_listed(&daemon, &microbit_link));
    // The same again is the same device again.
    mount(&mut daemon, &rp2, "INFO_UF2.TXT");
    server.await_client(&rp2_endpoint);
}

#[test]
fn a_plain_folder_of_the_sites_own_is_a_disk_for_as_long_as_it_says_so() {
    let world = world!();
    let media = media(&world);
    let daemon = daemon(&world, &media, false);
    let place = media.join("of-an-automounter");
    fs::create_dir(&place).expect("made");
    fs::write(place.join("INFO_UF2.TXT"), UF2).expect("written");
    let link = link("uf2", &place);
    let endpoint = endpoint_of(&daemon, &link);
    Leshan::pair().0.await_client(&endpoint);
    fs::remove_file(place.join("INFO_UF2.TXT")).expect("removed");
    eventually("it leaves", PATIENCE, || Leshan::pair().0.client(&endpoint).is_none().then_some(()));
    // A folder that comes with all that is in it.
    let elsewhere = world.home().join("elsewhere");
    fs::create_dir(&elsewhere).expect("made");
    fs::write(elsewhere.join("DETAILS.TXT"), DAPLINK).expect("written");
    fs::rename(&elsewhere, media.join("moved-in")).expect("moved");
    endpoint_of(&daemon, &format!("discovered:disk/daplink/{}", media.join("moved-in").display()));
}

#[test]
fn a_hostile_disk_tells_nothing_and_harms_nobody() {
    let world = world!();
    let media = media(&world);
    let daemon = daemon(&world, &media, false);
    let place = |name: &str| {
        let place = media.join(name);
        fs::create_dir(&place).expect("made");
        place.join("INFO_UF2.TXT")
    };
    let secret = world.file("secret", "Board-ID: RPI-RP2\nModel: secret\n");
    symlink(&secret, place("link")).expect("linked");
    symlink("/etc/passwd", place("passwd")).expect("linked");
    fs::File::create(place("gigabyte")).expect("made").set_len(1 << 30).expect("long");
    let fifo = Command::new("mkfifo").arg(place("fifo")).status().expect("run");
    assert!(fifo.success());
    fs::create_dir(place("folder")).expect("made");
    let garbage: Vec<u8> = (0..100_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(place("garbage"), garbage).expect("written");
    symlink(media.join("garbage"), media.join("link-to-a-folder")).expect("linked");
    let lines: String = (0..10_000).map(|number| format!("key-{number}: value\n")).collect();
    fs::write(place("lines"), format!("{UF2}{lines}")).expect("written");
    fs::write(place("escapes"), "Board-ID: RPI-RP2\nModel: a\x1b[2J\x1b]0;b\x07c\nk\x1b[31m: v\n").expect("written");
    let (lines, escapes) = (link("uf2", &media.join("lines")), link("uf2", &media.join("escapes")));
    let endpoint = endpoint_of(&daemon, &escapes);
    endpoint_of(&daemon, &lines);
    let told = why(&daemon, &escapes);
    assert!(told.contains("model=a\u{fffd}[2J\u{fffd}]0;b\u{fffd}c") && !told.contains('\u{1b}'), "{told}");
    let server = &Leshan::pair().0;
    server.await_client(&endpoint);
    assert!(!server.read(&endpoint, "3/0/1").text().contains('\u{1b}'));
    assert!(why(&daemon, &lines).len() < 10_000);
    let quiet = || {
        ["link", "passwd", "gigabyte", "fifo", "folder", "garbage"].iter().all(|name| {
            !is_listed(&daemon, &format!("/{name}")) && why(&daemon, &link("uf2", &media.join(name))).contains("no ")
        })
    };
    holds("the others are no devices", Duration::from_secs(2), quiet);
    let status = daemon.cli(&["status"]).output;
    assert!(!status.contains("does not answer") && !why(&daemon, &lines).contains("secret"), "{status}");
}

#[test]
fn a_disk_that_hangs_keeps_nobody_from_others_and_is_told_of() {
    if !mounts_work() {
        return eprintln!("not run: unshare -m does not work here (it needs root)");
    }
    let world = world!();
    let media = media(&world);
    let (hung, good) = (media.join("hung"), media.join("good"));
    fs::create_dir(&hung).expect("made");
    let mut daemon = daemon(&world, &media, true);
    // A file system in user space whose program never answers: every look at it waits for ever.
    let script =
        "exec 3<>/dev/fuse; mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 hung \"$1\"; exec sleep 1000";
    let pid = daemon.process().id().to_string();
    let mut holder = Command::new("nsenter")
        .args(["--mount", "--target", &pid, "--", "sh", "-c", script, "sh"])
        .arg(&hung)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("nsenter is there");
    let tells = |daemon: &Daemon| daemon.cli(&["status"]).output.contains("media/hung does not answer");
    eventually("status tells", PATIENCE * 2, || tells(&daemon).then_some(()));
    fs::create_dir(&good).expect("made");
    fs::write(good.join("INFO_UF2.TXT"), UF2).expect("written");
    endpoint_of(&daemon, &link("uf2", &good));
    holder.kill().expect("it ran");
    holder.wait().expect("it ran");
    eventually("status tells no more", PATIENCE, || (!tells(&daemon)).then_some(()));
    assert!(daemon.stop(PATIENCE).is_some());
}
