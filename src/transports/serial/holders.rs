//! Who else has a port open or locked, as far as `/proc` tells, without opening the port.
//!
//! Looking through every process is dear, so it happens only when a port appeared, when inotify says that somebody
//! opened or closed one, and now and then for what inotify cannot see. Processes of other users show their locks
//! (`/proc/locks`) but not their open files; what only an open would tell is told by the question that failed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{inotify, major, minor};
use tracing::debug;

/// How often everything is looked through although nothing was noticed.
const BACKSTOP: Duration = Duration::from_secs(60);
/// The same where inotify cannot watch a port.
const BACKSTOP_BLIND: Duration = Duration::from_secs(10);
/// A look-through may take at most one part in so many of the time: ports that are opened all the time stay cheap.
const SHARE: u32 = 100;
/// A process is taken for one of ours when the gateway is at most so many parents away.
const MAX_PARENTS: usize = 16;

/// A port's device number and where its node lies: what open files and locks are told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node {
    /// Device number of the tty.
    pub(super) rdev: u64,
    /// Device number of the file system with the node.
    pub(super) dev: u64,
    /// Inode of the node there.
    pub(super) ino: u64,
}

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
        self.found = look(&ports.values().copied().collect());
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

/// Who holds one port now; for a port that was just refused.
pub(super) fn holder(node: Node) -> Option<String> {
    look(&BTreeSet::from([node])).remove(&node)
}

/// Everybody who holds one of these ports, the first one found for each.
fn look(nodes: &BTreeSet<Node>) -> BTreeMap<Node, String> {
    let mut pids: BTreeMap<Node, u32> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        for node in open_ports(pid, nodes) {
            if !pids.contains_key(&node) && !ours(pid) {
                pids.insert(node, pid);
            }
        }
    }
    if let Ok(table) = fs::read_to_string("/proc/locks") {
        for (node, pid) in locks(&table, nodes) {
            // A lock outlives the process that took it while another one inherited the file.
            if !pids.contains_key(&node) && !ours(pid) && Path::new(&format!("/proc/{pid}")).exists() {
                pids.insert(node, pid);
            }
        }
    }
    if !pids.is_empty() {
        debug!(?pids, "ports are held by others");
    }
    pids.into_iter().map(|(node, pid)| (node, name(pid))).collect()
}

/// Which of these ports a process has open. Whoever has the master end of a pty is the device behind it and no holder.
fn open_ports(pid: u32, nodes: &BTreeSet<Node>) -> BTreeSet<Node> {
    let mut open: BTreeSet<Node> = BTreeSet::new();
    let mut masters: BTreeSet<u32> = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_file = fs::read_link(&path).is_ok_and(|target| target.is_absolute());
        let Some(found) = is_file.then(|| fs::metadata(&path).ok()).flatten() else { continue };
        if !found.file_type().is_char_device() {
            continue;
        }
        if (major(found.rdev()), minor(found.rdev())) == (5, 2) {
            masters.extend(pty_index(pid, &entry.file_name().to_string_lossy()));
        }
        open.extend(nodes.iter().filter(|node| node.rdev == found.rdev()));
    }
    open.retain(|node| slave_index(node.rdev).is_none_or(|index| !masters.contains(&index)));
    open
}

/// The number of the pty whose master end is this descriptor.
fn pty_index(pid: u32, descriptor: &str) -> Option<u32> {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")).ok()?;
    info.lines().find_map(|line| line.strip_prefix("tty-index:"))?.trim().parse().ok()
}

/// The number of the pty whose slave end has this device number.
fn slave_index(rdev: u64) -> Option<u32> {
    let block = major(rdev).checked_sub(136).filter(|&block| block < 8)?;
    Some(block * 256 + minor(rdev))
}

/// The `flock`s of these nodes in `/proc/locks`, with the process that took each.
fn locks(table: &str, nodes: &BTreeSet<Node>) -> Vec<(Node, u32)> {
    table.lines().filter_map(|line| lock(line, nodes)).collect()
}

/// One line: `1: FLOCK  ADVISORY  WRITE 4711 00:2f:12 0 EOF`; device in hexadecimal, inode in decimal.
fn lock(line: &str, nodes: &BTreeSet<Node>) -> Option<(Node, u32)> {
    let mut fields = line.split_whitespace().skip(1);
    let kind = fields.next()?;
    let pid = fields.nth(2)?.parse().ok()?;
    let mut place = fields.next()?.split(':');
    let major = u32::from_str_radix(place.next()?, 16).ok()?;
    let minor = u32::from_str_radix(place.next()?, 16).ok()?;
    let ino: u64 = place.next()?.parse().ok()?;
    let dev = rustix::fs::makedev(major, minor);
    let node = nodes.iter().find(|node| node.dev == dev && node.ino == ino)?;
    (kind == "FLOCK").then_some((*node, pid))
}

/// Whether a process is the gateway or something it started: a tool that flashes holds its port rightly.
fn ours(pid: u32) -> bool {
    let own = std::process::id();
    let mut at = pid;
    for _ in 0..MAX_PARENTS {
        if at == own {
            return true;
        }
        match parent(at) {
            Some(next) if next > 1 => at = next,
            _ => return false,
        }
    }
    false
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything, brackets too.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name: String = name.trim().chars().filter(|letter| !letter.is_control()).collect();
    if name.is_empty() { format!("pid {pid}") } else { format!("{name} (pid {pid})") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NODE: Node = Node { rdev: 0, dev: 0x2f, ino: 12 };

    #[test]
    fn a_lock_is_told_by_device_and_inode() {
        let table = "1: POSIX  ADVISORY  WRITE 99 00:2f:12 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 4711 00:2f:12 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 5 00:2f:13 0 EOF\n2: -> FLOCK\n";
        assert_eq!(locks(table, &BTreeSet::from([NODE])), [(NODE, 4711)]);
    }

    #[test]
    fn the_gateway_itself_is_ours_and_its_parent_is_not() {
        assert!(ours(std::process::id()));
        assert!(!ours(std::os::unix::process::parent_id()));
    }

    proptest! {
        #[test]
        fn any_lock_table_is_safe(table in ".{0,200}") {
            locks(&table, &BTreeSet::from([NODE]));
        }
    }
}
