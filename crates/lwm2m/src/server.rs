//! The server half: who is registered, and questions to them, over datagrams that come with their sender's address.
//!
//! ```text
//! POST /rd?ep=..&lwm2m=.. ──► Admission::admit ──► 2.01 with a location ──► Event::Registered
//! POST LOCATION           ──► 2.04 ──► Event::Updated          no Update within the lifetime ──► Event::Expired
//! DELETE LOCATION         ──► 2.02 ──► Event::Deregistered
//! call() ──► Event::Answered | Event::Failed      an observation: Answered, Notified ..., until Failed, Ended or forget()
//! ```
//! LwM2M core 6.2 (registration interface) and 6.3, 6.4 (the requests that [`ask`] makes). Not for what is asked, nor for what
//! the answers are good for: whoever drives it decides. A driver owns it: after any input it drains `poll_transmit` and
//! `poll_event`, then sleeps until `poll_timeout`.

mod answers;
pub mod ask;
mod peer;
mod registration;
mod timers;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use coap::{Code, Incoming, Refused, Request, Response};

pub use answers::records;
pub use registration::{Registration, Stated};

use peer::{Call, Peer};
use registration::Offer;
use timers::{Timer, Timers};

/// Senders that are registered nowhere and still remembered, so that a message that comes twice is taken once.
const MAX_STRANGERS: usize = 64;

/// Bounds, and the parameters of CoAP. Longest body: `coap.max_body`.
#[derive(Debug, Clone)]
pub struct Config {
    /// CoAP towards each client.
    pub coap: Arc<coap::Config>,
    /// Registrations at once; further ones get 5.03.
    pub max_registrations: usize,
    /// Observations of one client at once.
    pub max_observations: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { coap: Arc::default(), max_registrations: 4096, max_observations: 64 }
    }
}

/// Who may register, and where.
pub trait Admission {
    /// Takes a registration that is in order, or answers it with a code: 4.03, or 4.12 for its version of LwM2M.
    ///
    /// # Errors
    /// The code.
    fn admit(&mut self, registration: &Registration) -> Result<(), Code>;

    /// The location of the `number`th registration; whoever knows it may end that.
    fn location(&self, number: u64) -> Vec<String> {
        vec!["rd".to_owned(), number.to_string()]
    }
}

/// One question to a client, until its answer; an observation for as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId {
    peer: SocketAddr,
    number: u64,
}

/// Why a question was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAsked {
    /// There is no such registration.
    #[error("it is not registered")]
    Unknown,
    /// It has as many observations as it may have.
    #[error("it has too many observations")]
    TooManyObservations,
    /// CoAP says no.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A client registered, for the first time or again; what was observed before has ended.
    Registered(Registration),
    /// A client sent an Update.
    Updated(Registration),
    /// A client de-registered.
    Deregistered(Registration),
    /// A registration ran out.
    Expired(Registration),
    /// A client answered.
    Answered {
        /// What.
        call: CallId,
        /// How; with `observe` the call goes on as an observation.
        response: Response,
    },
    /// A client did not.
    Failed {
        /// What.
        call: CallId,
        /// Why.
        reason: coap::Failure,
    },
    /// A client notified; without `observe`, or with an error code, for the last time.
    Notified {
        /// The call that observes.
        call: CallId,
        /// The value.
        response: Response,
    },
    /// An observation ended with its registration.
    Ended {
        /// The call that observed.
        call: CallId,
    },
}

/// The server.
#[derive(Debug)]
pub struct Server<A> {
    /// Who may register from now on.
    pub admission: A,
    config: Config,
    peers: HashMap<SocketAddr, Peer>,
    registrations: HashMap<Arc<str>, Registration>,
    locations: HashMap<Vec<String>, Arc<str>>,
    timers: Timers,
    outbox: VecDeque<(SocketAddr, Vec<u8>)>,
    events: VecDeque<Event>,
    random: fastrand::Rng,
    given: u64,
}

