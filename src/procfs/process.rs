//! What `/proc` tells of processes.

use std::io::Read;
use std::path::Path;

/// Longest environment that is searched, in bytes: the system's own limit for one is far above any real one.
const MAX_ENVIRONMENT: u64 = 1 << 20;

/// A process as `/proc/PID/stat` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id.
    pub(crate) pid: u32,
    /// The name of its program, at most 15 bytes.
    pub(crate) name: String,
    /// Its parent.
    pub(crate) parent: u32,
    /// Its process group.
    pub(crate) group: u32,
    /// Clock ticks since boot.
    pub(crate) start_time: u64,
    /// Neither a zombie nor dead.
    pub(crate) alive: bool,
}

impl Process {
    /// One process; `None` when it is gone.
    pub(crate) fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name stands in parentheses and may hold anything, parentheses and spaces too.
    fn parse(pid: u32, stat: &[u8]) -> Option<Self> {
        let open = stat.iter().position(|&byte| byte == b'(')?;
        let close = stat.iter().rposition(|&byte| byte == b')')?;
        let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Field 3 of proc_pid_stat(5) is the first here: state 3, parent 4, group 5, start time 22.
        Some(Self {
            pid,
            name,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
            alive: !matches!(*fields.first()?, "Z" | "X" | "x"),
        })
    }

    /// What is left to say of one that went before it could be read.
    pub(super) fn gone(pid: u32) -> Self {
        Self { pid, name: String::new(), parent: 0, group: 0, start_time: 0, alive: false }
    }

    /// Whether its environment holds this entry, `NAME=value`. Not to be told of other users' processes.
    pub(crate) fn has_in_environment(&self, entry: &str) -> bool {
        let Ok(file) = std::fs::File::open(format!("/proc/{}/environ", self.pid)) else { return false };
        let mut environment = Vec::new();
        if file.take(MAX_ENVIRONMENT).read_to_end(&mut environment).is_err() {
            return false;
        }
        environment.split(|&byte| byte == 0).any(|one| one == entry.as_bytes())
    }

    /// As the operator reads it.
    pub(crate) fn told(&self) -> String {
        let name: String = self.name.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        if name.is_empty() { format!("pid {}", self.pid) } else { format!("{name} (pid {})", self.pid) }
    }
}

/// All processes that can be seen.
pub(crate) fn processes() -> impl Iterator<Item = Process> {
    ids().filter_map(Process::read)
}

/// The ids of all processes that can be seen.
pub(super) fn ids() -> impl Iterator<Item = u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Names this boot of the machine: what ran before it runs no more.
pub(crate) fn boot_id() -> String {
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
        assert!(own.alive && own.start_time > 0 && own.parent > 0 && !own.has_in_environment("NOBODY=1"));
        assert!(processes().any(|process| process.pid == own.pid));
    }
}
