//! The daemon as a program: bad configuration, missing tools, a second daemon, what it lists and explains.
//!
//! Needs the peer avr: `make peers`.

#[path = "cli_daemon/schema.rs"]
mod schema;

use std::time::Duration;

use world::{avr_image, eventually, world};

#[test]
fn a_typo_in_the_configuration_is_shown_where_it_is() {
    let world = world!();
    let daemon = world.daemon().toml("[update]\nafter_crsh = \"finish\"").prepare();
    for command in ["run", "check"] {
        let answer = daemon.cli(&[command]);
        assert!(answer.code.is_some_and(|code| code != 0), "{command}: {}", answer.output);
        assert!(answer.output.contains("nuncio.toml:") && answer.output.contains("after_crsh"), "{}", answer.output);
        assert!(answer.output.contains('^'), "a caret under it: {}", answer.output);
    }
}

#[test]
fn a_missing_tool_fails_the_check_and_marks_the_board_but_the_gateway_runs() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let daemon = world.daemon().device("press-3", "arduino-uno", &board.link(), "").env("PATH", "/nowhere").start();
    let line = daemon.await_device("press-3", "is not updatable", |device| {
        Some(device.not_updatable().to_owned()).filter(|line| !line.is_empty())
    });
    assert!(line.contains("apt install avrdude"), "{line}");
    let check = daemon.cli(&["check", "--json"]);
    assert!(check.code != Some(0) && check.output.contains("avrdude"), "{}", check.output);
}

#[test]
fn a_second_daemon_on_the_same_state_refuses_and_names_the_first() {
    let world = world!();
    let mut first = world.daemon().start();
    let second = first.cli(&["run"]);
    assert!(second.code.is_some_and(|code| code != 0), "{}", second.output);
    let pid = first.process().id();
    assert!(second.output.contains(&pid.to_string()), "names process {pid}: {}", second.output);
}

#[test]
fn a_board_without_a_name_is_recognised_by_asking_its_bootloader_where_policy_allows() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let port = board.port().to_owned();
    let daemon = world.daemon().serial(&format!("questions = \"bootloader\"\nwatch = [{port:?}]")).start();
    let why = eventually("the port is explained", Duration::from_secs(60), || {
        let why = daemon.cli(&["why", &port.display().to_string(), "--json"]).json();
        let told = why.to_string();
        (told.contains("1e950f") || told.contains("1e 95 0f")).then_some(why)
    });
    assert!(why["board"].is_string() || why.to_string().contains("answer alike"), "{why}");
}

#[test]
fn nothing_is_asked_of_a_port_under_the_passive_policy_and_why_says_so() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let port = board.port().to_owned();
    let before = board.stat().opens;
    let daemon = world.daemon().serial(&format!("watch = [{port:?}]")).start();
    let why = eventually("the port is explained", Duration::from_secs(60), || {
        let why = daemon.cli(&["why", &port.display().to_string(), "--json"]);
        (why.code == Some(0)).then_some(why)
    });
    assert!(why.output.contains("not-asked"), "{}", why.output);
    assert_eq!(board.stat().opens, before);
}

#[test]
fn a_server_that_never_answers_keeps_nobody_waiting() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    // Bound and never read: packets are swallowed without an ICMP error.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let uri = format!("coap://{}", silent.local_addr().expect("a bound socket"));
    let mut daemon =
        world.daemon().server("silent", &uri, 1, "").device("press-3", "arduino-uno", &board.link(), "").start();
    daemon.await_device("press-3", "is present", |device| device.present().then_some(()));
    let done = daemon.flash("press-3", &avr_image("uno-1.3.0.hex"));
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(board.stat().pages > 0);
    assert_eq!(daemon.stop(Duration::from_secs(10)), Some(0));
}

#[test]
fn an_ordinary_tcp_listener_is_a_device_that_cannot_be_flashed() {
    let world = world!();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a bound listener");
    let daemon = world.daemon().device("pump", "arduino-uno", &format!("tcp:{address}"), "").start();
    daemon.await_device("pump", "is present", |device| device.present().then_some(()));
    let refused = daemon.flash("pump", &avr_image("uno-1.3.0.hex"));
    assert!(refused.code.is_some_and(|code| code != 0), "{}", refused.output);
}

