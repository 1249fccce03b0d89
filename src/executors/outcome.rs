//! From the end of a run and what it printed to one outcome.
//!
//! Pure. The rules of the tool's file are tried in order. Success is only what the tool itself verified, byte for byte:
//! exit status 0 alone proves nothing (decisions.md §2).

use crate::device::{JobFailure, JobOutcome};

use super::process::Saved;
use super::scanner::Scanner;
use super::tool::{Rule, Tool, Verdict};

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal(i32),
}

/// Judges a run that ended by itself.
pub(super) fn decide(tool: &Tool, scanner: &Scanner, exit: Exit, flash_bytes: u64) -> JobOutcome {
    let code = match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => return signalled(signal),
    };
    match tool.outcome.iter().find(|rule| holds(rule, scanner, code)) {
        Some(Rule { verdict: Verdict::Ok { bytes }, .. }) => verified(scanner.counted(*bytes), flash_bytes),
        Some(Rule { verdict: Verdict::Failed(class), text, .. }) => {
            let line = text.and_then(|text| scanner.seen(text));
            failed(*class, line.map_or_else(|| last_words(scanner, code), str::to_owned))
        }
        None if code == 0 => failed(JobFailure::Unverified, last_words(scanner, code)),
        None => failed(JobFailure::ToolFailed, last_words(scanner, code)),
    }
}

/// Judges a run that reads a board. There is no verify to be had: exit status 0 and a file, which is looked into later.
pub(super) fn decide_backup(tool: &Tool, scanner: &Scanner, exit: Exit, saved: Option<&Saved>) -> JobOutcome {
    let code = match exit {
        Exit::Code(code) => code,
        Exit::Signal(signal) => return signalled(signal),
    };
    let told = tool.outcome.iter().find_map(|rule| match rule {
        Rule { verdict: Verdict::Failed(class), text: Some(text), .. } if holds(rule, scanner, code) => {
            Some(failed(*class, scanner.seen(*text).unwrap_or_default()))
        }
        _ => None,
    });
    match (saved, told) {
        (Some(Ok((size, sha256))), _) if code == 0 => JobOutcome::Saved { size: *size, sha256: *sha256 },
        (_, Some(failure)) => failure,
        (Some(Err(why)), None) if code == 0 => failed(JobFailure::ToolFailed, why.clone()),
        _ => failed(JobFailure::ToolFailed, last_words(scanner, code)),
    }
}

/// A failure.
pub(super) fn failed(class: JobFailure, detail: impl Into<String>) -> JobOutcome {
    JobOutcome::Failed { class, detail: detail.into() }
}

fn holds(rule: &Rule, scanner: &Scanner, code: i32) -> bool {
    let seen = |&pattern: &usize| scanner.seen(pattern).is_some();
    rule.exit.is_none_or(|exit| exit == code) && rule.text.iter().chain(&rule.require).all(seen)
}

fn verified(bytes: u64, flash_bytes: u64) -> JobOutcome {
    if bytes == flash_bytes {
        return JobOutcome::Verified { bytes };
    }
    failed(JobFailure::Unverified, format!("the tool verified {bytes} bytes, and the image has {flash_bytes}"))
}

fn last_words(scanner: &Scanner, code: i32) -> String {
    let proof = if code == 0 { " without a completed verify" } else { "" };
    let last = scanner.last_line().map_or_else(|| "it said nothing".to_owned(), |line| format!("last line: {line}"));
    format!("exit status {code}{proof}; {last}")
}

