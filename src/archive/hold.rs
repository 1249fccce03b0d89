//! Files of a folder that others write to, held by a second name while they are read: what is removed or replaced
//! meanwhile is here still.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::ArchiveError;
use super::manifest::{MAX_DEPTH, MAX_FILES};
use super::pack::{Item, Source};

/// A folder for the second names, beside what is held; it goes with this.
#[derive(Debug)]
pub struct Holding {
    folder: PathBuf,
    /// One at a time: its folder is what an earlier one may have left.
    _lock: File,
    count: usize,
}

impl Holding {
    /// Makes the folder, clearing what an earlier one left that was killed. Nobody but this user may look into it.
    ///
    /// # Errors
    /// When it cannot be made, or somebody else has it.
    pub fn new(folder: &Path) -> Result<Self, ArchiveError> {
        let fresh = || fs::DirBuilder::new().mode(0o700).create(folder);
        let make = || {
            let lock = match fresh() {
                Ok(()) => locked(folder)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match locked(folder)? {
                    lock if is_ours(&lock)? => lock,
                    // Of another user, who may do there what he likes.
                    lock => {
                        drop(lock);
                        fs::remove_dir_all(folder)?;
                        fresh()?;
                        locked(folder)?
                    }
                },
                Err(error) => return Err(error),
            };
            if !is_ours(&lock)? {
                return Err(io::Error::other("somebody else made it"));
            }
            let holding = Self { folder: folder.to_owned(), _lock: lock, count: 0 };
            holding.clear()?;
            Ok(holding)
        };
        make().map_err(ArchiveError::io("make", folder))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Lets go of everything.
    ///
    /// # Errors
    /// What the system said.
    pub fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }
        Ok(())
    }

    /// Takes hold of the regular files below `from` that `wanted` likes, by their paths in there. Symlinks are not
    /// followed; `None` when one went before it could be held.
    ///
    /// # Errors
    /// When a folder or file cannot be read, or there are too many.
    pub fn hold(
        &mut self,
        from: &Path,
        tree: &str,
        wanted: &dyn Fn(&Path) -> bool,
    ) -> Result<Option<Vec<Item>>, ArchiveError> {
        let mut items = Vec::new();
        for (path, found) in walk(from, wanted)? {
            self.count += 1;
            let (at, held) = (from.join(&path), self.path(&format!("held-{}", self.count)));
            match fs::hard_link(&at, &held).or_else(|_| fs::copy(&at, &held).map(drop)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(ArchiveError::io("read", &at)(error)),
            }
            let path = format!("{tree}/{}", path.to_string_lossy());
            // One that grows is as long as it is now.
            let length = held.metadata().map_err(ArchiveError::io("read", &at))?.len();
            items.push(Item { path, from: Source::File { path: held, length }, mode: found.mode() & 0o777 });
        }
        Ok(Some(items))
    }
}

/// A folder that is no link, locked.
fn locked(folder: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = File::from(rustix::fs::open(folder, flags, Mode::empty())?);
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    Ok(lock)
}

fn is_ours(folder: &File) -> io::Result<bool> {
    Ok(folder.metadata()?.uid() == rustix::process::geteuid().as_raw())
}

impl Drop for Holding {
    fn drop(&mut self) {
        // The next one clears what cannot be removed now.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The files below a folder and which they are: another one under the same name is told apart.
///
/// # Errors
/// As for holding them.
pub fn listing(from: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<BTreeSet<(PathBuf, u64)>, ArchiveError> {
    Ok(walk(from, wanted)?.into_iter().map(|(path, found)| (path, found.ino())).collect())
}

fn walk(from: &Path, wanted: &dyn Fn(&Path) -> bool) -> Result<Vec<(PathBuf, fs::Metadata)>, ArchiveError> {
    let (mut files, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        let at = from.join(&folder);
        let entries = match fs::read_dir(&at) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(ArchiveError::io("read", &at)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(ArchiveError::io("read", &at))?;
            let path = folder.join(entry.file_name());
            // One that went meanwhile is as good as one that was never there.
            let Ok(found) = entry.metadata() else { continue };
            if !wanted(&path) || path.to_str().is_none() {
                continue;
            }
            if found.is_dir() && path.components().count() < MAX_DEPTH - 1 {
                folders.push(path);
            } else if found.is_file() {
                files.push((path, found));
            }
            if files.len() + folders.len() > MAX_FILES {
                let what = format!("files in {}", from.display());
                return Err(ArchiveError::TooMuch { what, most: MAX_FILES as u64 });
            }
        }
    }
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(files)
}
