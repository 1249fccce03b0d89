//! The port of a job: whether it can be used right now, who keeps it from us, and whether it is still the same one.
//!
//! Blocking. Opening a port may reset the board behind it: this is done only right before a flash, under the lease.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::procfs::{self, Forbidden, Node};

/// Why a port cannot be used; says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PortError {
    #[error("{} is not there: plug the board in", .0.display())]
    Missing(PathBuf),
    #[error("not permitted to open {} ({permissions}): {remedy}", .path.display())]
    NotPermitted { path: PathBuf, permissions: String, remedy: String },
    #[error("{} is held by {holder}: end it and try again", .path.display())]
    Held { path: PathBuf, holder: String },
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
            return Err(not_permitted(path));
        }
        let own = std::process::id();
        if metadata.file_type().is_char_device()
            && let Some(holder) = procfs::holder(Node::of(&metadata), |pid| pid == own)
        {
            return Err(PortError::Held { path: path.to_owned(), holder: holder.told() });
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
        Errno::ACCESS | Errno::PERM => not_permitted(&path),
        Errno::BUSY | Errno::WOULDBLOCK => match procfs::holder(Node::of(metadata), |_| false) {
            Some(holder) => PortError::Held { path, holder: holder.told() },
            None => PortError::HeldByUnknown { path },
        },
        cause => PortError::Failed { path, cause },
    }
}

fn not_permitted(path: &Path) -> PortError {
    let Forbidden { permissions, remedy } = procfs::forbidden(path);
    PortError::NotPermitted { path: path.to_owned(), permissions, remedy }
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
        let Err(PortError::Held { holder, .. }) = Port::check(&path) else { panic!("it is held") };
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
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
        // The leader of a session would take it for its terminal otherwise, and be hung up with it.
        let ours = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
        let ours = ours.expect("opened");
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
