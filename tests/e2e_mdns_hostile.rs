//! What no avahi would ever send: packets of any bytes, goodbyes for others, phantoms by the thousand; and devices that go
//! and come without a word.
//!
//! Needs the peers lan and leshan, and root: `make peers`.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;
use std::{fs, io, thread};

use rustix::process::Signal;
use world::{Daemon, Gateway, Lan, Leshan, Machine, World, eventually, holds, world};

/// Ten times what an announcement and a registration take.
const PATIENCE: Duration = Duration::from_secs(60);

const KIND: &str = "_esphomelib._tcp";

/// A network, a daemon on it, and somebody on it who means no good.
struct Scene {
    daemon: Daemon,
    evil: Machine,
    lan: Lan,
    world: World,
    _gateway: Gateway,
}

impl Scene {
    fn new() -> Self {
        Self::with("")
    }

    /// With further tables of the configuration.
    fn with(tables: &str) -> Self {
        let world = world!();
        let lan = Lan::new(&world);
        let gateway = lan.gateway();
        let daemon = world.daemon().server("factory", &gateway.uri(server()), 123, "lifetime = \"30s\"");
        let daemon = daemon.lan(&gateway, tables).start();
        let evil = lan.machine("evil");
        Self { daemon, evil, lan, world, _gateway: gateway }
    }

    /// A MAC address that no other test uses: the server is everybody's.
    fn mac(&self, number: u16) -> String {
        format!("02{:06x}{number:04x}", self.world.seed() & 0x00ff_ffff)
    }

    /// A machine that announces an ESPHome device which the server knows then, and its endpoint name.
    fn device(&self, name: &str, number: u16) -> (Machine, String) {
        let mut machine = self.lan.machine(name);
        let mac = self.mac(number);
        announce(&mut machine, name, &mac, "1.2.0");
        let endpoint = format!("mac-{mac}");
        server().await_client(&endpoint);
        (machine, endpoint)
    }

    fn phantoms(&self) -> usize {
        let all = format!("mac-02{:06x}", self.world.seed() & 0x00ff_ffff);
        server().clients().iter().filter(|endpoint| endpoint.starts_with(&all)).count()
    }
}

fn server() -> &'static Leshan {
    &Leshan::pair().0
}

fn announce(machine: &mut Machine, name: &str, mac: &str, version: &str) {
    let txt = [("mac", mac), ("version", "2026.10.1"), ("project_name", "acme.lamp"), ("project_version", version)];
    machine.announce(name, KIND, 6053, &txt);
}

/// Text after its length (RFC 1035, 3.3).
fn counted(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat()
}

/// A name on the wire (RFC 1035, 3.1).
fn wire(name: &str) -> Vec<u8> {
    name.split('.').flat_map(counted).chain([0]).collect()
}

/// A record on the wire: type, seconds to live, content. Those that only one may have flush what others said.
fn record(name: &str, kind: u16, seconds: u32, content: &[u8]) -> Vec<u8> {
    let class: u16 = if kind == 12 { 1 } else { 0x8001 };
    let length = u16::try_from(content.len()).expect("short");
    [&wire(name)[..], &kind.to_be_bytes(), &class.to_be_bytes(), &seconds.to_be_bytes(), &length.to_be_bytes(), content]
        .concat()
}

/// All of a service: PTR, SRV, TXT and A.
fn records(instance: &str, seconds: u32, txt: &[String], address: Ipv4Addr) -> [Vec<u8>; 4] {
    let (kind, host) = (format!("{KIND}.local"), format!("{instance}.local"));
    let name = format!("{instance}.{kind}");
    let txt: Vec<u8> = txt.iter().flat_map(|entry| counted(entry)).collect();
    let location = [&[0, 0, 0, 0, 0x17, 0xa5], &wire(&host)[..]].concat();
    [
        record(&kind, 12, seconds, &wire(&name)),
        record(&name, 33, seconds, &location),
        record(&name, 16, seconds, &txt),
        record(&host, 1, seconds, &address.octets()),
    ]
}

