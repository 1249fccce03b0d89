//! What the broker shall keep, and what of that it does not have yet. Pure: time is an argument.
//!
//! There is one message for each topic, and only the newest counts: what changes faster than the broker takes it is not
//! queued. A device that is gone stays, as offline, until its time is over or an operator forgets it; one that only an
//! earlier run of the gateway told of, likewise.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::entity::{Entity, NOT_KNOWN, Platform};
use super::home::{self, OFFLINE, ONLINE, Topics};
use super::names::segment;
use crate::control::DeviceStatus;
use crate::device::{DeviceId, FirmwareState, POINTS_MAX, PointValue, ShownPoint};

/// So many devices that are not here are kept; of more, the one that is gone for longest is taken away.
const GONE_MAX: usize = 1024;
/// A device that only an earlier run told of has at least so long to be found again.
const FIND_AGAIN: Duration = Duration::from_secs(60);
/// Points that a device does not tell any more are taken away after this at the earliest: somebody may have its link.
const SILENT: Duration = Duration::from_secs(3600);
/// So many forgotten devices are remembered while the broker is away.
const FORGOTTEN_MAX: usize = 256;

/// All messages that the broker shall keep.
#[derive(Debug)]
pub(super) struct Mirror {
    topics: Topics,
    remove_after: Duration,
    /// An empty message is one that is to be forgotten there.
    wanted: BTreeMap<String, Arc<str>>,
    /// Topics whose message the broker does not have, in the order in which they came up.
    stale: VecDeque<String>,
    waiting: HashSet<String>,
    devices: BTreeMap<String, Known>,
    segments: HashMap<DeviceId, String>,
    /// Devices that were forgotten, of which the broker may still have something.
    forgotten: VecDeque<String>,
}

#[derive(Debug, Default)]
struct Known {
    /// Its name here; `None` where only an earlier run knew it.
    id: Option<DeviceId>,
    status: Option<Box<DeviceStatus>>,
    /// As they were last told: a device that is not watched just now has none.
    points: BTreeMap<String, Entity>,
    /// Entities that Home Assistant was told of and that are no points any more, as far as is known.
    parting: BTreeMap<String, Platform>,
    /// Whether that is sure, so that Home Assistant is to drop them.
    sure: bool,
    /// Since when it has told no points, though Home Assistant was told of some.
    silent: Option<Instant>,
    /// Since when it is not here.
    gone: Option<Instant>,
}

/// What an order from Home Assistant wishes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wish {
    pub(super) device: DeviceId,
    /// The key of a point and what it shall hold; without it, what is staged is to be installed.
    pub(super) point: Option<(String, PointValue)>,
}

impl Mirror {
    pub(super) fn new(topics: Topics, remove_after: Duration) -> Self {
        let mut mirror = Self {
            remove_after,
            wanted: BTreeMap::new(),
            stale: VecDeque::new(),
            waiting: HashSet::new(),
            devices: BTreeMap::new(),
            segments: HashMap::new(),
            forgotten: VecDeque::new(),
            topics,
        };
        mirror.set(mirror.topics.availability(), ONLINE);
        mirror.set(mirror.topics.gateway_config(), mirror.topics.gateway_told().to_string());
        mirror
    }

    pub(super) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// Nothing is known of what the broker has, or Home Assistant asks for all of it.
    pub(super) fn again(&mut self) {
        for topic in self.wanted.keys() {
            if self.waiting.insert(topic.clone()) {
                self.stale.push_back(topic.clone());
            }
        }
    }

    /// All devices there are, without their points.
    pub(super) fn everything(&mut self, devices: Vec<DeviceStatus>, now: Instant) {
        let here: HashSet<DeviceId> = devices.iter().map(|status| status.id.clone()).collect();
        devices.into_iter().for_each(|status| self.device(status));
        let gone: Vec<DeviceId> = self.segments.keys().filter(|id| !here.contains(*id)).cloned().collect();
        gone.iter().for_each(|id| self.left(id, now));
    }