/// A good board, but for what a case spoils.
const BOARD: &str = r#"schema = 1
[board.pump]
name = "Pump"
match = [{ vid = "1209", pid = "0001", strength = "strong" }]
[board.pump.flash]
vars = { mcu = "m328p", programmer = "arduino", baud = "115200" }
image = { formats = ["ihex"], max_size = 32256 }
reboot = "dtr"
expect_return = "10s"
timeout = "1m"
version = []
"#;

#[test]
fn a_mistake_in_a_board_or_a_tool_is_told_with_file_line_and_key() {
    let tool = std::fs::read_to_string(world::repository().join("flash-tools/avrdude.toml")).expect("the tool");
    let executors = "[executors]\npump = \"avrdude\"";
    for (case, board, flash_tool, executors, wanted) in [
        ("an unknown key", BOARD.replace("reboot", "rebot"), String::new(), executors, ["pump.toml:8:", "rebot"]),
        (
            "an unknown variable",
            BOARD.to_owned(),
            tool.replace("\"{programmer}\"", "\"{programer}\""),
            executors,
            ["avrdude.toml:15:", "programer"],
        ),
        (
            "a board with an unknown tool",
            BOARD.to_owned(),
            String::new(),
            "[executors]\npump = \"avrdud\"",
            ["nuncio.toml:", "avrdud"],
        ),
        ("a board without a tool", BOARD.to_owned(), String::new(), "", ["pump.toml:2:", "names no tool"]),
        (
            "two boards with the same ids",
            BOARD.replace("1209", "2341").replace("0001", "0043"),
            String::new(),
            executors,
            ["pump.toml:4:", "arduino-uno"],
        ),
    ] {
        let world = world!();
        world.file("config/boards.d/pump.toml", &board);
        if !flash_tool.is_empty() {
            world.file("config/flash-tools/avrdude.toml", &flash_tool);
        }
        let daemon = world.daemon().device("pump-1", "pump", "serial:/dev/nothing", "").toml(executors).prepare();
        let check = daemon.cli(&["check"]);
        assert!(check.code != Some(0), "{case}: {}", check.output);
        for part in wanted {
            assert!(check.output.contains(part), "{case}: no `{part}` in {}", check.output);
        }
    }
}

#[test]
fn every_json_output_of_a_living_daemon_follows_its_schema() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let daemon = world.daemon().device("press-3", "arduino-uno", &board.link(), "").start();
    daemon.await_device("press-3", "is present", |device| device.present().then_some(()));
    let image = avr_image("uno-1.3.0.hex").display().to_string();
    let damaged = avr_image("uno-cut-off.hex").display().to_string();
    for (arguments, code) in [
        (&["devices", "--json"][..], 0),
        (&["check", "--json"], 0),
        (&["flash", "press-3", &image, "--json"], 0),
        (&["flash", "press-3", &damaged, "--json"], 1),
        (&["flash", "nobody", &image, "--json"], 4),
        (&["status", "--json"], 0),
        (&["status", "press-3", "--json"], 0),
        (&["why", "press-3", "--json"], 0),
        (&["why", "nobody", "--json"], 4),
    ] {
        let answer = daemon.cli(arguments);
        assert_eq!(answer.code, Some(code), "{arguments:?}: {}", answer.output);
        // What is for people goes to standard error, also here.
        let lines = answer.output.lines().filter(|line| line.starts_with('{'));
        let documents: Vec<serde_json::Value> =
            lines.map(|line| serde_json::from_str(line).expect("a line is a document")).collect();
        assert!(!documents.is_empty(), "{arguments:?}");
        for document in documents {
            schema::check(&document).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
        }
    }
}

#[test]
fn nuncio_flash_tells_its_progress_and_how_it_ended() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let daemon = world.daemon().device("press-3", "arduino-uno", &board.link(), "").start();
    daemon.await_device("press-3", "is present", |device| device.present().then_some(()));
    let done = daemon.flash("press-3", &avr_image("uno-1.3.0-large.hex"));
    assert_eq!(done.code, Some(0), "{}", done.output);
    for part in ["50 %", "bytes verified", "Proven: press-3 runs 1.3.0"] {
        assert!(done.output.contains(part), "no `{part}` in {}", done.output);
    }
    let pages = board.stat().pages;
    let refused = daemon.flash("press-3", &avr_image("uno-over-bootloader.hex"));
    assert_eq!(refused.code, Some(1), "{}", refused.output);
    assert!(refused.output.contains("0x7e00"), "{}", refused.output);
    assert_eq!(board.stat().pages, pages);
}
