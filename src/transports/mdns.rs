//! Services that devices announce by DNS-SD over mDNS: heard of, never asked.
//!
//! mdns-sd queries and listens in a thread of its own, beside whatever other responder this machine has. One task keeps what
//! it resolved, within bounds, and tells the links. A service is there until it says goodbye or its records run out: those
//! of a host that just went silent live 120 s (RFC 6762, 10), unless `[mdns] verify` has it asked more often. Driven by
//! `gateway`, which names the types of services that the board files speak of.

mod again;
mod name;
mod responder;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{SelectAll, Stream, StreamExt as _, once, unfold};
use mdns_sd::{DaemonEvent, IfKind, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, trace, warn};

use self::again::Again;
use super::telling::Telling;
use super::{Event, MdnsSettings};
use crate::device::{Access, Evidence, Link, LinkReport, ServiceName, ServiceType};

/// What this transport is called where it has troubles.
const NAME: &str = "mdns";
/// At most so many services are kept; a hostile network may announce any number.
const MAX_SERVICES: usize = 2048;
/// How long to wait before mDNS is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a service may take to answer when it is verified (RFC 6762, 10.4).
const VERIFY_WITHIN: Duration = Duration::from_secs(3);
/// A type whose subscription broke is asked for again after this: at once it would break again.
const BREATH: Duration = Duration::from_secs(1);
/// What is still there has told so again within this.
const DOUBT: Duration = Duration::from_secs(10);
/// The shortest time between two such questions.
const MIN_VERIFY: Duration = Duration::from_millis(100);
/// How long what is asked once more keeps its records when it does not answer: as long as any has (RFC 6762, 10).
const LIFE: Duration = Duration::from_secs(75 * 60);
/// A type of more services is not asked for anew: what mdns-sd knows comes again with it, two events each, and it keeps
/// 1,000 events for us.
const MAX_REPLAY: usize = 300;
/// With so many events waiting, a subscription may break at any moment.
const NEARLY_FULL: usize = 300;
/// The type under which a gateway announces itself.
const OWN_TYPE: &str = "_nuncio._tcp.local.";
/// The domain of mDNS.
const DOMAIN: &str = ".local.";

/// Changes what is looked for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    types: watch::Sender<BTreeSet<ServiceType>>,
}

/// Starts listening for these types of services. `name` is the gateway's, for its own announcement. Ends when nobody takes
/// its events.
pub fn spawn(settings: &MdnsSettings, name: &str, types: BTreeSet<ServiceType>, events: mpsc::Sender<Event>) -> Handle {
    let (types, wanted) = watch::channel(types);
    if settings.enabled {
        let (settings, name) = (settings.clone(), name.to_owned());
        tokio::spawn(async move { run(&settings, &name, wanted, events).await });
    }
    Handle { types }
}

impl Handle {
    /// Looks for these types from now on.
    pub fn set_types(&self, types: BTreeSet<ServiceType>) {
        self.types.send_replace(types);
    }
}

/// What comes in by one subscription, with its number; the last is `None`: nobody listens any more.
type Incoming = Pin<Box<dyn Stream<Item = (ServiceType, u64, Option<ServiceEvent>)> + Send>>;

/// The subscription to a type of services.
struct Subscription {
    number: u64,
    events: Receiver<ServiceEvent>,
    /// The one that took its place at mdns-sd. What came by the old one is heard first.
    next: Option<Receiver<ServiceEvent>>,
}

struct Browser {
    daemon: ServiceDaemon,
    incoming: SelectAll<Incoming>,
    looked_for: BTreeMap<ServiceType, Subscription>,
    /// How many subscriptions there have been.
    subscriptions: u64,
    monitor: Receiver<DaemonEvent>,
    again: Again,
    telling: Telling,
    verify: Duration,
    /// The service that is verified next comes after this one.
    verified: Option<Link>,
    overfull: bool,
    /// Types whose subscription broke: more came or went at once than mdns-sd keeps for us, and what went is not told again.
    broken: BTreeMap<ServiceType, Broken>,
}

