//! Bluetooth Low Energy devices, over BlueZ: heard of in scans, asked over one connection at a time.
//!
//! Scans come in windows. While devices come and go one follows the other soon; else the pauses grow. No scan runs while a
//! device is asked: most radios do one or the other well. BlueZ remembers devices that are long gone, so only what it heard
//! in this scan counts, which is what has a signal strength. A machine without Bluetooth is looked at now and then, quietly.
//! Driven by `gateway`.

mod gatt;
mod radio;
mod seen;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use btleplug::api::{Central, CentralEvent, CentralState, Manager as _, Peripheral as _, ScanFilter};
use btleplug::platform::{Adapter, Manager, PeripheralId};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use radio::Radio;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::telling::Telling;
use super::{BleSettings, Event};
use crate::device::{
    Access, Answer, Evidence, GattPoint, Lease, Link, LinkReport, Point, PointOrder, PointRefused, PointValue,
    PointsSeen, Question, QuestionFailed,
};

/// What this transport is called where it has troubles.
const NAME: &str = "ble";
/// So long at most a device that gives nothing is left alone, where it is not to be read more seldom anyway.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// At most so many devices are kept; a hostile neighbour may advertise any number.
const MAX_DEVICES: usize = 512;
/// How often a machine without Bluetooth is looked at.
const AGAIN: Duration = Duration::from_secs(15);
/// How long BlueZ may take to answer anything but a connect.
const ANSWER: Duration = Duration::from_secs(20);
/// What libdbus says when the bus itself is gone.
const BUS_LOST: [&str; 3] = ["Disconnected", "disconnected", "Connection is closed"];
/// The shortest time between two news of one device's data.
const DATA_EVERY: Duration = Duration::from_secs(10);

/// Asks devices. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    radio: Radio,
}

/// Starts scanning. Ends when nobody takes its events.
pub fn spawn(settings: &BleSettings, events: mpsc::Sender<Event>) -> Handle {
    let radio = Radio::default();
    if settings.enabled {
        let scanner = Scanner {
            settings: settings.clone(),
            manager: None,
            radio: radio.clone(),
            telling: Telling::new(NAME),
            missed: BTreeMap::new(),
            told_data: BTreeMap::new(),
            events,
        };
        tokio::spawn(scanner.run());
    }
    Handle { radio }
}

impl Handle {
    /// Asks a question over the leased link.
    pub async fn ask(&self, lease: Lease, question: Question) -> (Lease, Result<Answer, QuestionFailed>) {
        let outcome = match (lease.link(), &question) {
            (Link::Ble(address), Question::Gatt { characteristics }) => {
                let radio = self.radio.take("finding out what a device is").await;
                match radio.adapter() {
                    Some(adapter) => gatt::ask(adapter, *address, characteristics).await,
                    None => Err(QuestionFailed::Gone),
                }
            }
            _ => Err(QuestionFailed::Unsupported),
        };
        (lease, outcome)
    }

    /// The adapter's name, and what for it is taken just now; `None` where there is none.
    pub fn adapter(&self) -> Option<(String, Option<String>)> {
        self.radio.holder()
    }

    /// Reads characteristics again and again until `stop`, or nobody listens. A device that gives none is tried at the next
    /// turn; what it gave before is not known any more.
    pub async fn watch(
        &self,
        lease: Lease,
        (values, every): (Vec<GattPoint>, Duration),
        seen: mpsc::Sender<(Link, PointsSeen)>,
        mut orders: mpsc::Receiver<PointOrder>,
        stop: CancellationToken,
    ) -> (Lease, Result<(), QuestionFailed>) {
        let Link::Ble(address) = *lease.link() else { return (lease, Err(QuestionFailed::Unsupported)) };
        let wanted: Vec<String> = values.iter().map(|value| value.uuid.clone()).collect();
        let mut known = BTreeSet::new();
        let mut pause = every;
        while !stop.is_cancelled() {
            let radio = tokio::select! {
                () = stop.cancelled() => break,
                radio = self.radio.take("reading a device's points") => radio,
            };
            let read = match radio.adapter() {
                Some(adapter) => gatt::read(adapter, address, &wanted, &stop).await,
                None => Err(QuestionFailed::Gone),
            };
            drop(radio);
            if stop.is_cancelled() {
                break;
            }
            pause = match &read {
                Ok(_) => every,
                Err(error) => {
                    debug!(%address, %error, "its values are not read");
                    (pause * 2).min(LONGEST_PAUSE).max(every)
                }
            };
            let news = match read {
                Ok(read) => PointsSeen::All(points(&values, &read, &mut known)),
                Err(_) => PointsSeen::NoValues,
            };
            if seen.send((lease.link().clone(), news)).await.is_err() {
                break;
            }
            let next = sleep(pause);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = &mut next => break,
                    Some(order) = orders.recv() => refuse(order),
                }
            }
        }
        (lease, Ok(()))
    }
}

