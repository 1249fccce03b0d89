//! The one table that makes [`Lease`] values: who may open a link just now.
//!
//! It opens nothing itself and waits for nobody: a link is free or held. Driven by `gateway`, which takes a lease
//! before it lets anybody open a link, and retries what had to wait when [`Releases`] tells that a link came back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::device::{Lease, Link};

/// Which links are held, and by whom. Cloning gives another handle on the same table.
#[derive(Debug, Clone, Default)]
pub struct Table {
    shared: Arc<Shared>,
}

/// Why a link could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{link} is held by {holder}")]
pub struct Held {
    /// The link.
    pub link: Link,
    /// Who holds it, as the operator reads it.
    pub holder: String,
}

impl Table {
    /// An empty table, and the list of what comes back to it.
    pub fn new() -> (Self, Releases) {
        let table = Self::default();
        let releases = Releases { shared: Arc::clone(&table.shared) };
        (table, releases)
    }

    /// Takes a link for a holder such as `update of press-3`. Dropping the lease gives the link back.
    ///
    /// # Errors
    /// When somebody holds it.
    pub fn take(&self, link: &Link, holder: &str) -> Result<Lease, Held> {
        let mut state = self.shared.lock();
        if let Some(other) = state.held.get(link) {
            return Err(Held { link: link.clone(), holder: other.to_string() });
        }
        let holder: Arc<str> = holder.into();
        state.held.insert(link.clone(), Arc::clone(&holder));
        let shared = Arc::clone(&self.shared);
        Ok(Lease::new(link.clone(), holder, Box::new(move |link| shared.give_back(link))))
    }

    /// Who holds a link, if anybody does.
    pub fn holder(&self, link: &Link) -> Option<String> {
        self.shared.lock().held.get(link).map(ToString::to_string)
    }
}

/// Tells which links came back. Holds each link at most once, so it is never longer than there are links.
#[derive(Debug)]
pub struct Releases {
    shared: Arc<Shared>,
}

impl Releases {
    /// The next link that was given back. Safe to drop while waiting; the link may have been taken again meanwhile.
    pub async fn next(&mut self) -> Link {
        loop {
            let waiting = self.shared.notify.notified();
            if let Some(link) = self.shared.lock().released.pop_first() {
                return link;
            }
            waiting.await;
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<Link, Arc<str>>,
    released: BTreeSet<Link>,
}

impl Shared {
    /// The state is a pair of plain collections, whole between any two statements: a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, link: &Link) {
        let mut state = self.lock();
        state.held.remove(link);
        state.released.insert(link.clone());
        drop(state);
        self.notify.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str) -> Link {
        format!("serial:/dev/{name}").parse().expect("a link")
    }

    #[test]
    fn a_held_link_is_refused_and_names_its_holder() {
        let (table, _releases) = Table::new();
        let lease = table.take(&link("a"), "update of press-3").expect("free");
        let held = table.take(&link("a"), "question").expect_err("held");
        assert_eq!(held.to_string(), "serial:/dev/a is held by update of press-3");
        assert!(table.take(&link("b"), "question").is_ok());
        drop(lease);
        assert_eq!(table.holder(&link("a")), None);
        assert!(table.take(&link("a"), "question").is_ok());
    }

    #[tokio::test]
    async fn each_link_that_came_back_is_told_once() {
        let (table, mut releases) = Table::new();
        for _ in 0..3 {
            drop(table.take(&link("a"), "x"));
        }
        drop(table.take(&link("b"), "x"));
        assert_eq!(releases.next().await, link("a"));
        assert_eq!(releases.next().await, link("b"));
        let waiting = tokio::spawn(async move { releases.next().await });
        drop(table.take(&link("c"), "x"));
        assert_eq!(waiting.await.expect("ends"), link("c"));
    }
}
