//! Ending what a job left behind.
//!
//! Blocking. Used by `process` at the end of each job, and by `sweep` at the start of the gateway.

use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal};

use super::environment::MARKER;
use crate::procfs::{self, Process};

/// How often it is looked whether what was killed is gone.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Whether a process carries the marker of a job. Not to be told of other users' processes.
pub(super) fn carries(process: &Process, marker: &str) -> bool {
    process.has_in_environment(&format!("{MARKER}={marker}"))
}

/// Kills everything alive that `belongs`, and what it forks meanwhile, until nothing is left or the time is over.
/// Tells what was killed and what would not go.
pub(super) fn end_all(belongs: impl Fn(&Process) -> bool, within: Duration) -> Ended {
    let deadline = Instant::now() + within;
    let own = std::process::id();
    let mut killed = Vec::new();
    loop {
        let left: Vec<Process> = procfs::processes().filter(|it| it.pid != own && it.alive && belongs(it)).collect();
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
