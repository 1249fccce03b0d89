//! Home Assistant by MQTT: what a real broker keeps of a real gateway, as clients hear it that we did not write, and as Home
//! Assistant's own schemas judge it.
//!
//! Needs the peers avr, leshan and mqtt: `make peers`.

use std::time::Duration;

use serde_json::Value;
use world::{
    Daemon, Model, Mosquitto, Scene, SimBoard, World, avr_image, eventually, firmata_image, hass_entities,
    hass_offers_update, world,
};

/// A bootloader, a flash and a start of Firmata.
const PATIENCE: Duration = Duration::from_secs(240);

const PINS: &str = r#"
[board.arduino-uno.points.firmata]
baud = 57600
pins = [
    { pin = 13, mode = "output", object = 3306, name = "lamp" },
    { pin = 14, mode = "analog", object = 3303, unit = "Cel", scale = 0.1, name = "bed" },
    { pin = 2, mode = "pullup", object = 3200, name = "door" },
    { pin = 6, mode = "pwm", object = 3203, name = "fan", scale = 0.00392156862745098 },
]
"#;

/// What is kept of a device's discovery.
fn config(broker: &Mosquitto, device: &str) -> Value {
    let topic = format!("homeassistant/device/nuncio--world--{device}/config");
    broker.await_kept(&topic, "is there", |message| Some(message.json()))
}

/// Waits until a device's update entity says something.
fn await_update(broker: &Mosquitto, device: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let topic = format!("nuncio/world/{device}/update");
    broker.await_kept(&topic, what, |message| Some(message.json()).filter(|state| wanted(state)))
}

fn await_state(broker: &Mosquitto, topic: &str, wanted: &str) {
    eventually(&format!("{topic} is {wanted}"), PATIENCE, || {
        (broker.kept(topic).get(topic)?.payload == wanted).then_some(())
    });
}

fn greenhouse(world: &World, broker: &Mosquitto, extra: &str) -> (Daemon, SimBoard) {
    let file = include_str!("../config/boards.d/arduino-uno.toml");
    world.file("config/boards.d/arduino-uno.toml", format!("{file}{PINS}"));
    let board = world.board(Model::Uno).with(&firmata_image()).start();
    let daemon = world.daemon().mqtt(broker, extra).serial("questions = \"serial\"");
    (daemon.device("greenhouse", "arduino-uno", &board.link(), "").start(), board)
}

#[test]
fn a_device_is_found_with_its_update_and_home_assistant_takes_it() {
    let world = world!();
    let broker = world.mosquitto("broker").start();
    let board = world.uno("uno-1.2.0.hex");
    let daemon = world.daemon().mqtt(&broker, "").serial("questions = \"serial\"");
    let mut daemon = daemon.device("press-3", "arduino-uno", &board.link(), "").start();
    let state =
        await_update(&broker, "press-3", "is what the board told", |state| state["installed_version"] == "1.2.0");
    assert_eq!((&state["latest_version"], &state["in_progress"]), (&"1.2.0".into(), &false.into()));
    assert!(!hass_offers_update(&state));
    let told = config(&broker, "press-3");
    assert_eq!(told["device"]["sw_version"], "1.2.0");
    assert_eq!(hass_entities(&told), ["update: update"]);
    let gateway = broker.await_kept("homeassistant/device/nuncio--world/config", "is there", |kept| Some(kept.json()));
    assert_eq!(hass_entities(&gateway), ["connection: binary_sensor"]);
    assert_eq!(told["device"]["via_device"], gateway["device"]["identifiers"][0]);
    await_state(&broker, "nuncio/world/press-3/availability", "online");
    await_state(&broker, "nuncio/world/availability", "online");
    daemon.stop(PATIENCE);
    await_state(&broker, "nuncio/world/availability", "offline");
    daemon.run();
    await_state(&broker, "nuncio/world/availability", "online");
    daemon.crash();
    await_state(&broker, "nuncio/world/availability", "offline");
}

