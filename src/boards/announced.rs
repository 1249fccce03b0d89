//! What devices say of themselves unasked or when they are asked: which announcement is which board's, and where its facts
//! stand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use globset::GlobMatcher;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::file::glob;
use crate::device::{BleSeen, Evidence, ServiceSeen, ServiceType};

/// Largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 18;
/// Longest fact, in bytes: no TXT value is longer (RFC 6763, 6.1).
const MAX_FACT: usize = 255;
/// What stands before and after the 16 or 32 bits of an assigned UUID (Core specification, volume 3, part B, 2.5.1).
const BASE_UUID: &str = "-0000-1000-8000-00805f9b34fb";

/// A service by which a board is known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceMatch {
    #[serde(rename = "type")]
    pub(super) kind: ServiceType,
    /// What the instance is called, where that matters.
    #[serde(default, deserialize_with = "some_glob")]
    name: Option<GlobMatcher>,
    /// What the TXT record says: these keys, with values like these.
    #[serde(default, deserialize_with = "globs_by_key")]
    txt: BTreeMap<String, GlobMatcher>,
}

/// A Bluetooth advertisement by which a board is known: all that is named must be there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BleMatch {
    #[serde(default, deserialize_with = "some_glob")]
    name: Option<GlobMatcher>,
    /// A service that it has, or has data of.
    #[serde(default)]
    service: Option<Uuid>,
    /// A company whose data it has.
    #[serde(default, deserialize_with = "company")]
    manufacturer: Option<u16>,
}

/// What a discovery program tells by which a board is known.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DiscoveredMatch {
    protocol: String,
    /// What its properties say: these keys, with values like these.
    #[serde(deserialize_with = "globs_by_key")]
    properties: BTreeMap<String, GlobMatcher>,
}

/// A UUID in full, in small letters; four or eight digits are an assigned one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Uuid(String);

/// Where a board's facts stand in what it says; the first source that tells something counts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Facts {
    /// The MAC address: twelve hex digits, with or without separators.
    pub(super) mac: Vec<Source>,
    pub(super) version: Vec<Source>,
    pub(super) manufacturer: Vec<Source>,
    pub(super) model: Vec<Source>,
    pub(super) serial_number: Vec<Source>,
    pub(super) hardware_version: Vec<Source>,
    /// `wifi` or `ethernet`.
    pub(super) bearer: Vec<Source>,
    /// How strongly it receives its WiFi, in dBm.
    pub(super) signal: Vec<Source>,
}

/// One place in what a device says; with ` ~ PATTERN` only what its first group matches.
#[derive(Debug, Clone)]
pub(super) struct Source {
    place: Place,
    pattern: Option<Regex>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// `txt:KEY` of an mDNS record.
    Txt(String),
    /// `property:KEY` of what a discovery program tells.
    Property(String),
    /// `host` of an mDNS service.
    Host,
    /// `instance` of an mDNS service.
    Instance,
    /// `name` in a Bluetooth advertisement.
    Name,
    /// `gatt:UUID`, a characteristic that is read.
    Gatt(Uuid),
    /// `api:NAME`, a field of what an ESPHome device tells of itself.
    Api(String),
    /// `smp:version`, `smp:info` or `smp:hash`, of the image that runs.
    Smp(SmpPlace),
    /// `http:POINTER`, a value in the JSON that the device answers (RFC 6901, without the first slash).
    Http(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SmpPlace {
    Version,
    Info,
    Hash,
}

/// A fact and where it stood.
pub(super) type Fact = (String, String);

impl ServiceMatch {
    /// How closely a service fits: by so many things; `None` where it does not.
    pub(super) fn fits(&self, seen: &ServiceSeen) -> Option<usize> {
        let named = self.name.as_ref().is_none_or(|glob| glob.is_match(seen.name.instance()));
        let told =
            self.txt.iter().all(|(key, glob)| seen.txt.get(key).is_some_and(|value| glob.is_match(value.as_str())));
        let fits = self.kind.as_str() == seen.name.kind() && named && told;
        fits.then(|| 1 + usize::from(self.name.is_some()) + self.txt.len())
    }
}

impl fmt::Display for ServiceMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        self.name.as_ref().map_or(Ok(()), |glob| write!(f, " named `{}`", glob.glob()))?;
        self.txt.iter().try_for_each(|(key, glob)| write!(f, ", {key}={}", glob.glob()))
    }
}

