//! Object 7, Connectivity Statistics: how much was sent and received since somebody began to count.
//!
//! The driver tells what all counters stand at; a collection is the difference between two moments. It runs from the start, until a
//! server executes Stop or a period is over, and begins anew by Start. What is not counted here (SMS, the longest message) is absent.

use std::time::{Duration, Instant};

use super::Content;

/// Bytes of a kilobyte, in which the object counts.
const KILOBYTE: u64 = 1000;

/// What counters stand at, from any beginning on; they only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes sent, headers up to IP's included.
    pub sent: u64,
    /// Bytes received, likewise.
    pub received: u64,
    /// IP messages, both ways.
    pub messages: u64,
}

/// What a server orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CollectionOrder {
    /// 7/0/6.
    Start,
    /// 7/0/7.
    Stop,
    /// 7/0/8, seconds.
    Period(u32),
}

/// One collection.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    begun: Traffic,
    now: Traffic,
    /// Where it was stopped.
    stopped: Option<Traffic>,
    /// Seconds; 0 until it is stopped.
    period: u32,
    until: Option<Instant>,
}

impl Collection {
    /// When the period is over.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// Takes what the counters stand at.
    pub(crate) fn count(&mut self, traffic: Traffic, now: Instant) {
        self.now = traffic;
        self.expire(now);
    }

    /// Ends where its period is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.obey(CollectionOrder::Stop, now);
        }
    }

    /// Does what a server ordered.
    pub(crate) fn obey(&mut self, order: CollectionOrder, now: Instant) {
        match order {
            CollectionOrder::Start => {
                (self.begun, self.stopped) = (self.now, None);
                let limited = self.period > 0;
                self.until = limited.then(|| now + Duration::from_secs(self.period.into()));
            }
            CollectionOrder::Stop => {
                self.stopped.get_or_insert(self.now);
                self.until = None;
            }
            // For the next Start.
            CollectionOrder::Period(seconds) => self.period = seconds,
        }
    }
}

/// What a resource holds.
pub(super) fn content(collection: &Collection, resource: u16) -> Content {
    let end = collection.stopped.unwrap_or(collection.now);
    let since = |counter: fn(&Traffic) -> u64| counter(&end).saturating_sub(counter(&collection.begun));
    let (sent, received) = (since(|traffic| traffic.sent), since(|traffic| traffic.received));
    let number = |number: u64| Content::integer(i64::try_from(number).unwrap_or(i64::MAX));
    match resource {
        2 => number(sent / KILOBYTE),
        3 => number(received / KILOBYTE),
        5 => number(sent.saturating_add(received).checked_div(since(|traffic| traffic.messages)).unwrap_or(0)),
        6 | 7 => Content::Silent,
        8 => Content::integer(collection.period),
        _ => Content::Absent,
    }
}
