//! `nuncio plan` on real parts: what it foretells is what the update then does, and foretelling touches nothing.
//!
//! Needs the peers avr and leshan: `make peers`.

#[path = "cli_daemon/schema.rs"]
mod schema;

use std::path::Path;

use serde_json::Value;
use world::{Leftovers, Scene, avr_image, world};

/// A plan that follows its schema; with the exit code of the command.
fn plan(scene: &Scene, image: &Path, more: &[&str]) -> (Value, Option<i32>) {
    let image = image.to_str().expect("text");
    let answer = scene.daemon.cli(&[&["plan", &scene.name, image, "--json"], more].concat());
    let document = answer.json();
    schema::check(&document).unwrap_or_else(|error| panic!("{error}\nin {document:#}"));
    (document, answer.code)
}

fn verdict(scene: &Scene, image: &Path) -> (Value, Option<i32>) {
    let (plan, code) = plan(scene, image, &[]);
    (plan["verdict"].clone(), code)
}

/// The commands of a plan or of an update, without the image's path, which an update has in its own copy, and without the
/// folder that a job gets when it begins.
fn commands(runs: &Value) -> Vec<Vec<String>> {
    let argument = |argument: &Value| {
        let argument = argument.as_str().expect("text");
        match (argument.strip_prefix("flash:w:"), argument.strip_prefix("flash:r:")) {
            (None, None) => argument.to_owned(),
            (written, _) => {
                let format = argument.rsplit(':').next().expect("a format");
                format!("flash:{}:{format}", if written.is_some() { "w" } else { "r" })
            }
        }
    };
    let argv = |run: &Value| run["argv"].as_array().expect("arguments").iter().map(argument).collect();
    runs.as_array().expect("runs").iter().map(argv).collect()
}

fn check_of<'v>(plan: &'v Value, what: &str) -> &'v Value {
    let checks = plan["checks"].as_array().expect("checks");
    let found = checks.iter().find(|check| check["what"].as_str().is_some_and(|of| of.starts_with(what)));
    found.unwrap_or_else(|| panic!("no check of {what} in {plan:#}"))
}

#[test]
fn what_is_planned_is_what_the_update_then_does_and_planning_touches_nothing() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let image = avr_image("uno-1.3.0.hex");
    let before = board.stat();

    let (first, code) = plan(&scene, &image, &["--expect-version", "1.3.0"]);
    assert_eq!((&first["verdict"], code), (&"ready".into(), Some(0)), "{first:#}");
    let tasks = |plan: &Value| {
        let runs = plan["runs"].as_array().expect("runs");
        runs.iter().map(|run| run["task"].as_str().expect("a task").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(tasks(&first), ["backup", "flash"], "it is read before its first flash");
    assert_eq!((&first["way_back"]["saved_first"], &first["last"]), (&true.into(), &Value::Null));
    assert_eq!(first["proof"]["version"], "1.3.0");
    let written = first["image"]["overwritten"].as_array().expect("ranges").iter();
    let bytes: u64 = written.map(|range| range[1].as_u64().expect("end") - range[0].as_u64().expect("start")).sum();
    assert_eq!(first["image"]["flash_bytes"].as_u64(), Some(bytes));
    let after = board.stat();
    assert_eq!((after.opens, after.resets, after.pages), (before.opens, before.resets, before.pages));
    let status = scene.daemon.cli(&["status", "--json"]).json();
    let state = Path::new(status["gateway"]["state"].as_str().expect("a folder"));
    assert_eq!(Leftovers::of(state, Path::new("/nonexistent")).complaints(0), Vec::<String>::new());

    let answer = scene.daemon.cli(&["flash", &scene.name, image.to_str().expect("text"), "--expect-version", "1.3.0"]);
    assert_eq!(answer.code, Some(0), "{}", answer.output);
    let id = scene.daemon.cli(&["history", "--json"]).json()["updates"][0]["update"].clone();
    let shown = scene.daemon.cli(&["show", id.as_str().expect("an id"), "--json"]).json();
    assert_eq!(commands(&shown["attempts"]), commands(&first["runs"]), "the same commands");
    assert_eq!(shown["image"]["flash_bytes"], first["image"]["flash_bytes"]);

    let (second, _) = plan(&scene, &avr_image("uno-1.2.0.hex"), &[]);
    assert_eq!(tasks(&second), ["flash"]);
    assert_eq!((&second["last"]["update"], &second["last"]["version"]), (&id, &"1.3.0".into()));
    assert!(second["last"]["took_ms"].as_u64().is_some_and(|took| took > 0), "{second:#}");
    assert_eq!(second["way_back"]["kept"]["version"], "1.3.0", "what it holds now would be gone back to");
}

#[test]
fn a_plan_tells_what_would_be_refused_and_what_would_wait_and_for_what() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let image = avr_image("uno-1.3.0.hex");
    let folder = tempfile::tempdir().expect("a folder");

    let text = std::fs::read_to_string(&image).expect("an image");
    let cut = folder.path().join("cut.hex");
    std::fs::write(&cut, &text[..text.len() / 2]).expect("written");
    let (damaged, code) = plan(&scene, &cut, &[]);
    assert_eq!(
        (&damaged["verdict"], &damaged["result"], code),
        (&"refused".into(), &"integrity-failure".into(), Some(1))
    );
    assert_eq!(damaged["runs"].as_array().map(Vec::len), Some(0));
    let mega = folder.path().join("elsewhere.bin");
    std::fs::write(&mega, [0xe9; 4096]).expect("written");
    let (foreign, _) = plan(&scene, &mega, &[]);
    assert_eq!(foreign["result"], "unsupported-package", "{foreign:#}");
    std::fs::copy(&image, folder.path().join("a.hex")).expect("copied");
    std::fs::write(folder.path().join("a.hex.sha256"), "0".repeat(64)).expect("written");
    let (wrong, _) = plan(&scene, &folder.path().join("a.hex"), &[]);
    assert_eq!(wrong["result"], "integrity-failure");
    assert!(check_of(&wrong, "image")["detail"].as_str().is_some_and(|why| why.contains("SHA-256")), "{wrong:#}");

    scene.daemon.cli(&["brake", "pull", "arduino-uno"]);
    let (braked, code) = plan(&scene, &image, &[]);
    assert_eq!((&braked["verdict"], code), (&"waits".into(), Some(0)));
    assert!(check_of(&braked, "schedule")["detail"].as_str().is_some_and(|why| why.contains("nuncio brake release")));
    let status = scene.daemon.cli(&["status"]).output;
    assert!(status.contains("Note: images are held back from boards of type arduino-uno"), "{status}");
    scene.daemon.cli(&["brake", "release"]);
    assert!(!scene.daemon.cli(&["status"]).output.contains("held back"));
    assert_eq!(verdict(&scene, &image), ("ready".into(), Some(0)));

    scene.offer(scene.factory(), &image, "");
    scene.await_firmware(scene.factory(), "2", "0");
    assert_eq!(verdict(&scene, &image), ("refused".into(), Some(1)), "a server has staged something");
    let shown = scene.daemon.cli(&["plan", &scene.name, image.to_str().expect("text")]).output;
    assert!(shown.contains("FAILED") && shown.contains("nuncio status"), "{shown}");
    scene.await_firmware(scene.factory(), "2", "0");
}