#[test]
fn an_update_that_home_assistant_installs_is_flashed_and_proven() {
    let world = world!();
    let broker = world.mosquitto("broker").start();
    let board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| {
        daemon.mqtt(&broker, "").serial("questions = \"serial\"")
    });
    let name = scene.name.clone();
    await_update(&broker, &name, "tells its version", |state| state["installed_version"] == "1.2.0");
    scene.offer(scene.factory(), &avr_image("uno-1.3.0-large.hex"), "#version=1.3.0");
    let offered = await_update(&broker, &name, "is offered", |state| state["latest_version"] == "1.3.0");
    assert!(hass_offers_update(&offered), "{offered}");
    // What is staged is offered by the next run of the gateway, too.
    scene.daemon.crash();
    scene.daemon.run();
    await_state(&broker, &format!("nuncio/world/{name}/availability"), "online");
    await_update(&broker, &name, "is offered still", |state| state["latest_version"] == "1.3.0");

    let mut listener = broker.listen(&format!("nuncio/world/{name}/update"));
    let order = config(&broker, &name)["components"]["update"]["command_topic"].as_str().expect("a topic").to_owned();
    broker.publish(&order, "install", false);
    listener.await_message(PATIENCE, |message| {
        let state = message.json();
        (state["in_progress"] == true && state["update_percentage"].as_u64().is_some_and(|percent| percent > 0))
            .then_some(())
    });
    let done = await_update(&broker, &name, "is installed", |state| state["installed_version"] == "1.3.0");
    assert!(done["in_progress"] == false && done["latest_version"] == "1.3.0", "{done}");
    assert!(board.holds(&avr_image("uno-1.3.0-large.hex")));
    assert_eq!(scene.factory().read(&name, "3/0/3").text(), "1.3.0", "servers see the same");
    let log = scene.daemon.log();
    assert!(log.contains("what is staged is to be installed") && log.contains("by=\"MQTT\""), "{log}");

    // An older one is offered, too, though Home Assistant takes nothing older for an update by itself.
    scene.offer(scene.factory(), &avr_image("uno-1.2.0.hex"), "#version=1.2.0");
    let older = await_update(&broker, &name, "is offered", |state| state["latest_version"] == "1.2.0 (older)");
    assert!(hass_offers_update(&older), "{older}");
    // Two at once: the second finds nothing to do.
    broker.publish(&order, "install", false);
    broker.publish(&order, "install", false);
    await_update(&broker, &name, "is back", |state| state["installed_version"] == "1.2.0");
}

#[test]
fn a_failed_update_says_why_and_can_be_tried_again() {
    let world = world!();
    let broker = world.mosquitto("broker").start();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.mqtt(&broker, ""));
    board.order("mute on");
    scene.offer(scene.factory(), &avr_image("uno-1.3.0.hex"), "#version=1.3.0");
    let before = await_update(&broker, &scene.name, "is offered", |state| state["latest_version"] == "1.3.0");
    assert_eq!(before["installed_version"], "unknown", "nobody asked the board");
    let order = format!("nuncio/world/{}/update/install", scene.name);
    broker.publish(&order, "install", false);
    scene.await_firmware(scene.factory(), "2", "8");
    let failed = await_update(&broker, &scene.name, "says why", |state| {
        state["in_progress"] == false && state["release_summary"].as_str().is_some_and(|text| !text.is_empty())
    });
    assert_eq!(failed["latest_version"], "1.3.0", "it is staged still");
    board.order("mute off");
    broker.publish(&order, "install", false);
    scene.await_firmware(scene.factory(), "0", "1");
    await_update(&broker, &scene.name, "is installed", |state| state["installed_version"] == "1.3.0");
}

#[test]
fn points_are_sensors_and_switches_that_take_orders() {
    let world = world!();
    let broker = world.mosquitto("broker").start();
    let (daemon, mut board) = greenhouse(&world, &broker, "");
    let of = |leaf: &str| format!("nuncio/world/greenhouse/{leaf}");
    await_state(&broker, &of("3306-pin-13"), "OFF");
    await_state(&broker, &of("3200-pin-2"), "ON");
    let told = config(&broker, "greenhouse");
    let mut entities = hass_entities(&told);
    entities.sort_unstable();
    let expected = ["3200-pin-2: binary_sensor", "3203-pin-6: number", "3303-pin-14: sensor", "3306-pin-13: switch"];
    assert_eq!(entities[..4], expected);
    let bed = &told["components"]["3303-pin-14"];
    assert_eq!((&bed["device_class"], &bed["unit_of_measurement"]), (&"temperature".into(), &"°C".into()));
    assert_eq!((&bed["name"], &bed["state_class"]), (&"bed".into(), &"measurement".into()));
    let bed = bed["state_topic"].as_str().expect("a topic");
    broker.await_kept(bed, "is a number", |message| message.payload.parse::<f64>().ok());

    let before = board.blinks();
    broker.publish(&of("3306-pin-13/set"), "ON", false);
    await_state(&broker, &of("3306-pin-13"), "ON");
    assert!(board.blinks() > before, "the board's own lamp is on");
    broker.publish(&of("3203-pin-6/set"), "0.5", false);
    let level = broker.await_kept(&of("3203-pin-6"), "is what the board says", |message| {
        message.payload.parse::<f64>().ok().filter(|level| *level > 0.1)
    });
    assert!((level - 0.5).abs() < 0.01, "{level}");
    let log = daemon.log();
    assert!(log.contains("by=\"MQTT\" key=\"pin/13\""), "{log}");
    // While something else has the link, nothing is known, and nobody supposes it.
    let mut listener = broker.listen(&of("3306-pin-13"));
    let flashed = daemon.flash("greenhouse", &firmata_image());
    assert_eq!(flashed.code, Some(0), "{}", flashed.output);
    listener.await_message(PATIENCE, |message| (message.payload == "None").then_some(()));
    await_state(&broker, &of("3306-pin-13"), "OFF");
    assert_eq!(config(&broker, "greenhouse")["components"].as_object().expect("a map").len(), 5);
}

