//! What the fuzz targets share: a base path in front of the payload, and the round trip that every format must hold.
//!
//! Inputs are `BASE PAYLOAD`: the first byte names a path of [`BASES`], the rest is the payload. Not for the protocol
//! itself; `run.sh` builds and runs the targets.

use lwm2m::format::{self, ContentFormat, DecodeError};
use lwm2m::model;
use lwm2m::path::Path;
use lwm2m::record::Record;
use lwm2m::value::{Kind, Value};

/// Paths that payloads are read under.
pub const BASES: [&str; 12] =
    ["/3", "/3/0", "/3/0/0", "/3/0/6", "/3/0/13", "/5/0", "/5/0/0", "/5/0/1", "/1", "/1/1", "/33605/1", "/"];

/// The path that the first byte names, and the rest.
pub fn split(data: &[u8]) -> Option<(Path, &[u8])> {
    let (&first, payload) = data.split_first()?;
    let base = BASES[usize::from(first) % BASES.len()];
    Some((if base == "/" { Path::ROOT } else { base.parse().expect("a path") }, payload))
}

/// The registered objects, and one object with a resource of every kind.
pub fn kinds(path: Path) -> Option<Kind> {
    const ALL: [Kind; 9] = [
        Kind::String,
        Kind::Integer,
        Kind::Unsigned,
        Kind::Float,
        Kind::Boolean,
        Kind::Opaque,
        Kind::Time,
        Kind::ObjectLink,
        Kind::CoreLink,
    ];
    if path.object() == Some(33605) {
        return path.resource().map(|id| ALL[usize::from(id) % ALL.len()]);
    }
    model::kind_at(path)
}

/// Reads a payload; what can be read and written again reads as the same.
pub fn round_trip(format: ContentFormat, data: &[u8]) {
    let Some((base, payload)) = split(data) else { return };
    let Ok(records) = format::decode(format, base, payload, &kinds) else { return };
    assert!(records.len() <= format::MAX_RECORDS, "more records than the bound");
    assert!(records.iter().all(|record| record.path.starts_with(base)), "a record outside its base");
    let Ok(written) = format::encode(format, base, &records) else { return };
    match format::decode(format, base, &written, &kinds) {
        Ok(again) => assert!(same(&records, &again), "{records:?} became {again:?}"),
        Err(DecodeError::TooMuch) => {}
        Err(error) => panic!("what was written cannot be read: {error}: {records:?}"),
    }
}

/// Equal, with two NaNs taken as equal, and in any order: a format may sort by path.
fn same(before: &[Record], after: &[Record]) -> bool {
    let equal = |a: &Record, b: &Record| {
        a.path == b.path
            && match (&a.value, &b.value) {
                (Value::Float(x), Value::Float(y)) => x == y || (x.is_nan() && y.is_nan()),
                (x, y) => x == y,
            }
    };
    before.len() == after.len() && before.iter().all(|record| after.iter().any(|other| equal(record, other)))
}