impl DiscoveredMatch {
    /// How closely it fits: by so many things; `None` where it does not.
    pub(super) fn fits(&self, protocol: &str, properties: &BTreeMap<String, String>) -> Option<usize> {
        let told =
            self.properties.iter().all(|(key, glob)| properties.get(key).is_some_and(|value| glob.is_match(value)));
        (self.protocol == protocol && told).then_some(1 + self.properties.len())
    }
}

impl fmt::Display for DiscoveredMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        self.properties.iter().try_for_each(|(key, glob)| write!(f, ", {key}={}", glob.glob()))
    }
}

impl BleMatch {
    /// Whether it asks for anything at all.
    pub(super) fn is_empty(&self) -> bool {
        self.name.is_none() && self.service.is_none() && self.manufacturer.is_none()
    }

    /// How closely an advertisement fits: by so many things; `None` where it does not.
    pub(super) fn fits(&self, seen: &BleSeen) -> Option<usize> {
        let named = self.name.as_ref().map(|glob| seen.name.as_ref().is_some_and(|name| glob.is_match(name.as_str())));
        let serves =
            self.service.as_ref().map(|Uuid(uuid)| seen.services.contains(uuid) || seen.data_of.contains(uuid));
        let made = self.manufacturer.map(|company| seen.manufacturers.contains(&company));
        let asked: Vec<bool> = [named, serves, made].into_iter().flatten().collect();
        (!asked.is_empty() && asked.iter().all(|fits| *fits)).then_some(asked.len())
    }
}

impl fmt::Display for BleMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_ref().map(|glob| format!("the name `{}`", glob.glob()));
        let service = self.service.as_ref().map(|Uuid(uuid)| format!("the service {uuid}"));
        let company = self.manufacturer.map(|company| format!("data of the company {company:04x}"));
        let parts: Vec<String> = [name, service, company].into_iter().flatten().collect();
        f.write_str(&parts.join(" and "))
    }
}

impl<'de> Deserialize<'de> for Uuid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        uuid(&text).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is no UUID: expected four or eight hex digits, or one in full"))
        })
    }
}

fn uuid(text: &str) -> Option<Uuid> {
    let small = text.to_ascii_lowercase();
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    match small.len() {
        4 if hex(&small) => Some(Uuid(format!("0000{small}{BASE_UUID}"))),
        8 if hex(&small) => Some(Uuid(format!("{small}{BASE_UUID}"))),
        _ => uuid::Uuid::try_parse(&small).ok().map(|uuid| Uuid(uuid.hyphenated().to_string())),
    }
}

impl Uuid {
    /// In full, in small letters.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Facts {
    fn all(&self) -> impl Iterator<Item = &Source> {
        let named = [&self.mac, &self.version, &self.manufacturer, &self.model, &self.serial_number];
        named.into_iter().chain([&self.hardware_version, &self.bearer, &self.signal]).flatten()
    }

    /// Whether the MAC address stands in an answer.
    pub(super) fn mac_is_asked(&self) -> bool {
        let asked = |place: &Place| matches!(place, Place::Gatt(_) | Place::Http(_) | Place::Api(_) | Place::Smp(_));
        self.mac.iter().any(|source| asked(&source.place))
    }

    /// Whether any fact stands in what an ESPHome device tells of itself.
    pub(super) fn api_is_asked(&self) -> bool {
        self.all().any(|source| matches!(source.place, Place::Api(_)))
    }

    /// Whether any fact stands in an SMP server's answer.
    pub(super) fn smp_is_asked(&self) -> bool {
        self.all().any(|source| matches!(source.place, Place::Smp(_)))
    }

    /// The characteristics that facts stand in.
    pub(super) fn characteristics(&self) -> Vec<String> {
        self.keys(|place| match place {
            Place::Gatt(uuid) => Some(&uuid.0),
            _ => None,
        })
    }

    /// The places in an HTTP answer that facts stand in.
    pub(super) fn pointers(&self) -> Vec<String> {
        self.keys(|place| match place {
            Place::Http(pointer) => Some(pointer),
            _ => None,
        })
    }

    /// What some places are called, each once.
    fn keys(&self, key: impl Fn(&Place) -> Option<&String>) -> Vec<String> {
        let keys: BTreeSet<&String> = self.all().filter_map(|source| key(&source.place)).collect();
        keys.into_iter().cloned().collect()
    }
}

