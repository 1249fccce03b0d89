//! What a disk may hold after the power was cut: the changes that a traced [`Disk`](crate::Disk) wrote down are made again,
//! those that were synced as they were, those that were not as chance has it.
//!
//! A file's bytes are safe once it was synced. So is the name that it was made with, and the folders above: every file
//! system that Linux is run on sees to that. Renames, links and removals are safe once their folder was synced. Of the rest
//! each change is kept, dropped or, where it is a write, cut short, whatever became of the others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which changes that were not synced are lost.
#[derive(Debug, Clone)]
pub enum Loss {
    /// All.
    Everything,
    /// Some, by this seed.
    Some(u64),
}

/// What was done below a folder, in order.
pub struct Changes {
    folder: PathBuf,
    all: Vec<Change>,
}

#[derive(Debug, Clone)]
struct Change {
    what: u8,
    path: PathBuf,
    second: PathBuf,
    offset: u64,
    bytes: Vec<u8>,
}

/// Kinds of changes: see `faultfs.c`.
const CREATE: u8 = 1;
const WRITE: u8 = 2;
const TRUNCATE: u8 = 3;
const RENAME: u8 = 4;
const UNLINK: u8 = 5;
const MKDIR: u8 = 6;
const RMDIR: u8 = 7;
const SYNC: u8 = 8;
const LINK: u8 = 9;

/// Bytes that a disk writes at once.
const SECTOR: usize = 512;

impl Changes {
    /// Reads the trace of what was done below `folder`.
    pub fn read(trace: &Path, folder: &Path) -> Self {
        let bytes = fs::read(trace).expect("the trace of a disk");
        let mut rest = bytes.as_slice();
        let mut all = Vec::new();
        // The last record may be half of one.
        while let Some(change) = take_change(&mut rest) {
            all.push(change);
        }
        Self { folder: folder.to_owned(), all }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Makes the folder what it may be when the power was cut after the first `count` changes.
    pub fn rebuild(&self, count: usize, loss: &Loss) {
        let mut disk = Model::default();
        disk.safe.insert(self.folder.clone(), Name::Folder);
        disk.live = disk.safe.clone();
        self.all.iter().take(count).for_each(|change| disk.make(change));
        disk.cut(loss);
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder).expect("a folder of ours");
        }
        for (path, name) in &disk.safe {
            match name {
                Name::Folder => fs::create_dir_all(path),
                Name::File(number) => fs::write(path, &disk.files[*number].bytes),
            }
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

fn take_change(rest: &mut &[u8]) -> Option<Change> {
    let (&what, after) = rest.split_first()?;
    let mut at = after;
    let path = take_text(&mut at)?;
    let second = take_text(&mut at)?;
    let offset = u64::from_ne_bytes(*at.first_chunk()?);
    at = &at[8..];
    let bytes = take_bytes(&mut at)?;
    *rest = at;
    Some(Change { what, path, second, offset, bytes })
}

fn take_text(at: &mut &[u8]) -> Option<PathBuf> {
    take_bytes(at).map(|bytes| String::from_utf8(bytes).expect("paths of ours").into())
}

fn take_bytes(at: &mut &[u8]) -> Option<Vec<u8>> {
    let length = u32::from_ne_bytes(*at.first_chunk()?) as usize;
    let bytes = at.get(4..4 + length)?.to_vec();
    *at = &at[4 + length..];
    Some(bytes)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Folder,
    /// By its place in [`Model::files`].
    File(usize),
}

/// A file: what is safe, and what was done to it since.
#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    edits: Vec<Edit>,
}

#[derive(Debug, Clone)]
enum Edit {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// A change of names that was not synced.
#[derive(Debug, Clone)]
enum Naming {
    Put(PathBuf, Name),
    Move(PathBuf, PathBuf, Name),
    Remove(PathBuf),
}

/// The disk as programs see it, and as it is safe.
#[derive(Debug, Default)]
struct Model {
    files: Vec<Content>,
    live: BTreeMap<PathBuf, Name>,
    safe: BTreeMap<PathBuf, Name>,
    namings: Vec<Naming>,
}

impl Model {
    fn make(&mut self, change: &Change) {
        let Change { what, path, second, offset, bytes } = change;
        let at = usize::try_from(*offset).expect("files of ours are small");
        match *what {
            CREATE => drop(self.create(path)),
            MKDIR => self.name(Naming::Put(path.clone(), Name::Folder)),
            WRITE => self.edit(path, Edit::Write(at, bytes.clone())),
            TRUNCATE => self.edit(path, Edit::Length(at)),
            UNLINK | RMDIR => self.name(Naming::Remove(path.clone())),
            LINK => {
                if let Some(name) = self.live.get(path).copied() {
                    self.name(Naming::Put(second.clone(), name));
                }
            }
            RENAME => {
                // What somebody else has written is not safe yet.
                let name = self.live.get(path).copied().unwrap_or_else(|| {
                    let name = self.create(path);
                    self.edit(path, Edit::Write(0, bytes.clone()));
                    name
                });
                self.name(Naming::Move(path.clone(), second.clone(), name));
            }
            SYNC => self.sync(path),
            other => panic!("an unknown kind of change: {other}"),
        }
    }

