//! The task of one client: its sockets, its timers, its channel.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lwm2m::client::{self, Client, CommandId, Refusal, SessionId};
use lwm2m::value::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info, trace, warn};

use super::push::Push;
use super::resolver::Resolver;
use super::sessions::Sessions;
use super::sockets::{self, BURST, DATAGRAM_MAX, Socket};
use super::told::{News, Outage, Told};
use super::translate;
use super::{Command, Event, ServerSettings, own, points};
use crate::device::{
    BoardId, DeviceId, DeviceInfo, FirmwareOrder, FirmwareReply, FirmwareView, FlashingView, HostSample, OwnInfo,
    PointRefused, ShownPoint,
};

/// How long the loop rests when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// What a slow helper of the task came back with.
enum Done {
    /// A socket to a server, or why there is none.
    Connected(SessionId, io::Result<Socket>),
    /// An answer to an order on firmware.
    Firmware(CommandId, Option<FirmwareReply>),
    /// An answer to the first block of a push.
    Push(SessionId, CommandId, Option<FirmwareReply>),
    /// An answer to a value for a point.
    Point(CommandId, Result<(), PointRefused>),
    /// An answer to a reboot.
    Reboot(CommandId, Result<(), String>),
    /// What changes by itself of the gateway, unless it cannot be had.
    Looked(Option<HostSample>),
}

/// What the client stands for.
enum Subject {
    Device { id: DeviceId, board: BoardId, flashing: FlashingView },
    Gateway { version: String },
}

/// What all clients have in common.
pub(super) struct Shared {
    servers: Arc<[ServerSettings]>,
    /// One for each server.
    resolvers: Arc<[Arc<Resolver>]>,
    /// One for each server.
    outages: Arc<[Outage]>,
    configs: Arc<[client::ServerConfig]>,
    coap: Arc<coap::Config>,
    counters: Arc<own::Counters>,
}

impl Shared {
    pub(super) fn new(servers: Vec<ServerSettings>) -> Self {
        let configs = translate::server_configs(&servers);
        let resolvers = servers.iter().map(|server| Arc::new(Resolver::of(&server.uri))).collect();
        let outages = servers.iter().map(|_| Outage::default()).collect();
        let (coap, counters) = (Arc::new(client::coap_config()), Arc::default());
        Self { servers: servers.into(), resolvers, outages, configs, coap, counters }
    }

    /// A server that is gone to only once `open` says so.
    pub(super) fn waits_for(&mut self, short_id: u16, open: &watch::Receiver<bool>) {
        let each = self.servers.iter().zip(self.resolvers.iter());
        let resolvers = each.map(|(server, resolver)| match server.short_id == short_id {
            true => Arc::new(Resolver::once(open.clone(), &server.uri)),
            false => Arc::clone(resolver),
        });
        self.resolvers = resolvers.collect();
    }

    fn client_config(&self, endpoint: &str) -> client::ClientConfig {
        let (servers, coap) = (Arc::clone(&self.configs), Arc::clone(&self.coap));
        client::ClientConfig { endpoint: endpoint.into(), servers, coap }
    }
}

/// One client with everything it needs from the outside.
pub(super) struct Driver {
    subject: Subject,
    points: Vec<ShownPoint>,
    client: Client,
    counters: Arc<own::Counters>,
    servers: Arc<[ServerSettings]>,
    resolvers: Arc<[Arc<Resolver>]>,
    outages: Arc<[Outage]>,
    sessions: Arc<Sessions>,
    sockets: Box<[Option<Socket>]>,
    pushes: Box<[Push]>,
    /// What was last said of each session.
    told: Box<[Told]>,
    events: mpsc::Sender<Event>,
    pending: FuturesUnordered<BoxFuture<'static, Done>>,
    /// What changes of the gateway is being asked for.
    looking: bool,
    shutting_down: bool,
    ended: bool,
}

