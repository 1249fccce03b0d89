//! Devices on a network announce themselves through a real avahi-daemon; the gateway registers them at two Leshan servers.
//!
//! Needs the peers lan, leshan and ask, and root: `make peers`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use world::{
    Addresses, Daemon, Gateway, Lan, Leshan, Machine, World, eventually, holds, repository, smp_python, world,
};

/// Ten times what an announcement and a registration take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ten times what one takes to be told again that came back.
const BACK: Duration = Duration::from_secs(10);

/// A network, and a daemon on it.
struct Scene {
    daemon: Daemon,
    gateway: Gateway,
    lan: Lan,
    world: World,
}

impl Scene {
    fn new(mdns: &str) -> Self {
        Self::with(world!(), mdns, |_| {})
    }

    fn with(world: World, mdns: &str, prepare: impl FnOnce(&mut Gateway)) -> Self {
        let lan = Lan::new(&world);
        let mut gateway = lan.gateway();
        prepare(&mut gateway);
        let daemon = daemon(&world, &gateway, mdns);
        Self { daemon, gateway, lan, world }
    }

    /// A MAC address that no other test uses: the two servers are everybody's.
    fn mac(&self, number: u16) -> String {
        format!("02{:06x}{number:04x}", self.world.seed() & 0x00ff_ffff)
    }

    /// A machine that announces an ESPHome device.
    fn esphome(&self, name: &str, mac: &str, version: &str) -> (Machine, world::Announced) {
        let mut machine = self.lan.machine(name);
        let (service, _) = machine.announce(name, "_esphomelib._tcp", 6053, &esphome(mac, version));
        (machine, service)
    }

    fn await_gone(&self, endpoint: &str) {
        for server in servers() {
            eventually(&format!("{endpoint} leaves"), PATIENCE * 3, || server.client(endpoint).is_none().then_some(()));
        }
    }

    fn await_there(&self, endpoint: &str) {
        servers().into_iter().for_each(|server| drop(server.await_client(endpoint)));
    }
}

fn servers() -> [&'static Leshan; 2] {
    let (one, other) = Leshan::pair();
    [one, other]
}

fn daemon(world: &World, gateway: &Gateway, mdns: &str) -> Daemon {
    let [one, other] = servers();
    let builder = world.daemon().server("factory", &gateway.uri(one), 123, "lifetime = \"30s\"");
    builder.server("cloud", &gateway.uri(other), 234, "lifetime = \"30s\"").lan(gateway, mdns).start()
}

fn esphome<'a>(mac: &'a str, version: &'a str) -> [(&'a str, &'a str); 6] {
    [
        ("mac", mac),
        ("version", "2026.10.1"),
        ("project_name", "acme.lamp"),
        ("project_version", version),
        ("platform", "ESP32"),
        ("network", "wifi"),
    ]
}

#[test]
fn a_device_that_announces_itself_is_registered_told_of_anew_and_leaves_with_its_goodbye() {
    let scene = Scene::new("");
    let mac = scene.mac(1);
    let (mut kitchen, service) = scene.esphome("kitchen", &mac, "1.2.0");
    let endpoint = format!("mac-{mac}");
    scene.await_there(&endpoint);
    let server = servers()[0];
    assert_eq!(server.read(&endpoint, "3/0/3").text(), "1.2.0");
    assert_eq!(server.read(&endpoint, "3/0/1").text(), "acme.lamp");
    assert_eq!(server.read(&endpoint, "3/0/18").text(), "ESP32");
    // How the device itself is connected: by WLAN, at its addresses; how strongly is not known.
    assert_eq!(server.read(&endpoint, "4/0/0").text(), "21");
    // They come in answers of their own.
    eventually("both addresses", PATIENCE, || {
        let connected = server.read(&endpoint, "4/0").body.to_string();
        (connected.contains(&kitchen.address().to_string()) && connected.contains("fe80")).then_some(())
    });
    assert_eq!(server.read(&endpoint, "4/0/2").code, 404);
    kitchen.set_txt(service, &esphome(&mac, "1.3.0"));
    eventually("the new version", PATIENCE, || (server.read(&endpoint, "3/0/3").text() == "1.3.0").then_some(()));
    kitchen.withdraw(service);
    scene.await_gone(&endpoint);
    let (_, name) = kitchen.announce("kitchen", "_esphomelib._tcp", 6053, &esphome(&mac, "1.3.0"));
    assert_eq!(name, "kitchen");
    scene.await_there(&endpoint);
}

