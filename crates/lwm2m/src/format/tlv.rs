//! LwM2M TLV (11542): objects, instances, resources and their instances as nested type-length-value entries
//! (lwm2m.md 5.6). [`OpaqueStream`] unwraps a Write of one opaque resource while it comes in.

mod header;
mod stream;

pub use stream::OpaqueStream;

use header::{Form, Header, MAX_LENGTH, write_header};

use super::number::as_single;
use super::{DecodeError, EncodeError, Kinds, MAX_RECORDS, check_records, kind_of};
use crate::path::Path;
use crate::record::Record;
use crate::value::{Kind, Value};

/// Writes records: below an object as instances, below an instance as resources. A record of four levels is an instance
/// of a multiple resource; at such a `base` itself it stands alone.
///
/// # Errors
/// [`EncodeError::Unsupported`] for the root, [`EncodeError::OutsideBase`], [`EncodeError::Mixed`],
/// [`EncodeError::TooLong`] beyond 24 bits.
pub fn encode(base: Path, records: &[Record]) -> Result<Vec<u8>, EncodeError> {
    check_records(base, records)?;
    let mut sorted: Vec<&Record> = records.iter().collect();
    sorted.sort_by_key(|record| record.path);
    match base.depth() {
        0 => Err(EncodeError::Unsupported),
        1 => encode_groups(&sorted, 2, encode_instance),
        2 | 3 => encode_groups(&sorted, 3, encode_resource),
        _ => encode_groups(&sorted, 4, encode_resource_instances),
    }
}

type EncodeGroup = fn(&mut Vec<u8>, &[&Record]) -> Result<(), EncodeError>;

/// Writes the records group by group; a group has the first `depth` levels in common.
fn encode_groups(records: &[&Record], depth: usize, encode: EncodeGroup) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = Vec::new();
    for group in records.chunk_by(|one, next| one.path.truncated(depth) == next.path.truncated(depth)) {
        encode(&mut bytes, group)?;
    }
    Ok(bytes)
}

fn encode_instance(bytes: &mut Vec<u8>, records: &[&Record]) -> Result<(), EncodeError> {
    let resources = encode_groups(records, 3, encode_resource)?;
    write_entry(bytes, Form::Instance, records[0].path.truncated(2), &resources)
}

fn encode_resource(bytes: &mut Vec<u8>, records: &[&Record]) -> Result<(), EncodeError> {
    let (resource, deepest) = (records[0].path.truncated(3), records[records.len() - 1].path);
    if deepest.resource_instance().is_none() {
        return records.iter().try_for_each(|record| write_value(bytes, Form::Resource, record));
    }
    if records[0].path.resource_instance().is_none() {
        return Err(EncodeError::Mixed(resource));
    }
    let instances = encode_groups(records, 4, encode_resource_instances)?;
    write_entry(bytes, Form::Multiple, resource, &instances)
}

fn encode_resource_instances(bytes: &mut Vec<u8>, records: &[&Record]) -> Result<(), EncodeError> {
    records.iter().try_for_each(|record| write_value(bytes, Form::ResourceInstance, record))
}

fn write_value(bytes: &mut Vec<u8>, form: Form, record: &Record) -> Result<(), EncodeError> {
    let path = record.path;
    match &record.value {
        Value::String(text) | Value::CoreLink(text) => write_entry(bytes, form, path, text.as_bytes()),
        Value::Opaque(data) => write_entry(bytes, form, path, data),
        Value::Integer(number) | Value::Time(number) => write_entry(bytes, form, path, shortest(&number.to_be_bytes())),
        Value::Unsigned(number) => write_entry(bytes, form, path, shortest_unsigned(&number.to_be_bytes())),
        Value::Boolean(value) => write_entry(bytes, form, path, &[u8::from(*value)]),
        Value::ObjectLink(object, instance) => {
            let [a, b] = object.to_be_bytes();
            let [c, d] = instance.to_be_bytes();
            write_entry(bytes, form, path, &[a, b, c, d])
        }
        Value::Float(number) => match as_single(*number) {
            Some(single) => write_entry(bytes, form, path, &single.to_be_bytes()),
            None => write_entry(bytes, form, path, &number.to_be_bytes()),
        },
    }
}

