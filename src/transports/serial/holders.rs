//! Who else has a port open or locked, as far as `/proc` tells, without opening the port.
//!
//! Looking through every process is dear, so it happens only when a port appeared, when inotify says that somebody
//! opened or closed one, and now and then for what inotify cannot see. Processes of other users show their locks
//! (`/proc/locks`) but not their open files; what only an open would tell is told by the question that failed.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::inotify;

use crate::procfs::{self, Node};

/// How often everything is looked through although nothing was noticed.
const BACKSTOP: Duration = Duration::from_secs(60);
/// The same where inotify cannot watch a port.
const BACKSTOP_BLIND: Duration = Duration::from_secs(10);
/// A look-through may take at most one part in so many of the time: ports that are opened all the time stay cheap.
const SHARE: u32 = 100;

/// Keeps track of who holds the ports.
#[derive(Debug)]
pub(super) struct Holders {
    inotify: Option<OwnedFd>,
    watches: BTreeMap<PathBuf, Option<i32>>,
    stale: bool,
    looked: Option<Instant>,
    cost: Duration,
    found: BTreeMap<Node, String>,
}

impl Holders {
    pub(super) fn new() -> Self {
        let inotify = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).ok();
        Self {
            inotify,
            watches: BTreeMap::new(),
            stale: true,
            looked: None,
            cost: Duration::ZERO,
            found: BTreeMap::new(),
        }
    }

    /// Brings the knowledge up to date for these ports, by canonical path, if anything asks for it.
    pub(super) fn refresh(&mut self, ports: &BTreeMap<PathBuf, Node>, now: Instant) {
        self.watch(ports);
        if self.noticed() {
            self.stale = true;
        }
        if ports.is_empty() || !self.due(now) {
            return;
        }
        let found = procfs::holders(&ports.values().copied().collect(), procfs::ours);
        self.found = found.into_iter().map(|(node, process)| (node, process.told())).collect();
        self.stale = false;
        self.looked = Some(now);
        self.cost = now.elapsed();
    }

    /// Who holds a port, as last seen.
    pub(super) fn of(&self, node: &Node) -> Option<&str> {
        self.found.get(node).map(String::as_str)
    }

    fn due(&self, now: Instant) -> bool {
        let Some(looked) = self.looked else { return true };
        let blind = self.watches.values().any(Option::is_none);
        let backstop = if blind { BACKSTOP_BLIND } else { BACKSTOP };
        let age = now.saturating_duration_since(looked);
        age >= backstop || (self.stale && age >= self.cost * SHARE)
    }

    /// Watches exactly these ports. A new one makes everything stale.
    fn watch(&mut self, ports: &BTreeMap<PathBuf, Node>) {
        let gone: Vec<PathBuf> = self.watches.keys().filter(|path| !ports.contains_key(*path)).cloned().collect();
        for path in gone {
            if let (Some(inotify), Some(Some(watch))) = (&self.inotify, self.watches.remove(&path)) {
                // Fails where the node is gone and took its watch along.
                let _ = inotify::remove_watch(inotify, watch);
            }
        }
        let flags = inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE;
        for path in ports.keys() {
            if !self.watches.contains_key(path) {
                let watch = self.inotify.as_ref().and_then(|inotify| inotify::add_watch(inotify, path, flags).ok());
                self.watches.insert(path.clone(), watch);
                self.stale = true;
            }
        }
    }

    /// Forgets a port's watch, because its node was replaced by one of the same name.
    pub(super) fn replaced(&mut self, path: &Path) {
        if let (Some(inotify), Some(Some(watch))) = (&self.inotify, self.watches.remove(path)) {
            let _ = inotify::remove_watch(inotify, watch);
        }
    }

    /// Whether inotify has anything to say; what exactly does not matter.
    fn noticed(&mut self) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let mut buffer = [MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(inotify, &mut buffer);
        let mut any = false;
        while reader.next().is_ok() {
            any = true;
        }
        any
    }
}
