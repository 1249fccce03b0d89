//! The way of the messages: from news of the gateway to the broker, and from Home Assistant's orders to the gateway.
//!
//! ```text
//! connect -> hear -> everything -> | news: which devices are others -> ask the gateway -> mirror
//!    ^                             | message: birth, an earlier run's record, an order
//!    |                             | the mirror's next message -> broker
//!  wait, longer each time  <- lost |
//! ```
//!
//! Nobody waits for this task. While the broker is away news is only looked through for devices that are forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::connection::{Connection, Happened, Lost, Outlet, Will};
use super::home::{About, OFFLINE, Topics};
use super::mirror::{Mirror, Wish};
use super::settings::MqttSettings;
use crate::control::{ControlRequest, Failure, FailureCode, Follower, Heard, News, Trouble, Wires};
use crate::device::DeviceId;

/// Changes of a device are told together, so long after the first.
const GATHER: Duration = Duration::from_millis(250);
/// Of more changed devices than this, all are asked for at once.
const ONE_BY_ONE: usize = 16;
/// The first wait after a connection was lost, and the longest.
const WAIT: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A connection that stood for so long was a good one.
const GOOD: Duration = Duration::from_secs(30);
/// How long the last messages may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// Orders that are under way at once.
const ORDERS_MAX: usize = 16;
/// How often it is told that an order cannot be followed.
const COMPLAINT: Duration = Duration::from_secs(1);
/// Who orders, for the log.
const BY: &str = "MQTT";
/// Longest order that is looked at, in bytes.
const ORDER_MAX: usize = 4096;

/// The task.
pub(super) struct Run {
    settings: MqttSettings,
    client_id: String,
    wires: Wires,
    news: Follower,
    mirror: Mirror,
    /// Devices that are others than the mirror has them.
    changed: BTreeSet<DeviceId>,
    /// Those whose points are.
    pointed: BTreeSet<DeviceId>,
    all_changed: bool,
    /// Since when something is.
    since: Option<Instant>,
    /// When it was last told that an order cannot be followed.
    complained: Option<Instant>,
    orders: JoinSet<()>,
    /// What keeps it from its work, as it was last told.
    trouble: Option<String>,
}

impl Run {
    pub(super) fn new(settings: MqttSettings, wires: Wires) -> Self {
        let topics = Topics::new(&settings, &wires.gateway);
        let client_id = match settings.client_id.as_str() {
            "" => format!("nuncio-{}", wires.gateway),
            own => own.to_owned(),
        };
        Self {
            client_id,
            news: wires.feed.follow(),
            mirror: Mirror::new(topics, settings.remove_after),
            wires,
            settings,
            changed: BTreeSet::new(),
            pointed: BTreeSet::new(),
            all_changed: false,
            since: None,
            complained: None,
            orders: JoinSet::new(),
            trouble: None,
        }
    }

