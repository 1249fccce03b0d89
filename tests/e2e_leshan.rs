//! Two Leshan servers and one device: registration, device management, observation, updates, outages.
//!
//! Needs the peers avr and leshan: `make peers`.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use world::{Leshan, Model, PushFormat, Scene, SimBoard, World, avr_image, eventually, holds, world};

/// Far more than a small flash and its proof take.
const UPDATE: Duration = Duration::from_secs(120);

fn uno(world: &World) -> SimBoard {
    world.board(Model::Uno).with(&avr_image("uno-1.2.0.hex")).start()
}

/// The value of a resource in the first instance of an object as Leshan shows it.
fn of_first_instance(object: &Value, resource: u16) -> Value {
    let instances = object["instances"].as_array().expect("an object has instances");
    let resources = instances[0]["resources"].as_array().expect("an instance has resources");
    resources.iter().find(|one| one["id"] == resource).expect("the resource is there")["value"].clone()
}

#[test]
fn a_device_is_registered_at_both_servers_under_its_own_short_ids_and_ids() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    for (server, name, short_id) in [(scene.factory(), "factory", 123), (scene.cloud(), "cloud", 234)] {
        let client = server.await_client(&scene.name);
        assert_eq!(client["lifetime"], 30, "{client}");
        assert_eq!(client["registrationId"], scene.daemon.await_registered(&scene.name, name));
        let object = server.read(&scene.name, "1");
        assert_eq!(object.code, 205, "{object:?}");
        let content = &object.body["content"];
        assert_eq!(content["instances"].as_array().map(Vec::len), Some(1), "only its own account: {content}");
        assert_eq!(of_first_instance(content, 0), short_id);
        assert_eq!(of_first_instance(content, 1), 30);
    }
}

#[test]
fn the_device_object_is_read_in_every_format() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    for format in ["TLV", "SENML_JSON", "SENML_CBOR"] {
        let answer = scene.factory().read_as(&scene.name, "3/0", format);
        assert_eq!(answer.code, 205, "{format}: {answer:?}");
        assert!(answer.body.to_string().contains("\"Arduino\""), "{format}: {answer:?}");
    }
    for (path, value) in [("3/0/0", "Arduino"), ("3/0/1", "Uno")] {
        assert_eq!(scene.cloud().read_as(&scene.name, path, "TEXT").text(), value);
    }
    assert_eq!(scene.cloud().read(&scene.name, "3/0/99").code, 404);
    assert_eq!(scene.cloud().read(&scene.name, "0").code, 401, "object 0 is nobody's to read");
}

#[test]
fn what_can_be_done_is_discovered_and_what_cannot_is_not() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let links = scene.factory().discover(&scene.name, "3").body["objectLinks"].to_string();
    assert!(links.contains("/3/0/4") && !links.contains("/3/0/5"), "Reboot is there, Factory Reset is not: {links}");
    assert_eq!(scene.factory().execute(&scene.name, "3/0/5").code, 405);
    let links = scene.factory().discover(&scene.name, "5/0").body["objectLinks"].to_string();
    for path in ["/5/0/0", "/5/0/1", "/5/0/2", "/5/0/3", "/5/0/5", "/5/0/8", "/5/0/9"] {
        assert!(links.contains(&format!("\"{path}\"")), "{path}: {links}");
    }
}

#[test]
fn a_written_lifetime_changes_the_registration_at_its_own_server_only() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    // Which instance is its own, the server learns by reading the object.
    let object = scene.factory().read(&scene.name, "1");
    let instance = object.body["content"]["instances"][0]["id"].clone();
    let answer = scene.factory().write(&scene.name, &format!("1/{instance}/1"), 60);
    assert_eq!(answer.code, 204, "{answer:?}");
    let lifetime = |server: &Leshan| server.await_client(&scene.name)["lifetime"].clone();
    eventually("an Update tells the lifetime", UPDATE, || (lifetime(scene.factory()) == 60).then_some(()));
    assert_eq!(lifetime(scene.cloud()), 30);
}

