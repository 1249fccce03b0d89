//! What is said where: the topics, and the JSON that Home Assistant's MQTT integration wants (device discovery, since
//! Home Assistant 2024.11).
//!
//! ```text
//! DISCOVERY/device/nuncio--GATEWAY--DEVICE/config   what there is
//! PREFIX/GATEWAY/availability                       online or offline; the broker says offline for a gateway that died
//! PREFIX/GATEWAY/DEVICE/availability                the same of a device
//! PREFIX/GATEWAY/DEVICE/update                      its firmware; orders to .../update/install
//! PREFIX/GATEWAY/DEVICE/POINT                       a value; orders to .../POINT/set
//! PREFIX/GATEWAY/DEVICE/entities                    what Home Assistant was told of, for the next run of the gateway
//! ```

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::entity::{Entity, Platform, STATE_MAX};
use super::names::{is_of_point, is_segment, joined, segment};
use super::settings::MqttSettings;
use crate::control::DeviceStatus;
use crate::device::{FirmwareState, plain_text};

/// Of what the gateway is, and of what begins the names that Home Assistant knows devices by.
const NUNCIO: &str = "nuncio";
/// The payload that orders an update.
const INSTALL: &str = "install";
/// A version that was not read from the device, or not yet.
const UNKNOWN: &str = "unknown";
/// Longest name of a device, in characters.
const NAME_MAX: usize = 64;
/// Longest version, in characters.
const VERSION_MAX: usize = 64;

/// A device or gateway is there.
pub(super) const ONLINE: &str = "online";
/// It is not.
pub(super) const OFFLINE: &str = "offline";

/// Where what is said.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    prefix: String,
    discovery: String,
    gateway: String,
    /// As people know it.
    name: String,
    orders: bool,
}

/// What a message from the broker is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum About {
    /// Home Assistant has started.
    Birth,
    /// What an earlier run told of this device.
    Entities(String),
    /// An order to install what is staged for this device.
    Install(String),
    /// An order to this point of this device.
    Set(String, String),
}

impl Topics {
    pub(super) fn new(settings: &MqttSettings, gateway: &str) -> Self {
        Self {
            prefix: settings.prefix.clone(),
            discovery: settings.discovery_prefix.clone(),
            gateway: segment(gateway),
            name: gateway.to_owned(),
            orders: settings.commands,
        }
    }

    pub(super) fn takes_orders(&self) -> bool {
        self.orders
    }

    /// Whether the gateway is there.
    pub(super) fn availability(&self) -> String {
        format!("{}/{}/availability", self.prefix, self.gateway)
    }

    /// Something of a device.
    pub(super) fn of(&self, device: &str, leaf: &str) -> String {
        format!("{}/{}/{device}/{leaf}", self.prefix, self.gateway)
    }

    /// Where Home Assistant is told what a device has.
    pub(super) fn config(&self, device: &str) -> String {
        format!("{}/device/{}/config", self.discovery, self.id(device))
    }

    /// Where it is told of the gateway.
    pub(super) fn gateway_config(&self) -> String {
        format!("{}/device/{}/config", self.discovery, self.gateway_id())
    }

    fn gateway_id(&self) -> String {
        joined(&[NUNCIO, &self.gateway])
    }

    /// How Home Assistant knows a device.
    fn id(&self, device: &str) -> String {
        joined(&[NUNCIO, &self.gateway, device])
    }

    /// What is listened to.
    pub(super) fn filters(&self) -> Vec<String> {
        let mut filters = vec![self.birth(), self.of("+", "entities")];
        if self.orders {
            filters.extend([self.of("+", "update/install"), self.of("+", "+/set")]);
        }
        filters
    }

    fn birth(&self) -> String {
        format!("{}/status", self.discovery)
    }

    /// What a topic is about; `None` where it is none that is listened to.
    pub(super) fn about(&self, topic: &str) -> Option<About> {
        if topic == self.birth() {
            return Some(About::Birth);
        }
        let rest = topic.strip_prefix(&self.prefix)?.strip_prefix('/')?.strip_prefix(&self.gateway)?;
        let (device, rest) = rest.strip_prefix('/')?.split_once('/')?;
        let device = Some(device).filter(|device| is_segment(device))?.to_owned();
        match rest.split_once('/') {
            None if rest == "entities" => Some(About::Entities(device)),
            Some(("update", "install")) => Some(About::Install(device)),
            Some((point, "set")) if is_of_point(point) => Some(About::Set(device, point.to_owned())),
            _ => None,
        }
    }

