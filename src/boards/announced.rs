//! What devices announce of themselves: which announcement is which board's, and where its facts stand in it.

use std::collections::BTreeMap;
use std::fmt;

use globset::GlobMatcher;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::file::glob;
use crate::device::{ServiceSeen, ServiceType};

/// Largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 18;
/// Longest fact, in bytes: no TXT value is longer (RFC 6763, 6.1).
const MAX_FACT: usize = 255;

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

/// Where a board's facts stand in what it announces; the first source that tells something counts.
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
}

/// One place in an announcement: `txt:KEY`, `host` or `instance`; with ` ~ PATTERN` only what its first group matches.
#[derive(Debug, Clone)]
pub(super) struct Source {
    place: Place,
    pattern: Option<Regex>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Txt(String),
    Host,
    Instance,
}

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

impl Source {
    fn read(&self, seen: &ServiceSeen) -> Option<String> {
        let text = match &self.place {
            Place::Txt(key) => seen.txt.get(key)?.as_str(),
            Place::Host => &seen.host,
            Place::Instance => seen.name.instance(),
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
pub(super) fn read(sources: &[Source], seen: &ServiceSeen) -> Option<(String, String)> {
    sources.iter().find_map(|source| Some((source.read(seen)?, source.to_string())))
}

/// Where it stands, without its pattern.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Txt(key) => write!(f, "mdns-txt {key}"),
            Place::Host => f.write_str("mdns-host"),
            Place::Instance => f.write_str("mdns-instance"),
        }
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (place, pattern) = match text.split_once('~') {
            Some((place, pattern)) => (place.trim(), Some(pattern.trim())),
            None => (text.trim(), None),
        };
        let place = match place {
            "host" => Place::Host,
            "instance" => Place::Instance,
            _ => match place.strip_prefix("txt:").filter(|key| !key.is_empty()) {
                Some(key) => Place::Txt(key.to_ascii_lowercase()),
                None => {
                    return Err(de::Error::custom(format!(
                        "`{text}` is no source: expected txt:KEY, host or instance"
                    )));
                }
            },
        };
        let compile = |pattern: &str| RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
        let pattern = pattern.map(compile).transpose().map_err(de::Error::custom)?;
        Ok(Self { place, pattern })
    }
}

fn some_glob<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<GlobMatcher>, D::Error> {
    let text = String::deserialize(deserializer)?;
    glob(&text).map(Some).map_err(de::Error::custom)
}

fn globs_by_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, GlobMatcher>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    let compile = |(key, text): (&String, &String)| Ok((key.to_ascii_lowercase(), glob(text)?));
    texts.iter().map(compile).collect::<Result<_, globset::Error>>().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_first_source_that_tells_something_counts() {
        #[derive(Deserialize)]
        struct Sources {
            all: Vec<Source>,
        }
        let read = |list: &str| {
            let sources: Sources = toml::from_str(&format!("all = {list}")).unwrap_or_else(|error| panic!("{error}"));
            read(
                &sources.all,
                &seen("kitchen 2._x._tcp", &[("fw", " 1.2\u{7}\n"), ("empty", " "), ("long", &"x".repeat(300))]),
            )
        };
        let told = |text: &str, source: &str| Some((text.to_owned(), source.to_owned()));
        assert_eq!(read("['txt:none', 'txt:empty', 'txt:long', 'txt:FW', 'host']"), told("1.2", "mdns-txt fw"));
        assert_eq!(read("['host ~ ^esp32-([0-9a-f]{12})$']"), told("a1b2c3d4e5f6", "mdns-host"));
        assert_eq!(read("['instance ~ \\d+']"), told("2", "mdns-instance"));
        assert_eq!(read("['host ~ ^esp8266-(.*)$']"), None);
        for wrong in ["txt:", "mac", "host ~ ("] {
            assert!(toml::from_str::<Sources>(&format!("all = ['{wrong}']")).is_err(), "{wrong}");
        }
    }
}