fn write_entry(bytes: &mut Vec<u8>, form: Form, path: Path, value: &[u8]) -> Result<(), EncodeError> {
    if value.len() > MAX_LENGTH {
        return Err(EncodeError::TooLong(path));
    }
    let id = path.levels().last().copied().unwrap_or_default();
    write_header(bytes, &Header { form, id, length: value.len() });
    bytes.extend_from_slice(value);
    Ok(())
}

/// The last 1, 2, 4 or 8 bytes of a two's complement number, as few as keep it.
fn shortest(bytes: &[u8; 8]) -> &[u8] {
    let keeps = |width: &usize| {
        let (dropped, kept) = bytes.split_at(8 - width);
        let sign = if kept[0] & 0x80 == 0 { 0x00 } else { 0xff };
        dropped.iter().all(|byte| *byte == sign)
    };
    let width = [1, 2, 4].into_iter().find(keeps).unwrap_or(8);
    &bytes[8 - width..]
}

/// As [`shortest`], with the top bit clear wherever 64 bits allow it: Leshan reads unsigned numbers as signed ones.
fn shortest_unsigned(bytes: &[u8; 8]) -> &[u8] {
    if bytes[0] & 0x80 == 0 { shortest(bytes) } else { bytes }
}

/// Reads records. `base` tells what stands above the outermost entries; a payload may also repeat the levels of `base`
/// that its own form names (an instance round a resource, as some servers send).
///
/// A multiple resource without instances yields no record. Creating an instance without naming it: pass the path of the
/// instance to be.
///
/// # Errors
/// Every variant of [`DecodeError`]; [`DecodeError::Unsupported`] for the root.
pub fn decode(base: Path, bytes: &[u8], kinds: Kinds<'_>) -> Result<Vec<Record>, DecodeError> {
    read(base, bytes, kinds, false)
}

/// Reads records as [`decode`] does, those left out that are not known to the models.
///
/// # Errors
/// As [`decode`], but for what concerns one value.
pub fn decode_known(base: Path, bytes: &[u8], kinds: Kinds<'_>) -> Result<Vec<Record>, DecodeError> {
    read(base, bytes, kinds, true)
}

fn read(base: Path, bytes: &[u8], kinds: Kinds<'_>, lenient: bool) -> Result<Vec<Record>, DecodeError> {
    if base == Path::ROOT {
        return Err(DecodeError::Unsupported);
    }
    let mut reader = Reader { base, kinds, lenient, records: Vec::new(), entries: 0 };
    reader.read_all(bytes, None)?;
    Ok(reader.records)
}

/// Most entries of any form in one payload: every record may stand in an instance and a multiple resource of its own.
const MAX_ENTRIES: usize = 3 * MAX_RECORDS;

struct Reader<'a> {
    base: Path,
    kinds: Kinds<'a>,
    /// What is not known is left out.
    lenient: bool,
    records: Vec<Record>,
    entries: usize,
}

