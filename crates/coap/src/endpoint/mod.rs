//! One peer, one datagram channel, both roles at once: this file takes a message apart far enough to know whose it is (RFC 7252 §4.2, §4.3), the roles do the
//! rest. A driver owns it: after any input it drains `poll_transmit` and `poll_event`, then sleeps until `poll_timeout`.

mod channel;
mod client;
mod dedup;
mod key;
mod observation;
mod observed;
mod receiving;
mod retransmission;
mod server;
mod serving;
mod transfer;

use std::sync::Arc;
use std::time::Instant;

use crate::message::{Kind, Malformed, Message};
use crate::{
    Code, Config, Event, ExchangeId, Failure, MessageId, NotificationId, Refused, Request, RequestId, Response, Stats,
    Token,
};
use channel::Channel;
use client::Client;
use retransmission::{Due, Purpose};
use server::Server;

/// A CoAP endpoint towards one peer.
#[derive(Debug)]
pub struct Endpoint {
    channel: Channel,
    client: Client,
    server: Server,
}

impl Endpoint {
    /// An endpoint that knows nothing yet. `seed` feeds tokens, message ids and the random factor of retransmission.
    pub fn new(config: Arc<Config>, seed: u64) -> Self {
        Self { channel: Channel::new(config, seed), client: Client::default(), server: Server::default() }
    }

    /// Takes one datagram of the peer. What is no CoAP message is counted and dropped; where it came as CON, RST says so.
    pub fn handle_datagram(&mut self, datagram: &[u8], now: Instant) {
        self.channel.stats.received += 1;
        match Message::decode(datagram) {
            Ok(message) => self.handle_message(message, now),
            Err(malformed) => self.handle_malformed(malformed),
        }
    }

