//! What is known of the links there are, which device is on each, and what to ask next. Pure: reports and answers in,
//! decisions out; no clock, no I/O. Driven by `gateway`, which asks what [`Decision::Ask`] says over a lease and brings
//! the answer, and which tells when a device is being updated ([`Registry::hold`]): its link may go and come back then,
//! and the device stays.
//!
//! At most one question is under way for each link. One that could not be asked because somebody had the port is asked
//! again when the link changes or its lease comes back, never in a loop.

mod asks;
mod beside;
mod joins;
mod reasons;
mod socket;
mod watches;

pub use joins::JoinError;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tracing::{debug, info, warn};

use super::announced::{self, Fact, Source};
use super::asking::{self, Asked};
use super::budget::Budget;
use super::catalogue::{Board, Catalogue, NOT_FLASHED};
use super::file::SerialMeaning;
use super::identify::{self, Case, Opinion};
use super::joining::{Joining, KeptOut};
use super::naming::{self, Announced, Names, Surroundings};
use super::settings::{DeviceEntry, JoinSettings, NamingSettings};
use super::why::{Verdict, WhyStep};

use crate::device::{
    Access, Answer, Bearer, BleAddressKind, BoardId, Connectivity, DeviceId, DeviceInfo, Enter, Evidence, FlashProfile,
    Identity, IdentityRecord, Link, LinkReport, PointOut, Question, QuestionFailed, Questions, RebootMethod,
    ReportedVersion, Sureness, UsbIds,
};

/// What the registry goes by.
#[derive(Debug, Clone)]
pub struct RegistrySettings {
    /// The gateway's name, for endpoint names.
    pub gateway: String,
    /// How far identification may go.
    pub questions: Questions,
    /// How often each port may be opened to ask, before it gets that back by [`Registry::refill_budgets`].
    pub budget: u32,
    /// Whether devices that announce themselves on the network may be asked.
    pub ask_hosts: bool,
    /// Whether devices that advertise by Bluetooth may be connected to.
    pub ask_ble: bool,
    /// `[[device]]` entries.
    pub devices: Vec<DeviceEntry>,
    /// How devices are named.
    pub naming: NamingSettings,
    /// Which found devices become clients.
    pub join: JoinSettings,
    /// Devices that an operator keeps out.
    pub banned: Vec<Identity>,
    /// The endpoint name that is the gateway's own.
    pub own_endpoint: Option<String>,
}

/// Over which kinds of links questions may be asked, besides serial ones.
#[derive(Debug, Clone, Copy)]
struct Media {
    hosts: bool,
    ble: bool,
}

impl Media {
    fn may_ask(self, link: &Link) -> bool {
        match link {
            Link::Serial(_) => true,
            Link::Service(_) => self.hosts,
            Link::Ble(_) => self.ble,
            Link::Tcp { .. } | Link::Discovered(_) => false,
        }
    }
}

/// What the gateway is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Take a lease and ask: what comes of it goes to [`Registry::handle_answer`]. Where the lease could not be had, that
    /// goes to [`Registry::handle_held`].
    Ask {
        /// Over this link.
        link: Link,
        /// This.
        question: Question,
    },
    /// A device is there and known: make its client.
    DeviceReady(DeviceInfo),
    /// Something about it, or its flash profile, is different.
    DeviceChanged(DeviceInfo),
    /// The link of a device under update is away: the device stays, and nobody may take the link for its own.
    DeviceAway(DeviceId),
    /// A device under update is back after its link was away.
    DeviceReturned(DeviceInfo),
    /// It is not there any more.
    DeviceGone(DeviceId),
    /// Store this, before the names are used.
    Remember(IdentityRecord),
    /// Take this off the store; `ban`: and keep on record that it may not come again.
    Forget {
        /// What it was recognised by.
        identity: Identity,
        /// Whether it is kept out.
        ban: bool,
    },
    /// It may come again.
    Unban(Identity),
}

