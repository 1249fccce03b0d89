//! One observation of our own (RFC 7641 §3.4): which of two notifications is the newer one, when the network may have swapped them.

use std::time::{Duration, Instant};

use crate::Token;

/// After this long the sequence number may have wrapped: what comes is newer.
const REORDERING_SPAN: Duration = Duration::from_secs(128);

/// An observation that the peer accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation {
    pub(super) token: Token,
    sequence: u32,
    arrived: Instant,
}

impl Observation {
    /// With the sequence number of the first response.
    pub(super) fn new(token: Token, sequence: u32, now: Instant) -> Self {
        Self { token, sequence, arrived: now }
    }

    /// Whether this notification is newer than all before; it is then the newest.
    pub(super) fn accept(&mut self, sequence: u32, now: Instant) -> bool {
        // Both are 24-bit numbers.
        let ahead = sequence.wrapping_sub(self.sequence) & 0xff_ffff;
        let newer = (1..1 << 23).contains(&ahead) || now.saturating_duration_since(self.arrived) > REORDERING_SPAN;
        if newer {
            *self = Self::new(self.token, sequence, now);
        }
        newer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::epoch;

    fn accepts(from: u32, to: u32, seconds: u64) -> bool {
        Observation::new(Token::EMPTY, from, epoch()).accept(to, epoch() + Duration::from_secs(seconds))
    }

    #[test]
    fn newer_is_as_rfc_7641_has_it() {
        assert!(accepts(5, 6, 0) && accepts(5, 5 + (1 << 23) - 1, 0));
        assert!(!accepts(6, 5, 0) && !accepts(5, 5, 0));
        assert!(accepts(0xff_ffff, 0, 0), "wrapped");
        assert!(!accepts(0, 0xff_ffff, 128));
        assert!(accepts(6, 5, 129), "too long ago to have been swapped");
    }
}
