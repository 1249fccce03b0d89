//! An event as a call of a program: its JSON on standard input, its fields as variables. No shell, an environment of its
//! own, and when it has ended or its time is over nothing of its process group is left.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};

use super::event::Event;
use crate::device::plain_text;

/// So much of the end of what it printed is looked at, in bytes.
const OUTPUT_MAX: usize = 8 << 10;
/// So many lines of it are logged, of so many characters each.
const LINES_MAX: usize = 10;
const LINE_MAX: usize = 300;
/// How long what was printed may take to be read when the program has ended: something that left its group may hold on to it.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Where programs are found that a program calls in turn, where the gateway itself was not told.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What came of a call.
#[derive(Debug)]
pub(super) struct Called {
    /// `Err` with the reason for anything but the exit code 0.
    pub(super) outcome: Result<(), String>,
    /// The last lines that it printed.
    pub(super) printed: Vec<String>,
}

/// Calls a program once.
pub(super) async fn call(program: &[String], event: &Event, limit: Duration) -> Called {
    let mut tail = Vec::new();
    let outcome = match begin(program, event) {
        Ok((child, output)) => attend(child, output, event, limit, &mut tail).await,
        Err(error) => Err(format!("it cannot be run: {error}")),
    };
    Called { outcome, printed: lines(&tail) }
}

fn begin(program: &[String], event: &Event) -> io::Result<(Child, pipe::Receiver)> {
    let (path, arguments) = program.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let (output, printed) = io::pipe()?;
    let mut command = Command::new(path);
    command.args(arguments).env_clear().envs(event.variables()).current_dir("/").process_group(0).kill_on_drop(true);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into()));
    command.stdin(Stdio::piped()).stdout(printed.try_clone()?).stderr(printed);
    let child = command.spawn()?;
    // Our copies of its ends close, so that its output ends when it does.
    drop(command);
    Ok((child, pipe::Receiver::from_owned_fd(output.into())?))
}

async fn attend(
    mut child: Child,
    mut output: pipe::Receiver,
    event: &Event,
    limit: Duration,
    tail: &mut Vec<u8>,
) -> Result<(), String> {
    // Until it is waited for its id is nobody else's.
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let end = async {
        let handed = hand_over(&mut child, event);
        let ended = ended(group.0);
        let watched = async {
            // It need not read what it gets.
            let (_, ended) = tokio::join!(handed, ended);
            ended
        };
        tokio::pin!(watched);
        loop {
            tokio::select! {
                ended = &mut watched => return ended,
                more = read(&mut output, tail) => if !more { return watched.await },
            }
        }
    };
    let end = tokio::time::timeout(limit, end).await;
    group.end();
    let _ = tokio::time::timeout(LAST_WORDS, async { while read(&mut output, tail).await {} }).await;
    match end {
        Err(_) => Err(format!("it was ended after {}", humantime::format_duration(limit))),
        Ok(Err(error)) => Err(format!("it cannot be waited for: {error}")),
        Ok(Ok(())) => match child.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("it ended with {status}")),
            Err(error) => Err(format!("it cannot be waited for: {error}")),
        },
    }
}

async fn hand_over(child: &mut Child, event: &Event) {
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(&event.json()).await;
    }
}

/// Waits for the end of a process, and leaves it to be waited for.
async fn ended(pid: Option<Pid>) -> io::Result<()> {
    let pid = pid.ok_or(io::ErrorKind::NotFound)?;
    watched(pidfd_open(pid, PidfdFlags::empty())?)?.readable().await.map(drop)
}

#[expect(unsafe_code, reason = "tokio asks for a promise that the descriptor stays the same one")]
fn watched(process: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one descriptor for as long as it lives, and it is never replaced inside the `AsyncFd`.
    Ok(unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) }?)
}

/// Reads on, and keeps the end; `false` when there is no more.
async fn read(output: &mut pipe::Receiver, tail: &mut Vec<u8>) -> bool {
    let mut piece = [0; 4096];
    let Ok(length @ 1..) = output.read(&mut piece).await else { return false };
    tail.extend_from_slice(piece.get(..length).unwrap_or_default());
    tail.drain(..tail.len().saturating_sub(OUTPUT_MAX));
    true
}

