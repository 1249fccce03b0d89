//! The drop folder on the disk: its folders, what is under way in it, and what came of that. Blocking.
//!
//! ```text
//! DROP/DEVICE/IMAGE, DROP/by-board/BOARD/IMAGE ──► DROP/under-way/ID/{offer.json, IMAGE ...} ──► .../done|failed/IMAGE
//!                                                                                         └──► .../IMAGE.result
//! ```
//! A file leaves its folder before it is offered, by a rename that no crash can halve: what lies in a folder was never offered,
//! and what is under way is never offered as something new. Whoever may write there is trusted with boards, not with this machine:
//! everything goes by open folders, no link is followed, and nothing but a plain file is opened.

mod take;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::names::{BY_BOARD, DONE, FAILED, RESULT, SIDECARS, UNDER_WAY, shown};
use super::offer::Stage;
use crate::device::Sha256Digest;

pub(super) use take::{Look, Looked, Mark, Taken};

/// Folders that others may lay files into: what is made there belongs to the group, and only who laid it may take it away.
const SHARED: u32 = 0o3770;
/// What lies in a folder gets the folder's group.
const SET_GROUP: u32 = 0o2000;
/// Folders that others may look into.
const SHOWN: u32 = 0o2750;
/// Ours alone.
const PRIVATE: u32 = 0o700;
/// What is noted of an offer, in its folder.
const RECORD: &str = "offer.json";
/// Longest that it may be, in bytes.
const MAX_RECORD: u64 = 4 << 20;
/// Names that are looked at in one folder.
const MAX_ENTRIES: usize = 1024;
/// Images that are kept in each of the folders `done` and `failed`.
const KEPT: usize = 16;
/// Results that are kept in one folder.
const RESULTS: usize = 64;
/// Further names that are tried for a file whose name is taken.
const MAX_TWINS: usize = 99;

/// A folder that files are laid into.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "of", content = "folder")]
pub(super) enum Place {
    /// The drop folder itself, which takes no images.
    Root,
    /// The folder of the boards' folders, which takes none either.
    Boards,
    /// Of one device.
    Device(String),
    /// Of all devices of a type.
    Board(String),
}

/// What is noted of an image that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Its file name.
    pub(super) image: String,
    /// Where it was laid.
    pub(super) place: Place,
    /// Length in bytes.
    pub(super) size: u64,
    /// Its digest.
    pub(super) sha256: Sha256Digest,
    /// Whether a file beside it tells a digest, too: the device is to hold it against that.
    pub(super) has_digest: bool,
    /// Seconds since 1970 when it was taken up.
    pub(super) since: i64,
    /// To whom it goes.
    pub(super) targets: Vec<TargetRecord>,
}

/// How far it is at one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TargetRecord {
    /// The endpoint name.
    pub(super) endpoint: String,
    /// What people call it.
    pub(super) device: String,
    /// How far.
    pub(super) stage: Stage,
    /// What came of it.
    pub(super) over: Option<Over>,
}

/// What came of an image at a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Over {
    /// Whether it runs there, proven.
    pub(super) ok: bool,
    /// For people.
    pub(super) says: String,
    /// The version that the device told afterwards.
    pub(super) version: Option<String>,
}

impl Place {
    /// Below the drop folder.
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Self::Root => PathBuf::from("."),
            Self::Boards => PathBuf::from(BY_BOARD),
            Self::Device(name) => PathBuf::from(name),
            Self::Board(name) => Path::new(BY_BOARD).join(name),
        }
    }
}

/// The drop folder, open.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    folder: OwnedFd,
}

