//! A look into one folder: what is complete and may be offered is taken up, what never can be is refused, with the reason beside it.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Stat};
use sha2::{Digest, Sha256};

use super::{
    FAILED, PRIVATE, Place, Record, Root, SIDECARS, TargetRecord, UNDER_WAY, entries, is, make, move_aside, open,
    open_plain, prune_images, prune_results, save, shelf, shown, stat, with, write_result,
};
use crate::builtin::names::{self, Kind, RESULT};
use crate::device::Sha256Digest;

/// Largest file beside an image, in bytes: what updates read of one.
const MAX_SIDECAR: u64 = 64 * 1024;
const BUFFER: usize = 64 * 1024;
/// How the result of an image begins that waits.
const WAITING: &str = "waiting: ";

/// What a file was when it could neither be taken nor moved away: it is left alone as long as it is that.
pub(in crate::builtin) type Mark = (u64, u64, i64, i64);

/// What to go by.
#[derive(Debug)]
pub(in crate::builtin) struct Look {
    /// Which folder.
    pub(in crate::builtin) place: Place,
    /// To whom an image goes, or why there is nobody.
    pub(in crate::builtin) targets: Result<Vec<TargetRecord>, String>,
    /// Names that somebody is still writing.
    pub(in crate::builtin) growing: HashSet<OsString>,
    /// What is left alone.
    pub(in crate::builtin) left: HashSet<Mark>,
    /// A file must have been as it is for so long.
    pub(in crate::builtin) quiet: Duration,
    /// Largest image in bytes.
    pub(in crate::builtin) max_size: u64,
    /// The name for what is taken.
    pub(in crate::builtin) id: String,
    /// Seconds since 1970.
    pub(in crate::builtin) now: i64,
}

/// What was found.
#[derive(Debug, Default)]
pub(in crate::builtin) struct Looked {
    /// Is under way now.
    pub(in crate::builtin) taken: Option<Taken>,
    /// Files that were refused, and why.
    pub(in crate::builtin) refused: Vec<(String, String)>,
    /// What can neither be taken nor moved away.
    pub(in crate::builtin) left: Vec<Mark>,
    /// Look again after so long: something is not quiet yet.
    pub(in crate::builtin) again: Option<Duration>,
    /// Images wait here for a device, or for their turn.
    pub(in crate::builtin) waiting: bool,
}

/// An image that is under way.
#[derive(Debug)]
pub(in crate::builtin) struct Taken {
    pub(in crate::builtin) id: String,
    pub(in crate::builtin) record: Record,
}

/// Why a file is not taken.
enum Not {
    /// It never will be.
    Refused(String),
    /// The system said no.
    Failed(io::Error),
}

impl From<io::Error> for Not {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Root {
    /// Looks into a folder; takes one image at most.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(in crate::builtin) fn look(&self, look: &Look) -> io::Result<Looked> {
        let folder = self.folder_of(&look.place)?;
        let mut looked = Looked::default();
        let names = in_order(&folder)?;
        forget_waiting(&folder, &names);
        for name in names {
            let Ok(found) = stat(&folder, &name) else { continue };
            if is(&found, FileType::Directory) || look.growing.contains(&name) || look.left.contains(&mark(&found)) {
                continue;
            }
            let image = match names::kind(&name) {
                // A file beside an image goes with it; without one it waits for it.
                Kind::Ignored | Kind::Sidecar(_) => continue,
                Kind::Bad(why) => {
                    self.refuse(&folder, &name, (&found, why), &mut looked);
                    continue;
                }
                Kind::Image(image) => image.to_owned(),
            };
            if let Some(rest) = rest(&folder, &image, look) {
                looked.again = Some(looked.again.map_or(rest, |again| again.min(rest)));
                continue;
            }
            if let Some(why) = flaw(&folder, &image, &found, look) {
                self.refuse(&folder, &name, (&found, &why), &mut looked);
                continue;
            }
            match &look.targets {
                Err(why) => {
                    looked.waiting = true;
                    wait(&folder, &image, why);
                }
                Ok(_) if looked.taken.is_some() => looked.waiting = true,
                Ok(targets) => match self.take(&folder, &image, look, targets) {
                    Ok(taken) => looked.taken = Some(taken),
                    Err(Not::Refused(why)) => self.refuse(&folder, &name, (&found, &why), &mut looked),
                    Err(Not::Failed(error)) => {
                        looked.left.push(mark(&found));
                        looked.refused.push((shown(&name), format!("it cannot be taken up: {error}")));
                    }
                },
            }
        }
        Ok(looked)
    }

