//! How often one peer may ask.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many peers are told apart; the one that was quiet for longest makes room.
const MAX_PEERS: usize = 1024;

/// A bucket for each peer: full at first, filled at a steady pace, emptied by what is asked.
#[derive(Debug)]
pub(super) struct Rate {
    burst: f64,
    per_second: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Whom an address stands for: with IPv6 a whole /64, since each of its machines has as many addresses as it likes.
pub(super) fn household(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() & (u128::MAX << 64);
            IpAddr::from(bits.to_be_bytes())
        }
        four @ IpAddr::V4(_) => four,
    }
}

impl Rate {
    /// `burst` at once, then one each `pace`.
    pub(super) fn new(burst: u32, pace: Duration) -> Self {
        Self { burst: burst.into(), per_second: 1.0 / pace.as_secs_f64(), buckets: Mutex::default() }
    }

    /// Takes one; else how long to wait for the next.
    pub(super) fn take(&self, peer: IpAddr, now: Instant) -> Result<(), Duration> {
        let peer = household(peer);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bucket = self.filled(buckets.get(&peer), now);
        let waits = (bucket.left < 1.0).then(|| Duration::from_secs_f64((1.0 - bucket.left) / self.per_second));
        if waits.is_none() {
            bucket.left -= 1.0;
        }
        if buckets.len() >= MAX_PEERS && !buckets.contains_key(&peer) {
            let quietest = buckets.iter().min_by_key(|(_, bucket)| bucket.at).map(|(peer, _)| *peer);
            quietest.map(|peer| buckets.remove(&peer));
        }
        buckets.insert(peer, bucket);
        waits.map_or(Ok(()), Err)
    }

    /// Whether there is one to take, without taking it.
    pub(super) fn has_some(&self, peer: IpAddr, now: Instant) -> Result<(), Duration> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.filled(buckets.get(&household(peer)), now).left;
        if left < 1.0 { Err(Duration::from_secs_f64((1.0 - left) / self.per_second)) } else { Ok(()) }
    }

    fn filled(&self, bucket: Option<&Bucket>, now: Instant) -> Bucket {
        let left = bucket.map_or(self.burst, |bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.left + since * self.per_second).min(self.burst)
        });
        Bucket { left, at: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_pace_each_peer_for_itself() {
        let (rate, now) = (Rate::new(2, Duration::from_secs(10)), Instant::now());
        let [one, other] = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        assert_eq!([rate.take(one, now), rate.take(one, now)], [Ok(()), Ok(())]);
        let waits = rate.take(one, now + Duration::from_secs(4)).expect_err("empty");
        assert!((5.9..6.1).contains(&waits.as_secs_f64()), "{waits:?}");
        assert_eq!(rate.take(other, now), Ok(()));
        assert_eq!(rate.take(one, now + Duration::from_secs(11)), Ok(()));
    }

    #[test]
    fn all_addresses_of_a_network_are_one_peer() {
        let (rate, now) = (Rate::new(1, Duration::from_secs(10)), Instant::now());
        let peer = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(rate.take(peer("2001:db8:1:2::1"), now), Ok(()));
        assert!(
            rate.take(peer("2001:db8:1:2:ffff::2"), now).is_err()
                && rate.has_some(peer("2001:db8:1:2::3"), now).is_err()
        );
        assert_eq!(rate.take(peer("2001:db8:1:3::1"), now), Ok(()), "another network");
        assert_eq!(rate.take(peer("::ffff:192.0.2.1"), now), Ok(()));
        assert!(rate.take(peer("192.0.2.1"), now).is_err(), "the same one");
    }

    #[test]
    fn as_many_peers_as_there_are_addresses_take_no_more_room() {
        let (rate, now) = (Rate::new(2, Duration::from_secs(10)), Instant::now());
        for number in 0..5_000_u32 {
            let peer = IpAddr::from(number.to_be_bytes());
            assert_eq!(rate.take(peer, now + Duration::from_millis(number.into())), Ok(()));
        }
        assert_eq!(rate.buckets.lock().expect("whole").len(), MAX_PEERS);
    }
}
