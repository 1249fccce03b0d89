//! The Debian package under a real systemd, dpkg and apt: installed, started, watched, upgraded, stopped in the middle of a
//! flash, and purged without a trace. The package is made of the binary under test by the same script and the same control
//! files as the released one (`packaging/`).
//!
//! Needs the peers deb and avr, and root: `make peers world`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use world::{Container, World, eventually, world};

/// Ten times what anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

const CONFIG: &str = "/etc/nuncio/nuncio.toml";
/// Debian's tests for packages are about what it would ship itself; nothing of ours closes a bug there.
const NOT_OURS: &str = "initial-upload-closes-no-bugs";

#[test]
fn lintian_finds_nothing_in_the_package() {
    let output = Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error,warning", "--suppress-tags", NOT_OURS])
        .arg(world!().package())
        .output()
        .expect("lintian is there: make peers");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn apt_installs_upgrades_and_purges_a_service_that_runs() {
    let world = world!();
    let package = world.package();
    let (first, next) = (copied(&world, package, "nuncio.deb"), next_version(&world, package));
    let container = world.container();
    let before = traces(&container);
    apt(&container, &["install", &container.inside(&first)]);
    runs(&container);
    is_walled_in(&container);
    let edited = format!("{}# ours\n[gateway]\nname = \"workshop\"\n", container.read(CONFIG));
    container.write(CONFIG, &edited);
    let pid = container.property("nuncio", "MainPID");
    apt(&container, &["install", &container.inside(&next)]);
    runs(&container);
    assert_ne!(container.property("nuncio", "MainPID"), pid, "it was started anew");
    assert_eq!(container.read(CONFIG), edited, "what was edited is kept");
    assert!(container.read(&format!("{CONFIG}.dpkg-dist")).ends_with("# of the next version\n"));
    let status = container.run(&["nuncio", "status", "--json"]);
    assert!(status.contains("\"name\":\"workshop\""), "{status}");
    apt(&container, &["remove", "nuncio"]);
    assert!(container.has(CONFIG) && container.has("/var/lib/nuncio/nuncio.db") && !container.has("/usr/bin/nuncio"));
    apt(&container, &["purge", "nuncio"]);
    assert_eq!(traces(&container), before, "nothing is left");
}

#[test]
fn from_the_package_to_the_first_device_it_takes_one_command_and_its_answers() {
    let world = world!();
    let (package, container) = (copied(&world, world.package(), "nuncio.deb"), world.container());
    let (_board, port) = container.uno("uno-1.2.0.hex");
    // A bridge chip like any other: which board is behind it has to be asked, beside the two questions there always are.
    container.run(&["ln", "-s", &port, "/dev/ttyUSB0"]);
    let begin = Instant::now();
    apt(&container, &["install", &container.inside(&package)]);
    let said = container.run(&["sh", "-c", "printf 'arduino-uno\\n\\n1\\n' | nuncio setup"]);
    println!("installed and registered after {:.1} s:\n{said}", begin.elapsed().as_secs_f32());
    assert!(begin.elapsed() < Duration::from_secs(60), "installed and registered after {:?}", begin.elapsed());
    for words in [
        "serial:/dev/ttyUSB0",
        "Written: /etc/nuncio/nuncio.toml",
        "arduino-uno-1",
        "1/1",
        "http://127.0.0.1:8080/login#nuncio.",
    ] {
        assert!(said.contains(words), "{words} is missing:\n{said}");
    }
    let status = container.run(&["nuncio", "status", "--json"]);
    assert!(status.contains("\"server\":\"builtin\"") && status.contains("\"state\":\"registered\""), "{status}");
    runs(&container);
}

#[test]
fn a_stop_waits_for_the_flash_that_runs() {
    let world = world!();
    let container = world.container_with(world.package());
    let (_board, port) = container.uno("uno-1.2.0.hex");
    container.write(CONFIG, &device(&port));
    container.run(&["systemctl", "restart", "nuncio"]);
    // Nobody but root can read it there, and the unit sees no homes at all.
    container.run(&["install", "-m", "0600", "/srv/boards/uno-1.3.0-large.hex", "/root/blink.hex"]);
    eventually("the board is there", PATIENCE, || {
        container.run(&["nuncio", "devices"]).contains("press-3").then_some(())
    });
    let mut flash = container
        .start("nuncio flash", &["nuncio", "flash", "press-3", "/root/blink.hex", "--expect-version", "1.3.0"]);
    flash.line_after(0, PATIENCE, |line| line.starts_with("writing").then_some(()));
    assert!(
        container.run(&["find", "/sys/fs/cgroup/system.slice/nuncio.service", "-name", "nuncio-job-*"]).contains("job")
    );
    container.run(&["systemctl", "stop", "nuncio"]);
    assert_eq!(flash.wait(PATIENCE).code(), Some(0), "{}", flash.output());
    assert_eq!(container.property("nuncio", "Result"), "success");
    container.run(&["systemctl", "start", "nuncio"]);
    let history = container.run(&["nuncio", "history", "press-3"]);
    assert!(history.contains("proven"), "{history}");
    let handed = container.run(&["find", "/run/nuncio/control.images", "-mindepth", "1"]);
    assert_eq!(handed, "", "the copy of the image went with the command");
    quiet(&container);
}

#[test]
fn a_daemon_that_hangs_or_dies_is_started_again_and_one_with_a_mistake_is_not() {
    let world = world!();
    let container = world.container_with(world.package());
    runs(&container);
    container.run(&["mkdir", "/etc/systemd/system/nuncio.service.d"]);
    let quick = "[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\nRestartSec=100ms\n";
    container.write("/etc/systemd/system/nuncio.service.d/quick.conf", quick);
    container.run(&["systemctl", "daemon-reload"]);
    container.run(&["systemctl", "restart", "nuncio"]);
    let fed = || container.property("nuncio", "WatchdogTimestampMonotonic");
    let first = fed();
    eventually("the watchdog is fed", PATIENCE, || (fed() != first).then_some(()));
    assert_eq!(container.property("nuncio", "NRestarts"), "0");
    container.run(&["systemctl", "kill", "--signal=STOP", "nuncio"]);
    container.await_property("nuncio", "NRestarts", "1");
    assert!(container.journal("nuncio").contains("Watchdog timeout"));
    container.await_property("nuncio", "ActiveState", "active");
    container.run(&["systemctl", "kill", "--signal=KILL", "nuncio"]);
    container.await_property("nuncio", "NRestarts", "2");
    container.await_property("nuncio", "ActiveState", "active");
    container.write(CONFIG, "[gateway]\nnmae = \"x\"\n");
    assert!(!container.try_run(&["systemctl", "restart", "nuncio"]).success);
    assert_eq!(container.property("nuncio", "ActiveState"), "failed");
    assert!(container.journal("nuncio").contains("did you mean `name`?"), "{}", container.journal("nuncio"));
}

#[test]
fn secrets_come_by_credentials_that_only_root_can_read() {
    let world = world!();
    let container = world.container_with(world.package());
    let key = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
    container.write("/etc/nuncio/credentials/kitchen", &format!("{key}\n"));
    container.run(&["chmod", "0600", "/etc/nuncio/credentials/kitchen"]);
    container.write(CONFIG, "[esphome]\nkeys = { kitchen = { credential = \"kitchen\" } }\n");
    container.run(&["systemctl", "restart", "nuncio"]);
    runs(&container);
    container.run(&["nuncio", "check"]);
    container.run(&["runuser", "-u", "nuncio", "--", "nuncio", "check"]);
    let nobody = container.try_run(&["runuser", "-u", "daemon", "--", "nuncio", "check"]);
    assert!(!nobody.success && nobody.output.contains("credential `kitchen` cannot be read"), "{}", nobody.output);
    container.run(&["rm", "/etc/nuncio/credentials/kitchen"]);
    assert!(!container.try_run(&["systemctl", "restart", "nuncio"]).success);
    let journal = container.journal("nuncio");
    assert!(journal.contains("there is no credential `kitchen`") && !journal.contains(key), "{journal}");
}

/// The service is up by its own word, at boot too, may be reloaded, and nothing complains.
fn runs(container: &Container) {
    let wanted = [
        ("ActiveState", "active"),
        ("Type", "notify"),
        ("UnitFileState", "enabled"),
        ("User", "nuncio"),
        ("NRestarts", "0"),
    ];
    for (name, value) in wanted {
        assert_eq!(container.property("nuncio", name), value, "{name}\n{}", container.journal("nuncio"));
    }
    container.run(&["systemctl", "reload", "nuncio"]);
    container.run(&["nuncio", "status"]);
    assert_eq!(
        container.run(&["stat", "--format", "%U:%G %a", "/run/nuncio/control.sock"]).trim(),
        "nuncio:nuncio 660"
    );
    quiet(container);
}

/// No unit has failed, and nothing of ours has logged an error.
fn quiet(container: &Container) {
    assert_eq!(container.run(&["systemctl", "--failed", "--no-legend"]), "");
    let errors = container.run(&["journalctl", "--no-pager", "--quiet", "--priority", "err", "--unit", "nuncio"]);
    assert_eq!(errors, "");
}

fn is_walled_in(container: &Container) {
    let told = container.run(&["systemd-analyze", "security", "--no-pager", "--threshold=20", "nuncio"]);
    let last = told.lines().last().unwrap_or_default();
    let exposure =
        last.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|number| number.parse::<f32>().ok());
    assert!(exposure.is_some_and(|exposure| exposure <= 2.0), "{told}");
    let members = container.run(&["id", "--name", "--groups", "nuncio"]);
    assert!(members.contains("dialout") && members.contains("bluetooth"), "{members}");
    let rules = container.try_run(&["udevadm", "test", "/sys/class/net/lo"]).output;
    assert!(
        rules.contains("70-nuncio.rules") && !rules.contains("70-nuncio.rules:"),
        "udev has read it without complaint: {rules}"
    );
}

