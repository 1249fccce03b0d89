//! ESPHome devices by their native API (TCP, usually 6053): asked for what they are, and watched for what they have.
//!
//! Only devices that announced themselves are connected to, at the addresses that they announced. Driven by `gateway`.

mod connection;
mod key;
mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use prost::Message as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use self::connection::{Connection, failed};
use self::message::{Entity, EntityId};
use super::http::addresses;
use crate::device::{
    Answer, Evidence, Lease, Link, POINTS_MAX, PointOrder, PointRefused, PointValue, PointsSeen, Question,
    QuestionFailed, ServiceSeen,
};

pub use key::Key;

/// How long one question may take; devices on bad WiFi are slow.
const WITHIN: Duration = Duration::from_secs(15);
/// At most so many devices are asked at once.
const AT_ONCE: usize = 16;
/// A device that says nothing for so long is asked whether it is there, and given up after as long again. ESPHome's own clients
/// do so after 20 s.
const PING_EVERY: Duration = Duration::from_secs(20);
/// How often changed values are told.
const FLUSH: Duration = Duration::from_millis(50);
/// How long a device that has just been connected to gets for its first states.
const FIRST_STATES: Duration = Duration::from_millis(500);
/// The first pause after a connection that was lost or did not come; doubles up to the last.
const AGAIN: Duration = Duration::from_secs(5);
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// How often a lamp goes on and off to be seen, and for how long each.
const BLINKS: usize = 3;
const BLINK: Duration = Duration::from_millis(700);
/// The class of a button that makes a device show itself.
const IDENTIFY: &str = "identify";
/// Why a device cannot be made visible, with the cure.
const NOTHING_TO_SHOW: &str = "it has neither a lamp nor a button with `device_class: identify`";

/// Asks and watches devices. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    places: Arc<Semaphore>,
    keys: Arc<[(String, GlobMatcher, Key)]>,
}

impl Handle {
    /// With these keys, by globs over the names of devices: a whole name before a pattern, then the most letters. A name that is no glob fits itself alone.
    pub fn new(keys: &BTreeMap<String, Key>) -> Self {
        let matcher = |name: &String| Glob::new(name).or_else(|_| Glob::new(&globset::escape(name)));
        let mut keys: Vec<_> = keys
            .iter()
            .filter_map(|(name, key)| Some((name.clone(), matcher(name).ok()?.compile_matcher(), key.clone())))
            .collect();
        let exact = |name: &str| globset::escape(name) == name;
        keys.sort_by_key(|(name, ..)| (!exact(name), std::cmp::Reverse(name.trim_matches('*').len())));
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), keys: keys.into() }
    }

    fn key(&self, service: &ServiceSeen) -> Option<&Key> {
        let fits = |(_, glob, _): &&(String, GlobMatcher, Key)| {
            glob.is_match(service.name.instance()) || glob.is_match(&service.host)
        };
        self.keys.iter().find(fits).map(|(.., key)| key)
    }

    /// Connects to a device and says hello. A key for all does not lock out those that have none: whether a device wants one it
    /// announces, or says when it is spoken to in the clear.
    async fn connect(&self, service: &ServiceSeen) -> Result<Connection, QuestionFailed> {
        let (key, addresses) = (self.key(service), addresses(service));
        // `api_encryption_supported` alone says that a key could be given to it, not that it has one.
        let announced = service.txt.contains_key("api_encryption");
        if key.is_none() && announced {
            return Err(connection::wants_key());
        }
        let first = key.filter(|_| announced || self.is_for_it_alone(service));
        match (greet(&addresses, first).await, first, key) {
            (Err(error), None, Some(key)) if error == connection::wants_key() => greet(&addresses, Some(key)).await,
            (outcome, ..) => outcome,
        }
    }

    fn is_for_it_alone(&self, service: &ServiceSeen) -> bool {
        self.keys.iter().any(|(name, ..)| name == service.name.instance() || *name == service.host)
    }

    /// Asks a question over the leased link.
    pub async fn ask(&self, lease: Lease, question: Question) -> (Lease, Result<Answer, QuestionFailed>) {
        let Question::Esphome { service } = question else { return (lease, Err(QuestionFailed::Unsupported)) };
        let place = self.places.acquire().await;
        let outcome = timeout(WITHIN, self.info(&service)).await;
        drop(place);
        let outcome = outcome.unwrap_or_else(|_| Err(failed("its native API does not answer")));
        let answer = |values| Answer { evidence: vec![Evidence::Esphome { values }], version: None };
        (lease, outcome.map(answer))
    }

    async fn info(&self, service: &ServiceSeen) -> Result<BTreeMap<String, String>, QuestionFailed> {
        let mut connection = self.connect(service).await?;
        connection.send(message::DEVICE_INFO_REQUEST, &[]).await?;
        let info = loop {
            match connection.next().await? {
                (message::DEVICE_INFO_RESPONSE, body) => break message::DeviceInfo::decode(&body[..]),
                (kind, body) => courtesy(&mut connection, kind, &body).await?,
            }
        };
        let info = info.map_err(|_| failed("it tells of itself what cannot be read"))?;
        // It would take a line that only breaks for a fault of its own.
        let _ = connection.send(message::DISCONNECT_REQUEST, &[]).await;
        Ok(info.values().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Watches what a device has until `stop`, or nobody listens. A connection that is lost is made again; meanwhile nothing is
    /// known of its points.
    pub async fn watch(
        &self,
        lease: Lease,
        service: ServiceSeen,
        seen: mpsc::Sender<(Link, PointsSeen)>,
        mut orders: mpsc::Receiver<PointOrder>,
        stop: CancellationToken,
    ) -> (Lease, Result<(), QuestionFailed>) {
        let link = lease.link().clone();
        let mut watch = Watch { link, seen, entities: Vec::new(), news: BTreeSet::new() };
        let (mut pause, mut told) = (AGAIN, None);
        loop {
            let began = Instant::now();
            let ended = tokio::select! {
                () = stop.cancelled() => return (lease, Ok(())),
                ended = watch.connected(self, &service, &mut orders) => ended,
            };
            let Err(reason) = ended else { return (lease, Ok(())) };
            if told.as_ref() == Some(&reason) {
                debug!(link = %watch.link, %reason, "its points are not read");
            } else {
                info!(link = %watch.link, %reason, "its points are not read");
            }
            told = Some(reason);
            if watch.forget_values().await.is_err() {
                return (lease, Ok(()));
            }
            if began.elapsed() > AGAIN_MAX {
                pause = AGAIN;
            }
            let next = sleep(pause);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return (lease, Ok(())),
                    () = &mut next => break,
                    Some(order) = orders.recv() => refuse(order, "it is not connected to just now"),
                }
            }
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }
}