/// What is known of links and devices.
#[derive(Debug)]
pub struct Registry {
    catalogue: Arc<Catalogue>,
    questions: Questions,
    budget: Budget,
    media: Media,
    entries: HashMap<Link, Arc<DeviceEntry>>,
    names: Names,
    joining: Joining,
    links: BTreeMap<Link, Seen>,
    devices: BTreeMap<DeviceId, Device>,
    /// Why boards cannot be updated at all: no tool, or the tool is missing.
    troubles: BTreeMap<BoardId, String>,
}

/// A link that is there.
#[derive(Debug)]
struct Seen {
    report: LinkReport,
    asked: Asked,
    asking: Option<Question>,
    /// A question waits for somebody of ours to give the link back.
    waiting: bool,
    /// A question waits until the port may be opened again.
    exhausted: bool,
    device: Option<DeviceId>,
    /// For a tty, what the disk tells that the same USB device shows or has shown.
    beside: Option<Evidence>,
    /// Why what is on it does not join.
    kept_out: Option<KeptOut>,
}

/// A device that is there, or whose link is away while it is being updated.
#[derive(Debug)]
struct Device {
    info: DeviceInfo,
    sureness: Sureness,
    profile: Arc<FlashProfile>,
    held: bool,
    present: bool,
    /// What its link was like: how it is found again when its identity cannot be read without asking.
    usb: Option<UsbIds>,
    asked: Asked,
}

impl Registry {
    /// A registry without links. `known` are the names given before, from the store.
    pub fn new(catalogue: Arc<Catalogue>, settings: RegistrySettings, known: Vec<IdentityRecord>) -> Self {
        let mut names = Names::new(&settings.gateway, &settings.naming, settings.devices.iter(), known);
        names.keep_free(settings.own_endpoint);
        let entries = settings.devices.into_iter().map(|entry| (entry.link.clone(), Arc::new(entry))).collect();
        Self {
            catalogue,
            questions: settings.questions,
            budget: Budget::new(settings.budget),
            media: Media { hosts: settings.ask_hosts, ble: settings.ask_ble },
            entries,
            names,
            joining: Joining::new(&settings.join, settings.banned),
            links: BTreeMap::new(),
            devices: BTreeMap::new(),
            troubles: BTreeMap::new(),
        }
    }

    /// A link appeared or changed.
    pub fn handle_link(&mut self, report: LinkReport) -> Vec<Decision> {
        let link = report.link.clone();
        let mut decisions = Vec::new();
        let same = self.links.get(&link).is_none_or(|seen| self.same_thing(seen, &report));
        match self.links.get_mut(&link) {
            Some(seen) if same => seen.report = report,
            Some(_) => {
                // Another device may hang on it now: everything that was learnt is void.
                self.leave(&link, &mut decisions);
                self.links.insert(link.clone(), Seen::new(report));
            }
            None => {
                self.links.insert(link.clone(), Seen::new(report));
            }
        }
        self.introduce(&link, &mut decisions);
        self.settle_moving(&link, &mut decisions);
        decisions
    }

    /// Whether a link still leads to the same thing: the same node, the same descriptors, the same announced identity.
    fn same_thing(&self, seen: &Seen, report: &LinkReport) -> bool {
        match (&seen.device, &report.link) {
            (Some(_), Link::Service(_) | Link::Ble(_) | Link::Discovered(_)) => {
                let now = Seen { asked: seen.asked.clone(), ..Seen::new(report.clone()) };
                self.identity(seen) == self.identity(&now)
            }
            _ => same_thing(&seen.report, report),
        }
    }