#[test]
fn a_device_that_lost_its_power_is_missed_when_it_does_not_answer() {
    let scene = Scene::new("verify = \"5s\"");
    let mac = scene.mac(1);
    let (kitchen, _) = scene.esphome("kitchen", &mac, "1.2.0");
    let (_cellar, _) = scene.esphome("cellar", &scene.mac(2), "1.2.0");
    scene.await_there(&format!("mac-{mac}"));
    scene.await_there(&format!("mac-{}", scene.mac(2)));
    kitchen.crash();
    scene.await_gone(&format!("mac-{mac}"));
    let still = scene.daemon.cli(&["devices"]).output;
    assert!(still.contains(&scene.mac(2)), "the other one answers when it is asked: {still}");
}

#[test]
fn two_devices_of_one_name_are_two_devices() {
    let scene = Scene::new("");
    let macs = [scene.mac(1), scene.mac(2)];
    let (_first, _) = scene.esphome("lamp", &macs[0], "1.2.0");
    scene.await_there(&format!("mac-{}", macs[0]));
    let mut second = scene.lan.machine("other");
    second.announce("lamp", "_esphomelib._tcp", 6053, &esphome(&macs[1], "1.3.0"));
    for mac in &macs {
        scene.await_there(&format!("mac-{mac}"));
    }
    let list = scene.daemon.cli(&["devices"]).output;
    assert!(list.contains("mdns:lamp._esphomelib._tcp") && list.contains("mdns:lamp #2._esphomelib._tcp"), "{list}");
}

#[test]
fn a_device_on_two_networks_is_one_and_stays_when_one_of_them_goes() {
    let world = world!();
    let second = Lan::new(&world);
    let scene = Scene::with(world, "", |gateway| gateway.join(&second, "eth1"));
    let mut machine = scene.lan.machine_on_both("kitchen", &second);
    let mac = scene.mac(1);
    machine.announce("kitchen", "_esphomelib._tcp", 6053, &esphome(&mac, "1.2.0"));
    let endpoint = format!("mac-{mac}");
    scene.await_there(&endpoint);
    let addresses = || scene.daemon.cli(&["why", &endpoint]).output;
    eventually("addresses on both networks", PATIENCE, || (addresses().matches("10.77.").count() >= 2).then_some(()));
    scene.gateway.set_interface("eth1", false);
    eventually("one network", PATIENCE, || (addresses().matches("10.77.").count() == 1).then_some(()));
    scene.await_there(&endpoint);
    scene.gateway.set_interface("eth0", false);
    scene.await_gone(&endpoint);
    scene.gateway.set_interface("eth0", true);
    scene.await_there(&endpoint);
}

#[test]
fn a_device_that_is_known_is_told_with_its_address_on_a_network_that_comes_later() {
    let scene = Scene::new("");
    let later = Lan::new(&scene.world);
    let mut machine = scene.lan.machine_on_both("kitchen", &later);
    let mac = scene.mac(1);
    machine.announce("kitchen", "_esphomelib._tcp", 6053, &esphome(&mac, "1.2.0"));
    let endpoint = format!("mac-{mac}");
    scene.await_there(&endpoint);
    let registration = || servers()[0].client(&endpoint).map(|client| client["registrationId"].clone());
    let before = registration();
    let addresses = || scene.daemon.cli(&["why", &endpoint]).output;
    eventually("its address on the first network", PATIENCE, || (addresses().contains("10.77.")).then_some(()));
    scene.gateway.join(&later, "eth1");
    eventually("addresses on both networks", PATIENCE, || (addresses().matches("10.77.").count() >= 2).then_some(()));
    assert_eq!(registration(), before, "it was asked anew, and never left");
    scene.gateway.set_interface("eth0", false);
    eventually("the later network's alone", PATIENCE * 3, || {
        (addresses().matches("10.77.").count() == 1).then_some(())
    });
    scene.await_there(&endpoint);
}

