//! From TOML tables to the modules' Settings types: sections merged over the defaults, and as many wrong keys found as
//! there are, not just the first.
//!
//! A unit (a section, one `[[server]]`, one `[[device]]`) is read by serde again and again: each time it fails, the
//! offending key is told and taken out, until the rest is right. All spans are of the user's text, since the
//! defaults themselves never fail.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::boards::{DeviceEntry, JoinSettings, NamingSettings};
use crate::builtin::BuiltinSettings;
use crate::device::FileError;
use crate::executors::ExecutorSettings;
use crate::hooks::HookSettings;
use crate::mqtt::MqttSettings;
use crate::proxy::ServerSettings;
use crate::store::HistorySettings;
use crate::transports::{
    BleSettings, DiscoverySettings, DiskSettings, EsphomeSettings, MdnsSettings, SerialSettings, TcpSettings,
};
use crate::update::{DownloadSettings, UpdateSettings};
use crate::web::WebSettings;

use super::hints;
use super::source::Source;

const SECTIONS: [&str; 20] = [
    "gateway",
    "server",
    "builtin_server",
    "device",
    "discovery",
    "hook",
    "naming",
    "join",
    "serial",
    "disk",
    "tcp",
    "mdns",
    "ble",
    "esphome",
    "update",
    "download",
    "history",
    "web",
    "mqtt",
    "executors",
];

/// So many wrong keys are told of one unit.
const MAX_ROUNDS: usize = 16;

/// `[gateway]` as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGateway {
    pub(super) name: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) state: Option<PathBuf>,
    pub(super) socket: Option<PathBuf>,
    pub(super) log: Option<String>,
}

/// What could be read; `None` for a section that is wrong, an entry that is wrong left out. Entries carry their number
/// in the file.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) gateway: Option<RawGateway>,
    pub(super) servers: Vec<(usize, ServerSettings)>,
    pub(super) builtin: Option<BuiltinSettings>,
    pub(super) devices: Vec<(usize, DeviceEntry)>,
    pub(super) discoveries: Vec<(usize, DiscoverySettings)>,
    pub(super) hooks: Vec<(usize, HookSettings)>,
    pub(super) naming: Option<NamingSettings>,
    pub(super) join: Option<JoinSettings>,
    pub(super) serial: Option<SerialSettings>,
    pub(super) disk: Option<DiskSettings>,
    pub(super) tcp: Option<TcpSettings>,
    pub(super) mdns: Option<MdnsSettings>,
    pub(super) ble: Option<BleSettings>,
    pub(super) esphome: Option<EsphomeSettings>,
    pub(super) update: Option<UpdateSettings>,
    pub(super) download: Option<DownloadSettings>,
    pub(super) history: Option<HistorySettings>,
    pub(super) web: Option<WebSettings>,
    pub(super) mqtt: Option<MqttSettings>,
    pub(super) executors: Option<ExecutorSettings>,
}

/// Reads the user's table over the defaults, adding what is wrong to `problems`.
pub(super) fn read(
    defaults: &DeTable<'_>,
    mut user: DeTable<'_>,
    source: &Source,
    problems: &mut Vec<FileError>,
) -> Raw {
    let mut reader = Reader { source, problems };
    reader.refuse_unknown_sections(&user);
    Raw {
        gateway: reader.section("gateway", defaults, &mut user),
        servers: reader.entries("server", user.remove("server")),
        builtin: reader.section("builtin_server", defaults, &mut user),
        devices: reader.entries("device", user.remove("device")),
        discoveries: reader.entries("discovery", user.remove("discovery")),
        hooks: reader.entries("hook", user.remove("hook")),
        naming: reader.section("naming", defaults, &mut user),
        join: reader.section("join", defaults, &mut user),
        serial: reader.section("serial", defaults, &mut user),
        disk: reader.section("disk", defaults, &mut user),
        tcp: reader.section("tcp", defaults, &mut user),
        mdns: reader.section("mdns", defaults, &mut user),
        ble: reader.section("ble", defaults, &mut user),
        esphome: reader.section("esphome", defaults, &mut user),
        update: reader.section("update", defaults, &mut user),
        download: reader.section("download", defaults, &mut user),
        history: reader.section("history", defaults, &mut user),
        web: reader.section("web", defaults, &mut user),
        mqtt: reader.section("mqtt", defaults, &mut user),
        executors: reader.section("executors", defaults, &mut user),
    }
}

struct Reader<'s> {
    source: &'s Source,
    problems: &'s mut Vec<FileError>,
}