/// A subscription that broke.
#[derive(Debug)]
struct Broken {
    /// When it is begun anew, or was: what has not told of itself some time later is not there any more.
    again: Instant,
    doubtful: BTreeSet<Link>,
}

/// Again and again, as long as somebody listens: a responder that cannot be had now may be had later.
async fn run(
    settings: &MdnsSettings,
    name: &str,
    mut wanted: watch::Receiver<BTreeSet<ServiceType>>,
    events: mpsc::Sender<Event>,
) {
    let mut telling = Telling::new(NAME);
    loop {
        let began = match responder::obstacle() {
            Some(obstacle) => Err(obstacle),
            None => begin(settings, name).map_err(|error| format!("mDNS cannot be used: {error}")),
        };
        telling.set_trouble(began.as_ref().err().cloned());
        if let Ok((daemon, monitor)) = began {
            let mut browser = Browser::new(daemon, monitor, telling, settings.verify);
            browser.turn(&mut wanted, &events).await;
            let _ = browser.daemon.shutdown();
            telling = browser.telling;
            telling.clear();
        }
        if telling.tell_all(&events, log).await.is_err() {
            return;
        }
        tokio::select! {
            () = events.closed() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

fn begin(settings: &MdnsSettings, name: &str) -> mdns_sd::Result<(ServiceDaemon, Receiver<DaemonEvent>)> {
    let daemon = ServiceDaemon::new()?;
    let monitor = daemon.monitor()?;
    if !settings.interfaces.is_empty() {
        daemon.disable_interface(IfKind::All)?;
        let named: Vec<IfKind> = settings.interfaces.iter().map(IfKind::from).collect();
        daemon.enable_interface(named)?;
    }
    if settings.announce {
        announce(&daemon, name)?;
    }
    Ok((daemon, monitor))
}

fn announce(daemon: &ServiceDaemon, name: &str) -> mdns_sd::Result<()> {
    let host = format!("{name}-nuncio{DOMAIN}");
    let txt = [("version", env!("CARGO_PKG_VERSION"))];
    let service = ServiceInfo::new(OWN_TYPE, name, &host, "", 0, &txt[..])?.enable_addr_auto();
    daemon.register(service)
}

impl Browser {
    fn new(daemon: ServiceDaemon, monitor: Receiver<DaemonEvent>, telling: Telling, verify: Duration) -> Self {
        Self {
            daemon,
            incoming: SelectAll::new(),
            looked_for: BTreeMap::new(),
            subscriptions: 0,
            monitor,
            again: Again::default(),
            telling,
            verify,
            verified: None,
            overfull: false,
            broken: BTreeMap::new(),
        }
    }

    /// Until mDNS fails, or nobody takes the events any more.
    async fn turn(&mut self, wanted: &mut watch::Receiver<BTreeSet<ServiceType>>, events: &mpsc::Sender<Event>) {
        let mut types = wanted.borrow_and_update().clone();
        let mut verify_at = Instant::now() + self.pause();
        loop {
            self.give_up_doubtful(Instant::now());
            if self.look_for(&types, Instant::now()).is_err() {
                return warn!("mDNS broke off; it is begun anew");
            }
            self.ask_anew(Instant::now());
            let look_at = self.next_look();
            tokio::select! {
                Some((kind, number, event)) = self.incoming.next() => match event {
                    Some(event) => self.handle(&kind, event),
                    None => self.subscription_ended(kind, number),
                },
                event = self.monitor.recv_async() => match event {
                    Ok(DaemonEvent::IpAdd(_)) => self.address_came(Instant::now()),
                    Ok(_) => {}
                    Err(_) => return warn!("mDNS broke off; it is begun anew"),
                },
                Ok(permit) = events.reserve(), if self.telling.is_waiting() => {
                    if let Some(event) = self.telling.next() {
                        log(&event);
                        permit.send(event);
                    }
                }
                () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {}
                () = sleep_until(verify_at), if !self.verify.is_zero() => {
                    self.verify_next();
                    verify_at = Instant::now() + self.pause();
                }
                Ok(()) = wanted.changed() => types = wanted.borrow_and_update().clone(),
                () = events.closed() => return,
            }
        }
    }

    /// Begins and ends browsing so that it is just these types that are looked for.
    fn look_for(&mut self, types: &BTreeSet<ServiceType>, now: Instant) -> mdns_sd::Result<()> {
        let dropped: Vec<ServiceType> = self.looked_for.keys().filter(|kind| !types.contains(*kind)).cloned().collect();
        for kind in dropped {
            self.daemon.stop_browse(&domain(&kind))?;
            self.looked_for.remove(&kind);
            self.broken.remove(&kind);
            self.again.forget(&kind);
            let links: Vec<Link> = self.telling.links().filter(|link| is_of(link, &kind)).cloned().collect();
            links.iter().for_each(|link| self.telling.remove(link));
        }
        let rests = |kind: &&ServiceType| self.broken.get(*kind).is_some_and(|broken| now < broken.again);
        let missing = types.iter().filter(|kind| !self.looked_for.contains_key(*kind));
        let added: Vec<ServiceType> = missing.filter(|kind| !rests(kind)).cloned().collect();
        for kind in added {
            let events = self.daemon.browse(&domain(&kind))?;
            self.subscribed(kind, events);
        }
        Ok(())
    }

    fn subscribed(&mut self, kind: ServiceType, events: Receiver<ServiceEvent>) {
        self.subscriptions += 1;
        let number = self.subscriptions;
        self.incoming.push(incoming(kind.clone(), number, events.clone()));
        self.looked_for.insert(kind, Subscription { number, events, next: None });
    }

    fn subscription_ended(&mut self, kind: ServiceType, number: u64) {
        let Some(ended) = self.looked_for.get_mut(&kind).filter(|subscription| subscription.number == number) else {
            return;
        };
        match ended.next.take() {
            Some(next) => self.subscribed(kind, next),
            // It fell behind, or the thread has ended: what it knew is asked for once more.
            None => self.subscription_broke(kind),
        }
    }

    /// mdns-sd asks there once, without anybody behind it who repeats the question.
    fn address_came(&mut self, now: Instant) {
        self.looked_for.keys().for_each(|kind| self.again.ask_for(kind, now));
        self.again.address_came(now);
    }

    /// Asks for what may have been missed, and keeps what is known.
    fn ask_anew(&mut self, now: Instant) {
        for kind in self.again.types(now) {
            let services = self.telling.links().filter(|link| is_of(link, &kind)).count();
            let Some(subscription) = self.looked_for.get_mut(&kind) else { continue };
            let events = &subscription.events;
            // What breaks just now is asked for anew as such.
            let breaks = events.is_disconnected() || events.len() > NEARLY_FULL;
            if services > MAX_REPLAY || breaks || subscription.next.is_some() {
                continue;
            }
            match self.daemon.browse(&domain(&kind)) {
                Ok(next) => subscription.next = Some(next),
                Err(error) => debug!(%error, %kind, "not asked for anew"),
            }
        }
        if let Some(Link::Service(name)) = self.again.service(self.telling.links(), now) {
            self.ask(name, LIFE);
        }
    }

    fn subscription_broke(&mut self, kind: ServiceType) {
        debug!(%kind, "more is announced at once than can be taken: it is asked for again");
        self.looked_for.remove(&kind);
        let doubtful = self.telling.links().filter(|link| is_of(link, &kind)).cloned().collect();
        self.broken.insert(kind, Broken { again: Instant::now() + BREATH, doubtful });
    }

    /// When something is to be done about a subscription that broke, or asked for anew.
    fn next_look(&self) -> Option<Instant> {
        let due = self.broken.iter().map(|(kind, broken)| match self.looked_for.contains_key(kind) {
            true => broken.again + DOUBT,
            false => broken.again,
        });
        due.chain(self.again.next()).min()
    }

    /// What was asked for again and has not told of itself is gone.
    fn give_up_doubtful(&mut self, now: Instant) {
        let judged = self
            .broken
            .extract_if(.., |kind, broken| self.looked_for.contains_key(kind) && now >= broken.again + DOUBT);
        let gone: Vec<Link> = judged.flat_map(|(_, broken)| broken.doubtful).collect();
        gone.iter().for_each(|link| self.telling.remove(link));
    }

    fn handle(&mut self, kind: &ServiceType, event: ServiceEvent) {
        match event {
            ServiceEvent::ServiceResolved(service) => self.resolved(kind, &service),
            ServiceEvent::ServiceRemoved(_, fullname) => {
                self.again.ask_for(kind, Instant::now());
                if let Some(name) = name::of(kind, &fullname) {
                    self.telling.remove(&Link::Service(name));
                }
            }
            // How browsing goes; names of strangers, in Debug's escapes.
            other => trace!(event = ?other, "mDNS"),
        }
    }

    fn resolved(&mut self, kind: &ServiceType, service: &ResolvedService) {
        let Some(seen) = name::seen(kind, service) else {
            return debug!(fullname = %service.fullname.escape_debug(), "a service that cannot be named is passed over");
        };
        let link = Link::Service(seen.name.clone());
        if let Some(broken) = self.broken.get_mut(kind) {
            broken.doubtful.remove(&link);
        }
        if self.telling.count() >= MAX_SERVICES && self.telling.get(&link).is_none() {
            if !std::mem::replace(&mut self.overfull, true) {
                warn!(
                    services = MAX_SERVICES,
                    "more services are announced than are kept; further ones are passed over"
                );
            }
            return;
        }
        let evidence = vec![Evidence::Service(seen)];
        self.telling.put(LinkReport { link, aliases: Vec::new(), access: Access::Usable, evidence, signal: None });
    }

    /// Time between two verifications, so that each service has its turn once in `verify`.
    fn pause(&self) -> Duration {
        let services = u32::try_from(self.telling.count().max(1)).unwrap_or(u32::MAX);
        (self.verify / services).max(MIN_VERIFY)
    }

    /// Asks one service whether it still is there; if not, its removal comes as an event.
    fn verify_next(&mut self) {
        let after = |link: &&Link| self.verified.as_ref().is_none_or(|last| *link > last);
        let next = self.telling.links().find(after).or_else(|| self.telling.links().next()).cloned();
        if let Some(Link::Service(name)) = &next {
            self.ask(name, VERIFY_WITHIN);
        }
        self.verified = next;
    }

    /// Asks a service for its records, on all networks; those that it does not tell within this time are forgotten.
    fn ask(&self, name: &ServiceName, within: Duration) {
        let fullname = format!("{}.{}{DOMAIN}", name.instance(), name.kind());
        if let Err(error) = self.daemon.verify(fullname, within) {
            debug!(%error, service = %name, "not asked");
        }
    }
}

fn incoming(kind: ServiceType, number: u64, events: Receiver<ServiceEvent>) -> Incoming {
    let ended = once(std::future::ready((kind.clone(), number, None)));
    let going = unfold((kind, events), move |(kind, events)| async move {
        let event = events.recv_async().await.ok()?;
        Some(((kind.clone(), number, Some(event)), (kind, events)))
    });
    going.chain(ended).boxed()
}

fn domain(kind: &ServiceType) -> String {
    format!("{kind}{DOMAIN}")
}

fn is_of(link: &Link, kind: &ServiceType) -> bool {
    matches!(link, Link::Service(name) if name.kind() == kind.as_str())
}

fn log(event: &Event) {
    match event {
        Event::Appeared(report) => info!(link = %report.link, "service appeared"),
        Event::Changed(report) => debug!(link = %report.link, "service changed"),
        Event::Vanished(link) => info!(%link, "service vanished"),
        Event::Trouble { .. } => {}
    }
}
