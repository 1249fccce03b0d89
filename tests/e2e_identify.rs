//! Which board it is, found out by asking real bootloaders and programs, as far as `[serial] questions` allows.
//!
//! Needs the peers avr and esp: `make peers`.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use world::{
    Daemon, DeviceView, Model, SimBoard, World, avr_image, esp_image, eventually, firmata_image, holds, world,
};

/// All questions of all boards, for a port that nothing is known of, take under a minute.
const PATIENCE: Duration = Duration::from_secs(300);

fn watching(world: &World, port: &Path, questions: &str) -> Daemon {
    world.daemon().serial(&format!("questions = {questions:?}\nwatch = [{port:?}]")).start()
}

fn await_device_at(daemon: &Daemon, port: &Path) -> DeviceView {
    eventually("the port's board is known", PATIENCE, || daemon.device_at(port))
}

/// The details of the steps with this verdict, one a line.
fn steps(why: &Value, verdict: &str) -> String {
    let all = why["steps"].as_array().cloned().unwrap_or_default();
    let told = all.iter().filter(|step| step["verdict"] == verdict);
    told.map(|step| format!("{}: {}\n", step["what"].as_str().unwrap_or(""), step["detail"].as_str().unwrap_or("")))
        .collect()
}

fn opens(board: &mut SimBoard) -> u64 {
    board.stat().opens
}

#[test]
fn a_passive_gateway_asks_nothing_and_says_what_it_did_not_ask() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let before = opens(&mut board);
    let daemon = watching(&world, board.port(), "passive");
    let why = daemon.await_why(board.port(), "explains the port", |why| !steps(why, "not-asked").is_empty());
    let not_asked = steps(&why, "not-asked");
    assert!(not_asked.contains("Firmata") && not_asked.contains("stk500"), "{not_asked}");
    assert!(not_asked.contains("`[serial] questions = \"bootloader\"` allows it"), "{not_asked}");
    assert_eq!(why["board"], Value::Null, "{why}");
    holds("the port stays closed, for ten rounds of the poll", Duration::from_secs(2), || opens(&mut board) == before);
    assert_eq!(before, 0);
}

#[test]
fn a_running_firmata_tells_the_board_where_opening_the_port_is_allowed() {
    let world = world!();
    let board = world.board(Model::Uno).with(&firmata_image()).start();
    let daemon = watching(&world, board.port(), "serial");
    let device = await_device_at(&daemon, board.port());
    assert_eq!(device.board(), "arduino-uno", "{:?}", device.0);
    let why = daemon.why(board.port());
    assert!(steps(&why, "matched").contains("Firmata"), "{why}");
    assert!(why["sureness"].as_str().is_some_and(|sureness| sureness.starts_with("likely")), "{why}");
    assert!(!why.to_string().contains("1e950f"), "no bootloader was asked: {why}");
}

#[test]
fn a_board_makes_itself_visible_by_its_light_or_its_boot_loader() {
    let world = world!();
    let mut board = world.board(Model::Uno).with(&firmata_image()).start();
    let daemon = watching(&world, board.port(), "serial");
    let device = await_device_at(&daemon, board.port());
    let before = board.blinks();
    let port = board.port().display().to_string();
    let blinking = std::thread::scope(|scope| {
        let blinking = scope.spawn(|| daemon.cli(&["identify", device.id()]));
        eventually("somebody has the port", PATIENCE, || {
            daemon.cli(&["who", &port]).output.contains("held by the gateway, making it blink").then_some(())
        });
        let second = daemon.cli(&["identify", device.id()]);
        assert_eq!(second.code, Some(5), "{}", second.output);
        blinking.join().expect("asked")
    });
    assert_eq!(blinking.code, Some(0), "{}", blinking.output);
    assert!(blinking.output.contains("its light on pin 13 blinked, by Firmata"), "{}", blinking.output);
    // The boot loader blinks, too, but never so often.
    let after = board.blinks();
    assert!(after >= before + 10, "{before} then {after}");
    // Another one tells nothing of a Firmata: it is restarted.
    let mut plain = world.uno("uno-1.2.0.hex");
    let world = world!();
    let link = format!("serial:{}", plain.port().display());
    let daemon = world.daemon().device("plain", "arduino-uno", &link, "").start();
    daemon.await_device("plain", "is present", |device| device.present().then_some(()));
    let before = (plain.stat().resets, plain.blinks());
    let restarted = daemon.cli(&["identify", "plain"]);
    assert!(restarted.output.contains("restarted three times"), "{}", restarted.output);
    let after = (plain.stat().resets, plain.blinks());
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} then {after:?}");
}