#[test]
fn attributes_hold_notifications_back() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    assert_eq!(scene.factory().attributes(&scene.name, "3/0/13", "pmin=1&pmax=2").code, 204);
    let events = scene.factory().events(&scene.name);
    assert_eq!(scene.factory().observe(&scene.name, "3/0/13").code, 205);
    eventually("pmax brings the clock unasked", UPDATE, || (events.values("/3/0/13").len() >= 3).then_some(()));
    let links = scene.factory().discover(&scene.name, "3").body["objectLinks"].to_string();
    assert!(links.contains("pmax"), "{links}");
    assert_eq!(scene.factory().attributes(&scene.name, "3/0/13", "pmin=9&pmax=2").code, 400);
}

/// Both servers see 0→1→2→3→0 and result 1, whoever asked.
fn timeline(asker: usize, push: Option<PushFormat>) {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let server = [scene.factory(), scene.cloud()][asker];
    let seen = scene.observe_state();
    let image = avr_image("uno-1.3.0-large.hex");
    match push {
        Some(format) => {
            let bytes = fs::read(&image).expect("an image of ours");
            assert_eq!(server.push(&scene.name, &bytes, format).code, 204);
        }
        None => scene.offer(server, &image, "#version=1.3.0"),
    }
    scene.await_firmware(server, "2", "0");
    scene.execute(server);
    for (events, server) in seen.iter().zip([scene.factory(), scene.cloud()]) {
        assert_eq!(events.await_values("/5/0/3", &["1", "2", "3", "0"], UPDATE), ["1", "2", "3", "0"]);
        assert_eq!(server.read(&scene.name, "5/0/5").text(), "1");
        assert_eq!(server.read(&scene.name, "3/0/3").text(), "1.3.0");
    }
    assert!(board.holds(&image));
}

#[test]
fn both_servers_see_an_update_that_the_first_pulls() {
    timeline(0, None);
}

#[test]
fn both_servers_see_an_update_that_the_second_pulls() {
    timeline(1, None);
}

#[test]
fn both_servers_see_an_update_that_the_first_pushes_as_opaque() {
    timeline(0, Some(PushFormat::Opaque));
}

#[test]
fn both_servers_see_an_update_that_the_second_pushes_as_tlv() {
    timeline(1, Some(PushFormat::Tlv));
}

#[test]
fn of_two_executes_at_once_the_second_gets_4_05() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.offer(scene.factory(), &avr_image("uno-1.3.0-large.hex"), "");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    assert_eq!(scene.factory().execute(&scene.name, "5/0/2").code, 405);
    assert_eq!(scene.cloud().write_uri(&scene.name, "http://127.0.0.1/x").code, 405);
    scene.await_firmware(scene.cloud(), "0", "1");
    assert_eq!(scene.factory().execute(&scene.name, "5/0/2").code, 405, "nothing is staged");
}

#[test]
fn a_server_that_is_away_for_ten_lifetimes_is_missed_by_nobody_and_found_again() {
    let world = world!();
    let (board, away) = (uno(&world), Leshan::start("leshan that goes away"));
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| {
        daemon.server("away", &away.uri(), 345, "lifetime = \"5s\"\nretry = \"2s\"\nretry_max = \"4s\"")
    });
    let before = away.registration(&scene.name);
    let events = scene.factory().events(&scene.name);
    away.stop();
    holds("the other server reads as ever", Duration::from_secs(50), || {
        scene.factory().read(&scene.name, "3/0/0").text() == "Arduino"
    });
    assert_eq!(events.count("DEREGISTRATION") + events.count("REGISTRATION"), 0, "{:?}", events.all());
    away.restart();
    let after = away.registration(&scene.name);
    assert_ne!(before, after);
    assert_eq!(scene.daemon.await_registered(&scene.name, "away"), after);
    assert_eq!(away.read(&scene.name, "3/0/0").text(), "Arduino");
}

#[test]
fn sigterm_deregisters_everywhere_within_five_seconds() {
    let world = world!();
    let board = uno(&world);
    let mut scene = Scene::new(world, "arduino-uno", &board.link());
    assert_eq!(scene.daemon.stop(Duration::from_secs(5)), Some(0));
    for server in [scene.factory(), scene.cloud()] {
        assert!(server.client(&scene.name).is_none(), "{} still lists the device", server.uri());
    }
}

#[test]
fn a_device_that_is_unplugged_leaves_and_comes_back_under_its_name() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    board.unplug();
    eventually("the device is gone", UPDATE, || scene.factory().client(&scene.name).is_none().then_some(()));
    board.plug();
    scene.factory().await_client(&scene.name);
    scene.cloud().await_client(&scene.name);
}
