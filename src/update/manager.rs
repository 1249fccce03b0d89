//! The actor that owns every device's update: machines, staging, downloads, timers.
//!
//! The machine decides, the manager does: it turns outputs into files, downloads and [`Effect`]s, and answers into
//! inputs. It never waits for one device, one disk or the taker of its effects while it could serve another: files are
//! read and synced on blocking threads, effects queue up, and while too many do, no further *orders* are taken. Not
//! here: LwM2M, processes, ports, the store. Driven by `gateway`, which wires the effects.

mod answers;
mod checks;
mod downloads;
mod forecast;
mod goods;
mod handle;
mod perform;
mod scheduling;
mod slot;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use url::Url;

pub use forecast::Intent;
pub use handle::{Adoption, Effect, Flash, Handle};

use crate::device::{
    Brake, DeviceId, Exclusive, FirmwareOrder, FirmwareReply, FirmwareView, Goods, JournalEntry, JournalStep,
    Requester, UpdateId,
};
use crate::update::download::{Downloader, SetupError};
use crate::update::machine::{Facts, Input, Machine, Now, Order, Reply, Rules};
use crate::update::moved::bring_home;
use crate::update::schedule::Schedule;
use crate::update::settings::{DownloadSettings, UpdateSettings};
use crate::update::signatures::Signatures;
use crate::update::staging::Staging;
use answers::Outcome;
use downloads::{Downloads, Report};
use handle::{Demand, Fact};
use slot::Slot;

/// Orders and facts that may wait to be taken.
const QUEUE: usize = 256;
/// Effects that may wait for their taker before no further orders are taken.
const BACKLOG: usize = 4096;
/// Images that are looked into at once.
const PARALLEL_CHECKS: usize = 2;
/// How often a push is looked at for progress.
const PUSH_TICK: Duration = Duration::from_secs(1);

/// Why updates cannot be looked after.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The staging folder.
    #[error("cannot use the staging folder {path}")]
    Staging {
        /// Which.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `[download]`.
    #[error(transparent)]
    Download(#[from] SetupError),
}

/// What the manager starts with.
#[derive(Debug)]
pub struct Setup<'a> {
    /// `[update]`.
    pub update: UpdateSettings,
    /// `[download]`.
    pub download: &'a DownloadSettings,
    /// What the URIs begin with that the gateway serves itself, on loopback: they may be fetched whatever `allow` says.
    pub served: Option<Url>,
    /// Where images are staged.
    pub staging: &'a Path,
    /// The site's policy and keys.
    pub signatures: Arc<Signatures>,
    /// The brakes that are on record.
    pub brakes: Vec<Brake>,
    /// The last journal entry of every update that is open, and the last closed one of every device.
    pub journal: Vec<JournalEntry>,
}

/// The actor.
pub struct Manager {
    rules: Arc<Rules>,
    staging: Staging,
    downloads: Downloads,
    checks: Arc<Semaphore>,
    signatures: Arc<Signatures>,
    slots: HashMap<DeviceId, Slot>,
    schedule: Schedule,
    /// The USB hubs of devices that must have theirs alone while they are flashed.
    hubs: HashMap<DeviceId, Arc<str>>,
    /// What earlier gateways wrote of devices that are not here yet.
    journal: HashMap<DeviceId, Vec<JournalEntry>>,
    /// What devices that are not here yet can go back to.
    goods: HashMap<DeviceId, Goods>,
    timers: BTreeSet<(Instant, DeviceId)>,
    /// Devices whose update waits for a lease, the longest waiting first.
    queue: VecDeque<DeviceId>,
    pending: FuturesUnordered<BoxFuture<'static, Outcome>>,
    backlog: VecDeque<Effect>,
    draining: Vec<oneshot::Sender<()>>,
    /// Entries on their way to the journal that nothing but the end waits for.
    unwritten: usize,
    stopping: bool,
    /// Nothing moves on any more: what the journal says now is for the next start.
    halted: bool,
}