    /// Does what is due: retransmits, acknowledges, gives up, forgets.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(due) = self.channel.retransmissions.poll(now) {
            match due {
                Due::Again(datagram) => {
                    self.channel.stats.retransmissions += 1;
                    self.channel.transmit(datagram);
                }
                Due::GivenUp(purpose) => self.give_up(purpose, now),
            }
        }
        self.client.handle_timeout(&mut self.channel, now);
        self.server.handle_timeout(&mut self.channel, now);
        if self.channel.dedup.deadline().is_some_and(|deadline| deadline <= now) {
            self.channel.dedup.purge(now);
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.channel.poll_transmit()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.channel.poll_event()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next to be called, as of now.
    pub fn poll_timeout(&self) -> Option<Instant> {
        [self.channel.deadline(), self.client.deadline(), self.server.deadline()].into_iter().flatten().min()
    }

    /// Sends a request (client role), once the confirmable ones before it are done. A large body goes by Block1, a large answer is fetched by Block2.
    /// With Observe 1 it takes the token of the observation that the same request made with 0, and ends it.
    ///
    /// # Errors
    /// When too many wait already or it can not be encoded.
    pub fn request(&mut self, request: Request, now: Instant) -> Result<RequestId, Refused> {
        self.client.request(&mut self.channel, request, now)
    }

    /// Forgets a request or an observation; nothing more is reported of it, and a notification for it is answered with RST.
    pub fn cancel(&mut self, id: RequestId, now: Instant) {
        self.client.cancel(&mut self.channel, id, now);
    }

    /// Answers a request of the peer (server role): in the ACK if it is not out yet, else by a message of its own. A large body goes by Block2; a part that more parts
    /// follow is answered 2.31 where the response is a success. An exchange that is no longer known is ignored.
    pub fn respond(&mut self, exchange: ExchangeId, response: Response, now: Instant) {
        self.server.respond(&mut self.channel, exchange, response, now);
    }

    /// Sends a notification (server role) with this sequence number, of which 24 bits count. Of a large body the first block goes out, the rest is
    /// fetched from here. An error ends the observation.
    pub fn notify(
        &mut self,
        token: Token,
        observe: u32,
        response: Response,
        confirmable: bool,
        now: Instant,
    ) -> NotificationId {
        let response = response.with_observe(observe & 0xff_ffff);
        self.server.notify(&mut self.channel, token, response, confirmable, now)
    }

    /// Stops the retransmission of a notification; nothing more is reported of it but a RST.
    pub fn abandon_notification(&mut self, id: NotificationId) {
        let abandoned = |purpose| matches!(purpose, Purpose::Notification(other, _) if other == id);
        self.channel.retransmissions.stop(abandoned);
    }

    /// Asks whether the peer is there (RFC 7252 §4.3).
    pub fn ping(&mut self, now: Instant) {
        self.channel.send_ping(now);
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.channel.stats
    }

    /// Forgets everything but the counters, as for a new socket.
    pub fn reset(&mut self) {
        self.channel.reset();
        self.client = Client::default();
        self.server = Server::default();
    }

    fn handle_malformed(&mut self, malformed: Malformed) {
        self.channel.stats.malformed += 1;
        if let Malformed::Format { reject: Some(id) } = malformed {
            self.channel.reject(id);
        }
    }

    fn handle_message(&mut self, message: Message, now: Instant) {
        match message.kind {
            Kind::Acknowledgement if message.code == Code::EMPTY => self.handle_acknowledgement(message.id, now),
            Kind::Acknowledgement => self.handle_piggybacked(message, now),
            Kind::Reset => self.handle_reset(message.id, now),
            Kind::Confirmable if message.code == Code::EMPTY => self.channel.reject(message.id),
            Kind::NonConfirmable if message.code == Code::EMPTY => self.channel.stats.ignored += 1,
            _ if !self.channel.is_new(&message, now) => {}
            _ if message.code.is_request() => self.server.handle_request(&mut self.channel, message, now),
            _ => self.handle_response(message, now),
        }
    }

    fn handle_acknowledgement(&mut self, id: MessageId, now: Instant) {
        match self.channel.retransmissions.take(id) {
            Some(Purpose::Request(request)) => self.client.handle_acknowledged(&mut self.channel, request, now),
            Some(Purpose::Notification(id, _)) => self.channel.emit(Event::NotificationAcknowledged(id)),
            Some(Purpose::Ping) => self.channel.emit(Event::PingAnswered),
            Some(Purpose::Response) => {}
            None => self.channel.stats.ignored += 1,
        }
    }

    fn handle_piggybacked(&mut self, message: Message, now: Instant) {
        match self.client.find(&message) {
            Some(found) => self.client.handle_response(&mut self.channel, found, message, now),
            None => self.channel.stats.ignored += 1,
        }
    }

    /// A response in a message of its own. One that nobody waits for is refused with RST if it is confirmable, or a notification (RFC 7641 §3.6).
    fn handle_response(&mut self, message: Message, now: Instant) {
        let found = self.client.find(&message);
        let confirmable = message.kind == Kind::Confirmable;
        match found {
            Some(_) if confirmable && message.options.fault.is_none() => self.channel.acknowledge(message.id),
            Some(_) if !confirmable => {}
            None if !confirmable && message.options.observe.is_none() => self.channel.stats.ignored += 1,
            Some(_) | None => self.channel.refuse(message.id),
        }
        if let Some(found) = found {
            self.client.handle_response(&mut self.channel, found, message, now);
        }
    }

    fn handle_reset(&mut self, id: MessageId, now: Instant) {
        match self.channel.retransmissions.take(id) {
            Some(Purpose::Request(request)) => self.client.fail(&mut self.channel, request, Failure::Reset, now),
            Some(Purpose::Notification(id, token)) => {
                self.server.observations.remove(token);
                self.channel.emit(Event::NotificationReset { id, token });
            }
            Some(Purpose::Ping) => self.channel.emit(Event::PingAnswered),
            Some(Purpose::Response) => {}
            None if self.client.handle_reset(&mut self.channel, id, now) => {}
            None => self.handle_late_reset(id),
        }
    }

    /// For a notification that was a NON, or is not sent again any more.
    fn handle_late_reset(&mut self, id: MessageId) {
        match self.server.observations.reset(id) {
            Some((id, token)) => self.channel.emit(Event::NotificationReset { id, token }),
            None => self.channel.stats.ignored += 1,
        }
    }

    fn give_up(&mut self, purpose: Purpose, now: Instant) {
        self.channel.stats.timeouts += 1;
        match purpose {
            Purpose::Request(id) => self.client.fail(&mut self.channel, id, Failure::Timeout, now),
            Purpose::Notification(id, _) => self.channel.emit(Event::NotificationTimedOut(id)),
            Purpose::Response | Purpose::Ping => {}
        }
    }
}
