//! The server's task: its socket, its timer, what is asked of clients and what comes of it.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use lwm2m::path::Path;
use lwm2m::server::{CallId, Config, Event, Registration, Server, ask, records};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, trace};

use super::book::{self, Page};
use super::check::taken;
use super::door::Door;
use super::folder::Place;
use super::hopper::Hopper;
use super::names::folder;
use super::offering::{What, targets};
use super::offers::Offers;
use super::shelf::Shelf;
use super::{Builtin, Device, Order};
use crate::device::{BuiltinClient, BuiltinView, FirmwareRight};
use crate::procfs::Transport;

/// How long to sleep when nothing is due.
const LONG: Duration = Duration::from_secs(24 * 3600);
/// How long to wait before a port that somebody else has is tried again.
const AGAIN: Duration = Duration::from_secs(30);
/// Largest datagram that is taken: a block of 1024 bytes and its options. A longer one is cut, and then refused as malformed.
const DATAGRAM: usize = 2048;
/// What waits in the kernel while many devices register at once, in bytes.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Datagrams that are taken before others have their turn.
const BURST: usize = 64;
/// Longest body of a registration or an answer, in bytes.
const MAX_BODY: usize = 16 * 1024;
/// Questions to one client that wait.
const MAX_OUTSTANDING: usize = 64;
/// Points are told of no more often than this, in seconds: people look at them here, nobody controls by them.
const POINTS_PMIN: &str = "pmin=10";

/// What a question was asked for.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Values of a path, for as long as it is observed.
    Values { endpoint: Arc<str>, path: Path },
    /// An image is offered.
    Image { id: Arc<str>, endpoint: Arc<str>, what: What },
    /// Nothing that its answer would change.
    Nothing,
}

/// The server as it runs.
pub(super) struct Task {
    pub(super) builtin: Builtin,
    troubles: mpsc::Sender<Option<String>>,
    trouble: Option<String>,
    listening: watch::Sender<bool>,
    pub(super) server: Server<Door>,
    pub(super) pages: HashMap<Arc<str>, Page>,
    calls: HashMap<CallId, Purpose>,
    pub(super) hopper: Hopper,
    pub(super) offers: Offers,
    pub(super) shelf: Shelf,
    /// Something happened that may lead an offer on.
    pub(super) stirred: bool,
    /// When a device of the gateway registered last.
    pub(super) registered_last: Instant,
    serving: Option<JoinHandle<()>>,
}

impl Task {
    pub(super) fn new(
        builtin: Builtin,
        troubles: mpsc::Sender<Option<String>>,
        listening: watch::Sender<bool>,
    ) -> Self {
        let coap = coap::Config { max_body: MAX_BODY, max_outstanding: MAX_OUTSTANDING, ..coap::Config::default() };
        let config = Config { coap: Arc::new(coap), ..Config::default() };
        let server = Server::new(Door::new(builtin.key()), config, fastrand::u64(..));
        Self {
            troubles,
            trouble: None,
            listening,
            server,
            pages: HashMap::new(),
            calls: HashMap::new(),
            hopper: Hopper::new(&builtin.drop, builtin.max_size),
            offers: Offers::default(),
            shelf: builtin.shelf(),
            stirred: false,
            registered_last: Instant::now(),
            serving: None,
            builtin,
        }
    }