impl Root {
    /// Opens it, and makes what is missing.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(above) = path.parent() {
            std::fs::create_dir_all(above)?;
        }
        make(rustix::fs::CWD, path.as_os_str(), SHARED)?;
        // The configuration names it: where it is a link, that is whoever wrote it who follows it.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        let root = Self { path: path.to_owned(), folder };
        make(&root.folder, OsStr::new(BY_BOARD), SHARED)?;
        make(&root.folder, OsStr::new(UNDER_WAY), PRIVATE)?;
        Ok(root)
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of an offer.
    pub(super) fn offer_path(&self, id: &str) -> PathBuf {
        self.path.join(UNDER_WAY).join(id)
    }

    /// Makes a folder for files to be laid into.
    pub(super) fn make(&self, place: &Place) -> io::Result<()> {
        match place {
            Place::Root | Place::Boards => Ok(()),
            Place::Device(name) => make(&self.folder, OsStr::new(name), SHARED),
            Place::Board(name) => make(open(&self.folder, BY_BOARD)?, OsStr::new(name), SHARED),
        }
    }

    /// Removes the folder of a device that is forgotten, where nothing lies in it.
    pub(super) fn remove(&self, place: &Place) -> io::Result<()> {
        match place {
            Place::Device(name) => Ok(rustix::fs::unlinkat(&self.folder, name, AtFlags::REMOVEDIR)?),
            Place::Root | Place::Boards | Place::Board(_) => Ok(()),
        }
    }

    /// All folders that files may be laid into, up to a number of them.
    pub(super) fn places(&self, most: usize) -> Vec<Place> {
        let ours = |name: &str| [BY_BOARD, UNDER_WAY, DONE, FAILED].contains(&name) || name.starts_with('.');
        let devices = folders(&self.folder).into_iter().filter(|name| !ours(name)).map(Place::Device);
        let boards = open(&self.folder, BY_BOARD).map(|boards| folders(&boards)).unwrap_or_default();
        let boards = boards.into_iter().filter(|name| name != DONE && name != FAILED).map(Place::Board);
        [Place::Root, Place::Boards].into_iter().chain(devices).chain(boards).take(most).collect()
    }

    /// What is under way since before the start. What was about to be taken up is left where it was laid.
    pub(super) fn load(&self) -> Vec<(String, Record)> {
        let Ok(under_way) = open(&self.folder, UNDER_WAY) else { return Vec::new() };
        let mut loaded = Vec::new();
        for id in folders(&under_way) {
            match load(&under_way, &id) {
                Ok(Loaded::UnderWay(record)) => loaded.push((id, record)),
                Ok(Loaded::NotMoved(record)) => {
                    if let Err(error) = self.give_back(&under_way, &id, &record) {
                        let path = self.offer_path(&id);
                        tracing::warn!(path = %path.display(), %error, "what lay beside an image cannot be put back there");
                    }
                }
                Ok(Loaded::Nothing) => discard(&under_way, &id),
                Err(error) => {
                    tracing::warn!(path = %self.offer_path(&id).display(), %error, "cannot be read, and is left alone");
                }
            }
        }
        loaded.sort_by_key(|(_, record)| record.since);
        loaded
    }

    /// What lies beside an image was about to be moved with it: it goes back to the image, unless something newer lies there.
    fn give_back(&self, under_way: &OwnedFd, id: &str, record: &Record) -> io::Result<()> {
        let own = open(under_way, id)?;
        let beside = SIDECARS.map(|ending| with(OsStr::new(&record.image), ending));
        for name in beside.iter().filter(|name| stat(&own, name).is_ok()) {
            self.make(&record.place)?;
            let folder = self.folder_of(&record.place)?;
            match stat(&folder, name) {
                Ok(_) => rustix::fs::unlinkat(&own, name, AtFlags::empty())?,
                Err(_) => rustix::fs::renameat(&own, name, &folder, name)?,
            }
        }
        discard(under_way, id);
        Ok(())
    }

    /// Notes how far an offer is.
    pub(super) fn save(&self, id: &str, record: &Record) -> io::Result<()> {
        save(&open(&open(&self.folder, UNDER_WAY)?, id)?, record)
    }

    /// Ends an offer: the image goes where it belongs, the result is written beside where it was laid.
    pub(super) fn finish(&self, id: &str, record: &Record, ok: bool, result: &str) -> io::Result<()> {
        let under_way = open(&self.folder, UNDER_WAY)?;
        let from = open(&under_way, id)?;
        let shelf = |folder: OwnedFd| Ok((shelf(&folder, if ok { DONE } else { FAILED })?, folder));
        let place = self.make(&record.place).and_then(|()| self.folder_of(&record.place)).and_then(shelf);
        // Who took the folder away meanwhile finds the image in the drop folder's own.
        let (to, folder) = place.or_else(|_| self.folder_of(&Place::Root).and_then(shelf))?;
        let image = OsStr::new(&record.image);
        let name = move_aside(&from, image, &to, &record.image)?;
        for ending in SIDECARS {
            // Most images have none.
            let _ = rustix::fs::renameat(&from, with(image, ending), &to, with(&name, ending));
        }
        write_result(&folder, &record.image, result)?;
        prune_images(&to);
        prune_results(&folder);
        discard(&under_way, id);
        Ok(())
    }

    fn folder_of(&self, place: &Place) -> io::Result<OwnedFd> {
        match place {
            Place::Root => open(&self.folder, "."),
            Place::Boards => open(&self.folder, BY_BOARD),
            Place::Device(name) => open(&self.folder, name),
            Place::Board(name) => open(open(&self.folder, BY_BOARD)?, name),
        }
    }
}