impl Manager {
    /// Opens staging, clears it of what nobody claims, and starts the actor. It ends when every handle is dropped.
    ///
    /// # Errors
    /// When staging or `[download]` cannot be used.
    pub fn spawn(mut setup: Setup<'_>, out: mpsc::Sender<Effect>) -> Result<(Handle, JoinHandle<()>), StartError> {
        let signatures = setup.signatures;
        let mut downloader = Downloader::new(setup.download)?.with_own(setup.served)?;
        downloader.seek_signatures(signatures.wanted());
        let failed = |source| StartError::Staging { path: setup.staging.to_owned(), source };
        let staging = Staging::open(setup.staging).map_err(failed)?;
        setup.journal.iter_mut().for_each(|entry| bring_home(entry, setup.staging));
        let swept = staging.sweep(&claimed(&setup.journal)).map_err(failed)?;
        if swept > 0 {
            tracing::info!(files = swept, "removed staged files that no update claims");
        }
        let goods = staging.goods();
        let (report_sender, reports) = mpsc::channel(QUEUE);
        let (fact_sender, facts) = mpsc::channel(QUEUE);
        let (order_sender, orders) = mpsc::channel(QUEUE);
        let schedule = scheduling::schedule(&setup.update, setup.brakes);
        let rules = Rules { settings: setup.update, policy: downloader.policy().clone() };
        let manager = Self {
            rules: Arc::new(rules),
            downloads: Downloads::new(downloader, staging.clone(), report_sender),
            staging,
            checks: Arc::new(Semaphore::new(PARALLEL_CHECKS)),
            signatures,
            slots: HashMap::new(),
            schedule,
            hubs: HashMap::new(),
            journal: by_device(setup.journal),
            goods,
            timers: BTreeSet::new(),
            queue: VecDeque::new(),
            pending: FuturesUnordered::new(),
            backlog: VecDeque::new(),
            draining: Vec::new(),
            unwritten: 0,
            stopping: false,
            halted: false,
        };
        let task = tokio::spawn(manager.run(facts, orders, reports, out));
        Ok((Handle { facts: fact_sender, orders: order_sender }, task))
    }

    async fn run(
        mut self,
        mut facts: mpsc::Receiver<Fact>,
        mut orders: mpsc::Receiver<Demand>,
        mut reports: mpsc::Receiver<Report>,
        out: mpsc::Sender<Effect>,
    ) {
        loop {
            let due = self.timers.first().map(|(at, _)| *at).filter(|_| !self.halted);
            // In this order, so that a fact told before an order is known when the order is decided.
            tokio::select! {
                biased;
                permit = out.reserve(), if !self.backlog.is_empty() => match (permit, self.backlog.pop_front()) {
                    (Ok(permit), Some(effect)) => permit.send(effect),
                    _ => return,
                },
                fact = facts.recv() => match fact {
                    Some(fact) => self.take_fact(fact),
                    None => return,
                },
                Some(outcome) = self.pending.next(), if !self.pending.is_empty() => self.take_outcome(outcome),
                Some(report) = reports.recv() => self.take_report(&report),
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => self.take_time(),
                Some(demand) = orders.recv(), if self.backlog.len() < BACKLOG => self.take_order(demand),
            }
            self.answer_drained();
        }
    }

    fn take_fact(&mut self, fact: Fact) {
        match fact {
            Fact::Adopt(adoption, reply) => self.adopt(*adoption, reply),
            Fact::LinkGone(device) => self.input(&device, Input::LinkIs(None)),
            Fact::VersionIs(device, version) => self.input(&device, Input::VersionIs(version)),
            Fact::Reachable(device, requester, reachable) => {
                self.input(&device, Input::Reachable { requester, reachable });
            }
            Fact::LeaseReleased(link) => {
                let waiting: Vec<DeviceId> = self.queue.iter().cloned().collect();
                let of_link =
                    |device: &&DeviceId| self.slots.get(*device).is_some_and(|s| s.machine.link() == Some(&link));
                let woken: Vec<DeviceId> = waiting.iter().filter(of_link).cloned().collect();
                woken.iter().for_each(|device| self.input(device, Input::LeaseReleased));
            }
            Fact::Brakes(reply) => drop(reply.send(self.schedule.brakes().on())),
            Fact::PullBrake(board, image) => self.pull_brake(board, image),
            Fact::ReleaseBrakes(choice, reply) => drop(reply.send(self.release_brakes(&choice))),
            Fact::Signatures(signatures) => {
                self.downloads.downloader.seek_signatures(signatures.wanted());
                self.signatures = signatures;
            }
            Fact::LookAhead(intent, reply) => self.look_ahead(*intent, reply),
            Fact::Drain(done) => {
                self.stopping = true;
                self.draining.push(done);
            }
            Fact::Halt => self.halt(),
        }
    }

