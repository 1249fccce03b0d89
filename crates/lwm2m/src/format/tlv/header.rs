//! The head of a TLV entry: form, identifier, length.

/// The longest value that a header can announce.
pub(super) const MAX_LENGTH: usize = 0xff_ffff;

/// The longest header: type, two bytes of identifier, three of length.
pub(super) const MAX_HEADER: usize = 6;

/// What an entry is (bits 7 and 6 of its type).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `00`: an object instance, holds resources.
    Instance,
    /// `01`: an instance of a multiple resource.
    ResourceInstance,
    /// `10`: a multiple resource, holds resource instances.
    Multiple,
    /// `11`: a resource with one value.
    Resource,
}

/// The head of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) form: Form,
    pub(super) id: u16,
    /// Bytes of the value that follows.
    pub(super) length: usize,
}

impl Header {
    /// How long a header is that begins with this byte.
    pub(super) fn size(first: u8) -> usize {
        1 + id_size(first) + length_size(first)
    }

    /// The header at the start of `bytes`, and what follows it; `None` when there is not enough.
    pub(super) fn read(bytes: &[u8]) -> Option<(Header, &[u8])> {
        let first = *bytes.first()?;
        let (head, rest) = bytes.split_at_checked(Header::size(first))?;
        let (id, length) = head[1..].split_at(id_size(first));
        let id = id.iter().fold(0, |id, byte| id << 8 | u16::from(*byte));
        let length = match length {
            [] => usize::from(first & 0x07),
            bytes => bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
        };
        Some((Header { form: form(first), id, length }, rest))
    }
}

fn form(first: u8) -> Form {
    match first >> 6 {
        0 => Form::Instance,
        1 => Form::ResourceInstance,
        2 => Form::Multiple,
        _ => Form::Resource,
    }
}

fn id_size(first: u8) -> usize {
    if first & 0x20 == 0 { 1 } else { 2 }
}

fn length_size(first: u8) -> usize {
    usize::from(first >> 3 & 0x03)
}

/// Appends a header in its shortest form; the length is at most [`MAX_LENGTH`].
pub(super) fn write_header(bytes: &mut Vec<u8>, header: &Header) {
    let form = match header.form {
        Form::Instance => 0x00,
        Form::ResourceInstance => 0x40,
        Form::Multiple => 0x80,
        Form::Resource => 0xc0,
    };
    let wide_id = if header.id > 0xff { 0x20 } else { 0x00 };
    let (length_bits, length_bytes) = match header.length {
        0..=0x07 => (header.length as u8, 0),
        0x08..=0xff => (0x08, 1),
        0x100..=0xffff => (0x10, 2),
        _ => (0x18, 3),
    };
    bytes.push(form | wide_id | length_bits);
    bytes.extend_from_slice(&header.id.to_be_bytes()[usize::from(wide_id == 0)..]);
    bytes.extend_from_slice(&(header.length as u32).to_be_bytes()[4 - length_bytes..]);
}
