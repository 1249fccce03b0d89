//! The built-in server: one more server like any other, beside a real Leshan.
//!
//! Needs the peers avr and leshan: `make peers`.

use std::time::Duration;

use world::{Scene, eventually, free_both, world};

/// Ten times what anything but a flash takes here.
const PATIENCE: Duration = Duration::from_secs(60);

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
