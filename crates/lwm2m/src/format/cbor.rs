//! application/cbor (60): one value of one resource or resource instance as one CBOR item.

use minicbor::{Decoder, Encoder};

use super::cbor_item::{read_item, write_value};
use super::{DecodeError, EncodeError, Kinds, single, single_kind};
use crate::path::Path;
use crate::record::Record;

/// Writes the value of the one record, which lies at `base` itself. Object links are text, `oid:iid`.
///
/// # Errors
/// [`EncodeError::NotSingle`] for anything but one record at `base`.
pub fn encode(base: Path, records: &[Record]) -> Result<Vec<u8>, EncodeError> {
    let mut encoder = Encoder::new(Vec::new());
    write_value(&mut encoder, single(base, records)?);
    Ok(encoder.into_writer())
}

/// Reads the value of the resource or resource instance at `base`.
///
/// # Errors
/// [`DecodeError::Malformed`] for anything but one item of a simple type, [`DecodeError::WrongKind`] when it is not of the
/// resource's type, [`DecodeError::Unsupported`] for a base above resources.
pub fn decode(base: Path, bytes: &[u8], kinds: Kinds<'_>) -> Result<Vec<Record>, DecodeError> {
    let kind = single_kind(base, kinds)?;
    let mut decoder = Decoder::new(bytes);
    let raw = read_item(&mut decoder)?;
    if decoder.position() != bytes.len() {
        return Err(DecodeError::Malformed("bytes behind the value"));
    }
    let value = raw.into_value(kind).ok_or(DecodeError::WrongKind { path: base, expected: kind })?;
    Ok(vec![Record::new(base, value)])
}
