//! The port of a job: whether it can be used right now, who keeps it from us, and whether it is still the same one.
//!
//! Blocking. Opening a port may reset the board behind it: this is done only right before a flash, under the lease.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::proc::{self, Process};

/// Why a port cannot be used; says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PortError {
    #[error("{} is not there: plug the board in", .0.display())]
    Missing(PathBuf),
    #[error("not permitted to open {} ({permissions}): {remedy}", .path.display())]
    NotPermitted { path: PathBuf, permissions: String, remedy: String },
    #[error("{} is held by {}: end it and try again", .path.display(), .holders.join(", "))]
    Held { path: PathBuf, holders: Vec<String> },
    #[error("{0} is held by a process of another user: `sudo fuser -v {0}` names it", .path.display())]
    HeldByUnknown { path: PathBuf },
    #[error("cannot open {}: {cause}", .path.display())]
    Failed { path: PathBuf, cause: Errno },
}

/// A port that was there when its job began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Port {
    path: PathBuf,
    identity: (u64, u64, u64),
}

impl Port {
    /// Takes a port whose tool is about to start: it exists, it may be opened, nobody else holds it.
    pub(super) fn check(path: &Path) -> Result<Self, PortError> {
        let missing = |_| PortError::Missing(path.to_owned());
        let metadata = std::fs::metadata(path).map_err(missing)?;
        if rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK) == Err(Errno::ACCESS) {
            return Err(not_permitted(path, &metadata));
        }
        let holders = holders(path, &metadata);
        if !holders.is_empty() {
            return Err(PortError::Held { path: path.to_owned(), holders });
        }
        open_and_lock(path).map_err(|cause| refused(path, &metadata, cause))?;
        Ok(Self { path: path.to_owned(), identity: identity(&metadata) })
    }

    /// Whether the port went away, or another one came under its name.
    pub(super) fn is_lost(&self) -> bool {
        std::fs::metadata(&self.path).map_or(true, |now| identity(&now) != self.identity)
    }

    /// Its name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// A node that was unplugged and plugged in again is a new file.
fn identity(metadata: &Metadata) -> (u64, u64, u64) {
    (metadata.dev(), metadata.ino(), metadata.rdev())
}

/// Some tools lock the port themselves: the lock is gone again when this returns, by word and not only by closing, since
/// a child that is forked meanwhile has a copy of the descriptor for a moment.
fn open_and_lock(path: &Path) -> Result<(), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let port = rustix::io::retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?;
    rustix::fs::flock(&port, FlockOperation::NonBlockingLockExclusive)?;
    rustix::fs::flock(&port, FlockOperation::Unlock)
}

fn refused(path: &Path, metadata: &Metadata, cause: Errno) -> PortError {
    let path = path.to_owned();
    match cause {
        Errno::NOENT => PortError::Missing(path),
        Errno::ACCESS | Errno::PERM => not_permitted(&path, metadata),
        Errno::BUSY | Errno::WOULDBLOCK => match lock_holder(metadata) {
            Some(holder) => PortError::Held { path, holders: vec![holder] },
            None => PortError::HeldByUnknown { path },
        },
        cause => PortError::Failed { path, cause },
    }
}

fn not_permitted(path: &Path, metadata: &Metadata) -> PortError {
    let name = |file: &str, id: u32| name_of(file, id).unwrap_or_else(|| id.to_string());
    let (owner, group) = (name("/etc/passwd", metadata.uid()), name("/etc/group", metadata.gid()));
    let remedy = if metadata.mode() & 0o060 == 0o060 {
        format!("add the gateway's user to the group `{group}` and start it again")
    } else {
        "give the gateway's user read and write access".to_owned()
    };
    let permissions = format!("{owner}:{group} {:04o}", metadata.mode() & 0o7777);
    PortError::NotPermitted { path: path.to_owned(), permissions, remedy }
}

/// The name that `/etc/passwd` or `/etc/group` gives an id.
fn name_of(file: &str, id: u32) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    };
    text.lines().find_map(named)
}

/// The processes that have the port open, as far as `/proc` lets us see.
fn holders(path: &Path, port: &Metadata) -> Vec<String> {
    if !port.file_type().is_char_device() {
        return Vec::new();
    }
    let own = std::process::id();
    let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    proc::ids().filter(|&pid| pid != own && has_open(pid, &canonical, port)).filter_map(told).collect()
}

fn told(pid: u32) -> Option<String> {
    Process::read(pid).map(|process| process.told())
}

