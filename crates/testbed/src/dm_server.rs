//! A small scripted DM server: takes registrations, asks devices what it is told to ask, and keeps what happened.
//!
//! For unit tests and the demo; acceptance tests use servers that we did not write. The core knows no socket and no clock;
//! [`driver`] runs one on a UDP socket.

pub mod ask;
pub mod driver;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coap::{Code, Endpoint, Failure, Incoming, Request, RequestId, Response};

/// Most peers; datagrams of further ones are dropped.
const MAX_PEERS: usize = 4096;

/// How a server behaves. May be changed while it runs.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Versions of LwM2M that it takes; others get 4.12. Empty takes all.
    pub versions: Vec<String>,
    /// Answer every Register with this code.
    pub refuse_register: Option<Code>,
    /// Give the location as one segment, `rd/1`, as lwm2m-node-lib does.
    pub one_segment_location: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        let versions = vec!["1.0".to_owned(), "1.1".to_owned()];
        Self { versions, refuse_register: None, one_segment_location: false }
    }
}

/// What a device said of itself when it registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The endpoint name.
    pub endpoint: String,
    /// Location-Path as given.
    pub location: Vec<String>,
    /// `lwm2m=`
    pub version: String,
    /// `lt=`, seconds.
    pub lifetime: u32,
    /// `b=`
    pub binding: Option<String>,
    /// The list of objects, as sent.
    pub objects: String,
    /// The whole query, in its order.
    pub query: Vec<String>,
    /// Where it came from.
    pub peer: SocketAddr,
    /// When it registered or updated last.
    pub seen: Instant,
}

/// One question to a device, until its answer; an observation for as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(u64);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DmEvent {
    /// A device registered, for the first time or again.
    Registered(Registration),
    /// A device sent an Update.
    Updated(Registration),
    /// A device de-registered.
    Deregistered(Registration),
    /// A registration ran out.
    Expired(Registration),
    /// A device answered.
    Answered {
        /// What.
        call: CallId,
        /// How.
        response: Response,
    },
    /// A device did not.
    Failed {
        /// What.
        call: CallId,
        /// Why.
        reason: Failure,
    },
    /// A device notified.
    Notified {
        /// The call that observes.
        call: CallId,
        /// The value.
        response: Response,
    },
}

/// The server.
#[derive(Debug)]
pub struct DmServer {
    /// How it behaves from now on.
    pub behaviour: Behaviour,
    coap: Arc<coap::Config>,
    peers: HashMap<SocketAddr, Endpoint>,
    registrations: Vec<Registration>,
    calls: HashMap<(SocketAddr, RequestId), CallId>,
    events: VecDeque<DmEvent>,
    rng: fastrand::Rng,
    given: u64,
}

impl DmServer {
    /// A server that knows nobody.
    pub fn new(behaviour: Behaviour, coap: Arc<coap::Config>, seed: u64) -> Self {
        Self {
            behaviour,
            coap,
            peers: HashMap::new(),
            registrations: Vec::new(),
            calls: HashMap::new(),
            events: VecDeque::new(),
            rng: fastrand::Rng::with_seed(seed),
            given: 0,
        }
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, peer: SocketAddr, datagram: &[u8], now: Instant) {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            return;
        }
        self.peer(peer).handle_datagram(datagram, now);
        self.drain(peer, now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |endpoint: &Endpoint| endpoint.poll_timeout().is_some_and(|at| at <= now);
        let peers: Vec<_> = self.peers.iter().filter(|(_, endpoint)| due(endpoint)).map(|(peer, _)| *peer).collect();
        for peer in peers {
            self.peer(peer).handle_timeout(now);
            self.drain(peer, now);
        }
        for expired in
            self.registrations.extract_if(.., |registration| registration.expires().is_some_and(|at| at <= now))
        {
            self.events.push_back(DmEvent::Expired(expired));
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.peers.iter_mut().find_map(|(peer, endpoint)| Some((*peer, endpoint.poll_transmit()?)))
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DmEvent> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let registrations = self.registrations.iter().filter_map(Registration::expires);
        self.peers.values().filter_map(Endpoint::poll_timeout).chain(registrations).min()
    }

    /// Who is registered.
    pub fn registrations(&self) -> &[Registration] {
        &self.registrations
    }

    /// The registration of an endpoint.
    pub fn registration(&self, endpoint: &str) -> Option<&Registration> {
        self.registrations.iter().find(|registration| registration.endpoint == endpoint)
    }

    /// Asks a device; [`ask`] has the requests. `None` when it is not registered or too much is under way.
    pub fn call(&mut self, endpoint: &str, request: Request, now: Instant) -> Option<CallId> {
        let peer = self.registration(endpoint)?.peer;
        let request = self.peer(peer).request(request, now).ok()?;
        self.given += 1;
        let call = CallId(self.given);
        self.calls.insert((peer, request), call);
        Some(call)
    }

    /// Forgets a call. Of an observation: the next notification gets RST.
    pub fn forget(&mut self, call: CallId, now: Instant) {
        let known = self.calls.iter().find(|(_, known)| **known == call).map(|(key, _)| *key);
        if let Some((peer, request)) = known {
            self.calls.remove(&(peer, request));
            self.peer(peer).cancel(request, now);
        }
    }

    /// Forgets all registrations, as a server that restarts does.
    pub fn forget_everything(&mut self) {
        self.registrations.clear();
        self.peers.clear();
        self.calls.clear();
    }
}

impl DmServer {
    fn peer(&mut self, peer: SocketAddr) -> &mut Endpoint {
        let (coap, seed) = (&self.coap, self.rng.u64(..));
        self.peers.entry(peer).or_insert_with(|| Endpoint::new(coap.clone(), seed))
    }

