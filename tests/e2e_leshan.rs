//! Two Leshan servers and one device: registration, device management, observation, updates, outages.
//!
//! Needs the peers avr and leshan: `make peers`.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use world::{Leshan, Model, PushFormat, Scene, SimBoard, World, avr_image, eventually, holds, world};

/// Far more than a small flash and its proof take.
const UPDATE: Duration = Duration::from_secs(120);
/// As the outage's configuration has it.
const LIFETIME: Duration = Duration::from_secs(5);

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
    let links = |server: &Leshan| server.await_client(&scene.name)["objectLinks"].to_string();
    assert!(links(scene.factory()).contains(r#""ver":"1.1""#), "{}", links(scene.factory()));
    assert!(!links(scene.cloud()).contains("ver"), "firmware_object = 1.0 goes unstated: {}", links(scene.cloud()));
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
fn pmax_repeats_a_value_that_stays() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let (server, name) = (scene.factory(), &scene.name);
    assert_attributes(server, name, "3/0/0", "pmin=1&pmax=2", 204);
    let events = server.events(name);
    assert_eq!(server.observe(name, "3/0/0").code, 205);
    let began = Instant::now();
    let seen = events.await_values("/3/0/0", &["Arduino"; 3], UPDATE);
    assert_eq!(seen.len(), 3, "{seen:?}");
    assert!(began.elapsed() > Duration::from_millis(3500), "three times in {:?}", began.elapsed());
    let links = |path: &str| server.discover(name, path).body["objectLinks"].to_string();
    assert!(links("3/0").contains("pmin") && links("3/0").contains("pmax"), "{}", links("3/0"));
    assert!(!links("3").contains("pmin"), "an object shows its own attributes only: {}", links("3"));
    assert_attributes(server, name, "3/0/0", "gt=5", 400);
    assert_attributes(server, name, "5/0/3", "gt=1&lt=5", 400);
    assert_attributes(server, name, "3/0/0", "pmin=9&pmax=2", 204);
    // One more may be on its way.
    let most = events.values("/3/0/0").len() + 1;
    holds("a pmax below pmin does not count", Duration::from_secs(5), || events.values("/3/0/0").len() <= most);
}

#[test]
fn pmin_holds_changes_back_for_the_server_that_asked_and_for_no_other() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    assert_attributes(scene.factory(), &scene.name, "5/0/3", "pmin=8", 204);
    let [patient, prompt] = scene.observe_state();
    scene.offer(scene.cloud(), &avr_image("uno-1.3.0.hex"), "");
    assert_eq!(prompt.await_values("/5/0/3", &["1", "2"], UPDATE), ["1", "2"]);
    assert_eq!(patient.values("/5/0/3"), Vec::<String>::new(), "eight seconds have not passed");
    assert_eq!(patient.await_values("/5/0/3", &["2"], UPDATE), ["2"], "what passed within pmin is told as one change");
}

fn assert_attributes(server: &Leshan, endpoint: &str, path: &str, query: &str, code: u16) {
    let answer = server.attributes(endpoint, path, query);
    assert_eq!(answer.code, code, "{path}?{query}: {answer:?}");
}

#[test]
fn a_reboot_resets_the_board() {
    let world = world!();
    let mut board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    for server in [scene.factory(), scene.cloud()] {
        let before = board.stat().resets;
        let answer = server.execute(&scene.name, "3/0/4");
        assert_eq!(answer.code, 204, "{answer:?}");
        eventually("the board is reset", UPDATE, || (board.stat().resets > before).then_some(()));
        let answer = server.read(&scene.name, "3/0/0");
        assert_eq!(answer.text(), "Arduino", "{answer:?}");
    }
}

/// Both servers see 0→1→2→3→0 and result 1, whoever asked.
fn timeline(asker: usize, push: Option<PushFormat>) {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let server = [scene.factory(), scene.cloud()][asker];
    for server in [scene.factory(), scene.cloud()] {
        assert_eq!(scene.firmware(server), ("0".to_owned(), "0".to_owned()));
    }
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
    let scene = between(world, &board, ["", "firmware = \"any\""]);
    let (first, second, name) = (scene.factory(), scene.cloud(), &scene.name);
    scene.offer(first, &avr_image("uno-1.3.0-large.hex"), "");
    scene.await_firmware(first, "2", "0");
    let codes = thread::scope(|scope| {
        let execute = |server: &'static Leshan| scope.spawn(|| server.execute(name, "5/0/2").code);
        [execute(first), execute(second)].map(|thread| thread.join().expect("Leshan answers"))
    });
    assert!(codes == [204, 405] || codes == [405, 204], "{codes:?}");
    for server in [first, second] {
        assert_eq!(server.execute(name, "5/0/2").code, 405);
        assert_eq!(server.write_uri(name, "http://127.0.0.1/x").code, 405);
        assert_eq!(server.write_uri(name, "no URI at all").code, 405, "state goes before value");
        assert_eq!(server.push(name, b"x", PushFormat::Tlv).code, 405);
    }
    assert_eq!(first.execute(name, "5/0/10").code, 405, "a flash cannot be cancelled");
    scene.await_firmware(second, "0", "1");
    for server in [first, second] {
        assert_eq!(server.execute(name, "5/0/2").code, 405, "nothing is staged");
    }
    assert_eq!(first.execute(name, "5/0/10").code, 405, "there is nothing to cancel");
}

