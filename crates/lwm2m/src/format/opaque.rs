//! application/octet-stream (42): the bytes of one opaque resource or resource instance, as they are.

use super::{DecodeError, EncodeError, Kinds, single, single_kind};
use crate::path::Path;
use crate::record::Record;
use crate::value::{Kind, Value};

/// Writes the bytes of the one record, which lies at `base` itself.
///
/// # Errors
/// [`EncodeError::NotSingle`] for anything but one record at `base`, [`EncodeError::Unsupported`] for other values than
/// opaque ones.
pub fn encode(base: Path, records: &[Record]) -> Result<Vec<u8>, EncodeError> {
    match single(base, records)? {
        Value::Opaque(bytes) => Ok(bytes.clone()),
        _ => Err(EncodeError::Unsupported),
    }
}

/// Reads the bytes of the resource or resource instance at `base`.
///
/// # Errors
/// [`DecodeError::Unsupported`] for a base above resources or a resource that is not opaque.
pub fn decode(base: Path, bytes: &[u8], kinds: Kinds<'_>) -> Result<Vec<Record>, DecodeError> {
    match single_kind(base, kinds)? {
        Kind::Opaque => Ok(vec![Record::new(base, Value::Opaque(bytes.to_vec()))]),
        _ => Err(DecodeError::Unsupported),
    }
}
