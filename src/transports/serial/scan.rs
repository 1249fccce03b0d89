//! One look over the ports: which are there, under which names, what they are, whether they can be used; and what is
//! different from the look before.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use super::Shared;
use super::access;
use super::holders::Holders;
use crate::device::{Access, Evidence, Link, LinkReport, UsbIds};
use crate::procfs::Node;
use crate::transports::Event;
use crate::transports::patterns::Patterns;
use crate::transports::sysfs::{self, Stamp};

/// How often USB descriptors are read again although nothing points to a change.
const REREAD: Duration = Duration::from_secs(10);

/// Looks at the ports again and again.
#[derive(Debug)]
pub(super) struct Scanner {
    /// Links of `[[device]]` entries, in their order: their names win.
    links: Vec<PathBuf>,
    watch: Patterns,
    shared: Arc<Shared>,
    /// What `deny` names at this look.
    denied: BTreeSet<PathBuf>,
    holders: Holders,
    descriptors: BTreeMap<PathBuf, Descriptors>,
    seen: BTreeMap<Link, Seen>,
}

/// What was read of a port's USB device, and when it holds.
#[derive(Debug)]
struct Descriptors {
    node: Node,
    stamp: Stamp,
    read: Instant,
    ids: Option<UsbIds>,
}

/// A port as reported.
#[derive(Debug)]
struct Seen {
    canonical: PathBuf,
    node: Node,
    report: LinkReport,
}

/// A port as found: one node, however many names.
#[derive(Debug)]
struct Found {
    node: Node,
    /// The name that won first, the others after it.
    names: Vec<PathBuf>,
}

impl Scanner {
    pub(super) fn new(links: Vec<PathBuf>, watch: Patterns, shared: Arc<Shared>) -> Self {
        Self {
            links,
            watch,
            shared,
            denied: BTreeSet::new(),
            holders: Holders::new(),
            descriptors: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Looks once. Takes under a millisecond for ten ports, unless processes have to be looked through.
    pub(super) fn look(&mut self, now: Instant) -> Vec<Event> {
        let found = self.find();
        self.denied = self.shared.denied_nodes();
        let nodes = found.iter().map(|(canonical, found)| (canonical.clone(), found.node)).collect();
        for seen in self.seen.values() {
            if nodes_differ(&nodes, seen) {
                self.holders.replaced(&seen.canonical);
            }
        }
        self.holders.refresh(&nodes, now);
        self.descriptors.retain(|canonical, _| found.contains_key(canonical));
        let seen = found.into_iter().map(|(canonical, found)| self.report(canonical, found, now));
        let seen: BTreeMap<Link, Seen> = seen.map(|seen| (seen.report.link.clone(), seen)).collect();
        let events = changes(&self.seen, &seen);
        self.seen = seen;
        events
    }

    /// The ports by canonical path.
    fn find(&self) -> BTreeMap<PathBuf, Found> {
        let mut ports: BTreeMap<PathBuf, Found> = BTreeMap::new();
        for name in self.links.iter().cloned().chain(self.watch.expand()) {
            let Ok(canonical) = fs::canonicalize(&name) else { continue };
            if let Some(port) = ports.get_mut(&canonical) {
                if !port.names.contains(&name) {
                    port.names.push(name);
                }
                continue;
            }
            let Ok(found) = fs::metadata(&canonical) else { continue };
            if found.file_type().is_char_device() {
                let node = Node::of(&found);
                ports.insert(canonical, Found { node, names: vec![name] });
            }
        }
        ports
    }

    fn report(&mut self, canonical: PathBuf, found: Found, now: Instant) -> Seen {
        let ids = self.descriptors(&canonical, &found, now);
        let link = found.names[0].clone();
        let access = self.access(&canonical, &found, now);
        let others = found.names.into_iter().skip(1);
        let aliases = std::iter::once(canonical.clone()).chain(others).filter(|name| *name != link);
        let mut unique: Vec<PathBuf> = Vec::new();
        aliases.for_each(|name| {
            if !unique.contains(&name) {
                unique.push(name);
            }
        });
        let report = LinkReport {
            link: Link::Serial(link),
            aliases: unique,
            access,
            evidence: ids.map(Evidence::Usb).into_iter().collect(),
            signal: None,
        };
        Seen { canonical, node: found.node, report }
    }

    fn descriptors(&mut self, canonical: &Path, found: &Found, now: Instant) -> Option<UsbIds> {
        let paths = std::iter::once(canonical).chain(found.names.iter().map(PathBuf::as_path));
        let (folder, stamp) = sysfs::device_folder(paths)?;
        if let Some(known) = self.descriptors.get(canonical) {
            let fresh = now.saturating_duration_since(known.read) < REREAD;
            if fresh && known.node == found.node && known.stamp == stamp {
                return known.ids.clone();
            }
        }
        let ids = sysfs::usb_ids(&folder);
        let known = Descriptors { node: found.node, stamp, read: now, ids: ids.clone() };
        self.descriptors.insert(canonical.to_owned(), known);
        ids
    }

    fn access(&self, canonical: &Path, found: &Found, now: Instant) -> Access {
        let mut names = std::iter::once(canonical).chain(found.names.iter().map(PathBuf::as_path));
        if self.denied.contains(canonical) || names.any(|name| self.shared.deny.matches(name)) {
            return Access::Denied;
        }
        if !access::permitted(canonical) {
            return access::not_permitted(canonical);
        }
        if let Some(holder) = self.holders.of(&found.node) {
            return access::busy(&found.names[0], Some(holder));
        }
        self.shared.refusal(&found.names[0], now).unwrap_or(Access::Usable)
    }
}

/// Whether a port's path leads to another node now.
fn nodes_differ(nodes: &BTreeMap<PathBuf, Node>, seen: &Seen) -> bool {
    nodes.get(&seen.canonical).is_some_and(|node| *node != seen.node)
}

/// What to tell: first what went, then what is different, then what came.
fn changes(before: &BTreeMap<Link, Seen>, after: &BTreeMap<Link, Seen>) -> Vec<Event> {
    let mut vanished = Vec::new();
    let mut rest = Vec::new();
    for (link, old) in before {
        match after.get(link) {
            None => vanished.push(Event::Vanished(link.clone())),
            // The same path with another node: it went and came back between two looks.
            Some(new) if new.canonical == old.canonical && new.node != old.node => {
                vanished.push(Event::Vanished(link.clone()));
                rest.push(Event::Appeared(new.report.clone()));
            }
            Some(new) if new.report != old.report => rest.push(Event::Changed(new.report.clone())),
            Some(_) => {}
        }
    }
    let appeared = after.iter().filter(|(link, _)| !before.contains_key(*link));
    rest.extend(appeared.map(|(_, new)| Event::Appeared(new.report.clone())));
    vanished.append(&mut rest);
    vanished.iter().for_each(log);
    vanished
}

fn log(event: &Event) {
    match event {
        Event::Appeared(report) => info!(link = %report.link, access = ?report.access, "port appeared"),
        Event::Changed(report) => info!(link = %report.link, access = ?report.access, "port changed"),
        Event::Vanished(link) => info!(%link, "port vanished"),
        Event::Trouble { .. } => {}
    }
}
