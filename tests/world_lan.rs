//! The networks of the test world themselves: what a machine's real avahi announces is what a real avahi on the gateway
//! hears, and nothing is left of a network whose test is killed. When one of these fails, no test over mDNS means anything.
//!
//! Needs the peer lan, and root: `make peers`.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use world::{Addresses, Gateway, Lan, Process, eventually, holds, world};

/// Ten times what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

const KIND: &str = "_esphomelib._tcp";

/// What `avahi-browse -p` tells of a service: interface, name in avahi's escapes, address, port, TXT.
#[derive(Debug)]
struct Heard {
    interface: String,
    name: String,
    address: String,
    port: String,
    txt: String,
}

/// All services that the gateway's own avahi hears now.
fn heard(gateway: &Gateway) -> Vec<Heard> {
    let output = gateway.run("avahi-browse", &["-rpt", KIND]);
    output.lines().filter_map(|line| resolved(&line.split(';').collect::<Vec<_>>())).collect()
}

/// `=;eth0;IPv4;NAME;TYPE;local;HOST;ADDRESS;PORT;TXT`, where TXT may hold further semicolons.
fn resolved(fields: &[&str]) -> Option<Heard> {
    let ["=", interface, _, name, _, _, _, address, port, txt @ ..] = fields else { return None };
    let [interface, name, address, port] = [interface, name, address, port].map(ToString::to_string);
    Some(Heard { interface, name, address, port, txt: txt.join(";") })
}

/// Waits until the gateway hears what is wanted.
fn hears<T>(gateway: &Gateway, what: &str, wanted: impl Fn(&[Heard]) -> Option<T>) -> T {
    eventually(what, PATIENCE, || wanted(&heard(gateway)))
}

fn network() -> (world::World, Lan, Gateway) {
    let world = world!();
    let lan = Lan::new(&world);
    let mut gateway = lan.gateway();
    gateway.avahi("");
    (world, lan, gateway)
}

fn some(yes: bool) -> Option<()> {
    yes.then_some(())
}

#[test]
fn a_service_is_heard_with_its_record_and_its_changes_until_its_goodbye() {
    let (_world, lan, gateway) = network();
    let mut kitchen = lan.machine("kitchen");
    let (service, name) = kitchen.announce("kitchen", KIND, 6053, &[("mac", "aabbccddeeff"), ("version", "1")]);
    assert_eq!(name, "kitchen");
    hears(&gateway, "the service", |all| {
        let mut all = all.iter().filter(|one| one.name == "kitchen" && one.port == "6053");
        some(all.any(|one| one.txt.contains("\"mac=aabbccddeeff\"") && one.txt.contains("\"version=1\"")))
    });
    kitchen.set_txt(service, &[("version", "2")]);
    hears(&gateway, "the change", |all| some(!all.is_empty() && all.iter().all(|one| one.txt == "\"version=2\"")));
    kitchen.withdraw(service);
    hears(&gateway, "the goodbye", |all| some(all.is_empty()));
}

#[test]
fn a_machine_without_power_says_no_goodbye() {
    let (_world, lan, gateway) = network();
    let second = Lan::new(&world!());
    gateway.join(&second, "eth1");
    let mut kitchen = lan.machine_on_both("kitchen", &second);
    kitchen.announce("kitchen", KIND, 6053, &[]);
    hears(&gateway, "both networks", |all| {
        some(["eth0", "eth1"].iter().all(|name| all.iter().any(|one| one.interface == *name)))
    });
    kitchen.crash();
    holds("avahi remembers the service", Duration::from_secs(5), || {
        let browsed = gateway.run("avahi-browse", &["-pt", KIND]);
        ["+;eth0;", "+;eth1;"].iter().all(|line| browsed.contains(line))
    });
}

#[test]
fn a_machine_that_has_power_again_is_where_it_was_and_silent() {
    let (_world, lan, gateway) = network();
    let mut kitchen = lan.machine("kitchen");
    kitchen.announce("before", KIND, 6053, &[]);
    hears(&gateway, "the service", |all| some(all.iter().any(|one| one.name == "before")));
    kitchen.power_off();
    kitchen.power_on();
    assert!(
        kitchen.run("avahi-browse", &["-pt", KIND]).lines().all(|line| !line.contains("IPv4")),
        "nothing is announced"
    );
    kitchen.announce("after", KIND, 6053, &[("version", "2")]);
    let address = kitchen.address().to_string();
    hears(&gateway, "the new service", |all| {
        some(all.iter().any(|one| one.name == "after" && one.address == address && one.txt == "\"version=2\""))
    });
}