impl Reader<'_> {
    /// Reads the entries in `bytes`, which lie in an entry of the form and path of `outer`. Nests three deep at most,
    /// because each form may only hold lower ones.
    fn read_all(&mut self, mut bytes: &[u8], outer: Option<(Form, Path)>) -> Result<(), DecodeError> {
        while !bytes.is_empty() {
            self.entries += 1;
            if self.entries > MAX_ENTRIES || self.records.len() > MAX_RECORDS {
                return Err(DecodeError::TooMuch);
            }
            bytes = self.read_entry(bytes, outer)?;
        }
        Ok(())
    }

    fn read_entry<'b>(&mut self, bytes: &'b [u8], outer: Option<(Form, Path)>) -> Result<&'b [u8], DecodeError> {
        let (header, rest) = Header::read(bytes).ok_or(DecodeError::Malformed("a TLV header is cut short"))?;
        let split = rest.split_at_checked(header.length);
        let (value, rest) = split.ok_or(DecodeError::Malformed("a TLV value is cut short"))?;
        let path = self.place(&header, outer)?;
        match header.form {
            Form::Instance | Form::Multiple => self.read_all(value, Some((header.form, path)))?,
            Form::Resource | Form::ResourceInstance => self.read_value(path, value)?,
        }
        Ok(rest)
    }

    /// The path of an entry, if it may stand where it stands.
    fn place(&self, header: &Header, outer: Option<(Form, Path)>) -> Result<Path, DecodeError> {
        let parent = match (outer, header.form) {
            (None, Form::Instance) => Some(self.base.truncated(1)),
            (None, Form::Resource | Form::Multiple) => self.base_of(2),
            (None, Form::ResourceInstance) => self.base_of(3),
            (Some((Form::Instance, path)), Form::Resource | Form::Multiple) => Some(path),
            (Some((Form::Multiple, path)), Form::ResourceInstance) => Some(path),
            _ => None,
        };
        let path = parent.and_then(|parent| parent.child(header.id));
        let path = path.ok_or(DecodeError::Malformed("a TLV entry stands at the wrong level"))?;
        let related = path.starts_with(self.base) || self.base.starts_with(path);
        if related { Ok(path) } else { Err(DecodeError::OutsideBase(path)) }
    }

    fn base_of(&self, depth: usize) -> Option<Path> {
        (self.base.depth() >= depth).then(|| self.base.truncated(depth))
    }

    fn read_value(&mut self, path: Path, bytes: &[u8]) -> Result<(), DecodeError> {
        if !path.starts_with(self.base) {
            return Err(DecodeError::OutsideBase(path));
        }
        let value = kind_of(path, self.kinds)
            .and_then(|expected| parse(expected, bytes).ok_or(DecodeError::WrongKind { path, expected }));
        match value {
            Ok(value) => self.records.push(Record { path, value }),
            Err(error) if self.lenient && error.is_of_a_value() => return Ok(()),
            Err(error) => return Err(error),
        }
        if self.records.len() > MAX_RECORDS { Err(DecodeError::TooMuch) } else { Ok(()) }
    }
}

fn parse(kind: Kind, bytes: &[u8]) -> Option<Value> {
    match kind {
        Kind::String => text(bytes).map(Value::String),
        Kind::CoreLink => text(bytes).map(Value::CoreLink),
        Kind::Opaque => Some(Value::Opaque(bytes.to_vec())),
        Kind::Integer => integer(bytes).map(Value::Integer),
        Kind::Time => integer(bytes).map(Value::Time),
        Kind::Unsigned => unsigned(bytes).map(Value::Unsigned),
        Kind::Float => float(bytes).map(Value::Float),
        Kind::Boolean => boolean(bytes).map(Value::Boolean),
        Kind::ObjectLink => object_link(bytes),
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn integer(bytes: &[u8]) -> Option<i64> {
    match bytes.len() {
        1 => Some(i64::from(i8::from_be_bytes(bytes.try_into().ok()?))),
        2 => Some(i64::from(i16::from_be_bytes(bytes.try_into().ok()?))),
        4 => Some(i64::from(i32::from_be_bytes(bytes.try_into().ok()?))),
        _ => bytes.try_into().ok().map(i64::from_be_bytes),
    }
}

fn unsigned(bytes: &[u8]) -> Option<u64> {
    let whole = matches!(bytes.len(), 1 | 2 | 4 | 8);
    whole.then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn float(bytes: &[u8]) -> Option<f64> {
    match bytes.len() {
        4 => bytes.try_into().ok().map(f32::from_be_bytes).map(f64::from),
        _ => bytes.try_into().ok().map(f64::from_be_bytes),
    }
}

fn boolean(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

fn object_link(bytes: &[u8]) -> Option<Value> {
    let &[a, b, c, d] = bytes else { return None };
    Some(Value::ObjectLink(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}