/// A response with these records.
fn packet(records: &[Vec<u8>]) -> Vec<u8> {
    let count = u8::try_from(records.len()).expect("few");
    [&[0, 0, 0x84, 0, 0, 0, 0, count, 0, 0, 0, 0], &records.concat()[..]].concat()
}

/// A response that says all of a service.
fn response(instance: &str, seconds: u32, txt: &[String]) -> Vec<u8> {
    packet(&records(instance, seconds, txt, Ipv4Addr::new(10, 99, 0, 1)))
}

#[test]
fn a_device_that_starts_anew_stays_registered_and_tells_its_new_version() {
    let scene = Scene::new();
    let (mut kitchen, endpoint) = scene.device("kitchen", 1);
    let before = server().await_client(&endpoint)["registrationId"].clone();
    kitchen.power_off();
    kitchen.power_on();
    announce(&mut kitchen, "kitchen", &scene.mac(1), "1.3.0");
    let version = || server().read(&endpoint, "3/0/3").text();
    eventually("the new version", PATIENCE, || (version() == "1.3.0").then_some(()));
    assert_eq!(server().await_client(&endpoint)["registrationId"], before);
}

#[test]
fn a_goodbye_that_a_stranger_says_harms_no_device() {
    let scene = Scene::new();
    let (_kitchen, endpoint) = scene.device("kitchen", 1);
    let before = server().await_client(&endpoint)["registrationId"].clone();
    for _ in 0..5 {
        scene.evil.multicast(&response("kitchen", 0, &["mac=".to_owned()]));
        sleep(Duration::from_millis(300));
    }
    holds("it is registered as before", Duration::from_secs(5), || {
        server().client(&endpoint).is_some_and(|client| client["registrationId"] == before)
    });
    assert_eq!(server().read(&endpoint, "3/0/3").text(), "1.2.0");
}

#[test]
fn a_device_that_is_back_piece_by_piece_within_its_last_second_is_registered_again() {
    let scene = Scene::new();
    let (mac, host) = (scene.mac(1), Ipv4Addr::new(10, 99, 0, 1));
    let endpoint = format!("mac-{mac}");
    let all = |seconds, version: &str| {
        let txt = [format!("mac={mac}"), "project_name=acme.lamp".to_owned(), format!("project_version={version}")];
        records("kitchen", seconds, &txt, host)
    };
    scene.evil.multicast(&packet(&all(120, "1.2.0")));
    server().await_client(&endpoint);
    // The host stays, as with a service that starts anew.
    scene.evil.multicast(&packet(&all(0, "1.2.0")[..3]));
    sleep(Duration::from_millis(300));
    // A new text makes mdns-sd look for the rest, which it takes for gone; and what is back then is nothing new to it.
    let [pointer, location, text, address] = all(120, "1.3.0");
    scene.evil.multicast(&packet(&[pointer, text]));
    sleep(Duration::from_millis(100));
    scene.evil.multicast(&packet(&[location, address]));
    // By then it has been taken for gone.
    sleep(Duration::from_secs(3));
    server().await_client(&endpoint);
    holds("it stays", Duration::from_secs(5), || server().client(&endpoint).is_some());
    assert_eq!(server().read(&endpoint, "3/0/3").text(), "1.3.0");
}

