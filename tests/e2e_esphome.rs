//! Real ESPHome firmware on the network, asked and watched by its native API: what it is, what it has, and what is written to it.
//!
//! Needs the peers lan, leshan and esphome, and root: `make peers`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use world::{
    Announced, Daemon, Gateway, Lan, Leshan, Machine, Process, World, esphome_firmware, eventually, noise_server, world,
};

/// Ten times what an announcement, a connection and a few messages take.
const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &str = "ERIzRFVmd4iZqrvM3e7/ABEiM0RVZneImaq7zN3u/wA=";
const OTHER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const PORT: u16 = 6053;

struct Scene {
    daemon: Daemon,
    leshan: Leshan,
    machine: Machine,
    _gateway: Gateway,
    _lan: Lan,
    world: World,
}

impl Scene {
    fn new(name: &str, host: &str, keys: &str) -> Self {
        let (world, leshan) = (world!(), Leshan::start(name));
        let lan = Lan::new(&world);
        let gateway = lan.gateway();
        let daemon = world
            .daemon()
            .server("leshan", &gateway.uri(&leshan), 123, "")
            .lan(&gateway, "")
            .toml(&format!("[esphome]\nkeys = {keys}\n"))
            .start();
        let machine = lan.machine(host);
        Self { daemon, leshan, machine, _gateway: gateway, _lan: lan, world }
    }

    fn mac(&self) -> String {
        format!("02{:06x}0001", self.world.seed() & 0x00ff_ffff)
    }

    fn endpoint(&self) -> String {
        format!("mac-{}", self.mac())
    }

    fn announce(&mut self, name: &str, more: &[(&str, &str)]) -> Announced {
        let mac = self.mac();
        let mut txt = vec![("mac", mac.as_str()), ("network", "wifi"), ("version", "2026.6.5")];
        txt.extend(more);
        let (service, _) = self.machine.announce(name, "_esphomelib._tcp", PORT, &txt);
        self.leshan.await_client(&self.endpoint());
        service
    }

    fn read(&self, path: &str) -> String {
        let answer = self.leshan.read(&self.endpoint(), path);
        if answer.code == 205 { answer.text() } else { format!("{}", answer.code) }
    }

    fn await_value(&self, path: &str, wanted: &str) {
        eventually(&format!("{path} is {wanted}"), PATIENCE, || (self.read(path) == wanted).then_some(()));
    }

    fn await_why(&self, words: &str) {
        eventually(&format!("why says `{words}`"), PATIENCE, || {
            self.daemon.cli(&["why", &self.endpoint()]).output.contains(words).then_some(())
        });
    }
}

fn kitchen(machine: &Machine) -> Process {
    // It keeps its preferences in a home, and says each line when it is said.
    let mut command = Command::new("env");
    command.args(["HOME=/run", "stdbuf", "-oL"]).arg(esphome_firmware());
    machine.start_program("kitchen", &command)
}

fn vault(machine: &Machine, key: &str) -> Process {
    let mut command = noise_server();
    command.args(["serve", &PORT.to_string(), key]);
    let process = machine.start_program("vault", &command);
    eventually("it listens", PATIENCE, || process.output().contains("listening").then_some(()));
    process
}

