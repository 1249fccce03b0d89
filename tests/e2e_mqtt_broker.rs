//! Home Assistant by MQTT where things go wrong or come and go: the broker, the gateway, devices, and what was told before.
//!
//! Needs the peers avr, leshan and mqtt: `make peers`.

use std::time::Duration;

use serde_json::Value;
use world::{
    Authority, Daemon, Model, Mosquitto, SimBoard, World, avr_image, eventually, firmata_image, hass_entities, holds,
    world,
};

/// A bootloader, a flash, and the longest wait between two tries.
const PATIENCE: Duration = Duration::from_secs(240);

const PINS: &str = r#"
[board.arduino-uno.points.firmata]
baud = 57600
pins = [{ pin = 13, mode = "output", object = 3306, name = "lamp" }, { pin = 2, mode = "pullup", object = 3200 }]
"#;

fn press(world: &World, broker: &Mosquitto, extra: &str) -> (Daemon, SimBoard) {
    let board = world.uno("uno-1.2.0.hex");
    let daemon = world.daemon().mqtt(broker, extra).device("press", "arduino-uno", &board.link(), "");
    (daemon.start(), board)
}

fn await_availability(broker: &Mosquitto, device: &str, wanted: &str) {
    let topic = format!("nuncio/world/{device}availability");
    eventually(&format!("{topic} is {wanted}"), PATIENCE, || {
        (broker.kept(&topic).get(&topic)?.payload == wanted).then_some(())
    });
}

fn notes(daemon: &Daemon) -> String {
    daemon.cli(&["status", "--json"]).json()["gateway"]["notes"].to_string()
}

fn await_note(daemon: &Daemon, words: &str) {
    eventually(&format!("nuncio status notes {words}"), PATIENCE, || notes(daemon).contains(words).then_some(()));
}

/// The topics that the broker keeps of a device, by what comes last in them.
fn kept(broker: &Mosquitto, device: &str) -> Vec<String> {
    let of_device = broker.kept(&format!("nuncio/world/{device}/#"));
    let config = broker.kept(&format!("homeassistant/device/nuncio--world--{device}/config"));
    let leaves = of_device.keys().chain(config.keys()).filter_map(|topic| topic.rsplit('/').next());
    leaves.map(str::to_owned).collect()
}

#[test]
fn a_broker_that_has_forgotten_everything_is_told_again_and_nobody_waits_for_it() {
    let world = world!();
    let mut broker = world.mosquitto("broker").start();
    let (daemon, board) = press(&world, &broker, "");
    await_availability(&broker, "press/", "online");
    let before = kept(&broker, "press");
    assert_eq!(before, ["availability", "entities", "update", "config"]);
    broker.stop();
    await_note(&daemon, &broker.uri());
    let flashed = daemon.flash("press", &avr_image("uno-1.3.0.hex"));
    assert_eq!(flashed.code, Some(0), "{}", flashed.output);
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
    broker.run();
    await_availability(&broker, "press/", "online");
    broker.await_kept("nuncio/world/press/update", "tells what happened meanwhile", |message| {
        (message.json()["installed_version"] == "1.3.0").then_some(())
    });
    assert_eq!(kept(&broker, "press"), before);
    eventually("the note is gone", PATIENCE, || (notes(&daemon) == "[]").then_some(()));
    let log = daemon.log();
    assert!(log.contains("works again"), "{log}");
}

#[test]
fn a_broker_that_stands_still_holds_up_nothing_and_gets_the_newest_when_it_goes_on() {
    let world = world!();
    let broker = world.mosquitto("broker").start();
    let (daemon, board) = press(&world, &broker, "keep_alive = \"5s\"");
    await_availability(&broker, "press/", "online");
    broker.freeze();
    for version in ["1.3.0", "1.2.0", "1.3.0"] {
        let image = avr_image(&format!("uno-{version}.hex"));
        let flashed = daemon.flash("press", &image);
        assert_eq!(flashed.code, Some(0), "{}", flashed.output);
        assert!(board.holds(&image));
    }
    await_note(&daemon, "MQTT");
    broker.go_on();
    broker.await_kept("nuncio/world/press/update", "is the newest", |message| {
        let state = message.json();
        (state["installed_version"] == "1.3.0" && state["in_progress"] == false).then_some(())
    });
    await_availability(&broker, "press/", "online");
}