#[test]
fn the_second_of_a_name_is_called_otherwise() {
    let (_world, lan, gateway) = network();
    let (mut one, mut other) = (lan.machine("one"), lan.machine("other"));
    assert_eq!(one.announce("lamp", KIND, 1, &[]).1, "lamp");
    assert_eq!(other.announce("lamp", KIND, 2, &[]).1, "lamp #2");
    let (one, other) = (one.address().to_string(), other.address().to_string());
    hears(&gateway, "both", |all| {
        let first = all.iter().any(|seen| (&*seen.name, &*seen.port, &seen.address) == ("lamp", "1", &one));
        let second =
            all.iter().any(|seen| (&*seen.name, &*seen.port, &seen.address) == ("lamp\\032\\0352", "2", &other));
        some(first && second)
    });
}

#[test]
fn two_networks_are_two_and_an_interface_goes_down_and_comes_up() {
    let (world, lan, gateway) = network();
    let second = Lan::new(&world);
    gateway.join(&second, "eth1");
    let (mut here, mut there) = (lan.machine("here"), second.machine("there"));
    here.announce("here", KIND, 1, &[]);
    there.announce("there", KIND, 2, &[]);
    let place = |all: &[Heard], name: &str| {
        let seen = all.iter().filter(|one| one.name == name).map(|one| one.interface.clone());
        seen.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
    };
    hears(&gateway, "each on its own", |all| some(place(all, "here") == "eth0" && place(all, "there") == "eth1"));
    gateway.set_interface("eth1", false);
    hears(&gateway, "one of them", |all| some(place(all, "here") == "eth0" && place(all, "there").is_empty()));
    gateway.set_interface("eth1", true);
    hears(&gateway, "both again", |all| some(place(all, "here") == "eth0" && place(all, "there") == "eth1"));
}

#[test]
fn a_machine_may_have_a_link_local_address_only() {
    let (_world, lan, gateway) = network();
    let mut kitchen = lan.machine_with("kitchen", Addresses::LinkLocal);
    kitchen.announce("kitchen", KIND, 6053, &[]);
    let addresses = hears(&gateway, "the service", |all| {
        let addresses: Vec<_> = all.iter().map(|one| one.address.clone()).collect();
        (!addresses.is_empty()).then_some(addresses)
    });
    assert!(addresses.iter().all(|address| address.starts_with("fe80::")), "{addresses:?}");
}

#[test]
fn records_may_hold_any_bytes() {
    let (_world, lan, gateway) = network();
    let mut evil = lan.machine("evil");
    let long = [b"long=".to_vec(), vec![b'x'; 250]].concat();
    let record = [b"=no key".to_vec(), b"flag".to_vec(), b"bytes=\x00\x1b\xff\n".to_vec(), long];
    let many = (0..56).map(|number| format!("k{number}={number}").into_bytes());
    let record: Vec<Vec<u8>> = record.into_iter().chain(many).collect();
    let (service, _) = evil.announce_bytes("evil", KIND, 0, &record);
    hears(&gateway, "sixty entries", |all| {
        let txt = &all.first()?.txt;
        let wanted = ["\"=no key\"", "\"flag\"", "\"k0=0\"", "\"k55=55\"", "\"bytes=\\000\\027\\255\\010\""];
        some(wanted.iter().all(|entry| txt.contains(entry)) && txt.contains(&"x".repeat(250)))
    });
    evil.set_txt_bytes(service, &[]);
    hears(&gateway, "no entry", |all| some(all.first()?.txt.is_empty()));
}

#[test]
fn two_hundred_services_of_one_machine_are_heard() {
    let (_world, lan, gateway) = network();
    let mut crowd = lan.machine("crowd");
    for number in 0..200 {
        crowd.announce_at_once(&format!("lamp-{number}"), KIND, 6053, &[("number", &number.to_string())]);
    }
    hears(&gateway, "two hundred", |all| some(all.iter().map(|one| &one.name).collect::<BTreeSet<_>>().len() == 200));
}

