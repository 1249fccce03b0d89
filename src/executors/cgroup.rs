//! A control group for each job, where one is delegated to the gateway: whatever a tool starts is in it and cannot leave, and
//! all of it is killed at once (cgroups(7), Linux's cgroup-v2 document: `cgroup.kill` since 5.14).
//!
//! Where systemd runs, only a group that it has marked as delegated is used (`Delegate=yes`); elsewhere one that this user may
//! write. Limits are not set: no controller is asked for, so that the gateway itself need not leave its group. Blocking.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tracing::{debug, warn};

/// The names of the jobs' groups begin so.
const PREFIX: &str = "nuncio-job-";
/// How long what was killed may take to be gone.
const LIMIT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Where systemd tells that it runs (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";
/// How systemd marks a group that is another's to divide, for all and for root (systemd's page on delegation).
const DELEGATED: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// The group of a job; ended and removed when dropped.
#[derive(Debug)]
pub(super) struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// Makes the group of a job; `None` where no group is delegated.
    pub(super) fn new(marker: &str) -> Option<Self> {
        let folder = delegated().ok()?.join(format!("{PREFIX}{marker}"));
        match std::fs::create_dir(&folder) {
            Ok(()) => Some(Self { folder }),
            Err(error) => {
                debug!(folder = %folder.display(), %error, "no control group for a job");
                None
            }
        }
    }

    /// The group that an earlier gateway made for a job, if it is still there.
    pub(super) fn of(marker: &str) -> Option<Self> {
        let folder = delegated().ok()?.join(format!("{PREFIX}{marker}"));
        // Not `then_some`: what it drops unused would be removed, too.
        folder.is_dir().then(|| Self { folder })
    }

    /// Has a child enter the group before anything of it runs. To be called before all other hooks.
    ///
    /// # Errors
    /// When the group cannot be entered by anybody.
    pub(super) fn enter(&self, command: &mut Command) -> io::Result<()> {
        let mut door = OpenOptions::new().write(true).open(self.folder.join("cgroup.procs"))?;
        // A child that may not enter is ended by its process group and its marker, like one without a group.
        put_in(command, move || door.write_all(b"0").or(Ok(())));
        Ok(())
    }

    /// The processes in it.
    pub(super) fn processes(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Kills all that is in it, at once where the kernel can, and waits until it is gone. Tells how many processes there were.
    pub(super) fn kill(&self) -> usize {
        let found = self.processes();
        let deadline = Instant::now() + LIMIT;
        loop {
            let left = self.processes();
            if left.is_empty() {
                return found.len();
            }
            if Instant::now() >= deadline {
                warn!(processes = ?left, "left over from a tool, and it cannot be ended");
                return found.len();
            }
            if std::fs::write(self.folder.join("cgroup.kill"), "1").is_err() {
                left.into_iter().for_each(kill_one);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.kill();
        if let Err(error) = std::fs::remove_dir(&self.folder) {
            warn!(folder = %self.folder.display(), %error, "the control group of a job could not be removed");
        }
    }
}

/// The id cannot be another's: it was read from the group's own list just now, and only processes of the job are in it.
fn kill_one(pid: u32) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        // One that has gone by itself need not be killed.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
}

#[expect(unsafe_code, reason = "a pre-exec hook is the only place where a child can enter a group before it runs")]
fn put_in(command: &mut Command, hook: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    // SAFETY: the hook writes one byte to a descriptor that was opened before the fork; it takes no lock.
    unsafe { command.pre_exec(hook) };
}

/// The gateway's own group, if others may be made in it; else what is lacking.
pub(super) fn delegated() -> Result<PathBuf, String> {
    let own = own().ok_or("there are no control groups of version 2 here")?;
    if Path::new(SYSTEMD).is_dir() && !is_marked(&own) {
        return Err("no control group is delegated to this process (`Delegate=yes` in its unit)".to_owned());
    }
    let may = rustix::fs::access(&own, rustix::fs::Access::WRITE_OK);
    let may = may.and_then(|()| rustix::fs::access(own.join("cgroup.procs"), rustix::fs::Access::WRITE_OK));
    may.map_err(|_| format!("this user may make no control group in {}", own.display()))?;
    Ok(own)
}

fn is_marked(folder: &Path) -> bool {
    let mut value = [0_u8; 8];
    DELEGATED
        .iter()
        .any(|name| rustix::fs::getxattr(folder, *name, &mut value).is_ok_and(|read| value[..read] == *b"1"))
}

/// Where this process's group of version 2 lies: the line `0::/PATH`, below the mount of that kind (cgroups(7)).
fn own() -> Option<PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| located(line, path)).filter(|folder| folder.is_dir())
}

/// In a line of mountinfo (proc(5)): the fourth field is the mounted root, the fifth where it is, the first behind ` - ` the
/// kind.
fn located(line: &str, path: &str) -> Option<PathBuf> {
    let (place, kind) = line.split_once(" - ")?;
    if kind.split(' ').next()? != "cgroup2" {
        return None;
    }
    let mut fields = place.split(' ').skip(3);
    let (root, mounted) = (fields.next()?, fields.next()?);
    let below = Path::new(path).strip_prefix(root).ok()?;
    Some(Path::new(mounted).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_below_its_mount() {
        let line = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        let found = located(line, "/system.slice/nuncio.service");
        assert_eq!(found.as_deref(), Some(Path::new("/sys/fs/cgroup/system.slice/nuncio.service")));
        assert_eq!(located(line, "/").as_deref(), Some(Path::new("/sys/fs/cgroup/")));
        let inner = "35 24 0:30 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup rw";
        assert_eq!(located(inner, "/docker/7/x").as_deref(), Some(Path::new("/sys/fs/cgroup/x")));
        assert_eq!(located(inner, "/elsewhere"), None);
        assert_eq!(located("35 24 0:30 / /sys rw - sysfs sysfs rw", "/"), None);
        assert_eq!(located("nonsense", "/"), None);
    }
}