    /// A link is not there any more.
    pub fn handle_vanished(&mut self, link: &Link) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.leave(link, &mut decisions);
        decisions
    }

    /// A question was answered, or could not be asked.
    pub fn handle_answer(
        &mut self,
        link: &Link,
        question: &Question,
        outcome: Result<Answer, QuestionFailed>,
    ) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let Some(seen) = self.links.get_mut(link) else { return decisions };
        // Of an earlier device on this link, or one that nobody waits for.
        if seen.asking.as_ref().is_none_or(|asking| !asking::same(asking, question)) {
            return decisions;
        }
        seen.asking = None;
        match &outcome {
            Ok(answer) => debug!(%link, question = asking::describe(question), ?answer, "question answered"),
            Err(error) => info!(%link, question = asking::describe(question), %error, "question could not be asked"),
        }
        if matches!(outcome, Err(QuestionFailed::Busy(_) | QuestionFailed::NotPermitted)) {
            self.not_asked(link, question);
        }
        let Some(seen) = self.links.get_mut(link) else { return decisions };
        let again =
            matches!(outcome, Err(QuestionFailed::Busy(_) | QuestionFailed::NotPermitted | QuestionFailed::Gone));
        seen.asked.keep(question.clone(), outcome);
        if !again {
            self.settle(link, &mut decisions);
        }
        decisions
    }

    /// A question could not be asked because the link is leased; it is asked when the lease comes back.
    pub fn handle_held(&mut self, link: &Link, question: &Question) {
        let Some(seen) = self.links.get_mut(link) else { return };
        if seen.asking.as_ref().is_some_and(|asking| asking::same(asking, question)) {
            seen.asking = None;
            seen.waiting = true;
            self.not_asked(link, question);
        }
    }

    /// A link's lease came back: what had to wait for it may be asked now.
    pub fn handle_released(&mut self, link: &Link) -> Vec<Decision> {
        let mut decisions = Vec::new();
        if self.links.get_mut(link).is_some_and(|seen| std::mem::take(&mut seen.waiting)) {
            self.settle(link, &mut decisions);
        }
        decisions
    }

    /// An update of this device begins: until [`unhold`](Self::unhold) it stays, whatever its link does.
    pub fn hold(&mut self, device: &DeviceId) {
        if let Some(device) = self.devices.get_mut(device) {
            device.held = true;
        }
    }

    /// The update is over, or has waited for the device long enough.
    pub fn unhold(&mut self, id: &DeviceId) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let Some(device) = self.devices.get_mut(id) else { return decisions };
        device.held = false;
        if device.present {
            let link = device.info.link.clone();
            self.settle(&link, &mut decisions);
        } else if let Some(device) = self.devices.remove(id) {
            self.replace(&device.info, &mut decisions);
        }
        decisions
    }

    /// The version that a device was proven to run; `None` when it may run something else now, and is to be asked again.
    pub fn set_version(&mut self, id: &DeviceId, version: Option<ReportedVersion>) -> Vec<Decision> {
        let Some(device) = self.devices.get_mut(id) else { return Vec::new() };
        device.asked.forget_versions();
        let link = device.info.link.clone();
        let changed = device.info.version != version;
        device.info.version = version;
        let mut decisions: Vec<Decision> =
            changed.then(|| Decision::DeviceChanged(device.info.clone())).into_iter().collect();
        if let Some(seen) = self.links.get_mut(&link) {
            seen.asked.forget_versions();
            self.settle(&link, &mut decisions);
        }
        decisions
    }

    /// A device is in quarantine for this reason, or not any more.
    pub fn set_quarantine(&mut self, id: &DeviceId, reason: Option<String>) -> Vec<Decision> {
        let Some(device) = self.devices.get_mut(id) else { return Vec::new() };
        if device.info.quarantined == reason {
            return Vec::new();
        }
        device.info.quarantined = reason;
        vec![Decision::DeviceChanged(device.info.clone())]
    }

    /// How a device can be made visible, where there is a way.
    pub fn point_out(&self, id: &DeviceId) -> Option<PointOut> {
        let device = self.devices.get(id)?;
        let seen = self.links.get(&device.info.link)?;
        if self.spared(seen).is_some() {
            return None;
        }
        let firmata = seen.asked.evidence().any(|evidence| matches!(evidence, Evidence::Firmata { .. }));
        let light = self.catalogue.get(&device.info.board)?.light.filter(|_| firmata);
        match (light, device.info.reboot, &device.info.link) {
            (Some(light), ..) => Some(PointOut::Firmata { baud: light.baud, pin: light.pin }),
            (None, RebootMethod::None | RebootMethod::UsbPower, _) => None,
            (None, method, Link::Serial(_)) => Some(PointOut::Restart(method)),
            (None, ..) => None,
        }
    }

    /// The physical port that a device hangs on: its USB path where it has one, else the name of its link.
    pub fn port(&self, id: &DeviceId) -> Option<String> {
        let device = self.devices.get(id)?;
        let path = device.usb.as_ref().map(|usb| format!("usb:{}", usb.path));
        Some(path.unwrap_or_else(|| device.info.link.to_string()))
    }

    /// The USB hub that a device hangs on, by its path: `1-2` for `1-2.3`, `1` for `1-2`.
    pub fn hub(&self, id: &DeviceId) -> Option<Arc<str>> {
        let path = &self.devices.get(id)?.usb.as_ref()?.path;
        let end = path.rfind(['.', '-'])?;
        Some(path[..end].into())
    }

    /// Why boards cannot be updated, by board: without a tool, or with one that is missing. Replaces what was said before.
    pub fn set_troubles(&mut self, troubles: BTreeMap<BoardId, String>) -> Vec<Decision> {
        self.troubles = troubles;
        self.settle_all()
    }

    /// Another catalogue: everything is looked at anew.
    pub fn set_catalogue(&mut self, catalogue: Arc<Catalogue>) -> Vec<Decision> {
        self.catalogue = catalogue;
        self.settle_all()
    }

    /// Whether there is such a board in the catalogue.
    pub fn knows_board(&self, board: &BoardId) -> bool {
        self.catalogue.source(board).is_some()
    }

    /// A device.
    pub fn device(&self, id: &DeviceId) -> Option<&DeviceInfo> {
        self.devices.get(id).map(|device| &device.info)
    }

    /// Whether a link is there.
    pub fn has_link(&self, link: &Link) -> bool {
        self.links.contains_key(link)
    }

    /// All devices, by name.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceInfo> {
        self.devices.values().map(|device| &device.info)
    }

    /// Whether a device's link is there.
    pub fn present(&self, id: &DeviceId) -> bool {
        self.devices.get(id).is_some_and(|device| device.present)
    }

    /// What a device's board is known by.
    pub fn sureness(&self, id: &DeviceId) -> Sureness {
        self.devices.get(id).map_or(Sureness::Unknown, |device| device.sureness)
    }

    /// What an update must know of a device's board, with the values that its bootloader asks for where that is known.
    pub fn profile(&self, id: &DeviceId) -> Option<Arc<FlashProfile>> {
        self.devices.get(id).map(|device| Arc::clone(&device.profile))
    }

    /// All links, with the device on each where one was made out.
    pub fn links(&self) -> impl Iterator<Item = (&LinkReport, Option<&DeviceId>)> {
        self.links.values().map(|seen| (&seen.report, seen.device.as_ref()))
    }

    /// Whether a link leads to a device that is there over another one.
    pub fn is_double(&self, link: &Link) -> bool {
        self.double(link).is_some()
    }

    fn settle_all(&mut self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        let links: Vec<Link> = self.links.keys().cloned().collect();
        for link in links {
            self.settle(&link, &mut decisions);
        }
        decisions
    }

    /// Brings a link's device up to date and asks what there is to ask.
    fn settle(&mut self, link: &Link, decisions: &mut Vec<Decision>) {
        let Some(seen) = self.links.get(link) else { return };
        if seen.device.is_none() && self.rejoin(link, decisions) {
            return;
        }
        let Some(seen) = self.links.get(link) else { return };
        let opinion = self.opinion(seen);
        let next = match opinion.board {
            Some((board, sureness)) => {
                if let Some(question) = self.first_question(link, &board) {
                    return self.ask(link, Some(question), decisions);
                }
                if self.stands_back(link, decisions) || self.keeps_out(link, &board) {
                    return;
                }
                self.know(link, &board, sureness, &opinion.steps, decisions);
                self.next_for_device(link)
            }
            None => {
                self.lose(link, decisions);
                opinion.next
            }
        };
        self.ask(link, next, decisions);
    }

    fn opinion(&self, seen: &Seen) -> Opinion {
        let entry = self.entry(&seen.report).map(Arc::as_ref);
        let Seen { report, asked, beside, .. } = seen;
        let spared = self.spared(seen);
        let beside = beside.as_ref();
        Case { catalogue: &self.catalogue, entry, report, beside, asked, allowed: self.questions, spared }.opinion()
    }

    /// The `[[device]]` entry of a link, by any of its names.
    fn entry(&self, report: &LinkReport) -> Option<&Arc<DeviceEntry>> {
        let by_alias = |path: &std::path::PathBuf| self.entries.get(&Link::Serial(path.clone()));
        self.entries.get(&report.link).or_else(|| report.aliases.iter().find_map(by_alias))
    }

    /// The board is known: there is a device on the link.
    fn know(
        &mut self,
        link: &Link,
        board: &BoardId,
        sureness: Sureness,
        steps: &[WhyStep],
        decisions: &mut Vec<Decision>,
    ) {
        let Some((info, profile)) = self.describe(link, board, sureness, decisions) else { return };
        let Some(seen) = self.links.get_mut(link) else { return };
        let id = info.id.clone();
        if let Some(device) = self.devices.get_mut(&id) {
            device.sureness = sureness;
            let changed = device.info != info || device.profile != profile;
            (device.info, device.profile, device.present) = (info, profile, true);
            if changed {
                decisions.push(Decision::DeviceChanged(device.info.clone()));
            }
            return;
        }
        seen.device = Some(id.clone());
        info!(%link, device = %id, %board, endpoint = info.endpoint, "device found");
        for step in steps.iter().filter(|step| step.verdict == Verdict::Contradicts) {
            warn!(%link, device = %id, %board, "{} {}", step.what, step.detail);
        }
        let usb = identify::usb(&seen.report).cloned();
        let asked = Asked::default();
        let device = Device { info: info.clone(), sureness, profile, held: false, present: true, usb, asked };
        self.devices.insert(id, device);
        decisions.push(Decision::DeviceReady(info));
    }

    /// The device on a link as it should be told now. Its names stay what they were when it was found.
    fn describe(
        &mut self,
        link: &Link,
        board_id: &BoardId,
        sureness: Sureness,
        decisions: &mut Vec<Decision>,
    ) -> Option<(DeviceInfo, Arc<FlashProfile>)> {
        let seen = self.links.get(link)?;
        let known = seen.device.as_ref().and_then(|id| self.devices.get(id));
        let (id, endpoint, identity) = match known {
            Some(device) => (device.info.id.clone(), device.info.endpoint.clone(), device.info.identity.clone()),
            None => {
                let identity = self.identity(seen);
                let entry = self.entry(&seen.report).cloned();
                let (record, news) = self.names.give(&identity, entry.as_deref());
                if news {
                    decisions.push(Decision::Remember(record.clone()));
                }
                (record.id, record.endpoint, identity)
            }
        };
        let seen = self.links.get(link)?;
        let known = self.devices.get(&id).filter(|device| device.info.link == *link);
        let board = self.catalogue.get(board_id)?;
        let profile = profile(board, &seen.asked);
        let own_usb = matches!(sureness, Sureness::UsbIds) || self.serial_is_mac(&seen.report);
        let usb = identify::usb(&seen.report).filter(|_| own_usb);
        let told = seen.asked.version().cloned();
        let fact = |sources: &[Source]| announced::read(sources, &Self::said(seen));
        let fact_or =
            |sources: &[Source], label: &Option<String>| fact(sources).map(|(text, _)| text).or_else(|| label.clone());
        let (facts, labels) = (&board.facts, &board.labels);
        // What it announces is what it says now.
        let announced = fact(&facts.version).map(|(text, source)| ReportedVersion { text, source });
        let info = DeviceInfo {
            id,
            endpoint,
            identity,
            link: link.clone(),
            board: board_id.clone(),
            manufacturer: fact_or(&facts.manufacturer, &labels.manufacturer),
            model: fact_or(&facts.model, &labels.model),
            device_type: labels.device_type.clone(),
            serial_number: fact_or(&facts.serial_number, &usb.and_then(|usb| usb.serial.clone())),
            hardware_version: fact_or(&facts.hardware_version, &None),
            version: announced.or_else(|| known.and_then(|device| device.info.version.clone())).or(told),
            connectivity: connectivity(
                &seen.report,
                fact(&facts.bearer),
                signal(fact(&facts.signal)).or_else(|| known.and_then(Device::signal)),
            ),
            reboot: if self.spared(seen).is_some() { RebootMethod::None } else { profile.reboot },
            not_updatable: self.trouble(&seen.report, board_id),
            quarantined: known.and_then(|device| device.info.quarantined.clone()),
        };
        Some((info, profile))
    }

    /// Why no server can update what is on a link.
    fn trouble(&self, report: &LinkReport, board: &BoardId) -> Option<String> {
        if !self.catalogue.is_flashable(board) {
            return Some(NOT_FLASHED.to_owned());
        }
        if let Some(trouble) = self.troubles.get(board) {
            return Some(trouble.clone());
        }
        if !matches!(report.link, Link::Serial(_)) {
            return Some("flashing over the network is not possible".to_owned());
        }
        match &report.access {
            Access::Usable | Access::Busy { .. } => None,
            Access::NotPermitted { permissions, remedy } => {
                Some(format!("the gateway may not open its port ({permissions}): {remedy}"))
            }
            Access::Denied => Some("`[serial] deny` forbids opening its port".to_owned()),
            Access::Absent => Some("its port is not there".to_owned()),
        }
    }

    /// What is announced or advertised over a link, and what was answered.
    fn said<'a>(seen: &'a Seen) -> impl Iterator<Item = &'a Evidence> + Clone {
        let answers: Vec<&'a Evidence> = seen.asked.evidence().collect();
        seen.report.evidence.iter().chain(&seen.beside).chain(answers)
    }

    fn announced(&self, seen: &Seen) -> Announced {
        let (service, ble) = (identify::service(&seen.report), identify::ble(&seen.report));
        if service.is_none() && ble.is_none() && !matches!(seen.report.link, Link::Discovered(_)) {
            return Announced::default();
        }
        let board = self.opinion(seen).board.and_then(|(board, _)| self.catalogue.get(&board));
        let mac = board.and_then(|board| announced::read(&board.facts.mac, &Self::said(seen))).map(|(mac, _)| mac);
        let stays = ble.filter(|ble| ble.address_kind != BleAddressKind::Rotating);
        Announced { mac, host: service.map(|service| service.host.clone()), ble: stays.map(|ble| ble.address.plain()) }
    }

    fn identity(&self, seen: &Seen) -> Identity {
        let usb = identify::usb(&seen.report);
        let is_tty = |seen: &Seen| matches!(seen.report.link, Link::Serial(_));
        let others = || {
            let others = self.links.values().filter(|other| other.report.link != seen.report.link);
            others.filter_map(|other| identify::usb(&other.report).map(|usb| (other, usb)))
        };
        let around = usb.map_or_else(Surroundings::default, |usb| Surroundings {
            serial_is_mac: self.serial_is_mac(&seen.report),
            serial_taken: others().any(|(other, theirs)| {
                other.device.is_some()
                    && (theirs.vid, theirs.pid, &theirs.serial) == (usb.vid, usb.pid, &usb.serial)
                    && theirs.path != usb.path
            }),
            further_interface: is_tty(seen)
                && others().any(|(other, theirs)| {
                    is_tty(other) && theirs.path == usb.path && theirs.interface < usb.interface
                }),
        });
        let entry = self.entry(&seen.report).map(Arc::as_ref);
        let port = match &seen.report.link {
            Link::Serial(path) => path.display().to_string(),
            other => other.to_string(),
        };
        naming::identity(entry, usb, seen.asked.evidence(), self.announced(seen), &port, around)
    }

    /// Whether a board file says that the USB serial number of these ids is a MAC address.
    fn serial_is_mac(&self, report: &LinkReport) -> bool {
        let Some(usb) = identify::usb(report) else { return false };
        let says = |board: &Board| {
            let mut ids = board.usb.iter().filter(|one| (one.vid, one.pid) == (usb.vid, usb.pid));
            ids.any(|one| one.serial == SerialMeaning::Mac)
        };
        self.catalogue.iter().any(|(_, board)| says(board))
    }

    /// The board is not known, or not any more.
    fn lose(&mut self, link: &Link, decisions: &mut Vec<Decision>) {
        let Some(id) = self.links.get_mut(link).and_then(|seen| seen.device.take()) else { return };
        self.devices.remove(&id);
        decisions.push(Decision::DeviceGone(id));
    }

    /// The link is away: its device goes with it, unless it is being updated or is there over another link.
    fn leave(&mut self, link: &Link, decisions: &mut Vec<Decision>) {
        let Some(seen) = self.links.remove(link) else { return };
        let Some(id) = seen.device else { return };
        let Some(device) = self.devices.get_mut(&id) else { return };
        device.present = false;
        if device.held {
            info!(%link, device = %id, "the link of a device under update is away");
            device.asked = seen.asked;
            return decisions.push(Decision::DeviceAway(id));
        }
        if let Some(device) = self.devices.remove(&id) {
            self.replace(&device.info, decisions);
        }
    }

    /// A device is off the list: a link that stood back behind it gets its turn.
    fn replace(&mut self, gone: &DeviceInfo, decisions: &mut Vec<Decision>) {
        let mut follow = Vec::new();
        let heir = self.links.keys().find(|other| self.leads_to(other, &gone.identity)).cloned();
        if let Some(link) = heir {
            self.settle(&link, &mut follow);
        }
        let same = follow.iter_mut().find(|one| matches!(one, Decision::DeviceReady(info) if info.id == gone.id));
        match same {
            // The same device over another link never went.
            Some(one) if self.devices.get(&gone.id).is_some_and(|device| device.info.board == gone.board) => {
                if let Decision::DeviceReady(info) = one {
                    *one = Decision::DeviceChanged(info.clone());
                }
            }
            _ => {
                info!(link = %gone.link, device = %gone.id, "device gone");
                decisions.push(Decision::DeviceGone(gone.id.clone()));
            }
        }
        decisions.append(&mut follow);
    }

    /// Whether a link without a device of its own leads to the one with this identity.
    fn leads_to(&self, link: &Link, identity: &Identity) -> bool {
        let Some(seen) = self.links.get(link).filter(|seen| seen.device.is_none()) else { return false };
        self.opinion(seen).board.is_some() && self.identity(seen) == *identity
    }

    /// Whether a link has to stand back because a device with its identity is there already. A link that the user named
    /// takes the device over from one that was only found.
    fn stands_back(&mut self, link: &Link, decisions: &mut Vec<Decision>) -> bool {
        let Some(seen) = self.links.get(link).filter(|seen| seen.device.is_none()) else { return false };
        let identity = self.identity(seen);
        let Some(other) = self.devices.values().find(|device| device.info.identity == identity) else { return false };
        let named = |link: &Link| self.links.get(link).is_some_and(|seen| self.entry(&seen.report).is_some());
        let better = !named(&other.info.link) && (named(link) || self.is_better(link, &other.info));
        if other.held || !better {
            debug!(%link, device = %other.info.id, "this link leads to a device that is there already");
            return true;
        }
        let other = other.info.link.clone();
        self.lose(&other, decisions);
        false
    }

    /// The device that a link without one leads to as well.
    fn double(&self, link: &Link) -> Option<&DeviceId> {
        let identity = self.identity(self.links.get(link)?);
        self.devices.values().find(|device| device.info.identity == identity).map(|device| &device.info.id)
    }

    /// A device under update is found again: by its identity, or by where it hangs.
    fn rejoin(&mut self, link: &Link, decisions: &mut Vec<Decision>) -> bool {
        let Some(seen) = self.links.get(link) else { return false };
        let identity = self.identity(seen);
        let (usb, board) = (identify::usb(&seen.report), self.opinion(seen).board);
        let found = self.devices.values_mut().filter(|device| device.held && !device.present).find(|device| {
            if device.usb.is_some() && device.usb.as_ref() == usb {
                return true;
            }
            // A boot loader that is called has ids of its own, which the board's file knows as well.
            let is_it = board.as_ref().is_some_and(|(board, _)| *board == device.info.board);
            let called = device.profile.enter == Enter::Touch1200 && is_it;
            let socket = |(before, now): (&UsbIds, &UsbIds)| before.path == now.path && before.pid != now.pid;
            if called && device.usb.as_ref().zip(usb).is_some_and(socket) {
                return true;
            }
            let same_place = device.info.link == *link && (device.usb.is_none() || usb.is_none());
            // The same socket with other ids is another device.
            let weak = matches!(identity, Identity::UsbPath(_));
            same_place || (!weak && device.info.identity == identity)
        });
        let Some(device) = found else { return false };
        device.present = true;
        device.info.link = link.clone();
        let (id, info, asked) = (device.info.id.clone(), device.info.clone(), std::mem::take(&mut device.asked));
        if let Some(seen) = self.links.get_mut(link) {
            seen.device = Some(id.clone());
            seen.asked = asked;
        }
        info!(%link, device = %id, "the device under update is back");
        decisions.push(Decision::DeviceReturned(info));
        true
    }
}

