//! LwM2M TLV (11542). Under construction.

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

/// Unwraps a streamed Write of one opaque resource: bytes in, the resource's bytes out, nothing held.
#[derive(Debug, Clone)]
pub struct OpaqueStream {
    _resource: Path,
}

impl OpaqueStream {
    /// A stream for the resource that the request names.
    pub fn new(resource: Path) -> Self {
        OpaqueStream { _resource: resource }
    }

    /// The part of `input` that is payload; the parts must come in order and without gaps.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn push<'a>(&mut self, _input: &'a [u8]) -> Result<&'a [u8], DecodeError> {
        Err(DecodeError::Unsupported)
    }

    /// The payload's whole length in bytes, once the header has been seen.
    pub fn total(&self) -> Option<usize> {
        None
    }

    /// Whether exactly the announced bytes came.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn finish(&self) -> Result<(), DecodeError> {
        Err(DecodeError::Unsupported)
    }
}
