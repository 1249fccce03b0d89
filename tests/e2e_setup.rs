//! `nuncio setup` as somebody runs it who has just installed the package: what is plugged in is told, two things are asked, a
//! configuration is written. That the service then starts and a device registers is shown by `e2e_package`.
//!
//! Needs the peer avr: `make peers`. Only root can make a bus of its own.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use world::{Model, UsbBus, World, avr_image, world};

/// Runs it on a bus of its own, and answers; its exit code and all that it said.
fn setup(world: &World, bus: &UsbBus, config: &Path, options: &[&str], answers: &str) -> (Option<i32>, String) {
    let mut command: Command = bus.around();
    command.arg(world.nuncio()).arg("--config").arg(config).args(["setup", "--no-start"]).args(options);
    command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("started");
    let mut input = running.stdin.take().expect("piped");
    // It may end before it has asked everything.
    let _ = input.write_all(answers.as_bytes());
    drop(input);
    let output = running.wait_with_output().expect("ended");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn boards_are_named_with_how_sure_that_is_and_two_answers_make_a_configuration() {
    let world = world!();
    let bus = UsbBus::new(&world);
    let mut board = world.uno("uno-1.2.0.hex");
    bus.plug(&board, "ttyACM0", "75735313");
    let before = board.stat();
    let config = world.home().join("etc/nuncio.toml");
    let (code, said) = setup(&world, &bus, &config, &[], "coap://dm.example.org:5683\n1\n");
    assert_eq!(code, Some(0), "{said}");
    for words in ["usb-2341-0043-75735313", "arduino-uno", "sure: its USB ids belong to this board alone", "Written:"] {
        assert!(said.contains(words), "{words} is missing:\n{said}");
    }
    assert_eq!(said.matches("Enter for").count(), 2, "two questions:\n{said}");
    assert_eq!(board.stat(), before, "the board was touched");
    let text = std::fs::read_to_string(&config).expect("written");
    let written = nuncio::config::parse(&config, Some(&text)).expect("valid");
    assert_eq!(written.servers[0].uri, "coap://dm.example.org:5683");
    assert_eq!(written.web.listen, ["127.0.0.1:8080".parse().expect("an address")]);

    // Once more, as long as nobody has changed it; then never.
    let (code, said) = setup(&world, &bus, &config, &["--builtin", "--page", "network"], "");
    assert_eq!((code, said.matches('?').count()), (Some(0), 0), "something was asked:\n{said}");
    let text = std::fs::read_to_string(&config).expect("written");
    assert!(text.contains("[builtin_server]\nenabled = true") && text.contains("0.0.0.0:8443"), "{text}");
    let changed = text.replace("enabled = true", "enabled = false");
    std::fs::write(&config, &changed).expect("written");
    let (code, said) = setup(&world, &bus, &config, &["--builtin", "--page", "off"], "");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("it stays as it is"), "{said}");
    assert_eq!(std::fs::read_to_string(&config).expect("there"), changed, "it was written over");
}

#[test]
fn a_board_that_does_not_tell_is_asked_about_and_keeps_its_socket() {
    let world = world!();
    let bus = UsbBus::new(&world);
    let board = world.board(Model::NanoOld).with(&avr_image("nano-1.2.0.hex")).start();
    bus.plug_bridge(&board, "ttyUSB0", "1-1.4");
    let config = world.home().join("etc/nuncio.toml");
    let (code, said) = setup(&world, &bus, &config, &["--builtin", "--page", "off"], "arduino-none\narduino-nano\n");
    assert_eq!(code, Some(0), "{said}");
    for words in
        ["Which of them is on serial:/dev/ttyUSB0", "1a86:7523", "there is no board `arduino-none`", "Arduino Nano"]
    {
        assert!(said.contains(words), "{words} is missing:\n{said}");
    }
    let text = std::fs::read_to_string(&config).expect("written");
    assert!(text.contains("name = \"arduino-nano-1\"\nboard = \"arduino-nano\""), "{text}");

    // Once more, with nobody there to answer: what was told before holds.
    let (code, said) = setup(&world, &bus, &config, &["--builtin", "--page", "local"], "");
    assert_eq!((code, said.contains("Which of them")), (Some(0), false), "{said}");
    let text = std::fs::read_to_string(&config).expect("written");
    assert!(text.contains("name = \"arduino-nano-1\"") && text.contains("[web]"), "{text}");

    let (code, said) = setup(&world, &bus, &world.home().join("etc/other.toml"), &["--page", "off"], "\n");
    assert_eq!(code, Some(1), "nobody answered:\n{said}");
    assert!(said.contains("--server URI or --builtin"), "{said}");
    assert!(!world.home().join("etc/other.toml").exists(), "half an answer is none");
}
