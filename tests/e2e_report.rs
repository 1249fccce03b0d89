//! `nuncio report`: what a bug report needs is in it, and no secret is, wherever one stood. With the daemon, without it, and
//! with a configuration that is broken.
//!
//! Needs the peers avr and leshan: `make peers`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use world::{Daemon, Scene, World, avr_image, world};

/// An encryption key as ESPHome has them.
const KITCHEN: &str = "cGxhbnRlZC1raXRjaGVuLWtleS0wMTIzNDU2Nzg5MDE=";
const STOP: Duration = Duration::from_secs(50);

/// The parts of a bundle by their names, as `tar` unpacks them.
fn parts(file: &Path) -> BTreeMap<String, String> {
    let folder = file.with_extension("unpacked");
    fs::create_dir(&folder).expect("made");
    let unpacked = Command::new("tar").arg("xzf").arg(file).arg("-C").arg(&folder).status().expect("tar runs");
    assert!(unpacked.success());
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("all of it is text");
            found.insert(path.file_name().expect("a name").to_string_lossy().into_owned(), text);
        }
    }
    found
}

/// Programs that stand for systemd's, and say this.
fn systemd(world: &World, log: &str) {
    let script =
        |name: &str, text: &str| world.script(&format!("bin/{name}"), &format!("#!/bin/sh\ncat <<'E'\n{text}\nE\n"));
    script("journalctl", log);
    script("systemctl", "ActiveState=active\nNRestarts=3");
}

/// A bundle: its parts, and what was printed.
fn report(daemon: &Daemon, world: &World, more: &[&str]) -> (BTreeMap<String, String>, String) {
    let file = world.home().join("report.tar.gz");
    let path = file.to_str().expect("a path of ours");
    let made = daemon.cli(&[&["report", path, "--record", "1s"], more].concat());
    assert_eq!(made.code, Some(0), "{}", made.output);
    (parts(&file), made.output)
}

fn json(parts: &BTreeMap<String, String>, name: &str) -> Value {
    let text = parts.get(name).unwrap_or_else(|| panic!("{name} is missing among {:?}", parts.keys()));
    serde_json::from_str(text).expect("JSON")
}

#[track_caller]
fn hides(parts: &BTreeMap<String, String>, secrets: &[&str]) {
    for (name, text) in parts {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in {name}:\n{text}");
        }
    }
}

#[test]
fn a_bundle_has_all_that_is_needed_and_no_secret_from_anywhere() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    // A tool that tells secrets and fails, and one variable that is one.
    world.script(
        "bin/avrdude",
        "#!/bin/sh\ncase \"$*\" in *flash:w*) echo get http://u:planted-tool@h/x; echo wifi_password=planted-word; exit 1;; esac\nexec /usr/bin/avrdude \"$@\"\n",
    );
    let uno = fs::read_to_string(world::repository().join("config/boards.d/arduino-uno.toml")).expect("ours");
    let uno = uno.replace("vars = {", "vars = { \"secret.ssid\" = \"planted-variable\",");
    world.file("config/boards.d/arduino-uno.toml", format!("# planted-comment\n{uno}"));
    systemd(
        &world,
        "nuncio: cannot reach mqtt with cGxhbnRlZC1raXRjaGVuLWtleS0wMTIzNDU2Nzg5MDE=\nnuncio: Authorization: Bearer planted-bearer-token\nusb 1-1: new device token=planted-kernel",
    );
    let bin = world.home().join("bin");
    let keys = "[esphome]\nkeys = { kitchen = \"cGxhbnRlZC1raXRjaGVuLWtleS0wMTIzNDU2Nzg5MDE=\", \"*\" = \"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\" }\n\
                [mqtt]\npassword = \"planted-mqtt\"\n\
                [[hook]]\nname = \"chat\"\non = [\"update-failed\"]\nurl = \"https://127.0.0.1:9/services/planted-hook\"\nsecret = \"planted-hmac\"\nretries = 0";
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.path(&bin).toml(keys));
    let token = scene.daemon.cli(&["token", "add", "ci", "--json"]).json()["token"].clone();
    let token = token.as_str().and_then(|token| token.rsplit('.').next()).expect("a token");
    scene.offer(scene.factory(), &avr_image("uno-1.3.0.hex"), "");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "2", "8");
    // What a server wrote, too: it is 5/0/1 as long as it is staged.
    let (parts, printed) = report(&scene.daemon, &scene.world, &[]);
    hides(
        &parts,
        &[
            "planted-tool",
            "planted-word",
            "planted-variable",
            "planted-comment",
            KITCHEN,
            "planted-bearer-token",
            "planted-kernel",
            "planted-mqtt",
            "planted-hook",
            "planted-hmac",
            "MDEyMzQ1Njc4OTAxMjM0",
            token,
        ],
    );
    assert_eq!(json(&parts, "status.json")["gateway"]["name"], "world");
    assert_eq!(json(&parts, "history.json")["updates"][0]["outcome"], "failed");
    let failed = json(&parts, "failed-update.json").to_string();
    assert!(failed.contains("get http://***@h/x") && failed.contains("wifi_password=***"), "{failed}");
    assert_eq!(json(&parts, "devices.json")["devices"][0]["id"], *scene.name);
    assert!(json(&parts, "check.json")["items"].as_array().is_some_and(|items| items.len() > 5));
    assert!(json(&parts, "why.json")[0]["board"] == "arduino-uno");
    let tape = scene.world.file("a.tape", &parts["transports.tape"]);
    let played = scene.daemon.cli(&["replay", "--at-once", "--json", tape.to_str().expect("a path of ours")]);
    assert_eq!(played.json()["devices"][0]["link"], *board.link(), "{}", played.output);
    for (name, text) in [
        ("system.txt", "kernel: Linux"),
        ("log.txt", "cannot reach mqtt with ***"),
        ("kernel.txt", "usb 1-1"),
        ("unit.txt", "NRestarts=3"),
        ("state.txt", "nuncio.db"),
        ("ports.txt", "USB devices"),
        ("nuncio.toml", "kitchen"),
        ("arduino-uno.toml", "secret.ssid"),
        ("README.txt", "look at it"),
    ] {
        assert!(parts[name].contains(text), "{name}: {}", parts[name]);
    }
    assert!(
        printed.contains("Look at it before you send it") && parts.keys().all(|name| printed.contains(name)),
        "{printed}"
    );
}