/// Nothing is written to characteristics.
fn refuse(order: PointOrder) {
    let why = "nothing is written over Bluetooth".to_owned();
    match order {
        PointOrder::Write { reply, .. } => drop(reply.send(Err(PointRefused::BadValue(why)))),
        PointOrder::PointOut { reply } => drop(reply.send(Err(why))),
    }
}

/// The points of a device, by what was read of it. What it does not have is no point of it; what it gave once stays one.
fn points(wanted: &[GattPoint], read: &BTreeMap<String, Vec<u8>>, known: &mut BTreeSet<String>) -> Vec<Point> {
    known.extend(read.keys().cloned());
    let number = |value: &GattPoint| gatt::number(read.get(&value.uuid)?, value.form, value.unknown);
    let there = wanted.iter().filter(|value| known.contains(&value.uuid));
    there.map(|value| point(value, number(value).map(PointValue::Number))).collect()
}

/// What a watch of a device is told of: its points, under keys `gatt/UUID`.
fn point(wanted: &GattPoint, value: Option<PointValue>) -> Point {
    let key = format!("gatt/{}", wanted.uuid);
    Point { key, kind: "gatt".to_owned(), class: None, unit: None, name: None, writable: false, value }
}

struct Scanner {
    settings: BleSettings,
    /// The way to BlueZ. The library never closes a connection to the bus: one is made, and kept as long as the bus is there.
    manager: Option<Manager>,
    radio: Radio,
    telling: Telling,
    /// In how many scans in a row a device was not heard.
    missed: BTreeMap<Link, u8>,
    /// When the data of a device was told last.
    told_data: BTreeMap<Link, Instant>,
    events: mpsc::Sender<Event>,
}

/// What BlueZ tells of an adapter and its devices. One for as long as the adapter is there: ending it while something
/// comes in leaves a rule at the bus, which has room for 512.
type Heard = BoxStream<'static, CentralEvent>;

/// Why scanning cannot go on.
enum Stop {
    /// Nobody takes the events any more.
    Over,
    /// There is no adapter, or no BlueZ.
    Absent(String),
    /// The adapter is there and does not do its work, with the cure.
    Failed(String),
}

impl Scanner {
    async fn run(mut self) {
        let mut had = false;
        loop {
            let trouble = match self.scan_on(&mut had).await {
                Stop::Over => return,
                Stop::Absent(reason) => {
                    if std::mem::take(&mut had) {
                        warn!(reason, "Bluetooth is gone, and its devices with it");
                    }
                    debug!(reason, "no Bluetooth");
                    None
                }
                Stop::Failed(reason) => Some(reason),
            };
            self.radio.set(None).await;
            self.telling.clear();
            self.missed.clear();
            self.told_data.clear();
            self.telling.set_trouble(trouble);
            if self.telling.tell_all(&self.events, log).await.is_err() {
                return;
            }
            tokio::select! {
                () = self.events.closed() => return,
                () = sleep(AGAIN) => {}
            }
        }
    }