#[test]
fn a_device_that_says_goodbye_and_comes_back_within_its_last_second_is_registered_again() {
    let scene = Scene::new("");
    let mac = scene.mac(1);
    let (mut kitchen, mut service) = scene.esphome("kitchen", &mac, "1.2.0");
    let endpoint = format!("mac-{mac}");
    scene.await_there(&endpoint);
    for (round, pause) in [0, 100, 200, 250, 300, 300, 300, 300].into_iter().enumerate() {
        kitchen.withdraw(service);
        thread::sleep(Duration::from_millis(pause));
        let version = format!("2.{round}.0");
        (service, _) = kitchen.announce("kitchen", "_esphomelib._tcp", 6053, &esphome(&mac, &version));
        let since = Instant::now();
        // What went is forgotten by now, or was seen to be back.
        thread::sleep(Duration::from_secs(2));
        for server in servers() {
            eventually("it is back", BACK, || server.client(&endpoint).is_some().then_some(()));
            let version = || (server.read(&endpoint, "3/0/3").text() == version).then_some(());
            eventually("it tells what it is now", BACK, version);
        }
        println!("round {round}: {:?}", since.elapsed());
    }
}

#[test]
fn a_network_that_comes_later_is_listened_to_and_one_that_is_not_named_is_not() {
    let (all, named) = (Scene::new(""), Scene::new("interfaces = [\"eth0\"]"));
    for scene in [&all, &named] {
        let later = Lan::new(&scene.world);
        scene.gateway.join(&later, "eth1");
        let (mut there, mac) = (later.machine("there"), scene.mac(1));
        there.announce("there", "_esphomelib._tcp", 6053, &esphome(&mac, "1.2.0"));
        if std::ptr::eq(scene, &all) {
            scene.await_there(&format!("mac-{mac}"));
        } else {
            let (_here, _) = scene.esphome("here", &scene.mac(2), "1.2.0");
            scene.await_there(&format!("mac-{}", scene.mac(2)));
            holds("it is not heard", Duration::from_secs(10), || !scene.daemon.cli(&["devices"]).output.contains(&mac));
        }
    }
}

#[test]
fn a_device_that_gets_another_address_is_the_same_and_is_told_with_the_new_one() {
    let scene = Scene::new("");
    let mac = scene.mac(1);
    let (mut kitchen, _) = scene.esphome("kitchen", &mac, "1.2.0");
    let endpoint = format!("mac-{mac}");
    scene.await_there(&endpoint);
    let registration = || servers()[0].client(&endpoint).map(|client| client["registrationId"].clone());
    let (before, old) = (registration(), kitchen.address().to_string());
    kitchen.renumber();
    let new = kitchen.address().to_string();
    eventually("the new address alone", PATIENCE * 3, || {
        let why = scene.daemon.cli(&["why", &endpoint]).output;
        (why.contains(&format!(" {new},")) && !why.contains(&format!(" {old},"))).then_some(())
    });
    assert_eq!(registration(), before);
}

#[test]
fn a_link_local_address_is_told_with_its_interface() {
    let scene = Scene::new("");
    let mut machine = scene.lan.machine_with("kitchen", Addresses::LinkLocal);
    let mac = scene.mac(1);
    machine.announce("kitchen", "_esphomelib._tcp", 6053, &esphome(&mac, "1.2.0"));
    scene.await_there(&format!("mac-{mac}"));
    let why = scene.daemon.cli(&["why", &format!("mac-{mac}")]).output;
    assert!(why.contains("fe80::") && why.contains("%eth0"), "{why}");
}

#[test]
fn beside_an_avahi_of_the_gateways_own_both_hear_everything() {
    let scene = Scene::with(world!(), "announce = true", |gateway| gateway.avahi(""));
    let mac = scene.mac(1);
    let (kitchen, _) = scene.esphome("kitchen", &mac, "1.2.0");
    scene.await_there(&format!("mac-{mac}"));
    let seen = eventually("the gateway is announced", PATIENCE, || {
        let seen = kitchen.run("avahi-browse", &["-rpt", "_nuncio._tcp"]);
        seen.contains(";world;_nuncio._tcp;").then_some(seen)
    });
    assert!(seen.contains("\"version="), "{seen}");
}

