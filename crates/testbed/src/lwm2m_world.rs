//! One client and its servers in virtual time, joined by a network that may be bad.
//!
//! The world plays the client's driver (sockets are there at once) and keeps what client and servers tell. Commands wait in
//! [`World::commands`] unless [`World::obey`] is set.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use coap::{Request, Response};
use lwm2m::client::{
    Access, Client, ClientConfig, CommandId, Event, FirmwareOrder, FirmwareRight, Refusal, RegistrationState,
    ServerConfig, SessionId, SessionStatus, coap_config,
};
use lwm2m::model::Version;

use crate::dm_server::{Behaviour, CallId, DmEvent, DmServer, ask, dm_server};
use crate::network::{Network, Weather};

/// The endpoint name of the client.
pub const ENDPOINT: &str = "press-3";
/// Longest that a question may take in virtual time.
const PATIENCE: Duration = Duration::from_secs(600);
/// Steps without time passing after which somebody must be asking for a wake-up for nothing.
const MOST_STEPS_AT_ONCE: u32 = 100_000;

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// To a session of the client.
    Client(usize),
    /// To a server.
    Server(usize),
}

/// A client, its servers, and what is between them.
#[derive(Debug)]
pub struct World {
    /// Virtual time.
    pub now: Instant,
    /// The client.
    pub client: Client,
    /// The servers, by session.
    pub servers: Vec<DmServer>,
    /// Servers that are not there: datagrams to and from them vanish.
    pub dead: Vec<bool>,
    /// The network.
    pub network: Network<End>,
    /// What the client told, commands excepted.
    pub events: Vec<Event>,
    /// What the servers told, answers included.
    pub dm_events: Vec<(usize, DmEvent)>,
    /// Commands that nobody has answered yet.
    pub commands: Vec<(CommandId, SessionId, Option<FirmwareOrder>)>,
    /// Orders that were obeyed, with `obey`.
    pub obeyed: Vec<(SessionId, Option<FirmwareOrder>)>,
    /// Answer every command at once with "done".
    pub obey: bool,
    /// Every datagram of the client, by session.
    pub sent: Vec<(usize, Vec<u8>)>,
    ports: Vec<u16>,
}

/// A server account with full rights, version 1.1, lifetime 30 s.
pub fn account(name: &str, short_id: u16) -> ServerConfig {
    ServerConfig {
        name: name.to_owned(),
        short_id,
        uri: format!("coap://{name}.example"),
        base_path: Vec::new(),
        base_query: Vec::new(),
        lifetime: 30,
        version: Version::V1_1,
        firmware_object_1_0: false,
        flashing_object: false,
        notification_storing: false,
        access: Access::Full,
        firmware: FirmwareRight::Own,
        retry: Duration::from_secs(10),
        retry_max: Duration::from_secs(300),
    }
}

impl World {
    /// A client with these accounts in fair weather; nothing has happened yet.
    pub fn new(accounts: Vec<ServerConfig>, seed: u64) -> Self {
        let count = accounts.len();
        let config =
            ClientConfig { endpoint: ENDPOINT.into(), servers: accounts.into(), coap: Arc::new(coap_config()) };
        let server = |index: usize| {
            dm_server(Behaviour::default(), Arc::new(coap::Config::default()), seed.wrapping_add(index as u64 + 1))
        };
        Self {
            now: Instant::now(),
            client: Client::new(config, seed),
            servers: (0..count).map(server).collect(),
            dead: vec![false; count],
            network: Network::new(Weather::fair(), seed),
            events: Vec::new(),
            dm_events: Vec::new(),
            commands: Vec::new(),
            obeyed: Vec::new(),
            obey: false,
            sent: Vec::new(),
            ports: vec![1024; count],
        }
    }

    /// One account.
    pub fn single(account: ServerConfig) -> Self {
        Self::new(vec![account], 1)
    }

    /// Two accounts, 123 and 234, registered.
    pub fn pair() -> Self {
        let mut world = Self::new(vec![account("factory", 123), account("cloud", 234)], 1);
        world.register();
        world
    }

    /// Runs until all sessions are registered.
    ///
    /// # Panics
    /// If they never are.
    pub fn register(&mut self) {
        let all = |world: &mut Self| {
            (0..world.servers.len()).all(|session| world.status(session).state == RegistrationState::Registered)
        };
        assert!(self.run_until(PATIENCE, all), "not registered: {:?}", self.events);
    }

    /// Runs for a while.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Runs until something holds, at most for a while; whether it does.
    ///
    /// # Panics
    /// If client or servers keep asking for a wake-up and do nothing.
    pub fn run_until(&mut self, time: Duration, mut holds: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + time;
        let (mut since, mut steps) = (self.now, 0);
        loop {
            steps = if since == self.now { steps + 1 } else { 0 };
            since = self.now;
            assert!(steps < MOST_STEPS_AT_ONCE, "time stands still");
            self.settle();
            if holds(self) {
                return true;
            }
            match self.next_event().filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
            self.advance();
        }
        self.now = end;
        false
    }

