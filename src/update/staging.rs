//! The staging folder: where images arrive, and where they lie until they are proven or dropped.
//!
//! `UPDATE.part` grows while bytes come in, with a running SHA-256; synced and renamed it is `UPDATE.img`.
//! A download that several devices share is one file, of which each device's image is a hard link, so the file system
//! counts the references. What devices can go back to lies in `good/`. Blocking, apart from [`push`]; driven by the
//! manager and by downloads.

mod good;
pub mod push;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::table::{Refusal, Refused};
use crate::device::{Sha256Digest, UpdateId};

/// So many bytes at most are in a file and not yet on the disk.
pub const SYNC_EVERY: u64 = 256 * 1024;
/// Ending of a file that still grows.
const PART: &str = "part";
/// Ending of a complete one.
const IMAGE: &str = "img";
/// Folder of the good images.
pub(super) const GOOD: &str = "good";
const COPY_BUFFER: usize = 64 * 1024;

/// Why bytes could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// More than the configured cap.
    #[error("the image is larger than the {cap} bytes that [download] max_size allows")]
    TooLarge {
        /// The cap in bytes.
        cap: u64,
    },
    /// The disk is full.
    #[error("no space left for {path}")]
    NoSpace {
        /// The file.
        path: PathBuf,
    },
    /// Anything else the system said.
    #[error("cannot store {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl StoreError {
    fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::NoSpace { path }
            }
            _ => Self::Io { path, source },
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let reason = match &error {
            StoreError::Io { source, .. } => format!("{error}: {source}"),
            StoreError::TooLarge { .. } | StoreError::NoSpace { .. } => error.to_string(),
        };
        Self::new(Refusal::NoRoom, reason)
    }
}

/// A complete file in staging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where it lies.
    pub path: PathBuf,
    /// Length in bytes.
    pub size: u64,
    /// Digest of all of it.
    pub sha256: Sha256Digest,
}

/// The folder.
#[derive(Debug, Clone)]
pub struct Staging {
    folder: Arc<Path>,
    /// Held while good images are changed: several devices may share one.
    good: Arc<Mutex<()>>,
}

impl Staging {
    /// Opens the folder, and makes it where it is missing.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder.join(GOOD))?;
        Ok(Self { folder: folder.into(), good: Arc::default() })
    }

    /// Removes what no update claims: leftovers of a crash. Returns how many files went.
    ///
    /// # Errors
    /// When the folder cannot be read; a single file that cannot be removed is only logged.
    pub fn sweep(&self, claimed: &HashSet<PathBuf>) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let ours = path.extension().is_some_and(|ending| ending == PART || ending == IMAGE);
            if ours && !claimed.contains(&path) && remove(&path) {
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Where the bytes of an update or download grow.
    pub fn part_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{PART}"))
    }

    /// Where the image of an update or download lies once it is complete.
    pub fn image_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{IMAGE}"))
    }

    /// Where what is read from a board before its first flash goes.
    pub fn saved_path(&self, update: UpdateId) -> PathBuf {
        self.part_path(&format!("{update}.saved"))
    }

    /// Gives an update its own name for a file that lies in staging already.
    ///
    /// # Errors
    /// As for any write.
    pub fn share(&self, stored: &Stored, update: UpdateId) -> Result<Stored, StoreError> {
        let path = self.image_path(&update.to_string());
        self.link(&stored.path, &path).map_err(|error| StoreError::from_io(&path, error))?;
        Ok(Stored { path, ..stored.clone() })
    }

    /// Removes all that an update has here.
    pub fn discard(&self, update: UpdateId) {
        let name = update.to_string();
        remove(&self.part_path(&name));
        remove(&self.image_path(&name));
        remove(&self.saved_path(update));
    }

    /// A second name where the file system has them, else a copy.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        remove(to);
        if fs::hard_link(from, to).is_err() {
            fs::copy(from, to)?;
            File::open(to)?.sync_all()?;
        }
        sync_folder(&self.folder)
    }
}

/// Removes a file; whether there was one to remove.
pub(super) fn remove(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot remove a staged file");
            false
        }
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A file that grows.
#[derive(Debug)]
pub struct PartFile {
    file: Arc<File>,
    path: PathBuf,
    hasher: Sha256,
    size: u64,
    synced: u64,
    cap: u64,
}