    /// Moves an image and what lies beside it under way.
    fn take(&self, folder: &OwnedFd, image: &str, look: &Look, targets: &[TargetRecord]) -> Result<Taken, Not> {
        let name = OsStr::new(image);
        // Before it is moved: who may not be read may be moved all the same.
        open_plain(folder, name).map_err(|error| Not::Refused(unreadable(&error)))?;
        let under_way = open(&self.folder, UNDER_WAY)?;
        make(&under_way, OsStr::new(&look.id), PRIVATE)?;
        let own = open(&under_way, &look.id)?;
        let beside: Vec<&str> =
            SIDECARS.into_iter().filter(|ending| stat(folder, &with(name, ending)).is_ok()).collect();
        let mut record = Record {
            image: image.to_owned(),
            place: look.place.clone(),
            size: 0,
            sha256: Sha256Digest([0; 32]),
            has_digest: beside.contains(&".sha256"),
            since: look.now,
            targets: targets.to_vec(),
        };
        let moved = save(&own, &record).and_then(|()| {
            for ending in &beside {
                rustix::fs::renameat(folder, with(name, ending), &own, with(name, ending))?;
            }
            Ok(rustix::fs::renameat(folder, name, &own, name)?)
        });
        if let Err(error) = moved {
            self.put_back(folder, &own, name, &look.id);
            return Err(error.into());
        }
        // What was looked at may have been exchanged: only what lies here now counts.
        match measured(&own, name, look.max_size) {
            Ok((size, sha256)) => (record.size, record.sha256) = (size, sha256),
            Err(error) => {
                self.put_back(folder, &own, name, &look.id);
                return Err(Not::Refused(unreadable(&error)));
            }
        }
        save(&own, &record)?;
        let _ = rustix::fs::unlinkat(folder, with(name, RESULT), rustix::fs::AtFlags::empty());
        Ok(Taken { id: look.id.clone(), record })
    }

    /// What could not be taken up lies where it lay.
    fn put_back(&self, folder: &OwnedFd, own: &OwnedFd, image: &OsStr, id: &str) {
        for ending in SIDECARS.into_iter().chain([""]) {
            let _ = rustix::fs::renameat(own, with(image, ending), folder, with(image, ending));
        }
        if let Ok(under_way) = open(&self.folder, UNDER_WAY) {
            super::discard(&under_way, id);
        }
    }

    /// Moves a file to `failed`, and says why.
    fn refuse(&self, folder: &OwnedFd, name: &OsStr, (found, why): (&Stat, &str), looked: &mut Looked) {
        let told = shown(name);
        let moved = shelf(folder, FAILED).and_then(|to| {
            let moved = move_aside(folder, name, &to, &told)?;
            for ending in SIDECARS {
                let _ = rustix::fs::renameat(folder, with(name, ending), &to, with(&moved, ending));
            }
            prune_images(&to);
            write_result(folder, &told, &format!("failed: {why}\n"))
        });
        prune_results(folder);
        if let Err(error) = moved {
            looked.left.push(mark(found));
            tracing::warn!(file = told, %error, "cannot be moved out of the way: may the gateway write to its folder?");
        }
        looked.refused.push((told, why.to_owned()));
    }
}

