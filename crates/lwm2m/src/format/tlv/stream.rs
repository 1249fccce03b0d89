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

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGE: Path = Path::new([5, 0, 0]);

    /// Pushes every byte alone.
    fn unwrap(resource: Path, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut stream = OpaqueStream::new(resource);
        let mut payload = Vec::new();
        for byte in bytes.chunks(1) {
            payload.extend_from_slice(stream.push(byte)?);
        }
        stream.finish().map(|()| payload)
    }

    #[test]
    fn every_form_of_header_is_unwrapped() {
        for header in [&[0xc3, 0][..], &[0xc8, 0, 3], &[0xd0, 0, 0, 3], &[0xd8, 0, 0, 0, 3]] {
            assert_eq!(unwrap(PACKAGE, &[header, b"abc"].concat()).unwrap(), b"abc", "{header:02x?}");
        }
        let wide = Path::new([5, 0, 0x1234]);
        for header in
            [&[0xe3, 0x12, 0x34][..], &[0xe8, 0x12, 0x34, 3], &[0xf0, 0x12, 0x34, 0, 3], &[0xf8, 0x12, 0x34, 0, 0, 3]]
        {
            assert_eq!(unwrap(wide, &[header, b"abc"].concat()).unwrap(), b"abc", "{header:02x?}");
        }
        assert_eq!(unwrap(PACKAGE, &[0xe3, 0, 0, 1, 2, 3]).unwrap(), [1, 2, 3], "a wide id that is small");
        assert_eq!(unwrap(PACKAGE, &[0xc0, 0]).unwrap(), b"");
    }

    #[test]
    fn an_instance_round_the_resource_is_unwrapped() {
        assert_eq!(unwrap(PACKAGE, &[0x05, 0, 0xc3, 0, 1, 2, 3]).unwrap(), [1, 2, 3]);
        assert_eq!(unwrap(PACKAGE, &[0x10, 0, 0, 7, 0xd0, 0, 0, 3, 1, 2, 3]).unwrap(), [1, 2, 3]);
        let malformed = |bytes: &[u8]| assert!(matches!(unwrap(PACKAGE, bytes), Err(DecodeError::Malformed(_))));
        malformed(&[0x08, 0, 8, 0xc3, 0, 1, 2, 3, 0xc1, 1, 1]);
        malformed(&[0x04, 0, 0xc3, 0, 1, 2, 3]);
        malformed(&[0x00, 0]);
        malformed(&[0x07, 0, 0x05, 0, 0xc3, 0, 1, 2, 3]);
    }

    #[test]
    fn the_length_is_known_from_the_header_on() {
        let mut stream = OpaqueStream::new(PACKAGE);
        assert_eq!(stream.push(&[0xd0, 0, 0x12]), Ok(&[][..]));
        assert_eq!(stream.total(), None);
        assert_eq!(stream.push(&[0x34, 9]), Ok(&[9][..]));
        assert_eq!(stream.total(), Some(0x1234));
        assert!(stream.finish().is_err());
        assert_eq!(stream.push(&[7; 0x1233]).map(<[u8]>::len), Ok(0x1233));
        assert_eq!(stream.finish(), Ok(()));
        assert_eq!(stream.push(&[]), Ok(&[][..]));
    }

    #[test]
    fn what_is_not_the_resource_is_refused_for_good() {
        let mut stream = OpaqueStream::new(PACKAGE);
        assert_eq!(stream.push(&[0xc3, 1, 1, 2, 3]), Err(DecodeError::OutsideBase(Path::new([5, 0, 1]))));
        assert!(stream.push(&[0xc3, 0, 1, 2, 3]).is_err());
        assert!(stream.finish().is_err());
        assert_eq!(unwrap(PACKAGE, &[0x05, 1, 0xc3, 0, 1, 2, 3]), Err(DecodeError::OutsideBase(Path::new([5, 1]))));
        for bytes in [&[0x83, 0, 0x41, 0, 1][..], &[0x41, 0, 1], &[0xc1, 0, 1, 2], &[0xc3, 0, 1, 2], &[]] {
            assert!(matches!(unwrap(PACKAGE, bytes), Err(DecodeError::Malformed(_))), "{bytes:02x?}");
        }
    }
}
