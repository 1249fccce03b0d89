//! Who may register: the gateway's own clients, which show a key that only they and the server know, and a few others on this
//! machine under names that are none of theirs. Without the key anybody here could take a device's name, and be told in its
//! place that its image has arrived.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use coap::Code;
use lwm2m::model::Version;
use lwm2m::server::{Admission, Registration};

use super::Device;

/// Clients of others at once.
const MAX_GUESTS: usize = 64;

/// The door.
#[derive(Debug)]
pub(super) struct Door {
    /// The argument of the query that our own clients send.
    key: String,
    /// The gateway's devices, by endpoint name.
    own: HashMap<Arc<str>, Device>,
    guests: HashSet<Arc<str>>,
}

impl Door {
    pub(super) fn new(key: String) -> Self {
        Self { key, own: HashMap::new(), guests: HashSet::new() }
    }

    /// A device of the gateway is there, or is another one now.
    pub(super) fn device_is(&mut self, device: Device) {
        self.own.retain(|_, known| known.id != device.id);
        self.own.insert(device.endpoint.as_str().into(), device);
    }

    /// A device of the gateway is gone.
    pub(super) fn device_gone(&mut self, id: &str) {
        self.own.retain(|_, known| known.id.as_str() != id);
    }

    /// The gateway's device with this endpoint name.
    pub(super) fn device(&self, endpoint: &str) -> Option<&Device> {
        self.own.get(endpoint)
    }

    /// All of the gateway's devices that are there.
    pub(super) fn devices(&self) -> impl Iterator<Item = &Device> {
        self.own.values()
    }

    /// Whether a registration is one of the gateway's own clients.
    pub(super) fn is_own(&self, registration: &Registration) -> bool {
        registration.query.iter().any(|argument| *argument == self.key)
    }

    /// Somebody who was admitted is registered now.
    pub(super) fn registered(&mut self, registration: &Registration) {
        match self.is_own(registration) {
            true => self.guests.remove(&registration.endpoint),
            false => self.guests.insert(Arc::clone(&registration.endpoint)),
        };
    }

    /// Somebody is registered no more.
    pub(super) fn left(&mut self, registration: &Registration) {
        self.guests.remove(&registration.endpoint);
    }
}

impl Admission for Door {
    fn admit(&mut self, registration: &Registration) -> Result<(), Code> {
        if !matches!(registration.version, Version::V1_0 | Version::V1_1) {
            return Err(Code::PRECONDITION_FAILED);
        }
        if self.is_own(registration) {
            return Ok(());
        }
        let room = self.guests.len() < MAX_GUESTS || self.guests.contains(&registration.endpoint);
        if self.own.contains_key(&registration.endpoint) || !room {
            tracing::warn!(endpoint = &*registration.endpoint, peer = %registration.peer, "a stranger was not let in");
            return Err(Code::FORBIDDEN);
        }
        Ok(())
    }
}