#[test]
fn a_bundle_is_made_without_a_daemon_and_with_a_broken_configuration() {
    let world = world!();
    systemd(&world, "x");
    let mut daemon = world
        .daemon()
        .path(&world.home().join("bin"))
        .toml("[esphome.keys]\nkitchen = \"cGxhbnRlZC1raXRjaGVuLWtleS0wMTIzNDU2Nzg5MDE=\"")
        .start();
    assert_eq!(daemon.stop(STOP), Some(0));
    let (all, printed) = report(&daemon, &world, &[]);
    hides(&all, &[KITCHEN]);
    assert!(printed.contains("no daemon is running") && !all.contains_key("status.json"), "{printed}");
    assert!(all["README.txt"].contains("not in it: what the daemon knows"));
    fs::remove_file(world.home().join("report.tar.gz")).expect("removed");
    fs::remove_dir_all(world.home().join("report.tar.unpacked")).expect("removed");
    daemon.edit_config(|config| format!("{config}\nliving = planted-living\n[mqtt]\npassword = \"planted-mqtt\n"));
    let (all, printed) = report(&daemon, &world, &["--json"]);
    hides(&all, &[KITCHEN, "planted-living", "planted-mqtt"]);
    let check = json(&all, "check.json");
    assert!(check["errors"].as_u64().is_some_and(|errors| errors > 0), "{check}");
    assert!(
        all["nuncio.toml"].contains("password = ***") && all["nuncio.toml"].contains("[mqtt]"),
        "{}",
        all["nuncio.toml"]
    );
    assert!(printed.contains("\"schema\":\"report/1\""), "{printed}");
}

#[test]
fn a_daemon_that_does_not_answer_and_a_machine_without_systemd_are_written_down() {
    let world = world!();
    let empty = world.home().join("empty");
    fs::create_dir(&empty).expect("made");
    let daemon = world.daemon().env("PATH", &empty).prepare();
    let _silent = UnixListener::bind(world.home().join("control.sock")).expect("bound");
    let began = Instant::now();
    let (parts, printed) = report(&daemon, &world, &[]);
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
    assert!(printed.contains("the daemon does not answer") && printed.contains("journalctl:"), "{printed}");
    assert!(parts.contains_key("system.txt") && !parts.contains_key("log.txt"));
    let again = daemon.cli(&["report", world.home().join("report.tar.gz").to_str().expect("ours")]);
    assert!(again.code == Some(1) && again.output.contains("is there already"), "{}", again.output);
}
