//! Who has a port open or locked, without opening the port.
//!
//! Looking through every process is dear. Processes of other users show their locks (`/proc/locks`) but not their open
//! files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::{major, minor};
use tracing::debug;

use super::process::Process;

/// A process is taken for one of ours when the gateway is at most so many parents away.
const MAX_PARENTS: usize = 16;

/// A port's device number and where its node lies: what open files and locks are told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    /// Device number of the tty.
    pub(crate) rdev: u64,
    /// Device number of the file system with the node.
    pub(crate) dev: u64,
    /// Inode of the node there.
    pub(crate) ino: u64,
}

impl Node {
    /// Of what was found at a port's path.
    pub(crate) fn of(found: &fs::Metadata) -> Self {
        Self { rdev: found.rdev(), dev: found.dev(), ino: found.ino() }
    }
}

/// Who holds one port now, those that `rightly` do left out.
pub(crate) fn holder(node: Node, rightly: impl Fn(u32) -> bool) -> Option<Process> {
    holders(&BTreeSet::from([node]), rightly).remove(&node)
}

/// Who holds these ports, the first one found for each, those that `rightly` do left out.
pub(crate) fn holders(nodes: &BTreeSet<Node>, rightly: impl Fn(u32) -> bool) -> BTreeMap<Node, Process> {
    let table = fs::read_to_string("/proc/locks").unwrap_or_default();
    let open = super::process::ids().flat_map(|pid| open_ports(pid, nodes).into_iter().map(move |node| (node, pid)));
    let mut found = BTreeMap::new();
    for (node, pid) in open.chain(locks(&table, nodes)) {
        if !found.contains_key(&node) && !rightly(pid) {
            found.insert(node, Process::read(pid).unwrap_or_else(|| Process::gone(pid)));
        }
    }
    if !found.is_empty() {
        debug!(?found, "ports are held by others");
    }
    found
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
        // Each instance of devpts counts from 0: containers have ptys of the same numbers.
        let same =
            |node: &&Node| node.rdev == found.rdev() && (slave_index(node.rdev).is_none() || node.dev == found.dev());
        open.extend(nodes.iter().filter(same));
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
pub(crate) fn ours(pid: u32) -> bool {
    let own = std::process::id();
    let parent = |pid: &u32| Process::read(*pid).map(|process| process.parent).filter(|&parent| parent > 1);
    std::iter::successors(Some(pid), parent).take(MAX_PARENTS).any(|at| at == own)
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
