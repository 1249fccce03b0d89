//! The virtual LwM2M clients: one for each device, with a session at every server.
//!
//! Each client is a task of its own that owns its sockets and timers and drives the sans-IO [`lwm2m::client::Client`];
//! nothing in the path of one client waits for another. Orders on firmware are not decided here: they go up as
//! [`Event::Firmware`], and the answer comes back through the channel that the event carries.

mod driver;
mod own;
mod points;
mod push;
mod resolver;
mod sessions;
mod settings;
mod sockets;
mod told;
mod translate;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

pub use lwm2m::client::RegistrationState;
pub use points::{is_point_object, wished};
pub use settings::{FirmwareObject, OfferedVersion, ServerAccess, ServerSettings};

use crate::device::{
    Attached, DeviceId, DeviceInfo, FirmwareOrder, FirmwareReply, FirmwareRight, FirmwareView, FlashingView,
    HostSample, OwnInfo, PointRefused, PointValue, Requester, ShownPoint,
};

/// Commands that wait for one client at most; the client takes them at once, whatever its servers do.
const COMMANDS_WAITING: usize = 64;

/// How long a client waits for the one before it to de-register. A server that is dead delays the others by that, once.
const FORMER: Duration = Duration::from_secs(1);

/// What the clients tell the gateway.
#[derive(Debug)]
pub enum Event {
    /// A server wants something of a device's firmware.
    Firmware {
        /// Of which device.
        device: DeviceId,
        /// Who.
        requester: Requester,
        /// With which right.
        right: FirmwareRight,
        /// What.
        order: FirmwareOrder,
        /// Where the answer goes; dropping it answers 5.00.
        reply: oneshot::Sender<FirmwareReply>,
    },
    /// A server executed 3/0/4.
    Reboot {
        /// Which device.
        device: DeviceId,
        /// The server's name.
        server: String,
        /// `Err` with the reason answers 5.00.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// A server writes the value of a point.
    Point {
        /// Of which device.
        device: DeviceId,
        /// The server's name.
        server: String,
        /// Which point.
        key: String,
        /// What, in the device's own unit.
        value: PointValue,
        /// `Err` with the reason answers 5.00.
        reply: oneshot::Sender<Result<(), PointRefused>>,
    },
    /// A server looks at what changes of the gateway itself.
    Look {
        /// What it is now; dropping it answers 5.00.
        reply: oneshot::Sender<HostSample>,
    },
    /// A server executed 3/0/4 of the gateway itself.
    RebootOwn {
        /// The server's name.
        server: String,
        /// `Err` with the reason answers 5.00.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// A session changed.
    Session {
        /// Of which device.
        device: DeviceId,
        /// Which server.
        server: Requester,
        /// Whether the server knows the device now.
        registered: bool,
    },
}

/// One session as `nuncio status` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStatus {
    /// The server's name.
    pub server: String,
    /// Its short id.
    pub short_id: u16,
    /// Where the registration is.
    pub state: RegistrationState,
    /// The location that the server gave, e.g. `/rd/4711`.
    pub location: Option<String>,
    /// Lifetime in seconds, as the server may have changed it.
    pub lifetime_s: u32,
    /// Seconds until the server forgets the device, unless an Update comes.
    pub expires_in_s: Option<u64>,
    /// Seconds until the next Register or Update.
    pub next_attempt_in_s: Option<u64>,
    /// Why the last one failed, in one line.
    pub last_error: Option<String>,
}

/// What a client is told.
enum Command {
    Device(Box<DeviceInfo>),
    Firmware(Box<FirmwareView>),
    Own(Box<OwnInfo>),
    Attached(u16, Option<Box<Attached>>),
    ShutDown,
}

struct Running {
    commands: mpsc::Sender<Command>,
    /// Only the newest counts: nothing waits for a client that is busy, and nothing goes before its commands.
    flashing: watch::Sender<FlashingView>,
    points: watch::Sender<Vec<ShownPoint>>,
    sessions: Arc<sessions::Sessions>,
    task: JoinHandle<()>,
}

impl Running {
    /// None once it has ended.
    fn sessions(&self) -> Vec<SessionStatus> {
        if self.task.is_finished() { Vec::new() } else { self.sessions.read(Instant::now()) }
    }
}

/// All clients.
pub struct Proxy {
    shared: driver::Shared,
    events: mpsc::Sender<Event>,
    clients: HashMap<DeviceId, Running>,
    /// The gateway's own.
    own: Option<Running>,
    /// Clients that still de-register. Each ends by itself, in no more than a De-register may take.
    leaving: HashMap<DeviceId, JoinHandle<()>>,
}

impl Proxy {
    /// No clients yet; `events` is never waited for, so it must be roomy.
    pub fn new(servers: Vec<ServerSettings>, events: mpsc::Sender<Event>) -> Self {
        Self {
            shared: driver::Shared::new(servers),
            events,
            clients: HashMap::new(),
            own: None,
            leaving: HashMap::new(),
        }
    }

    /// Clients that are added from now on go to this server only once `open` says so: what it is told is for nobody else's ears.
    pub fn waits_for(&mut self, short_id: u16, open: &watch::Receiver<bool>) {
        self.shared.waits_for(short_id, open);
    }

