//! SenML JSON (110): records of any level, and the names of composite reads.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::Number;

use super::base64::{self, Dialect};
use super::number::{Raw, write_link};
use super::senml::{self, Entry, Labels};
use super::{DecodeError, EncodeError, Kinds, MAX_RECORDS};
use crate::path::Path;
use crate::record::Record;
use crate::value::Value;

/// Writes records: `base` as base name, or full names when it is the root.
///
/// # Errors
/// [`EncodeError::OutsideBase`], and [`EncodeError::Unsupported`] for a float that is no number.
pub fn encode(base: Path, records: &[Record]) -> Result<Vec<u8>, EncodeError> {
    let labels = senml::labels(base, records)?;
    if records.iter().any(|record| matches!(record.value, Value::Float(number) if !number.is_finite())) {
        return Err(EncodeError::Unsupported);
    }
    Ok(to_json(&records.iter().zip(labels).map(object).collect::<Vec<_>>()))
}

/// Reads records below `base`.
///
/// # Errors
/// Every variant of [`DecodeError`] but [`DecodeError::Unsupported`].
pub fn decode(base: Path, bytes: &[u8], kinds: Kinds<'_>) -> Result<Vec<Record>, DecodeError> {
    senml::to_records(base, read_entries(bytes)?, kinds)
}

/// Reads the records below `base` that are known to the models.
///
/// # Errors
/// As [`decode`], but for what concerns one value.
pub fn decode_known(base: Path, bytes: &[u8], kinds: Kinds<'_>) -> Result<Vec<Record>, DecodeError> {
    senml::to_known_records(base, read_entries(bytes)?, kinds)
}

/// Writes names without values: the payload of a composite read.
pub fn encode_paths(paths: &[Path]) -> Vec<u8> {
    let object = |path: &Path| Object { n: Some(path.to_string()), ..Object::default() };
    to_json(&paths.iter().map(object).collect::<Vec<_>>())
}

/// Reads the names of a composite read; values beside them are read over.
///
/// # Errors
/// [`DecodeError::Malformed`] and [`DecodeError::TooMuch`].
pub fn decode_paths(bytes: &[u8]) -> Result<Vec<Path>, DecodeError> {
    senml::to_paths(&read_entries(bytes)?)
}

/// One record for writing, its labels in the order of the vectors.
#[derive(Default, Serialize)]
struct Object<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    bn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(flatten)]
    value: Option<Labelled<'r>>,
}

/// A value under its label.
struct Labelled<'r>(&'r Value);

impl Serialize for Labelled<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Integer(number) | Value::Time(number) => pair(serializer, "v", number),
            Value::Unsigned(number) => pair(serializer, "v", number),
            Value::Float(number) => pair(serializer, "v", number),
            Value::String(text) | Value::CoreLink(text) => pair(serializer, "vs", text),
            Value::Boolean(value) => pair(serializer, "vb", value),
            Value::Opaque(bytes) => pair(serializer, "vd", &base64::encode(Dialect::Url, bytes)),
            Value::ObjectLink(object, instance) => pair(serializer, "vlo", &write_link(*object, *instance)),
        }
    }
}

fn pair<S: Serializer, T: Serialize>(serializer: S, label: &str, value: &T) -> Result<S::Ok, S::Error> {
    serializer.collect_map([(label, value)])
}

fn object((record, labels): (&Record, Labels)) -> Object<'_> {
    Object { bn: labels.base_name, n: labels.name, value: Some(Labelled(&record.value)) }
}

fn to_json(objects: &[Object<'_>]) -> Vec<u8> {
    serde_json::to_vec(objects).expect("texts and finite numbers can be written as JSON")
}

fn read_entries(bytes: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    let Entries(read) = serde_json::from_slice(bytes).map_err(|_| DecodeError::Malformed("no SenML JSON"))?;
    senml::check_count(read.len())?;
    read.into_iter().map(|ReadEntry(entry)| entry).collect()
}

/// The array of a payload; beyond the bound one record more is kept, the rest is read over.
struct Entries(Vec<ReadEntry>);

/// A record, or what is wrong with its labels.
struct ReadEntry(Result<Entry, DecodeError>);

struct EntriesVisitor;
struct EntryVisitor;

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EntriesVisitor)
    }
}

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while entries.len() <= MAX_RECORDS {
            match array.next_element()? {
                Some(entry) => entries.push(entry),
                None => return Ok(Entries(entries)),
            }
        }
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Entries(entries))
    }
}

impl<'de> Deserialize<'de> for ReadEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = ReadEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ReadEntry, A::Error> {
        let mut entry = Entry::default();
        let mut outcome = Ok(());
        while let Some(label) = map.next_key::<String>()? {
            let step = read_label(&label, &mut map, &mut entry)?;
            outcome = outcome.and(step);
        }
        Ok(ReadEntry(outcome.map(|()| entry)))
    }
}

/// Takes the value of one label; the outer error is JSON's, the inner one SenML's.
fn read_label<'de, A: MapAccess<'de>>(
    label: &str,
    map: &mut A,
    entry: &mut Entry,
) -> Result<Result<(), DecodeError>, A::Error> {
    Ok(match label {
        "bn" => entry.set_base_name(map.next_value()?),
        "n" => entry.set_name(map.next_value()?),
        "v" => entry.set_value(number(&map.next_value()?)),
        "vs" => entry.set_value(Raw::Text(map.next_value()?)),
        "vb" => entry.set_value(Raw::Boolean(map.next_value()?)),
        "vd" => data(&map.next_value::<String>()?).and_then(|raw| entry.set_value(raw)),
        "vlo" => entry.set_value(Raw::Link(map.next_value()?)),
        "bv" => senml::check_base_value(&number(&map.next_value()?)),
        _ => map.next_value::<IgnoredAny>().map(|_| senml::check_unknown_label(label))?,
    })
}

fn data(text: &str) -> Result<Raw, DecodeError> {
    let bytes = base64::decode(Dialect::Url, text.as_bytes());
    bytes.map(Raw::Bytes).ok_or(DecodeError::Malformed("a SenML data value is no URL-safe Base64"))
}

fn number(number: &Number) -> Raw {
    let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    whole.map_or_else(|| Raw::Float(number.as_f64().unwrap_or(f64::NAN)), Raw::Integer)
}