#[test]
fn programs_and_servers_run_on_a_machine_as_long_as_it_has_power() {
    let (_world, lan, gateway) = network();
    let (mut kitchen, cellar) = (lan.machine("kitchen"), lan.machine("cellar"));
    let listener = kitchen.listen(8080);
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.write_all(b"hello").expect("the client reads");
    });
    let ask = format!("exec 3<>/dev/tcp/{}/8080; cat <&3", kitchen.address());
    let mut client = Command::new("bash");
    client.args(["-c", &ask]);
    let mut client = cellar.start_program("client", &client);
    client.line_after(0, PATIENCE, |line| some(line == "hello"));
    server.join().expect("it has answered");
    let refused = gateway.run("bash", &["-c", &ask]);
    assert!(refused.contains("refused"), "{refused}");
    let mut sleeper = Command::new("sleep");
    sleeper.arg("600");
    let mut sleeper = kitchen.start_program("sleeper", &sleeper);
    assert!(sleeper.try_wait().is_none());
    kitchen.power_off();
    assert!(!sleeper.wait(PATIENCE).success());
}

#[test]
fn packets_of_any_bytes_reach_all_that_listen() {
    let (_world, lan, gateway) = network();
    let evil = lan.machine("evil");
    // A response with one record: `PTR phantom._esphomelib._tcp.local`, for 120 seconds, and nobody is behind it.
    let mut packet = b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x0b_esphomelib\x04_tcp\x05local\0".to_vec();
    packet.extend_from_slice(b"\0\x0c\0\x01\0\0\0\x78\0\x0a\x07phantom\xc0\x0c");
    // Its lines as they come.
    let browse = ["-oL", "avahi-browse", "-p", KIND];
    let mut browser = gateway.start_program("browser", Command::new("stdbuf").args(browse));
    eventually("the phantom", PATIENCE, || {
        // Nobody asks again before long.
        evil.multicast(b"\xff");
        evil.multicast(&packet);
        some(browser.output().contains("+;eth0;IPv4;phantom;"))
    });
    assert!(browser.try_wait().is_none());
}

#[test]
fn nothing_is_left_of_a_test_that_is_killed() {
    const MARK: &str = "NUNCIO_LAN_VICTIM";
    if std::env::var_os(MARK).is_some() {
        let (_world, lan, _gateway) = network();
        let mut kitchen = lan.machine_with("kitchen", Addresses::Both);
        kitchen.announce("kitchen", KIND, 6053, &[]);
        println!("all is up");
        loop {
            std::thread::park();
        }
    }
    let mark = format!("{MARK}={}", world!().name("victim"));
    let mut command = Command::new(std::env::current_exe().expect("a program knows its path"));
    command.args(["--exact", "nothing_is_left_of_a_test_that_is_killed", "--nocapture"]);
    command.env(MARK, mark.split_once('=').expect("as made above").1);
    let mut victim = Process::start("victim", &command, None);
    victim.line_after(0, PATIENCE, |line| some(line.ends_with("all is up")));
    let uplink = format!("nun{}x", victim.id());
    let uplinks = || interfaces().into_iter().filter(|name| name.starts_with(&uplink)).collect::<Vec<_>>();
    assert!(carriers(&mark).len() > 6, "{:?}", carriers(&mark));
    assert_eq!(uplinks().len(), 1);
    victim.signal(Signal::KILL);
    eventually("all processes end", PATIENCE, || some(carriers(&mark).is_empty()));
    eventually("the way to the gateway goes", PATIENCE, || some(uplinks().is_empty()));
}

/// Command lines of all processes with this in their environment.
fn carriers(mark: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("/proc is there").flatten();
    let marked = all.filter(|entry| {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    });
    let line = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
    marked.map(|entry| line(entry).replace('\0', " ")).collect()
}

/// Network interfaces of this machine.
fn interfaces() -> Vec<String> {
    let all = fs::read_dir("/sys/class/net").expect("interfaces").flatten();
    all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