#[test]
fn real_firmware_tells_what_it_is_and_what_it_has_and_takes_values() {
    let mut scene = Scene::new("esphome", "kitchen", "{}");
    let firmware = kitchen(&scene.machine);
    scene.announce("kitchen", &[]);
    for (path, value) in
        [("3/0/3", "1.2.0"), ("3/0/1", "acme.lamp"), ("3303/0/5701", "Cel"), ("3303/0/5750", "Temperature")]
    {
        scene.await_value(path, value);
    }
    scene.await_why("1.2.0 (api project_version)");
    let degrees = || scene.read("3303/0/5700").parse::<f64>().ok();
    eventually("a temperature", PATIENCE, || degrees().filter(|degrees| *degrees > 20.0));
    // The switch, and the sensor that its firmware makes of it.
    scene.await_value("3306/0/5850", "false");
    scene.await_value("3200/0/5500", "false");
    let events = scene.leshan.events(&scene.endpoint());
    assert_eq!(scene.leshan.observe(&scene.endpoint(), "3200/0/5500").code, 205);
    assert_eq!(scene.leshan.write(&scene.endpoint(), "3306/0/5850", true).code, 204);
    events.await_values("/3200/0/5500", &["true"], PATIENCE);
    scene.await_value("3306/0/5850", "true");
    assert_eq!(scene.leshan.write(&scene.endpoint(), "3308/0/5900", 42.5).code, 204);
    scene.await_value("3308/0/5900", "42.5");
    // The device would pass over it without a word.
    assert_eq!(scene.leshan.write(&scene.endpoint(), "3308/0/5900", 1e6).code, 400);
    assert_eq!(scene.leshan.write(&scene.endpoint(), "3200/0/5500", false).code, 405);
    assert_eq!(scene.leshan.write(&scene.endpoint(), "3311/0/5850", true).code, 204);
    scene.await_value("3311/0/5850", "true");

    let identified = scene.daemon.cli(&["identify", &scene.endpoint()]);
    assert_eq!(identified.code, Some(0), "{}", identified.output);
    assert!(identified.output.contains("its button `Identify` was pressed"), "{}", identified.output);
    eventually("the firmware says so", PATIENCE, || firmware.output().contains("here I am").then_some(()));
    let listed = scene.daemon.cli(&["points", &scene.endpoint()]).output;
    assert!(listed.contains("3303/0") && listed.contains("Mode") && listed.contains("auto"), "{listed}");
    let who = scene.daemon.cli(&["who", &scene.endpoint()]).output;
    assert!(who.contains("reading its points"), "{who}");
}

#[test]
fn firmware_that_dies_leaves_no_values_and_is_found_again() {
    let mut scene = Scene::new("esphome-dies", "kitchen", "{}");
    let firmware = kitchen(&scene.machine);
    scene.announce("kitchen", &[]);
    scene.await_value("3306/0/5850", "false");
    drop(firmware);
    scene.await_value("3306/0/5850", "404");
    assert_eq!(scene.leshan.write(&scene.endpoint(), "3306/0/5850", true).code, 500);
    let _firmware = kitchen(&scene.machine);
    scene.await_value("3306/0/5850", "false");
}

#[test]
fn an_encrypted_one_is_read_with_its_key_and_its_wifi_is_told() {
    // One that announces it, and one that says so only when it is spoken to in the clear.
    let (noise, both) =
        ([("api_encryption", "Noise_NNpsk0_25519_ChaChaPoly_SHA256")], "{ vault = \"K\", \"*\" = \"O\" }");
    for (name, keys, txt) in [("esphome-noise", both, &noise[..]), ("esphome-quiet", "{ \"*\" = \"K\" }", &[])] {
        let keys = keys.replace("\"K\"", &format!("{KEY:?}")).replace("\"O\"", &format!("{OTHER_KEY:?}"));
        let mut scene = Scene::new(name, "vault", &keys);
        let _vault = vault(&scene.machine, KEY);
        scene.announce("vault", txt);
        for (path, value) in [("3/0/3", "3.1.4"), ("3/0/0", "Acme"), ("3306/0/5850", "false"), ("4/0/2", "-63")] {
            scene.await_value(path, value);
        }
        assert_eq!(scene.leshan.write(&scene.endpoint(), "3306/0/5850", true).code, 204);
        scene.await_value("3306/0/5850", "true");
        for told in [scene.daemon.log(), scene.daemon.cli(&["why", &scene.endpoint()]).output] {
            assert!(!told.contains(&KEY[..12]) && !told.contains(&OTHER_KEY[..12]), "a key is shown: {told}");
        }
    }
}

