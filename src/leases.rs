//! The one table that makes [`Lease`] values: who may open a link just now.
//!
//! It opens nothing itself and waits for nobody: a link is free or held. Driven by `gateway`, which takes a lease
//! before it lets anybody open a link, and retries what had to wait when [`Releases`] tells that a link came back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::device::{Lease, Link};

/// So long whoever only reads points may take to give a link back.
const YIELD_WITHIN: Duration = Duration::from_secs(15);

/// What a lease is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Resource {
    Link(Link),
    /// A host: all services that it announces are its own, and it is asked one thing at a time.
    Host(String),
}

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
        self.insert(link, holder, None)
    }

    /// Takes a link for somebody who gives it back when anybody else wants it, which the token says: a watch of points.
    ///
    /// # Errors
    /// When somebody holds it, or waits for it.
    pub fn take_yielding(&self, link: &Link, holder: &str) -> Result<(Lease, CancellationToken), Held> {
        let wanted = CancellationToken::new();
        let lease = self.insert(link, holder, Some(wanted.clone()))?;
        Ok((lease, wanted))
    }

    /// A link leads to a service of this host from now on, or to none. Links to one host are held together.
    pub fn set_host(&self, link: &Link, host: Option<&str>) {
        let mut state = self.shared.lock();
        match host {
            Some(host) => state.hosts.insert(link.clone(), host.to_owned()),
            None => state.hosts.remove(link),
        };
    }

    /// Whether a link is held by somebody who gives it back when it is wanted.
    pub fn yields(&self, link: &Link) -> bool {
        self.shared.lock().on(link).is_some_and(|holder| holder.wanted.is_some())
    }

    /// Takes a link, and waits for it where its holder yields.
    ///
    /// # Errors
    /// When somebody holds it who does not yield, or does not do so in time.
    pub async fn preempt(&self, link: &Link, holder: &str) -> Result<Lease, Held> {
        let deadline = Instant::now() + YIELD_WITHIN;
        let _wanting = Wanting::new(&self.shared, link);
        loop {
            let freed = self.shared.freed.notified();
            let held = match self.take(link, holder) {
                Ok(lease) => return Ok(lease),
                Err(held) => held,
            };
            let yields = match self.shared.lock().on(link) {
                Some(other) => other.wanted.as_ref().map(CancellationToken::cancel).is_some(),
                None => true,
            };
            if !yields || timeout_at(deadline, freed).await.is_err() {
                return Err(held);
            }
        }
    }

    fn insert(&self, link: &Link, holder: &str, wanted: Option<CancellationToken>) -> Result<Lease, Held> {
        let mut state = self.shared.lock();
        if let Some(other) = state.on(link) {
            return Err(Held { link: link.clone(), holder: other.name.to_string() });
        }
        if wanted.is_some() && state.wanted.contains_key(link) {
            return Err(Held { link: link.clone(), holder: "somebody who waits for it".to_owned() });
        }
        let name: Arc<str> = holder.into();
        let resource = state.resource(link);
        state.held.insert(resource.clone(), Holder { name: Arc::clone(&name), wanted });
        let shared = Arc::clone(&self.shared);
        Ok(Lease::new(link.clone(), name, Box::new(move |link| shared.give_back(link, &resource))))
    }

    /// Who holds a link, if anybody does.
    pub fn holder(&self, link: &Link) -> Option<String> {
        self.shared.lock().on(link).map(|holder| holder.name.to_string())
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
    /// Wakes who works off `released`.
    notify: Notify,
    /// Wakes all who wait for one link.
    freed: Notify,
}

#[derive(Debug)]
struct Holder {
    name: Arc<str>,
    /// Cancelled when somebody else wants the link, for a holder that yields.
    wanted: Option<CancellationToken>,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<Resource, Holder>,
    /// The hosts of links that are services.
    hosts: BTreeMap<Link, String>,
    /// How many wait for a link.
    wanted: BTreeMap<Link, usize>,
    released: BTreeSet<Link>,
}

