//! One daemon per state folder: a locked file with the holder's process id in it.
//!
//! The lock is the kernel's (`flock`), so it never outlives its process; the file itself stays.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Holder, StoreError};

const FILE: &str = "nuncio.lock";

/// The lock; dropping it frees the folder.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock and writes this process's id into it.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let failed = |error| StoreError::folder(&path, error);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o640).open(&path);
        let mut file = options.map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(StoreError::InUse { dir: dir.to_owned(), pid: pid_in(&mut file) }),
            Err(error) => return Err(failed(error.into())),
        }
        write_pid(&mut file).and_then(|()| hand_over(&file, dir)).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// Who holds the lock of a folder, from the kernel's list: trying the lock could keep a starting daemon out.
pub(super) fn holder(dir: &Path) -> Option<Holder> {
    let mut file = File::open(dir.join(FILE)).ok()?;
    let inode = file.metadata().ok()?.ino();
    let pid = pid_in(&mut file)?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().any(|line| is_lock(line, pid, inode)).then_some(Holder { pid: Some(pid) })
}

/// `1: FLOCK  ADVISORY  WRITE 4711 08:01:131 0 EOF`: kind, process, file.
fn is_lock(line: &str, pid: u32, inode: u64) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", holder, file, ..] = words.as_slice() else { return false };
    holder.parse() == Ok(pid) && file.rsplit(':').next().and_then(|number| number.parse().ok()) == Some(inode)
}

/// Root may have been here on behalf of the user whose folder it is.
fn hand_over(file: &File, dir: &Path) -> std::io::Result<()> {
    let (owner, found) = (std::fs::metadata(dir)?, file.metadata()?);
    if rustix::process::geteuid().is_root() && (found.uid(), found.gid()) != (owner.uid(), owner.gid()) {
        std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