    fn create(&mut self, path: &Path) -> Name {
        self.files.push(Content::default());
        let name = Name::File(self.files.len() - 1);
        self.name(Naming::Put(path.to_owned(), name));
        name
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.live);
        self.namings.push(naming);
    }

    fn edit(&mut self, path: &Path, edit: Edit) {
        // A file that has lost its name is nobody's any more.
        if let Some(Name::File(number)) = self.live.get(path) {
            self.files[*number].edits.push(edit);
        }
    }

    fn sync(&mut self, path: &Path) {
        match self.live.get(path).copied() {
            Some(Name::Folder) => self.settle(|naming| naming.is_in(path)),
            Some(Name::File(number)) => {
                let file = &mut self.files[number];
                let edits = std::mem::take(&mut file.edits);
                edits.iter().for_each(|edit| edit.apply(&mut file.bytes));
                let ours = Name::File(number);
                self.settle(|naming| match naming {
                    Naming::Put(_, name) if *name == ours => true,
                    Naming::Put(folder, Name::Folder) => path.starts_with(folder),
                    _ => false,
                });
            }
            None => {}
        }
    }

    /// These changes of names are safe now.
    fn settle(&mut self, which: impl Fn(&Naming) -> bool) {
        let (safe, open) = std::mem::take(&mut self.namings).into_iter().partition::<Vec<_>, _>(which);
        safe.iter().for_each(|naming| naming.apply(&mut self.safe));
        self.namings = open;
    }

    /// The power goes.
    fn cut(&mut self, loss: &Loss) {
        let Loss::Some(seed) = loss else { return };
        let mut chance = fastrand::Rng::with_seed(*seed);
        for naming in std::mem::take(&mut self.namings) {
            if chance.bool() {
                naming.apply(&mut self.safe);
            }
        }
        // What is in a folder that was lost is lost; a folder comes before what is in it.
        let mut left = BTreeMap::new();
        for (path, name) in std::mem::take(&mut self.safe) {
            let above = path.parent().and_then(|above| left.get(above));
            if left.is_empty() || above == Some(&Name::Folder) {
                left.insert(path, name);
            }
        }
        self.safe = left;
        for file in &mut self.files {
            for edit in std::mem::take(&mut file.edits) {
                match (chance.u8(..3), edit) {
                    (0, _) => {}
                    (1, Edit::Write(at, mut bytes)) => {
                        let kept = chance.usize(..=bytes.len());
                        // Mostly as disks write.
                        let kept = if chance.u8(..4) == 0 { kept } else { kept / SECTOR * SECTOR };
                        bytes.truncate(kept);
                        Edit::Write(at, bytes).apply(&mut file.bytes);
                    }
                    (_, edit) => edit.apply(&mut file.bytes),
                }
            }
        }
    }
}

impl Edit {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                let end = at + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*at..end].copy_from_slice(bytes);
            }
            Self::Length(length) => file.resize(*length, 0),
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Name>) {
        match self {
            Self::Put(path, name) => drop(names.insert(path.clone(), *name)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Move(from, to, name) => {
                if names.get(from) == Some(name) {
                    names.remove(from);
                }
                names.insert(to.clone(), *name);
            }
        }
    }

    /// Whether this folder's sync makes it safe.
    fn is_in(&self, folder: &Path) -> bool {
        let lies = |path: &PathBuf| path.parent() == Some(folder);
        match self {
            Self::Put(path, _) | Self::Remove(path) => lies(path),
            Self::Move(from, to, _) => lies(from) || lies(to),
        }
    }
}