impl Device {
    /// How strongly it receives its WiFi, as it told last.
    fn signal(&self) -> Option<i16> {
        self.info.connectivity.as_ref().filter(|connectivity| connectivity.bearer == Bearer::Wlan)?.signal
    }
}

impl Seen {
    fn new(report: LinkReport) -> Self {
        Self {
            report,
            asked: Asked::default(),
            asking: None,
            waiting: false,
            exhausted: false,
            device: None,
            beside: None,
            kept_out: None,
        }
    }
}

/// Whether two reports of a link are of one thing: the same node, the same descriptors.
fn same_thing(one: &LinkReport, other: &LinkReport) -> bool {
    let (usb, other_usb) = (identify::usb(one), identify::usb(other));
    // The canonical path comes first where the link's name is a symlink.
    let moved = matches!((one.aliases.first(), other.aliases.first()), (Some(one), Some(other)) if one != other);
    usb == other_usb && (usb.is_some() || !moved)
}

/// A signal strength that a device tells, in dBm, where it is one.
fn signal(told: Option<Fact>) -> Option<i16> {
    told?.0.parse().ok().filter(|dbm| (-128..=20).contains(dbm))
}

/// How a device is connected; `bearer` is what it says of that itself, `signal` how strongly it receives its WiFi.
fn connectivity(report: &LinkReport, bearer: Option<Fact>, signal: Option<i16>) -> Option<Connectivity> {
    if identify::ble(report).is_some() {
        return Some(Connectivity { bearer: Bearer::Bluetooth, signal: report.signal, addresses: Vec::new() });
    }
    let service = identify::service(report)?;
    let bearer = match bearer.map(|(bearer, _)| bearer.to_ascii_lowercase()).as_deref() {
        Some("wifi" | "wlan") => Bearer::Wlan,
        Some("ethernet") => Bearer::Ethernet,
        // Who tells how strong its WiFi is has one.
        None if signal.is_some() => Bearer::Wlan,
        _ => return None,
    };
    Some(Connectivity { bearer, signal: report.signal.or(signal), addresses: service.addresses.clone() })
}

/// The profile for what its bootloader told, else the usual one.
fn profile(board: &Board, asked: &Asked) -> Arc<FlashProfile> {
    let told = asked.evidence().find_map(|evidence| match evidence {
        Evidence::Signature { baud, .. } => Some(*baud),
        _ => None,
    });
    let found = told.and_then(|baud| board.profile_at(baud));
    Arc::clone(found.unwrap_or(&board.profiles()[0]))
}
