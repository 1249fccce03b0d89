//! Object 26300 while a real flash goes on: watched by a Leshan that has its definition, by one that has not, and beside
//! lwm2m-node-lib, which knows nothing of it.
//!
//! Needs the peers avr, leshan and node: `make peers`.

use std::time::{Duration, Instant};

use serde_json::Value;
use world::{Events, Leshan, NodeServer, Scene, avr_image, repository, world};

/// Ten times what a flash takes.
const FLASH: Duration = Duration::from_secs(240);

/// Observes phase, percent and state at a server.
fn watch(server: &Leshan, device: &str) -> Events {
    let events = server.events(device);
    for path in ["26300/0/2", "26300/0/3", "5/0/3"] {
        let answer = server.observe(device, path);
        assert_eq!(answer.code, 205, "{path}: {answer:?}");
    }
    events
}

/// What an observer of a whole flash must have seen.
fn check(events: &Events, took: Duration) {
    let phases = events.await_values("/26300/0/2", &["proving", "idle"], FLASH);
    let at =
        |phase: &str| phases.iter().position(|seen| seen == phase).unwrap_or_else(|| panic!("{phase}: {phases:?}"));
    let order = ["preparing", "writing", "verifying", "proving"].map(at);
    assert!(order.is_sorted(), "{phases:?}");
    let percents: Vec<i64> = events.values("/26300/0/3").iter().map(|text| text.parse().expect("a number")).collect();
    assert!(percents.iter().any(|&percent| (1..100).contains(&percent)), "{percents:?}");
    assert!(percents.len() as u64 <= took.as_secs() + 2, "{} in {took:?}", percents.len());
    assert_eq!(events.values("/5/0/3"), ["1", "2", "3", "0"], "no state is lost or late");
}

#[test]
fn two_leshans_with_and_without_its_definition_watch_a_flash() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let models = world.file("models/26300.xml", std::fs::read(repository().join("docs/26300.xml")).expect("ours"));
    let knowing = Leshan::with_models("leshan with our model", models.parent().expect("a folder"));
    let mut node = NodeServer::start();
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| {
        daemon.server("knowing", &knowing.uri(), 345, "lifetime = \"30s\"").server(
            "node",
            &node.uri(),
            101,
            "lifetime = \"30s\"\nversion = \"1.0\"",
        )
    });
    knowing.await_client(&scene.name);
    let links = node.await_registration(&scene.name).to_string();
    assert!(links.contains("5/0"), "{links}");

    let begin = Instant::now();
    let watching = [watch(scene.factory(), &scene.name), watch(&knowing, &scene.name)];
    scene.update(scene.factory(), &avr_image("uno-1.3.0-large.hex"), "1.3.0");
    watching.iter().for_each(|events| check(events, begin.elapsed()));

    let whole = knowing.read(&scene.name, "26300/0");
    let resources = whole.body["content"]["resources"].as_array().expect("resources").clone();
    let value = |id: u16| &resources.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("{id}"))["value"];
    assert_eq!((value(0), value(1), value(5)), (&"arduino-uno".into(), &"avrdude".into(), &"ihex".into()));
    assert_eq!((value(2), value(4)), (&"idle".into(), &"".into()));
    assert!(value(6).as_str().is_some_and(|lines| lines.lines().count() > 1 && lines.len() <= 1024), "{}", value(6));
    let percent = |server: &Leshan| server.read(&scene.name, "26300/0/3").value().clone();
    assert_eq!(percent(&knowing), Value::from(0), "a number, by the definition");
    assert_eq!(percent(scene.factory()), Value::from("0"), "text, without it");
    assert_eq!(scene.factory().read(&scene.name, "26300/0/2").text(), "idle", "read without it");
    assert_eq!(node.read(&scene.name, "/26300/0/2"), Ok("idle".to_owned()));
}

#[test]
fn the_reason_of_a_failed_flash_is_read_by_a_server() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    board.order("mute on");
    scene.fails(scene.factory(), &avr_image("uno-1.3.0.hex"));
    let read = |path: &str| scene.cloud().read(&scene.name, path).text();
    assert_eq!(read("26300/0/2"), "failed");
    let reason = read("26300/0/4");
    assert!(reason.contains("boot loader") && reason.len() <= 255, "{reason}");
}