    /// Scans on the adapter until that fails.
    async fn scan_on(&mut self, had: &mut bool) -> Stop {
        let manager = match self.manager.take() {
            Some(manager) => manager,
            None => match timeout(ANSWER, Manager::new()).await {
                Ok(Ok(manager)) => manager,
                Ok(Err(error)) => return Stop::Absent(error.to_string()),
                Err(_) => return Stop::Absent("the system bus does not answer".to_owned()),
            },
        };
        let chosen = self.choose(&manager).await;
        let bus_lost = chosen.as_ref().err().is_some_and(|reason| BUS_LOST.iter().any(|text| reason.contains(text)));
        self.manager = (!bus_lost).then_some(manager);
        let adapter = match chosen {
            Ok(adapter) => adapter,
            Err(reason) => return Stop::Absent(reason),
        };
        match timeout(ANSWER, adapter.adapter_state()).await {
            Ok(Ok(CentralState::PoweredOn)) => {}
            Ok(Ok(_)) => {
                let cure = "the Bluetooth adapter is switched off: `bluetoothctl power on`, and AutoEnable=true in /etc/bluetooth/main.conf";
                return Stop::Failed(cure.to_owned());
            }
            _ => return Stop::Absent("BlueZ does not answer".to_owned()),
        }
        if !std::mem::replace(had, true) {
            let adapter = adapter.adapter_info().await.unwrap_or_default();
            info!(adapter, "scanning for Bluetooth devices");
        }
        let mut heard: Heard = match adapter.events().await {
            Ok(heard) => heard,
            Err(error) => return Stop::Absent(error.to_string()),
        };
        self.radio.set(Some(adapter)).await;
        self.telling.set_trouble(None);
        let mut pause = self.settings.pause;
        loop {
            let news = match self.window(&mut heard).await {
                Ok(news) => news,
                Err(stop) => return stop,
            };
            pause = if news { self.settings.pause } else { (pause * 2).min(self.settings.pause_max) };
            if let Err(stop) = self.rest(&mut heard, pause).await {
                return stop;
            }
        }
    }