/// The names in a folder, the oldest file first.
fn in_order(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names: Vec<(i64, OsString)> =
        entries(folder)?.into_iter().filter_map(|name| Some((stat(folder, &name).ok()?.st_mtime, name))).collect();
    names.sort();
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

/// How long an image or what lies beside it is still to rest; `None` when all of it is quiet.
fn rest(folder: &OwnedFd, image: &str, look: &Look) -> Option<Duration> {
    let name = OsStr::new(image);
    let beside = SIDECARS.into_iter().map(|ending| with(name, ending));
    let rests = |name: OsString| {
        if look.growing.contains(&name) {
            return Some(look.quiet);
        }
        let changed = u64::try_from(stat(folder, &name).ok()?.st_ctime).ok()?;
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(changed);
        // A clock that went back must not keep it here.
        let age = SystemTime::now().duration_since(changed).ok()?;
        look.quiet.checked_sub(age).filter(|rest| !rest.is_zero())
    };
    std::iter::once(name.to_owned()).chain(beside).filter_map(rests).max()
}

/// Why a file can never be offered.
fn flaw(folder: &OwnedFd, image: &str, found: &Stat, look: &Look) -> Option<String> {
    if matches!(look.place, Place::Root | Place::Boards) {
        return Some("it belongs into the folder of a device, or of a type of board below by-board".to_owned());
    }
    if let Some(why) = not_plain(found) {
        return Some(why);
    }
    let size = u64::try_from(found.st_size).unwrap_or(u64::MAX);
    if size == 0 {
        return Some("it is empty".to_owned());
    }
    if size > look.max_size {
        let most = look.max_size;
        return Some(format!("its {size} bytes are more than the {most} that [download] max_size allows"));
    }
    SIDECARS.into_iter().find_map(|ending| {
        let found = stat(folder, &with(OsStr::new(image), ending)).ok()?;
        let large = || (found.st_size as u64 > MAX_SIDECAR).then(|| format!("it is longer than {MAX_SIDECAR} bytes"));
        Some(format!("{image}{ending}: {}", not_plain(&found).or_else(large)?))
    })
}

fn not_plain(found: &Stat) -> Option<String> {
    let why = match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile if found.st_nlink == 1 => return None,
        FileType::RegularFile => "it has another name as well (a hard link), by which it could change",
        FileType::Symlink => "it is a link, and links are not followed",
        FileType::Fifo => "it is a pipe and no file",
        _ => "it is no plain file",
    };
    Some(why.to_owned())
}

/// Length and digest of a file of ours.
pub(super) fn measured(folder: &OwnedFd, name: &OsStr, most: u64) -> io::Result<(u64, Sha256Digest)> {
    let file = open_plain(folder, name)?;
    let size = file.metadata()?.size();
    if size > most || file.metadata()?.nlink() > 1 {
        return Err(io::Error::other("it changed while it was taken up"));
    }
    Ok((size, digest(file)?))
}

fn digest(mut file: File) -> io::Result<Sha256Digest> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(Sha256Digest(hasher.finalize().into()));
        }
        hasher.update(&buffer[..length]);
    }
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "the gateway may not read it: chmod g+r, or o+r".to_owned(),
        _ => format!("it cannot be read: {error}"),
    }
}

/// Says what an image waits for, unless that stands there.
fn wait(folder: &OwnedFd, image: &str, why: &str) {
    let text = format!("{WAITING}{why}\n");
    let mut known = Vec::new();
    let read = open_plain(folder, &with(OsStr::new(image), RESULT))
        .and_then(|file| file.take(text.len() as u64 + 1).read_to_end(&mut known));
    if read.is_err() || known != text.as_bytes() {
        // Whoever laid it there sees it wait all the same.
        let _ = write_result(folder, image, &text);
    }
}

/// What waited and was taken away waits no more.
fn forget_waiting(folder: &OwnedFd, names: &[OsString]) {
    let present: HashSet<&OsString> = names.iter().collect();
    for name in names {
        let Some(image) = name.to_str().and_then(|name| name.strip_suffix(RESULT)) else { continue };
        if present.contains(&OsString::from(image)) {
            continue;
        }
        let mut head = Vec::new();
        let read = open_plain(folder, name).and_then(|file| file.take(WAITING.len() as u64).read_to_end(&mut head));
        if read.is_ok() && head == WAITING.as_bytes() {
            let _ = rustix::fs::unlinkat(folder, name, rustix::fs::AtFlags::empty());
        }
    }
}

fn mark(found: &Stat) -> Mark {
    (found.st_dev, found.st_ino, found.st_ctime, found.st_ctime_nsec as i64)
}
