//! Who may register: the gateway's own clients, which show a key that only they and the server know, and a few others on this
//! machine under names that are none of theirs. Without the key anybody here could take a device's name, and be told in its
//! place that its image has arrived.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use coap::Code;
use lwm2m::model::Version;
use lwm2m::server::{Admission, Registration};

use super::Device;
use super::own::chance;

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
        registration.query.contains(&self.key)
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

    /// Nobody guesses it.
    fn location(&self, number: u64) -> Vec<String> {
        let chance = chance().unwrap_or_else(|_| format!("{number}-{:x}", fastrand::u64(..)));
        vec!["rd".to_owned(), chance]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use lwm2m::server::{Config, Server};

    use super::*;
    use crate::device::{BoardId, DeviceId};

    fn register(server: &mut Server<Door>, endpoint: &str, more: &str, port: u16) -> Code {
        let mut client = coap::Endpoint::new(Arc::default(), port.into());
        let request = coap::Request::new(Code::POST).with_path("/rd").with_query(format!("ep={endpoint}"));
        let request = request.with_query("lwm2m=1.1").with_query(more).with_payload(40, "</3/0>");
        let (now, peer) = (Instant::now(), ([127, 0, 0, 1], port).into());
        client.request(request, now).expect("room");
        while let Some(datagram) = client.poll_transmit() {
            server.handle_datagram(peer, &datagram, now);
        }
        while let Some((_, datagram)) = server.poll_transmit() {
            client.handle_datagram(&datagram, now);
        }
        while let Some(event) = server.poll_event() {
            if let lwm2m::server::Event::Registered(registration) = event {
                server.admission.registered(&registration);
            }
        }
        match client.poll_event() {
            Some(coap::Event::Response { response, .. }) => response.code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn nobody_takes_the_name_of_a_device() {
        let mut server = Server::new(Door::new("gateway=key".to_owned()), Config::default(), 1);
        let device = Device { id: DeviceId::new("press-3"), endpoint: "press-3".into(), board: BoardId::new("b") };
        server.admission.device_is(device);
        assert_eq!(register(&mut server, "press-3", "b=U", 1), Code::FORBIDDEN);
        assert_eq!(register(&mut server, "press-3", "gateway=guess", 2), Code::FORBIDDEN);
        assert_eq!(register(&mut server, "press-3", "gateway=key", 3), Code::CREATED);
        assert_eq!(register(&mut server, "guest", "b=U", 4), Code::CREATED);
        server.admission.device_gone("press-3");
        assert_eq!(server.admission.devices().count(), 0);
    }

    #[test]
    fn guests_are_few_and_the_gateways_own_are_not_counted() {
        let mut server = Server::new(Door::new("gateway=key".to_owned()), Config::default(), 1);
        for number in 0..100 {
            assert_eq!(register(&mut server, &format!("own-{number}"), "gateway=key", 1000 + number), Code::CREATED);
        }
        let codes: Vec<Code> =
            (0..80).map(|number| register(&mut server, &format!("g-{number}"), "", 2000 + number)).collect();
        assert_eq!(codes.iter().filter(|code| **code == Code::CREATED).count(), MAX_GUESTS);
        assert_eq!(register(&mut server, "g-0", "", 3000), Code::CREATED, "who is here may register again");
    }
}