#[test]
fn orders_that_are_none_change_nothing_and_those_that_are_kept_are_not_followed() {
    let world = world!();
    let broker = world.mosquitto("broker").start();
    // Kept from before: it would come at each connection.
    broker.publish("nuncio/world/greenhouse/3306-pin-13/set", "ON", true);
    let (daemon, mut board) = greenhouse(&world, &broker, "");
    let of = |leaf: &str| format!("nuncio/world/greenhouse/{leaf}");
    await_state(&broker, &of("3306-pin-13"), "OFF");
    let before = (board.blinks(), board.stat().pages);
    for (leaf, payload) in [
        ("3306-pin-13/set", "maybe"),
        ("3306-pin-13/set", ""),
        ("3203-pin-6/set", "2"),
        ("3203-pin-6/set", "NaN"),
        ("3200-pin-2/set", "OFF"),
        ("3306-pin-99/set", "ON"),
        ("update/install", "install"),
        ("update/install", "INSTALL"),
        ("../greenhouse/update/install", "install"),
    ] {
        broker.publish(&of(leaf), payload, false);
    }
    broker.publish(&of("3306-pin-13/set"), &"x".repeat(100_000), false);
    broker.publish(&of("entities"), "no JSON", false);
    // Orders go one after the other: when this one is done, all before were looked at.
    broker.publish(&of("3203-pin-6/set"), "1", false);
    await_state(&broker, &of("3203-pin-6"), "1");
    assert_eq!((board.blinks(), board.stat().pages), before);
    let log = daemon.log();
    assert!(log.contains("the broker keeps it, and it would come again and again"), "{log}");
    assert!(log.contains("an order by MQTT was refused"), "{log}");
}

#[test]
fn who_takes_no_orders_offers_none() {
    let world = world!();
    let broker = world.mosquitto("broker").start();
    let (_daemon, mut board) = greenhouse(&world, &broker, "commands = false");
    await_state(&broker, "nuncio/world/greenhouse/3306-pin-13", "OFF");
    let told = config(&broker, "greenhouse");
    assert!(!told.to_string().contains("command_topic"), "{told:#}");
    assert_eq!(told["components"]["3306-pin-13"]["platform"], "binary_sensor");
    hass_entities(&told);
    let before = board.blinks();
    broker.publish("nuncio/world/greenhouse/3306-pin-13/set", "ON", false);
    broker.publish("homeassistant/status", "online", false);
    await_state(&broker, "nuncio/world/greenhouse/3306-pin-13", "OFF");
    assert_eq!(board.blinks(), before);
}

#[test]
fn names_that_are_no_topics_are_told_apart_and_shown_as_they_are() {
    let world = world!();
    let broker = world.mosquitto("broker").start();
    let boards = [world.uno("uno-1.2.0.hex"), world.uno("uno-1.2.0.hex")];
    let mut daemon = world.daemon().mqtt(&broker, "");
    let names = ["a/+/#", "a-+-#"];
    for (name, board) in names.iter().zip(&boards) {
        daemon = daemon.device(name, "arduino-uno", &board.link(), "");
    }
    let _daemon = daemon.start();
    let told = eventually("both are there", PATIENCE, || {
        let kept = broker.kept("homeassistant/device/+/config");
        let mut told: Vec<Value> = kept.values().map(world::Message::json).collect();
        told.retain(|told| told["device"]["model"] == "arduino-uno");
        (told.len() == 2).then_some(told)
    });
    for told in &told {
        hass_entities(told);
        let topic = told["components"]["update"]["state_topic"].as_str().expect("a topic");
        broker.await_kept(topic, "is there", |message| Some(message.json()));
    }
    let mut shown: Vec<&str> = told.iter().filter_map(|told| told["device"]["name"].as_str()).collect();
    shown.sort_unstable();
    assert_eq!(shown, ["a-+-#", "a/+/#"]);
}
