//! What a transport that hears of links at any time has told, and what it still has to tell: however fast news come, there
//! is at most one event waiting for each link, with the newest there is to say, and one for what keeps it from its work.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

use super::Event;
use crate::device::{Link, LinkReport};

/// The links as they are, and as they were told.
#[derive(Debug)]
pub(super) struct Telling {
    /// What the transport is called where it has troubles: its section in the configuration.
    transport: &'static str,
    trouble: Option<String>,
    told_trouble: Option<String>,
    known: BTreeMap<Link, LinkReport>,
    told: BTreeMap<Link, LinkReport>,
    waiting: BTreeSet<Link>,
}

impl Telling {
    /// Nothing yet.
    pub(super) fn new(transport: &'static str) -> Self {
        let (known, told, waiting) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { transport, trouble: None, told_trouble: None, known, told, waiting }
    }

    /// The transport as a whole cannot do its work, with the cure; or it can.
    pub(super) fn set_trouble(&mut self, what: Option<String>) {
        self.trouble = what;
    }

    /// Tells all there is to tell.
    ///
    /// # Errors
    /// When nobody takes the events any more.
    pub(super) async fn tell_all(
        &mut self,
        events: &mpsc::Sender<Event>,
        log: fn(&Event),
    ) -> Result<(), mpsc::error::SendError<Event>> {
        while let Some(event) = self.next() {
            log(&event);
            events.send(event).await?;
        }
        Ok(())
    }

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
        !self.waiting.is_empty() || self.trouble != self.told_trouble
    }

    /// The next thing to tell; it counts as told.
    pub(super) fn next(&mut self) -> Option<Event> {
        if self.trouble != self.told_trouble {
            self.told_trouble.clone_from(&self.trouble);
            return Some(Event::Trouble { transport: self.transport, what: self.trouble.clone() });
        }
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
        let mut telling = Telling::new("x");
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
        telling.set_trouble(Some("no radio".to_owned()));
        assert!(telling.is_waiting());
        assert_eq!(telling.next(), Some(Event::Trouble { transport: "x", what: Some("no radio".to_owned()) }));
        telling.set_trouble(Some("no radio".to_owned()));
        assert_eq!(telling.next(), None);
    }
}