    /// Runs until nobody holds a handle any more.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Order>) {
        let Some(socket) = self.sockets(&mut inbox).await else { return };
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let due = self.server.poll_timeout().into_iter().chain(self.offers.due()).min();
            let due = due.unwrap_or_else(|| Instant::now() + LONG);
            let (server, offers, right) = (&self.server, &self.offers, self.builtin.settings.firmware);
            tokio::select! {
                biased;
                // First: a device is known before its client registers.
                order = inbox.recv() => match order {
                    Some(order) => self.handle_order(order),
                    None => return,
                },
                done = self.hopper.next(|place| targets(server, offers, right, place)) => self.on_disk(done),
                () = tokio::time::sleep_until(due.into()) => {
                    self.server.handle_timeout(Instant::now());
                    self.stirred = true;
                }
                // Last: a flood of datagrams holds up nothing but those behind it.
                received = socket.recv_from(&mut buffer) => self.receive(received, &socket, &mut buffer),
            }
            self.settle(&socket).await;
        }
    }

    /// Waits for the port, as long as somebody else has it.
    async fn sockets(&mut self, inbox: &mut mpsc::Receiver<Order>) -> Option<UdpSocket> {
        loop {
            match self.open() {
                Ok((socket, listener)) => {
                    info!(address = %self.uri(), drop = %self.builtin.drop.display(), "the built-in server listens");
                    self.serving = Some(tokio::spawn(self.shelf.clone().serve(listener)));
                    self.trouble_is(None);
                    self.listening.send_replace(true);
                    return Some(socket);
                }
                Err(error) => self.trouble_is(Some(error)),
            }
            let again = tokio::time::sleep(AGAIN);
            tokio::pin!(again);
            loop {
                tokio::select! {
                    order = inbox.recv() => self.handle_order(order?),
                    () = &mut again => break,
                }
            }
        }
    }

    /// Its ports and its drop folder.
    fn open(&mut self) -> Result<(UdpSocket, TcpListener), String> {
        let port = self.builtin.settings.port;
        let socket = bind(port).map_err(|error| taken(Transport::Udp, port, &error))?;
        let listener = listen(port).map_err(|error| taken(Transport::Tcp, port, &error))?;
        for (id, record) in self.hopper.open()? {
            info!(image = record.image, "a dropped image is under way since before the start");
            self.take_up(id, record);
        }
        let devices: Vec<Device> = self.server.admission.devices().cloned().collect();
        devices.iter().for_each(|device| self.folders_for(device));
        Ok((socket, listener))
    }

    /// Folders to lay images into for a device.
    fn folders_for(&mut self, device: &Device) {
        if self.builtin.settings.firmware != FirmwareRight::None {
            self.hopper.make(&Place::Device(folder(device.id.as_str())));
            self.hopper.make(&Place::Board(folder(device.board.as_str())));
        }
    }

    fn trouble_is(&mut self, trouble: Option<String>) {
        if self.trouble != trouble {
            // The gateway says it, and shows it; one that is busy is told by the next change.
            if self.troubles.try_send(trouble.clone()).is_ok() {
                self.trouble = trouble;
            }
        }
    }

    fn uri(&self) -> String {
        format!("coap://127.0.0.1:{}", self.builtin.settings.port)
    }

    fn handle_order(&mut self, order: Order) {
        match order {
            Order::DeviceIs(device) => {
                self.folders_for(&device);
                self.server.admission.device_is(device);
            }
            Order::DeviceGone(device) => self.server.admission.device_gone(device.as_str()),
            Order::DeviceForgotten(device) => {
                let name = folder(device.as_str());
                // It may be back already.
                if self.server.admission.devices().all(|one| folder(one.id.as_str()) != name) {
                    self.hopper.forget(&Place::Device(name));
                }
            }
            // Nobody waiting for it any more is no concern of the server.
            Order::Look(reply) => drop(reply.send(self.view())),
        }
    }

    fn receive(&mut self, first: io::Result<(usize, SocketAddr)>, socket: &UdpSocket, buffer: &mut [u8]) {
        let now = Instant::now();
        let mut received = first;
        for _ in 0..BURST {
            // An error here is an ICMP message about a peer that is gone, or the end of what is there.
            let Ok((length, peer)) = received else { return };
            if peer.ip().is_loopback() {
                self.server.handle_datagram(peer, &buffer[..length], now);
            }
            received = socket.try_recv_from(buffer);
        }
    }

    /// Sends what is to be sent and takes what has happened.
    async fn settle(&mut self, socket: &UdpSocket) {
        loop {
            while let Some(event) = self.server.poll_event() {
                self.handle_event(event);
            }
            if !self.stirred {
                break;
            }
            self.advance();
        }
        while let Some((peer, datagram)) = self.server.poll_transmit() {
            // A datagram that cannot be sent is a datagram lost.
            if let Err(error) = socket.send_to(&datagram, peer).await {
                trace!(%peer, %error, "not sent");
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Registered(registration) => self.registered(&registration),
            Event::Updated(registration) => self.follow(&registration),
            Event::Deregistered(registration) => self.gone(&registration, "de-registered"),
            Event::Expired(registration) => self.gone(&registration, "its registration ran out"),
            Event::Answered { call, response } => {
                let goes_on = response.observe.is_some() && response.code.is_success();
                self.told(call, &response, goes_on);
            }
            Event::Notified { call, response } => {
                let goes_on = response.observe.is_some() && response.code.is_success();
                self.told(call, &response, goes_on);
            }
            Event::Failed { call, reason } => {
                let purpose = self.calls.remove(&call);
                debug!(?purpose, %reason, "no answer");
                if let Some(Purpose::Image { id, endpoint, what }) = purpose {
                    self.answered(&id, &endpoint, what, None);
                }
            }
            Event::Ended { call } => drop(self.calls.remove(&call)),
        }
    }

    fn registered(&mut self, registration: &Registration) {
        let own = self.server.admission.is_own(registration);
        debug!(endpoint = &*registration.endpoint, own, peer = %registration.peer, "registered at the built-in server");
        self.pages.insert(Arc::clone(&registration.endpoint), Page::new(unix_now()));
        self.server.admission.registered(registration);
        self.registered_last = Instant::now();
        self.give_time(&registration.endpoint);
        self.follow(registration);
        self.turn_comes();
    }

    fn gone(&mut self, registration: &Registration, why: &'static str) {
        debug!(endpoint = &*registration.endpoint, why, "gone from the built-in server");
        self.pages.remove(&registration.endpoint);
        self.server.admission.left(registration);
    }

    /// Observes what a client has.
    fn follow(&mut self, registration: &Registration) {
        let endpoint = &registration.endpoint;
        let Some(page) = self.pages.get_mut(endpoint) else { return };
        let change = page.follow(registration);
        for path in change.end {
            let of_it = |purpose: &Purpose| matches!(purpose, Purpose::Values { endpoint: of, path: at } if of == endpoint && at.starts_with(path));
            let ended: Vec<CallId> =
                self.calls.iter().filter(|(_, purpose)| of_it(purpose)).map(|(call, _)| *call).collect();
            for call in ended {
                self.calls.remove(&call);
                self.server.forget(call, Instant::now());
            }
        }
        let mut objects: Vec<Path> =
            change.begin.iter().filter(|path| book::is_point(**path)).map(|path| path.truncated(1)).collect();
        objects.dedup();
        for object in objects {
            let request = ask::write_attributes(&object.to_string(), &[POINTS_PMIN]);
            self.ask(endpoint, request, Purpose::Nothing);
        }
        for path in change.begin {
            self.observe(endpoint, path);
        }
    }

    fn observe(&mut self, endpoint: &Arc<str>, path: Path) {
        let purpose = Purpose::Values { endpoint: Arc::clone(endpoint), path };
        self.ask(endpoint, ask::observe(&path.to_string()), purpose);
    }

    /// Whether it was asked.
    pub(super) fn ask(&mut self, endpoint: &str, request: coap::Request, purpose: Purpose) -> bool {
        match self.server.call(endpoint, request, Instant::now()) {
            Ok(call) => {
                self.calls.insert(call, purpose);
                true
            }
            Err(error) => {
                debug!(endpoint, %error, "not asked");
                false
            }
        }
    }

    fn told(&mut self, call: CallId, response: &coap::Response, goes_on: bool) {
        let purpose = match self.calls.get(&call) {
            Some(Purpose::Values { endpoint, path }) => Some((Arc::clone(endpoint), *path)),
            Some(Purpose::Image { id, endpoint, what }) => {
                let (id, endpoint, what) = (Arc::clone(id), Arc::clone(endpoint), *what);
                self.calls.remove(&call);
                return self.answered(&id, &endpoint, what, Some(response));
            }
            Some(Purpose::Nothing) | None => None,
        };
        if !goes_on {
            self.calls.remove(&call);
        }
        let Some((endpoint, path)) = purpose else { return };
        match records(path, response) {
            _ if !response.code.is_success() => {
                debug!(endpoint = &*endpoint, %path, code = %response.code, "not told");
                self.not_whole(&endpoint, path);
            }
            Ok(read) => {
                trace!(endpoint = &*endpoint, %path, ?read, "told");
                if let Some(page) = self.pages.get_mut(&endpoint) {
                    page.take(path, read);
                }
                if path.starts_with(book::FIRMWARE) {
                    self.firmware_told(&endpoint);
                }
            }
            Err(error) => {
                debug!(endpoint = &*endpoint, %path, %error, "an answer cannot be read");
                if goes_on && !book::parts(path).is_empty() {
                    self.calls.remove(&call);
                    self.server.forget(call, Instant::now());
                }
                self.not_whole(&endpoint, path);
            }
        }
    }

    /// Clients that tell no whole instance are asked for its parts.
    fn not_whole(&mut self, endpoint: &Arc<str>, path: Path) {
        if let Some(page) = self.pages.get_mut(endpoint) {
            page.forget(path);
        }
        for part in book::parts(path) {
            self.observe(endpoint, *part);
        }
    }

    fn view(&self) -> BuiltinView {
        let mut clients: Vec<BuiltinClient> = self.server.registrations().map(|one| self.client(one)).collect();
        clients.sort_by(|one, other| one.endpoint.cmp(&other.endpoint));
        BuiltinView {
            uri: self.uri(),
            trouble: self.trouble.clone(),
            drop: self.builtin.drop.clone(),
            clients,
            offers: self.offers.view(),
        }
    }

    fn client(&self, registration: &Registration) -> BuiltinClient {
        let page = self.pages.get(&registration.endpoint);
        let own = self.server.admission.is_own(registration);
        let device = self.server.admission.device(&registration.endpoint).filter(|_| own);
        BuiltinClient {
            endpoint: registration.endpoint.to_string(),
            device: device.map(|device| device.id.to_string()),
            version: registration.version.to_string(),
            lifetime_s: registration.lifetime,
            registered: page.map(|page| page.registered).unwrap_or_default(),
            values: page.map(Page::values).unwrap_or_default(),
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.listening.send_replace(false);
        if let Some(serving) = &self.serving {
            serving.abort();
        }
    }
}

/// A socket that only this machine reaches.
fn bind(port: u16) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port))?;
    socket.set_nonblocking(true)?;
    // The kernel gives what it allows; with less, more is sent twice.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER);
    UdpSocket::from_std(socket)
}

/// The same for connections.
fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

pub(super) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