    /// Starts a client for a device; one that is there already is told the news instead.
    pub async fn add(&mut self, info: DeviceInfo, view: FirmwareView) {
        let id = info.id.clone();
        if self.clients.contains_key(&id) {
            return self.set_device(info).await;
        }
        let former = self.leaving.remove(&id);
        let span = tracing::info_span!("device", name = %id);
        let driver = driver::Driver::new(&info, &view, &self.shared, self.events.clone());
        let running = start(driver, former, span);
        tracing::debug!(device = %id, endpoint = %info.endpoint, board = %info.board, link = %info.link, "client started");
        self.clients.insert(id, running);
    }

    /// Starts the gateway's own client, once. `sample` is what is known when it registers first.
    pub fn add_own(&mut self, info: &OwnInfo, sample: &HostSample) {
        let driver = driver::Driver::of_gateway(info, sample, &self.shared, self.events.clone());
        self.own = Some(start(driver, None, tracing::info_span!("own", endpoint = %info.endpoint)));
    }

    /// Tells the gateway's own client what is known of it now.
    pub async fn set_own(&self, info: OwnInfo) {
        self.tell_own(Command::Own(Box::new(info))).await;
    }

    /// Tells the gateway's own client of a device that hangs on it, by its number in the list; `None`: no more.
    pub async fn set_attached(&self, number: u16, device: Option<Attached>) {
        self.tell_own(Command::Attached(number, device.map(Box::new))).await;
    }

    /// The sessions of the gateway's own client, as [`sessions`](Self::sessions) tells a device's.
    pub fn own_sessions(&self) -> Vec<SessionStatus> {
        self.own.as_ref().map(Running::sessions).unwrap_or_default()
    }

    /// De-registers a device everywhere and ends its client; returns when the orders are given, not when they are done.
    pub async fn remove(&mut self, device: &DeviceId) {
        if let Some(running) = self.clients.remove(device) {
            // A client that has ended needs no order.
            let _ = running.commands.send(Command::ShutDown).await;
            self.leaving.retain(|_, task| !task.is_finished());
            self.leaving.insert(device.clone(), running.task);
        }
    }

    /// Tells a client what is known of its device now.
    pub async fn set_device(&self, info: DeviceInfo) {
        let id = info.id.clone();
        self.tell(&id, Command::Device(Box::new(info))).await;
    }

    /// Tells a client what servers shall read of its update.
    pub async fn set_firmware(&self, device: &DeviceId, view: FirmwareView) {
        self.tell(device, Command::Firmware(Box::new(view))).await;
    }

    /// Tells a client what servers may watch of its flash. What was told before and not yet looked at is lost.
    pub fn set_flashing(&self, device: &DeviceId, view: FlashingView) {
        if let Some(running) = self.clients.get(device) {
            running.flashing.send_replace(view);
        }
    }

    /// Tells a client the points of its device. What was told before and not yet looked at is lost.
    pub fn set_points(&self, device: &DeviceId, points: Vec<ShownPoint>) {
        if let Some(running) = self.clients.get(device) {
            running.points.send_replace(points);
        }
    }

    /// The sessions of a device's client, in the order of the servers; none when it has no client.
    pub fn sessions(&self, device: &DeviceId) -> Vec<SessionStatus> {
        self.clients.get(device).map(Running::sessions).unwrap_or_default()
    }

    /// De-registers the gateway and all devices everywhere, within `limit`.
    pub async fn shut_down(&mut self, limit: Duration) {
        let deadline = tokio::time::Instant::now() + limit;
        for (device, running) in self.clients.drain() {
            // A client that has ended needs no order.
            let _ = running.commands.send(Command::ShutDown).await;
            self.leaving.insert(device, running.task);
        }
        let own = self.own.take();
        if let Some(running) = &own {
            let _ = running.commands.send(Command::ShutDown).await;
        }
        let mut late = 0_usize;
        let devices = self.leaving.drain().map(|(device, task)| (Some(device), task));
        for (device, mut task) in devices.chain(own.map(|running| (None, running.task))) {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                let device = device.as_ref().map_or("the gateway itself", DeviceId::as_str);
                tracing::debug!(device, "a server did not answer the de-registration in time");
                task.abort();
                late += 1;
            }
        }
        if late > 0 {
            tracing::warn!(clients = late, "not every server answered the de-registration in time");
        }
    }

    async fn tell(&self, device: &DeviceId, command: Command) {
        if let Some(running) = self.clients.get(device)
            && running.commands.send(command).await.is_err()
        {
            tracing::warn!(%device, "its client is gone");
        }
    }

    async fn tell_own(&self, command: Command) {
        if let Some(running) = &self.own
            && running.commands.send(command).await.is_err()
        {
            tracing::warn!("the gateway's own client is gone");
        }
    }
}

/// Starts a client's task, behind that of the client before it.
fn start(driver: driver::Driver, former: Option<JoinHandle<()>>, span: tracing::Span) -> Running {
    let (commands, inbox) = mpsc::channel(COMMANDS_WAITING);
    let (flashing, shown) = watch::channel(FlashingView::default());
    let (points, told) = watch::channel(Vec::new());
    let sessions = driver.sessions();
    // On the heap once, and not twice within the task.
    let running = Box::pin(driver.run(inbox, shown, told));
    let task = async move {
        // A De-register that came behind the new Register would end that, at servers whose locations go by the endpoint. It is
        // not given up either: this client may be gone before it has registered anywhere, and a ghost would stay.
        if let Some(former) = former {
            let _ = tokio::time::timeout(FORMER, former).await;
        }
        running.await;
    };
    Running { commands, flashing, points, sessions, task: tokio::spawn(task.instrument(span)) }
}
