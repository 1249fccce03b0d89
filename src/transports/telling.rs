//! What a transport that hears of links at any time has told, and what it still has to tell: however fast news come, there
//! is at most one event waiting for each link, with the newest there is to say.

use std::collections::{BTreeMap, BTreeSet};

use super::Event;
use crate::device::{Link, LinkReport};

/// The links as they are, and as they were told.
#[derive(Debug, Default)]
pub(super) struct Telling {
    known: BTreeMap<Link, LinkReport>,
    told: BTreeMap<Link, LinkReport>,
    waiting: BTreeSet<Link>,
}

impl Telling {
    /// A link is there, or is different.
    pub(super) fn put(&mut self, report: LinkReport) {
        self.waiting.insert(report.link.clone());
        self.known.insert(report.link.clone(), report);
    }

    /// A link is not there any more.
    pub(super) fn remove(&mut self, link: &Link) {
        if self.known.remove(link).is_some() {
            self.waiting.insert(link.clone());
        }
    }

    /// No link is there any more.
    pub(super) fn clear(&mut self) {
        self.waiting.extend(self.known.keys().cloned());
        self.known.clear();
    }

    /// A link that is there.
    pub(super) fn get(&self, link: &Link) -> Option<&LinkReport> {
        self.known.get(link)
    }

    /// The links that are there.
    pub(super) fn links(&self) -> impl Iterator<Item = &Link> {
        self.known.keys()
    }

    /// How many links are there.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// Whether there is something to tell.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next thing to tell; it counts as told.
    pub(super) fn next(&mut self) -> Option<Event> {
        while let Some(link) = self.waiting.pop_first() {
            match (self.known.get(&link), self.told.get(&link)) {
                (Some(now), None) => {
                    self.told.insert(link, now.clone());
                    return Some(Event::Appeared(now.clone()));
                }
                (Some(now), Some(before)) if now != before => {
                    self.told.insert(link, now.clone());
                    return Some(Event::Changed(now.clone()));
                }
                (None, Some(_)) => {
                    self.told.remove(&link);
                    return Some(Event::Vanished(link));
                }
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Access;

    fn report(name: &str, access: Access) -> LinkReport {
        let link = format!("mdns:{name}._x._tcp").parse().expect("a link");
        LinkReport { link, aliases: Vec::new(), access, evidence: Vec::new(), signal: None }
    }

    #[test]
    fn only_the_newest_is_told_and_nothing_twice() {
        let mut telling = Telling::default();
        let (usable, denied) = (report("a", Access::Usable), report("a", Access::Denied));
        telling.put(usable.clone());
        telling.put(denied.clone());
        assert_eq!(telling.next(), Some(Event::Appeared(denied.clone())));
        telling.put(denied.clone());
        assert_eq!(telling.next(), None);
        telling.put(usable.clone());
        telling.put(report("b", Access::Usable));
        telling.remove(&report("b", Access::Usable).link);
        assert_eq!(telling.next(), Some(Event::Changed(usable.clone())));
        assert_eq!(telling.next(), None, "what went before it was told was never there");
        telling.clear();
        assert_eq!(telling.next(), Some(Event::Vanished(usable.link)));
        assert!(!telling.is_waiting() && telling.count() == 0);
    }
}
