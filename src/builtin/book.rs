//! What clients have told of themselves: what is asked of each, and the last values. Pure; the server's task asks and hands in.

use std::collections::{BTreeMap, BTreeSet};

use lwm2m::model;
use lwm2m::path::Path;
use lwm2m::record::Record;
use lwm2m::server::Registration;
use lwm2m::value::Value;

use crate::device::{BuiltinValue, plain_text};

/// Objects of points that are observed of one client.
const MAX_POINTS: usize = 32;
/// Values that are kept of one client.
const MAX_VALUES: usize = 512;
/// Longest text of a value that is kept, in bytes.
const MAX_TEXT: usize = 1024;
/// The device itself.
const DEVICE: Path = Path::new([3, 0]);
/// Its firmware.
pub(super) const FIRMWARE: Path = Path::new([5, 0]);
/// What stands in for whole instances, at clients that are asked for resources only.
const DEVICE_PARTS: [Path; 4] =
    [Path::new([3, 0, 0]), Path::new([3, 0, 1]), Path::new([3, 0, 2]), Path::new([3, 0, 3])];
const FIRMWARE_PARTS: [Path; 5] =
    [Path::new([5, 0, 1]), Path::new([5, 0, 3]), Path::new([5, 0, 5]), Path::new([5, 0, 6]), Path::new([5, 0, 7])];

/// One client as it is known.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Seconds since 1970 when it registered.
    pub(super) registered: i64,
    observed: BTreeSet<Path>,
    values: BTreeMap<Path, Value>,
}

/// What is to be asked after a Register or an Update, and what no more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) begin: Vec<Path>,
    pub(super) end: Vec<Path>,
}

impl Page {
    /// Of a client that has registered now.
    pub(super) fn new(registered: i64) -> Self {
        Self { registered, ..Self::default() }
    }

    /// Brings what is observed into line with what the client states.
    pub(super) fn follow(&mut self, registration: &Registration) -> Change {
        let wanted = wanted(registration);
        let begin = wanted.difference(&self.observed).copied().collect();
        let end: Vec<Path> = self.observed.difference(&wanted).copied().collect();
        end.iter().for_each(|path| self.forget(*path));
        self.observed = wanted;
        Change { begin, end }
    }

    /// Takes values that came for a path; what stood below it before is gone.
    pub(super) fn take(&mut self, base: Path, records: Vec<Record>) {
        self.forget(base);
        for Record { path, value } in records {
            if self.values.len() < MAX_VALUES {
                self.values.insert(path, shortened(value));
            }
        }
    }

    /// A path is gone.
    pub(super) fn forget(&mut self, base: Path) {
        self.values.retain(|path, _| !path.starts_with(base));
    }

    /// The last value of a resource.
    pub(super) fn value(&self, path: Path) -> Option<&Value> {
        self.values.get(&path)
    }

    /// The last text of a resource.
    pub(super) fn text(&self, path: Path) -> Option<&str> {
        match self.value(path)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// All values, by path.
    pub(super) fn values(&self) -> Vec<BuiltinValue> {
        let shown = |(path, value): (&Path, &Value)| BuiltinValue {
            path: path.to_string(),
            name: name(*path).map(str::to_owned),
            value: shown(value),
        };
        self.values.iter().map(shown).collect()
    }
}

/// The instances that are observed: device, firmware, and points.
fn wanted(registration: &Registration) -> BTreeSet<Path> {
    let stated = registration.stated().into_iter().map(|stated| stated.path).filter(|path| path.depth() == 2);
    let (points, main): (Vec<Path>, Vec<Path>) =
        stated.filter(|path| *path == DEVICE || *path == FIRMWARE || is_point(*path)).partition(|path| is_point(*path));
    main.into_iter().chain(points.into_iter().take(MAX_POINTS)).collect()
}

/// Whether it is, or lies in, an object of a point.
pub(super) fn is_point(path: Path) -> bool {
    path.object().is_some_and(|object| model::IPSO.iter().any(|one| one.id == object))
}

/// What is observed instead, where a client does not tell a whole instance.
pub(super) fn parts(instance: Path) -> &'static [Path] {
    match instance {
        DEVICE => &DEVICE_PARTS,
        FIRMWARE => &FIRMWARE_PARTS,
        _ => &[],
    }
}

fn name(path: Path) -> Option<&'static str> {
    Some(model::object(path.object()?)?.resource(path.resource()?)?.name)
}

fn shortened(value: Value) -> Value {
    match value {
        Value::String(text) if text.len() > MAX_TEXT => {
            Value::String(text[..text.floor_char_boundary(MAX_TEXT)].to_owned())
        }
        Value::CoreLink(text) if text.len() > MAX_TEXT => {
            Value::CoreLink(text[..text.floor_char_boundary(MAX_TEXT)].to_owned())
        }
        Value::Opaque(mut bytes) => {
            bytes.truncate(MAX_TEXT);
            Value::Opaque(bytes)
        }
        value => value,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) | Value::CoreLink(text) => plain_text(text, MAX_TEXT),
        Value::Integer(number) | Value::Time(number) => number.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
        Value::Opaque(bytes) => bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")),
        Value::ObjectLink(object, instance) => format!("{object}:{instance}"),
    }
}
