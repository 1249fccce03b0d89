//! One peer, one datagram channel, both roles at once. After any input, drain `poll_transmit` and `poll_event`, then sleep until `poll_timeout`.

use std::sync::Arc;
use std::time::Instant;

use crate::{Config, Event, ExchangeId, NotificationId, Refused, Request, RequestId, Response, Stats, Token};

/// A CoAP endpoint towards one peer.
#[derive(Debug)]
pub struct Endpoint {
    config: Arc<Config>,
    next_id: u64,
    stats: Stats,
}

impl Endpoint {
    /// An endpoint that knows nothing yet. `seed` feeds tokens, message ids and the random factor of retransmission.
    pub fn new(config: Arc<Config>, _seed: u64) -> Self {
        Self { config, next_id: 0, stats: Stats::default() }
    }

    /// Takes one datagram of the peer. What is no CoAP message is dropped and counted.
    pub fn handle_datagram(&mut self, _datagram: &[u8], _now: Instant) {
        self.stats.received += 1;
    }

    /// Does what is due: retransmits, acknowledges, gives up, forgets.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next to be called, as of now.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Sends a request (client role).
    ///
    /// # Errors
    /// When too many wait already or it can not be encoded.
    pub fn request(&mut self, _request: Request, _now: Instant) -> Result<RequestId, Refused> {
        Ok(RequestId(self.fresh_id()))
    }

    /// Forgets a request or an observation; nothing more is reported of it.
    pub fn cancel(&mut self, _id: RequestId, _now: Instant) {}

    /// Answers a request of the peer (server role). An exchange that is no longer known is ignored.
    pub fn respond(&mut self, _exchange: ExchangeId, _response: Response, _now: Instant) {}

    /// Sends a notification (server role) with this sequence number.
    pub fn notify(
        &mut self,
        _token: Token,
        _observe: u32,
        _response: Response,
        _confirmable: bool,
        _now: Instant,
    ) -> NotificationId {
        NotificationId(self.fresh_id())
    }

    /// Stops the retransmission of a notification.
    pub fn abandon_notification(&mut self, _id: NotificationId) {}

    /// Asks whether the peer is there (RFC 7252 §4.3).
    pub fn ping(&mut self, _now: Instant) {}

    /// The counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Forgets everything but the counters, as for a new socket.
    pub fn reset(&mut self) {}

    fn fresh_id(&mut self) -> u64 {
        let _ = &self.config;
        self.next_id += 1;
        self.next_id
    }
}
