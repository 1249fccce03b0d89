//! From bytes that arrived to a staged image: named, hashed, looked into. Blocking.

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use crate::device::{Damage, ImageRules, Sha256Digest, StagedImage, UpdateId};
use crate::update::download::{Downloaded, MAX_SIDECAR, digest_in, version_in};
use crate::update::inspect;
use crate::update::signatures::Signatures;
use crate::update::staging::{PartFile, Staging, StoreError, Stored, digest_from, digest_of, remove};
use crate::update::table::{Refusal, Refused};

const COPY_BUFFER: usize = 64 * 1024;

/// A downloaded file that several devices may share; removed when the last has its own name for it.
#[derive(Debug)]
pub(super) struct SharedFile {
    pub(super) downloaded: Downloaded,
}

impl Drop for SharedFile {
    fn drop(&mut self) {
        remove(&self.downloaded.stored.path);
    }
}

/// How the bytes came.
pub(super) enum Arrival {
    /// Downloaded; with the version that the URI names.
    Shared(Arc<SharedFile>, Option<String>),
    /// Pushed.
    Pushed(PartFile),
    /// A local file, with the version that the operator expects of it, taken up to so many bytes.
    Local(PathBuf, Option<String>, u64),
}

/// Everything between the last byte and state 2.
pub(super) fn check(
    staging: &Staging,
    arrival: Arrival,
    update: UpdateId,
    rules: &ImageRules,
    signatures: &Signatures,
) -> Result<StagedImage, Refused> {
    let image = judge(arrive(staging, arrival, update)?, rules, signatures)?;
    if let Some(key) = &image.signed_by {
        tracing::info!(%update, key, "the image is signed");
    }
    Ok(image)
}

/// The same for a local file that stays where it is.
pub(super) fn look(
    path: &Path,
    named: Option<String>,
    cap: u64,
    rules: &ImageRules,
    signatures: &Signatures,
) -> Result<StagedImage, Refused> {
    let mut file = open_plain(path)?;
    let size = file.metadata().map_err(|error| unreadable(path, &error.to_string()))?.len();
    if size > cap {
        return Err(StoreError::TooLarge { cap }.into());
    }
    let sha256 = digest_from(&mut file).map_err(|error| unreadable(path, &error.to_string()))?;
    let stored = Stored { path: path.to_owned(), size, sha256 };
    judge(with_sidecars(stored, path, named)?, rules, signatures)
}

fn judge(arrived: Arrived, rules: &ImageRules, signatures: &Signatures) -> Result<StagedImage, Refused> {
    let Arrived { stored: Stored { path, size, sha256 }, named, beside, signature } = arrived;
    let signed_by = signatures.check(&path, signature.as_deref())?;
    let info = inspect::inspect(&path, rules).map_err(|damage| damaged(&damage))?;
    let version = named.or_else(|| info.version.clone()).or(beside);
    Ok(StagedImage { path, size, sha256, version, info, signed_by })
}

/// A file under the update's own name.
struct Arrived {
    stored: Stored,
    /// The version that the URI names.
    named: Option<String>,
    /// The version that a file beside the image names.
    beside: Option<String>,
    /// The text of `IMAGE.minisig`.
    signature: Option<String>,
}

fn arrive(staging: &Staging, arrival: Arrival, update: UpdateId) -> Result<Arrived, Refused> {
    match arrival {
        Arrival::Shared(file, named) => {
            let stored = staging.share(&file.downloaded.stored, update)?;
            let Downloaded { sidecar_version, signature, .. } = &file.downloaded;
            Ok(Arrived { stored, named, beside: sidecar_version.clone(), signature: signature.clone() })
        }
        Arrival::Pushed(part) => {
            let stored = part.finish(staging.image_path(&update.to_string()))?;
            Ok(Arrived { stored, named: None, beside: None, signature: None })
        }
        Arrival::Local(path, named, cap) => copy(staging, &path, named, cap, update),
    }
}

fn copy(staging: &Staging, path: &Path, named: Option<String>, cap: u64, update: UpdateId) -> Result<Arrived, Refused> {
    let name = update.to_string();
    let mut from = open_plain(path)?;
    let mut part = PartFile::create(staging.part_path(&name), cap)?;
    let mut buffer = vec![0; COPY_BUFFER];
    loop {
        let length = from.read(&mut buffer).map_err(|error| unreadable(path, &error.to_string()))?;
        if length == 0 {
            break;
        }
        part.write(&buffer[..length])?;
    }
    with_sidecars(part.finish(staging.image_path(&name))?, path, named)
}

/// What lies beside a local file.
fn with_sidecars(stored: Stored, path: &Path, named: Option<String>) -> Result<Arrived, Refused> {
    if let Some(text) = beside(path, "sha256")? {
        same_digest(&text, path, stored.sha256)?;
    }
    let signature = beside(path, "minisig")?;
    let beside = beside(path, "version")?.and_then(|text| version_in(&text));
    Ok(Arrived { stored, named, beside, signature })
}

/// A pipe or a device would never end, or hang.
fn open_plain(path: &Path) -> Result<File, Refused> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("open flags fit an int");
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|error| unreadable(path, &error.to_string()))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(_) => Err(unreadable(path, "it is no plain file")),
        Err(error) => Err(unreadable(path, &error.to_string())),
    }
}

fn beside(path: &Path, suffix: &str) -> Result<Option<String>, Refused> {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    let path = PathBuf::from(name);
    if !fs::metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let mut text = Vec::new();
    let read = open_plain(&path)?.take(MAX_SIDECAR as u64).read_to_end(&mut text);
    read.map_err(|error| unreadable(&path, &error.to_string()))?;
    Ok(Some(String::from_utf8_lossy(&text).into_owned()))
}

fn same_digest(text: &str, path: &Path, found: Sha256Digest) -> Result<(), Refused> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let expected = digest_in(text, &name, &format!("{}.sha256", path.display()))?;
    if expected == found {
        return Ok(());
    }
    Err(Refused::new(Refusal::Damaged, format!("{} has the SHA-256 {found}, expected is {expected}", path.display())))
}

fn unreadable(path: &Path, why: &str) -> Refused {
    Refused::new(Refusal::BadUri, format!("cannot read {}: {why}", path.display()))
}

fn damaged(damage: &Damage) -> Refused {
    let why = match damage {
        Damage::WrongTarget(_) => Refusal::WrongBoard,
        Damage::Corrupt(_) => Refusal::Damaged,
        Damage::TooLarge(_) => Refusal::NoRoom,
    };
    Refused::new(why, format!("image check: {damage}"))
}

/// After a restart: is the staged file what the journal says?
pub(super) fn recheck(image: &StagedImage) -> Result<(), String> {
    let found = digest_of(&image.path).map_err(|error| format!("{}: {error}", image.path.display()))?;
    if found == image.sha256 {
        return Ok(());
    }
    Err(format!("{} has the SHA-256 {found}, the journal says {}", image.path.display(), image.sha256))
}