fn between(world: World, board: &SimBoard, servers: [&str; 2]) -> Scene {
    Scene::between(world, "arduino-uno", &board.link(), servers, |daemon| daemon)
}

#[test]
fn under_own_what_another_server_staged_is_not_ones_to_touch() {
    let world = world!();
    let board = uno(&world);
    let scene = between(world, &board, ["", "firmware = \"own\""]);
    let (owner, other, name) = (scene.factory(), scene.cloud(), &scene.name);
    scene.offer(owner, &avr_image("uno-1.3.0-large.hex"), "");
    scene.await_firmware(owner, "2", "0");
    let long = format!("http://127.0.0.1/{}", "x".repeat(3000));
    for uri in ["http://127.0.0.1/x", "", "no URI at all", &long] {
        assert_eq!(other.write_uri(name, uri).code, 401, "right goes before value: {uri:.40}");
    }
    assert_eq!(other.push(name, b"x", PushFormat::Opaque).code, 401);
    assert_eq!(other.push(name, &[0], PushFormat::Tlv).code, 401, "nor is it dropped by an empty package");
    assert_eq!(other.execute(name, "5/0/2").code, 401);
    for uri in ["http://127.0.0.1/x", "no URI at all", &long] {
        assert_eq!(owner.write_uri(name, uri).code, 400, "one image at a time: {uri:.40}");
    }
    assert_eq!(scene.firmware(other), ("2".to_owned(), "0".to_owned()), "nothing of this changed anything");
    scene.execute(owner);
    assert_eq!(other.execute(name, "5/0/2").code, 401, "right goes before state");
    assert_eq!(other.write_uri(name, "no URI at all").code, 401);
    scene.await_firmware(other, "0", "1");
    // An idle device is anybody's, and what was staged is its owner's again, to cancel too.
    scene.offer(other, &avr_image("uno-1.2.0.hex"), "");
    scene.await_firmware(other, "2", "0");
    assert_eq!(owner.execute(name, "5/0/10").code, 401);
    assert_eq!(other.write_uri(name, "").code, 204);
    scene.await_firmware(other, "0", "0");
    assert!(board.holds(&avr_image("uno-1.3.0-large.hex")));
}

#[test]
fn under_any_a_server_executes_cancels_and_resets_what_another_staged() {
    let world = world!();
    let board = uno(&world);
    let scene = between(world, &board, ["firmware = \"any\"", "firmware = \"own\""]);
    let (any, own, name) = (scene.factory(), scene.cloud(), &scene.name);
    let image = avr_image("uno-1.3.0.hex");
    scene.offer(own, &image, "#version=1.3.0");
    scene.await_firmware(any, "2", "0");
    assert_eq!(any.execute(name, "5/0/10").code, 204);
    // Result 10 (cancelled) is not known to version 1.0 of the object.
    scene.await_firmware(any, "0", "10");
    scene.await_firmware(own, "0", "0");
    scene.offer(own, &image, "#version=1.3.0");
    scene.await_firmware(any, "2", "0");
    assert_eq!(any.push(name, &[0], PushFormat::Opaque).code, 204, "a single NUL drops the image");
    scene.await_firmware(any, "0", "0");
    scene.offer(own, &image, "#version=1.3.0");
    scene.await_firmware(any, "2", "0");
    scene.execute(any);
    scene.await_firmware(own, "0", "1");
    assert!(board.holds(&image));
}

#[test]
fn a_server_that_may_only_read_gets_4_01_for_everything_else() {
    let world = world!();
    let mut board = uno(&world);
    let scene = between(world, &board, ["", "access = \"read\"\nfirmware = \"none\""]);
    let (full, reader, name) = (scene.factory(), scene.cloud(), &scene.name);
    let resets = board.stat().resets;
    assert_eq!(reader.read(name, "3/0/0").text(), "Arduino");
    assert_eq!(reader.discover(name, "5").code, 205);
    assert_attributes(reader, name, "5/0/3", "pmin=0", 204);
    let [_, told] = scene.observe_state();
    assert_eq!(reader.execute(name, "3/0/4").code, 401);
    assert_eq!(reader.write(name, "3/0/14", "+02:00").code, 401);
    let refused_all = || {
        assert_eq!(reader.execute(name, "5/0/2").code, 401);
        assert_eq!(reader.push(name, b"x", PushFormat::Tlv).code, 401);
        for uri in ["http://127.0.0.1/x", "no URI at all", ""] {
            assert_eq!(reader.write_uri(name, uri).code, 401, "{uri:?}");
        }
    };
    refused_all();
    scene.offer(full, &avr_image("uno-1.3.0.hex"), "");
    assert_eq!(told.await_values("/5/0/3", &["1", "2"], UPDATE), ["1", "2"]);
    refused_all();
    scene.await_firmware(reader, "2", "0");
    assert_eq!(board.stat().resets, resets, "the board was left alone");
    // Its own account stays its own.
    let account = reader.read(name, "1").body["content"]["instances"][0]["id"].clone();
    assert_eq!(reader.write(name, &format!("1/{account}/1"), 40).code, 204);
}