/// Whether a process has a port open. The one at the far end of a pseudo-terminal does not count as its user.
fn has_open(pid: u32, path: &Path, port: &Metadata) -> bool {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let mut found = false;
    for entry in entries.flatten() {
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        if target.ends_with("ptmx") {
            return false;
        }
        let same =
            || std::fs::metadata(entry.path()).is_ok_and(|it| it.rdev() == port.rdev() && it.dev() == port.dev());
        found = found || target == path || (target.starts_with("/dev") && same());
    }
    found
}

/// Who holds a lock on the port, by `/proc/locks`: its lines end in `PID MAJOR:MINOR:INODE START END`.
fn lock_holder(port: &Metadata) -> Option<String> {
    let (major, minor) = (rustix::fs::major(port.dev()), rustix::fs::minor(port.dev()));
    let wanted = format!("{major:02x}:{minor:02x}:{}", port.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let line = locks.lines().find(|line| line.split_ascii_whitespace().any(|field| field == wanted))?;
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let at = fields.iter().position(|&field| field == wanted)?;
    told(fields.get(at.checked_sub(1)?)?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::{Command, Stdio};

    use rustix::pty::OpenptFlags;

    use super::*;

    #[test]
    fn a_port_that_is_not_there_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ttyX");
        assert_eq!(Port::check(&path), Err(PortError::Missing(path)));
    }

    #[test]
    fn a_port_that_is_not_permitted_is_told_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ttyX");
        let told = |mode: u32| {
            std::fs::write(&path, "").expect("made");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("permitted");
            not_permitted(&path, &std::fs::metadata(&path).expect("there")).to_string()
        };
        let group_may = told(0o660);
        assert!(group_may.contains(" 0660): add the gateway's user to the group `"), "{group_may}");
        let only_owner = told(0o600);
        assert!(only_owner.ends_with(" 0600): give the gateway's user read and write access"), "{only_owner}");
        assert_eq!(name_of("/etc/passwd", 0).as_deref(), Some("root"));
    }

    #[test]
    fn a_port_that_went_away_or_was_exchanged_is_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, other) = (folder.path().join("ttyX"), folder.path().join("ttyY"));
        std::fs::write(&path, "").expect("made");
        std::fs::write(&other, "").expect("made");
        let port = Port::check(&path).expect("free");
        assert!(!port.is_lost());
        std::fs::rename(&other, &path).expect("exchanged");
        assert!(port.is_lost());
        std::fs::remove_file(&path).expect("removed");
        assert!(port.is_lost());
    }

    #[test]
    fn a_locked_port_is_told_with_its_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ttyX");
        let file = std::fs::File::create(&path).expect("made");
        let lock = || rustix::fs::flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive);
        lock().expect("locked");
        let Err(PortError::Held { holders, .. }) = Port::check(&path) else { panic!("it is held") };
        assert!(holders[0].ends_with(&format!("(pid {})", std::process::id())), "{holders:?}");
        rustix::fs::flock(file.as_fd(), FlockOperation::Unlock).expect("unlocked");
        Port::check(&path).expect("free again");
        lock().expect("the check keeps no lock");
    }

    #[test]
    fn a_port_that_another_process_has_open_is_told_but_not_the_far_end_of_a_pty() {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).expect("a pty");
        rustix::pty::grantpt(&master).expect("granted");
        rustix::pty::unlockpt(&master).expect("unlocked");
        let name = rustix::pty::ptsname(&master, Vec::new()).expect("named");
        let path = PathBuf::from(name.to_str().expect("text"));
        let ours = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("opened");
        Port::check(&path).expect("what we hold ourselves does not count");
        let monitor = Stdio::from(ours.try_clone().expect("copied"));
        let mut monitor = Command::new("sleep").arg("100").stdin(monitor).spawn().expect("started");
        let Err(error) = Port::check(&path) else { panic!("it is held") };
        assert_eq!(
            error.to_string(),
            format!("{} is held by sleep (pid {}): end it and try again", path.display(), monitor.id())
        );
        monitor.kill().expect("killed");
        monitor.wait().expect("reaped");
        let far_end = Stdio::from(master.try_clone().expect("copied"));
        let near_end = Stdio::from(ours);
        let mut simulator = Command::new("sleep").arg("100").stdin(far_end).stdout(near_end).spawn().expect("started");
        Port::check(&path).expect("a simulated board is no holder");
        simulator.kill().expect("killed");
        simulator.wait().expect("reaped");
    }
}