    /// What Home Assistant is told of the gateway: one entity that says whether it is there.
    pub(super) fn gateway_told(&self) -> Value {
        let connectivity = json!({
            "platform": "binary_sensor",
            "name": "Connection",
            "unique_id": joined(&[NUNCIO, &self.gateway, "connection"]),
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": self.availability(),
            "payload_on": ONLINE,
            "payload_off": OFFLINE,
        });
        json!({
            "device": {
                "identifiers": [self.gateway_id()],
                "name": format!("Nuncio {}", plain_text(&self.name, NAME_MAX)),
                "model": "Nuncio gateway",
                "sw_version": env!("CARGO_PKG_VERSION"),
            },
            "origin": origin(),
            "components": { "connection": connectivity },
        })
    }

    /// What it is told of a device: its update, its points, and which entities are no more.
    pub(super) fn told(
        &self,
        device: &str,
        status: &DeviceStatus,
        points: &BTreeMap<String, Entity>,
        parting: &BTreeMap<String, Platform>,
    ) -> Value {
        let mut components = Map::new();
        components.insert("update".to_owned(), self.update_told(device, status));
        components.extend(points.values().map(|entity| (entity.name.clone(), self.point_told(device, entity))));
        // What has nothing but its platform is taken away.
        let empty = |(name, platform): (&String, &Platform)| (name.clone(), json!({ "platform": platform.name() }));
        components.extend(parting.iter().filter(|(name, _)| !points.contains_key(*name)).map(empty));
        let mut facts = Map::new();
        facts.insert("identifiers".to_owned(), json!([self.id(device)]));
        facts.insert("name".to_owned(), json!(plain_text(status.id.as_str(), NAME_MAX)));
        facts.insert("model".to_owned(), json!(plain_text(status.board.as_str(), NAME_MAX)));
        facts.insert("via_device".to_owned(), json!(self.gateway_id()));
        if let Some(version) = &status.version {
            facts.insert("sw_version".to_owned(), json!(plain_text(&version.text, VERSION_MAX)));
        }
        json!({
            "device": facts,
            "origin": origin(),
            "availability": [{ "topic": self.availability() }, { "topic": self.of(device, "availability") }],
            "availability_mode": "all",
            "components": components,
        })
    }

    fn update_told(&self, device: &str, status: &DeviceStatus) -> Value {
        let mut told = json!({
            "platform": Platform::Update.name(),
            "name": "Firmware",
            "unique_id": joined(&[&self.id(device), "update"]),
            "device_class": "firmware",
            "state_topic": self.of(device, "update"),
        });
        if self.orders && status.not_updatable.is_none() {
            told["command_topic"] = json!(self.of(device, "update/install"));
            told["payload_install"] = json!(INSTALL);
        }
        told
    }

    fn point_told(&self, device: &str, entity: &Entity) -> Value {
        let mut facts = entity.facts.clone();
        facts.insert("unique_id".to_owned(), json!(joined(&[&self.id(device), &entity.name])));
        facts.insert("state_topic".to_owned(), json!(self.of(device, &entity.name)));
        if matches!(entity.platform, Platform::Switch | Platform::Light | Platform::Number | Platform::Text) {
            facts.insert("command_topic".to_owned(), json!(self.of(device, &format!("{}/set", entity.name))));
        }
        Value::Object(facts)
    }
}

fn origin() -> Value {
    json!({ "name": NUNCIO, "sw_version": env!("CARGO_PKG_VERSION") })
}

/// Whether a payload orders an update.
pub(super) fn is_install(payload: &str) -> bool {
    payload == INSTALL
}

/// A device's firmware as Home Assistant's update entity has it.
pub(super) fn update_state(status: &DeviceStatus) -> Value {
    let installed = status.version.as_ref().map(|version| plain_text(&version.text, VERSION_MAX));
    let updating = status.update.state == FirmwareState::Updating;
    let offered = offered(status, installed.as_deref());
    let installed = installed.unwrap_or_else(|| UNKNOWN.to_owned());
    json!({
        "installed_version": installed,
        "latest_version": offered.unwrap_or(installed),
        "title": plain_text(status.board.as_str(), NAME_MAX),
        "release_summary": plain_text(status.update.message.as_deref().unwrap_or_default(), STATE_MAX),
        "in_progress": updating,
        "update_percentage": status.update.percent.filter(|_| updating),
    })
}

