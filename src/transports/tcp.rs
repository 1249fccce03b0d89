//! `tcp:` links: there when a connect succeeds, gone after two that fail. Nothing is said over the connection.
//!
//! One task for all of them, with a bounded number of connects in flight and one timer, so that a thousand links cost
//! little more than their names. Driven by `gateway`. Questions cannot be asked over these links, nor flashes done.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info};

use super::{Event, TcpSettings};
use crate::device::{Access, Evidence, Link, LinkReport};

/// At most so many connects at once, lookups of host names included.
const MAX_IN_FLIGHT: usize = 32;
/// So many failures in a row make a link gone.
const FAILURES_TO_BE_GONE: u8 = 2;
/// Tries are moved by up to this part of their period, either way, so that a thousand do not stay in step.
const JITTER: f64 = 0.1;
/// The shortest time between two tries of one link.
const MIN_PERIOD: Duration = Duration::from_millis(100);

/// A link of a `[[device]]` entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The link; anything but a `tcp:` link is passed over.
    pub link: Link,
    /// Never connect to it: take it as there.
    pub never_probe: bool,
}

/// Starts looking after the links. Ends when nobody takes its events.
pub fn spawn(settings: &TcpSettings, targets: Vec<Target>, events: mpsc::Sender<Event>) {
    let targets = targets.into_iter().filter_map(|target| Watched::new(target.link, target.never_probe));
    let watched: Vec<Watched> = targets.collect();
    if watched.is_empty() {
        return;
    }
    let prober = Prober {
        period: settings.probe.max(MIN_PERIOD),
        timeout: settings.timeout,
        due: BinaryHeap::new(),
        watched,
        events,
    };
    tokio::spawn(prober.run());
}

struct Watched {
    host: String,
    port: u16,
    never_probe: bool,
    there: bool,
    failures: u8,
}

impl Watched {
    fn new(link: Link, never_probe: bool) -> Option<Self> {
        let Link::Tcp { host, port } = link else { return None };
        Some(Self { host, port, never_probe, there: false, failures: 0 })
    }

    fn link(&self) -> Link {
        Link::Tcp { host: self.host.clone(), port: self.port }
    }

    /// What the outcome of a try changes.
    fn tried(&mut self, outcome: &io::Result<()>) -> Option<Event> {
        match outcome {
            Ok(()) => {
                self.failures = 0;
                let appeared = !std::mem::replace(&mut self.there, true);
                appeared.then(|| self.appeared(vec![Evidence::Connected]))
            }
            Err(error) => {
                debug!(host = self.host, port = self.port, %error, "connect failed");
                self.failures = self.failures.saturating_add(1);
                let gone = self.there && self.failures >= FAILURES_TO_BE_GONE;
                gone.then(|| {
                    self.there = false;
                    info!(link = %self.link(), %error, "link vanished");
                    Event::Vanished(self.link())
                })
            }
        }
    }

    fn appeared(&self, evidence: Vec<Evidence>) -> Event {
        debug!(host = self.host, port = self.port, "link appeared");
        Event::Appeared(LinkReport {
            link: self.link(),
            aliases: Vec::new(),
            access: Access::Usable,
            evidence,
            signal: None,
        })
    }
}

struct Prober {
    period: Duration,
    timeout: Duration,
    /// When each link that is tried is due, soonest on top.
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    watched: Vec<Watched>,
    events: mpsc::Sender<Event>,
}

impl Prober {
    async fn run(mut self) {
        if self.begin().await.is_err() {
            return;
        }
        let mut in_flight = FuturesUnordered::new();
        loop {
            while in_flight.len() < MAX_IN_FLIGHT
                && let Some(index) = self.take_due()
            {
                let Watched { host, port, .. } = &self.watched[index];
                in_flight.push(connect(index, host.clone(), *port, self.timeout));
            }
            let next = self.due.peek().map(|Reverse((at, _))| *at).filter(|_| in_flight.len() < MAX_IN_FLIGHT);
            tokio::select! {
                Some((index, outcome)) = in_flight.next() => {
                    self.due.push(Reverse((Instant::now() + self.jittered(), index)));
                    if let Some(event) = self.watched[index].tried(&outcome)
                        && self.events.send(event).await.is_err()
                    {
                        return;
                    }
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
                () = self.events.closed() => return,
            }
        }
    }

    /// What is never tried is there at once; all else is due.
    async fn begin(&mut self) -> Result<(), mpsc::error::SendError<Event>> {
        let now = Instant::now();
        for index in 0..self.watched.len() {
            let watched = &mut self.watched[index];
            if watched.never_probe {
                watched.there = true;
                let event = watched.appeared(Vec::new());
                self.events.send(event).await?;
            } else {
                self.due.push(Reverse((now, index)));
            }
        }
        Ok(())
    }

    fn take_due(&mut self) -> Option<usize> {
        let Reverse((at, index)) = *self.due.peek()?;
        if at > Instant::now() {
            return None;
        }
        self.due.pop();
        Some(index)
    }

    fn jittered(&self) -> Duration {
        self.period.mul_f64(1.0 + JITTER * (2.0 * fastrand::f64() - 1.0))
    }
}

async fn connect(index: usize, host: String, port: u16, within: Duration) -> (usize, io::Result<()>) {
    let outcome = match timeout(within, TcpStream::connect((host.as_str(), port))).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    (index, outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Watched {
        Watched::new("tcp:127.0.0.1:9".parse().expect("a link"), false).expect("a tcp link")
    }

    #[test]
    fn one_failure_is_forgiven_and_two_are_not() {
        let refused = Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        let mut watched = watched();
        assert_eq!(watched.tried(&refused), None);
        assert!(matches!(watched.tried(&Ok(())), Some(Event::Appeared(_))));
        assert_eq!(watched.tried(&Ok(())), None);
        assert_eq!(watched.tried(&refused), None);
        assert_eq!(watched.tried(&Ok(())), None);
        assert_eq!(watched.tried(&refused), None);
        assert_eq!(watched.tried(&refused), Some(Event::Vanished(watched.link())));
        assert_eq!(watched.tried(&refused), None);
    }
}
