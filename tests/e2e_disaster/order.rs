//! What the kernel was asked, in order: the journal is on the disk before the tool exists as a program, and long before it
//! writes to the port.

use std::fs;
use std::path::Path;

use world::{Scene, Version, Victim, world};

const CALLS: &str = "execve,openat,write,pwrite64,fsync,fdatasync";

/// The lines of a trace: process id, and the call with its result; one that was cut in two by another process's call is
/// there twice, at its beginning and, as `<... call resumed>`, at its end.
fn calls(trace: &Path) -> Vec<(u32, String)> {
    let text = String::from_utf8_lossy(&fs::read(trace).expect("strace has written it")).into_owned();
    let call = |line: &str| {
        let (pid, call) = line.split_once(' ')?;
        Some((pid.parse().ok()?, call.trim().to_owned()))
    };
    text.lines().filter_map(call).collect()
}

/// Where the call is that this one's end belongs to: itself, or its first half.
fn begins_at(calls: &[(u32, String)], end: usize) -> usize {
    let (pid, call) = &calls[end];
    if !call.starts_with("<... ") {
        return end;
    }
    calls[..end].iter().rposition(|(other, _)| other == pid).expect("what ends has begun")
}

#[test]
fn the_journal_is_synced_before_the_tool_is_let_loose_on_the_port() {
    let world = world!();
    let (victim, trace) = (Victim::new(&world), world.home().join("trace"));
    let mut scene = Scene::with(world, "arduino-uno", &victim.board.link(), |daemon| daemon.traced(&trace, CALLS));
    scene.begin_until(Version::ALL[1], &["the update is proven"]);
    assert!(scene.tells_the_truth(&victim).is_success());
    scene.daemon.crash();

    let calls = calls(&trace);
    let port = fs::read_link(victim.board.port()).expect("the board's link").display().to_string();
    let is_tool = |call: &str| call.starts_with("execve(") && call.contains("avrdude") && call.contains("\"-P\"");
    let tools: Vec<(usize, u32)> =
        calls.iter().enumerate().filter(|(_, (_, call))| is_tool(call)).map(|(at, (pid, _))| (at, *pid)).collect();
    // The first reads what the board holds, the last writes.
    assert_eq!(tools.len(), 2, "{tools:?}");
    for (executed, pid) in tools {
        let ours = |from: usize, wanted: &dyn Fn(&str) -> bool| {
            let mut later = calls.iter().enumerate().skip(from);
            later.find(|(_, (of, call))| *of == pid && wanted(call)).map(|(at, _)| at)
        };
        let writes = ours(executed, &|call| call.starts_with("write(") && call.contains(&format!("<{port}>")));
        let writes = writes.unwrap_or_else(|| panic!("tool {pid} never wrote to {port}"));
        let names = format!("\\\"pid\\\":{pid},");
        let is_journal = |call: &str| call.starts_with("pwrite64(") && call.contains(".db-wal>");
        let journalled = calls.iter().position(|(_, call)| is_journal(call) && call.contains(&names));
        let journalled = journalled.unwrap_or_else(|| panic!("no word of tool {pid} in the journal"));
        let synced = (journalled..calls.len()).find(|&at| {
            let (_, call) = &calls[at];
            let begin = begins_at(&calls, at);
            let of_journal = calls[begin].1.contains(".db-wal") && calls[begin].1.contains("sync(");
            of_journal && begin > journalled && call.contains("sync") && call.ends_with("= 0")
        });
        let synced = synced.expect("the journal is synced");
        assert!(synced < executed && executed < writes, "synced {synced}, executed {executed}, written {writes}");
    }
}