    /// The pause between two scans, in which the adapter may go all the same.
    async fn rest(&self, heard: &mut Heard, pause: Duration) -> Result<(), Stop> {
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                () = self.events.closed() => return Err(Stop::Over),
                () = tokio::time::sleep_until(until) => return Ok(()),
                event = heard.next() => adapter_is_there(event.as_ref())?,
            }
        }
    }

    async fn choose(&self, manager: &Manager) -> Result<Adapter, String> {
        let adapters = timeout(ANSWER, manager.adapters()).await.map_err(|_| "BlueZ does not answer".to_owned())?;
        let mut named = Vec::new();
        for adapter in adapters.map_err(|error| error.to_string())? {
            // `hci0 (usb:...)`.
            let info = adapter.adapter_info().await.map_err(|error| error.to_string())?;
            named.push((info.split(' ').next().unwrap_or_default().to_owned(), adapter));
        }
        // BlueZ lists them in any order.
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        let wanted = &self.settings.adapter;
        let chosen = named.into_iter().find(|(name, _)| wanted.is_empty() || name == wanted);
        chosen.map(|(_, adapter)| adapter).ok_or_else(|| match wanted.is_empty() {
            true => "there is no adapter".to_owned(),
            false => format!("there is no adapter {wanted}"),
        })
    }

    /// One scan; whether a device came or went.
    async fn window(&mut self, heard: &mut Heard) -> Result<bool, Stop> {
        // Nobody is asked meanwhile.
        let radio = self.radio.take("scanning").await;
        let Some(adapter) = radio.adapter() else { return Err(Stop::Absent("the adapter went".to_owned())) };
        let lost = |error: btleplug::Error| Stop::Absent(error.to_string());
        let before = self.telling.count();
        let mut news = false;
        adapter.start_scan(ScanFilter::default()).await.map_err(lost)?;
        let (until, events) = (Instant::now() + self.settings.scan, self.events.clone());
        loop {
            tokio::select! {
                event = heard.next() => {
                    adapter_is_there(event.as_ref())?;
                    if let Some(id) = event.and_then(device_of) {
                        news |= self.look(adapter, &id).await;
                    }
                }
                permit = events.reserve(), if self.telling.is_waiting() => match permit {
                    Ok(permit) => if let Some(event) = self.telling.next() {
                        log(&event);
                        permit.send(event);
                    },
                    Err(_) => return Err(Stop::Over),
                },
                () = tokio::time::sleep_until(until) => break,
                () = events.closed() => return Err(Stop::Over),
            }
        }
        self.take_stock(adapter).await.map_err(lost)?;
        // One that fails has stopped by itself.
        let _ = adapter.stop_scan().await;
        drop(radio);
        self.telling.tell_all(&self.events, log).await.map_err(|_| Stop::Over)?;
        Ok(news || self.telling.count() != before)
    }

    /// Looks at one device that was heard; whether it is new.
    async fn look(&mut self, adapter: &Adapter, id: &PeripheralId) -> bool {
        let Ok(peripheral) = adapter.peripheral(id).await else { return false };
        let Ok(Some(properties)) = peripheral.properties().await else { return false };
        let Some(signal) = properties.rssi else { return false };
        let mut seen = seen::of(&properties);
        let link = Link::Ble(seen.address);
        let known = self.telling.get(&link);
        if known.is_none() && self.telling.count() >= MAX_DEVICES {
            return false;
        }
        let new = known.is_none();
        self.missed.insert(link.clone(), 0);
        let before = known.and_then(|report| report.evidence.first()).and_then(|before| match before {
            Evidence::Ble(before) => Some(before),
            _ => None,
        });
        if let Some(before) = before {
            seen::keep_advertised(before, &mut seen);
        }
        let same_but_data = before.is_some_and(|before| seen::is_same_but_data(before, &seen));
        let now = Instant::now();
        let lately = self.told_data.get(&link).is_some_and(|at| now.duration_since(*at) < DATA_EVERY);
        if same_but_data && lately {
            return false;
        }
        self.told_data.insert(link.clone(), now);
        let report = LinkReport {
            link,
            aliases: Vec::new(),
            access: Access::Usable,
            evidence: vec![Evidence::Ble(seen)],
            signal: Some(signal),
        };
        self.telling.put(report);
        new
    }

    /// At the end of a scan: who was heard, and who is gone.
    async fn take_stock(&mut self, adapter: &Adapter) -> btleplug::Result<()> {
        let mut heard = Vec::new();
        for peripheral in adapter.peripherals().await? {
            if let Ok(Some(properties)) = peripheral.properties().await
                && properties.rssi.is_some()
            {
                heard.push(Link::Ble(seen::of(&properties).address));
            }
        }
        let links: Vec<Link> = self.telling.links().cloned().collect();
        for link in links {
            let missed = self.missed.entry(link.clone()).or_default();
            *missed = if heard.contains(&link) { 0 } else { missed.saturating_add(1) };
            if *missed >= self.settings.gone_after {
                self.missed.remove(&link);
                self.told_data.remove(&link);
                self.telling.remove(&link);
            }
        }
        Ok(())
    }
}

/// An event that tells otherwise is an error; so is the end of all events.
fn adapter_is_there(event: Option<&CentralEvent>) -> Result<(), Stop> {
    match event {
        Some(CentralEvent::StateUpdate(CentralState::PoweredOff)) | None => {
            Err(Stop::Absent("the adapter was switched off or unplugged".to_owned()))
        }
        Some(_) => Ok(()),
    }
}

/// The device that an event is about, where something was heard of it.
fn device_of(event: CentralEvent) -> Option<PeripheralId> {
    match event {
        CentralEvent::DeviceDiscovered(id)
        | CentralEvent::DeviceUpdated(id)
        | CentralEvent::RssiUpdate { id, .. }
        | CentralEvent::ManufacturerDataAdvertisement { id, .. }
        | CentralEvent::ServiceDataAdvertisement { id, .. }
        | CentralEvent::ServicesAdvertisement { id, .. } => Some(id),
        _ => None,
    }
}

fn log(event: &Event) {
    match event {
        Event::Appeared(report) => debug!(link = %report.link, "Bluetooth device appeared"),
        Event::Changed(report) => debug!(link = %report.link, "Bluetooth device changed"),
        Event::Vanished(link) => debug!(%link, "Bluetooth device vanished"),
        Event::Trouble { .. } => {}
    }
}