impl Reader<'_> {
    fn refuse_unknown_sections(&mut self, user: &DeTable<'_>) {
        for (key, _) in user.iter().filter(|(key, _)| !SECTIONS.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref();
            let error = self.source.error_in(key.span(), format!("unknown section or key `{name}`"));
            let hint = hints::nearest(name, &SECTIONS).map_or_else(
                || format!("there are: {}", SECTIONS.join(", ")),
                |near| format!("did you mean `{near}`?"),
            );
            self.problems.push(error.with_hint(hint));
        }
    }

    /// A section, the user's keys over the default's.
    fn section<T: DeserializeOwned>(
        &mut self,
        name: &str,
        defaults: &DeTable<'_>,
        user: &mut DeTable<'_>,
    ) -> Option<T> {
        let default = defaults.get(name).and_then(|value| value.get_ref().as_table().cloned()).unwrap_or_default();
        let Some(written) = user.remove(name) else { return self.unit(0..0, default.clone(), &default) };
        let span = written.span();
        match written.into_inner() {
            DeValue::Table(table) => self.unit(span, merge(default.clone(), table), &default),
            other => {
                let message = format!("expected a section `[{name}]`, found {}", kind(&other));
                self.problems.push(self.source.error_in(span, message));
                None
            }
        }
    }

    /// The entries of an array of tables.
    fn entries<T: DeserializeOwned>(&mut self, name: &str, written: Option<Spanned<DeValue<'_>>>) -> Vec<(usize, T)> {
        let Some(written) = written else { return Vec::new() };
        let span = written.span();
        let DeValue::Array(array) = written.into_inner() else {
            let message = format!("there can be several of them: expected `[[{name}]]`");
            self.problems.push(self.source.error_in(span, message).with_hint("write it in double brackets"));
            return Vec::new();
        };
        let numbered = array.into_iter().enumerate();
        numbered.filter_map(|(number, entry)| Some((number, self.entry(name, entry)?))).collect()
    }

    fn entry<T: DeserializeOwned>(&mut self, name: &str, entry: Spanned<DeValue<'_>>) -> Option<T> {
        let span = entry.span();
        match entry.into_inner() {
            DeValue::Table(table) => self.unit(span, table, &DeTable::new()),
            other => {
                let message = format!("expected the keys of a {name}, found {}", kind(&other));
                self.problems.push(self.source.error_in(span, message));
                None
            }
        }
    }

    /// Reads one unit, taking out what is wrong until the rest is right.
    fn unit<'t, T: DeserializeOwned>(
        &mut self,
        span: std::ops::Range<usize>,
        mut table: DeTable<'t>,
        default: &DeTable<'t>,
    ) -> Option<T> {
        let mut taken = HashSet::new();
        for _ in 0..MAX_ROUNDS {
            let whole = Spanned::new(span.clone(), DeValue::Table(table.clone()));
            let error = match T::deserialize(toml::de::ValueDeserializer::from(whole)) {
                Ok(value) => return taken.is_empty().then_some(value),
                Err(error) => error,
            };
            let at = error.span().unwrap_or_else(|| span.clone());
            if let Some(missing) = hints::missing_field(error.message()) {
                if !taken.contains(missing) {
                    self.problems.push(hints::explain(self.source.error_in(span, String::new()), error.message()));
                }
                return None;
            }
            self.problems.push(hints::explain(self.source.error_in(at.clone(), String::new()), error.message()));
            let culprit = table.iter().find(|(key, value)| holds(&key.span(), &at) || holds(&value.span(), &at));
            let name = culprit.map(|(key, _)| key.get_ref().to_string())?;
            table.remove(name.as_str());
            if let Some((key, value)) = default.get_key_value(name.as_str()) {
                table.insert(key.clone(), value.clone());
            }
            taken.insert(name);
        }
        None
    }
}

fn holds(outer: &std::ops::Range<usize>, inner: &std::ops::Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// `over` laid over `base`, tables inside likewise.
fn merge<'t>(mut base: DeTable<'t>, over: DeTable<'t>) -> DeTable<'t> {
    for (key, value) in over {
        let below = base.remove(key.get_ref().as_ref()).map(Spanned::into_inner);
        let span = value.span();
        let merged = match (below, value.into_inner()) {
            (Some(DeValue::Table(below)), DeValue::Table(above)) => DeValue::Table(merge(below, above)),
            (_, other) => other,
        };
        base.insert(key, Spanned::new(span, merged));
    }
    base
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