impl Source {
    fn read(&self, evidence: &Evidence) -> Option<String> {
        let text = match (&self.place, evidence) {
            (Place::Txt(key), Evidence::Service(seen)) => seen.txt.get(key)?.as_str(),
            (Place::Property(key), Evidence::Discovered { properties, .. }) => properties.get(key)?,
            (Place::Host, Evidence::Service(seen)) => &seen.host,
            (Place::Instance, Evidence::Service(seen)) => seen.name.instance(),
            (Place::Name, Evidence::Ble(seen)) => seen.name.as_deref()?,
            (Place::Gatt(Uuid(key)), Evidence::Gatt { values }) => values.get(key)?,
            (Place::Smp(place), Evidence::Smp { slots, info }) => {
                let runs = slots.iter().find(|slot| slot.active && slot.image == 0);
                match place {
                    SmpPlace::Version => &runs?.version,
                    SmpPlace::Hash => &runs?.hash,
                    SmpPlace::Info => info.as_deref()?,
                }
            }
            (Place::Http(key), Evidence::Http { values }) | (Place::Api(key), Evidence::Esphome { values }) => {
                values.get(key)?
            }
            _ => return None,
        };
        let text = match &self.pattern {
            None => text,
            Some(pattern) => {
                let found = pattern.captures(text)?;
                found.get(1).or_else(|| found.get(0))?.as_str()
            }
        };
        let clean: String = text.chars().filter(|letter| !letter.is_control()).collect();
        let clean = clean.trim();
        (!clean.is_empty() && clean.len() <= MAX_FACT).then(|| clean.to_owned())
    }
}

/// The first of some sources that tells something, and which it was.
pub(super) fn read<'a>(sources: &[Source], evidence: &(impl Iterator<Item = &'a Evidence> + Clone)) -> Option<Fact> {
    let told = |source: &Source| evidence.clone().find_map(|evidence| source.read(evidence));
    sources.iter().find_map(|source| Some((told(source)?, source.to_string())))
}

/// Where it stands, without its pattern.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Txt(key) => write!(f, "mdns-txt {key}"),
            Place::Property(key) => write!(f, "property {key}"),
            Place::Host => f.write_str("mdns-host"),
            Place::Instance => f.write_str("mdns-instance"),
            Place::Name => f.write_str("ble-name"),
            Place::Gatt(Uuid(uuid)) => {
                let short = uuid.strip_suffix(BASE_UUID).map(|short| short.strip_prefix("0000").unwrap_or(short));
                write!(f, "gatt {}", short.unwrap_or(uuid))
            }
            Place::Smp(SmpPlace::Version) => f.write_str("smp version"),
            Place::Smp(SmpPlace::Info) => f.write_str("smp info"),
            Place::Smp(SmpPlace::Hash) => f.write_str("smp hash"),
            Place::Http(pointer) => write!(f, "http {pointer}"),
            Place::Api(name) => write!(f, "api {name}"),
        }
    }
}

fn place(text: &str) -> Option<Place> {
    let named = match text {
        "host" => Place::Host,
        "instance" => Place::Instance,
        "name" => Place::Name,
        "smp:version" => Place::Smp(SmpPlace::Version),
        "smp:info" => Place::Smp(SmpPlace::Info),
        "smp:hash" => Place::Smp(SmpPlace::Hash),
        _ => match text.split_once(':')? {
            (_, "") => return None,
            ("txt", key) => Place::Txt(key.to_ascii_lowercase()),
            ("property", key) => Place::Property(key.to_ascii_lowercase()),
            ("gatt", key) => Place::Gatt(uuid(key)?),
            ("http", pointer) => Place::Http(pointer.to_owned()),
            ("api", name) => Place::Api(name.to_owned()),
            _ => return None,
        },
    };
    Some(named)
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (at, pattern) = match text.split_once('~') {
            Some((at, pattern)) => (at.trim(), Some(pattern.trim())),
            None => (text.trim(), None),
        };
        let place = place(at).ok_or_else(|| {
            de::Error::custom(format!(
                "`{text}` is no source: expected txt:KEY, host or instance (mDNS), name or gatt:UUID (Bluetooth), property:KEY (discovery), smp:version, smp:info or smp:hash, api:NAME (ESPHome), or http:POINTER"
            ))
        })?;
        let compile = |pattern: &str| RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
        let pattern = pattern.map(compile).transpose().map_err(de::Error::custom)?;
        Ok(Self { place, pattern })
    }
}

pub(super) fn some_glob<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<GlobMatcher>, D::Error> {
    let text = String::deserialize(deserializer)?;
    glob(&text).map(Some).map_err(de::Error::custom)
}

fn company<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match u16::from_str_radix(&text, 16) {
        Ok(id) if text.len() == 4 => Ok(Some(id)),
        _ => Err(de::Error::custom(format!(
            "`{text}` is no company identifier: expected four hex digits, e.g. \"0059\""
        ))),
    }
}