impl<A: Admission> Server<A> {
    /// A server that knows nobody. `seed` feeds tokens and message ids.
    pub fn new(admission: A, config: Config, seed: u64) -> Self {
        Self {
            admission,
            config,
            peers: HashMap::new(),
            registrations: HashMap::new(),
            locations: HashMap::new(),
            timers: Timers::default(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
            given: 0,
        }
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, peer: SocketAddr, datagram: &[u8], now: Instant) {
        if !self.peers.contains_key(&peer) {
            self.make_room();
            let endpoint = coap::Endpoint::new(Arc::clone(&self.config.coap), self.random.u64(..));
            self.peers.insert(peer, Peer::new(endpoint));
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.coap.handle_datagram(datagram, now);
        }
        self.drain(peer, now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for timer in self.timers.due(now) {
            match timer {
                Timer::Peer(peer) => {
                    if let Some(known) = self.peers.get_mut(&peer) {
                        known.armed = None;
                        known.coap.handle_timeout(now);
                    }
                    self.drain(peer, now);
                }
                Timer::Lifetime(endpoint) => {
                    if let Some(gone) = self.remove(&endpoint, now) {
                        self.events.push_back(Event::Expired(gone));
                    }
                }
            }
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let next = self.outbox.pop_front();
        if next.is_none() && self.outbox.capacity() > 0 {
            self.outbox = VecDeque::new();
        }
        next
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let next = self.events.pop_front();
        if next.is_none() && self.events.capacity() > 0 {
            self.events = VecDeque::new();
        }
        next
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Who is registered, in no order.
    pub fn registrations(&self) -> impl ExactSizeIterator<Item = &Registration> {
        self.registrations.values()
    }

    /// The registration of an endpoint.
    pub fn registration(&self, endpoint: &str) -> Option<&Registration> {
        self.registrations.get(endpoint)
    }

    /// How many senders are remembered, registered or not.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Asks a client; [`ask`] has the requests. Paths go below the client's own root.
    ///
    /// # Errors
    /// When it is not registered, or too much is under way.
    pub fn call(&mut self, endpoint: &str, mut request: Request, now: Instant) -> Result<CallId, NotAsked> {
        let registration = self.registrations.get(endpoint).ok_or(NotAsked::Unknown)?;
        let (peer, endpoint) = (registration.peer, Arc::clone(&registration.endpoint));
        request.path.splice(0..0, registration.root.iter().cloned());
        let known = self.peers.get_mut(&peer).ok_or(NotAsked::Unknown)?;
        let observes = (request.observe == Some(0)).then(|| request.path.clone());
        if observes.is_some() && known.observations(&endpoint) >= self.config.max_observations {
            return Err(NotAsked::TooManyObservations);
        }
        let cancels = (request.observe == Some(1)).then(|| request.path.clone());
        let asked = known.coap.request(request, now)?;
        // The request that cancels has taken the place of the one that observed.
        known.calls.retain(|call| cancels.is_none() || call.observes != cancels);
        self.given += 1;
        let id = CallId { peer, number: self.given };
        known.calls.push(Call { request: asked, id, endpoint, observes });
        self.drain(peer, now);
        Ok(id)
    }

    /// Forgets a call. Of an observation: the next notification gets RST.
    pub fn forget(&mut self, call: CallId, now: Instant) {
        let Some(known) = self.peers.get_mut(&call.peer) else { return };
        let Some(at) = known.calls.iter().position(|one| one.id == call) else { return };
        let forgotten = known.calls.remove(at);
        known.coap.cancel(forgotten.request, now);
        self.drain(call.peer, now);
    }

    /// Forgets everybody, and says nothing about it.
    pub fn forget_everything(&mut self) {
        self.registrations.clear();
        self.locations.clear();
        self.peers.clear();
        self.timers = Timers::default();
    }

    /// Of those that are registered nowhere, the one that is forgotten soonest goes when there are too many.
    fn make_room(&mut self) {
        let registered = self.registrations.len();
        if self.peers.len().saturating_sub(registered) < MAX_STRANGERS {
            return;
        }
        let stranger = |peer: &SocketAddr| self.peers.get(peer).is_some_and(|known| known.registrations == 0);
        let soonest = self.timers.peers().find(stranger);
        if let Some(peer) = soonest.or_else(|| self.peers.keys().copied().find(stranger)) {
            self.forget_peer(peer);
        }
    }

    fn forget_peer(&mut self, peer: SocketAddr) {
        if let Some(known) = self.peers.remove(&peer) {
            self.timers.disarm(known.armed, &Timer::Peer(peer));
            // Whoever asked waits for a word.
            let failed = |call: Call| Event::Failed { call: call.id, reason: coap::Failure::Timeout };
            self.events.extend(known.calls.into_iter().map(failed));
        }
    }

    /// Everything that an endpoint has to say.
    fn drain(&mut self, peer: SocketAddr, now: Instant) {
        while let Some(event) = self.peers.get_mut(&peer).and_then(|known| known.coap.poll_event()) {
            match event {
                coap::Event::Request(request) => {
                    let response = self.answer(peer, &request, now);
                    if let Some(known) = self.peers.get_mut(&peer) {
                        known.coap.respond(request.exchange, response, now);
                    }
                }
                coap::Event::Response { request, response } => {
                    let goes_on = response.observe.is_some() && response.code.is_success();
                    if let Some(call) = self.answered(peer, request, goes_on) {
                        self.events.push_back(Event::Answered { call, response });
                    }
                }
                coap::Event::Notification { request, response } => {
                    let goes_on = response.observe.is_some() && response.code.is_success();
                    if let Some(call) = self.answered(peer, request, goes_on) {
                        self.events.push_back(Event::Notified { call, response });
                    }
                }
                coap::Event::Failed { request, reason } => {
                    if let Some(call) = self.answered(peer, request, false) {
                        self.events.push_back(Event::Failed { call, reason });
                    }
                }
                coap::Event::NotificationAcknowledged(_)
                | coap::Event::NotificationReset { .. }
                | coap::Event::NotificationTimedOut(_)
                | coap::Event::PingAnswered => {}
            }
        }
        self.send(peer);
    }

    /// Takes an endpoint's datagrams and its next deadline. One that is nobody and has nothing to do is forgotten.
    fn send(&mut self, peer: SocketAddr) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        while let Some(datagram) = known.coap.poll_transmit() {
            self.outbox.push_back((peer, datagram));
        }
        let deadline = known.coap.poll_timeout();
        if deadline.is_none() && known.registrations == 0 && known.calls.is_empty() {
            return self.forget_peer(peer);
        }
        let armed = std::mem::replace(&mut known.armed, deadline);
        self.timers.rearm(armed, deadline, Timer::Peer(peer));
    }

    /// The call that a request of ours was made for; it is over unless it goes on.
    fn answered(&mut self, peer: SocketAddr, request: coap::RequestId, goes_on: bool) -> Option<CallId> {
        let calls = &mut self.peers.get_mut(&peer)?.calls;
        let at = calls.iter().position(|call| call.request == request)?;
        let id = calls[at].id;
        if !(goes_on && calls[at].observes.is_some()) {
            calls.remove(at);
            calls.shrink_to_fit();
        }
        Some(id)
    }

    fn answer(&mut self, peer: SocketAddr, request: &Incoming, now: Instant) -> Response {
        let registers = matches!(request.path.as_slice(), [only] if only == "rd");
        let answered = match request.method {
            Code::POST if registers => self.register(peer, request, now),
            Code::POST => self.update(peer, request, now),
            Code::DELETE => self.deregister(request, now),
            _ => Err(Code::METHOD_NOT_ALLOWED),
        };
        answered.unwrap_or_else(Response::new)
    }

    fn register(&mut self, peer: SocketAddr, request: &Incoming, now: Instant) -> Result<Response, Code> {
        let offer = Offer::read(request)?;
        let mut registration = Registration::of(offer, peer, now)?;
        self.admission.admit(&registration)?;
        let known = self.registrations.contains_key(&registration.endpoint);
        if !known && self.registrations.len() >= self.config.max_registrations {
            return Err(Code::SERVICE_UNAVAILABLE);
        }
        self.given += 1;
        registration.location = self.admission.location(self.given);
        let endpoint = Arc::clone(&registration.endpoint);
        self.remove(&endpoint, now);
        self.locations.insert(registration.location.clone(), Arc::clone(&endpoint));
        self.timers.rearm(None, registration.expires(), Timer::Lifetime(Arc::clone(&endpoint)));
        if let Some(known) = self.peers.get_mut(&peer) {
            known.registrations += 1;
        }
        let response = Response::new(Code::CREATED).with_location(registration.location.clone());
        self.registrations.insert(endpoint, registration.clone());
        self.events.push_back(Event::Registered(registration));
        Ok(response)
    }

    fn update(&mut self, peer: SocketAddr, request: &Incoming, now: Instant) -> Result<Response, Code> {
        let endpoint = self.locations.get(&request.path).cloned().ok_or(Code::NOT_FOUND)?;
        let known = self.registrations.get_mut(&endpoint).ok_or(Code::NOT_FOUND)?;
        if known.peer != peer {
            return Err(Code::BAD_REQUEST);
        }
        let offer = Offer::read(request)?;
        let before = known.expires();
        known.update(offer, now)?;
        self.timers.rearm(before, known.expires(), Timer::Lifetime(endpoint));
        self.events.push_back(Event::Updated(known.clone()));
        Ok(Response::new(Code::CHANGED))
    }

    /// From wherever it comes: some clients (lwm2m-node-lib's) leave by another socket than they came by.
    fn deregister(&mut self, request: &Incoming, now: Instant) -> Result<Response, Code> {
        let endpoint = self.locations.get(&request.path).cloned().ok_or(Code::NOT_FOUND)?;
        let gone = self.remove(&endpoint, now).ok_or(Code::NOT_FOUND)?;
        self.events.push_back(Event::Deregistered(gone));
        Ok(Response::new(Code::DELETED))
    }

    /// Ends a registration and what was observed under it; questions that are under way find their own end.
    fn remove(&mut self, endpoint: &Arc<str>, now: Instant) -> Option<Registration> {
        let gone = self.registrations.remove(endpoint)?;
        self.locations.remove(&gone.location);
        self.timers.disarm(gone.expires(), &Timer::Lifetime(Arc::clone(endpoint)));
        if let Some(known) = self.peers.get_mut(&gone.peer) {
            known.registrations = known.registrations.saturating_sub(1);
            for call in known.calls.extract_if(.., |call| call.endpoint == *endpoint && call.observes.is_some()) {
                known.coap.cancel(call.request, now);
                self.events.push_back(Event::Ended { call: call.id });
            }
        }
        self.send(gone.peer);
        Some(gone)
    }
}
