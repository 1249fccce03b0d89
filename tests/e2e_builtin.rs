//! The built-in server: one more server like any other, beside a real Leshan.
//!
//! Needs the peers avr and leshan: `make peers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use world::{Scene, World, avr_image, eventually, free_both, world};

/// Ten times what anything but a flash takes here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ten times what a flash takes, with all that stands around it.
const FLASH: Duration = Duration::from_secs(240);

/// A scene with the built-in server as a third one, and its drop folder.
fn scene(world: World, link: &str) -> (Scene, PathBuf) {
    let drop = world.home().join("state/drop");
    let scene = Scene::with(world, "arduino-uno", link, |daemon| daemon.builtin(free_both(), ""));
    scene.daemon.await_registered(&scene.name, "builtin");
    eventually("there is a folder for the device", PATIENCE, || drop.join(&scene.name).is_dir().then_some(()));
    (scene, drop)
}

/// What stands beside an image in the end.
fn result(folder: &Path, image: &str) -> String {
    let file = folder.join(format!("{image}.result"));
    eventually(&format!("{} tells how it ended", file.display()), FLASH, || {
        fs::read_to_string(&file).ok().filter(|text| !text.starts_with("waiting"))
    })
}

#[test]
fn a_file_that_is_dropped_is_flashed_and_every_server_sees_it() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let (scene, drop) = scene(world, &board.link());
    let events = scene.observe_state();
    let folder = drop.join(&scene.name);
    fs::copy(avr_image("uno-1.3.0.hex"), folder.join("blinky.hex")).expect("dropped");
    let text = result(&folder, "blinky.hex");
    assert!(text.starts_with(&format!("ok: {}: it runs 1.3.0, proven\n", scene.name)), "{text}");
    for (server, events) in [scene.factory(), scene.cloud()].into_iter().zip(&events) {
        assert_eq!(events.await_values("/5/0/3", &["1", "2", "3", "0"], PATIENCE), ["1", "2", "3", "0"]);
        scene.await_firmware(server, "0", "1");
        assert_eq!(server.read(&scene.name, "3/0/3").text(), "1.3.0");
    }
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
    assert!(!folder.join("blinky.hex").exists() && folder.join("done/blinky.hex").exists());
    let history = scene.daemon.cli(&["history"]).output;
    assert!(history.contains("builtin"), "{history}");
}

#[test]
fn a_device_registers_there_like_anywhere_else_and_is_read() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.builtin(free_both(), ""));
    scene.daemon.await_registered(&scene.name, "builtin");
    let value = |path: &str| scene.daemon.builtin_value(&scene.name, path);
    eventually("it has read the device", PATIENCE, || (value("/5/0/3")? == "0").then_some(()));
    assert_eq!(value("/3/0/0").as_deref(), Some("Arduino"));
    assert_eq!(value("/5/0/5").as_deref(), Some("0"));
    assert_eq!(scene.factory().read(&scene.name, "5/0/3").text(), "0");
    let status = scene.daemon.cli(&["status"]).output;
    assert!(status.contains("builtin") && status.contains("65534"), "{status}");
    scene.daemon.stop(PATIENCE);
    assert!(scene.daemon.log().contains("server=builtin"), "{}", scene.daemon.log());
    assert!(!scene.daemon.log().contains("did not answer the de-registration"), "{}", scene.daemon.log());
}