#[test]
fn without_its_key_or_with_a_wrong_one_it_says_so_and_is_a_device_all_the_same() {
    for (name, keys, words) in [
        ("esphome-none", "{}".to_owned(), "give its key under `[esphome] keys`"),
        ("esphome-wrong", format!("{{ \"v*\" = \"{OTHER_KEY}\" }}"), "another key than the one under `[esphome] keys`"),
    ] {
        let mut scene = Scene::new(name, "vault", &keys);
        let _vault = vault(&scene.machine, KEY);
        scene.announce("vault", &[("api_encryption", "Noise_NNpsk0_25519_ChaChaPoly_SHA256")]);
        scene.await_why(words);
        assert_eq!(scene.read("3/0/3"), "404");
    }
}

#[test]
fn esphomes_own_client_takes_our_encrypted_server_for_one() {
    let port = world::free_tcp();
    let mut serve = noise_server();
    serve.args(["serve", &port.to_string(), KEY]);
    let server = Process::start("vault", &serve, None);
    eventually("it listens", PATIENCE, || server.output().contains("listening").then_some(()));
    let checked = noise_server().args(["check", &port.to_string(), KEY]).output().expect("Python runs");
    let told = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && told.contains("3.1.4") && told.contains("relay"), "{checked:?}");
}

/// What a hostile thing says to everybody.
fn says(listener: TcpListener, words: &'static [u8], again: bool) {
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut rubbish = [0; 256];
                // Whatever it is asked, and until it is left.
                while stream.read(&mut rubbish).is_ok_and(|count| count > 0) {
                    while stream.write_all(words).is_ok() && again {}
                }
            });
        }
    });
}

#[test]
fn what_speaks_no_native_api_is_a_device_with_a_reason() {
    // A hello, and then list entries without end.
    const ENDLESS: &[u8] = &[0x00, 0x02, 0x02, 0x08, 0x01, 0x00, 0x08, 0x10, 0x0A, 0x01, b'x', 0x15, 1, 0, 0, 0];
    for (name, words, again, reason) in [
        ("rubbish", &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], false, "does not speak ESPHome's native API"),
        ("huge", &[0x00, 0xFF, 0xFF, 0xFF, 0x7F, 0x02], false, "it says too much at once"),
        ("bomb", &[0x00, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80], false, "does not speak ESPHome's native API"),
        ("silent", &[], false, "does not answer"),
        ("endless", ENDLESS, true, "does not answer"),
    ] {
        let mut scene = Scene::new(&format!("esphome-{name}"), name, "{}");
        says(scene.machine.listen(PORT), words, again);
        scene.announce(name, &[]);
        scene.await_why(reason);
        assert_eq!(scene.read("3/0/0"), "ESPHome");
        let held = std::fs::read_to_string(format!("/proc/{}/status", scene.daemon.process().id())).expect("it runs");
        let peak = held.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("memory").trim();
        let peak: u64 = peak.trim_end_matches(" kB").parse().expect("a number");
        assert!(peak < 200 * 1024, "{name}: {peak} kB");
    }
}

#[test]
fn one_that_gets_another_address_is_watched_there() {
    let mut scene = Scene::new("esphome-moves", "kitchen", "{}");
    let _firmware = kitchen(&scene.machine);
    scene.announce("kitchen", &[]);
    scene.await_value("3306/0/5850", "false");
    scene.machine.renumber();
    // Nobody behind the old address answers any more.
    eventually("the new address", PATIENCE * 3, || {
        let why = scene.daemon.cli(&["why", &scene.endpoint()]).output;
        why.contains(&scene.machine.address().to_string()).then_some(())
    });
    eventually("it is watched there", PATIENCE, || {
        scene.leshan.write(&scene.endpoint(), "3306/0/5850", true);
        thread::sleep(Duration::from_millis(500));
        (scene.read("3306/0/5850") == "true").then_some(())
    });
}