impl PartFile {
    /// A new, empty one.
    ///
    /// # Errors
    /// What the system said.
    pub fn create(path: PathBuf, cap: u64) -> Result<Self, StoreError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(|error| StoreError::from_io(&path, error))?;
        Ok(Self { file: Arc::new(file), path, hasher: Sha256::new(), size: 0, synced: 0, cap })
    }

    /// One that an earlier gateway left, with its first `synced` bytes.
    ///
    /// # Errors
    /// What the system said, also when it is shorter than that.
    pub fn resume(path: PathBuf, synced: u64, cap: u64) -> Result<Self, StoreError> {
        let failed = |error| StoreError::from_io(&path, error);
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        let mut hasher = Sha256::new();
        let read = hash(&mut (&mut file).take(synced), &mut hasher).map_err(failed)?;
        if read < synced {
            return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, "shorter than the journal says")));
        }
        file.set_len(synced).map_err(failed)?;
        file.seek(SeekFrom::Start(synced)).map_err(failed)?;
        Ok(Self { file: Arc::new(file), path, hasher, size: synced, synced, cap })
    }

    /// Appends.
    ///
    /// # Errors
    /// Over the cap, or what the system said; what was written of `bytes` then counts for nothing.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.size + bytes.len() as u64 > self.cap {
            return Err(StoreError::TooLarge { cap: self.cap });
        }
        (&*self.file).write_all(bytes).map_err(|error| StoreError::from_io(&self.path, error))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Has all bytes so far on the disk when it returns.
    ///
    /// # Errors
    /// What the system said.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| StoreError::from_io(&self.path, error))?;
        self.synced = self.size;
        Ok(())
    }

    /// Begins again at the first byte.
    ///
    /// # Errors
    /// What the system said.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let failed = |error| StoreError::from_io(&self.path, error);
        self.file.set_len(0).map_err(failed)?;
        (&*self.file).seek(SeekFrom::Start(0)).map_err(failed)?;
        (self.hasher, self.size, self.synced) = (Sha256::new(), 0, 0);
        Ok(())
    }

    /// All bytes are there: syncs, and gives the file its final name.
    ///
    /// # Errors
    /// What the system said.
    pub fn finish(self, path: PathBuf) -> Result<Stored, StoreError> {
        let failed = |error| StoreError::from_io(&path, error);
        self.file.sync_all().map_err(failed)?;
        fs::rename(&self.path, &path).map_err(failed)?;
        sync_folder(path.parent().expect("a staged file lies in the staging folder")).map_err(failed)?;
        let sha256 = Sha256Digest(self.hasher.finalize().into());
        Ok(Stored { path, size: self.size, sha256 })
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes so far that are on the disk.
    pub fn synced(&self) -> u64 {
        self.synced
    }
}

/// The digest of a file as it lies there now.
///
/// # Errors
/// What the system said.
pub fn digest_of(path: &Path) -> io::Result<Sha256Digest> {
    digest_from(&mut File::open(path)?)
}

/// The digest of what is left to read.
///
/// # Errors
/// When it cannot be read.
pub fn digest_from(from: &mut impl Read) -> io::Result<Sha256Digest> {
    let mut hasher = Sha256::new();
    hash(from, &mut hasher)?;
    Ok(Sha256Digest(hasher.finalize().into()))
}

fn hash(from: &mut impl Read, hasher: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; COPY_BUFFER];
    let mut total = 0;
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(total);
        }
        hasher.update(&buffer[..length]);
        total += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: u64 = 1000;

    fn staging() -> (tempfile::TempDir, Staging) {
        let folder = tempfile::tempdir().expect("a folder");
        let staging = Staging::open(folder.path()).expect("staging");
        (folder, staging)
    }

    #[test]
    fn a_file_is_hashed_while_it_grows_and_named_when_complete() {
        let (_folder, staging) = staging();
        let mut part = PartFile::create(staging.part_path("a"), CAP).expect("a file");
        part.write(b"hello ").expect("room");
        part.write(b"world").expect("room");
        let stored = part.finish(staging.image_path("a")).expect("finished");
        assert_eq!(stored.size, 11);
        assert_eq!(stored.sha256, digest_of(&stored.path).expect("a digest"));
        assert!(!staging.part_path("a").exists());
    }

    #[test]
    fn the_cap_holds_and_a_restart_begins_at_zero() {
        let (_folder, staging) = staging();
        let mut part = PartFile::create(staging.part_path("a"), 4).expect("a file");
        part.write(b"1234").expect("room");
        assert!(matches!(part.write(b"5"), Err(StoreError::TooLarge { cap: 4 })));
        part.restart().expect("restarted");
        part.write(b"ab").expect("room");
        let stored = part.finish(staging.image_path("a")).expect("finished");
        assert_eq!(fs::read(&stored.path).expect("the file"), b"ab");
        assert_eq!(stored.sha256, digest_of(&stored.path).expect("a digest"));
    }

    #[test]
    fn a_part_is_taken_up_at_its_synced_offset_and_refused_when_shorter() {
        let (_folder, staging) = staging();
        let path = staging.part_path("a");
        fs::write(&path, b"0123456789").expect("a file");
        let mut part = PartFile::resume(path.clone(), 4, CAP).expect("resumed");
        part.write(b"xy").expect("room");
        let stored = part.finish(staging.image_path("a")).expect("finished");
        assert_eq!(fs::read(&stored.path).expect("the file"), b"0123xy");
        assert_eq!(stored.sha256, digest_of(&stored.path).expect("a digest"));
        fs::write(&path, b"01").expect("a file");
        assert!(PartFile::resume(path, 4, CAP).is_err());
    }

    #[test]
    fn a_sweep_leaves_only_what_is_claimed() {
        let (_folder, staging) = staging();
        for name in ["a.part", "b.img", "c.img", "other.txt"] {
            fs::write(staging.folder.join(name), b"x").expect("a file");
        }
        let removed = staging.sweep(&HashSet::from([staging.image_path("c")])).expect("swept");
        assert_eq!(removed, 2);
        assert!(staging.image_path("c").exists() && staging.folder.join("other.txt").exists());
    }
}