fn apt(container: &Container, arguments: &[&str]) {
    let keep = ["-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold"];
    container.run(&[&["apt-get", "--yes", "--quiet", "--no-install-recommends"], &keep[..], arguments].concat());
}

/// Files that have the package's name or belong to its user, but for the records of dpkg, apt and the journal.
fn traces(container: &Container) -> String {
    let records = "-path /proc -o -path /sys -o -path /srv/world -o -path /var/log -o -path /var/lib/dpkg -o -path /var/cache/apt";
    let words = format!("find / ( {records} ) -prune -o ( -name *nuncio* -o -user nuncio ) -print");
    let by_name = words.replace(" -o -user nuncio", "");
    let known = container.try_run(&["id", "nuncio"]).success;
    let words = if known { words } else { by_name };
    container.run(&words.split(' ').collect::<Vec<_>>())
}

fn device(port: &str) -> String {
    format!("[[device]]\nname = \"press-3\"\nboard = \"arduino-uno\"\nlink = \"serial:{port}\"\n")
}

fn copied(world: &World, package: &Path, name: &str) -> PathBuf {
    let copy = world.dir().join(name);
    fs::copy(package, &copy).expect("a copy");
    copy
}

/// The package as its next version would be: with another default configuration.
fn next_version(world: &World, package: &Path) -> PathBuf {
    let (folder, made) = (world.dir().join("next"), world.dir().join("nuncio-next.deb"));
    let dpkg = |arguments: &[&Path]| {
        let output = Command::new("dpkg-deb").args(arguments).output().expect("dpkg-deb is there");
        assert!(output.status.success(), "{output:?}");
    };
    dpkg(&[Path::new("-R"), package, &folder]);
    let edit = |file: &str, change: &dyn Fn(String) -> String| {
        let file = folder.join(file);
        fs::write(&file, change(fs::read_to_string(&file).expect("there"))).expect("written");
    };
    edit("DEBIAN/control", &|text| text.replace("\nVersion: ", "\nVersion: 99."));
    edit("etc/nuncio/nuncio.toml", &|text| text + "# of the next version\n");
    dpkg(&[Path::new("-Znone"), Path::new("-b"), &folder, &made]);
    made
}
