//! What both roles share: the queues towards the driver, message ids, retransmission, deduplication, counters. It sends and remembers messages and does not
//! know what they mean.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dedup::{Dedup, Reply};
use super::retransmission::{Purpose, Retransmissions};
use crate::message::{Kind, Message, empty_datagram};
use crate::options::Options;
use crate::{Code, Config, Event, MessageId, Stats, Token};

/// The message layer of an endpoint.
///
/// The two queues need no bound of their own: the driver empties them after each input, and no input adds more than a table holds.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) config: Arc<Config>,
    pub(super) dedup: Dedup,
    pub(super) retransmissions: Retransmissions,
    pub(super) stats: Stats,
    random: fastrand::Rng,
    next_message: MessageId,
    next_id: u64,
    outbox: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

/// A message but for type and id.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) code: Code,
    pub(super) token: Token,
    pub(super) options: Options,
    pub(super) payload: Vec<u8>,
}

impl Content {
    fn into_datagram(self, kind: Kind, id: MessageId) -> Vec<u8> {
        let Self { code, token, options, payload } = self;
        Message { kind, code, id, token, options, payload }.encode()
    }
}

impl Channel {
    pub(super) fn new(config: Arc<Config>, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            config,
            dedup: Dedup::default(),
            retransmissions: Retransmissions::default(),
            stats: Stats::default(),
            next_message: MessageId(random.u16(..)),
            next_id: 0,
            random,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Forgets the peer; counters, ids and randomness go on.
    pub(super) fn reset(&mut self) {
        self.dedup = Dedup::default();
        self.retransmissions = Retransmissions::default();
        self.outbox = VecDeque::new();
        self.events = VecDeque::new();
    }

    /// A number that no other exchange, request or notification of this endpoint has.
    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// A random token: an off-path attacker has to guess it (RFC 7252 §5.3.1).
    pub(super) fn fresh_token(&mut self) -> Token {
        Token::from(self.random.u64(..).to_be_bytes())
    }

    pub(super) fn emit(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        // An idle endpoint keeps no queue: events are large, and thousands of endpoints live in one process.
        if event.is_none() && self.events.capacity() > 0 {
            self.events = VecDeque::new();
        }
        event
    }

    pub(super) fn transmit(&mut self, datagram: Vec<u8>) {
        self.stats.sent += 1;
        self.outbox.push_back(datagram);
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        let datagram = self.outbox.pop_front();
        if datagram.is_none() && self.outbox.capacity() > 0 {
            self.outbox = VecDeque::new();
        }
        datagram
    }

    /// Sends a CON message and sees to its retransmission.
    pub(super) fn send_confirmable(&mut self, content: Content, purpose: Purpose, now: Instant) -> MessageId {
        let id = self.fresh_message_id();
        let datagram = content.into_datagram(Kind::Confirmable, id);
        self.send_reliably(id, datagram, purpose, now);
        id
    }

    /// Sends an empty CON message.
    pub(super) fn send_ping(&mut self, now: Instant) {
        let id = self.fresh_message_id();
        self.send_reliably(id, empty_datagram(Kind::Confirmable, id), Purpose::Ping, now);
    }

    /// Sends a NON message.
    pub(super) fn send_non_confirmable(&mut self, content: Content) -> MessageId {
        let id = self.fresh_message_id();
        self.transmit(content.into_datagram(Kind::NonConfirmable, id));
        id
    }

    /// Answers a CON message inside its ACK; a duplicate gets the same bytes.
    pub(super) fn send_piggybacked(&mut self, id: MessageId, content: Content) {
        let datagram = content.into_datagram(Kind::Acknowledgement, id);
        self.dedup.set_reply(id, Reply::Datagram(datagram.as_slice().into()));
        self.transmit(datagram);
    }

    /// Sends an empty ACK, also to duplicates.
    pub(super) fn acknowledge(&mut self, id: MessageId) {
        self.dedup.set_reply(id, Reply::Acknowledge);
        self.transmit(empty_datagram(Kind::Acknowledgement, id));
    }

    /// Sends RST for what is not remembered: a ping, or no message at all.
    pub(super) fn reject(&mut self, id: MessageId) {
        self.transmit(empty_datagram(Kind::Reset, id));
    }

    /// Sends RST, also to duplicates.
    pub(super) fn refuse(&mut self, id: MessageId) {
        self.dedup.set_reply(id, Reply::Reset);
        self.transmit(empty_datagram(Kind::Reset, id));
    }

    /// Answers a duplicate as its original was answered. `true` for a message that came for the first time; it is then remembered.
    pub(super) fn is_new(&mut self, message: &Message, now: Instant) -> bool {
        let (id, key) = (message.id, (message.id, message.token));
        let Some(reply) = self.dedup.lookup(key, now) else {
            let lifetime = match message.kind {
                Kind::Confirmable => self.config.exchange_lifetime,
                Kind::NonConfirmable | Kind::Acknowledgement | Kind::Reset => self.config.non_lifetime,
            };
            self.dedup.remember(key, now + lifetime, (self.config.max_dedup, now));
            return true;
        };
        let answer = match reply {
            Reply::Nothing => None,
            Reply::Acknowledge => Some(empty_datagram(Kind::Acknowledgement, id)),
            Reply::Reset => Some(empty_datagram(Kind::Reset, id)),
            Reply::Datagram(bytes) => Some(bytes.to_vec()),
        };
        self.stats.duplicates += 1;
        answer.into_iter().for_each(|datagram| self.transmit(datagram));
        false
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.retransmissions.deadline().into_iter().chain(self.dedup.deadline()).min()
    }

    fn send_reliably(&mut self, id: MessageId, datagram: Vec<u8>, purpose: Purpose, now: Instant) {
        let timing = (self.first_wait(), self.config.max_retransmit);
        // Room for every request and as many responses and notifications.
        let max = self.config.max_outstanding.saturating_mul(2).max(2);
        let given_up = self.retransmissions.add((id, purpose, datagram.clone()), timing, max, now);
        if let Some(Purpose::Notification(notification, _)) = given_up {
            self.emit(Event::NotificationTimedOut(notification));
        }
        self.transmit(datagram);
    }

    /// Between ACK_TIMEOUT and ACK_TIMEOUT * ACK_RANDOM_FACTOR (RFC 7252 §4.2).
    fn first_wait(&mut self) -> Duration {
        let spread = (self.config.ack_random_factor - 1.0).clamp(0.0, 100.0) * self.random.f32();
        self.config.ack_timeout + self.config.ack_timeout.mul_f32(spread)
    }

    fn fresh_message_id(&mut self) -> MessageId {
        let id = self.next_message;
        self.next_message = id.next();
        id
    }
}
