//! A LwM2M client without I/O: one device, one object tree, any number of servers.
//!
//! For each server there is a session with its own CoAP endpoint, registration, attributes and observations, so that a
//! slow, dead or hostile server delays no other. A driver owns the sockets and the time: it opens a socket when
//! [`Event::NeedSocket`] says so and calls [`Client::start`], hands in datagrams, sends what [`Client::poll_transmit`]
//! gives, and sleeps until [`Client::poll_timeout`]. After any input it drains both polls.
//!
//! Not here: names and sockets, what a firmware update does (object 5 is a view; Writes and Executes on it come out as
//! commands, answered with [`Client::answer`]), and bootstrap.
//!
//! ```text
//! NeedSocket -> start -> POST /rd ... 2.01 -> Registered ... POST /rd/x ... 2.04 -> Updated ...
//!     ^                     | refused, lost                    | 4.xx: Register, same socket
//!     '---- retry timer ----' RegistrationFailed               | lost twice: NeedSocket
//! ```

mod commands;
mod config;
mod discover;
mod dispatch;
mod execute;
mod gateway;
mod observe;
mod push;
mod read;
mod registration;
mod session;
mod write;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use commands::Commands;
use session::Session;

use crate::model::Version;
use crate::objects::{FLASHING, Facts, GatewayFacts};
use crate::value::Value;

pub use crate::objects::{
    AttachedDevice, ConnectivityFacts, DeviceFacts, FirmwareView, FlashingView, HostFacts, PointFacts, Traffic,
    accepts_value, main_resource, takes_values,
};
pub use commands::{COMMAND_TIMEOUT, CommandId, FirmwareOrder, Refusal};
pub use config::{Access, ClientConfig, FirmwareRight, PACKAGE_PATH, ServerConfig, coap_config};
pub use registration::RegistrationState;

/// One of a client's servers: its index in [`ClientConfig::servers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub usize);

/// A client: one device, or the gateway itself.
#[derive(Debug)]
pub struct Client {
    facts: Facts,
    ack_timeout: Duration,
    sessions: Box<[Session]>,
    commands: Commands,
    events: VecDeque<Event>,
    rng: fastrand::Rng,
    /// Whose datagrams are taken next, so that none starves another.
    turn: usize,
    ending: bool,
}

/// What a client tells its driver.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Resolve the server's name, open a new socket for this session, drop the old one, and call [`Client::start`]; when
    /// that can't be done, [`Client::handle_unreachable`]. Told for every session at the beginning.
    NeedSocket {
        /// Whose.
        session: SessionId,
    },
    /// The server took the registration.
    Registered {
        /// Whose.
        session: SessionId,
        /// The location it gave, e.g. `/rd/4711`.
        location: String,
    },
    /// It did not, or could not be asked. Another try follows by itself.
    RegistrationFailed {
        /// Whose.
        session: SessionId,
        /// Why, in a few words.
        reason: String,
        /// When the next try is.
        retry_in: Duration,
    },
    /// The server took an Update.
    Updated {
        /// Whose.
        session: SessionId,
    },
    /// The registration was ended by us.
    Deregistered {
        /// Whose.
        session: SessionId,
    },
    /// After [`Client::shut_down`]: nothing more will come.
    ShutDown,
    /// Somebody looks at what changes by itself: tell it, and then that it was told, by [`Client::looked`]. Of a gateway's own client
    /// only.
    Look,
    /// A server wants the device to restart (3/0/4).
    Reboot {
        /// Answer this.
        command: CommandId,
        /// Who.
        session: SessionId,
    },
    /// A server writes the value of a point.
    Point {
        /// Answer this.
        command: CommandId,
        /// Who.
        session: SessionId,
        /// The IPSO object.
        object: u16,
        /// Its instance.
        instance: u16,
        /// What, of the type that the object's main resource has.
        value: Value,
    },
    /// A server wants something of the firmware.
    Firmware {
        /// Answer this.
        command: CommandId,
        /// Who.
        session: SessionId,
        /// What.
        order: FirmwareOrder,
    },
}

/// How a session is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionStatus {
    /// Where its registration is.
    pub state: RegistrationState,
    /// The location that the server gave, e.g. `/rd/4711`.
    pub location: Option<String>,
    /// The version of LwM2M that is spoken.
    pub version: Version,
    /// The lifetime that the next Register or Update tells, in seconds.
    pub lifetime: u32,
    /// When the server forgets us unless an Update arrives.
    pub registered_until: Option<Instant>,
    /// The next Update or Register.
    pub next_attempt: Option<Instant>,
    /// Why the last Register or Update failed; gone once one succeeds.
    pub last_error: Option<String>,
    /// How many observations the server holds.
    pub observations: usize,
}

