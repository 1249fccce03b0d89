//! Reading an archive that anybody may have made.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use tar::EntryType;

use super::manifest::{Entry, MAX_MANIFEST, Manifest, NAME, Tree};
use super::pack::{Digesting, copy};
use super::{ArchiveError, Passphrase, Stop, seal};

/// So many bytes may follow the last file: the end of the archive is two empty blocks, filled up to a record by some.
const MAX_REST: u64 = 64 * 1024;

/// Where files go: folders that are empty and nobody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// For the state.
    pub state: PathBuf,
    /// For the configuration.
    pub config: PathBuf,
}

impl Folders {
    fn path(&self, entry: &Entry) -> Option<(&Path, PathBuf)> {
        let (tree, path) = entry.place()?;
        let folder = match tree {
            Tree::State => &self.state,
            Tree::Config => &self.config,
        };
        Some((folder, folder.join(path)))
    }
}

/// Reads an archive to its last byte. `begin` is told what is in it and says where it goes; `None`: nowhere, it is only
/// looked at. The passphrase is asked for when there is need of one.
///
/// # Errors
/// Everything that is not as the manifest says it, and what `begin` says. Files may lie in the folders then.
pub fn unpack<E: From<ArchiveError>>(
    path: &Path,
    passphrase: impl FnOnce() -> Result<Passphrase, E>,
    begin: impl FnOnce(&Manifest) -> Result<Option<Folders>, E>,
    stop: &Stop,
) -> Result<Manifest, E> {
    let read = seal::open(path, passphrase)?;
    let mut tar = tar::Archive::new(GzDecoder::new(read));
    // As they stand: names that an entry before announces could be of any length.
    let mut entries = tar.entries().map_err(|error| damaged(path, &error))?.raw(true);
    let manifest = match entries.next() {
        Some(Ok(entry)) => manifest(path, entry)?,
        Some(Err(error)) => return Err(not_one(path, format!("no tar in gzip: {error}")).into()),
        None => return Err(not_one(path, "there is nothing in it".to_owned()).into()),
    };
    let folders = begin(&manifest)?;
    for file in &manifest.files {
        stop.check()?;
        let entry = entries.next().unwrap_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()));
        let entry = entry.map_err(|error| damaged(path, &error))?;
        take(path, entry, file, folders.as_ref(), stop)?;
    }
    match entries.next() {
        None => {}
        Some(Ok(_)) => return Err(not_one(path, "there is more in it than its manifest says".to_owned()).into()),
        Some(Err(error)) => return Err(damaged(path, &error).into()),
    }
    // A seal tells at its end whether anything was cut off, and gzip whether anything is wrong.
    let mut rest = tar.into_inner();
    end(&mut rest).and_then(|()| end(rest.get_mut())).map_err(|error| damaged(path, &error))?;
    Ok(manifest)
}

fn manifest(path: &Path, mut entry: tar::Entry<'_, impl Read>) -> Result<Manifest, ArchiveError> {
    if entry.header().entry_type() != EntryType::Regular || *entry.path_bytes() != *NAME.as_bytes() {
        return Err(not_one(path, format!("it does not begin with {NAME}")));
    }
    if entry.size() > MAX_MANIFEST {
        return Err(ArchiveError::TooMuch { what: "bytes in the manifest".to_owned(), most: MAX_MANIFEST });
    }
    let mut text = Vec::new();
    entry.read_to_end(&mut text).map_err(|error| damaged(path, &error))?;
    Manifest::read(&text, path)
}

fn take(
    path: &Path,
    mut entry: tar::Entry<'_, impl Read>,
    file: &Entry,
    folders: Option<&Folders>,
    stop: &Stop,
) -> Result<(), ArchiveError> {
    let name = String::from_utf8_lossy(&entry.path_bytes()).escape_debug().to_string();
    let kind = entry.header().entry_type();
    if kind != EntryType::Regular {
        return Err(not_one(path, format!("`{name}` is no file but {kind:?}")));
    }
    if *entry.path_bytes() != *file.name().as_bytes() || entry.size() != file.size {
        return Err(not_one(path, format!("`{name}` is not what its manifest says is there")));
    }
    let mut from = Digesting::new(&mut entry);
    let read = match folders.and_then(|folders| folders.path(file)) {
        Some((folder, to)) => write(&mut from, folder, &to, file.mode, stop)?,
        None => copy(&mut from, &mut io::sink(), stop).map_err(|error| stopped(stop, damaged(path, &error)))?,
    };
    if read != file.size {
        return Err(damaged(path, &io::Error::from(io::ErrorKind::UnexpectedEof)));
    }
    if from.sum() != file.sha256 {
        return Err(ArchiveError::Damaged {
            path: path.to_owned(),
            why: format!("`{name}` has not the digest that its manifest says"),
        });
    }
    Ok(())
}

/// A new file in a folder that is nobody else's.
fn write(from: &mut impl Read, folder: &Path, to: &Path, mode: u32, stop: &Stop) -> Result<u64, ArchiveError> {
    let above = to.parent().unwrap_or(folder);
    DirBuilder::new().recursive(true).mode(0o700).create(above).map_err(ArchiveError::io("make", above))?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let mut file: File = made.map_err(ArchiveError::io("make", to))?;
    let length = copy(from, &mut file, stop);
    let length = length.map_err(|error| stopped(stop, ArchiveError::io("write", to)(error)))?;
    let kept = fs::set_permissions(to, Permissions::from_mode(mode & 0o777)).and_then(|()| file.sync_all());
    kept.map_err(ArchiveError::io("write", to))?;
    Ok(length)
}

/// Nothing but empty space may follow, and not much of it.
fn end(from: &mut impl Read) -> io::Result<()> {
    let mut rest = Vec::new();
    from.take(MAX_REST + 1).read_to_end(&mut rest)?;
    if rest.len() as u64 > MAX_REST || rest.iter().any(|byte| *byte != 0) {
        return Err(io::Error::other("something follows its end"));
    }
    Ok(())
}

fn stopped(stop: &Stop, error: ArchiveError) -> ArchiveError {
    if stop.is_set() { ArchiveError::Stopped } else { error }
}

fn not_one(path: &Path, why: String) -> ArchiveError {
    ArchiveError::NotOne { path: path.to_owned(), why }
}

fn damaged(path: &Path, error: &io::Error) -> ArchiveError {
    ArchiveError::Damaged { path: path.to_owned(), why: error.to_string() }
}