    /// Asks by one server, and waits for the answer.
    ///
    /// # Panics
    /// If there is none.
    pub fn ask(&mut self, server: usize, request: Request) -> Response {
        let call = self.call(server, request);
        self.answer_to(server, call)
    }

    /// Asks by one server and does not wait.
    ///
    /// # Panics
    /// If the client is not registered there.
    pub fn call(&mut self, server: usize, request: Request) -> CallId {
        self.servers[server].call(ENDPOINT, request, self.now).expect("the client is registered")
    }

    /// Waits for an answer.
    ///
    /// # Panics
    /// If there is none.
    pub fn answer_to(&mut self, server: usize, call: CallId) -> Response {
        let mut answer = None;
        self.run_until(PATIENCE, |world| {
            answer = world.answer_so_far(server, call);
            answer.is_some()
        });
        answer.unwrap_or_else(|| panic!("no answer: {:?}", self.dm_events.last()))
    }

    /// The answer, if it is there.
    pub fn answer_so_far(&self, server: usize, call: CallId) -> Option<Response> {
        self.dm_events.iter().find_map(|(by, event)| match event {
            DmEvent::Answered { call: known, response } if (*by, *known) == (server, call) => Some(response.clone()),
            _ => None,
        })
    }

    /// Observes a path by one server; the call and the first answer.
    pub fn observe(&mut self, server: usize, path: &str) -> (CallId, Response) {
        let call = self.call(server, ask::observe(path));
        (call, self.answer_to(server, call))
    }

    /// The payloads that came for an observation so far, as text.
    pub fn notified(&self, server: usize, call: CallId) -> Vec<String> {
        let of = |(by, event): &(usize, DmEvent)| match event {
            DmEvent::Notified { call: known, response } if (*by, *known) == (server, call) => {
                Some(String::from_utf8_lossy(&response.payload).into_owned())
            }
            _ => None,
        };
        self.dm_events.iter().filter_map(of).collect()
    }

    /// Waits for a command, and takes it.
    ///
    /// # Panics
    /// If none comes.
    pub fn next_command(&mut self) -> (CommandId, SessionId, Option<FirmwareOrder>) {
        assert!(self.run_until(PATIENCE, |world| !world.commands.is_empty()), "no command");
        self.commands.remove(0)
    }

    /// Answers a command.
    pub fn answer(&mut self, command: CommandId, answer: Result<(), Refusal>) {
        self.client.answer(command, answer, self.now);
        self.settle();
    }

    /// How a session is doing.
    ///
    /// # Panics
    /// If there is no such session.
    pub fn status(&self, session: usize) -> SessionStatus {
        self.client.status(SessionId(session)).expect("the session exists")
    }

    /// How many events of a kind a server has told.
    pub fn count(&self, server: usize, is_it: impl Fn(&DmEvent) -> bool) -> usize {
        self.dm_events.iter().filter(|(by, event)| *by == server && is_it(event)).count()
    }

    fn next_event(&self) -> Option<Instant> {
        let servers = self.servers.iter().filter_map(DmServer::poll_timeout);
        servers.chain(self.network.poll_timeout()).chain(self.client.poll_timeout()).min()
    }

    fn advance(&mut self) {
        while let Some((to, datagram)) = self.network.receive(self.now) {
            match to {
                End::Client(index) if !self.dead[index] => {
                    self.client.handle_datagram(SessionId(index), &datagram, self.now);
                }
                End::Server(index) if !self.dead[index] => {
                    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[index]));
                    self.servers[index].handle_datagram(peer, &datagram, self.now);
                }
                End::Client(_) | End::Server(_) => {}
            }
        }
        self.client.handle_timeout(self.now);
        for server in &mut self.servers {
            server.handle_timeout(self.now);
        }
    }

    /// Empties all polls.
    pub fn settle(&mut self) {
        while let Some(event) = self.client.poll_event() {
            self.handle(event);
        }
        while let Some((session, datagram)) = self.client.poll_transmit() {
            self.sent.push((session.0, datagram.clone()));
            self.network.send(End::Server(session.0), datagram, self.now);
        }
        for (index, server) in self.servers.iter_mut().enumerate() {
            while let Some((peer, datagram)) = server.poll_transmit() {
                // A socket that was dropped takes nothing any more.
                if peer.port() == self.ports[index] {
                    self.network.send(End::Client(index), datagram, self.now);
                }
            }
            while let Some(event) = server.poll_event() {
                self.dm_events.push((index, event));
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let (command, session, order) = match event {
            Event::NeedSocket { session } => {
                self.ports[session.0] += 1;
                self.client.start(session, self.now);
                return self.events.push(event);
            }
            Event::Reboot { command, session } => (command, session, None),
            Event::Firmware { command, session, order } => (command, session, Some(order)),
            event => return self.events.push(event),
        };
        if self.obey {
            self.obeyed.push((session, order));
            self.client.answer(command, Ok(()), self.now);
        } else {
            self.commands.push((command, session, order));
        }
    }
}
