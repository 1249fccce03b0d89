//! A disk that fails at a chosen change, and one that writes down every change: `tests/world/faultfs.c` in the daemon.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::World;
use crate::cache;

/// How a change fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No space left on device.
    Full,
    /// Input/output error.
    Broken,
    /// Half of a write is written, and told so.
    Half,
}

/// The disk below a daemon's state folder.
pub struct Disk {
    folder: PathBuf,
    control: File,
    file: PathBuf,
    trace: Option<PathBuf>,
}

/// Places of the numbers in the control file: see `faultfs.c`.
const COUNT: u64 = 0;
const FIRST: u64 = 1;
const LAST: u64 = 2;
const HOW: u64 = 3;
const FAILED: u64 = 4;

impl Disk {
    /// A sound one.
    pub fn new(world: &World) -> Self {
        let file = world.home().join("faults");
        fs::write(&file, [0; 40]).expect("a writable folder");
        let control = OpenOptions::new().read(true).write(true).open(&file).expect("our own file");
        Self { folder: world.home().join("state"), control, file, trace: None }
    }

    /// One whose changes are written down.
    pub fn traced(world: &World) -> Self {
        Self { trace: Some(world.home().join("changes")), ..Self::new(world) }
    }

    /// The file that they are written to.
    pub fn trace(&self) -> &Path {
        self.trace.as_deref().expect("a disk whose changes are written down")
    }

    /// Changes so far.
    pub fn changes(&self) -> u64 {
        self.number(COUNT)
    }

    /// Changes that have failed.
    pub fn failed(&self) -> u64 {
        self.number(FAILED)
    }

    /// The n-th change from now on fails, counted from 1, and all after it unless it is to be `once`.
    pub fn fail(&self, nth: u64, fault: Fault, once: bool) {
        let first = self.changes() + nth;
        self.set(HOW, fault as u64 + 1);
        self.set(LAST, if once { first } else { u64::MAX });
        self.set(FIRST, first);
    }

    /// Nothing fails any more.
    pub fn heal(&self) {
        self.set(FIRST, 0);
    }

    fn number(&self, place: u64) -> u64 {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, place * 8).expect("our own file");
        u64::from_ne_bytes(bytes)
    }

    fn set(&self, place: u64, number: u64) {
        self.control.write_all_at(&number.to_ne_bytes(), place * 8).expect("our own file");
    }

    /// The environment of a program that works on it.
    pub(crate) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        let mut all = vec![
            ("LD_PRELOAD", cache::faultfs()),
            ("FAULTFS_DIR", self.folder.clone()),
            ("FAULTFS_CONTROL", self.file.clone()),
        ];
        all.extend(self.trace.clone().map(|trace| ("FAULTFS_TRACE", trace)));
        all
    }
}