    /// The tools are ended from outside; what their end would mean for an update is not decided any more.
    fn halt(&mut self) {
        (self.stopping, self.halted) = (true, true);
        for slot in self.slots.values().filter(|slot| slot.machine.is_flashing()) {
            tracing::warn!(device = %slot.machine.device(), "stopping in the middle of an update: the next start takes it up");
        }
    }

    fn adopt(&mut self, adoption: Adoption, reply: oneshot::Sender<FirmwareView>) {
        if self.halted {
            return;
        }
        let Adoption { device, profile, link, version, worked, hub, power_cycle } = adoption;
        match hub.filter(|_| profile.exclusive == Exclusive::Hub) {
            Some(hub) => drop(self.hubs.insert(device.clone(), hub)),
            None => drop(self.hubs.remove(&device)),
        }
        if let Some(slot) = self.slots.get_mut(&device) {
            slot.machine.set_profile(profile);
            slot.machine.set_power_cycle(power_cycle);
            let quarantine = slot.machine.quarantine().map(str::to_owned);
            if version.is_some() {
                self.input(&device, Input::VersionIs(version));
            }
            // It may have been away meanwhile, and forgotten.
            if let Some(reason) = quarantine {
                self.effect(Effect::Quarantine { device: device.clone(), reason: Some(reason) });
            }
            return self.input(&device, Input::LinkIs(Some(link)));
        }
        let goods = Arc::new(self.goods.remove(&device).unwrap_or_default());
        let worked = worked.map(Box::new);
        let facts = Facts { device: device.clone(), profile, link: Some(link), version, goods, worked, power_cycle };
        let rules = Arc::clone(&self.rules);
        let machine = match self.last_entry(&device) {
            Some(entry) => Machine::recover(facts, rules, entry, now()),
            None => Machine::new(facts, rules),
        };
        self.effect(Effect::View { device: device.clone(), view: Box::new(machine.view().clone()) });
        // Whoever does not wait for it gets the same as an effect.
        let _ = reply.send(machine.view().clone());
        self.slots.insert(device.clone(), Slot::new(machine));
        self.pump(&device);
    }

    /// The newest open entry of a device, else its newest closed one; open ones that it outdates are closed.
    fn last_entry(&mut self, device: &DeviceId) -> Option<JournalEntry> {
        let mut entries = self.journal.remove(device)?;
        entries.sort_by_key(|entry| (is_open(entry), entry.update));
        let last = entries.pop();
        for mut entry in entries.into_iter().filter(is_open) {
            let outcome = Err("a later update of the device took its place".to_owned());
            entry.step = JournalStep::Closed { outcome, image_sha256: None };
            self.close(Box::new(entry), None);
        }
        last
    }

    fn take_order(&mut self, demand: Demand) {
        let Demand { device, requester, right, order, reply } = demand;
        let answer = match self.decide(&device, requester, right, order) {
            Reply::Push(update, ticket) => return self.open_push(device, update, ticket, reply),
            Reply::Done => FirmwareReply::Done,
            Reply::NotAllowed => FirmwareReply::NotAllowed,
            Reply::WrongState => FirmwareReply::WrongState,
            Reply::BadValue => FirmwareReply::BadValue,
        };
        self.effect(Effect::Answer { reply, answer });
    }

    fn decide(
        &mut self,
        device: &DeviceId,
        requester: Requester,
        right: crate::device::FirmwareRight,
        order: FirmwareOrder,
    ) -> Reply {
        let Some(slot) = self.slots.get_mut(device).filter(|_| !self.halted) else { return Reply::WrongState };
        let update = UpdateId(uuid::Uuid::now_v7());
        let reply = slot.machine.handle_order(Order { update, requester, right, order }, now());
        self.pump(device);
        reply
    }

    fn take_report(&mut self, (uri, progress): &Report) {
        let Some((waiting, part)) = self.downloads.waiting(uri) else { return };
        let (waiting, part) = (waiting.to_vec(), part.clone());
        for one in waiting {
            let (progress, part) = (progress.clone(), part.clone());
            self.input(&one.device, Input::DownloadProgressed { ticket: one.ticket, progress, part });
        }
    }

    fn take_time(&mut self) {
        let now = now();
        while let Some((at, device)) = self.timers.first().cloned().filter(|(at, _)| *at <= now.instant) {
            self.timers.remove(&(at, device.clone()));
            self.tell_push(&device, now);
            if let Some(slot) = self.slots.get_mut(&device) {
                slot.due = None;
                slot.machine.handle_timeout(now);
            }
            self.pump(&device);
        }
    }