    /// Runs until it is told to stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut wait = WAIT;
        loop {
            let will = Will { topic: self.mirror.topics().availability(), payload: OFFLINE };
            let opened = tokio::select! {
                opened = Connection::open(&self.settings, &self.client_id, will) => opened,
                () = stop.cancelled() => return,
            };
            let lost = match opened {
                Ok(connection) => {
                    info!(broker = self.settings.broker, "connected to the MQTT broker");
                    self.tell_trouble(None).await;
                    let begun = Instant::now();
                    let Err(lost) = self.serve(connection, &stop).await else { return };
                    if begun.elapsed() >= GOOD {
                        wait = WAIT;
                    }
                    lost
                }
                Err(lost) => lost,
            };
            self.tell_trouble(Some(format!("MQTT: {}: {}", self.settings.broker, lost.0))).await;
            if !self.sit_out(jittered(wait), &stop).await {
                return;
            }
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    /// Once for each reason, not once for each try.
    async fn tell_trouble(&mut self, what: Option<String>) {
        if self.trouble != what {
            self.trouble.clone_from(&what);
            // The gateway may have ended.
            let _ = self.wires.troubles.send(Trouble { of: "mqtt".to_owned(), what }).await;
        } else if let Some(what) = what {
            debug!(what, "still not connected");
        }
    }

    /// Waits before the next try; `false` when the gateway stops.
    async fn sit_out(&mut self, wait: Duration, stop: &CancellationToken) -> bool {
        let over = tokio::time::sleep(wait);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return true,
                () = stop.cancelled() => return false,
                heard = self.news.next() => match heard {
                    Some(Heard::Told(told)) => self.forget(&told.news),
                    Some(Heard::Missed(_)) => {}
                    None => return false,
                },
            }
        }
    }

    /// One connection, until it is lost or the gateway stops.
    async fn serve(&mut self, mut connection: Connection, stop: &CancellationToken) -> Result<(), Lost> {
        self.keep_up(&mut connection, stop).await?;
        let (topic, payload) = self.mirror.farewell();
        let last = async {
            connection.outlet().keep(topic, payload).await?;
            connection.close(FAREWELL).await;
            Ok::<(), Lost>(())
        };
        // A broker that is slow now says it itself, when the connection is gone.
        let _ = tokio::time::timeout(FAREWELL, last).await;
        Ok(())
    }

    async fn keep_up(&mut self, connection: &mut Connection, stop: &CancellationToken) -> Result<(), Lost> {
        let outlet = connection.outlet();
        self.mirror.again();
        outlet.hear(self.mirror.topics().filters()).await?;
        self.all_changed = true;
        if self.refresh().await.is_none() {
            return Ok(());
        }
        loop {
            let next = self.mirror.next();
            let refresh = self.since.map(|since| since + GATHER);
            let expiry = self.mirror.expires();
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                happened = connection.next() => match happened? {
                    Happened::Message { topic, payload, retained } => self.hear(&topic, &payload, retained),
                    Happened::NotHeard => warn!("the MQTT broker does not let the gateway hear of its own topics: see its rules for this user"),
                },
                heard = self.news.next() => match heard {
                    Some(Heard::Told(told)) => self.note(&told.news),
                    Some(Heard::Missed(_)) => self.change_all(),
                    None => return Ok(()),
                },
                kept = keep(&outlet, next.clone()) => {
                    kept?;
                    if let Some((topic, payload)) = &next {
                        self.mirror.sent(topic, payload);
                    }
                },
                () = at(refresh) => if self.refresh().await.is_none() { return Ok(()) },
                () = at(expiry) => self.mirror.expire(Instant::now()),
                Some(_) = self.orders.join_next() => {}
            }
        }
    }

    /// News of the gateway: which device is another than before.
    fn note(&mut self, news: &News) {
        match news {
            News::DeviceLeft { device } => {
                self.mirror.left(device, Instant::now());
            }
            News::DeviceForgotten { .. } => self.forget(news),
            News::DeviceJoined { device, .. }
            | News::DeviceChanged { device }
            | News::Firmware { device, .. }
            | News::Update { device, .. } => {
                self.changed.insert(device.clone());
                self.since.get_or_insert_with(Instant::now);
            }
            News::PointsChanged { device } => {
                self.pointed.insert(device.clone());
                self.since.get_or_insert_with(Instant::now);
            }
            News::Registration { .. } | News::LinksChanged => {}
        }
    }

    fn forget(&mut self, news: &News) {
        if let News::DeviceForgotten { endpoint, .. } = news {
            self.mirror.forget(endpoint);
        }
    }

    fn change_all(&mut self) {
        self.all_changed = true;
        self.since.get_or_insert_with(Instant::now);
    }

    /// Asks the gateway for what has changed; `None` when it stops.
    async fn refresh(&mut self) -> Option<()> {
        self.since = None;
        let (changed, mut pointed) = (std::mem::take(&mut self.changed), std::mem::take(&mut self.pointed));
        let all = std::mem::take(&mut self.all_changed);
        if all || changed.len() > ONE_BY_ONE {
            let list = self.wires.ask(|reply| ControlRequest::Devices { reply }).await.ok()?;
            pointed.extend(list.devices.iter().filter(|_| all).map(|status| status.id.clone()));
            self.mirror.everything(list.devices, Instant::now());
        } else {
            for device in changed {
                let word = device.as_str().to_owned();
                match self.wires.ask(|reply| ControlRequest::Device { device: word, reply }).await {
                    Ok(status) => self.mirror.device(status),
                    Err(failure) if failure.code == FailureCode::NoSuchDevice => {
                        self.mirror.left(&device, Instant::now());
                    }
                    Err(_) => return None,
                }
            }
        }
        for device in pointed {
            let word = device.as_str().to_owned();
            match self.wires.ask(|reply| ControlRequest::Points { device: word, reply }).await {
                Ok(points) => self.mirror.points(&device, &points.points, Instant::now()),
                Err(failure) if failure.code == FailureCode::NoSuchDevice => {}
                Err(_) => return None,
            }
        }
        Some(())
    }

    /// A message from the broker.
    fn hear(&mut self, topic: &str, payload: &[u8], retained: bool) {
        let Some(about) = self.mirror.topics().about(topic) else { return };
        let Ok(payload) = std::str::from_utf8(payload) else { return };
        match about {
            About::Birth if payload == "online" && !retained => {
                debug!("Home Assistant has started: it is told everything again");
                self.mirror.again();
            }
            About::Birth => {}
            // What comes without being kept is what this gateway just said itself.
            About::Entities(device) if retained => self.mirror.found(&device, payload, Instant::now()),
            About::Entities(_) => {}
            About::Install(_) | About::Set(..) if retained => {
                self.complain(topic, "the broker keeps it, and it would come again and again");
            }
            About::Install(device) => self.order(topic, &device, None, payload),
            About::Set(device, point) => self.order(topic, &device, Some(&point), payload),
        }
    }

    fn order(&mut self, topic: &str, device: &str, point: Option<&str>, payload: &str) {
        if !self.mirror.topics().takes_orders() {
            return;
        }
        let wish = Some(payload).filter(|payload| payload.len() <= ORDER_MAX);
        let Some(wish) = wish.and_then(|payload| self.mirror.wish(device, point, payload)) else {
            return self.complain(topic, "no such device or point, or no such value");
        };
        if self.orders.len() >= ORDERS_MAX {
            return self.complain(topic, "too many at once");
        }
        let wires = self.wires.clone();
        self.orders.spawn(async move {
            let device = wish.device.clone();
            if let Err(failure) = carry_out(&wires, wish).await {
                info!(%device, reason = failure.message, "an order by MQTT was refused");
            }
        });
    }

    /// One line in a second is enough, whoever publishes there.
    fn complain(&mut self, topic: &str, reason: &str) {
        let now = Instant::now();
        if self.complained.is_some_and(|last| now.duration_since(last) < COMPLAINT) {
            return debug!(topic, reason, "an order by MQTT is not followed");
        }
        self.complained = Some(now);
        warn!(topic, reason, "an order by MQTT is not followed");
    }
}

async fn carry_out(wires: &Wires, wish: Wish) -> Result<(), Failure> {
    let device = wish.device.as_str().to_owned();
    match wish.point {
        None => wires.ask(|reply| ControlRequest::Install { device, by: BY, reply }).await,
        Some((key, value)) => wires.ask(|reply| ControlRequest::Write { device, key, value, by: BY, reply }).await,
    }
}

/// Hands the next message over; waits for ever where there is none.
async fn keep(outlet: &Outlet, next: Option<(String, Arc<str>)>) -> Result<(), Lost> {
    match next {
        Some((topic, payload)) => outlet.keep(topic, payload).await,
        None => std::future::pending().await,
    }
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when.into()).await,
        None => std::future::pending().await,
    }
}

/// Not all gateways of a site come back in the same moment.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.75 + 0.5 * fastrand::f64())
}
