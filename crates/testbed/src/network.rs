//! A datagram network in virtual time that loses, doubles, delays and reorders, all from one seed.
//!
//! Whoever runs a simulation sends into it, asks when the next datagram arrives, sets its clock to that and takes it out.

use std::ops::Range;
use std::time::{Duration, Instant};

/// How bad the network is.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that one that is not lost arrives twice.
    pub duplication: f64,
    /// How long a datagram takes; a wide range reorders.
    pub delay: Range<Duration>,
}

impl Weather {
    /// Everything arrives once and in order, after a millisecond.
    pub fn fair() -> Self {
        Self { loss: 0.0, duplication: 0.0, delay: Duration::from_millis(1)..Duration::from_millis(1) }
    }

    /// 30 % lost, 10 % doubled, up to half a second under way.
    pub fn foul() -> Self {
        Self { loss: 0.3, duplication: 0.1, delay: Duration::from_millis(1)..Duration::from_millis(500) }
    }
}

/// Datagrams under way to ends of type `E`.
#[derive(Debug)]
pub struct Network<E> {
    /// May be changed at any time; counts for what is sent from then on.
    pub weather: Weather,
    rng: fastrand::Rng,
    sent: u64,
    under_way: Vec<(Instant, u64, E, Vec<u8>)>,
}

impl<E> Network<E> {
    /// An empty network.
    pub fn new(weather: Weather, seed: u64) -> Self {
        Self { weather, rng: fastrand::Rng::with_seed(seed), sent: 0, under_way: Vec::new() }
    }

    /// Takes a datagram and sees what becomes of it.
    pub fn send(&mut self, to: E, datagram: Vec<u8>, now: Instant)
    where
        E: Clone,
    {
        if self.rng.f64() < self.weather.loss {
            return;
        }
        if self.rng.f64() < self.weather.duplication {
            self.dispatch(to.clone(), datagram.clone(), now);
        }
        self.dispatch(to, datagram, now);
    }

    /// When the next datagram arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.under_way.iter().map(|(at, ..)| *at).min()
    }

    /// The next datagram that has arrived by now.
    pub fn take(&mut self, now: Instant) -> Option<(E, Vec<u8>)> {
        let arrived = self.under_way.iter().enumerate().filter(|(_, (at, ..))| *at <= now);
        let (position, _) = arrived.min_by_key(|(_, (at, number, ..))| (*at, *number))?;
        let (.., to, datagram) = self.under_way.swap_remove(position);
        Some((to, datagram))
    }

    fn dispatch(&mut self, to: E, datagram: Vec<u8>, now: Instant) {
        let Range { start, end } = self.weather.delay;
        let delay = start + end.saturating_sub(start).mul_f64(self.rng.f64());
        self.sent += 1;
        self.under_way.push((now + delay, self.sent, to, datagram));
    }
}
