//! What `/proc` tells of processes, and ending those that a job left behind.
//!
//! Blocking. Used by `process` at the end of each job, by `sweep` at the start of the gateway, and by `port`.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};

use super::environment::MARKER;

/// How often it is looked whether what was killed is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Longest environment that is searched, in bytes: the system's own limit for one is far above any real one.
const MAX_ENVIRONMENT: u64 = 1 << 20;

/// A process as `/proc/PID/stat` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) name: String,
    pub(super) group: u32,
    /// Clock ticks since boot.
    pub(super) start_time: u64,
    /// Neither a zombie nor dead.
    pub(super) alive: bool,
}

impl Process {
    /// One process; `None` when it is gone.
    pub(super) fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name stands in parentheses and may hold anything, parentheses and spaces too.
    fn parse(pid: u32, stat: &[u8]) -> Option<Self> {
        let open = stat.iter().position(|&byte| byte == b'(')?;
        let close = stat.iter().rposition(|&byte| byte == b')')?;
        let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Field 3 of proc_pid_stat(5) is the first here: state 3, group 5, start time 22.
        Some(Self {
            pid,
            name,
            group: fields.get(2)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
            alive: !matches!(*fields.first()?, "Z" | "X" | "x"),
        })
    }

    /// Whether its environment holds the marker of a job. Not to be told of other users' processes.
    pub(super) fn carries(&self, marker: &str) -> bool {
        use std::io::Read;
        let Ok(file) = std::fs::File::open(format!("/proc/{}/environ", self.pid)) else { return false };
        let mut environment = Vec::new();
        if file.take(MAX_ENVIRONMENT).read_to_end(&mut environment).is_err() {
            return false;
        }
        let wanted = format!("{MARKER}={marker}");
        environment.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes())
    }

    /// As the operator reads it.
    pub(super) fn told(&self) -> String {
        let name: String = self.name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        format!("{name} (pid {})", self.pid)
    }
}

/// All processes that can be seen.
pub(super) fn all() -> impl Iterator<Item = Process> {
    ids().filter_map(Process::read)
}

/// The ids of all processes that can be seen.
pub(super) fn ids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Kills everything alive that `belongs`, and what it forks meanwhile, until nothing is left or the time is over.
/// Tells what was killed and what would not go.
pub(super) fn end_all(belongs: impl Fn(&Process) -> bool, within: Duration) -> Ended {
    let deadline = Instant::now() + within;
    let own = std::process::id();
    let mut killed = Vec::new();
    loop {
        let left: Vec<Process> = all().filter(|it| it.pid != own && it.alive && belongs(it)).collect();
        if left.is_empty() || Instant::now() >= deadline {
            return Ended { killed, left };
        }
        for process in left {
            if kill(&process, &belongs) && !killed.contains(&process) {
                killed.push(process);
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// What became of leftovers.
#[derive(Debug, Default)]
pub(super) struct Ended {
    pub(super) killed: Vec<Process>,
    /// They were sent SIGKILL and still are there: waiting for a device, or another user's.
    pub(super) left: Vec<Process>,
}

/// Kills exactly this process: its id may have gone to another one since it was looked at.
fn kill(process: &Process, belongs: impl Fn(&Process) -> bool) -> bool {
    let Some(pid) = Pid::from_raw(process.pid.cast_signed()) else { return false };
    let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let same = Process::read(process.pid).is_some_and(|now| now.start_time == process.start_time && belongs(&now));
    same && rustix::process::pidfd_send_signal(&handle, Signal::KILL).is_ok()
}

/// Names this boot of the machine: what ran before it runs no more.
pub(super) fn boot_id() -> String {
    let id = std::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default();
    id.chars().filter(char::is_ascii_hexdigit).take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = b"7 (a) R (b\xff) S 1 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9\n";
        let process = Process::parse(7, stat).expect("a process");
        assert_eq!((process.name.as_str(), process.group, process.start_time), ("a) R (b\u{fffd}", 5, 4711));
        assert!(process.alive);
        assert_eq!(Process::parse(7, b"7 (x) S 1"), None);
        assert_eq!(Process::parse(7, b""), None);
    }

    #[test]
    fn this_process_is_found() {
        let own = Process::read(std::process::id()).expect("it runs");
        assert!(own.alive && own.start_time > 0 && !own.carries("nobody"));
        assert!(all().any(|process| process.pid == own.pid));
    }
}