impl Client {
    /// A client that wants a socket for each server. `seed` feeds tokens, message ids and jitter.
    pub fn new(config: ClientConfig, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let sessions: Box<[Session]> = (config.servers.iter().enumerate())
            .map(|(index, server)| Session::new(index, server, coap::Endpoint::new(config.coap.clone(), rng.u64(..))))
            .collect();
        let events = (0..sessions.len()).map(|index| Event::NeedSocket { session: SessionId(index) }).collect();
        let facts = Facts {
            endpoint: config.endpoint,
            servers: config.servers,
            device: DeviceFacts::default(),
            connectivity: None,
            firmware: FirmwareView::default(),
            flashing: FlashingView::default(),
            points: Box::default(),
            gateway: None,
        };
        let ack_timeout = config.coap.ack_timeout;
        Self { facts, ack_timeout, sessions, commands: Commands::default(), events, rng, turn: 0, ending: false }
    }

    /// The client of a gateway itself: without objects 5 and 26300, with 7 and 26301. What changes by itself, of objects 3 and 4 and
    /// its points, is asked for by [`Event::Look`] when somebody reads it, and while somebody observes it, and is good for `fresh_for`.
    pub fn for_gateway(config: ClientConfig, fresh_for: Duration, seed: u64) -> Self {
        let mut client = Self::new(config, seed);
        client.facts.gateway = Some(Box::new(GatewayFacts::new(fresh_for)));
        client
    }

    /// The socket is there: forgets what was said over the old one, and registers.
    pub fn start(&mut self, session: SessionId, now: Instant) {
        if !self.ending {
            self.commands.forget_session(session);
            self.with(session, now, Session::start);
        }
    }

    /// Takes a datagram of a session's server.
    pub fn handle_datagram(&mut self, session: SessionId, datagram: &[u8], now: Instant) {
        if let Some(known) = self.sessions.get_mut(session.0)
            && known.registration.listens()
        {
            known.coap.handle_datagram(datagram, now);
            self.drain(session, now);
        }
    }

    /// The network says that the server is not there (ICMP), or no socket could be had.
    pub fn handle_unreachable(&mut self, session: SessionId, now: Instant) {
        self.with(session, now, Session::handle_unreachable);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for index in 0..self.sessions.len() {
            if self.sessions[index].poll_timeout().is_some_and(|due| due <= now) {
                self.with(SessionId(index), now, Session::handle_timeout);
            }
        }
        while let Some(late) = self.commands.take_expired(now) {
            self.finish(late, Err(Refusal::Failed), now);
        }
        self.handle_gateway_timeout(now);
    }

