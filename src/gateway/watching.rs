//! Points of devices: watched over their links for as long as nobody else wants those, shown to servers, and written.

use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Event, Gateway};
use crate::control::{self, Failure, FailureCode, News, Points};
use crate::device::{
    DeviceId, Link, POINTS_MAX, Point, PointOrder, PointRefused, PointValue, PointsSeen, QuestionFailed, ServiceSeen,
    Watch,
};
use crate::proxy;

/// Orders that wait for one watch.
const ORDERS_WAITING: usize = 16;
/// How long a link is left alone after a watch of it has failed.
const AFTER_FAILURE: std::time::Duration = std::time::Duration::from_secs(30);

/// The watches that run, by link, and how many have begun.
#[derive(Debug, Default)]
pub(super) struct Watches(BTreeMap<Link, Watching>, u64);

#[derive(Debug)]
struct Watching {
    /// Which watch it is: the news of one that has ended may come after the next has begun.
    number: u64,
    device: DeviceId,
    orders: mpsc::Sender<PointOrder>,
    stop: CancellationToken,
    state: State,
    points: Vec<Point>,
    /// Where the device was when it began, for one on a network.
    at: Option<ServiceSeen>,
}

impl Watching {
    /// Whether a device on a network is where this does not look for it: it has moved, or its announcement was not whole.
    fn is_left_behind(&self, now: Option<&ServiceSeen>) -> bool {
        let (Some(at), Some(now)) = (&self.at, now) else { return false };
        let further = now.addresses.iter().any(|address| !at.addresses.contains(address));
        self.state == State::Running && (at.port != now.port || further)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Somebody else wanted the link.
    Stopped,
    /// It failed: the link is left alone for a time.
    Failed,
}

impl Gateway {
    /// Begins to watch a device where that is to be done and its link is free.
    pub(super) fn watch(&mut self, device: &DeviceId) {
        if self.player.is_some() {
            return;
        }
        let Some((watch, service)) = self.registry.watch(device) else { return };
        let Some(link) = self.registry.device(device).map(|info| info.link.clone()) else { return };
        self.forget_former_links(device, &link);
        let known = self.watches.0.get(&link).filter(|watching| watching.device == *device);
        if let Some(watching) = known.filter(|watching| watching.state != State::Stopped) {
            if watching.is_left_behind(service.as_ref()) {
                // It begins anew when this one has given its lease back.
                tracing::debug!(%device, %link, "it has another address");
                watching.stop.cancel();
            }
            return;
        }
        let points = known.map(|watching| watching.points.clone()).unwrap_or_default();
        let Ok((lease, wanted)) = self.leases.take_yielding(&link, "reading its points") else { return };
        self.stop_watching(&link);
        let (orders, orders_in) = mpsc::channel(ORDERS_WAITING);
        let stop = wanted.child_token();
        self.watches.1 += 1;
        let number = self.watches.1;
        let watching = Watching {
            number,
            device: device.clone(),
            orders,
            stop: stop.clone(),
            state: State::Running,
            points,
            at: service.clone(),
        };
        self.watches.0.insert(link.clone(), watching);
        tracing::debug!(%device, %link, "its points are watched");
        let (seen, events) = (self.points.clone(), self.events.clone());
        let (serial, ble, esphome) = (self.serial.clone(), self.ble.clone(), self.esphome.clone());
        tokio::spawn(async move {
            let (lease, outcome) = match (watch, service) {
                (Watch::Firmata { baud, pins }, _) => {
                    serial.watch(lease, (baud, pins), seen, orders_in, stop.clone()).await
                }
                (Watch::Gatt { values, every }, _) => {
                    ble.watch(lease, (values, every), seen, orders_in, stop.clone()).await
                }
                (Watch::Esphome, Some(service)) => esphome.watch(lease, service, seen, orders_in, stop.clone()).await,
                (Watch::Esphome, None) => (lease, Err(QuestionFailed::Unsupported)),
            };
            // The loop may have ended meanwhile. First this: what waits for the link finds no watch that seems to run.
            let _ = events.send(Event::Unwatched { link, number, outcome, stopped: stop.is_cancelled() }).await;
            drop(lease);
        });
    }

