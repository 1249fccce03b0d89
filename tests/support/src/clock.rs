//! A wall clock that jumps: Debian's libfaketime in the daemon, which reads the offset from a file at every look.

use std::fs;
use std::path::PathBuf;

use crate::World;
use crate::cache;

/// How far a program's wall clock is off. Its monotonic clock is left alone, as the kernel leaves it.
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// A clock that is right.
    pub fn new(world: &World) -> Self {
        let clock = Self { file: world.home().join("clock") };
        clock.set("+0");
        clock
    }

    /// Sets it to the true time and this much, e.g. `+1d` or `-1d`. It jumps at once.
    pub fn set(&self, offset: &str) {
        let fresh = self.file.with_extension("new");
        fs::write(&fresh, format!("{offset}\n")).expect("a writable folder");
        fs::rename(fresh, &self.file).expect("a writable folder");
    }

    /// The environment of a program that goes by it.
    pub(crate) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
    }
}

/// The library for programs with threads; its folder has the machine's name in it.
fn library() -> PathBuf {
    cache::program("disaster", "faketime");
    let folders = fs::read_dir("/usr/lib").expect("/usr/lib is there").flatten();
    let mut files = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.exists()).expect("Debian's package faketime brings its library")
}
