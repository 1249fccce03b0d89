//! Ending what an earlier gateway left running, before any port is touched.
//!
//! A tool dies with its gateway (`gate`); this is for what it had started itself. Driven once, by the gateway's start,
//! with what the journal names.

use std::path::Path;
use std::time::Duration;

use tracing::{info, warn};

use crate::device::{DeviceId, JobStart};
use crate::procfs::{self, Process};

use super::cgroup::Cgroup;
use super::{proc, scratch};

/// How long leftovers may take to die of SIGKILL.
const LIMIT: Duration = Duration::from_secs(5);

/// A job of an earlier gateway that may still run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Value of `NUNCIO_JOB`.
    pub marker: String,
    /// The tool's process, where the journal tells it.
    pub leader: Option<Leader>,
    /// The device, where the job's folder tells it.
    pub device: Option<DeviceId>,
}

/// A process that led a group of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// Process id and id of the process group.
    pub pid: u32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
}

impl From<&JobStart> for Leftover {
    fn from(start: &JobStart) -> Self {
        let leader = Leader { pid: start.pid, start_time: start.start_time };
        Self { marker: start.marker.clone(), leader: Some(leader), device: None }
    }
}

impl Leftover {
    /// The jobs whose folders lie in `jobs`: of them marker and device are known, which is all there is when the journal was
    /// lost.
    #[must_use]
    pub fn in_folders(jobs: &Path) -> Vec<Self> {
        let leftover = |marker: String| Self { device: scratch::device(jobs, &marker), leader: None, marker };
        scratch::markers(jobs).into_iter().map(leftover).collect()
    }

    /// A marker ends with the boot in which it was made.
    fn is_of_boot(&self, boot: &str) -> bool {
        self.marker.rsplit_once('.').is_none_or(|(_, of)| of == boot)
    }
}

impl Leader {
    /// The group's id is only its own as long as its leader was not replaced by another process of the same id.
    fn has_group(self) -> bool {
        Process::read(self.pid).is_none_or(|leader| leader.start_time == self.start_time)
    }

    fn leads(self, process: &Process, has_group: bool) -> bool {
        let itself = process.pid == self.pid && process.start_time == self.start_time;
        itself || has_group && process.group == self.pid && process.start_time >= self.start_time
    }
}

/// Kills what still runs of these jobs; names what it killed. Blocking, at most five seconds.
pub fn sweep(leftovers: &[Leftover]) -> Vec<String> {
    let boot = procfs::boot_id();
    let of_this_boot: Vec<&Leftover> = leftovers.iter().filter(|leftover| leftover.is_of_boot(&boot)).collect();
    if of_this_boot.is_empty() {
        return Vec::new();
    }
    let leaders: Vec<(Leader, bool)> =
        of_this_boot.iter().filter_map(|leftover| leftover.leader).map(|leader| (leader, leader.has_group())).collect();
    let belongs = |process: &Process| {
        leaders.iter().any(|(leader, has_group)| leader.leads(process, *has_group))
            || of_this_boot.iter().any(|leftover| proc::carries(process, &leftover.marker))
    };
    let mut killed = Vec::new();
    for group in of_this_boot.iter().filter_map(|leftover| Cgroup::of(&leftover.marker)) {
        killed.extend(group.processes().into_iter().filter_map(Process::read));
        // Dropped, it is ended and removed.
        drop(group);
    }
    let mut ended = proc::end_all(belongs, LIMIT);
    ended.killed.splice(0..0, killed);
    for process in &ended.killed {
        info!(process = %process.told(), "ended what an earlier gateway had left running");
    }
    for process in &ended.left {
        warn!(process = %process.told(), "left over from an earlier gateway, and it cannot be ended");
    }
    ended.killed.iter().map(Process::told).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use super::*;
    use crate::executors::environment::MARKER;

    fn start(marker: &str) -> (Child, Leftover) {
        let child = Command::new("sleep").arg("1000").env(MARKER, marker).process_group(0).spawn().expect("started");
        let process = Process::read(child.id()).expect("it runs");
        // A program that was started a moment ago has no environment yet that others may see.
        while !proc::carries(&process, marker) {
            std::thread::yield_now();
        }
        let start_time = process.start_time;
        let leader = Some(Leader { pid: child.id(), start_time });
        let leftover = Leftover { marker: marker.to_owned(), leader, device: None };
        (child, leftover)
    }

    fn marker(name: &str) -> String {
        format!("{name}-{}.{}", std::process::id(), procfs::boot_id())
    }

    #[test]
    fn whatever_carries_a_marker_is_ended_and_nothing_else() {
        let (mut ours, leftover) = start(&marker("sweep-a"));
        let (mut other, _) = start(&marker("sweep-b"));
        let gone = Leftover { leader: Some(Leader { pid: u32::MAX >> 2, start_time: 1 }), ..leftover };
        let killed = sweep(&[gone]);
        assert_eq!(killed, [format!("sleep (pid {})", ours.id())]);
        ours.wait().expect("reaped");
        assert!(other.try_wait().expect("asked").is_none(), "the other one lives");
        other.kill().expect("killed");
        other.wait().expect("reaped");
    }

    #[test]
    fn a_journalled_process_is_ended_by_id_and_start_time_even_without_its_marker() {
        let (mut child, leftover) = start(&marker("sweep-c"));
        let unmarked = Leftover { marker: marker("sweep-d"), ..leftover };
        let leader = unmarked.leader.map(|leader| Leader { start_time: leader.start_time + 1, ..leader });
        let reused = Leftover { leader, ..unmarked.clone() };
        assert!(sweep(&[reused]).is_empty(), "an id that went to another process is left alone");
        assert_eq!(sweep(&[unmarked]).len(), 1);
        child.wait().expect("reaped");
    }

    #[test]
    fn a_job_whose_journal_was_lost_is_ended_by_the_name_of_its_folder() {
        let jobs = tempfile::tempdir().expect("a folder");
        let (mut child, leftover) = start(&marker("sweep-f"));
        let folder = jobs.path().join(format!("job-{}", leftover.marker));
        std::fs::create_dir(&folder).expect("made");
        std::fs::write(folder.with_added_extension("device"), "press-3").expect("written");
        std::fs::create_dir(jobs.path().join("another")).expect("made");
        let found = Leftover::in_folders(jobs.path());
        assert_eq!(found.iter().map(|one| one.marker.as_str()).collect::<Vec<_>>(), [leftover.marker.as_str()]);
        assert_eq!(found[0].device.as_ref().map(DeviceId::as_str), Some("press-3"));
        assert_eq!(sweep(&found).len(), 1);
        child.wait().expect("reaped");
        assert!(Leftover::in_folders(&jobs.path().join("none")).is_empty());
    }

    #[test]
    fn nothing_is_left_of_an_earlier_boot() {
        let (mut child, leftover) = start(&marker("sweep-e"));
        let earlier = Leftover { marker: "sweep-e.000000000000".to_owned(), ..leftover };
        assert!(sweep(&[earlier]).is_empty());
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
}