#[test]
fn packets_of_any_bytes_harm_nobody() {
    let scene = Scene::new();
    let mut chance = fastrand::Rng::with_seed(scene.world.seed());
    let whole = response("phantom", 120, &["mac=zz".to_owned(), "=".to_owned(), String::new()]);
    for round in 0..3000 {
        let mut packet = whole.clone();
        match round % 4 {
            0 => packet.truncate(chance.usize(..packet.len())),
            // Counts of records that are not there, names that point to themselves, lengths beyond the end.
            1 => packet.iter_mut().skip(2).for_each(|byte| {
                if chance.u8(..) < 12 {
                    *byte = *chance.choice(&[0, 0x3f, 0x40, 0xc0, 0x0c, 0xff]).expect("not empty");
                }
            }),
            2 => packet = (0..chance.usize(..1400)).map(|_| chance.u8(..)).collect(),
            _ => packet.extend((0..chance.usize(..1000)).map(|_| chance.u8(..))),
        }
        scene.evil.multicast(&packet);
    }
    let (_kitchen, endpoint) = scene.device("kitchen", 1);
    assert_eq!(server().read(&endpoint, "3/0/3").text(), "1.2.0");
    let log = scene.daemon.log();
    assert!(!log.contains("begun anew") && !log.contains("panicked"), "mDNS has not broken off:\n{log}");
}

#[test]
fn thousands_of_phantoms_are_kept_within_bounds_and_forgotten() {
    let mut scene = Scene::new();
    let (_kitchen, endpoint) = scene.device("kitchen", 1);
    let before = server().await_client(&endpoint)["registrationId"].clone();
    let resting = memory(&mut scene.daemon);
    for number in 0..6000_u16 {
        let txt = [format!("mac={}", scene.mac(number + 1000)), format!("noise={}", "x".repeat(200))];
        // They end one after the other, within a minute.
        let seconds = 40 + u32::from(number) / 100;
        scene.evil.multicast(&response(&format!("phantom-{number}"), seconds, &txt));
        sleep(Duration::from_millis(1));
    }
    let log = || scene.daemon.log();
    eventually("the bound is told", PATIENCE, || {
        log().contains("more services are announced than are kept").then_some(())
    });
    let flooded = memory(&mut scene.daemon);
    println!("resident: {resting} KiB at rest, {flooded} KiB with 6000 phantoms; registered: {}", scene.phantoms());
    assert!(flooded < 200_000, "{resting} KiB have become {flooded}");
    // 250 at once and one a second: so many could have joined in five minutes.
    assert!(scene.phantoms() <= 550, "{} have joined", scene.phantoms());
    assert_eq!(server().await_client(&endpoint)["registrationId"], before, "the real one never left");
    assert_eq!(server().read(&endpoint, "3/0/3").text(), "1.2.0");
    eventually("they are forgotten", PATIENCE * 3, || (scene.phantoms() == 1).then_some(()));
    scene.device("cellar", 2);
}

#[test]
fn services_that_all_end_at_one_moment_are_all_forgotten() {
    let mut scene = Scene::with("[join]\npolicy = \"approve\"\n");
    let mut kitchen = scene.lan.machine("kitchen");
    announce(&mut kitchen, "kitchen", &scene.mac(1), "1.2.0");
    let listed = |daemon: &Daemon| {
        let list = daemon.cli(&["devices"]).output;
        (list.matches("mdns:phantom-").count(), list.contains("mdns:kitchen."))
    };
    // A busy machine loses packets, and is told again: more than mdns-sd's channel holds (1,000) is what counts.
    eventually("most are heard", PATIENCE, || {
        for number in 0..2000 {
            let mac = format!("mac={}", scene.mac(number + 1000));
            scene.evil.multicast(&response(&format!("phantom-{number}"), 20, &[mac]));
            sleep(Duration::from_millis(1));
        }
        (listed(&scene.daemon).0 / 2 > 1400).then_some(())
    });
    // While it stands still all their records run out.
    scene.daemon.freeze();
    sleep(Duration::from_secs(25));
    scene.daemon.process().signal(Signal::CONT);
    eventually("only the real one is left", PATIENCE, || (listed(&scene.daemon) == (0, true)).then_some(()));
}

/// Resident memory of a daemon, in KiB.
fn memory(daemon: &mut Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.process().id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Answers every connection to a port of a machine in this way, each in a thread of its own.
fn web_server(machine: &Machine, port: u16, answer: impl Fn(TcpStream) -> io::Result<()> + Copy + Send + 'static) {
    let listener = machine.listen(port);
    thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut request = [0; 1024];
                // A client that has gone away needs no answer.
                let _ = connection.read(&mut request).and_then(|_| answer(connection));
            });
        }
    });
}

