//! Points of real devices as IPSO objects at a real server: read, observed, written, and out of the way when something else
//! wants the link.
//!
//! Needs the peers avr and leshan: `make peers`.

use std::time::Duration;

use world::{Daemon, Leshan, Model, SimBoard, World, avr_image, eventually, firmata_image, world};

/// A bootloader, a start of Firmata and a few questions.
const PATIENCE: Duration = Duration::from_secs(120);

const PINS: &str = r#"
[board.arduino-uno.points.firmata]
baud = 57600
pins = [
    { pin = 13, mode = "output", object = 3306, name = "lamp" },
    { pin = 14, mode = "analog", object = 3202, name = "light" },
    { pin = 2, mode = "pullup", object = 3200, name = "door" },
    { pin = 6, mode = "pwm", object = 3203, name = "fan", scale = 0.00392156862745098 },
]
"#;

fn greenhouse(world: &World, leshan: &Leshan) -> (Daemon, SimBoard) {
    let file = include_str!("../config/boards.d/arduino-uno.toml");
    world.file("config/boards.d/arduino-uno.toml", format!("{file}{PINS}"));
    let board = world.board(Model::Uno).with(&firmata_image()).start();
    let daemon = world
        .daemon()
        .server("leshan", &leshan.uri(), 123, "")
        .serial("questions = \"serial\"")
        .device("greenhouse", "arduino-uno", &board.link(), "")
        .start();
    daemon.await_registered("greenhouse", "leshan");
    (daemon, board)
}

fn await_value(leshan: &Leshan, path: &str, wanted: &str) {
    eventually(&format!("{path} is {wanted}"), PATIENCE, || {
        let answer = leshan.read("greenhouse", path);
        (answer.code == 205 && answer.text() == wanted).then_some(())
    });
}

#[test]
fn pins_of_a_firmata_are_read_observed_and_written() {
    let (world, leshan) = (world!(), Leshan::start("points"));
    let (daemon, mut board) = greenhouse(&world, &leshan);
    eventually("its points are registered", PATIENCE, || {
        let client = leshan.client("greenhouse")?.to_string();
        ["/3306/0", "/3202/0", "/3200/0", "/3203/0"].iter().all(|path| client.contains(path)).then_some(())
    });
    await_value(&leshan, "3306/0/5850", "false");
    assert_eq!(leshan.read("greenhouse", "3306/0/5750").text(), "lamp");
    await_value(&leshan, "3200/0/5500", "true");
    assert_eq!(leshan.read("greenhouse", "3202/0/5600").code, 205);

    let before = board.blinks();
    let events = leshan.events("greenhouse");
    assert_eq!(leshan.observe("greenhouse", "3306/0/5850").code, 205);
    assert_eq!(leshan.write("greenhouse", "3306/0/5850", true).code, 204);
    events.await_values("/3306/0/5850", &["true"], PATIENCE);
    assert!(board.blinks() > before, "the board's own lamp is on");
    assert_eq!(leshan.write("greenhouse", "3203/0/5650", 0.5).code, 204);
    eventually("the fan's level is what the board says it is", PATIENCE, || {
        let level: f64 = leshan.read("greenhouse", "3203/0/5650").text().parse().ok()?;
        ((level - 0.5).abs() < 0.01).then_some(())
    });
    assert_eq!(leshan.write("greenhouse", "3200/0/5500", true).code, 405);
    assert_eq!(leshan.write("greenhouse", "3203/0/5650", 2.0).code, 400, "beyond what the object takes");
    let who = daemon.cli(&["who", "greenhouse"]);
    assert!(who.output.contains("reading its points"), "{}", who.output);
}

#[test]
fn an_update_and_a_wish_to_blink_take_the_link_and_the_points_come_back() {
    let (world, leshan) = (world!(), Leshan::start("points-update"));
    let (daemon, mut board) = greenhouse(&world, &leshan);
    await_value(&leshan, "3306/0/5850", "false");
    assert_eq!(leshan.write("greenhouse", "3306/0/5850", true).code, 204);
    await_value(&leshan, "3306/0/5850", "true");
    let before = board.blinks();
    let blinking = daemon.cli(&["identify", "greenhouse"]);
    assert_eq!(blinking.code, Some(0), "{}", blinking.output);
    assert!(board.blinks() > before + 4);
    await_value(&leshan, "3306/0/5850", "false");
    let flashed = daemon.flash("greenhouse", &avr_image("uno-1.3.0.hex"));
    assert_eq!(flashed.code, Some(0), "{}", flashed.output);
    assert!(!flashed.output.contains("reading its points"), "no job waits for a watch: {}", flashed.output);
    // The new program is no Firmata: what the pins hold is not known any more, and nobody supposes it.
    eventually("the points have no values", PATIENCE, || {
        (leshan.read("greenhouse", "3306/0/5850").code == 404).then_some(())
    });
    let flashed = daemon.flash("greenhouse", &firmata_image());
    assert_eq!(flashed.code, Some(0), "{}", flashed.output);
    await_value(&leshan, "3306/0/5850", "false");
}
