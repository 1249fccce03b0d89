//! What is kept of updates, on real parts: an update with a failed attempt and one that worked, and one that a crash cut
//! off, told in the terminal and in JSON.
//!
//! Needs the peers avr and leshan: `make peers`.

#[path = "cli_daemon/schema.rs"]
mod schema;

use std::time::Duration;

use serde_json::Value;
use world::{Scene, avr_image, eventually, world};

/// A JSON output that follows its schema.
fn json(scene: &Scene, arguments: &[&str]) -> Value {
    let answer = scene.daemon.cli(&[arguments, &["--json"]].concat());
    assert_eq!(answer.code, Some(0), "{arguments:?}: {}", answer.output);
    let document = answer.json();
    schema::check(&document).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
    document
}

fn text(scene: &Scene, arguments: &[&str]) -> String {
    let answer = scene.daemon.cli(arguments);
    assert_eq!(answer.code, Some(0), "{arguments:?}: {}", answer.output);
    answer.output
}

fn flashes(shown: &Value) -> Vec<&Value> {
    let attempts = shown["attempts"].as_array().expect("attempts");
    attempts.iter().filter(|attempt| attempt["task"] == "flash").collect()
}

#[test]
fn a_failed_attempt_and_one_that_worked_are_told_with_command_reason_and_output() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.daemon.flash(&scene.name, &avr_image("uno-1.2.0.hex"));
    board.order("mute on");
    scene.offer(scene.factory(), &avr_image("uno-1.3.0.hex"), "#version=1.3.0");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "2", "8");

    let row = json(&scene, &["history", &scene.name, "--failed"])["updates"][0].clone();
    assert_eq!((&row["outcome"], &row["ended"]), (&"failed".into(), &Value::Null), "staged still: {row}");
    let id = row["update"].as_str().expect("an id").to_owned();
    let tried = flashes(&json(&scene, &["show", &id])).len();
    assert!(tried >= 1);

    board.order("mute off");
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "0", "1");
    let short = &id[id.len() - 8..];
    // The server hears of it before the good image is put away, and only then is the update closed.
    let line = eventually("the update is told as proven", Duration::from_secs(60), || {
        let listed = text(&scene, &["history"]);
        listed.lines().find(|line| line.ends_with(short) && line.contains("proven")).map(str::to_owned)
    });
    for part in [&scene.name, "factory", "1.2.0 -> 1.3.0", "proven", &(tried + 1).to_string()] {
        assert!(line.contains(part), "no `{part}` in {line}");
    }
    let shown = json(&scene, &["show", short]);
    let attempts = flashes(&shown);
    assert_eq!(attempts.len(), tried + 1);
    for attempt in &attempts {
        assert_eq!((&attempt["state"], &attempt["tool"]), (&"ended".into(), &"avrdude".into()));
        let argv = attempt["argv"].as_array().expect("a command");
        assert!(argv.iter().any(|word| word.to_string().contains(&board.port().display().to_string())), "{argv:?}");
    }
    let [first, .., last] = attempts.as_slice() else { panic!("two attempts") };
    assert_eq!((&first["outcome"]["outcome"], &first["outcome"]["class"]), (&"failed".into(), &"no-sync".into()));
    assert_eq!(last["outcome"]["outcome"], "verified");
    assert_eq!(last["outcome"]["bytes"], shown["image"]["flash_bytes"]);
    assert_eq!((&shown["version_before"]["text"], &shown["version_after"]["text"]), (&"1.2.0".into(), &"1.3.0".into()));
    assert_eq!((&shown["requester"]["name"], &shown["damaged"]), (&"factory".into(), &Value::Array(Vec::new())));
    let told = text(&scene, &["show", short]);
    for part in ["Attempt 1: no sync", "bytes verified", "asked by     factory"] {
        assert!(told.contains(part), "no `{part}` in {told}");
    }
}

#[test]
fn an_attempt_that_a_crash_cut_off_is_told_as_that_and_the_device_may_be_gone() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::new(world, "arduino-uno", &board.link());
    scene.offer(scene.factory(), &avr_image("uno-1.3.0-large.hex"), "#version=1.3.0");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    eventually("some pages are written", Duration::from_secs(60), || (board.stat().pages > 20).then_some(()));
    scene.daemon.crash();
    scene.daemon.run();
    scene.await_firmware(scene.factory(), "0", "1");
    board.unplug();
    eventually("the device is gone", Duration::from_secs(120), || {
        scene.daemon.device(&scene.name).is_none().then_some(())
    });
    let row = eventually("the update is told as proven", Duration::from_secs(60), || {
        let row = json(&scene, &["history", &scene.name])["updates"][0].clone();
        (row["outcome"] == "proven").then_some(row)
    });
    assert_eq!(row["attempts"], 2, "{row}");
    let shown = json(&scene, &["show", row["update"].as_str().expect("an id")]);
    let states: Vec<&Value> = flashes(&shown).iter().map(|attempt| &attempt["state"]).collect();
    assert_eq!(states, ["interrupted", "ended"]);
}

#[test]
fn a_refused_image_is_in_the_history_too_and_retention_is_checked_where_it_stands() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.refused(scene.factory(), &avr_image("uno-wrong-checksum.hex"), "5");
    let row = json(&scene, &["history", "--failed", "--limit", "1"])["updates"][0].clone();
    assert_eq!((&row["outcome"], &row["attempts"]), (&"refused".into(), &0.into()), "{row}");
    assert!(row["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{row}");
    scene.daemon.edit_config(|text| format!("{text}\n[history]\nkeep = \"1h\"\n"));
    let check = scene.daemon.cli(&["check"]);
    assert!(check.output.contains("keep = \"1h\"") && check.output.contains("from 1day to"), "{}", check.output);
}
