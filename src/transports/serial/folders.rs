//! Tells at once when a port's name comes or goes: by inotify on the folders in which ports lie. The kernel makes the node
//! in `/dev` itself, and udev's links and permissions come after it, each with an event of its own; what inotify cannot see
//! (devpts, network file systems) the next poll finds.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Weak;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tracing::debug;

use super::Shared;

/// How often folders that were not there are looked for, and whether anybody still wants to know is asked.
const LOOK: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// After an event, time for what comes with it: one plug makes a node, several links, and new permissions.
const SETTLE: Duration = Duration::from_millis(20);
/// What can mean another port, or other rights to one.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR);

/// Starts watching these folders; the ports are looked over after each event. Ends with the transport.
pub(super) fn spawn(folders: BTreeSet<PathBuf>, shared: Weak<Shared>) {
    let inotify = match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
        Ok(inotify) => inotify,
        Err(error) => return debug!(%error, "no inotify: ports are found by polling alone"),
    };
    let watcher = Watcher { inotify, folders, watched: BTreeMap::new() };
    let spawned = thread::Builder::new().name("serial-folders".to_owned()).spawn(move || watcher.run(&shared));
    if let Err(error) = spawned {
        debug!(%error, "no thread: ports are found by polling alone");
    }
}

struct Watcher {
    inotify: OwnedFd,
    folders: BTreeSet<PathBuf>,
    /// What is watched, by folder: one that is not there is waited for in the nearest one above.
    watched: BTreeMap<PathBuf, i32>,
}

impl Watcher {
    fn run(mut self, shared: &Weak<Shared>) {
        loop {
            // What came into a folder before it was watched has no event.
            let fresh = self.watch();
            let Some(found) = shared.upgrade() else { return };
            if fresh {
                found.look();
            }
            drop(found);
            let waiting = &mut [PollFd::new(&self.inotify, PollFlags::IN)];
            match rustix::event::poll(waiting, Some(&LOOK)) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return debug!(%error, "inotify ends: ports are found by polling alone"),
            }
            thread::sleep(SETTLE);
            self.drain();
            let Some(shared) = shared.upgrade() else { return };
            shared.look();
        }
    }

    /// Takes what is there; what exactly does not matter, but a folder that went takes its watch along.
    fn drain(&mut self) {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut gone = BTreeSet::new();
        while let Ok(event) = reader.next() {
            if event.events().contains(inotify::ReadFlags::IGNORED) {
                gone.insert(event.wd());
            }
        }
        self.watched.retain(|_, watch| !gone.contains(watch));
    }

    /// Brings the watches up to date; whether there is a new one.
    fn watch(&mut self) -> bool {
        let nearest: BTreeSet<PathBuf> = self.folders.iter().filter_map(|folder| existing(folder)).collect();
        let dropped: Vec<PathBuf> = self.watched.keys().filter(|folder| !nearest.contains(*folder)).cloned().collect();
        for folder in dropped {
            if let Some(watch) = self.watched.remove(&folder) {
                // Fails where the folder is gone and took its watch along.
                let _ = inotify::remove_watch(&self.inotify, watch);
            }
        }
        let before = self.watched.len();
        for folder in nearest {
            if !self.watched.contains_key(&folder)
                && let Ok(watch) = inotify::add_watch(&self.inotify, &folder, EVENTS)
            {
                self.watched.insert(folder, watch);
            }
        }
        self.watched.len() > before
    }
}

/// A folder, or the nearest one above it that is there.
fn existing(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|path| path.is_dir()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_is_waited_for_above() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("serial/by-path");
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect("inotify");
        let mut watcher = Watcher { inotify, folders: BTreeSet::from([below.clone()]), watched: BTreeMap::new() };
        watcher.watch();
        assert_eq!(watcher.watched.keys().collect::<Vec<_>>(), [folder.path()]);
        std::fs::create_dir_all(&below).expect("made");
        watcher.drain();
        watcher.watch();
        assert_eq!(watcher.watched.keys().collect::<Vec<_>>(), [&below]);
        std::fs::remove_dir(&below).expect("removed");
        watcher.drain();
        assert!(watcher.watched.is_empty(), "its watch went with it");
        watcher.watch();
        assert_eq!(watcher.watched.keys().collect::<Vec<_>>(), [&folder.path().join("serial")]);
    }
}