#[test]
fn a_wrong_password_is_told_once_and_the_right_one_is_taken_when_it_is_there() {
    let world = world!();
    let broker = world.mosquitto("broker").login("gateway", "open sesame").start();
    // As systemd hands it over: LoadCredential=broker:...
    let password = world.file("credentials/broker", "wrong\n");
    let board = world.uno("uno-1.2.0.hex");
    let daemon = world
        .daemon()
        .mqtt(&broker, "username = \"gateway\"\npassword_file = \"broker\"")
        .env("CREDENTIALS_DIRECTORY", password.parent().expect("a folder"))
        .device("press", "arduino-uno", &board.link(), "")
        .start();
    await_note(&daemon, "does not let `gateway` in with this password: see `password_file`");
    eventually("it has tried three times", PATIENCE, || {
        (broker.log().matches("disconnected, not authorised").count() >= 3).then_some(())
    });
    let said = |daemon: &Daemon| {
        let log = daemon.log();
        assert!(!log.contains("wrong") && !log.contains("sesame"), "no password is logged: {log}");
        log.lines().filter(|line| line.contains("WARN") && line.contains("does not let `gateway` in")).count()
    };
    assert_eq!(said(&daemon), 1);
    world.file("credentials/broker", "open sesame\n");
    await_availability(&broker, "press/", "online");
    assert_eq!((said(&daemon), notes(&daemon)), (1, "[]".to_owned()));
}

#[test]
fn a_broker_of_an_own_authority_is_trusted_where_that_is_said_and_no_other() {
    let world = world!();
    let (own, other) = (Authority::new(&world, "own"), Authority::new(&world, "other"));
    let broker = world.mosquitto("broker").tls(&own).start();
    let ca = |authority: &Authority| format!("ca = [{:?}]", authority.certificate());
    let (mut daemon, _board) = press(&world, &broker, &ca(&other));
    await_note(&daemon, "invalid peer certificate");
    assert!(broker.kept("nuncio/#").is_empty());
    daemon.stop(PATIENCE);
    daemon.edit_config(|text| text.replace(&ca(&other), &ca(&own)));
    daemon.run();
    await_availability(&broker, "press/", "online");
    assert_eq!(notes(&daemon), "[]");
}

#[test]
fn home_assistant_hears_everything_again_when_it_starts() {
    let world = world!();
    let broker = world.mosquitto("broker").start();
    let (_daemon, _board) = press(&world, &broker, "");
    await_availability(&broker, "press/", "online");
    for topic in ["homeassistant/device/nuncio--world--press/config", "nuncio/world/press/update"] {
        let mut listener = broker.listen(topic);
        listener.await_message(PATIENCE, |message| message.retained.then_some(()));
        broker.publish("homeassistant/status", "online", false);
        listener.await_message(PATIENCE, |message| (!message.retained && !message.payload.is_empty()).then_some(()));
    }
}

#[test]
fn an_unplugged_board_is_unavailable_and_a_forgotten_one_is_gone() {
    let world = world!();
    let broker = world.mosquitto("broker").start();
    let file = include_str!("../config/boards.d/arduino-uno.toml");
    world.file("config/boards.d/arduino-uno.toml", format!("{file}{PINS}"));
    let board = world.board(Model::Uno).with(&firmata_image()).start();
    let daemon =
        world.daemon().mqtt(&broker, "").serial(&format!("questions = \"serial\"\nwatch = [{:?}]", board.port()));
    let daemon = daemon.toml("[join]\npolicy = \"approve\"").start();
    eventually("it waits", PATIENCE, || daemon.cli(&["devices"]).output.contains("nuncio approve").then_some(()));
    assert_eq!(daemon.cli(&["approve", &board.port().display().to_string()]).code, Some(0));
    let device = eventually("the board is known", PATIENCE, || daemon.device_at(board.port()));
    let told = eventually("it is told of, with its points", PATIENCE, || {
        let kept = broker.kept("homeassistant/device/+/config");
        let told = kept.values().map(world::Message::json).find(|told| told["device"]["model"] == "arduino-uno")?;
        (told["components"].as_object()?.len() == 3).then_some(told)
    });
    let state = told["components"]["update"]["state_topic"].as_str().expect("a topic");
    let name = state.split('/').nth(2).expect("the device's level").to_owned();
    await_availability(&broker, &format!("{name}/"), "online");
    board.unplug();
    await_availability(&broker, &format!("{name}/"), "offline");
    assert_eq!(kept(&broker, &name).len(), 6, "it may come back");
    board.plug();
    await_availability(&broker, &format!("{name}/"), "online");
    // Another name changes nothing but the name.
    assert_eq!(daemon.cli(&["rename", device.id(), "stove"]).code, Some(0));
    let topic = format!("homeassistant/device/nuncio--world--{name}/config");
    broker
        .await_kept(&topic, "has the new name", |message| (message.json()["device"]["name"] == "stove").then_some(()));
    let forgotten = daemon.cli(&["forget", "stove", "--deny"]);
    assert_eq!(forgotten.code, Some(0), "{}", forgotten.output);
    eventually("nothing of it is kept", PATIENCE, || kept(&broker, &name).is_empty().then_some(()));
    await_availability(&broker, "", "online");
}

