//! What is due when: one entry for each sender and each lifetime, whoever it belongs to knows when it was set.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// An endpoint of CoAP has something to do.
    Peer(SocketAddr),
    /// A registration runs out.
    Lifetime(Arc<str>),
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Instant, Timer)>);

impl Timers {
    /// The first.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes out what is due.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Timer> {
        let mut due = Vec::new();
        while self.0.first().is_some_and(|(at, _)| *at <= now) {
            due.extend(self.0.pop_first().map(|(_, timer)| timer));
        }
        due
    }

    /// Sets a timer that was set for `before`.
    pub(super) fn rearm(&mut self, before: Option<Instant>, at: Option<Instant>, timer: Timer) {
        if before == at && before.is_some_and(|before| self.0.contains(&(before, timer.clone()))) {
            return;
        }
        self.disarm(before, &timer);
        self.0.extend(at.map(|at| (at, timer)));
    }

    /// Takes out a timer that was set for `before`.
    pub(super) fn disarm(&mut self, before: Option<Instant>, timer: &Timer) {
        if let Some(before) = before {
            self.0.remove(&(before, timer.clone()));
        }
    }

    /// The senders, the one that is due first in front.
    pub(super) fn peers(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|(_, timer)| match timer {
            Timer::Peer(peer) => Some(*peer),
            Timer::Lifetime(_) => None,
        })
    }
}
