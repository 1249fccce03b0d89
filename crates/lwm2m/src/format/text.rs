//! text/plain (0): one value of one resource or resource instance.
//!
//! Booleans are `0` and `1`, opaques standard Base64 with padding, object links `oid:iid` (lwm2m.md 5.6, 5.7).

use super::base64::{self, Dialect};
use super::number::{parse_link, write_link};
use super::{DecodeError, EncodeError, Kinds, single, single_kind};
use crate::path::Path;
use crate::record::Record;
use crate::value::{Kind, Value};

/// Writes the value of the one record, which lies at `base` itself.
///
/// # Errors
/// [`EncodeError::NotSingle`] for anything but one record at `base`; [`EncodeError::Unsupported`] for a float that is no
/// number.
pub fn encode(base: Path, records: &[Record]) -> Result<Vec<u8>, EncodeError> {
    let text = match single(base, records)? {
        Value::String(text) | Value::CoreLink(text) => text.clone(),
        Value::Integer(number) | Value::Time(number) => number.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Float(number) if number.is_finite() => number.to_string(),
        Value::Float(_) => return Err(EncodeError::Unsupported),
        Value::Boolean(value) => u8::from(*value).to_string(),
        Value::Opaque(bytes) => base64::encode(Dialect::Standard, bytes),
        Value::ObjectLink(object, instance) => write_link(*object, *instance),
    };
    Ok(text.into_bytes())
}

/// Reads the value of the resource or resource instance at `base`.
///
/// # Errors
/// [`DecodeError::WrongKind`] for text that is no value of the resource's type, [`DecodeError::Unsupported`] for a base
/// above resources.
pub fn decode(base: Path, bytes: &[u8], kinds: Kinds<'_>) -> Result<Vec<Record>, DecodeError> {
    let kind = single_kind(base, kinds)?;
    let value = std::str::from_utf8(bytes).ok().and_then(|text| parse(text, kind));
    let value = value.ok_or(DecodeError::WrongKind { path: base, expected: kind })?;
    Ok(vec![Record::new(base, value)])
}

fn parse(text: &str, kind: Kind) -> Option<Value> {
    match kind {
        Kind::String => Some(Value::String(text.to_owned())),
        Kind::CoreLink => Some(Value::CoreLink(text.to_owned())),
        Kind::Integer => text.parse().ok().map(Value::Integer),
        Kind::Unsigned => text.parse().ok().map(Value::Unsigned),
        Kind::Time => text.parse().ok().map(Value::Time),
        Kind::Float => parse_decimal(text).map(Value::Float),
        Kind::Boolean => parse_boolean(text),
        Kind::Opaque => base64::decode(Dialect::Standard, text.as_bytes()).map(Value::Opaque),
        Kind::ObjectLink => parse_link(text),
    }
}

fn parse_boolean(text: &str) -> Option<Value> {
    match text {
        "0" => Some(Value::Boolean(false)),
        "1" => Some(Value::Boolean(true)),
        _ => None,
    }
}

/// A finite decimal number; the words that Rust reads as one (`inf`, `nan`) are none.
pub(crate) fn parse_decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let number: f64 = plain.then(|| text.parse().ok())??;
    number.is_finite().then_some(number)
}