#[test]
fn what_an_earlier_run_told_of_and_is_no_more_is_taken_away() {
    let world = world!();
    let broker = world.mosquitto("broker").persistent().start();
    let file = include_str!("../config/boards.d/arduino-uno.toml");
    world.file("config/boards.d/arduino-uno.toml", format!("{file}{PINS}"));
    let boards = [(); 2].map(|()| world.board(Model::Uno).with(&firmata_image()).start());
    let mut daemon = world.daemon().mqtt(&broker, "remove_after = \"3s\"").serial("questions = \"serial\"");
    for (name, board) in ["bed", "shed"].into_iter().zip(&boards) {
        daemon = daemon.device(name, "arduino-uno", &board.link(), "");
    }
    let mut daemon = daemon.start();
    for name in ["bed", "shed"] {
        eventually(&format!("{name} has its points"), PATIENCE, || (kept(&broker, name).len() == 6).then_some(()));
    }
    daemon.crash();
    // Meanwhile one of them goes for good, and a pin of the other is not used any more. Somebody else's things stay.
    broker.publish("homeassistant/device/nuncio--world2--bed/config", "{\"device\":{}}", true);
    broker.publish("nuncio/world2/bed/entities", "{\"3306-pin-13\":\"switch\"}", true);
    daemon.edit_config(|text| {
        let (before, rest) = text.split_once("\n[[device]]\nname = \"shed\"").expect("it is there");
        let rest = rest.split_once("endpoint = \"shed\"\n").expect("it is there").1;
        format!("{before}\n{rest}")
    });
    let pins = PINS.replace(", { pin = 2, mode = \"pullup\", object = 3200 }", "");
    world.file("config/boards.d/arduino-uno.toml", format!("{file}{pins}"));
    let mut listener = broker.listen("homeassistant/device/nuncio--world--bed/config");
    daemon.run();
    // Home Assistant is told which entity is no more, and need not be told for ever.
    let parting = listener.await_message(PATIENCE, |message| {
        let told = message.json();
        let parting = told["components"]["3200-pin-2"].as_object()?.clone();
        (parting.len() == 1).then_some(told)
    });
    let mut entities = hass_entities(&parting);
    entities.sort_unstable();
    assert_eq!(entities, ["3200-pin-2: removed", "3306-pin-13: switch", "update: update"]);
    broker.await_kept("homeassistant/device/nuncio--world--bed/config", "has it no more", |message| {
        let told = message.json();
        (told["components"]["3200-pin-2"] == Value::Null && told["components"]["3306-pin-13"].is_object()).then_some(())
    });
    eventually("nothing is kept of its value", PATIENCE, || (kept(&broker, "bed").len() == 5).then_some(()));
    eventually("nothing is kept of the other one", PATIENCE, || kept(&broker, "shed").is_empty().then_some(()));
    assert_eq!(
        broker.kept("nuncio/world2/#").len() + broker.kept("homeassistant/device/nuncio--world2--bed/#").len(),
        2
    );
    await_availability(&broker, "bed/", "online");
}

#[test]
fn a_gateway_that_is_not_told_to_says_nothing() {
    let world = world!();
    let broker = world.mosquitto("broker").start();
    let board = world.uno("uno-1.2.0.hex");
    let daemon = world.daemon().toml(&format!("[mqtt]\nbroker = {:?}", broker.uri()));
    let daemon = daemon.device("press", "arduino-uno", &board.link(), "").start();
    daemon.await_device("press", "is there", |device| device.present().then_some(()));
    holds("nobody connects", Duration::from_secs(3), || !broker.log().contains("New client connected"));
}
