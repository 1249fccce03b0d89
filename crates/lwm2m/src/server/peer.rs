//! One sender of datagrams: its CoAP endpoint and the questions to it.

use std::sync::Arc;
use std::time::Instant;

use super::CallId;

/// What is known of one address.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) coap: coap::Endpoint,
    pub(super) calls: Vec<Call>,
    /// So many registrations came from it.
    pub(super) registrations: usize,
    /// The timer that is set for it.
    pub(super) armed: Option<Instant>,
}

/// One question.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request: coap::RequestId,
    pub(super) id: CallId,
    pub(super) endpoint: Arc<str>,
    /// The path, where it observes.
    pub(super) observes: Option<Vec<String>>,
}

impl Peer {
    pub(super) fn new(coap: coap::Endpoint) -> Self {
        Self { coap, calls: Vec::new(), registrations: 0, armed: None }
    }

    /// How many observations one of its registrations has.
    pub(super) fn observations(&self, endpoint: &Arc<str>) -> usize {
        self.calls.iter().filter(|call| call.endpoint == *endpoint && call.observes.is_some()).count()
    }
}
