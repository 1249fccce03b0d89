//! Writing an archive.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::manifest::{Entry, FORM, KIND, MAX_FILE, MAX_FILES, Manifest, NAME};
use super::part::Part;
use super::seal::Sealer;
use super::{ArchiveError, Passphrase, Stop};
use crate::device::Sha256Digest;

const BUFFER: usize = 64 * 1024;

/// A file that goes in.
#[derive(Debug, Clone)]
pub struct Item {
    /// Its path in there.
    pub path: String,
    /// What is in it.
    pub from: Source,
    /// Permission bits.
    pub mode: u32,
}

/// The bytes of a file.
#[derive(Debug, Clone)]
pub enum Source {
    /// The first so many of a file.
    File {
        /// Which.
        path: PathBuf,
        /// So many.
        length: u64,
    },
    /// These.
    Bytes(Vec<u8>),
}

impl Source {
    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::File { path, length } => Box::new(File::open(path)?.take(*length)),
            Self::Bytes(bytes) => Box::new(bytes.as_slice()),
        })
    }

    fn length(&self) -> u64 {
        match self {
            Self::File { length, .. } => *length,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// Writes an archive of these files: `manifest` as it will be, but for the files, which are read twice. Gives it back whole.
/// The file is there when this returns well, and only then; it must not be there before.
///
/// # Errors
/// When a file cannot be read or changed in between, or the archive cannot be written.
pub fn pack(
    to: &Path,
    mut manifest: Manifest,
    items: &[Item],
    passphrase: Option<&Passphrase>,
    stop: &Stop,
) -> Result<Manifest, ArchiveError> {
    if items.len() > MAX_FILES {
        return Err(ArchiveError::TooMuch { what: "files in one backup".to_owned(), most: MAX_FILES as u64 });
    }
    (manifest.kind, manifest.form) = (KIND.to_owned(), FORM);
    manifest.files = items.iter().map(|item| describe(item, stop)).collect::<Result<_, _>>()?;
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| ArchiveError::io("write", to)(error.into()))?;
    let (part, file) = Part::create(to)?;
    let mut tar = Tar::new(Sealer::new(file, passphrase)?, manifest.made);
    let written = || -> Result<File, ArchiveError> {
        let failed = || ArchiveError::io("write", to);
        tar.add(NAME, 0o600, text.len() as u64, &mut text.as_slice(), stop).map_err(failed())?;
        for (item, entry) in items.iter().zip(&manifest.files) {
            stop.check()?;
            let mut digest = Digesting::new(item.from.open().map_err(ArchiveError::io("read", Path::new(&item.path)))?);
            tar.add(&entry.name(), entry.mode, entry.size, &mut digest, stop).map_err(failed())?;
            if digest.sum() != entry.sha256 {
                return Err(changed(&item.path));
            }
        }
        tar.finish().and_then(Sealer::finish).map_err(failed())
    };
    let file = written().map_err(|error| if stop.is_set() { ArchiveError::Stopped } else { error })?;
    part.finish(&file)?;
    Ok(manifest)
}

/// Writes files into a `.tar.gz` for people, below a folder of this name, without a manifest.
///
/// # Errors
/// When it cannot be written; it must not be there before.
pub fn bundle(to: &Path, folder: &str, made: i64, items: &[Item], stop: &Stop) -> Result<(), ArchiveError> {
    let (part, file) = Part::create(to)?;
    let mut tar = Tar::new(file, made);
    for item in items {
        stop.check()?;
        let mut from = item.from.open().map_err(ArchiveError::io("read", Path::new(&item.path)))?;
        let name = format!("{folder}/{}", item.path);
        tar.add(&name, item.mode, item.from.length(), &mut from, stop).map_err(ArchiveError::io("write", to))?;
    }
    let file = tar.finish().map_err(ArchiveError::io("write", to))?;
    part.finish(&file)
}

fn changed(path: &str) -> ArchiveError {
    ArchiveError::io("read", Path::new(path))(io::Error::other("it changed while it was read"))
}

fn describe(item: &Item, stop: &Stop) -> Result<Entry, ArchiveError> {
    let failed = || ArchiveError::io("read", Path::new(&item.path));
    let size = item.from.length();
    if size > MAX_FILE {
        return Err(ArchiveError::TooMuch { what: format!("bytes in {}", item.path), most: MAX_FILE });
    }
    let mut digest = Digesting::new(item.from.open().map_err(failed())?);
    let read = copy(&mut digest, &mut io::sink(), stop).map_err(failed());
    stop.check()?;
    if read? != size {
        return Err(changed(&item.path));
    }
    let entry = Entry { path: item.path.clone(), size, sha256: digest.sum(), mode: item.mode & 0o777 };
    entry.place().map(|_| entry.clone()).ok_or_else(|| failed()(io::Error::other("a name that cannot be kept")))
}

/// Copies until the end, or until nobody wants it.
pub(super) fn copy(from: &mut impl Read, to: &mut impl Write, stop: &Stop) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER];
    let mut total = 0;
    loop {
        if stop.is_set() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..length])?;
        total += length as u64;
    }
}

/// Bytes on their way, with their digest.
pub(super) struct Digesting<R> {
    from: R,
    sum: Sha256,
}

impl<R> Digesting<R> {
    pub(super) fn new(from: R) -> Self {
        Self { from, sum: Sha256::new() }
    }

    pub(super) fn sum(self) -> Sha256Digest {
        Sha256Digest(self.sum.finalize().into())
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.sum.update(&buffer[..length]);
        Ok(length)
    }
}

/// Regular files in gzip, one after the other.
struct Tar<W: Write> {
    tar: tar::Builder<GzEncoder<W>>,
    made: u64,
}

impl<W: Write> Tar<W> {
    fn new(to: W, made: i64) -> Self {
        let tar = tar::Builder::new(GzEncoder::new(to, Compression::default()));
        Self { tar, made: u64::try_from(made).unwrap_or(0) }
    }

    fn add(&mut self, name: &str, mode: u32, size: u64, from: &mut impl Read, stop: &Stop) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_size(size);
        header.set_mode(mode & 0o777);
        header.set_mtime(self.made);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        self.tar.append(&header, Wanted { from, stop })
    }

    fn finish(self) -> io::Result<W> {
        self.tar.into_inner()?.finish()
    }
}

/// Bytes for as long as somebody wants them.
struct Wanted<'a, R> {
    from: R,
    stop: &'a Stop,
}

impl<R: Read> Read for Wanted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_set() {
            // Not `Interrupted`: that is tried again.
            return Err(io::Error::other("cancelled"));
        }
        self.from.read(buffer)
    }
}