#[test]
fn three_devices_are_updated_at_once_by_two_servers() {
    let world = world!();
    let boards = [uno(&world), uno(&world), uno(&world)];
    let names = ["second", "third"].map(|stem| world.name(stem));
    let scene = Scene::with(world, "arduino-uno", &boards[0].link(), |daemon| {
        let daemon = daemon.device(&names[0], "arduino-uno", &boards[1].link(), "");
        daemon.device(&names[1], "arduino-uno", &boards[2].link(), "")
    });
    let (factory, cloud) = (scene.factory(), scene.cloud());
    let image = avr_image("uno-1.3.0.hex");
    let bytes = fs::read(&image).expect("an image of ours");
    let uri = format!("{}#version=1.3.0", scene.files.put("three.hex", bytes.clone()));
    let devices = [(scene.name.as_str(), factory), (&names[0], cloud), (&names[1], factory)];
    for (name, _) in devices {
        for (server, label) in [(factory, "factory"), (cloud, "cloud")] {
            assert_eq!(server.registration(name), scene.daemon.await_registered(name, label));
        }
    }
    assert_eq!(factory.write_uri(devices[0].0, &uri).code, 204);
    assert_eq!(cloud.write_uri(devices[1].0, &uri).code, 204);
    assert_eq!(factory.push(devices[2].0, &bytes, PushFormat::Tlv).code, 204);
    for (name, server) in devices {
        await_firmware(server, name, "2", "0");
        assert_eq!(server.execute(name, "5/0/2").code, 204);
    }
    for ((name, _), board) in devices.iter().zip(&boards) {
        await_firmware(factory, name, "0", "1");
        await_firmware(cloud, name, "0", "1");
        assert_eq!(cloud.read(name, "3/0/3").text(), "1.3.0");
        assert!(board.holds(&image), "{name}");
    }
}

fn await_firmware(server: &Leshan, endpoint: &str, state: &str, result: &str) {
    eventually(&format!("{endpoint} is in state {state} with result {result}"), UPDATE, || {
        let read = |path: &str| server.read(endpoint, path).text();
        (read("5/0/3") == state && read("5/0/5") == result).then_some(())
    });
}

#[test]
fn a_server_that_is_away_for_ten_lifetimes_is_missed_by_nobody_and_found_again() {
    let world = world!();
    let (boards, away) = ([uno(&world), uno(&world), uno(&world)], Leshan::start("leshan that goes away"));
    let (steady, short) = (&Leshan::pair().0, "lifetime = \"5s\"\nretry = \"2s\"\nretry_max = \"4s\"");
    let names = ["first", "second", "third"].map(|stem| world.name(stem));
    let daemon = world.daemon().server("steady", &steady.uri(), 123, short).server("away", &away.uri(), 345, short);
    let devices = names.iter().zip(&boards);
    let daemon = devices.fold(daemon, |daemon, (name, board)| daemon.device(name, "arduino-uno", &board.link(), ""));
    let daemon = daemon.start();
    let before = names.each_ref().map(|name| away.registration(name));
    let steadily = names.each_ref().map(|name| (steady.registration(name), steady.events(name)));
    away.stop();
    holds("the other server reads as ever", LIFETIME * 10, || {
        names.iter().all(|name| steady.read(name, "3/0/0").text() == "Arduino")
    });
    for (name, (id, events)) in names.iter().zip(&steadily) {
        assert_eq!(events.count("DEREGISTRATION") + events.count("REGISTRATION"), 0, "{:?}", events.all());
        assert!(events.count("UPDATED") >= 10, "an Update in every lifetime: {:?}", events.all());
        assert_eq!(*id, steady.registration(name));
        let state = daemon.await_device(name, "is waiting for the other", |device| {
            Some(device.server("away")?.state().to_owned()).filter(|state| state != "registered")
        });
        assert!(!state.is_empty());
    }
    away.restart();
    for (name, before) in names.iter().zip(before) {
        let after = away.registration(name);
        assert_ne!(before, after);
        assert_eq!(daemon.await_registered(name, "away"), after);
        assert_eq!(away.read(name, "3/0/0").text(), "Arduino");
    }
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
