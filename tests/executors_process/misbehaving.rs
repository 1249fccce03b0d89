//! What tools do that they should not: fill the disk, hide their children, print rubbish, want a terminal or an input.

use nuncio::device::{JobFailure, JobOutcome, Phase, ToolOutput};
use nuncio::executors::sandbox_lacks;

use super::{Ended, LONG, TOOL, World, write_program};

/// A tool whose file has this line in place of the one that takes its sandbox away.
fn with_line(script: &str, line: impl Fn(&std::path::Path) -> String) -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("flasher.sh");
    write_program(&program, &format!("#!/bin/sh\n{script}\n"));
    let tool =
        TOOL.replace("PROGRAM", program.to_str().expect("text")).replace("STALLED", "30s").replace("TOTAL", "50s");
    let tool = tool.replace("sandbox = { on = false }", &line(folder.path()));
    World::with_tool(folder, &tool)
}

/// Its own folder is the gateway's state here: it may use that, too.
fn walled(script: &str, limits: &str) -> World {
    with_line(script, |folder| format!("sandbox = {{ write = [{folder:?}], {limits} }}"))
}

/// The ids of processes with this command line.
fn processes(named: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let command = |path: std::path::PathBuf| std::fs::read(path.join("cmdline")).unwrap_or_default();
    let is_named =
        |line: &[u8]| line.split(|&byte| byte == 0).eq(named.as_bytes().split(|&byte| byte == b' ').chain([&[][..]]));
    let found = all.filter(|entry| is_named(&command(entry.path())));
    found.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[tokio::test]
async fn a_file_that_grows_too_large_exceeds_a_limit() {
    let ended = walled("exec head -c 3000000 /dev/zero > big", "max_file = 1000000").run().await;
    ended.assert_failed(JobFailure::LimitExceeded, "SIGXFSZ");
}

#[tokio::test]
async fn many_files_that_would_fill_the_disk_exceed_a_limit_together() {
    let script = "n=0; while :; do n=$((n+1)); head -c 900000 /dev/zero > f$n; sleep 0.02; done";
    let ended = walled(script, "max_file = 1000000, max_folder = 5000000").run().await;
    ended.assert_failed(JobFailure::LimitExceeded, "more than 5000000 bytes, or too many files, in its folder");
    assert!(ended.took < LONG / 2, "{:?}", ended.took);
}

/// A child that has left session, group and environment, and whose parent is gone: only a control group still has it.
#[tokio::test]
async fn a_child_that_hides_from_group_and_environment_is_ended_by_the_control_group() {
    let hidden = format!("sleep 1{:06}", std::process::id());
    let script = format!(
        "(setsid env -i {hidden} </dev/null >/dev/null 2>&1 &) ; sleep 0.3; echo hidden; sleep 1; echo verified 10 bytes"
    );
    let world = World::new(&script);
    let mut run = world.start();
    run.handle.release();
    run.line("hidden").await;
    assert_eq!(processes(&hidden).len(), 1, "it runs, and is found by its command line");
    assert_eq!(run.end().await.outcome, JobOutcome::Verified { bytes: 10 });
    let lacking = sandbox_lacks().iter().any(|lack| lack.contains("control group"));
    let left = processes(&hidden);
    let _ = std::process::Command::new("sh").args(["-c", "kill -KILL \"$@\"", "sh"]).args(&left).output();
    // Where no group is delegated, `nuncio check` says what that means.
    assert_eq!(left.len(), usize::from(lacking), "{:?}", sandbox_lacks());
}

#[tokio::test]
async fn who_reads_its_input_finds_it_empty() {
    let ended = World::new("read line; echo status $?; cat; echo verified 10 bytes").run().await;
    assert_eq!(ended.outcome, JobOutcome::Verified { bytes: 10 });
    assert_eq!(ended.lines[0], "status 1");
}

#[tokio::test]
async fn who_shows_progress_only_on_a_terminal_is_given_one_if_its_file_says_so() {
    let script = r#"[ -t 1 ] && [ -t 2 ] || exit 9
echo "size $(stty size <&2) $TERM"; printf 'at 40%%\r'; printf '\033[32mat 80%%\033[0m\r'; echo to stderr >&2
[ -t 0 ] && echo input; echo verified 10 bytes"#;
    for sandbox in ["stdio = \"pty\"\nsandbox = { on = false }", "stdio = \"pty\"\nsandbox = { write = [FOLDER] }"] {
        let line = |folder: &std::path::Path| sandbox.replace("FOLDER", &format!("{folder:?}"));
        let ended = with_line(script, line).run().await;
        assert_eq!(ended.outcome, JobOutcome::Verified { bytes: 10 }, "{:?}", ended.lines);
        assert_eq!(ended.lines, ["size 24 80 xterm", "to stderr", "verified 10 bytes"]);
        // What comes in one piece is told once.
        assert_eq!(ended.progress.last(), Some(&(Phase::Write, 80)));
    }
    World::new(script).run().await.assert_failed(JobFailure::ToolFailed, "exit status 9");
}

#[tokio::test]
async fn a_terminal_that_a_child_keeps_open_and_a_hang_on_one_have_their_end() {
    let pty = |_: &std::path::Path| "stdio = \"pty\"\nsandbox = { on = false }".to_owned();
    let ended = with_line("(trap '' HUP TERM; sleep 1000) & echo verified 10 bytes", pty).run().await;
    assert_eq!(ended.outcome, JobOutcome::Verified { bytes: 10 });
    let world = with_line("trap '' HUP TERM; echo ready; while :; do sleep 0.1; done", pty);
    let mut run = world.start();
    run.handle.release();
    run.line("ready").await;
    run.handle.stop();
    let ended = run.end().await;
    ended.assert_failed(JobFailure::Interrupted, "stopped by the gateway");
    world.assert_clean(&ended, run.handle).await;
}

fn output(ended: &Ended) -> &ToolOutput {
    ended.output.as_ref().expect("what it printed")
}

#[tokio::test]
async fn rubbish_and_escapes_are_kept_as_harmless_text_of_bounded_length() {
    let script = "head -c 400000 /dev/urandom; printf '\\033]0;title\\007\\033[2J\\033[999;999H\\n'; head -c 100000 /dev/zero | tr '\\0' '\\377'; echo; echo verified 10 bytes";
    let ended = World::new(script).run().await;
    assert_eq!(ended.outcome, JobOutcome::Verified { bytes: 10 });
    let printed = output(&ended);
    assert!(printed.printed > 500_000 && printed.text.len() <= 65 << 10, "{} bytes kept", printed.text.len());
    assert!(printed.text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')));
    assert!(printed.text.ends_with("verified 10 bytes\n"));
    assert!(ended.lines.iter().all(|line| line.len() <= 512 && !line.contains('\u{1b}')));
}

#[tokio::test]
async fn a_secret_that_the_tool_prints_itself_is_kept_from_log_and_evidence() {
    let ended = World::new("echo \"key $9\"; echo \"again $9!\" >&2; exit 3").run().await;
    let (class, detail) = ended.failure();
    assert_eq!(class, JobFailure::ToolFailed);
    let all = format!("{detail}\n{}\n{}", ended.lines.join("\n"), output(&ended).text);
    assert!(all.contains("key ***") && all.contains("again ***!") && !all.contains("hush"), "{all}");
}

#[tokio::test]
async fn a_gigabyte_is_read_in_bounded_memory() {
    let script = "yes 'nothing of interest' | head -c 1000000000; echo; echo verified 10 bytes";
    let mut world = World::with_limits(script, "10m", "10m");
    world.job.timeout = LONG * 10;
    let before = peak_kib();
    let ended = world.run().await;
    assert_eq!(ended.outcome, JobOutcome::Verified { bytes: 10 });
    assert!(output(&ended).printed > 1_000_000_000);
    assert!(peak_kib() < before + 30_000, "{before} KiB at most before, {} after", peak_kib());
}

/// The most memory that this process ever had.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