/// Opens a folder that is no link.
fn open(at: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

/// Makes a folder, unless it is there.
fn make(at: impl AsFd, name: &OsStr, mode: u32) -> io::Result<()> {
    match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o700)) {
        // The mask of the process counts for nothing here.
        Ok(()) => {
            let set = |mode| rustix::fs::chmodat(&at, name, Mode::from_raw_mode(mode), AtFlags::empty());
            match set(mode) {
                // RestrictSUIDSGID= of the service forbids handing on the group: files keep that of who lays them there.
                Err(Errno::PERM) => Ok(set(mode & !SET_GROUP)?),
                done => Ok(done?),
            }
        }
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `done` or `failed` in a folder.
fn shelf(folder: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    make(&folder, OsStr::new(name), SHOWN)?;
    open(folder, name)
}

/// Names in a folder, up to a bound.
fn entries(folder: impl AsFd) -> io::Result<Vec<OsString>> {
    let dots = |name: &OsString| name == "." || name == "..";
    let names =
        Dir::read_from(folder)?.flatten().map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec()));
    Ok(names.filter(|name| !dots(name)).take(MAX_ENTRIES).collect())
}

/// The names of folders in a folder; what is not UTF-8 is nobody's name.
fn folders(folder: impl AsFd) -> Vec<String> {
    let names = entries(&folder).unwrap_or_default().into_iter().filter_map(|name| name.into_string().ok());
    names.filter(|name| stat(&folder, OsStr::new(name)).is_ok_and(|stat| is(&stat, FileType::Directory))).collect()
}

/// What a name is, itself and not what it leads to.
fn stat(folder: impl AsFd, name: &OsStr) -> io::Result<Stat> {
    Ok(rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// Opens a plain file for reading.
fn open_plain(folder: impl AsFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no plain file")),
    }
}

fn with(name: &OsStr, ending: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(ending);
    name
}

/// What is found of an offer.
enum Loaded {
    UnderWay(Record),
    /// Its image was not moved there any more.
    NotMoved(Record),
    /// Nothing that would be led on.
    Nothing,
}

/// Reads what is noted of an offer.
fn load(under_way: &OwnedFd, id: &str) -> io::Result<Loaded> {
    let folder = open(under_way, id)?;
    let mut text = Vec::new();
    match open_plain(&folder, OsStr::new(RECORD)) {
        Ok(file) => file.take(MAX_RECORD).read_to_end(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Nothing),
        Err(error) => return Err(error),
    };
    let mut record: Record = serde_json::from_slice(&text)?;
    let there = stat(&folder, OsStr::new(&record.image)).is_ok_and(|stat| is(&stat, FileType::RegularFile));
    if there && record.size == 0 {
        // A restart came between the move and the look at what was moved.
        (record.size, record.sha256) = take::measured(&folder, OsStr::new(&record.image), u64::MAX)?;
        save(&folder, &record)?;
    }
    Ok(match there {
        true if !record.targets.is_empty() => Loaded::UnderWay(record),
        // One that has ended anywhere was there, and was moved on.
        false if record.targets.iter().all(|target| target.over.is_none()) => Loaded::NotMoved(record),
        _ => Loaded::Nothing,
    })
}

fn save(folder: &OwnedFd, record: &Record) -> io::Result<()> {
    write(folder.as_fd(), OsStr::new(RECORD), &serde_json::to_vec(record)?, 0o600)
}

/// Writes a file whole or not at all.
fn write(folder: BorrowedFd<'_>, name: &OsStr, bytes: &[u8], mode: u32) -> io::Result<()> {
    const FRESH: &str = ".nuncio-new";
    // Left behind by a crash, or laid there by somebody.
    let _ = rustix::fs::unlinkat(folder, FRESH, AtFlags::empty());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(folder, FRESH, flags, Mode::from_raw_mode(mode))?);
    // Whatever the umask of the service: who may drop images may read what came of them.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    rustix::fs::renameat(folder, FRESH, folder, name)?;
    rustix::fs::fsync(folder)?;
    Ok(())
}

