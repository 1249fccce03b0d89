//! A network that loses, doubles, delays and thereby reorders datagrams, as a seed has it: the same seed is the same weather. It knows no protocol; a test
//! sends into it, moves the clock to [`Network::poll_timeout`] and takes out what has arrived.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

/// The weather on a network.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Share of datagrams that are lost, 0 to 1.
    pub loss: f64,
    /// Share of datagrams that arrive twice, 0 to 1.
    pub duplication: f64,
    /// How long a datagram travels, each by itself: a range wider than the time between two datagrams reorders them.
    pub delay: Range<Duration>,
}

impl Weather {
    /// Everything arrives once, after a millisecond.
    pub fn fair() -> Self {
        Self { loss: 0.0, duplication: 0.0, delay: Duration::from_millis(1)..Duration::from_millis(1) }
    }

    /// 30 % lost, 20 % doubled, between 1 ms and 3 s under way: longer than a retransmission takes.
    pub fn foul() -> Self {
        Self { loss: 0.3, duplication: 0.2, delay: Duration::from_millis(1)..Duration::from_secs(3) }
    }
}

/// Datagrams under way to addresses of type `A`.
#[derive(Debug)]
pub struct Network<A> {
    weather: Weather,
    random: fastrand::Rng,
    /// Ordered by arrival; the counter keeps two of the same instant apart and in order.
    under_way: BTreeMap<(Instant, u64), (A, Vec<u8>)>,
    sent: u64,
}

impl<A: Copy> Network<A> {
    /// A network with this weather, as this seed has it.
    pub fn new(weather: Weather, seed: u64) -> Self {
        Self { weather, random: fastrand::Rng::with_seed(seed), under_way: BTreeMap::new(), sent: 0 }
    }

    /// The weather, to be changed during a test.
    pub fn weather_mut(&mut self) -> &mut Weather {
        &mut self.weather
    }

    /// Sends a datagram: it will arrive once, twice, or not at all.
    pub fn send(&mut self, to: A, datagram: Vec<u8>, now: Instant) {
        if self.random.f64() < self.weather.loss {
            return;
        }
        if self.random.f64() < self.weather.duplication {
            self.arrive_later(to, datagram.clone(), now);
        }
        self.arrive_later(to, datagram, now);
    }

    /// The next datagram that has arrived by now, and where.
    pub fn receive(&mut self, now: Instant) -> Option<(A, Vec<u8>)> {
        let (due, _) = *self.under_way.first_key_value()?.0;
        (due <= now).then(|| self.under_way.pop_first().map(|(_, arrived)| arrived)).flatten()
    }

    /// When the next datagram arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((due, _), _)| *due)
    }

    fn arrive_later(&mut self, to: A, datagram: Vec<u8>, now: Instant) {
        let Range { start, end } = self.weather.delay;
        let delay = start + end.saturating_sub(start).mul_f64(self.random.f64());
        self.sent += 1;
        self.under_way.insert((now + delay, self.sent), (to, datagram));
    }
}

/// Runs a test once for each of `count` seeds, or only for the one in the environment variable `SEED`. Which seeds is printed at the start, which one failed
/// when it does.
pub fn for_each_seed(count: u64, mut test: impl FnMut(u64)) {
    let only = std::env::var("SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    let seeds = only.map_or(0..count, |seed| seed..seed + 1);
    say(&format!("seeds {seeds:?}"));
    for seed in seeds {
        let named = NamedOnPanic(seed);
        test(seed);
        drop(named);
    }
}

struct NamedOnPanic(u64);

impl Drop for NamedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            say(&format!("failed with seed {0}; again with: SEED={0}", self.0));
        }
    }
}

#[expect(clippy::print_stderr, reason = "the test harness shows it to whoever looks for the seed")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn arrivals(weather: Weather, seed: u64) -> Vec<u8> {
        let mut clock = Clock::new();
        let mut network = Network::new(weather, seed);
        (0..200).for_each(|number| network.send((), vec![number], clock.now()));
        clock.advance(Duration::from_secs(10));
        std::iter::from_fn(|| network.receive(clock.now())).map(|((), datagram)| datagram[0]).collect()
    }

    #[test]
    fn in_fair_weather_everything_arrives_once_and_in_order() {
        assert_eq!(arrivals(Weather::fair(), 1), (0..200).collect::<Vec<u8>>());
    }

    #[test]
    fn foul_weather_loses_doubles_and_reorders_the_same_for_the_same_seed() {
        let arrived = arrivals(Weather::foul(), 1);
        assert_eq!(arrived, arrivals(Weather::foul(), 1));
        assert_ne!(arrived, arrivals(Weather::foul(), 2));
        assert!(!arrived.is_sorted());
        let mut once = arrived.clone();
        once.sort_unstable();
        once.dedup();
        assert!(once.len() < arrived.len(), "some came twice");
        assert!((100..180).contains(&once.len()), "about 30 % were lost: {}", once.len());
    }

    #[test]
    fn nothing_arrives_before_its_time() {
        let clock = Clock::new();
        let mut network = Network::new(Weather::fair(), 1);
        network.send('a', vec![1], clock.now());
        assert_eq!(network.receive(clock.now()), None);
        let due = network.poll_timeout().unwrap();
        assert_eq!(network.receive(due), Some(('a', vec![1])));
        assert_eq!(network.poll_timeout(), None);
    }
}
