//! Boards whose boot loader is a USB device of its own: called by a touch at 1200 baud, found again in the same socket under another
//! name and other ids, flashed by the real avrdude, and back.
//!
//! The board is ours, on ptys (`world::Leonardo`). Needs the peers avr and leshan: `make peers`.

use std::time::Duration;

use world::{DeviceView, Leonardo, Leshan, Scene, UsbBus, avr_image, eventually, world};

const PATIENCE: Duration = Duration::from_secs(120);

/// A gateway to which nobody told what is plugged in.
fn scene() -> (Scene, Leonardo) {
    let world = world!();
    let bus = UsbBus::new(&world);
    let board = Leonardo::start(&bus, &world.name("1-1"), &avr_image("uno-1.2.0.hex"));
    let (a, b) = Leshan::pair();
    let files = world.http();
    let daemon = world.daemon().server("factory", &a.uri(), 123, "lifetime = \"30s\"");
    let daemon = daemon.server("cloud", &b.uri(), 234, "lifetime = \"30s\"").allow(&files.base());
    let daemon = daemon.serial("watch = [\"/dev/ttyACM*\"]").bus(&bus).start();
    let mut scene = Scene { daemon, files, name: String::new(), world };
    let at = || scene.daemon.device_at("/dev/ttyACM0".as_ref()).filter(DeviceView::present);
    scene.name =
        eventually("the board is found by its USB ids", PATIENCE, || at().map(|device| device.id().to_owned()));
    scene.factory().await_client(&scene.name);
    scene.cloud().await_client(&scene.name);
    (scene, board)
}

#[test]
fn a_board_is_called_into_its_boot_loader_for_each_run_and_proves_the_new_version() {
    let (scene, board) = scene();
    scene.update(scene.factory(), &avr_image("uno-1.3.0.hex"), "1.3.0");
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
    // Once to read what it held, once to write.
    assert_eq!(board.called(), 2);
    scene.update(scene.cloud(), &avr_image("uno-1.2.0.hex"), "1.2.0");
    assert_eq!(board.called(), 3);
}

#[test]
fn a_boot_loader_that_does_not_come_fails_the_update_and_the_board_is_flashed_when_it_does() {
    let (scene, board) = scene();
    board.lose_loader(true);
    scene.fails(scene.factory(), &avr_image("uno-1.3.0.hex"));
    let message = scene.daemon.device(&scene.name).expect("the device").message().to_owned();
    assert!(message.contains("boot loader"), "{message}");
    assert!(board.holds(&avr_image("uno-1.2.0.hex")));
    board.lose_loader(false);
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "0", "1");
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
}