/// What could be installed; Home Assistant takes only another version than the installed one for that, and only a newer
/// one where it can compare them.
fn offered(status: &DeviceStatus, installed: Option<&str>) -> Option<String> {
    if !matches!(status.update.state, FirmwareState::Downloaded | FirmwareState::Updating) {
        return None;
    }
    let version = status.update.expected_version.as_deref().map(|version| plain_text(version, VERSION_MAX));
    Some(match (version, installed) {
        (Some(version), Some(installed)) if version == installed => format!("{version} (again)"),
        (Some(version), Some(installed)) if is_older(&version, installed) => format!("{version} (older)"),
        (Some(version), _) => version,
        (None, _) => match &status.update.image_sha256 {
            Some(digest) => format!("image {}", digest.to_string().get(..12).unwrap_or_default()),
            None => "staged image".to_owned(),
        },
    })
}

/// Whether one version is older than another; `false` where that cannot be told.
fn is_older(version: &str, than: &str) -> bool {
    let numbers = |text: &str| -> Option<Vec<u64>> {
        text.trim_start_matches('v').split('.').map(|part| part.parse().ok()).collect()
    };
    match (numbers(version), numbers(than)) {
        (Some(version), Some(than)) => version.cmp(&than) == Ordering::Less,
        _ => false,
    }
}

/// What is kept at the broker of what Home Assistant was told of.
pub(super) fn record(points: &BTreeMap<String, Entity>, parting: &BTreeMap<String, Platform>) -> Value {
    let parting = parting.iter().map(|(name, platform)| (name.clone(), json!(platform)));
    let points = points.values().map(|entity| (entity.name.clone(), json!(entity.platform)));
    parting.chain(points).collect::<Map<_, _>>().into()
}

/// What an earlier run kept there; what is no entity's name is left out, and so is what is beyond the bound.
pub(super) fn recorded(payload: &str, most: usize) -> BTreeMap<String, Platform> {
    let kept: BTreeMap<String, Platform> = serde_json::from_str(payload).unwrap_or_default();
    kept.into_iter().filter(|(name, _)| is_of_point(name)).take(most).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn versions_are_compared_where_that_can_be_done() {
        assert!(is_older("1.2.0", "1.10") && is_older("v1.9", "v2"));
        assert!(!is_older("1.10", "1.2.0") && !is_older("1.2", "1.2") && !is_older("beta", "1.2"));
    }

    fn topics() -> Topics {
        let (prefix, discovery, gateway) = ("site/n".to_owned(), "h".to_owned(), "g".to_owned());
        Topics { prefix, discovery, name: gateway.clone(), gateway, orders: true }
    }

    #[test]
    fn a_message_is_about_what_its_topic_says() {
        for (topic, about) in [
            ("h/status", Some(About::Birth)),
            ("site/n/g/d/entities", Some(About::Entities("d".to_owned()))),
            ("site/n/g/d/update/install", Some(About::Install("d".to_owned()))),
            ("site/n/g/d/3306-pin-1/set", Some(About::Set("d".to_owned(), "3306-pin-1".to_owned()))),
            ("site/n/g/d/update/set", None),
            ("site/n/g2/d/entities", None),
            ("site/n/g/d--e/entities", None),
            ("site/n/g/availability", None),
            ("site/n/g", None),
            ("site/ng/d/entities", None),
        ] {
            assert_eq!(topics().about(topic), about, "{topic}");
        }
    }

    proptest! {
        #[test]
        fn no_message_makes_a_topic_of_its_own(rest in ".{0,60}", payload in ".{0,60}") {
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
            for topic in [rest.clone(), format!("site/n/g/{rest}"), format!("site/n/g/{rest}/entities"), format!("site/n/g/d/{rest}/set")] {
                match topics().about(&topic) {
                    Some(About::Entities(device) | About::Install(device)) => prop_assert!(plain(&device)),
                    Some(About::Set(device, point)) => prop_assert!(plain(&device) && plain(&point)),
                    Some(About::Birth) | None => {}
                }
            }
            prop_assert!(recorded(&payload, 9).keys().all(|name| plain(name)));
        }
    }

    #[test]
    fn what_was_recorded_is_not_believed_further_than_it_goes() {
        let payload = r#"{"3303-pin-1":"sensor","../x":"sensor","update":"update"}"#;
        assert_eq!(recorded(payload, 9).into_keys().collect::<Vec<_>>(), ["3303-pin-1"]);
        for nonsense in ["", "[]", "{\"3303-a\":7}", "\u{0}"] {
            assert!(recorded(nonsense, 9).is_empty());
        }
    }
}