    /// A device is here, or is another than before.
    pub(super) fn device(&mut self, status: DeviceStatus) {
        let name = segment(&status.endpoint);
        self.forgotten.retain(|forgotten| *forgotten != name);
        if let Some(former) = self.segments.insert(status.id.clone(), name.clone()).filter(|former| *former != name) {
            self.remove(&former);
            self.segments.insert(status.id.clone(), name.clone());
        }
        let known = self.devices.entry(name.clone()).or_default();
        let renamed = known.id.replace(status.id.clone()).filter(|before| *before != status.id);
        known.gone = None;
        let there = status.present || status.update.state == FirmwareState::Updating;
        let state = home::update_state(&status).to_string();
        known.status = Some(Box::new(status));
        if let Some(before) = renamed {
            self.segments.remove(&before);
        }
        self.tell(&name);
        self.set(self.topics.of(&name, "update"), state);
        self.set(self.topics.of(&name, "availability"), if there { ONLINE } else { OFFLINE });
    }

    /// The points of a device, and what they hold. Where it tells none, those that it had are kept for a time: it may only not
    /// be watched just now.
    pub(super) fn points(&mut self, device: &DeviceId, points: &[ShownPoint], now: Instant) {
        let Some(name) = self.segments.get(device).cloned() else { return };
        let Some(known) = self.devices.get_mut(&name) else { return };
        if points.is_empty() {
            if !(known.points.is_empty() && known.parting.is_empty()) {
                known.silent.get_or_insert(now);
            }
            let states: Vec<_> =
                known.points.values().map(|entity| (entity.name.clone(), entity.state(None))).collect();
            return states.into_iter().for_each(|(point, state)| self.set(self.topics.of(&name, &point), state));
        }
        let orders = self.topics.takes_orders();
        let (mut entities, mut states) = (BTreeMap::new(), Vec::new());
        for point in points.iter().take(POINTS_MAX) {
            let entity = Entity::of(point, orders);
            states.push((entity.name.clone(), entity.state(point.value.as_ref())));
            entities.insert(entity.name.clone(), entity);
        }
        known.silent = None;
        if entities != known.points || !known.sure {
            let before = std::mem::replace(&mut known.points, entities);
            known.parting.extend(before.into_values().map(|entity| (entity.name, entity.platform)));
            known.parting.retain(|point, platform| known.points.get(point).is_none_or(|now| now.platform != *platform));
            known.sure = true;
            self.tell(&name);
        }
        for (point, state) in states {
            self.set(self.topics.of(&name, &point), state);
        }
    }

    /// A device is not here any more, and may come back.
    pub(super) fn left(&mut self, device: &DeviceId, now: Instant) {
        let Some(name) = self.segments.get(device).cloned() else { return };
        if let Some(known) = self.devices.get_mut(&name) {
            known.gone.get_or_insert(now);
            self.set(self.topics.of(&name, "availability"), OFFLINE);
            self.bound();
        }
    }

