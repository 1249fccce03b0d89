//! Unwraps a Write of one opaque resource while it comes in, part by part: a firmware image in TLV.
//!
//! The headers are `[instance] resource value`: `d0 00 1234 ...`, or the same round which an object instance stands.

use super::header::{Form, Header, MAX_HEADER};
use crate::format::DecodeError;
use crate::path::Path;

/// Unwraps a streamed Write of one opaque resource: bytes in, the resource's bytes out, nothing held but a header.
#[derive(Debug, Clone)]
pub struct OpaqueStream {
    /// `/object/instance/resource`
    resource: Path,
    stage: Stage,
    /// What the instance announced to hold, if there is one.
    instance_length: Option<usize>,
    /// The payload's length, once announced.
    total: Option<usize>,
}

#[derive(Debug, Clone)]
enum Stage {
    /// Bytes of a header that is not complete.
    Header { bytes: [u8; MAX_HEADER], count: usize },
    /// Inside the value.
    Value { left: usize },
    /// What came was refused; nothing more is taken.
    Broken,
}

const NO_HEADER: Stage = Stage::Header { bytes: [0; MAX_HEADER], count: 0 };

impl OpaqueStream {
    /// A stream for the resource that the request names (a path of three levels).
    pub fn new(resource: Path) -> Self {
        OpaqueStream { resource, stage: NO_HEADER, instance_length: None, total: None }
    }

    /// The part of `input` that is payload, often all of it; the parts must come in order and without gaps.
    ///
    /// # Errors
    /// [`DecodeError::OutsideBase`] when the entry is of another resource, [`DecodeError::Malformed`] when it is no single
    /// value or bytes follow it. After an error the stream takes nothing more.
    pub fn push<'i>(&mut self, input: &'i [u8]) -> Result<&'i [u8], DecodeError> {
        let payload = self.advance(input);
        if payload.is_err() {
            self.stage = Stage::Broken;
        }
        payload
    }

    /// The payload's whole length in bytes, once the header has been seen.
    pub fn total(&self) -> Option<usize> {
        self.total
    }

    /// Whether exactly the announced bytes came.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] when bytes are missing or were refused.
    pub fn finish(&self) -> Result<(), DecodeError> {
        match self.stage {
            Stage::Value { left: 0 } => Ok(()),
            Stage::Value { .. } | Stage::Header { .. } => Err(DecodeError::Malformed("the TLV value is cut short")),
            Stage::Broken => Err(DecodeError::Malformed("the TLV was refused before")),
        }
    }

    fn advance<'i>(&mut self, mut input: &'i [u8]) -> Result<&'i [u8], DecodeError> {
        loop {
            match &mut self.stage {
                Stage::Broken => return Err(DecodeError::Malformed("the TLV was refused before")),
                Stage::Value { left } => {
                    let more = left.checked_sub(input.len());
                    *left = more.ok_or(DecodeError::Malformed("bytes behind the TLV value"))?;
                    return Ok(input);
                }
                Stage::Header { bytes, count } => {
                    let Some((byte, rest)) = input.split_first() else { return Ok(input) };
                    input = rest;
                    bytes[*count] = *byte;
                    *count += 1;
                    let complete = Header::read(&bytes[..*count]).map(|(header, _)| (header, *count));
                    if let Some((header, size)) = complete {
                        self.handle_header(&header, size)?;
                    }
                }
            }
        }
    }

    fn handle_header(&mut self, header: &Header, size: usize) -> Result<(), DecodeError> {
        match (header.form, self.instance_length) {
            (Form::Instance, None) => self.handle_instance(header),
            (Form::Resource, instance) => self.handle_resource(header, size, instance),
            _ => Err(DecodeError::Malformed("the TLV is no single resource")),
        }
    }

    fn handle_instance(&mut self, header: &Header) -> Result<(), DecodeError> {
        self.check(self.resource.truncated(1).child(header.id))?;
        self.instance_length = Some(header.length);
        self.stage = NO_HEADER;
        Ok(())
    }

    fn handle_resource(&mut self, header: &Header, size: usize, instance: Option<usize>) -> Result<(), DecodeError> {
        self.check(self.resource.truncated(2).child(header.id))?;
        if instance.is_some_and(|length| length != size + header.length) {
            return Err(DecodeError::Malformed("the TLV instance holds more than the resource"));
        }
        self.total = Some(header.length);
        self.stage = Stage::Value { left: header.length };
        Ok(())
    }

    fn check(&self, path: Option<Path>) -> Result<(), DecodeError> {
        match path {
            Some(path) if self.resource.starts_with(path) => Ok(()),
            Some(path) => Err(DecodeError::OutsideBase(path)),
            None => Err(DecodeError::Malformed("the TLV stands at the wrong level")),
        }
    }
}
