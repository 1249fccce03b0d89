//! What SenML (RFC 8428) means, whether it comes as JSON or as CBOR: base names, names, one value per record.
//!
//! Times, units and sums are read over: LwM2M has no use for them in what it writes to a client. A base value other than
//! zero would change a value, so it is refused, like labels that must be understood (ending in `_`).

use super::number::Raw;
use super::{DecodeError, EncodeError, Kinds, MAX_NAME, MAX_RECORDS, check_records, kind_of};
use crate::path::Path;
use crate::record::Record;

/// One record as it stands in the payload.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// `bn`: the base name from here on.
    pub(super) base_name: Option<String>,
    /// `n`: appended to the base name.
    pub(super) name: Option<String>,
    /// The value, whichever label carried it.
    pub(super) value: Option<Raw>,
}

impl Entry {
    /// Sets the base name, once.
    pub(super) fn set_base_name(&mut self, text: String) -> Result<(), DecodeError> {
        set_once(&mut self.base_name, text)
    }

    /// Sets the name, once.
    pub(super) fn set_name(&mut self, text: String) -> Result<(), DecodeError> {
        set_once(&mut self.name, text)
    }

    /// Sets the value, once.
    pub(super) fn set_value(&mut self, raw: Raw) -> Result<(), DecodeError> {
        set_once(&mut self.value, raw)
    }
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Result<(), DecodeError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(DecodeError::Malformed("a SenML record has a label or a value twice")),
    }
}

/// Refuses a label that changes the meaning of the record in a way not known here (RFC 8428 §4.4).
pub(super) fn check_unknown_label(label: &str) -> Result<(), DecodeError> {
    if label.ends_with('_') {
        return Err(DecodeError::Malformed("a SenML label that must be understood is not"));
    }
    Ok(())
}

/// Refuses a base value that would change values.
pub(super) fn check_base_value(raw: &Raw) -> Result<(), DecodeError> {
    match raw {
        Raw::Integer(0) => Ok(()),
        Raw::Float(number) if *number == 0.0 => Ok(()),
        _ => Err(DecodeError::Malformed("a SenML base value is not supported")),
    }
}

/// The records that the entries mean; each value is checked against its resource's type.
pub(super) fn to_records(base: Path, entries: Vec<Entry>, kinds: Kinds<'_>) -> Result<Vec<Record>, DecodeError> {
    let paths = to_paths(&entries)?;
    let values = entries.into_iter().map(|entry| entry.value);
    paths.into_iter().zip(values).map(|(path, value)| to_record(base, path, value, kinds)).collect()
}

/// The same without those that are not known, or not of their type.
pub(super) fn to_known_records(base: Path, entries: Vec<Entry>, kinds: Kinds<'_>) -> Result<Vec<Record>, DecodeError> {
    let paths = to_paths(&entries)?;
    let values = entries.into_iter().map(|entry| entry.value);
    let records = paths.into_iter().zip(values).map(|(path, value)| to_record(base, path, value, kinds));
    records.filter(|record| !record.as_ref().is_err_and(DecodeError::is_of_a_value)).collect()
}

fn to_record(base: Path, path: Path, value: Option<Raw>, kinds: Kinds<'_>) -> Result<Record, DecodeError> {
    let raw = value.ok_or(DecodeError::Malformed("a SenML record has no value"))?;
    if !path.starts_with(base) {
        return Err(DecodeError::OutsideBase(path));
    }
    if path.resource().is_none() {
        return Err(DecodeError::Malformed("a SenML value stands at no resource"));
    }
    let expected = kind_of(path, kinds)?;
    let value = raw.into_value(expected).ok_or(DecodeError::WrongKind { path, expected })?;
    Ok(Record { path, value })
}

/// The paths that the entries of a composite read name.
pub(super) fn to_paths(entries: &[Entry]) -> Result<Vec<Path>, DecodeError> {
    let mut names = Names::default();
    entries.iter().map(|entry| names.path(entry)).collect()
}

/// The base name in force (RFC 8428 §4.6).
#[derive(Default)]
struct Names<'e> {
    base: &'e str,
}

impl<'e> Names<'e> {
    /// The path of the next entry: base name and name, put together as text (`/1/1` + `/0`, `/1/1/` + `0`). One slash at
    /// the end is read over.
    fn path(&mut self, entry: &'e Entry) -> Result<Path, DecodeError> {
        if let Some(base) = &entry.base_name {
            self.base = base;
        }
        let name = entry.name.as_deref().unwrap_or_default();
        if self.base.len() + name.len() > MAX_NAME {
            return Err(DecodeError::TooMuch);
        }
        let full = format!("{}{name}", self.base);
        let trimmed = if full.len() > 1 { full.strip_suffix('/').unwrap_or(&full) } else { &full };
        trimmed.parse().map_err(|_| DecodeError::Malformed("a SenML name is no path"))
    }
}

/// The names of one record for writing, each left out where it says nothing.
#[derive(Debug, Default)]
pub(super) struct Labels {
    /// `bn`
    pub(super) base_name: Option<String>,
    /// `n`
    pub(super) name: Option<String>,
}

/// Names for writing: the base as base name of the first record, the rest as name; full names below the root.
pub(super) fn labels(base: Path, records: &[Record]) -> Result<Vec<Labels>, EncodeError> {
    check_records(base, records)?;
    let base_name = if base == Path::ROOT { String::new() } else { base.to_string() };
    let labels_of = |(at, record): (usize, &Record)| {
        let name = record.path.to_string().split_off(base_name.len());
        let first = at == 0 && !base_name.is_empty();
        Labels { base_name: first.then(|| base_name.clone()), name: (!name.is_empty()).then_some(name) }
    };
    Ok(records.iter().enumerate().map(labels_of).collect())
}

/// Refuses more records than a payload may hold.
pub(super) fn check_count(count: usize) -> Result<(), DecodeError> {
    if count > MAX_RECORDS { Err(DecodeError::TooMuch) } else { Ok(()) }
}