impl Driver {
    /// A client for a device, which begins to register at all servers when it runs.
    pub(super) fn new(device: &DeviceInfo, view: &FirmwareView, shared: &Shared, events: mpsc::Sender<Event>) -> Self {
        let now = Instant::now();
        let mut client = Client::new(shared.client_config(&device.endpoint), fastrand::u64(..));
        client.set_device(translate::facts(device), now);
        client.set_connectivity(device.connectivity.as_ref().map(translate::connectivity), now);
        client.set_firmware(translate::view(view), now);
        let flashing = FlashingView::default();
        client.set_flashing(translate::flashing(&device.board, &flashing), now);
        let subject = Subject::Device { id: device.id.clone(), board: device.board.clone(), flashing };
        Self::around(client, subject, shared, events)
    }

    /// The gateway's own client, likewise.
    pub(super) fn of_gateway(
        info: &OwnInfo,
        sample: &HostSample,
        shared: &Shared,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let config = shared.client_config(&info.endpoint);
        let mut client = Client::for_gateway(config, own::FRESH_FOR, fastrand::u64(..));
        client.set_device(own::device(info), Instant::now());
        let subject = Subject::Gateway { version: info.version.clone() };
        let mut driver = Self::around(client, subject, shared, events);
        driver.show(sample);
        driver
    }

    fn around(client: Client, subject: Subject, shared: &Shared, events: mpsc::Sender<Event>) -> Self {
        let servers = Arc::clone(&shared.servers);
        Self {
            subject,
            points: Vec::new(),
            sessions: Arc::new(Sessions::of(Arc::clone(&servers), &client)),
            client,
            counters: Arc::clone(&shared.counters),
            resolvers: Arc::clone(&shared.resolvers),
            outages: Arc::clone(&shared.outages),
            sockets: servers.iter().map(|_| None).collect(),
            pushes: servers.iter().map(|_| Push::Idle).collect(),
            told: servers.iter().map(|_| Told::default()).collect(),
            servers,
            events,
            pending: FuturesUnordered::new(),
            looking: false,
            shutting_down: false,
            ended: false,
        }
    }

    /// What it shows of its sessions while it runs.
    pub(super) fn sessions(&self) -> Arc<Sessions> {
        Arc::clone(&self.sessions)
    }

