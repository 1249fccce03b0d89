//! The peer's messages of late and what they were answered with (RFC 7252 §4.5), so that a duplicate is answered again and done once.
//! Bounded in count and in bytes: the oldest go first, and an answer before its entry.
//!
//! A duplicate has its original's token too. Some peers draw message ids at random and use one again far too soon
//! (lwm2m-node-lib proxies each request with the id of another endpoint): the former answer would never fit what they now ask.

use std::collections::VecDeque;
use std::time::Instant;

use crate::{MessageId, Token};

/// The most bytes of answers that are kept. An answer that had to go leaves its message known, so it is not done twice.
const MAX_BYTES: usize = 8 * 1024;

/// How a duplicate is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// Not at all: it needs none, or has none yet.
    Nothing,
    /// With an empty ACK.
    Acknowledge,
    /// With RST.
    Reset,
    /// With these bytes.
    Datagram(Box<[u8]>),
}

#[derive(Debug)]
struct Seen {
    id: MessageId,
    token: Token,
    reply: Reply,
    forget_at: Instant,
}

/// The memory of one peer's messages; empty it owns no memory.
#[derive(Debug, Default)]
pub(super) struct Dedup {
    seen: VecDeque<Seen>,
    bytes: usize,
}

impl Dedup {
    /// What a duplicate gets; `None` if the message is new.
    pub(super) fn lookup(&self, (id, token): (MessageId, Token), now: Instant) -> Option<&Reply> {
        let is_it = |seen: &&Seen| seen.id == id && seen.token == token && seen.forget_at > now;
        self.seen.iter().rev().find(is_it).map(|seen| &seen.reply)
    }

    /// Remembers a new message, forgetting the oldest ones beyond `max`.
    pub(super) fn remember(
        &mut self,
        (id, token): (MessageId, Token),
        forget_at: Instant,
        (max, now): (usize, Instant),
    ) {
        while self.seen.front().is_some_and(|seen| seen.forget_at <= now || self.seen.len() >= max.max(1)) {
            self.drop_front();
        }
        self.seen.push_back(Seen { id, token, reply: Reply::Nothing, forget_at });
    }

    /// Sets what duplicates of a remembered message get: of the newest with this id.
    pub(super) fn set_reply(&mut self, id: MessageId, reply: Reply) {
        let Some(seen) = self.seen.iter_mut().rev().find(|seen| seen.id == id) else { return };
        self.bytes += reply.len();
        self.bytes -= std::mem::replace(&mut seen.reply, reply).len();
        let mut oldest = self.seen.iter_mut();
        while self.bytes > MAX_BYTES {
            let Some(seen) = oldest.next() else { break };
            self.bytes -= std::mem::replace(&mut seen.reply, Reply::Nothing).len();
        }
    }

    /// Forgets a message, so that its duplicate counts as new.
    pub(super) fn forget(&mut self, id: MessageId) {
        if let Some(index) = self.seen.iter().rposition(|seen| seen.id == id) {
            self.bytes -= self.seen.remove(index).map_or(0, |seen| seen.reply.len());
        }
    }

    /// Drops what is too old, and the memory with it.
    pub(super) fn purge(&mut self, now: Instant) {
        self.seen.retain(|seen| seen.forget_at > now);
        self.bytes = self.seen.iter().map(|seen| seen.reply.len()).sum();
        self.seen.shrink_to_fit();
    }

    /// When everything will be too old: one wake-up for an endpoint that fell silent, not one per message.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.seen.back().map(|seen| seen.forget_at)
    }

    fn drop_front(&mut self) {
        self.bytes -= self.seen.pop_front().map_or(0, |seen| seen.reply.len());
    }
}

impl Reply {
    fn len(&self) -> usize {
        match self {
            Self::Datagram(bytes) => bytes.len(),
            Self::Nothing | Self::Acknowledge | Self::Reset => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::epoch::epoch;

    const LIFETIME: Duration = Duration::from_secs(247);

    fn remember(dedup: &mut Dedup, id: u16, max: usize) {
        dedup.remember(key(id), epoch() + LIFETIME, (max, epoch()));
    }

    fn key(id: u16) -> (MessageId, Token) {
        (MessageId(id), Token::default())
    }

    #[test]
    fn a_message_is_known_for_its_lifetime() {
        let mut dedup = Dedup::default();
        remember(&mut dedup, 7, 4);
        dedup.set_reply(MessageId(7), Reply::Acknowledge);
        assert_eq!(dedup.lookup(key(7), epoch() + LIFETIME / 2), Some(&Reply::Acknowledge));
        assert_eq!(dedup.lookup(key(7), epoch() + LIFETIME), None);
        assert_eq!(dedup.lookup(key(8), epoch()), None);
        dedup.purge(dedup.deadline().unwrap());
        assert_eq!(dedup.deadline(), None);
    }

    #[test]
    fn the_oldest_message_goes_first() {
        let mut dedup = Dedup::default();
        (0..5).for_each(|id| remember(&mut dedup, id, 4));
        assert_eq!(dedup.lookup(key(0), epoch()), None);
        assert!((1..5).all(|id| dedup.lookup(key(id), epoch()).is_some()));
    }

    #[test]
    fn answers_are_bounded_in_bytes_and_leave_their_message_known() {
        let mut dedup = Dedup::default();
        for id in 0..20 {
            remember(&mut dedup, id, 64);
            dedup.set_reply(MessageId(id), Reply::Datagram(vec![0; 1000].into()));
        }
        assert!(dedup.bytes <= MAX_BYTES);
        assert_eq!(dedup.lookup(key(0), epoch()), Some(&Reply::Nothing));
        assert!(matches!(dedup.lookup(key(19), epoch()), Some(Reply::Datagram(_))));
        (0..20).for_each(|id| dedup.forget(MessageId(id)));
        assert_eq!(dedup.bytes, 0);
    }

    #[test]
    fn an_id_that_comes_again_with_another_token_is_another_message() {
        let (mut dedup, [first, second]) = (Dedup::default(), [1_u64, 2].map(|token| Token::from(token.to_be_bytes())));
        let id = MessageId(7);
        dedup.remember((id, first), epoch() + LIFETIME, (4, epoch()));
        dedup.set_reply(id, Reply::Acknowledge);
        assert_eq!(dedup.lookup((id, second), epoch()), None);
        dedup.remember((id, second), epoch() + LIFETIME, (4, epoch()));
        dedup.set_reply(id, Reply::Reset);
        assert_eq!(dedup.lookup((id, first), epoch()), Some(&Reply::Acknowledge), "and the first keeps its answer");
        assert_eq!(dedup.lookup((id, second), epoch()), Some(&Reply::Reset));
    }
}