    /// The next datagram to send, and where.
    pub fn poll_transmit(&mut self) -> Option<(SessionId, Vec<u8>)> {
        let count = self.sessions.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            if let Some(datagram) = self.sessions[index].coap.poll_transmit() {
                self.turn = (index + 1) % count;
                return Some((SessionId(index), datagram));
            }
        }
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        event
    }

    /// When [`handle_timeout`](Self::handle_timeout) is next to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sessions = self.sessions.iter().filter_map(Session::poll_timeout);
        sessions.chain(self.commands.deadline()).chain(self.gateway_timeout()).min()
    }

    /// The answer to a command. One that is no longer waited for is ignored.
    pub fn answer(&mut self, command: CommandId, answer: Result<(), Refusal>, now: Instant) {
        if let Some(pending) = self.commands.take(command) {
            self.finish(pending, answer, now);
        }
    }

    /// Tells what is known of the device; observers are notified of what changed.
    pub fn set_device(&mut self, facts: DeviceFacts, now: Instant) {
        if self.facts.device != facts {
            self.facts.device = facts;
            self.report(3, now);
        }
    }

    /// Tells how the device itself is connected; observers are notified of what changed, and servers that know the device of
    /// an object that comes or goes.
    pub fn set_connectivity(&mut self, facts: Option<ConnectivityFacts>, now: Instant) {
        if self.facts.connectivity == facts {
            return;
        }
        let comes_or_goes = self.facts.connectivity.is_some() != facts.is_some();
        self.facts.connectivity = facts;
        if comes_or_goes {
            self.objects_changed(now);
        }
        self.report(4, now);
    }

    /// Tells where the update is; observers are notified of what changed, each change by itself.
    pub fn set_firmware(&mut self, view: FirmwareView, now: Instant) {
        if self.facts.firmware != view {
            self.facts.firmware = view;
            self.report(5, now);
        }
    }

    /// Tells how far a flash is; observers are notified of what changed, of percent and log lines at most once a second.
    pub fn set_flashing(&mut self, view: FlashingView, now: Instant) {
        if self.facts.flashing != view {
            self.facts.flashing = view;
            self.report(FLASHING, now);
        }
    }

    /// Tells the device's points, of which there may be others than before: servers that know it are told of other objects by an
    /// Update, and observers of other values. Those that are no IPSO object are left out.
    pub fn set_points(&mut self, mut points: Vec<PointFacts>, now: Instant) {
        points.retain(|point| main_resource(point.object).is_some());
        points.sort_by_key(|point| (point.object, point.instance));
        points.dedup_by_key(|point| (point.object, point.instance));
        let was = std::mem::replace(&mut self.facts.points, points.into());
        let now_there = &self.facts.points;
        let place = |point: &PointFacts| (point.object, point.instance);
        let same =
            was.len() == now_there.len() && was.iter().zip(now_there).all(|(one, other)| place(one) == place(other));
        let unchanged = |point: &PointFacts| was.contains(point) && now_there.contains(point);
        let mut changed: Vec<u16> =
            was.iter().chain(now_there).filter(|point| !unchanged(point)).map(|point| point.object).collect();
        changed.sort_unstable();
        changed.dedup();
        if !same {
            self.objects_changed(now);
        }
        for object in changed {
            self.report(object, now);
        }
    }

    /// There are other objects than before, and other entries about them.
    fn objects_changed(&mut self, now: Instant) {
        for index in 0..self.sessions.len() {
            self.with(SessionId(index), now, Session::objects_changed);
        }
        self.report(2, now);
    }

    /// Sends an Update soon, where there is a registration.
    pub fn update_now(&mut self, session: SessionId, now: Instant) {
        self.with(session, now, Session::update);
    }

    /// De-registers everywhere; [`Event::ShutDown`] follows within four seconds.
    pub fn shut_down(&mut self, now: Instant) {
        self.ending = true;
        for index in 0..self.sessions.len() {
            self.with(SessionId(index), now, Session::shut_down);
        }
        self.tell_end();
    }

    /// How a session is doing; `None` where there is no such session.
    pub fn status(&self, session: SessionId) -> Option<SessionStatus> {
        self.sessions.get(session.0).map(Session::status)
    }

    /// CoAP counters of a session.
    pub fn coap_stats(&self, session: SessionId) -> Option<coap::Stats> {
        self.sessions.get(session.0).map(|session| session.coap.stats())
    }
}

/// What a session needs of its client while it acts.
#[derive(Debug)]
struct Context<'a> {
    facts: &'a Facts,
    events: &'a mut VecDeque<Event>,
    rng: &'a mut fastrand::Rng,
    ack_timeout: Duration,
    now: Instant,
}

impl Client {
    /// Lets a session act, then sees to what it got meanwhile.
    fn with(&mut self, id: SessionId, now: Instant, act: impl FnOnce(&mut Session, &mut Context<'_>)) {
        if let Some(session) = self.sessions.get_mut(id.0) {
            act(session, &mut context(&self.facts, &mut self.events, &mut self.rng, self.ack_timeout, now));
            self.drain(id, now);
        }
    }

    /// Works off what a session's endpoint has to tell.
    fn drain(&mut self, id: SessionId, now: Instant) {
        while let Some(event) = self.sessions[id.0].coap.poll_event() {
            match event {
                coap::Event::Request(request) => self.handle_request(id, request, now),
                event => {
                    let context = &mut context(&self.facts, &mut self.events, &mut self.rng, self.ack_timeout, now);
                    self.sessions[id.0].handle_event(event, context);
                }
            }
        }
        self.tell_end();
    }

    fn tell_end(&mut self) {
        if self.ending && self.sessions.iter().all(|session| session.registration.is_over()) {
            self.ending = false;
            self.events.push_back(Event::ShutDown);
        }
    }

    /// Notifies all observers of an object whose values changed.
    fn report(&mut self, object: u16, now: Instant) {
        for session in &mut self.sessions {
            let context = &mut context(&self.facts, &mut self.events, &mut self.rng, self.ack_timeout, now);
            session.report(object, context);
        }
    }
}

fn context<'a>(
    facts: &'a Facts,
    events: &'a mut VecDeque<Event>,
    rng: &'a mut fastrand::Rng,
    ack_timeout: Duration,
    now: Instant,
) -> Context<'a> {
    Context { facts, events, rng, ack_timeout, now }
}