#[test]
fn a_bootloaders_signature_tells_a_mega_and_an_old_nano() {
    for (model, board, image) in
        [(Model::Mega, "arduino-mega2560", "mega-1.2.0.hex"), (Model::NanoOld, "arduino-nano", "nano-1.2.0.hex")]
    {
        let world = world!();
        let chip = world.board(model).with(&avr_image(image)).start();
        let daemon = watching(&world, chip.port(), "bootloader");
        let device = await_device_at(&daemon, chip.port());
        assert_eq!(device.board(), board, "{:?}", device.0);
        let why = daemon.why(chip.port());
        assert!(steps(&why, "matched").contains("signature"), "{why}");
    }
}

#[test]
fn an_uno_and_a_new_nano_answer_alike_and_why_says_so() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let daemon = watching(&world, board.port(), "bootloader");
    let why = daemon.await_why(board.port(), "both are possible", |why| why.to_string().contains("answer alike"));
    let noted = steps(&why, "noted");
    assert!(noted.contains("`arduino-nano` and `arduino-uno`") && noted.contains("[[device]]"), "{noted}");
    assert_eq!(why["board"], Value::Null, "no guess: {why}");
    assert!(daemon.device_at(board.port()).is_none(), "no device is made of a guess");
}

#[test]
fn where_all_nanos_are_old_ones_the_signature_tells_an_uno() {
    let world = world!();
    let nano = include_str!("../config/boards.d/arduino-nano.toml");
    let new_bootloader = "    { stk500 = { baud = 115200, signature = \"1e950f\" } },\n";
    assert!(nano.contains(new_bootloader));
    world.file("config/boards.d/arduino-nano.toml", nano.replace(new_bootloader, ""));
    let board = world.uno("uno-1.2.0.hex");
    let daemon = watching(&world, board.port(), "bootloader");
    let device = await_device_at(&daemon, board.port());
    assert_eq!(device.board(), "arduino-uno", "{:?}", device.0);
    let version = eventually("its version is read", PATIENCE, || {
        daemon.device_at(board.port()).map(|device| device.version().to_owned()).filter(|version| !version.is_empty())
    });
    assert_eq!(version, "1.2.0");
}

#[test]
fn an_esp_is_told_by_its_chip_id_and_named_by_its_mac_address() {
    for (chip, mac) in [("esp32", "246f28aabbcc"), ("esp32c3", "7cdfa1010203"), ("esp32s3", "7cdfa1040506")] {
        let world = world!();
        let image = esp_image(&format!("{chip}-1.4.2.bin"));
        let fake = world.esp(chip).with(&image).args(&["--mac", mac]).start();
        let settings = format!("questions = \"bootloader\"\nwatch = [{:?}]", fake.port());
        let daemon = world.daemon().serial(&settings).modem_lines(&fake).start();
        let device = await_device_at(&daemon, fake.port());
        assert_eq!((device.board(), device.endpoint()), (chip, format!("mac-{mac}").as_str()), "{:?}", device.0);
        let version = eventually("its version is read", PATIENCE, || {
            daemon.device_at(fake.port()).map(|device| device.version().to_owned()).filter(|text| !text.is_empty())
        });
        assert_eq!(version, "1.4.2");
        let why = daemon.why(fake.port());
        assert!(steps(&why, "matched").contains("chip"), "{why}");
    }
}

#[test]
fn a_port_whose_budget_is_used_up_is_asked_again_when_time_has_passed() {
    let world = world!();
    let chip = world.board(Model::Mega).with(&avr_image("mega-1.2.0.hex")).start();
    let lines = format!("questions = \"bootloader\"\nbudget = 1\nagain_after = \"3s\"\nwatch = [{:?}]", chip.port());
    let daemon = world.daemon().serial(&lines).start();
    daemon.await_why(chip.port(), "has no question left", |why| steps(why, "not-asked").contains("is used up"));
    assert_eq!(await_device_at(&daemon, chip.port()).board(), "arduino-mega2560");
}