/// Writes this as long as somebody takes it, with pauses.
fn drip(mut connection: TcpStream, head: &str, piece: &[u8], pause: Duration) -> io::Result<()> {
    connection.write_all(head.as_bytes())?;
    loop {
        connection.write_all(piece)?;
        sleep(pause);
    }
}

#[test]
fn web_servers_that_answer_anything_hold_up_nobody_else() {
    static LED_ON: AtomicBool = AtomicBool::new(false);
    const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
    let mut scene = Scene::new();
    let resting = memory(&mut scene.daemon);
    let evil = &mut scene.evil;
    web_server(evil, 81, |_| loop_for_ever());
    web_server(evil, 82, |connection| drip(connection, OK, &[b' '; 65_536], Duration::ZERO));
    web_server(evil, 83, |connection| drip(connection, OK, b" ", Duration::from_millis(100)));
    web_server(evil, 84, |connection| drip(connection, "HTTP/1.1 200 OK\r\nx: ", &[b'x'; 65_536], Duration::ZERO));
    web_server(evil, 85, |mut connection| {
        let body = [vec![b'['; 60_000], vec![b']'; 3000]].concat();
        connection.write_all(OK.as_bytes()).and_then(|()| connection.write_all(&body))
    });
    web_server(evil, 86, |mut connection| connection.write_all(b"\x16\x03\x01\xff\xff\0\0SSH-2.0-\r\n\r\n"));
    web_server(evil, 87, |mut connection| {
        connection.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://evil.local:88/\r\ncontent-length: 0\r\n\r\n")
    });
    web_server(evil, 88, |_| {
        LED_ON.store(true, Ordering::Relaxed);
        Ok(())
    });
    // One host is asked one thing at a time: the slow ones among its services hold up its own others, and nobody else.
    let ports = (81..88).chain(std::iter::repeat_n(81, 2));
    for (number, port) in ports.enumerate() {
        evil.announce_at_once(&format!("trap-{number}"), "_http._tcp", port, &[("devicetype", "tasmota")]);
    }
    let mut plug = scene.lan.machine("plug");
    let mac = scene.mac(1);
    let status = format!(r#"{{"StatusFWR":{{"Version":"14.2.0"}},"StatusNET":{{"Mac":"{mac}"}}}}"#).leak();
    let status = &*status;
    web_server(&plug, 80, move |mut connection| connection.write_all(format!("{OK}{status}").as_bytes()));
    plug.announce("plug", "_http._tcp", 80, &[("devicetype", "tasmota")]);
    let endpoint = format!("mac-{mac}");
    eventually("the honest one", PATIENCE * 3, || server().client(&endpoint));
    eventually("its version", PATIENCE, || (server().read(&endpoint, "3/0/3").text() == "14.2.0").then_some(()));
    let said = [
        "does not answer",
        "says too much",
        "does not answer",
        "cannot be asked",
        "answers no JSON",
        "cannot be asked",
        "answers 302 Found",
    ];
    for (number, words) in said.iter().enumerate() {
        let why = || scene.daemon.cli(&["why", &format!("mdns:trap-{number}._http._tcp")]).output;
        eventually(&format!("trap-{number} {words}"), PATIENCE * 3, || {
            why().contains(&format!("its web server {words}")).then_some(())
        });
    }
    assert!(!server().clients().contains(&"host-world-plug".to_owned()), "it never had another name");
    assert!(!scene.daemon.log().contains("host-world-plug"), "{}", scene.daemon.log());
    assert!(!LED_ON.load(Ordering::Relaxed), "nobody is led elsewhere");
    let now = memory(&mut scene.daemon);
    println!("resident: {resting} KiB at rest, {now} KiB");
    assert!(now < 200_000, "{resting} KiB have become {now}");
}

fn loop_for_ever() -> io::Result<()> {
    loop {
        thread::park();
    }
}