/// The kernel ends what goes beyond a limit by a signal of its own.
fn signalled(signal: i32) -> JobOutcome {
    match signal {
        24 => failed(JobFailure::LimitExceeded, "ended by SIGXCPU: it used more of the processor than it may"),
        25 => failed(JobFailure::LimitExceeded, "ended by SIGXFSZ: it wrote a larger file than `max_file` allows"),
        other => failed(JobFailure::Interrupted, format!("ended by {}", signal_name(other))),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    format!("{name}, which the gateway did not send")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::super::checked;
    use super::super::scanner::{Findings, Stream};
    use super::*;
    use crate::device::Phase;

    /// A run of a real tool, replayed.
    struct Replay {
        outcome: JobOutcome,
        progress: Vec<(Phase, u8)>,
        end: Option<JobFailure>,
    }

    fn tool(name: &str) -> Arc<Tool> {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("flash-tools").join(name);
        let text = std::fs::read_to_string(&file).expect("the tool's file");
        let tools = checked::read(&file, &text).unwrap_or_else(|errors| panic!("{}", errors[0]));
        Arc::new(tools.into_iter().next().expect("one tool"))
    }

    /// The output comes in pieces of `size` bytes.
    fn replay(run: &str, exit: i32, bytes: u64, size: usize) -> Replay {
        let tool = tool(if run.starts_with("avrdude") { "avrdude.toml" } else { "esptool.toml" });
        let mut scanner = Scanner::new(Arc::clone(&tool));
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(run);
        let (mut progress, mut end, mut output) = (Vec::new(), None, 0);
        let mut take = |findings: Findings| {
            progress.extend(findings.progress);
            end = end.or(findings.end.map(|(class, _)| class));
        };
        for (stream, extension) in [(Stream::Stdout, "stdout"), (Stream::Stderr, "stderr")] {
            let text = std::fs::read(path.with_file_name(format!(
                "{}.{extension}",
                path.file_name().and_then(|name| name.to_str()).expect("a name")
            )));
            let text = text.unwrap_or_default();
            output += text.len();
            text.chunks(size).for_each(|piece| take(scanner.handle_output(stream, piece)));
        }
        take(scanner.finish());
        assert!(output > 0, "there is no transcript {run}");
        Replay { outcome: decide(&tool, &scanner, Exit::Code(exit), bytes), progress, end }
    }

    #[test]
    fn real_transcripts_come_to_the_right_outcome() {
        use JobFailure::{NoSync, Noise, PortLost, PortUnavailable, ToolFailed, Unverified, VerifyFailed, WrongDevice};
        let failures = [
            ("avrdude-7.1/wrongsig", 1, WrongDevice, "avrdude error: expected signature for ATmega168 is 1E 94 06"),
            ("avrdude-7.1/missing", 1, PortUnavailable, "cannot open port /dev/nope: No such file or directory"),
            ("avrdude-7.1/attempts-wiring", 1, ToolFailed, "invalid extended parameter 'attempts=3'"),
            ("avrdude-7.1/nofile", 1, ToolFailed, "file nofile.hex is not readable"),
            ("avrdude-7.1/big", 1, ToolFailed, "address 0x8010 out of range at line 2049 of big.hex"),
            ("avrdude-7.1/boot", 1, VerifyFailed, "verification mismatch"),
            ("avrdude-7.1/mismatch", 1, VerifyFailed, "verification mismatch"),
            ("avrdude-7.1/mute", 1, NoSync, "attempt 1 of 3: not in sync: resp=0x3f"),
            ("avrdude-7.1/mutemid", 1, NoSync, "programmer is out of sync"),
            ("avrdude-7.1/unplug", 0, Unverified, "exit status 0 without a completed verify"),
            ("esptool-4.12/wrongchip", 2, WrongDevice, "This chip is ESP32, not ESP32-S3. Wrong --chip argument?"),
            ("esptool-4.12/wrongimage", 2, WrongDevice, "Unexpected chip id in image. Expected 5 but value was 0."),
            ("esptool-4.12/toobig", 2, ToolFailed, "will not fit in 4194304 bytes of flash"),
            ("esptool-4.12/empty", 0, Unverified, "exit status 0 without a completed verify"),
            ("esptool-4.12/missing", 2, PortUnavailable, "Could not open /dev/nope"),
            ("esptool-4.12/nofile", 2, ToolFailed, "No such file or directory: 'nofile.bin'"),
            ("esptool-4.12/usage", 2, ToolFailed, "nonsense"),
            ("esptool-4.12/flocked", 2, PortUnavailable, "the port is busy or doesn't exist"),
            ("esptool-4.12/badmd5", 2, VerifyFailed, "MD5 of file does not match data in flash!"),
            ("esptool-4.12/wrong-boot", 2, NoSync, "Wrong boot mode detected (0x13)"),
            ("esptool-4.12/mute", 2, NoSync, "getting no sync reply"),
            ("esptool-4.12/mute-at-4", 2, Noise, "The chip stopped responding."),
            ("esptool-4.12/unplug", 1, PortLost, "A serial exception error occurred"),
            ("esptool-5.6/wrongchip", 2, WrongDevice, "This chip is ESP32, not ESP32-S3. Wrong chip argument?"),
            ("esptool-5.6/wrongimage", 0, WrongDevice, "NOTE: 'app.bin' is not an ESP32-C3 image"),
            ("esptool-5.6/toobig", 2, ToolFailed, "will not fit in 4194304 bytes of flash"),
            ("esptool-5.6/empty", 0, Unverified, "exit status 0 without a completed verify"),
            ("esptool-5.6/missing", 2, PortUnavailable, "Could not open /dev/nope"),
            ("esptool-5.6/nofile", 2, ToolFailed, "Invalid value for"),
            ("esptool-5.6/usage", 2, ToolFailed, "No such option '--nonsense'."),
            ("esptool-5.6/flocked", 2, PortUnavailable, "the port is busy or doesn't exist"),
            ("esptool-5.6/badmd5", 2, VerifyFailed, "MD5 of file does not match data in flash!"),
            ("esptool-5.6/wrong-boot", 2, NoSync, "Wrong boot mode detected (0x13)"),
            ("esptool-5.6/mute", 2, NoSync, "getting no sync reply"),
            ("esptool-5.6/mute-at-4", 2, Noise, "No more data to read from the serial port."),
            ("esptool-5.6/unplug", 1, PortLost, "A serial exception error occurred"),
        ];
        for (run, exit, class, words) in failures {
            for size in [1, 7, 1 << 20] {
                let JobOutcome::Failed { class: told, detail } = replay(run, exit, 4416, size).outcome else {
                    panic!("{run} was no success")
                };
                assert_eq!(told, class, "{run}: {detail}");
                assert!(detail.contains(words), "{run}: {detail}");
            }
        }
    }

    #[test]
    fn only_a_verify_of_all_of_the_image_is_success() {
        let successes = [
            ("avrdude-7.1/ok", 4416),
            ("avrdude-7.1/ok-elf", 4416),
            ("avrdude-7.1/hole", 1200),
            ("avrdude-7.1/trail", 1300),
            ("esptool-4.12/ok", 65616),
            ("esptool-4.12/ok-rnd", 200_000),
            ("esptool-5.6/ok", 65616),
            ("esptool-5.6/ok-rnd", 200_000),
        ];
        for (run, bytes) in successes {
            assert_eq!(replay(run, 0, bytes, 3).outcome, JobOutcome::Verified { bytes }, "{run}");
            let other = replay(run, 0, bytes + 1, 3).outcome;
            assert!(matches!(other, JobOutcome::Failed { class: JobFailure::Unverified, .. }), "{run}: {other:?}");
            let unclean = replay(run, 1, bytes, 3).outcome;
            assert!(matches!(unclean, JobOutcome::Failed { class: JobFailure::ToolFailed, .. }), "{run}: {unclean:?}");
        }
    }

    #[test]
    fn progress_is_read_byte_by_byte() {
        let progress = replay("avrdude-7.1/ok", 0, 4416, 1).progress;
        let expected = |phase| (0..=50).map(move |count: u8| (phase, count * 2));
        assert_eq!(progress, expected(Phase::Write).chain(expected(Phase::Verify)).collect::<Vec<_>>());
        let aborted = replay("avrdude-7.1/mutemid", 1, 4416, 1).progress;
        assert_eq!(aborted.last(), Some(&(Phase::Write, 60)));
        let percents = |run: &str| {
            let progress = replay(run, 0, 200_000, 1).progress;
            progress
                .into_iter()
                .filter(|(phase, _)| *phase == Phase::Write)
                .map(|(_, percent)| percent)
                .collect::<Vec<_>>()
        };
        assert_eq!(percents("esptool-4.12/ok-rnd"), [7, 15, 23, 30, 38, 46, 53, 61, 69, 76, 84, 92, 100]);
        assert_eq!(percents("esptool-5.6/ok-rnd"), [8, 16, 24, 32, 41, 49, 57, 65, 73, 81, 90, 98, 100]);
        let verified = replay("esptool-5.6/ok-rnd", 0, 200_000, 1).progress;
        assert_eq!(verified.last(), Some(&(Phase::Verify, 0)));
    }

    #[test]
    fn lines_that_end_a_run_early_are_found_and_only_where_they_mean_it() {
        assert_eq!(replay("avrdude-7.1/mutemid", 1, 4416, 1).end, Some(JobFailure::NoSync));
        assert_eq!(replay("avrdude-7.1/mute", 1, 4416, 1).end, None, "before it writes, it gives up by itself");
        assert_eq!(replay("esptool-5.6/wrongimage", 0, 65616, 1).end, Some(JobFailure::WrongDevice));
        assert_eq!(replay("esptool-4.12/unplug", 1, 65616, 1).end, Some(JobFailure::PortLost));
        for run in ["avrdude-7.1/ok", "esptool-4.12/ok", "esptool-5.6/ok"] {
            assert_eq!(replay(run, 0, 1, 1).end, None, "{run}");
        }
    }

    #[test]
    fn a_signal_that_we_did_not_send_is_an_interruption() {
        let tool = tool("avrdude.toml");
        let outcome = decide(&tool, &Scanner::new(Arc::clone(&tool)), Exit::Signal(9), 1);
        let detail = "ended by SIGKILL, which the gateway did not send".to_owned();
        assert_eq!(outcome, JobOutcome::Failed { class: JobFailure::Interrupted, detail });
        let outcome = decide(&tool, &Scanner::new(Arc::clone(&tool)), Exit::Signal(25), 1);
        assert!(matches!(outcome, JobOutcome::Failed { class: JobFailure::LimitExceeded, .. }), "{outcome:?}");
    }
}