#[test]
fn an_avahi_that_lets_nobody_else_listen_is_named_with_the_cure() {
    let scene = Scene::with(world!(), "", |gateway| gateway.avahi("disallow-other-stacks=yes"));
    let status = eventually("what is wrong", PATIENCE, || {
        let status = scene.daemon.cli(&["status"]).output;
        status.contains("disallow-other-stacks=no").then_some(status)
    });
    assert!(status.contains("/etc/avahi/avahi-daemon.conf"), "{status}");
    let mut scene = scene;
    scene.gateway.avahi("");
    let mac = scene.mac(1);
    let (_kitchen, _) = scene.esphome("kitchen", &mac, "1.2.0");
    scene.await_there(&format!("mac-{mac}"));
    let status = scene.daemon.cli(&["status"]).output;
    assert!(!status.contains("disallow-other-stacks"), "{status}");
}

#[test]
fn hostile_records_are_shown_escaped_and_harm_nobody() {
    let scene = Scene::new("");
    let mut machine = scene.lan.machine("evil");
    let mac = scene.mac(1);
    let mut record: Vec<Vec<u8>> =
        (0..60).map(|number| format!("k{number}={}", "x".repeat(180)).into_bytes()).collect();
    record.truncate(5);
    record.push(b"project_version=1\x1b[31m\x07\n2\xff".to_vec());
    record.push(b"project_name=../../etc/passwd".to_vec());
    record.push(b"=no key".to_vec());
    record.push(b"flag".to_vec());
    record.push(format!("mac={mac}").into_bytes());
    machine.announce_bytes("\u{1b}[2J$(reboot)/../x y", "_esphomelib._tcp", 6053, &record);
    machine.announce_bytes("no mac", "_esphomelib._tcp", 0, &[b"mac=zz".to_vec()]);
    let endpoint = format!("mac-{mac}");
    scene.await_there(&endpoint);
    let outputs = [
        scene.daemon.cli(&["devices"]).output,
        scene.daemon.cli(&["devices", "--json"]).output,
        scene.daemon.cli(&["why", &endpoint]).output,
        scene.daemon.log(),
    ];
    for output in outputs {
        assert!(!output.contains('\u{1b}') && !output.contains('\u{7}'), "{output:?}");
    }
    let [server, _] = servers();
    assert_eq!(server.read(&endpoint, "3/0/1").text(), "../../etc/passwd", "text is text");
    let named = scene.daemon.cli(&["devices"]).output;
    assert!(named.contains("host-world-evil"), "without an address it goes by its host: {named}");
}

#[test]
fn two_hundred_devices_that_announce_themselves_at_once_are_all_registered() {
    let scene = Scene::new("");
    let mut machine = scene.lan.machine("crowd");
    for number in 0..200 {
        let mac = scene.mac(number);
        machine.announce_at_once(&format!("lamp-{number}"), "_esphomelib._tcp", 6053, &esphome(&mac, "1.2.0"));
    }
    let one = format!("mac-02{:06x}", scene.world.seed() & 0x00ff_ffff);
    for server in servers() {
        eventually("two hundred", PATIENCE * 3, || {
            let there = server.clients().iter().filter(|endpoint| endpoint.starts_with(&one)).count();
            (there == 200).then_some(())
        });
    }
}

#[test]
fn what_is_new_waits_for_approval_and_what_an_operator_forgets_stays_away() {
    let scene = Scene::new("[join]\npolicy = \"approve\"\n");
    let mac = scene.mac(1);
    let (_kitchen, _) = scene.esphome("kitchen", &mac, "1.2.0");
    let endpoint = format!("mac-{mac}");
    let list = || scene.daemon.cli(&["devices"]).output;
    let link = "mdns:kitchen._esphomelib._tcp";
    eventually("it waits", PATIENCE, || list().contains(&format!("nuncio approve {link}")).then_some(()));
    assert!(servers()[0].client(&endpoint).is_none());
    let approved = scene.daemon.cli(&["approve", link]);
    assert_eq!((approved.code, approved.output.trim()), (Some(0), format!("{endpoint} has joined.").as_str()));
    scene.await_there(&endpoint);
    let renamed = scene.daemon.cli(&["rename", &endpoint, "stove"]);
    assert_eq!(renamed.code, Some(0), "{}", renamed.output);
    scene.await_there(&endpoint);
    assert!(list().contains(" stove "), "{}", list());
    let forgotten = scene.daemon.cli(&["forget", "stove", "--deny"]);
    assert_eq!(forgotten.code, Some(0), "{}", forgotten.output);
    scene.await_gone(&endpoint);
    let mut daemon = scene.daemon;
    daemon.stop(PATIENCE);
    daemon.run();
    let kept_out = || daemon.cli(&["devices"]).output;
    eventually("it is still kept out", PATIENCE, || kept_out().contains("nuncio forget --deny").then_some(()));
    assert_eq!(daemon.cli(&["approve", link]).code, Some(0));
    for server in servers() {
        server.await_client(&endpoint);
    }
}