impl State {
    fn resource(&self, link: &Link) -> Resource {
        self.hosts.get(link).map_or_else(|| Resource::Link(link.clone()), |host| Resource::Host(host.clone()))
    }

    fn on(&self, link: &Link) -> Option<&Holder> {
        self.held.get(&self.resource(link))
    }
}

impl Shared {
    /// The state is a pair of plain collections, whole between any two statements: a poisoned lock is still good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, link: &Link, resource: &Resource) {
        let mut state = self.lock();
        state.held.remove(resource);
        state.released.insert(link.clone());
        if let Resource::Host(host) = resource {
            let others: Vec<Link> =
                state.hosts.iter().filter(|(_, other)| *other == host).map(|(link, _)| link.clone()).collect();
            state.released.extend(others);
        }
        drop(state);
        self.notify.notify_one();
        self.freed.notify_waiters();
    }
}

/// Keeps those who yield from taking a link that somebody waits for.
struct Wanting<'a> {
    shared: &'a Shared,
    link: &'a Link,
}

impl<'a> Wanting<'a> {
    fn new(shared: &'a Shared, link: &'a Link) -> Self {
        *shared.lock().wanted.entry(link.clone()).or_default() += 1;
        Self { shared, link }
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(count) = state.wanted.get_mut(self.link) {
            *count -= 1;
            if *count == 0 {
                state.wanted.remove(self.link);
            }
        }
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
    async fn services_of_one_host_are_held_together_and_come_back_together() {
        let (table, mut releases) = Table::new();
        let services = ["mdns:a._http._tcp", "mdns:a._esphomelib._tcp", "mdns:b._http._tcp"];
        let [web, api, other] = services.map(|text| text.parse::<Link>().expect("a link"));
        for (link, host) in [(&web, "a"), (&api, "a"), (&other, "b")] {
            table.set_host(link, Some(host));
        }
        let lease = table.take(&web, "question").expect("free");
        assert!(table.take(&api, "watch").is_err() && table.take(&other, "watch").is_ok());
        assert_eq!(table.holder(&api).as_deref(), Some("question"));
        // A host that changes its name meanwhile keeps nobody out for ever.
        table.set_host(&web, None);
        drop(lease);
        assert!(table.take(&api, "watch").is_ok());
        let mut released = [releases.next().await, releases.next().await, releases.next().await];
        released.sort();
        assert!(released.contains(&api) && released.contains(&web));
    }

    #[tokio::test]
    async fn who_yields_is_told_and_who_does_not_is_left_alone() {
        let (table, _releases) = Table::new();
        let (lease, wanted) = table.take_yielding(&link("a"), "reading points").expect("free");
        assert!(table.take(&link("a"), "update").is_err() && !wanted.is_cancelled());
        let watch = tokio::spawn(async move {
            wanted.cancelled().await;
            drop(lease);
        });
        let job = table.preempt(&link("a"), "update").await.expect("given back");
        watch.await.expect("ends");
        let held = table.preempt(&link("a"), "question").await.expect_err("a job is left alone");
        assert_eq!(held.holder, "update");
        drop(job);
        assert!(table.take_yielding(&link("a"), "reading points").is_ok());
    }

    #[tokio::test]
    async fn who_yields_does_not_take_what_somebody_waits_for() {
        let (table, _releases) = Table::new();
        let (lease, _wanted) = table.take_yielding(&link("a"), "reading points").expect("free");
        let other = table.clone();
        let job = tokio::spawn(async move { other.preempt(&link("a"), "update").await });
        while table.shared.lock().wanted.is_empty() {
            tokio::task::yield_now().await;
        }
        drop(lease);
        assert!(table.take_yielding(&link("a"), "reading points").is_err());
        assert!(job.await.expect("ends").is_ok());
        assert!(table.shared.lock().wanted.is_empty());
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
