//! An endpoint in the hands of a test that plays its peer, datagram by datagram.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coap::block::BlockOption;
use coap::message::{Kind, Message};
use coap::{Code, Config, Endpoint, Event, Incoming, MessageId, Token};

use crate::epoch::epoch;

pub(crate) struct Bench {
    pub(crate) endpoint: Endpoint,
    pub(crate) now: Instant,
}

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        Self { endpoint: Endpoint::new(Arc::new(config), 1), now: epoch() }
    }

    /// Hands in one datagram.
    pub(crate) fn receive(&mut self, datagram: impl AsRef<[u8]>) {
        self.endpoint.handle_datagram(datagram.as_ref(), self.now);
    }

    /// Hands in a request, and takes it out as event.
    pub(crate) fn request(&mut self, message: Message) -> Incoming {
        self.receive(message.encode());
        match self.endpoint.poll_event() {
            Some(Event::Request(incoming)) => incoming,
            other => panic!("no request but {other:?}"),
        }
    }

    /// Hands in a request that the endpoint answers by itself.
    pub(crate) fn answer(&mut self, message: Message) -> Message {
        self.receive(message.encode());
        self.sent()
    }

    /// The one datagram that the endpoint sends now, decoded.
    pub(crate) fn sent(&mut self) -> Message {
        Message::decode(&self.sent_bytes()).expect("the endpoint sends only messages")
    }

    /// The one datagram that the endpoint sends now.
    pub(crate) fn sent_bytes(&mut self) -> Vec<u8> {
        let datagram = self.endpoint.poll_transmit().expect("a datagram");
        assert_eq!(self.endpoint.poll_transmit(), None, "more than one datagram");
        datagram
    }

    /// That neither datagram nor event is there.
    #[track_caller]
    pub(crate) fn silent(&mut self) {
        assert_eq!(self.endpoint.poll_transmit(), None);
        assert_eq!(self.endpoint.poll_event(), None);
    }

    /// Lets time pass in one go.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.endpoint.handle_timeout(self.now);
    }

    /// Lets time pass until the next deadline.
    pub(crate) fn pass_to_deadline(&mut self) -> Duration {
        let due = self.endpoint.poll_timeout().expect("a deadline");
        let waited = due - self.now;
        self.pass(waited);
        waited
    }
}

/// A CON message to this path, its token made of its id.
pub(crate) fn con(code: Code, id: u16, path: &str) -> Message {
    let token = Token::new(&id.to_be_bytes()).expect("two bytes");
    let mut message = Message { code, token, ..Message::empty(Kind::Confirmable, MessageId(id)) };
    message.options.path = path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
    message
}

/// A response of the peer in the ACK to a message of the endpoint.
pub(crate) fn ack(code: Code, to: &Message) -> Message {
    Message { kind: Kind::Acknowledgement, code, token: to.token, ..Message::empty(Kind::Acknowledgement, to.id) }
}

pub(crate) fn block(num: u32, more: bool, szx: u8) -> Option<BlockOption> {
    Some(BlockOption { num, more, szx })
}