    fn drain(&mut self, peer: SocketAddr, now: Instant) {
        while let Some(event) = self.peer(peer).poll_event() {
            match event {
                coap::Event::Request(request) => {
                    let response = self.answer(peer, &request, now);
                    self.peer(peer).respond(request.exchange, response, now);
                }
                coap::Event::Response { request, response } => {
                    let observes = response.observe.is_some();
                    let call = if observes {
                        self.calls.get(&(peer, request)).copied()
                    } else {
                        self.calls.remove(&(peer, request))
                    };
                    self.events.extend(call.map(|call| DmEvent::Answered { call, response }));
                }
                coap::Event::Notification { request, response } => {
                    let call = self.calls.get(&(peer, request)).copied();
                    self.events.extend(call.map(|call| DmEvent::Notified { call, response }));
                }
                coap::Event::Failed { request, reason } => {
                    let call = self.calls.remove(&(peer, request));
                    self.events.extend(call.map(|call| DmEvent::Failed { call, reason }));
                }
                coap::Event::NotificationAcknowledged(_)
                | coap::Event::NotificationReset { .. }
                | coap::Event::NotificationTimedOut(_)
                | coap::Event::PingAnswered => {}
            }
        }
    }

    fn answer(&mut self, peer: SocketAddr, request: &Incoming, now: Instant) -> Response {
        match (request.method, request.path.first().map(String::as_str), request.path.len()) {
            (Code::POST, Some("rd"), 1) => self.register(peer, request, now),
            (Code::POST, ..) => self.update(peer, request, now),
            (Code::DELETE, ..) => self.deregister(request),
            _ => Response::new(Code::METHOD_NOT_ALLOWED),
        }
    }

    fn register(&mut self, peer: SocketAddr, request: &Incoming, now: Instant) -> Response {
        let argument = |name: &str| request.query.iter().find_map(|query| query.strip_prefix(name)?.strip_prefix('='));
        let (Some(endpoint), Some(version)) = (argument("ep"), argument("lwm2m")) else {
            return Response::new(Code::BAD_REQUEST);
        };
        if let Some(code) = self.behaviour.refuse_register {
            return Response::new(code);
        }
        if !self.behaviour.versions.is_empty() && !self.behaviour.versions.iter().any(|known| known == version) {
            return Response::new(Code::PRECONDITION_FAILED);
        }
        self.given += 1;
        let location = match self.behaviour.one_segment_location {
            true => vec![format!("rd/{}", self.given)],
            false => vec!["rd".to_owned(), format!("r{}", self.given)],
        };
        let registration = Registration {
            endpoint: endpoint.to_owned(),
            location: location.clone(),
            version: version.to_owned(),
            lifetime: argument("lt").and_then(|seconds| seconds.parse().ok()).unwrap_or(86_400),
            binding: argument("b").map(str::to_owned),
            objects: String::from_utf8_lossy(&request.payload).into_owned(),
            query: request.query.clone(),
            peer,
            seen: now,
        };
        self.registrations.retain(|known| known.endpoint != registration.endpoint);
        self.registrations.push(registration.clone());
        self.events.push_back(DmEvent::Registered(registration));
        Response::new(Code::CREATED).with_location(location)
    }

    fn update(&mut self, peer: SocketAddr, request: &Incoming, now: Instant) -> Response {
        let Some(known) = self.registrations.iter_mut().find(|known| known.location == request.path) else {
            return Response::new(Code::NOT_FOUND);
        };
        if known.peer != peer {
            return Response::new(Code::BAD_REQUEST);
        }
        if !request.payload.is_empty() {
            known.objects = String::from_utf8_lossy(&request.payload).into_owned();
        }
        let lifetime = request.query.iter().find_map(|query| query.strip_prefix("lt=")?.parse().ok());
        known.lifetime = lifetime.unwrap_or(known.lifetime);
        known.seen = now;
        self.events.push_back(DmEvent::Updated(known.clone()));
        Response::new(Code::CHANGED)
    }

    fn deregister(&mut self, request: &Incoming) -> Response {
        let Some(position) = self.registrations.iter().position(|known| known.location == request.path) else {
            return Response::new(Code::NOT_FOUND);
        };
        self.events.push_back(DmEvent::Deregistered(self.registrations.remove(position)));
        Response::new(Code::DELETED)
    }
}

impl Registration {
    fn expires(&self) -> Option<Instant> {
        (self.lifetime > 0).then(|| self.seen + Duration::from_secs(self.lifetime.into()))
    }
}
