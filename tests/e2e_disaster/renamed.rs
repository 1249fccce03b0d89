//! A link is pulled out in the middle of a flash and comes back under another name: the board is known by its serial
//! number, whatever its node is called.

use std::time::Duration;

use world::{DeviceView, Leshan, Scene, UsbBus, Version, Victim, eventually, world};

const NEW: Version = Version::ALL[1];
const PATIENCE: Duration = Duration::from_secs(120);

/// The device that is at a node now.
fn named(scene: &Scene, node: &str) -> String {
    let at = || scene.daemon.device_at(node.as_ref()).filter(DeviceView::present);
    eventually("the board is found by its USB ids", PATIENCE, || at().map(|device| device.id().to_owned()))
}

/// A gateway to which nobody told what is plugged in: ttyACM0, an Uno with the first serial number.
fn scene(serials: [&str; 2]) -> (Scene, Victim, UsbBus) {
    let world = world!();
    let (victim, bus) = (Victim::new(&world), UsbBus::new(&world));
    bus.plug(&victim.board, "ttyACM0", serials[0]);
    let (a, b) = Leshan::pair();
    let files = world.http();
    let daemon = world.daemon().server("factory", &a.uri(), 123, "lifetime = \"30s\"");
    let daemon = daemon.server("cloud", &b.uri(), 234, "lifetime = \"30s\"").allow(&files.base());
    let daemon = daemon.serial("watch = [\"/dev/ttyACM*\"]").bus(&bus).start();
    let mut scene = Scene { daemon, files, name: String::new(), world };
    scene.name = named(&scene, "/dev/ttyACM0");
    scene.await_rest();
    (scene, victim, bus)
}

fn pull_in_the_middle(scene: &mut Scene, victim: &Victim, bus: &UsbBus) {
    scene.begin_until(NEW, &["phase: Write, percent: 4"]);
    victim.board.unplug();
    bus.unplug("ttyACM0");
    eventually("it is missed", PATIENCE, || {
        scene.daemon.device(&scene.name).is_some_and(|device| !device.present()).then_some(())
    });
}

fn put_back(victim: &Victim, bus: &UsbBus, name: &str, serial: &str) {
    victim.board.plug();
    victim.board.order("reset");
    bus.plug(&victim.board, name, serial);
}

#[test]
fn the_flash_is_finished_under_the_new_name() {
    let serials = ["uno", "other"].map(|stem| world!().name(stem));
    let (mut scene, victim, bus) = scene([&serials[0], &serials[1]]);
    pull_in_the_middle(&mut scene, &victim, &bus);
    put_back(&victim, &bus, "ttyACM1", &serials[0]);
    assert!(scene.tells_the_truth(&victim).is_success());
    assert_eq!(victim.held(), Some(NEW));
    assert_eq!(named(&scene, "/dev/ttyACM1"), scene.name);
    scene.can_be_flashed_again(&victim);
}

#[test]
fn another_board_that_takes_the_old_name_is_left_alone() {
    let serials = ["uno", "other"].map(|stem| world!().name(stem));
    let (mut scene, victim, bus) = scene([&serials[0], &serials[1]]);
    let mut other = Victim::new(&scene.world);
    pull_in_the_middle(&mut scene, &victim, &bus);
    bus.plug(&other.board, "ttyACM0", &serials[1]);
    assert_ne!(named(&scene, "/dev/ttyACM0"), scene.name);
    put_back(&victim, &bus, "ttyACM1", &serials[0]);
    assert!(scene.tells_the_truth(&victim).is_success());
    scene.can_be_flashed_again(&victim);
    assert_eq!((other.held(), other.board.stat().pages), (Some(NEW.other()), 0), "it was not touched");
}

#[test]
fn the_gateway_dies_meanwhile() {
    let serials = ["uno", "other"].map(|stem| world!().name(stem));
    let (mut scene, victim, bus) = scene([&serials[0], &serials[1]]);
    pull_in_the_middle(&mut scene, &victim, &bus);
    scene.daemon.crash();
    put_back(&victim, &bus, "ttyACM1", &serials[0]);
    scene.daemon.run();
    assert!(scene.tells_the_truth(&victim).is_success());
    assert_eq!(named(&scene, "/dev/ttyACM1"), scene.name);
    scene.can_be_flashed_again(&victim);
}
