//! SenML JSON (110). Under construction.

use super::{DecodeError, EncodeError, Kinds};
use crate::path::Path;
use crate::record::Record;

/// Writes records.
///
/// # Errors
/// See [`EncodeError`].
pub fn encode(_base: Path, _records: &[Record]) -> Result<Vec<u8>, EncodeError> {
    Err(EncodeError::Unsupported)
}

/// Reads records.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(_base: Path, _bytes: &[u8], _kinds: Kinds<'_>) -> Result<Vec<Record>, DecodeError> {
    Err(DecodeError::Unsupported)
}

/// Writes names without values: the payload of a composite read.
pub fn encode_paths(_paths: &[Path]) -> Vec<u8> {
    Vec::new()
}

/// Reads names without values: the payload of a composite read.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode_paths(_bytes: &[u8]) -> Result<Vec<Path>, DecodeError> {
    Err(DecodeError::Unsupported)
}