/// Connects and says hello.
async fn greet(addresses: &[SocketAddr], key: Option<&Key>) -> Result<Connection, QuestionFailed> {
    let greeted = async {
        let mut connection = Connection::open(addresses, key).await?;
        let hello = message::Hello { client_info: "nuncio".to_owned(), api_version_major: 1, api_version_minor: 14 };
        connection.send(message::HELLO_REQUEST, &hello.encode_to_vec()).await?;
        loop {
            match connection.next().await? {
                (message::HELLO_RESPONSE, _) => return Ok(connection),
                (kind, body) => courtesy(&mut connection, kind, &body).await?,
            }
        }
    };
    let greeted = timeout(WITHIN, greeted).await;
    let mut connection = greeted.unwrap_or_else(|_| Err(failed("its native API does not answer")))?;
    // Older firmware wants this before anything else, with or without a password; newer one passes over it.
    connection.send(message::AUTHENTICATION_REQUEST, &[]).await?;
    Ok(connection)
}

/// What every connection has to answer.
async fn courtesy(connection: &mut Connection, kind: u32, body: &[u8]) -> Result<(), QuestionFailed> {
    match kind {
        message::PING_REQUEST => connection.send(message::PING_RESPONSE, &[]).await,
        message::DISCONNECT_REQUEST => {
            connection.send(message::DISCONNECT_RESPONSE, &[]).await?;
            Err(failed("it ended the connection"))
        }
        message::AUTHENTICATION_RESPONSE => match message::AuthenticationResponse::decode(body) {
            Ok(answer) if answer.invalid_password => Err(failed("its native API wants a password")),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn refuse(order: PointOrder, why: &str) {
    match order {
        PointOrder::Write { reply, .. } => drop(reply.send(Err(PointRefused::NotNow(why.to_owned())))),
        PointOrder::PointOut { reply } => drop(reply.send(Err(why.to_owned()))),
    }
}

/// Nobody takes what is seen any more.
struct NobodyListens;

/// What one device has, as far as it told.
struct Watch {
    link: Link,
    seen: mpsc::Sender<(Link, PointsSeen)>,
    entities: Vec<Entity>,
    /// Those whose values are still to be told.
    news: BTreeSet<usize>,
}

impl Watch {
    /// One connection, from the hello to its end; `Ok` when nobody listens any more.
    async fn connected(
        &mut self,
        handle: &Handle,
        service: &ServiceSeen,
        orders: &mut mpsc::Receiver<PointOrder>,
    ) -> Result<(), QuestionFailed> {
        let mut connection = handle.connect(service).await?;
        let entities = list(&mut connection);
        self.entities =
            timeout(WITHIN, entities).await.unwrap_or_else(|_| Err(failed("it does not tell what it has")))?;
        connection.send(message::SUBSCRIBE_STATES_REQUEST, &[]).await?;
        debug!(link = %self.link, entities = self.entities.len(), "its points are read");
        let mut flush = interval_at(Instant::now() + FIRST_STATES, FLUSH);
        let mut listed = false;
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut silent = false;
        loop {
            tokio::select! {
                message = connection.next() => {
                    let (kind, body) = message?;
                    silent = false;
                    match message::state(kind, &body) {
                        Some((id, value)) => self.changed(id, value),
                        None => courtesy(&mut connection, kind, &body).await?,
                    }
                }
                _ = flush.tick(), if !listed || !self.news.is_empty() => {
                    let told = if std::mem::replace(&mut listed, true) { self.tell_news().await } else { self.tell_all().await };
                    if told.is_err() {
                        return Ok(());
                    }
                }
                _ = ping.tick() => {
                    if std::mem::replace(&mut silent, true) {
                        return Err(failed("it does not answer any more"));
                    }
                    connection.send(message::PING_REQUEST, &[]).await?;
                }
                Some(order) = orders.recv() => self.carry_out(&mut connection, order).await?,
            }
        }
    }

    fn changed(&mut self, id: EntityId, value: Option<PointValue>) {
        let Some(at) = self.entities.iter().position(|entity| entity.id == id) else { return };
        if self.entities[at].point.value != value {
            self.entities[at].point.value = value;
            self.news.insert(at);
        }
    }

    async fn tell_all(&mut self) -> Result<(), NobodyListens> {
        self.news.clear();
        let points = self.entities.iter().map(|entity| entity.point.clone()).collect();
        self.tell(PointsSeen::All(points)).await
    }

    /// Tells what changed since the last time, each point once: a value that flickers costs no more than others.
    async fn tell_news(&mut self) -> Result<(), NobodyListens> {
        for at in std::mem::take(&mut self.news) {
            let Some(Entity { point, .. }) = self.entities.get(at) else { continue };
            self.tell(PointsSeen::Value { key: point.key.clone(), value: point.value.clone() }).await?;
        }
        Ok(())
    }

    async fn tell(&self, seen: PointsSeen) -> Result<(), NobodyListens> {
        self.seen.send((self.link.clone(), seen)).await.map_err(|_| NobodyListens)
    }

    async fn forget_values(&mut self) -> Result<(), NobodyListens> {
        self.news.clear();
        self.entities.iter_mut().for_each(|entity| entity.point.value = None);
        self.tell(PointsSeen::NoValues).await
    }

    async fn carry_out(&mut self, connection: &mut Connection, order: PointOrder) -> Result<(), QuestionFailed> {
        match order {
            PointOrder::Write { key, value, reply } => {
                let entity = self.entities.iter().find(|entity| entity.point.key == key);
                let command =
                    entity.ok_or("it has nothing of that name").and_then(|entity| message::command(entity, &value));
                let outcome = match command {
                    Ok((kind, body)) => connection.send(kind, &body).await,
                    Err(why) => {
                        drop(reply.send(Err(PointRefused::BadValue(why.to_owned()))));
                        return Ok(());
                    }
                };
                drop(reply.send(outcome.clone().map_err(|error| PointRefused::NotNow(error.to_string()))));
                outcome
            }
            PointOrder::PointOut { reply } => {
                let outcome = self.point_out(connection).await;
                drop(reply.send(outcome.clone().map_err(|error| match error {
                    QuestionFailed::Unsupported => NOTHING_TO_SHOW.to_owned(),
                    error => error.to_string(),
                })));
                outcome.map(drop).or_else(|error| match error {
                    // It has no way: the connection is none the worse.
                    QuestionFailed::Unsupported => Ok(()),
                    error => Err(error),
                })
            }
        }
    }

    /// By its own button for that, else by a lamp, which is left as it was.
    async fn point_out(&self, connection: &mut Connection) -> Result<String, QuestionFailed> {
        let button =
            |entity: &&Entity| entity.point.kind == "button" && entity.point.class.as_deref() == Some(IDENTIFY);
        let name = |entity: &Entity| entity.point.name.clone().unwrap_or_else(|| entity.point.key.clone());
        let order = |entity: &Entity, on| message::command(entity, &PointValue::Flag(on)).map_err(failed);
        if let Some(button) = self.entities.iter().find(button) {
            let (kind, body) = order(button, true)?;
            connection.send(kind, &body).await?;
            return Ok(format!("its button `{}` was pressed", name(button)));
        }
        let lamp =
            self.entities.iter().find(|entity| entity.point.kind == "light").ok_or(QuestionFailed::Unsupported)?;
        let was = lamp.point.value == Some(PointValue::Flag(true));
        for turn in 0..2 * BLINKS {
            let (kind, body) = order(lamp, (turn % 2 == 0) != was)?;
            connection.send(kind, &body).await?;
            sleep(BLINK).await;
        }
        Ok(format!("its lamp `{}` blinked", name(lamp)))
    }
}

/// What a device has; what comes after so many is passed over.
async fn list(connection: &mut Connection) -> Result<Vec<Entity>, QuestionFailed> {
    connection.send(message::LIST_ENTITIES_REQUEST, &[]).await?;
    let mut entities: Vec<Entity> = Vec::new();
    loop {
        let (kind, body) = connection.next().await?;
        if kind == message::LIST_ENTITIES_DONE {
            return Ok(entities);
        }
        match message::entity(kind, &body) {
            Some(entity) => {
                let known = |other: &Entity| other.id == entity.id || other.point.key == entity.point.key;
                if entities.len() < POINTS_MAX && !entities.iter().any(known) {
                    entities.push(entity);
                }
            }
            None => courtesy(connection, kind, &body).await?,
        }
    }
}