    /// A watch has ended.
    pub(super) fn handle_unwatched(
        &mut self,
        (link, number): (Link, u64),
        outcome: &Result<(), QuestionFailed>,
        stopped: bool,
    ) {
        let Some(watching) = self.watches.0.get_mut(&link).filter(|watching| watching.number == number) else {
            // It was forgotten, or the next one has begun. Its lease may have come back before this news of it.
            return self.watch_link(&link);
        };
        if let (Err(error), false) = (outcome, stopped) {
            tracing::info!(device = %watching.device, %link, %error, "its points are not read");
        }
        if stopped {
            watching.state = State::Stopped;
            // Its lease may have come back before this news of it. Where somebody else has it now, that one's coming back counts.
            self.watch_link(&link);
            return;
        }
        watching.state = State::Failed;
        let device = watching.device.clone();
        self.tell_no_values(&device);
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(AFTER_FAILURE).await;
            // The loop may have ended meanwhile.
            let _ = events.send(Event::WatchAgain { link, number }).await;
        });
    }

    /// What a device's points held is not known any more.
    pub(super) fn tell_no_values(&mut self, device: &DeviceId) {
        for watching in self.watches.0.values_mut().filter(|watching| watching.device == *device) {
            watching.points.iter_mut().for_each(|point| point.value = None);
            self.proxy.set_points(device, self.registry.shown(device, &watching.points));
            self.feed.tell(News::PointsChanged { device: device.clone() });
        }
    }

    /// A link was left alone for long enough.
    pub(super) fn watch_again(&mut self, link: &Link, number: u64) {
        let it = |watching: &&mut Watching| watching.number == number && watching.state == State::Failed;
        if let Some(watching) = self.watches.0.get_mut(link).filter(it) {
            watching.state = State::Stopped;
            self.watch_link(link);
        }
    }

    /// Watches the device on a link, where there is one.
    pub(super) fn watch_link(&mut self, link: &Link) {
        if let Some(device) = self.registry.on_link(link).cloned() {
            self.watch(&device);
        }
    }

    /// A device that is on another link now is not watched on those it had before.
    fn forget_former_links(&mut self, device: &DeviceId, now: &Link) {
        self.watches.0.retain(|link, watching| {
            let stays = watching.device != *device || link == now;
            if !stays {
                watching.stop.cancel();
            }
            stays
        });
    }

    /// The device on a link is gone, or another one.
    fn stop_watching(&mut self, link: &Link) {
        if let Some(watching) = self.watches.0.remove(link) {
            watching.stop.cancel();
        }
    }

    /// A device is gone: its watch ends.
    pub(super) fn forget_points(&mut self, device: &DeviceId) {
        let links: Vec<Link> = self
            .watches
            .0
            .iter()
            .filter(|(_, watching)| watching.device == *device)
            .map(|(link, _)| link.clone())
            .collect();
        links.iter().for_each(|link| self.stop_watching(link));
    }

    /// No watch goes on as it is; each begins anew when it has given its lease back, where it is still to.
    pub(super) fn stop_all_watches(&self) {
        self.watches.0.values().for_each(|watching| watching.stop.cancel());
    }

    /// Servers are shown what is known of all points as the board files say now, which may be none.
    pub(super) fn show_points_anew(&self) {
        for Watching { device, points, .. } in self.watches.0.values() {
            self.proxy.set_points(device, self.registry.shown(device, points));
            self.feed.tell(News::PointsChanged { device: device.clone() });
        }
    }

    /// A watch tells something.
    pub(super) async fn handle_points(&mut self, link: &Link, seen: PointsSeen) {
        let Some(watching) = self.watches.0.get_mut(link) else { return };
        match seen {
            PointsSeen::All(mut points) => {
                points.truncate(POINTS_MAX);
                watching.points = points;
            }
            PointsSeen::Value { key, value } => {
                let Some(point) = watching.points.iter_mut().find(|point| point.key == key) else { return };
                point.value = value;
            }
            PointsSeen::NoValues => watching.points.iter_mut().for_each(|point| point.value = None),
        }
        let shown = self.registry.shown(&watching.device, &watching.points);
        self.proxy.set_points(&watching.device, shown);
        if self.feed.is_followed() {
            self.feed.tell(News::PointsChanged { device: watching.device.clone() });
        }
        if let Some(dbm) = signal(&watching.points) {
            let decisions = self.registry.set_signal(&watching.device, dbm);
            self.carry_out(decisions).await;
        }
    }

    /// An operator writes the value of a point, in the unit that servers see.
    pub(super) fn write(&self, word: &str, key: &str, value: &PointValue, by: &str, reply: control::Answer<()>) {
        let wished = self.points(word).and_then(|Points { device, points, .. }| {
            let refused = |message: String| Failure::new(FailureCode::BadRequest, message);
            let point = points.iter().find(|point| point.key == key);
            let point = point.ok_or_else(|| refused(format!("{device} has no point `{key}` just now")))?;
            let value = proxy::wished(point, value);
            let value = value.ok_or_else(|| refused(format!("`{key}` of {device} takes no such value")))?;
            Ok((device, value))
        });
        let (device, value) = match wished {
            Ok(wished) => wished,
            Err(failure) => return drop(reply.send(Err(failure))),
        };
        let (written, outcome) = oneshot::channel();
        self.write_point(&device, by, (key.to_owned(), value), written);
        tokio::spawn(async move {
            let outcome = outcome.await.unwrap_or_else(|_| Err(PointRefused::NotNow("its watch has ended".to_owned())));
            let failed = |refused: PointRefused| match refused {
                PointRefused::BadValue(why) => Failure::new(FailureCode::BadRequest, why),
                PointRefused::NotNow(why) => Failure::new(FailureCode::NotNow, why),
            };
            drop(reply.send(outcome.map_err(failed)));
        });
    }

    /// A device's points, as servers are shown them.
    pub(super) fn points(&self, word: &str) -> Result<Points, Failure> {
        let device = self.find(word).map(|info| info.id.clone()).ok_or_else(|| self.unknown(word))?;
        let watching = self.watches.0.values().find(|watching| watching.device == device);
        let points = watching.map(|watching| self.registry.shown(&device, &watching.points)).unwrap_or_default();
        let not_read = match watching.map(|watching| watching.state) {
            Some(State::Running) => None,
            Some(State::Stopped) => Some("somebody else has its link just now".to_owned()),
            Some(State::Failed) => Some("the last try failed; the log says why, and another one follows".to_owned()),
            None => Some(self.registry.why_not_watched(&device)),
        };
        Ok(Points { device, not_read, points })
    }

    /// Where orders to a device that is watched just now go.
    pub(super) fn orders(&self, device: &DeviceId) -> Option<mpsc::Sender<PointOrder>> {
        let is_it = |watching: &&Watching| watching.device == *device && watching.state == State::Running;
        self.watches.0.values().find(is_it).map(|watching| watching.orders.clone())
    }

    /// A server, or an operator by some way, writes the value of a point.
    pub(super) fn write_point(
        &self,
        device: &DeviceId,
        by: &str,
        (key, value): (String, PointValue),
        reply: oneshot::Sender<Result<(), PointRefused>>,
    ) {
        tracing::info!(%device, by, key, %value, "writing");
        let order = PointOrder::Write { key, value, reply };
        let refused = match self.orders(device) {
            Some(orders) => match orders.try_send(order) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(order) | mpsc::error::TrySendError::Closed(order)) => order,
            },
            None => order,
        };
        if let PointOrder::Write { reply, .. } = refused {
            drop(reply.send(Err(PointRefused::NotNow("the device is not connected to just now".to_owned()))));
        }
    }
}

/// What a device with WiFi tells of its reception, in dBm, where one of its points is that; nothing where several are: some of
/// them are of other radios.
fn signal(points: &[Point]) -> Option<i16> {
    let is_it = |point: &&Point| {
        point.class.as_deref() == Some("signal_strength") && point.unit.as_deref().is_some_and(|unit| unit == "dBm")
    };
    let mut found = points.iter().filter(is_it);
    let only = found.next().filter(|_| found.next().is_none());
    match only?.value {
        Some(PointValue::Number(dbm)) if (-128.0..=20.0).contains(&dbm) => Some(dbm.round() as i16),
        _ => None,
    }
}
