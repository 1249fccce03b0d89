//! Recorded cases, played to the unmodified daemon: what it makes of what transports once saw and said.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Board, endpoint name and version of a device.
type Left<'a> = (&'a str, &'a str, Option<&'a str>);

/// The devices that are left at the end of each tape.
const CASES: &[(&str, &[Left<'_>])] = &[
    ("esp32-by-its-rom-loader", &[("esp32", "mac-246f28aabbcc", Some("1.4.2"))]),
    ("esphome-updated-gone-and-back", &[("esphome", "mac-025d71ce0001", Some("1.3.0"))]),
    (
        "hostile-records",
        &[
            ("esphome", "host-tape-evil", None),
            ("esphome", "mac-02644a6a0001", Some("1\u{FFFD}[31m\u{FFFD}\u{FFFD}2\u{FFFD}")),
        ],
    ),
    ("mega-by-its-bootloader", &[("arduino-mega2560", "port-tape-ttyUSB0", None)]),
    ("one-of-two-lost-its-power", &[("esphome", "mac-0270ed120002", Some("1.2.0"))]),
    ("passive", &[]),
    (
        "tasmota-and-wled-over-http",
        &[("tasmota", "mac-a4cf12000007", Some("14.2.0(tasmota32)")), ("wled", "mac-a4cf12000008", Some("0.15.0"))],
    ),
    (
        "two-of-one-name",
        &[("esphome", "mac-022333ca0001", Some("1.2.0")), ("esphome", "mac-022333ca0002", Some("1.3.0"))],
    ),
    ("uno-by-its-firmata", &[("arduino-uno", "port-tape-ttyUSB0", Some("2.5"))]),
    ("uno-or-new-nano", &[]),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tapes")
}

fn nuncio(arguments: &[&str]) -> (Option<i32>, String, String) {
    let home = tempfile::tempdir().expect("a folder");
    let config = home.path().join("nuncio.toml");
    fs::write(&config, "[gateway]\nname = \"tape\"\n").expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_nuncio"))
        .arg("--config")
        .arg(&config)
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .expect("the built binary");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What is left of a tape when it was played.
fn played(tape: &Path) -> Value {
    let (code, told, log) = nuncio(&["replay", tape.to_str().expect("text"), "--at-once", "--json"]);
    assert_eq!(code, Some(0), "{told}{log}");
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
}

#[test]
fn each_tape_comes_to_what_it_came_to_then() {
    for (name, expected) in CASES {
        let list = played(&folder().join(format!("{name}.tape")));
        let mut devices: Vec<Left<'_>> = list["devices"].as_array().expect("devices").iter().map(device).collect();
        devices.sort_unstable();
        assert_eq!(&devices[..], *expected, "{name}");
    }
}

fn device(device: &Value) -> Left<'_> {
    let text = |key: &str| device[key].as_str().expect("text");
    (text("board"), text("endpoint"), device["version"]["text"].as_str())
}

#[test]
fn every_tape_is_a_case() {
    let entries = fs::read_dir(folder()).expect("the tapes").flatten();
    for entry in entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "tape")) {
        let name = entry.path().file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(CASES.iter().any(|(case, _)| *case == name), "{name} is played by nobody");
    }
}

#[test]
fn what_was_not_asked_then_is_told_and_not_made_up() {
    let tape = folder().join("uno-by-its-firmata.tape");
    let text = fs::read_to_string(&tape).expect("a tape");
    let unanswered: String =
        text.lines().filter(|line| !line.contains("answered")).map(|line| format!("{line}\n")).collect();
    let home = tempfile::tempdir().expect("a folder");
    let tape = home.path().join("unanswered.tape");
    fs::write(&tape, unanswered).expect("written");
    let list = played(&tape);
    assert_eq!((list["devices"].as_array().map(Vec::len), list["links"].as_array().map(Vec::len)), (Some(0), Some(1)));
}

#[test]
fn what_is_no_tape_is_refused_with_its_line() {
    let home = tempfile::tempdir().expect("a folder");
    let tape = home.path().join("x.tape");
    let began = "{\"at_ms\":0,\"tape\":\"began\",\"schema\":1,\"version\":\"0\",\"questions\":\"passive\"}\n";
    for (text, line) in [
        ("no tape\n".to_owned(), ":1"),
        (format!("{began}{{\"at_ms\":1,\"tape\":\"unheard-of\"}}\n"), ":2"),
        (began.replace("\"schema\":1", "\"schema\":9"), ":1"),
        ("{\"at_ms\":1,\"tape\":\"vanished\",\"link\":\"tcp:h:1\"}\n".to_owned(), ":1"),
    ] {
        fs::write(&tape, text).expect("written");
        let (code, told, error) = nuncio(&["replay", tape.to_str().expect("text")]);
        assert_eq!(code, Some(1), "{told}{error}");
        assert!(error.contains(&format!("x.tape{line}")), "{error}");
    }
}
