//! Own confirmable messages that nobody acknowledged yet (RFC 7252 §4.2): when to send each again, and when to give it up. It sends nothing itself.

use std::time::{Duration, Instant};

use crate::exchange::{NotificationId, RequestId};
use crate::{MessageId, Token};

/// Doubling ends here, whatever the configuration says.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What a confirmable message was sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A request of our own, or one of its blocks.
    Request(RequestId),
    /// A separate response.
    Response,
    /// A notification for the observation with this token.
    Notification(NotificationId, Token),
    /// An empty message.
    Ping,
}

#[derive(Debug)]
struct Unacknowledged {
    id: MessageId,
    purpose: Purpose,
    datagram: Vec<u8>,
    due: Instant,
    wait: Duration,
    left: u32,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Send this again.
    Again(Vec<u8>),
    /// Every retransmission went unanswered.
    GivenUp(Purpose),
}

/// The table of unacknowledged messages; empty it owns no memory.
#[derive(Debug, Default)]
pub(super) struct Retransmissions {
    table: Vec<Unacknowledged>,
}

impl Retransmissions {
    /// Remembers a message just sent. Beyond `max` entries the oldest one that is no request gives way and is returned; requests are bounded by their own queue.
    pub(super) fn add(
        &mut self,
        (id, purpose, datagram): (MessageId, Purpose, Vec<u8>),
        (wait, retries): (Duration, u32),
        max: usize,
        now: Instant,
    ) -> Option<Purpose> {
        let replaceable = |sent: &Unacknowledged| !matches!(sent.purpose, Purpose::Request(_));
        let oldest = (self.table.len() >= max).then(|| self.table.iter().position(replaceable)).flatten();
        let given_up = oldest.map(|index| self.remove(index));
        self.table.push(Unacknowledged { id, purpose, datagram, due: now + wait, wait, left: retries });
        given_up
    }

    /// An ACK or RST for this message came.
    pub(super) fn take(&mut self, id: MessageId) -> Option<Purpose> {
        self.table.iter().position(|sent| sent.id == id).map(|index| self.remove(index))
    }

    /// Stops sending what was sent for this purpose.
    pub(super) fn stop(&mut self, unwanted: impl Fn(Purpose) -> bool) {
        self.table.retain(|sent| !unwanted(sent.purpose));
        self.release();
    }

    /// One thing that is due, until there is none.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Due> {
        let index = self.table.iter().position(|sent| sent.due <= now)?;
        let sent = &mut self.table[index];
        if sent.left == 0 {
            return Some(Due::GivenUp(self.remove(index)));
        }
        sent.left -= 1;
        sent.wait = sent.wait.saturating_mul(2).min(LONGEST_WAIT);
        sent.due = now + sent.wait;
        Some(Due::Again(sent.datagram.clone()))
    }

    /// When the next thing is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.table.iter().map(|sent| sent.due).min()
    }

    fn remove(&mut self, index: usize) -> Purpose {
        let purpose = self.table.remove(index).purpose;
        self.release();
        purpose
    }

    fn release(&mut self) {
        if self.table.is_empty() {
            self.table = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epoch::epoch;

    const SECOND: Duration = Duration::from_secs(1);

    fn ping(table: &mut Retransmissions, id: u16, max: usize) -> Option<Purpose> {
        table.add((MessageId(id), Purpose::Ping, vec![1]), (2 * SECOND, 4), max, epoch())
    }

    #[test]
    fn waits_double_until_the_message_is_given_up() {
        let mut table = Retransmissions::default();
        ping(&mut table, 1, 8);
        let mut now = epoch();
        for wait in [2, 4, 8, 16] {
            assert_eq!(table.deadline(), Some(now + wait * SECOND));
            now += wait * SECOND;
            assert_eq!(table.poll(now), Some(Due::Again(vec![1])));
            assert_eq!(table.poll(now), None);
        }
        now += 32 * SECOND;
        assert_eq!(table.poll(now), Some(Due::GivenUp(Purpose::Ping)));
        assert_eq!(now - epoch(), 62 * SECOND, "MAX_TRANSMIT_WAIT for a factor of 1");
        assert_eq!(table.deadline(), None);
    }

    #[test]
    fn an_acknowledged_message_is_not_sent_again() {
        let mut table = Retransmissions::default();
        ping(&mut table, 1, 8);
        assert_eq!(table.take(MessageId(2)), None);
        assert_eq!(table.take(MessageId(1)), Some(Purpose::Ping));
        assert_eq!(table.poll(epoch() + 99 * SECOND), None);
    }

    #[test]
    fn a_full_table_drops_its_oldest_entry_but_no_request() {
        let mut table = Retransmissions::default();
        table.add((MessageId(9), Purpose::Request(RequestId(1)), vec![]), (SECOND, 4), 2, epoch());
        assert_eq!(ping(&mut table, 1, 2), None);
        assert_eq!(ping(&mut table, 2, 2), Some(Purpose::Ping));
        assert_eq!(table.take(MessageId(1)), None);
        assert_eq!(table.take(MessageId(9)), Some(Purpose::Request(RequestId(1))));
    }
}