/// Answers every request with this, as many as there come.
fn web_server(listener: TcpListener, path: &'static str, body: &'static str) {
    thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let mut request = [0; 1024];
            let length = connection.read(&mut request).unwrap_or(0);
            let asked = request[..length].starts_with(format!("GET {path} HTTP/1.1\r\n").as_bytes());
            let (status, body) = if asked { ("200 OK", body) } else { ("404 Not Found", "") };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            // One that has gone away needs no answer.
            let _ = connection.write_all(answer.as_bytes());
        }
    });
}

#[test]
fn who_does_not_announce_what_it_is_is_asked_by_http() {
    let scene = Scene::new("");
    let mut plug = scene.lan.machine("tasmota-0123");
    // As much of Tasmota 14.2's answer as counts here (`Status 0`).
    let status = r#"{"Status":{"DeviceName":"Pump"},"StatusFWR":{"Version":"14.2.0(tasmota32)","Hardware":"ESP32-D0WD-V3 v3.0"},
        "StatusNET":{"Hostname":"tasmota-0123","Mac":"A4:CF:12:00:00:07"},"StatusSTS":{"Wifi":{"RSSI":78,"Signal":-61}}}"#;
    web_server(plug.listen(80), "/cm?cmnd=Status%200", status);
    plug.announce("Pump", "_http._tcp", 80, &[("devicetype", "tasmota")]);
    let mut lamp = scene.lan.machine_with("wled-desk", Addresses::LinkLocal);
    let info =
        r#"{"ver":"0.15.0","release":"ESP32","arch":"esp32","mac":"a4cf12000008","wifi":{"rssi":-56,"signal":88}}"#;
    web_server(lamp.listen(80), "/json/info", info);
    lamp.announce("wled-desk", "_wled._tcp", 80, &[("mac", "a4cf12000008")]);
    for (endpoint, version, hardware, dbm) in [
        ("mac-a4cf12000007", "14.2.0(tasmota32)", "ESP32-D0WD-V3 v3.0", "-61"),
        ("mac-a4cf12000008", "0.15.0", "esp32", "-56"),
    ] {
        scene.await_there(endpoint);
        let server = servers()[0];
        eventually("the version", PATIENCE, || (server.read(endpoint, "3/0/3").text() == version).then_some(()));
        assert_eq!(server.read(endpoint, "3/0/18").text(), hardware);
        assert_eq!(server.read(endpoint, "4/0/2").text(), dbm);
        let told =
            |server: &Leshan| server.client(endpoint).is_some_and(|client| client.to_string().contains("\"/4/0\""));
        eventually("servers know of object 4", PATIENCE, || servers().into_iter().all(told).then_some(()));
    }
}

#[test]
fn an_smp_server_is_asked_over_udp_for_the_image_that_runs() {
    let scene = Scene::new("");
    let mut pump = scene.lan.machine("smp-pump");
    let mut server = Command::new(smp_python());
    server.arg(repository().join("tests/world/smpfake.py")).args(["--version", "3.1.4", "--info", "Zephyr pump"]);
    server.args(["--udp", &format!("{}:1337", pump.address())]);
    let mut server = pump.start_program("smpfake", &server);
    server.line_after(0, PATIENCE, |line| line.contains("ready").then_some(()));
    pump.announce("pump", "_smp._udp", 1337, &[("mac", "x")]);
    let endpoint = "host-world-smp-pump";
    scene.await_there(endpoint);
    let leshan = servers()[0];
    eventually("the version", PATIENCE, || (leshan.read(endpoint, "3/0/3").text() == "3.1.4").then_some(()));
    assert_eq!(leshan.read(endpoint, "3/0/1").text(), "Zephyr pump");
}