/// What is to be read beside an image.
fn write_result(folder: &OwnedFd, image: &str, text: &str) -> io::Result<()> {
    write(folder.as_fd(), OsStr::new(&format!("{image}{RESULT}")), text.as_bytes(), 0o640)
}

/// Moves a file under its own name, or another one where that is taken; which.
fn move_aside(from: &OwnedFd, name: &OsStr, to: &OwnedFd, wanted: &str) -> io::Result<OsString> {
    for twin in 1..=MAX_TWINS {
        let wanted = if twin == 1 { wanted.to_owned() } else { format!("{twin}-{wanted}") };
        let moved = match rustix::fs::renameat_with(from, name, to, wanted.as_str(), RenameFlags::NOREPLACE) {
            // Not every file system knows how.
            Err(Errno::INVAL | Errno::NOSYS) if stat(to, OsStr::new(&wanted)).is_err() => {
                rustix::fs::renameat(from, name, to, wanted.as_str())
            }
            Err(Errno::INVAL | Errno::NOSYS) => Err(Errno::EXIST),
            moved => moved,
        };
        match moved {
            Ok(()) => return Ok(wanted.into()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Removes a folder that holds nothing but what is noted.
fn discard(under_way: &OwnedFd, id: &str) {
    if let Ok(folder) = open(under_way, id) {
        let _ = rustix::fs::unlinkat(&folder, RECORD, AtFlags::empty());
    }
    if let Err(error) = rustix::fs::unlinkat(under_way, id, AtFlags::REMOVEDIR) {
        tracing::debug!(id, %error, "the folder of an offer stays");
    }
}

/// The oldest images go, and what lies beside them.
fn prune_images(folder: &OwnedFd) {
    let is_beside = |name: &OsString| SIDECARS.iter().any(|ending| name.as_bytes().ends_with(ending.as_bytes()));
    for name in oldest(folder, KEPT, |name| !is_beside(name)) {
        let _ = rustix::fs::unlinkat(folder, &name, AtFlags::empty());
        for ending in SIDECARS {
            let _ = rustix::fs::unlinkat(folder, with(&name, ending), AtFlags::empty());
        }
    }
}

fn prune_results(folder: &OwnedFd) {
    for name in oldest(folder, RESULTS, |name| name.as_bytes().ends_with(RESULT.as_bytes())) {
        let _ = rustix::fs::unlinkat(folder, &name, AtFlags::empty());
    }
}

/// The plain files beyond a number of the newest, by when they were moved there.
fn oldest(folder: &OwnedFd, keep: usize, counts: impl Fn(&OsString) -> bool) -> Vec<OsString> {
    let names = entries(folder).unwrap_or_default().into_iter().filter(counts);
    let mut files: Vec<(i64, i64, OsString)> = names
        .filter_map(|name| {
            let stat = stat(folder, &name).ok().filter(|stat| !is(stat, FileType::Directory))?;
            Some((stat.st_ctime, stat.st_ctime_nsec as i64, name))
        })
        .collect();
    files.sort();
    let surplus = files.len().saturating_sub(keep);
    files.into_iter().take(surplus).map(|(_, _, name)| name).collect()
}

#[cfg(test)]
mod tests;
