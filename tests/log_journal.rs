//! The log as journald reads it: its own form where the daemon's standard error is the journal's stream, and only there.

use std::io::{BufRead as _, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use world::{World, world};

/// What `nuncio run` writes until it is ready, into a socket as systemd hands it on; `stream` names what `JOURNAL_STREAM` says.
fn log(world: &World, stream: impl Fn(&str) -> String) -> Vec<String> {
    let config = world.daemon().prepare().config().to_owned();
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    let theirs = std::fs::File::from(OwnedFd::from(theirs));
    let found = theirs.metadata().expect("a socket");
    let named = stream(&format!("{}:{}", found.dev(), found.ino()));
    let mut command = Command::new(world.nuncio());
    command.args(["run", "--log", "info"]).arg("--config").arg(config).env("JOURNAL_STREAM", named).stderr(theirs);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("started");
    // Its own end of the socket is the only one left.
    drop(command);
    let mut lines = Vec::new();
    for line in BufReader::new(ours).lines() {
        lines.push(line.expect("text"));
        if lines.last().is_some_and(|line| line.contains("ready")) {
            break;
        }
    }
    child.kill().expect("it runs");
    child.wait().expect("reaped");
    lines
}

#[test]
fn the_journal_is_told_priorities_and_nothing_that_it_knows_itself() {
    let world = world!();
    let lines = log(&world, str::to_owned);
    assert!(lines.len() > 2, "{lines:?}");
    for line in &lines {
        let rest = line.strip_prefix("<6>").or_else(|| line.strip_prefix("<4>")).unwrap_or_else(|| panic!("{line}"));
        assert!(rest.starts_with("nuncio::") && !rest.contains('\u{1b}') && !rest.contains("INFO"), "{line}");
    }
}

#[test]
fn a_stream_that_is_not_the_journals_is_written_for_people() {
    let world = world!();
    let lines = log(&world, |named| format!("{named}7"));
    assert!(lines.iter().all(|line| line.starts_with("20") && line.contains(" INFO nuncio::")), "{lines:?}");
}
