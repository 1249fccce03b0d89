//! lwm2m-node-lib's server: LwM2M 1.0, Location-Path as one option, writes as 1541, and it never acknowledges a notification.
//!
//! Needs the peers avr and node: `make peers`.

use std::time::Duration;

use serde_json::{Value, json};
use world::{Daemon, HttpFiles, Model, NodeServer, SimBoard, World, avr_image, eventually, world};

const PATIENCE: Duration = Duration::from_secs(120);

struct Rig {
    server: NodeServer,
    daemon: Daemon,
    files: HttpFiles,
    board: SimBoard,
    _world: World,
}

const NAME: &str = "press-3";

fn rig(lifetime: &str) -> Rig {
    let world = world!();
    let board = world.board(Model::Uno).with(&avr_image("uno-1.2.0.hex")).start();
    let (mut server, files) = (NodeServer::start(), world.http());
    let daemon = world
        .daemon()
        .server("node", &server.uri(), 101, &format!("lifetime = {lifetime:?}\nversion = \"1.0\""))
        .device(NAME, "arduino-uno", &board.link(), "")
        .allow(&files.base())
        .start();
    let registration = server.await_registration(NAME);
    assert_eq!(
        registration["lifetime"].to_string().trim_matches('"'),
        lifetime.trim_end_matches('s'),
        "{registration}"
    );
    daemon.await_registered(NAME, "node");
    Rig { server, daemon, files, board, _world: world }
}

#[test]
fn the_node_library_registers_reads_and_discovers_a_device() {
    let mut rig = rig("30s");
    assert_eq!(rig.server.read(NAME, "/3/0/0"), Ok("Arduino".to_owned()));
    assert_eq!(rig.server.read(NAME, "/5/0/3"), Ok("0".to_owned()));
    assert!(rig.server.read(NAME, "/3/0/99").is_err());
    let links = rig.server.ask("discover", NAME, "/3", &Value::Null).expect("an answer").to_string();
    assert!(links.contains("</3/0/0>"), "{links}");
}

#[test]
fn the_node_library_updates_a_device_and_sees_every_state() {
    let mut rig = rig("30s");
    rig.server.ask("observe", NAME, "/5/0/3", &Value::Null).expect("it observes");
    let image = std::fs::read(avr_image("uno-1.3.0.hex")).expect("an image of ours");
    let uri = format!("{}#version=1.3.0", rig.files.put("a.hex", image));
    rig.server.ask("write", NAME, "/5/0/1", &json!(uri)).expect("the URI is taken");
    eventually("the image is staged", PATIENCE, || {
        (rig.server.read(NAME, "/5/0/3") == Ok("2".to_owned())).then_some(())
    });
    rig.server.ask("execute", NAME, "/5/0/2", &json!("0")).expect("it executes");
    eventually("the update is proven", PATIENCE, || {
        (rig.server.read(NAME, "/5/0/5") == Ok("1".to_owned())).then_some(())
    });
    assert_eq!(rig.server.read(NAME, "/3/0/3"), Ok("1.3.0".to_owned()));
    assert!(rig.board.holds(&avr_image("uno-1.3.0.hex")));
    let seen = eventually("every change is notified, acknowledged or not", PATIENCE, || {
        Some(rig.server.values("/5/0/3")).filter(|values| values.ends_with(&["3".to_owned(), "0".to_owned()]))
    });
    let mut changes = seen;
    changes.dedup();
    assert!(changes.ends_with(&["1", "2", "3", "0"].map(str::to_owned)), "{changes:?}");
}

#[test]
fn the_node_library_resets_a_board() {
    let mut rig = rig("30s");
    let before = rig.board.stat().resets;
    rig.server.ask("execute", NAME, "/3/0/4", &json!("0")).expect("it reboots");
    eventually("the board is reset", PATIENCE, || (rig.board.stat().resets > before).then_some(()));
}

#[test]
fn the_node_library_sets_attributes_and_is_told_by_them() {
    let mut rig = rig("30s");
    rig.server.ask("attributes", NAME, "/3/0/0", &json!({ "pmin": 1, "pmax": 2 })).expect("they are taken");
    rig.server.ask("observe", NAME, "/3/0/0", &Value::Null).expect("it observes");
    eventually("pmax repeats the value", PATIENCE, || (rig.server.values("/3/0/0").len() >= 3).then_some(()));
}

#[test]
fn a_location_that_is_one_segment_is_updated_and_left() {
    let mut rig = rig("5s");
    let devices = rig.server.ask("list", NAME, "", &Value::Null).expect("a list");
    let listed = devices.as_array().and_then(|all| all.iter().find(|one| one["name"] == NAME)).cloned();
    let id = listed.expect("the device is listed")["id"].to_string();
    assert_eq!(rig.daemon.await_registered(NAME, "node"), id);
    rig.server.await_event(|event| event["event"] == "update" && event["ep"] == NAME);
    assert_eq!(rig.daemon.await_registered(NAME, "node"), id, "an Update, not another Register");
    assert_eq!(rig.daemon.stop(Duration::from_secs(5)), Some(0));
    rig.server.await_event(|event| event["event"] == "unregistration" && event["ep"] == NAME);
}
