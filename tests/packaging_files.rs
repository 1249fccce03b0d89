//! What the package's files say is what the program does: their facts come from elsewhere in the repository.
//!
//! `e2e_package.rs` tries them on a system; this needs none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nuncio::config;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of a folder with this ending, as text.
fn all(folder: &str, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(root().join(folder)).expect("the folder is there").flatten();
    let files = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|found| found == ending));
    files.map(|path| fs::read_to_string(path).expect("text")).collect()
}

/// `NAME = "..."` wherever it stands in a line.
fn value<'t>(line: &'t str, name: &str) -> Option<&'t str> {
    line.split(&format!("{name} = \"")).nth(1)?.split('"').next()
}

/// A value of the unit, e.g. of `TimeoutStopSec`.
fn unit(key: &str) -> Option<String> {
    read("packaging/nuncio.service")
        .lines()
        .find_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned()))
}

fn duration(text: &str) -> Duration {
    humantime::parse_duration(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn modemmanager_is_told_of_every_maker_whose_boards_are_known_by_their_own_usb_ids() {
    let rules = read("packaging/udev.rules");
    let boards = all("config/boards.d", "toml");
    let own = boards.iter().flat_map(|text| text.lines()).filter(|line| !line.contains("\"bridge\""));
    let makers: Vec<&str> = own.filter_map(|line| value(line, "vid")).collect();
    assert!(makers.len() >= 20, "ids were found: {makers:?}");
    for maker in makers {
        let rule = format!("ATTRS{{idVendor}}==\"{maker}\"");
        assert!(
            rules.contains(&rule),
            "packaging/udev.rules lacks a line for the boards of USB vendor {maker}: {rule}"
        );
    }
}

#[test]
fn a_stop_leaves_a_flash_and_its_proof_the_time_that_they_may_take() {
    let tools = all("flash-tools", "toml");
    let totals = tools.iter().flat_map(|text| text.lines()).filter_map(|line| value(line, "total")).map(duration);
    let longest = totals.max().expect("tools have limits");
    let stop = duration(&unit("TimeoutStopSec").expect("it is set"));
    // One run of the tool, and as long again for a backup before it or for what comes after it.
    assert!(stop >= longest * 2, "TimeoutStopSec is {stop:?}, and a tool may take {longest:?}");
}

#[test]
fn folders_are_those_of_the_defaults() {
    let config = config::parse(Path::new(config::DEFAULT_FILE), None).expect("the defaults are right");
    let below = |folder: &str, key: &str| Path::new(folder).join(unit(key).expect("it is set"));
    assert_eq!(config.gateway.state, below("/var/lib", "StateDirectory"));
    assert_eq!(config.gateway.socket.parent(), Some(&*below("/run", "RuntimeDirectory")));
    let made = read("packaging/nuncio.tmpfile");
    for folder in [&config.boards_dir, &config.tools_dir, &config.update.keys, Path::new("/etc/nuncio/credentials")] {
        assert!(made.contains(&format!("d {} ", folder.display())), "{} is made by the package", folder.display());
    }
    let purged = read("packaging/postrm");
    assert!(purged.contains(&format!(" {} ", config.gateway.state.display())), "purge takes the state along");
}

#[test]
fn the_configuration_that_is_installed_changes_nothing() {
    let shipped = read("packaging/nuncio.toml");
    let said: Vec<&str> = shipped.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert!(said.is_empty(), "an upgrade asks about every line that changes here: {said:?}");
    let example: String = shipped
        .lines()
        .filter_map(|line| line.strip_prefix("# "))
        .skip_while(|line| !line.starts_with("[["))
        .collect::<Vec<_>>()
        .join("\n");
    let config = config::parse(Path::new("nuncio.toml"), Some(&example)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.servers.len(), 1);
}

/// Under qemu-aarch64, a second thread hangs: `packaging/try.sh` tries arm64 with these.
#[test]
fn the_commands_that_need_no_daemon_start_no_thread() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, trace) = (folder.path().join("nuncio.toml"), folder.path().join("trace"));
    fs::write(&file, format!("[gateway]\nstate = {:?}\n", folder.path().join("state"))).expect("written");
    for command in ["--version", "--help", "check"] {
        let mut strace = Command::new("strace");
        strace.args(["-f", "--trace=clone,clone3,exit_group", "-o"]).arg(&trace).arg(env!("CARGO_BIN_EXE_nuncio"));
        let output = strace.arg("--config").arg(&file).arg(command).output().expect("strace is there: make peers");
        assert!(output.status.success(), "{command}: {output:?}");
        let traced = fs::read_to_string(&trace).expect("a trace");
        assert!(traced.contains("exit_group(0)") && !traced.contains("CLONE_THREAD"), "{command}:\n{traced}");
    }
}

#[test]
fn bash_takes_the_completions() {
    let folder = tempfile::tempdir().expect("a folder");
    let made =
        Command::new(env!("CARGO_BIN_EXE_nuncio")).arg("generate-pages").arg(folder.path()).status().expect("it runs");
    assert!(made.success());
    let script =
        "source \"$0\" && COMP_WORDS=(nuncio fl) COMP_CWORD=1 && _nuncio nuncio fl nuncio && echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["--norc", "-c", script]).arg(folder.path().join("bash/nuncio")).output();
    let output = output.expect("bash is there");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "flash", "{output:?}");
}
