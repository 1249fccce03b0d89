//! The house rules that the compiler does not enforce (docs/ARCHITECTURE.md, "Who may import whom"), as text checks.

use std::fs;
use std::path::{Path, PathBuf};

use world::rust_files;

/// Folders whose modules are siblings: they exchange `device` types and never name each other.
const SIBLINGS: &[&str] = &[
    "transports",
    "boards",
    "proxy",
    "update",
    "executors",
    "store",
    "control",
    "leases",
    "builtin",
    "mqtt",
    "hooks",
    "host",
    "archive",
];

/// What each room may import from the crate, besides itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("transports", &["device", "procfs"]),
    ("boards", &["device"]),
    ("proxy", &["device"]),
    ("update", &["device"]),
    ("executors", &["device", "procfs", "credentials"]),
    ("store", &["device"]),
    ("leases", &["device"]),
    ("builtin", &["device", "procfs"]),
    ("host", &["device"]),
    ("archive", &["device"]),
    ("control", &["device"]),
    ("mqtt", &["device", "control"]),
    ("hooks", &["device", "control"]),
    ("device", &[]),
    ("procfs", &[]),
    ("web", &["device", "control", "procfs"]),
    ("credentials", &[]),
    ("cli", &["device", "control", "config", "gateway"]),
    (
        "config",
        &[
            "device",
            "credentials",
            "transports",
            "boards",
            "proxy",
            "update",
            "executors",
            "store",
            "builtin",
            "web",
            "mqtt",
            "hooks",
        ],
    ),
];

/// One line of source that is not a comment and not inside `mod tests`.
struct Line {
    file: PathBuf,
    number: usize,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The product's lines: comments dropped, and all from `#[cfg(test)]` on (tests come last in every file).
fn product_lines(file: &Path) -> Vec<Line> {
    let text = fs::read_to_string(file).expect("a readable file");
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| Line { file: file.to_owned(), number: at + 1, text: line.to_owned() })
        .collect()
}

/// The files of one room: `src/NAME.rs` and all below `src/NAME/`.
fn room(name: &str) -> Vec<Line> {
    let mut files = rust_files(&root().join("src").join(name));
    let own = root().join("src").join(format!("{name}.rs"));
    if own.exists() {
        files.push(own);
    }
    files.iter().flat_map(|file| product_lines(file)).collect()
}

fn complain(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

fn show(line: &Line) -> String {
    format!("{}:{}: {}", line.file.display(), line.number, line.text.trim())
}

#[test]
fn every_room_imports_only_what_it_may() {
    let mut found = Vec::new();
    for (name, allowed) in MAY_IMPORT {
        for line in room(name) {
            for rest in line.text.split("crate::").skip(1) {
                let target: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if target != *name && !allowed.contains(&target.as_str()) {
                    found.push(show(&line));
                }
            }
        }
    }
    complain(&found, "a room names another one that it must not know");
}

#[test]
fn nothing_is_imported_in_a_group_from_the_crate() {
    let found: Vec<_> = MAY_IMPORT
        .iter()
        .flat_map(|(name, _)| room(name))
        .filter(|line| line.text.contains("crate::{") || climbs_to_a_sibling(line))
        .map(|line| show(&line))
        .collect();
    complain(&found, "grouped imports and climbing paths hide who knows whom");
}

/// `super::super::NAME` where NAME is another room.
fn climbs_to_a_sibling(line: &Line) -> bool {
    line.text
        .split("super::super::")
        .skip(1)
        .any(|rest| SIBLINGS.iter().any(|name| rest.starts_with(&format!("{name}::"))))
}

#[test]
fn only_the_store_knows_its_database() {
    let found: Vec<_> = rust_files(&root().join("src"))
        .iter()
        .filter(|file| !file.starts_with(root().join("src/store")) && !file.ends_with("src/store.rs"))
        .flat_map(|file| product_lines(file))
        .filter(|line| line.text.contains("rusqlite"))
        .map(|line| show(&line))
        .collect();
    complain(&found, "rusqlite outside store/");
}

#[test]
fn machines_know_no_clock_and_never_sleep() {
    let forbidden = [
        "Instant::now",
        "SystemTime::now",
        "sleep(",
        "tokio::",
        "std::thread",
        "std::process",
        "std::fs",
        "std::net::Udp",
    ];
    let mut lines = room("boards/registry");
    lines.extend(room("update/machine"));
    for name in ["coap", "lwm2m"] {
        let files = rust_files(&root().join("crates").join(name).join("src"));
        assert!(!files.is_empty(), "crates/{name} has sources");
        lines.extend(files.iter().flat_map(|file| product_lines(file)));
    }
    let found: Vec<_> =
        lines.iter().filter(|line| forbidden.iter().any(|word| line.text.contains(word))).map(show).collect();
    complain(&found, "a protocol machine that reaches for the world");
}

/// Boards that are called like the protocol by which they, and others, are asked.
const PROTOCOLS: [&str; 1] = ["esphome"];

#[test]
fn no_board_and_no_tool_is_named_in_the_code() {
    let names: Vec<String> = ["config/boards.d", "flash-tools"]
        .iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).expect("the data folders are there"))
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .collect();
    assert!(names.len() >= 9, "boards and tools were found: {names:?}");
    let embeds = |line: &Line| line.text.contains("include_str!") || line.text.contains("embedded!");
    let mut found = Vec::new();
    let boards_only = |name: &&String| !PROTOCOLS.contains(&name.as_str());
    for file in rust_files(&root().join("src")) {
        for line in product_lines(&file).iter().filter(|line| !embeds(line)) {
            if names.iter().filter(boards_only).any(|name| line.text.contains(&format!("\"{name}\""))) {
                found.push(show(line));
            }
        }
    }
    complain(&found, "what differs per board or tool belongs into their files");
}

#[test]
fn test_switches_stay_out_of_the_product() {
    let mut found = Vec::new();
    for file in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&file).expect("a readable file");
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let opens_tests = lines.get(at + 1).is_some_and(|next| next.trim_start().starts_with("mod tests"));
            if (line.contains("cfg(test)") && !opens_tests) || line.contains("cfg!(test)") {
                found.push(format!("{}:{}: {}", file.display(), at + 1, line.trim()));
            }
        }
    }
    complain(&found, "cfg(test) outside `mod tests`");
}

#[test]
fn siblings_are_the_rooms_that_exist() {
    for name in SIBLINGS {
        assert!(!room(name).is_empty(), "src/{name} is empty or gone: bring this test up to date");
    }
}

#[test]
fn no_file_outgrows_its_purpose() {
    let mut found = Vec::new();
    for folder in ["src", "crates"] {
        for file in rust_files(&root().join(folder)) {
            let count = product_lines(&file).len();
            if count > 800 {
                found.push(format!("{}: {count} lines", file.display()));
            }
        }
    }
    complain(&found, "past 800 lines: two nouns in one?");
}
