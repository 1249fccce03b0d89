//! SenML CBOR (112): records of any level, and the names of composite reads.
//!
//! Labels are integers (RFC 8428 §6) save LwM2M's own `vlo` for object links. Arrays and maps of unknown length are read,
//! strings of unknown length are not.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use super::cbor_item::{Writer, done, read_number, read_text, truncated, write_value};
use super::number::Raw;
use super::senml::{self, Entry};
use super::{DecodeError, EncodeError, Kinds};
use crate::path::Path;
use crate::record::Record;
use crate::value::Value;

const BASE_NAME: i64 = -2;
const BASE_VALUE: i64 = -5;
const NAME: i64 = 0;
const NUMBER: i64 = 2;
const STRING: i64 = 3;
const BOOLEAN: i64 = 4;
const DATA: i64 = 8;
const OBJECT_LINK: &str = "vlo";

/// Most labels that one record may have.
const MAX_LABELS: usize = 32;

/// Writes records: `base` as base name, or full names when it is the root.
///
/// # Errors
/// [`EncodeError::OutsideBase`].
pub fn encode(base: Path, records: &[Record]) -> Result<Vec<u8>, EncodeError> {
    let mut writer = Encoder::new(Vec::new());
    done(writer.array(records.len() as u64));
    for (record, labels) in records.iter().zip(senml::labels(base, records)?) {
        let names = u64::from(labels.base_name.is_some()) + u64::from(labels.name.is_some());
        done(writer.map(names + 1));
        write_label(&mut writer, BASE_NAME, labels.base_name.as_deref());
        write_label(&mut writer, NAME, labels.name.as_deref());
        write_labelled_value(&mut writer, &record.value);
    }
    Ok(writer.into_writer())
}

fn write_label(writer: &mut Writer, label: i64, text: Option<&str>) {
    if let Some(text) = text {
        done(writer.i64(label).and_then(|writer| writer.str(text)));
    }
}

fn write_labelled_value(writer: &mut Writer, value: &Value) {
    done(match value {
        Value::Integer(_) | Value::Unsigned(_) | Value::Float(_) | Value::Time(_) => writer.i64(NUMBER),
        Value::String(_) | Value::CoreLink(_) => writer.i64(STRING),
        Value::Boolean(_) => writer.i64(BOOLEAN),
        Value::Opaque(_) => writer.i64(DATA),
        Value::ObjectLink(..) => writer.str(OBJECT_LINK),
    });
    write_value(writer, value);
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
    let mut writer = Encoder::new(Vec::new());
    done(writer.array(paths.len() as u64));
    for path in paths {
        done(writer.map(1));
        write_label(&mut writer, NAME, Some(&path.to_string()));
    }
    writer.into_writer()
}

/// Reads the names of a composite read; values beside them are read over.
///
/// # Errors
/// [`DecodeError::Malformed`] and [`DecodeError::TooMuch`].
pub fn decode_paths(bytes: &[u8]) -> Result<Vec<Path>, DecodeError> {
    senml::to_paths(&read_entries(bytes)?)
}

fn read_entries(bytes: &[u8]) -> Result<Vec<Entry>, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let mut entries = Vec::new();
    let announced = decoder.array().map_err(truncated)?;
    while more(&mut decoder, announced, entries.len())? {
        senml::check_count(entries.len() + 1)?;
        entries.push(read_entry(&mut decoder)?);
    }
    if decoder.position() != bytes.len() {
        return Err(DecodeError::Malformed("bytes behind the SenML array"));
    }
    Ok(entries)
}

/// Whether another item of an array or a map follows; takes the break that ends one of unknown length.
fn more(decoder: &mut Decoder<'_>, announced: Option<u64>, seen: usize) -> Result<bool, DecodeError> {
    if let Some(announced) = announced {
        return Ok((seen as u64) < announced);
    }
    if decoder.datatype().map_err(truncated)? != Type::Break {
        return Ok(true);
    }
    decoder.set_position(decoder.position() + 1);
    Ok(false)
}

fn read_entry(decoder: &mut Decoder<'_>) -> Result<Entry, DecodeError> {
    let mut entry = Entry::default();
    let announced = decoder.map().map_err(truncated)?;
    let mut labels = 0;
    while more(decoder, announced, labels)? {
        labels += 1;
        if labels > MAX_LABELS {
            return Err(DecodeError::TooMuch);
        }
        read_label(decoder, &mut entry)?;
    }
    Ok(entry)
}

fn read_label(decoder: &mut Decoder<'_>, entry: &mut Entry) -> Result<(), DecodeError> {
    if decoder.datatype().map_err(truncated)? == Type::String {
        return read_text_label(decoder, entry);
    }
    match decoder.i64().map_err(truncated)? {
        BASE_NAME => entry.set_base_name(read_text(decoder)?.to_owned()),
        NAME => entry.set_name(read_text(decoder)?.to_owned()),
        NUMBER => entry.set_value(read_number(decoder)?),
        STRING => entry.set_value(Raw::Text(read_text(decoder)?.to_owned())),
        BOOLEAN => entry.set_value(Raw::Boolean(decoder.bool().map_err(truncated)?)),
        DATA => entry.set_value(Raw::Bytes(decoder.bytes().map_err(truncated)?.to_vec())),
        BASE_VALUE => senml::check_base_value(&read_number(decoder)?),
        _ => skip(decoder),
    }
}

fn read_text_label(decoder: &mut Decoder<'_>, entry: &mut Entry) -> Result<(), DecodeError> {
    let label = read_text(decoder)?;
    if label == OBJECT_LINK {
        return entry.set_value(Raw::Link(read_text(decoder)?.to_owned()));
    }
    senml::check_unknown_label(label)?;
    skip(decoder)
}

/// Reads over one value of any shape, without recursion.
fn skip(decoder: &mut Decoder<'_>) -> Result<(), DecodeError> {
    match decoder.datatype().map_err(truncated)? {
        Type::Break => Err(DecodeError::Malformed("a SenML label has no value")),
        _ => decoder.skip().map_err(truncated),
    }
}