    /// Runs until the client has de-registered everywhere, or the gateway is gone.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        mut flashing: watch::Receiver<FlashingView>,
        mut points: watch::Receiver<Vec<ShownPoint>>,
    ) {
        let mut timer = std::pin::pin!(tokio::time::sleep(IDLE));
        let mut armed = None;
        let mut turn = 0;
        self.drain();
        while !self.ended {
            arm(&mut timer, &mut armed, self.client.poll_timeout());
            let sockets = &self.sockets;
            tokio::select! {
                readable = poll_fn(|context| sockets::poll_readable(sockets, context, turn)) => {
                    turn = readable + 1;
                    self.receive(readable);
                }
                () = &mut timer => {
                    armed = None;
                    self.count();
                    self.client.handle_timeout(Instant::now());
                }
                Some(done) = self.pending.next(), if !self.pending.is_empty() => {
                    // What was told before the answer was given goes first: a server that has its 2.04 may read at once.
                    while let Ok(command) = inbox.try_recv() {
                        self.handle_command(command);
                    }
                    self.handle_done(done);
                }
                command = inbox.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => self.shut_down(),
                },
                Ok(()) = flashing.changed() => {
                    let view = flashing.borrow_and_update().clone();
                    self.show_flashing(view);
                }
                Ok(()) = points.changed() => {
                    self.points.clone_from(&points.borrow_and_update());
                    self.client.set_points(points::facts(&self.points), Instant::now());
                }
            }
            self.drain();
            self.sessions.show(&self.client);
        }
    }

    /// Carries out what the client wants.
    fn drain(&mut self) {
        loop {
            while let Some((session, datagram)) = self.client.poll_transmit() {
                self.send(session, &datagram);
            }
            match self.client.poll_event() {
                Some(client::Event::ShutDown) => self.ended = true,
                Some(event) => self.handle_event(event),
                None => return,
            }
        }
    }

    fn send(&mut self, session: SessionId, datagram: &[u8]) {
        let Some(socket) = self.sockets[session.0].as_ref() else { return };
        trace!(server = %self.servers[session.0].name, bytes = datagram.len(), "datagram out");
        match socket.send(datagram) {
            Ok(bytes) => self.counters.sent(socket.on_network(bytes)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.client.handle_unreachable(session, Instant::now());
            }
            // A full buffer or a lost route is a lost datagram: CoAP sends it again.
            Err(error) => debug!(server = %self.servers[session.0].name, %error, "datagram not sent"),
        }
    }

    fn receive(&mut self, at: usize) {
        let mut buffer = [0; DATAGRAM_MAX];
        let now = Instant::now();
        for _ in 0..BURST {
            let Some(socket) = self.sockets[at].as_ref() else { return };
            match socket.receive(&mut buffer) {
                Ok(count) => {
                    trace!(server = %self.servers[at].name, bytes = count, "datagram in");
                    self.counters.received(socket.on_network(count));
                    self.count();
                    self.client.handle_datagram(SessionId(at), &buffer[..count], now);
                    // The answer leaves before the next look: the server need not wait for it.
                    self.drain();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    debug!(server = %self.servers[at].name, %error, "server unreachable");
                    self.client.handle_unreachable(SessionId(at), now);
                    return;
                }
            }
        }
    }

    fn handle_event(&mut self, event: client::Event) {
        match event {
            client::Event::NeedSocket { session } => self.connect(session),
            client::Event::Registered { session, location } => self.registered(session, &location),
            client::Event::RegistrationFailed { session, reason, retry_in } => {
                self.not_registered(session, &reason, retry_in);
            }
            client::Event::Updated { session } => {
                debug!(server = %self.servers[session.0].name, "registration updated");
                self.tell_session(session, true);
            }
            client::Event::Deregistered { session } => {
                info!(server = %self.servers[session.0].name, "de-registered");
                self.tell_session(session, false);
            }
            client::Event::Look => self.ask_look(),
            client::Event::Reboot { command, session } => self.ask_reboot(command, session),
            client::Event::Firmware { command, session, order } => self.ask_firmware(command, session, order),
            client::Event::Point { command, session, object, instance, value } => {
                self.ask_point(command, session, (object, instance), value);
            }
            client::Event::ShutDown => {}
        }
    }

    fn registered(&mut self, session: SessionId, location: &str) {
        let server = &self.servers[session.0].name;
        self.outages[session.0].is_over();
        match self.told[session.0].registered() {
            News::New => info!(%server, registration = location, "registered"),
            News::Known => debug!(%server, registration = location, "registered anew"),
        }
        if matches!(self.subject, Subject::Gateway { .. }) {
            // The way to a server may be another one than before, or the first.
            self.ask_look();
        }
        self.tell_session(session, true);
    }

    /// A dead server costs a line when it dies, not one for each device or each try.
    fn not_registered(&mut self, session: SessionId, reason: &str, retry_in: Duration) {
        let (server, retry_in_s) = (&self.servers[session.0].name, retry_in.as_secs());
        match (self.told[session.0].failed(reason), self.outages[session.0].failed(reason)) {
            (News::New, News::New) => warn!(%server, reason, retry_in_s, "not registered"),
            _ => debug!(%server, reason, retry_in_s, "not registered"),
        }
        self.tell_session(session, false);
    }

    fn connect(&mut self, session: SessionId) {
        if self.shutting_down {
            return;
        }
        self.sockets[session.0] = None;
        let resolver = Arc::clone(&self.resolvers[session.0]);
        self.pending.push(Box::pin(async move {
            let connected = match resolver.addresses().await {
                Ok(addresses) => Socket::connect(&addresses),
                Err(error) => Err(error),
            };
            Done::Connected(session, connected)
        }));
    }

    fn handle_done(&mut self, done: Done) {
        let now = Instant::now();
        match done {
            Done::Connected(session, Ok(socket)) => {
                self.sockets[session.0] = Some(socket);
                self.client.start(session, now);
            }
            Done::Connected(session, Err(error)) => {
                debug!(server = %self.servers[session.0].name, %error, "no socket to the server");
                self.client.handle_unreachable(session, now);
            }
            Done::Firmware(command, reply) => {
                let result = reply.map_or(Err(Refusal::Failed), |reply| translate::refusal(&reply));
                self.client.answer(command, result, now);
            }
            Done::Push(session, command, reply) => {
                let result = self.begin_push(session, reply);
                self.client.answer(command, result, now);
            }
            Done::Point(command, result) => {
                if let Err(reason) = &result {
                    warn!(%reason, "the device did not take a value");
                }
                let refusal = |refused| match refused {
                    PointRefused::BadValue(_) => Refusal::BadValue,
                    PointRefused::NotNow(_) => Refusal::Failed,
                };
                self.client.answer(command, result.map_err(refusal), now);
            }
            Done::Reboot(command, result) => {
                if let Err(reason) = &result {
                    warn!(reason, "reboot not possible");
                }
                self.client.answer(command, result.map_err(|_| Refusal::Failed), now);
            }
            Done::Looked(sample) => self.looked(sample.as_ref()),
        }
    }

    /// Tells the gateway's own client what it counts.
    fn count(&mut self) {
        if matches!(self.subject, Subject::Gateway { .. }) {
            self.client.count(self.counters.traffic(), Instant::now());
        }
    }

    /// Shows what changes by itself of the gateway.
    fn show(&mut self, sample: &HostSample) {
        let Subject::Gateway { version } = &self.subject else { return };
        let now = Instant::now();
        self.client.set_host(own::host(version, sample), now);
        self.client.set_connectivity(sample.uplink.as_ref().map(own::uplink), now);
        self.client.set_points(points::facts(&sample.points), now);
        self.count();
    }

    fn looked(&mut self, sample: Option<&HostSample>) {
        self.looking = false;
        let outcome = match sample {
            Some(sample) => {
                self.show(sample);
                Ok(())
            }
            None => {
                warn!("what the machine tells could not be had");
                Err(Refusal::Failed)
            }
        };
        self.client.looked(outcome, Instant::now());
    }

    fn ask_look(&mut self) {
        if std::mem::replace(&mut self.looking, true) {
            return;
        }
        let (reply, answer) = oneshot::channel();
        if self.events.try_send(Event::Look { reply }).is_err() {
            return self.looked(None);
        }
        self.pending.push(Box::pin(async move { Done::Looked(answer.await.ok()) }));
    }

    fn ask_reboot(&mut self, command: CommandId, session: SessionId) {
        let (reply, answer) = oneshot::channel();
        let server = self.servers[session.0].name.clone();
        let event = match &self.subject {
            Subject::Device { id, .. } => Event::Reboot { device: id.clone(), server, reply },
            Subject::Gateway { .. } => Event::RebootOwn { server, reply },
        };
        if self.events.try_send(event).is_err() {
            return self.client.answer(command, Err(Refusal::Failed), Instant::now());
        }
        self.pending.push(Box::pin(async move {
            let result = answer.await.unwrap_or_else(|_| Err("the gateway is stopping".to_owned()));
            Done::Reboot(command, result)
        }));
    }

    fn ask_point(&mut self, command: CommandId, session: SessionId, (object, instance): (u16, u16), value: Value) {
        let place = |point: &&ShownPoint| (point.object, point.instance) == (object, instance);
        let point = self.points.iter().find(place);
        let asked = point.and_then(|point| Some((point.key.clone(), points::written(point, value)?)));
        let (Some((key, value)), Some(device)) = (asked, self.device()) else {
            return self.client.answer(command, Err(Refusal::BadValue), Instant::now());
        };
        let (reply, answer) = oneshot::channel();
        let server = self.servers[session.0].name.clone();
        if self.events.try_send(Event::Point { device, server, key, value, reply }).is_err() {
            return self.client.answer(command, Err(Refusal::Failed), Instant::now());
        }
        self.pending.push(Box::pin(async move {
            let result = answer.await.unwrap_or_else(|_| Err(PointRefused::NotNow("its watch has ended".to_owned())));
            Done::Point(command, result)
        }));
    }

    fn ask_firmware(&mut self, command: CommandId, session: SessionId, order: client::FirmwareOrder) {
        if let client::FirmwareOrder::Push { payload, first, more, .. } = order {
            if !first {
                let result = self.pushes[session.0].write(&payload, more);
                return self.client.answer(command, result, Instant::now());
            }
            self.pushes[session.0].ask(payload, more);
            return self.order(command, session, FirmwareOrder::Push);
        }
        if let Some(order) = translate::order(order) {
            self.order(command, session, order);
        }
    }

    fn order(&mut self, command: CommandId, session: SessionId, order: FirmwareOrder) {
        // A gateway has no firmware object.
        let Some(device) = self.device() else {
            return self.client.answer(command, Err(Refusal::WrongState), Instant::now());
        };
        let (reply, answer) = oneshot::channel();
        let server = &self.servers[session.0];
        let is_push = matches!(order, FirmwareOrder::Push);
        let event =
            Event::Firmware { device, requester: translate::requester(server), right: server.firmware, order, reply };
        if self.events.try_send(event).is_err() {
            warn!(server = %server.name, "the gateway is too busy for an order on firmware");
            return self.client.answer(command, Err(Refusal::Failed), Instant::now());
        }
        self.pending.push(Box::pin(async move {
            let reply = answer.await.ok();
            if is_push { Done::Push(session, command, reply) } else { Done::Firmware(command, reply) }
        }));
    }

    fn begin_push(&mut self, session: SessionId, reply: Option<FirmwareReply>) -> Result<(), Refusal> {
        let push = &mut self.pushes[session.0];
        match reply {
            Some(FirmwareReply::Writer(writer)) => push.begin(writer),
            refused => {
                push.refused();
                refused.map_or(Err(Refusal::Failed), |reply| translate::refusal(&reply))
            }
        }
    }

    fn handle_command(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Device(info) => {
                self.client.set_device(translate::facts(&info), now);
                // Servers were told that there is such an object: it stays when the device moves to a wire.
                if let Some(connectivity) = &info.connectivity {
                    self.client.set_connectivity(Some(translate::connectivity(connectivity)), now);
                }
                if let Subject::Device { board, flashing, .. } = &mut self.subject {
                    *board = info.board;
                    self.client.set_flashing(translate::flashing(board, flashing), now);
                }
            }
            Command::Own(info) => self.client.set_device(own::device(&info), now),
            Command::Attached(number, device) => {
                self.client.set_attached(number, device.map(|device| own::attached(*device)), now);
            }
            Command::Firmware(view) => self.client.set_firmware(translate::view(&view), now),
            Command::ShutDown => self.shut_down(),
        }
    }

    fn show_flashing(&mut self, view: FlashingView) {
        if let Subject::Device { board, flashing, .. } = &mut self.subject {
            *flashing = view;
            self.client.set_flashing(translate::flashing(board, flashing), Instant::now());
        }
    }

    /// The device that the client stands for.
    fn device(&self) -> Option<DeviceId> {
        match &self.subject {
            Subject::Device { id, .. } => Some(id.clone()),
            Subject::Gateway { .. } => None,
        }
    }

    fn shut_down(&mut self) {
        if !self.shutting_down {
            self.shutting_down = true;
            self.client.shut_down(Instant::now());
        }
    }

    /// Tells the gateway whether a server knows the device, when that is news. What it had no time for is told by the
    /// next occasion.
    fn tell_session(&mut self, session: SessionId, registered: bool) {
        // Whoever hears of it may look at once.
        self.sessions.show(&self.client);
        // No update waits for the gateway's own servers.
        let Some(device) = self.device() else { return };
        if self.told[session.0].gateway_knows(registered) {
            return;
        }
        let server = translate::requester(&self.servers[session.0]);
        let event = Event::Session { device, server, registered };
        match self.events.try_send(event) {
            Ok(()) => self.told[session.0].gateway_was_told(registered),
            Err(_) => debug!("the gateway is too busy to hear of a session"),
        }
    }
}

/// Arms the timer for the client's next deadline. One that moved away is left: waking once too early costs less than
/// telling the runtime of every change.
fn arm(timer: &mut Pin<&mut tokio::time::Sleep>, armed: &mut Option<Instant>, deadline: Option<Instant>) {
    let due = deadline.unwrap_or_else(|| Instant::now() + IDLE);
    if armed.is_none_or(|armed| due < armed) {
        timer.as_mut().reset(due.into());
        *armed = Some(due);
    }
}