fn globs_by_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, GlobMatcher>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    let compile = |(key, text): (&String, &String)| Ok((key.to_ascii_lowercase(), glob(text)?));
    texts.iter().map(compile).collect::<Result<_, globset::Error>>().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{BleAddress, BleAddressKind};

    fn seen(name: &str, txt: &[(&str, &str)]) -> ServiceSeen {
        ServiceSeen {
            name: name.parse().expect("a name"),
            host: "esp32-a1b2c3d4e5f6".to_owned(),
            addresses: Vec::new(),
            port: 1,
            txt: txt.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    fn service(text: &str) -> ServiceMatch {
        toml::from_str(text).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_more_a_match_asks_for_the_closer_it_fits() {
        let shelly = seen("shelly1-A1B2C3._http._tcp", &[("gen", "2")]);
        assert_eq!(service("type = \"_http._tcp\"").fits(&shelly), Some(1));
        assert_eq!(service("type = \"_HTTP._tcp\"\nname = \"shelly*\"\ntxt = { Gen = \"?\" }").fits(&shelly), Some(3));
        assert_eq!(service("type = \"_http._tcp\"\ntxt = { gen = \"3\" }").fits(&shelly), None);
        assert_eq!(service("type = \"_http._tcp\"\ntxt = { app = \"*\" }").fits(&shelly), None);
        assert_eq!(service("type = \"_shelly._tcp\"").fits(&shelly), None);
    }

    #[test]
    fn an_advertisement_fits_by_name_service_and_company() {
        let seen = BleSeen {
            address: BleAddress([0xF0; 6]),
            address_kind: BleAddressKind::Static,
            name: Some("bmbl-0".to_owned()),
            services: BTreeSet::from(["0000180f-0000-1000-8000-00805f9b34fb".to_owned()]),
            manufacturers: BTreeSet::from([0x59]),
            data_of: BTreeSet::from(["0000fcd2-0000-1000-8000-00805f9b34fb".to_owned()]),
            data: BTreeMap::new(),
        };
        for (text, fits) in [
            ("name = \"bmbl-*\"", Some(1)),
            ("name = \"bmbl-*\"\nservice = \"180F\"\nmanufacturer = \"0059\"", Some(3)),
            ("service = \"FCD2\"", Some(1)),
            ("service = \"8D53DC1D-1DB7-4CD3-868B-8A527460AA84\"", None),
            ("manufacturer = \"004c\"", None),
            ("", None),
        ] {
            let one: BleMatch = toml::from_str(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(one.fits(&seen), fits, "{text}");
        }
        for wrong in ["service = \"180\"", "manufacturer = \"59\"", "name = \"[\"", "uuid = \"180f\""] {
            assert!(toml::from_str::<BleMatch>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_first_source_that_tells_something_counts() {
        #[derive(Debug, Deserialize)]
        struct Sources {
            all: Vec<Source>,
        }
        let service = [("fw", " 1.2\u{7}\n"), ("empty", " "), ("long", &"x".repeat(300))];
        let gatt = BTreeMap::from([("00002a26-0000-1000-8000-00805f9b34fb".to_owned(), "4.5".to_owned())]);
        let evidence = [Evidence::Service(seen("kitchen 2._x._tcp", &service)), Evidence::Gatt { values: gatt }];
        let read = |list: &str| {
            let sources: Sources = toml::from_str(&format!("all = {list}")).unwrap_or_else(|error| panic!("{error}"));
            read(&sources.all, &evidence.iter())
        };
        let told = |text: &str, source: &str| Some((text.to_owned(), source.to_owned()));
        assert_eq!(read("['txt:none', 'txt:empty', 'txt:long', 'txt:FW', 'host']"), told("1.2", "mdns-txt fw"));
        assert_eq!(read("['host ~ ^esp32-([0-9a-f]{12})$']"), told("a1b2c3d4e5f6", "mdns-host"));
        assert_eq!(read("['instance ~ \\d+']"), told("2", "mdns-instance"));
        assert_eq!(read("['host ~ ^esp8266-(.*)$', 'name', 'http:a/b', 'gatt:2A26']"), told("4.5", "gatt 2a26"));
        for wrong in ["txt:", "mac", "host ~ (", "gatt:x", "https:a"] {
            assert!(toml::from_str::<Sources>(&format!("all = ['{wrong}']")).is_err(), "{wrong}");
        }
    }
}