    /// A device was forgotten: it is taken away, also where only an earlier run told of it.
    pub(super) fn forget(&mut self, endpoint: &str) {
        let name = segment(endpoint);
        self.remove(&name);
        if self.forgotten.len() == FORGOTTEN_MAX {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back(name);
    }

    /// The broker has this of what some run of the gateway told of a device.
    pub(super) fn found(&mut self, name: &str, record: &str, now: Instant) {
        let is_forgotten = self.forgotten.iter().any(|forgotten| forgotten == name);
        if !self.devices.contains_key(name) && !is_forgotten && self.gone() >= GONE_MAX {
            // More than there ever were: whoever put it there may take it away.
            return;
        }
        let known = self.devices.entry(name.to_owned()).or_default();
        let is_former = |(point, platform): &(String, Platform)| {
            known.points.get(point).is_none_or(|now| now.platform != *platform)
        };
        let former: Vec<_> = home::recorded(record, 2 * POINTS_MAX).into_iter().filter(is_former).collect();
        let news = former.iter().any(|(point, _)| !known.parting.contains_key(point));
        let room = (2 * POINTS_MAX).saturating_sub(known.parting.len());
        known.parting.extend(former.into_iter().take(room));
        if known.id.is_some() && news {
            if known.points.is_empty() {
                known.silent.get_or_insert(now);
            }
            self.tell(name);
        } else if known.id.is_none() {
            known.gone.get_or_insert(now + FIND_AGAIN.saturating_sub(self.remove_after));
            if is_forgotten {
                return self.remove(name);
            }
            self.set(self.topics.of(name, "availability"), OFFLINE);
        }
    }

    /// What is gone for long enough is taken away, and so are points that a device has not told for so long.
    pub(super) fn expire(&mut self, now: Instant) {
        let over = |since: Option<Instant>, limit| {
            since.and_then(|since| since.checked_add(limit)).is_some_and(|end: Instant| now >= end)
        };
        let (remove_after, silent_for) = (self.remove_after, self.remove_after.max(SILENT));
        let (mut gone, mut silent) = (Vec::new(), Vec::new());
        for (name, known) in &mut self.devices {
            if over(known.gone, remove_after) {
                gone.push(name.clone());
            } else if over(known.silent, silent_for) {
                let former = std::mem::take(&mut known.points);
                known.parting.extend(former.into_values().map(|entity| (entity.name, entity.platform)));
                (known.sure, known.silent) = (true, None);
                silent.push(name.clone());
            }
        }
        gone.iter().for_each(|name| self.remove(name));
        silent.iter().for_each(|name| self.tell(name));
    }

    /// When that is to be looked at next.
    pub(super) fn expires(&self) -> Option<Instant> {
        let end = |since: Option<Instant>, limit| since?.checked_add(limit);
        let (gone, silent) = (self.remove_after, self.remove_after.max(SILENT));
        self.devices.values().flat_map(|known| [end(known.gone, gone), end(known.silent, silent)]).flatten().min()
    }

    /// The next message for the broker. [`sent`](Self::sent) says when it has it; it stays the next one until then.
    pub(super) fn next(&self) -> Option<(String, Arc<str>)> {
        let topic = self.stale.front()?;
        Some((topic.clone(), Arc::clone(self.wanted.get(topic)?)))
    }

    /// The broker has a message, unless it was another one that was wanted meanwhile.
    pub(super) fn sent(&mut self, topic: &str, payload: &Arc<str>) {
        if self.wanted.get(topic).is_none_or(|wanted| !Arc::ptr_eq(wanted, payload)) {
            return;
        }
        if self.stale.front().is_some_and(|front| front == topic) {
            self.stale.pop_front();
        } else {
            self.stale.retain(|stale| stale != topic);
        }
        self.waiting.remove(topic);
        if payload.is_empty() {
            self.wanted.remove(topic);
        }
        // Home Assistant has heard which entities are no more: it need not hear that for ever.
        let done = |(name, known): &(&String, &mut Known)| {
            known.sure && !known.parting.is_empty() && self.topics.config(name) == topic
        };
        if let Some((name, known)) = self.devices.iter_mut().find(done) {
            known.parting.clear();
            let name = name.clone();
            self.tell(&name);
        }
    }

    /// What an order means; `None` where there is no such device or point, or the point takes no such value.
    pub(super) fn wish(&self, device: &str, point: Option<&str>, payload: &str) -> Option<Wish> {
        let known = self.devices.get(device).filter(|known| known.gone.is_none())?;
        let device = known.id.clone()?;
        let point = match point {
            None => (home::is_install(payload)).then_some(None)?,
            Some(point) => {
                let entity = known.points.get(point)?;
                Some((entity.key.clone(), entity.wished(payload)?))
            }
        };
        Some(Wish { device, point })
    }

    /// The message that says that the gateway is gone.
    pub(super) fn farewell(&self) -> (String, Arc<str>) {
        (self.topics.availability(), OFFLINE.into())
    }

    /// Home Assistant is to hear what a device has. The record of that goes first: what is told of can be taken away later.
    fn tell(&mut self, name: &str) {
        let Some(known) = self.devices.get(name) else { return };
        let Some(status) = &known.status else { return };
        let nothing = BTreeMap::new();
        let parting = if known.sure { &known.parting } else { &nothing };
        let record = home::record(&known.points, &known.parting).to_string();
        let told = self.topics.told(name, status, &known.points, parting).to_string();
        let former = known.parting.keys().filter(|point| !known.points.contains_key(*point));
        let former: Vec<String> = former.map(|point| self.topics.of(name, point)).collect();
        let state = if known.sure { "" } else { NOT_KNOWN };
        self.set(self.topics.of(name, "entities"), record);
        self.set(self.topics.config(name), told);
        former.into_iter().for_each(|topic| self.set(topic, state));
    }

    /// Nothing is said of a device any more.
    fn remove(&mut self, name: &str) {
        let known = self.devices.remove(name).unwrap_or_default();
        if let Some(id) = &known.id {
            self.segments.remove(id);
        }
        self.set(self.topics.config(name), "");
        let points = known.points.keys().chain(known.parting.keys());
        let leaves: Vec<&str> = points.map(String::as_str).chain(["update", "availability", "entities"]).collect();
        leaves.into_iter().for_each(|leaf| self.set(self.topics.of(name, leaf), ""));
    }

    /// So many devices are kept that are not here.
    fn gone(&self) -> usize {
        self.devices.values().filter(|known| known.gone.is_some()).count()
    }

    fn bound(&mut self) {
        if self.gone() > GONE_MAX {
            let longest = self.devices.iter().filter_map(|(name, known)| Some((known.gone?, name))).min();
            if let Some(name) = longest.map(|(_, name)| name.clone()) {
                self.remove(&name);
            }
        }
    }

    fn set(&mut self, topic: String, payload: impl Into<Arc<str>>) {
        let payload = payload.into();
        if self.wanted.get(&topic).is_some_and(|wanted| **wanted == *payload) {
            return;
        }
        if self.waiting.insert(topic.clone()) {
            self.stale.push_back(topic.clone());
        }
        self.wanted.insert(topic, payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::UpdateStatus;
    use crate::device::{Access, BoardId, Identity, Link, ReportedVersion, Sureness};

    fn mirror() -> Mirror {
        let text = "enabled = true\nbroker = \"mqtt://h\"\nusername = \"\"\npassword = \"\"\npassword_file = \"\"\nca = []\nclient_id = \"\"\n\
                    keep_alive = \"30s\"\nprefix = \"n\"\ndiscovery_prefix = \"h\"\ncommands = true\nremove_after = \"1h\"";
        let settings = toml::from_str(text).expect("settings");
        Mirror::new(Topics::new(&settings, "g"), Duration::from_secs(3600))
    }

    fn status(name: &str, version: &str) -> DeviceStatus {
        DeviceStatus {
            id: DeviceId::new(name),
            endpoint: name.to_owned(),
            identity: Identity::Configured(name.to_owned()),
            link: Link::Serial("/dev/ttyACM0".into()),
            board: BoardId::new("uno"),
            sureness: Sureness::Configured,
            present: true,
            access: Access::Usable,
            in_use_by: None,
            version: Some(ReportedVersion { text: version.to_owned(), source: "banner".to_owned() }),
            not_updatable: None,
            quarantined: None,
            way_back: None,
            registrations: Vec::new(),
            update: UpdateStatus::default(),
        }
    }

    fn point(key: &str, value: f64) -> ShownPoint {
        ShownPoint {
            key: key.to_owned(),
            object: 3303,
            instance: 0,
            value: Some(PointValue::Number(value)),
            unit: Some("Cel".to_owned()),
            name: None,
            writable: false,
            scale: 1.0,
        }
    }

    /// Hands everything over, and gives what the broker got.
    fn hand_over(mirror: &mut Mirror) -> Vec<(String, String)> {
        let mut got = Vec::new();
        while let Some((topic, payload)) = mirror.next() {
            mirror.sent(&topic, &payload);
            got.push((topic, payload.to_string()));
            assert!(got.len() < 10_000, "it comes to an end");
        }
        got
    }

    fn topics(got: &[(String, String)]) -> Vec<&str> {
        got.iter().map(|(topic, _)| topic.as_str()).collect()
    }

    #[test]
    fn what_changes_faster_than_the_broker_takes_it_is_told_once_and_nothing_twice() {
        let (mut mirror, now) = (mirror(), Instant::now());
        mirror.device(status("d", "1"));
        mirror.points(&DeviceId::new("d"), &[point("pin/1", 0.0)], now);
        let got = hand_over(&mut mirror);
        let record = got.iter().position(|(topic, _)| topic == "n/g/d/entities").expect("told");
        let config = got.iter().position(|(topic, _)| topic.ends_with("--d/config")).expect("told");
        assert!(record < config, "what is told of can be taken away later");
        for value in 0..1000 {
            mirror.points(&DeviceId::new("d"), &[point("pin/1", f64::from(value))], now);
        }
        assert_eq!(hand_over(&mut mirror), [("n/g/d/3303-pin-1".to_owned(), "999".to_owned())]);
        mirror.points(&DeviceId::new("d"), &[point("pin/1", 999.0)], now);
        mirror.device(status("d", "1"));
        assert!(hand_over(&mut mirror).is_empty());
        // A newer one that came while the last was on its way is not lost.
        mirror.points(&DeviceId::new("d"), &[point("pin/1", 1.0)], now);
        let (topic, older) = mirror.next().expect("a message");
        mirror.points(&DeviceId::new("d"), &[point("pin/1", 2.0)], now);
        mirror.sent(&topic, &older);
        assert_eq!(hand_over(&mut mirror), [(topic, "2".to_owned())]);
        let all = {
            mirror.again();
            hand_over(&mut mirror)
        };
        assert_eq!(all.len(), 7, "{all:?}");
    }

    #[test]
    fn who_is_gone_stays_for_its_time_and_then_nothing_is_left() {
        let (mut mirror, now) = (mirror(), Instant::now());
        mirror.device(status("d", "1"));
        mirror.points(&DeviceId::new("d"), &[point("pin/1", 0.0)], now);
        hand_over(&mut mirror);
        mirror.left(&DeviceId::new("d"), now);
        assert_eq!(hand_over(&mut mirror), [("n/g/d/availability".to_owned(), OFFLINE.to_owned())]);
        assert_eq!(mirror.expires(), Some(now + Duration::from_secs(3600)));
        mirror.expire(now + Duration::from_secs(3599));
        assert!(hand_over(&mut mirror).is_empty());
        mirror.expire(now + Duration::from_secs(3600));
        let got = hand_over(&mut mirror);
        assert!(got.len() == 5 && got.iter().all(|(_, payload)| payload.is_empty()), "{got:?}");
        assert_eq!(mirror.expires(), None);
        mirror.again();
        assert_eq!(topics(&hand_over(&mut mirror)), ["h/device/nuncio--g/config", "n/g/availability"]);
    }

    #[test]
    fn entities_of_an_earlier_run_part_when_it_is_sure_that_they_are_no_more() {
        let (mut mirror, now) = (mirror(), Instant::now());
        mirror.device(status("d", "1"));
        mirror.found("d", r#"{"3303-pin-1":"sensor","3306-pin-9":"switch"}"#, now);
        let config = |got: &[(String, String)]| -> Vec<serde_json::Value> {
            let of = got.iter().filter(|(topic, _)| topic.ends_with("--d/config"));
            of.map(|(_, payload)| serde_json::from_str(payload).expect("JSON")).collect()
        };
        let got = hand_over(&mut mirror);
        assert!(config(&got).iter().all(|told| told["components"].get("3306-pin-9").is_none()), "not yet sure");
        assert!(
            got.contains(&("n/g/d/3306-pin-9".to_owned(), NOT_KNOWN.to_owned())),
            "what it holds is not known: {got:?}"
        );
        mirror.points(&DeviceId::new("d"), &[point("pin/1", 0.0)], now);
        let got = hand_over(&mut mirror);
        let told = config(&got);
        assert_eq!(told.len(), 2, "once with what is no more, and once without: {got:?}");
        assert_eq!(told[0]["components"]["3306-pin-9"], serde_json::json!({ "platform": "switch" }));
        assert!(told[1]["components"].get("3306-pin-9").is_none());
        assert!(told[1]["components"].get("3303-pin-1").is_some());
        assert!(got.contains(&("n/g/d/3306-pin-9".to_owned(), String::new())));
        // A device that is not watched just now keeps what it has.
        mirror.points(&DeviceId::new("d"), &[], now);
        assert_eq!(hand_over(&mut mirror), [("n/g/d/3303-pin-1".to_owned(), NOT_KNOWN.to_owned())]);
        mirror.expire(now + SILENT);
        assert_eq!(config(&hand_over(&mut mirror)).len(), 2, "not for ever");
    }

    #[test]
    fn a_device_that_only_an_earlier_run_knew_is_offline_and_one_that_was_forgotten_is_taken_away() {
        let (mut mirror, now) = (mirror(), Instant::now());
        hand_over(&mut mirror);
        mirror.forget("b");
        hand_over(&mut mirror);
        mirror.found("a", "{}", now);
        mirror.found("b", r#"{"3303-pin-1":"sensor"}"#, now);
        let got = hand_over(&mut mirror);
        assert_eq!(got[0], ("n/g/a/availability".to_owned(), OFFLINE.to_owned()));
        let empty: Vec<&str> = got[1..]
            .iter()
            .map(|(topic, payload)| {
                assert!(payload.is_empty());
                topic.as_str()
            })
            .collect();
        let leaves = ["3303-pin-1", "update", "availability", "entities"].map(|leaf| format!("n/g/b/{leaf}"));
        assert_eq!(empty[0], "h/device/nuncio--g--b/config");
        assert_eq!(empty[1..], leaves);
        // It comes back under another name of its own.
        mirror.device(DeviceStatus { id: DeviceId::new("other"), ..status("a", "1") });
        assert_eq!(mirror.expires(), None);
        assert!(hand_over(&mut mirror).contains(&("n/g/a/availability".to_owned(), ONLINE.to_owned())));
        assert_eq!(mirror.wish("a", None, "install"), Some(Wish { device: DeviceId::new("other"), point: None }));
        assert_eq!(mirror.wish("a", None, "now"), None);
        assert_eq!(mirror.wish("b", None, "install"), None);
    }

    #[test]
    fn what_strangers_leave_at_the_broker_does_not_pile_up() {
        let (mut mirror, now) = (mirror(), Instant::now());
        for number in 0..5 * GONE_MAX {
            mirror.found(&format!("x{number}"), "{}", now);
            let record: String = (0..999).map(|point| format!("\"3303-pin-{number}-{point}\":\"sensor\",")).collect();
            if number < 20 {
                mirror.found("y", &format!("{{{}}}", record.trim_end_matches(',')), now);
            }
        }
        assert!(mirror.devices.len() <= GONE_MAX + 1);
        assert!(mirror.wanted.len() <= GONE_MAX + 4, "{}", mirror.wanted.len());
        assert!(mirror.devices.values().all(|known| known.parting.len() <= 2 * POINTS_MAX));
    }
}