    /// A push's writer does not call: it is looked at.
    fn tell_push(&mut self, device: &DeviceId, now: Now) {
        let Some(slot) = self.slots.get_mut(device) else { return };
        let (Some(ticket), Some(push)) =
            (slot.machine.awaits_push(), slot.work.as_mut().and_then(|work| work.push.as_mut()))
        else {
            return;
        };
        let (bytes, at) = (push.line.bytes(), push.line.last_active());
        if bytes != std::mem::replace(&mut push.told, bytes) {
            slot.machine.handle(Input::Pushed { ticket, bytes, at }, now);
        }
    }

    fn input(&mut self, device: &DeviceId, input: Input) {
        if let Some(slot) = self.slots.get_mut(device).filter(|_| !self.halted) {
            slot.machine.handle(input, now());
            self.pump(device);
        }
    }

    /// Does what the machine says until it says no more, then sets its timer.
    fn pump(&mut self, device: &DeviceId) {
        while let Some(outputs) = self.slots.get_mut(device).map(|slot| slot.machine.drain()) {
            if outputs.is_empty() {
                break;
            }
            outputs.into_iter().for_each(|output| self.perform(device, output));
        }
        self.tell_way_back(device);
        self.reschedule(device);
        self.reset_timer(device);
        self.requeue(device);
    }

    fn tell_way_back(&mut self, device: &DeviceId) {
        let Some(slot) = self.slots.get_mut(device) else { return };
        let good = slot.machine.last_good();
        if slot.way_back.as_deref() != good.map(|good| &good.image.sha256) {
            slot.way_back = good.map(|good| Box::new(good.image.sha256));
            let good = good.cloned().map(Box::new);
            self.effect(Effect::WayBack { device: device.clone(), good });
        }
    }

    fn reset_timer(&mut self, device: &DeviceId) {
        let Some(slot) = self.slots.get_mut(device) else { return };
        slot.tidy();
        let tick = slot.machine.awaits_push().map(|_| Instant::now() + PUSH_TICK);
        let due = slot.machine.poll_timeout().map(|at| tick.map_or(at, |tick| tick.min(at)));
        if let Some(before) = std::mem::replace(&mut slot.due, due) {
            self.timers.remove(&(before, device.clone()));
        }
        if let Some(at) = due {
            self.timers.insert((at, device.clone()));
        }
    }

    /// Keeps the order in which updates wait for leases.
    fn requeue(&mut self, device: &DeviceId) {
        let waits = self.slots.get(device).is_some_and(|slot| slot.machine.awaits_lease());
        let listed = self.queue.contains(device);
        match (waits, listed) {
            (true, false) => self.queue.push_back(device.clone()),
            (false, true) => self.queue.retain(|waiting| waiting != device),
            _ => {}
        }
    }

    fn effect(&mut self, effect: Effect) {
        self.backlog.push_back(effect);
    }

    /// Nothing is flashed, and what came of it is told and written down; or nothing shall come of it, and no tool runs.
    fn answer_drained(&mut self) {
        let untold = self.unwritten > 0 || !self.backlog.is_empty();
        let busy = |slot: &Slot| if self.halted { slot.has_tool() } else { slot.machine.is_flashing() };
        if self.draining.is_empty() || untold || self.slots.values().any(busy) {
            return;
        }
        for done in self.draining.drain(..) {
            let _ = done.send(());
        }
    }
}

fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Now { instant: Instant::now(), unix: i64::try_from(unix.as_secs()).unwrap_or(i64::MAX) }
}

fn is_open(entry: &JournalEntry) -> bool {
    !matches!(entry.step, JournalStep::Closed { .. })
}

fn by_device(journal: Vec<JournalEntry>) -> HashMap<DeviceId, Vec<JournalEntry>> {
    let mut devices: HashMap<DeviceId, Vec<JournalEntry>> = HashMap::new();
    for entry in journal {
        devices.entry(entry.device.clone()).or_default().push(entry);
    }
    devices
}

/// Files that open updates still need.
fn claimed(journal: &[JournalEntry]) -> HashSet<std::path::PathBuf> {
    let file = |entry: &JournalEntry| match &entry.step {
        JournalStep::Downloading { part, .. } => Some(part.clone()),
        JournalStep::Staged { image } | JournalStep::Flashing { image, .. } | JournalStep::Proving { image, .. } => {
            Some(image.path.clone())
        }
        JournalStep::Closed { .. } => None,
    };
    journal.iter().filter_map(file).collect()
}