/// A process group that ends with this value.
struct Group(Option<Pid>);

impl Group {
    /// Once: afterwards the id can be anybody's.
    fn end(&mut self) {
        if let Some(pid) = self.0.take() {
            // One that is gone is as good.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

fn lines(tail: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(tail);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(LINES_MAX)).map(|line| plain_text(line, LINE_MAX)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::control::{News, Told};
    use crate::device::DeviceId;

    /// Generous: only a hang runs into it.
    const LONG: Duration = Duration::from_secs(60);

    fn event() -> Event {
        let news = News::DeviceLeft { device: DeviceId::new("press; rm -rf $HOME") };
        Event::of(&Told { number: 1, at: 2, news }, "pi").expect("an event")
    }

    async fn sh(script: &str, limit: Duration) -> Called {
        let program = ["/bin/sh", "-c", script, "name", "$(reboot) two  words"].map(str::to_owned);
        tokio::time::timeout(LONG, call(&program, &event(), limit)).await.expect("in time")
    }

    #[tokio::test]
    async fn a_program_gets_the_event_twice_and_its_arguments_as_they_are() {
        let called = sh(
            "cat; echo; env | sort | cut -d= -f1 | tr '\\n' ' '; echo; echo \"$NUNCIO_DEVICE\"; echo \"$1\"; pwd",
            LONG,
        )
        .await;
        assert_eq!(called.outcome, Ok(()));
        let [json, names, device, argument, folder] = &called.printed[..] else { panic!("{called:?}") };
        assert!(json.contains("\"event\":\"device-left\""), "{json}");
        assert_eq!(names.trim(), "NUNCIO_AT NUNCIO_DEVICE NUNCIO_EVENT NUNCIO_GATEWAY NUNCIO_NUMBER PATH PWD");
        assert_eq!((device.as_str(), argument.as_str()), ("press; rm -rf $HOME", "$(reboot) two  words"));
        assert_eq!(folder, "/");
    }

    #[tokio::test]
    async fn how_it_ends_is_told_with_its_last_lines() {
        let called = sh(
            "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo \"line $i\"; done; printf 'a\\033[2Jb' >&2; exit 7",
            LONG,
        )
        .await;
        assert!(called.outcome.expect_err("failed").contains("exit status: 7"));
        assert_eq!(called.printed.len(), LINES_MAX);
        assert_eq!(called.printed[8..], ["line 5000", "a\u{fffd}[2Jb"]);
        let missing = ["/nowhere/at/all".to_owned()];
        assert!(call(&missing, &event(), LONG).await.outcome.expect_err("none").contains("cannot be run"));
    }

    #[tokio::test]
    async fn nothing_is_left_of_its_group_when_it_ends_or_its_time_is_over() {
        let gone = |id: &str| {
            !std::path::Path::new(&format!("/proc/{id}/cmdline")).exists()
                || std::fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| line.is_empty())
        };
        for (script, limit, ends) in [
            ("sleep 600 & echo $!; exit 0", LONG, Ok(())),
            ("sleep 600 & echo $!; wait", Duration::from_millis(500), Err("it was ended after 500ms".to_owned())),
        ] {
            let begun = Instant::now();
            let called = sh(script, limit).await;
            assert_eq!(called.outcome, ends);
            assert!(begun.elapsed() < LONG / 2, "what it left behind holds up nobody");
            let id = called.printed.first().expect("its child's id");
            while !gone(id) {
                assert!(begun.elapsed() < LONG, "{id} is left");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    #[tokio::test]
    async fn a_call_that_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("id");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let task = tokio::spawn(async move { sh(&script, LONG).await });
        let begun = Instant::now();
        let id = loop {
            let id = std::fs::read_to_string(&file).unwrap_or_default();
            if id.ends_with('\n') {
                break id.trim().to_owned();
            }
            assert!(begun.elapsed() < LONG, "it never began");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        task.abort();
        while std::fs::read_to_string(format!("/proc/{id}/cmdline")).is_ok_and(|line| !line.is_empty()) {
            assert!(begun.elapsed() < LONG, "{id} is left");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
