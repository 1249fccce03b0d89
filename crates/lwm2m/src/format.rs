//! Content formats: records to bytes and back.
//!
//! Not for access rights, object logic or block-wise transfer. A format is asked with the path of the request (`base`);
//! the caller tells the type of each resource.

mod base64;
pub mod cbor;
mod cbor_item;
mod number;
pub mod opaque;
mod senml;
pub mod senml_cbor;
pub mod senml_json;
pub mod text;
pub mod tlv;

use crate::path::Path;
use crate::record::Record;
use crate::value::{Kind, Value};

pub(crate) use text::parse_decimal;

/// Most records that are read from one payload.
pub const MAX_RECORDS: usize = 1024;
/// Longest name in a SenML payload (base name and name together), in bytes.
pub const MAX_NAME: usize = 64;

/// Tells the type of the resource at a path of three levels; `None` when there is no such resource.
pub type Kinds<'a> = &'a dyn Fn(Path) -> Option<Kind>;

/// A content format by its CoAP number (lwm2m.md 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentFormat {
    /// 0, text/plain: one value.
    Text,
    /// 40, application/link-format: see [`crate::link`].
    LinkFormat,
    /// 42, application/octet-stream: one opaque value.
    Opaque,
    /// 60, application/cbor: one value.
    Cbor,
    /// 110, application/senml+json.
    SenmlJson,
    /// 112, application/senml+cbor.
    SenmlCbor,
    /// 320, application/senml-etch+json: composite requests of LwM2M 1.2.
    SenmlEtchJson,
    /// 322, application/senml-etch+cbor: composite requests of LwM2M 1.2.
    SenmlEtchCbor,
    /// 11542, application/vnd.oma.lwm2m+tlv.
    Tlv,
    /// 11543, application/vnd.oma.lwm2m+json: known by number, not spoken.
    Lwm2mJson,
    /// 11544, application/vnd.oma.lwm2m+cbor: known by number, not spoken.
    Lwm2mCbor,
}

/// Why records cannot be written in a format.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EncodeError {
    /// The format holds exactly one value: 4.06 when a server asked for it.
    #[error("the format holds exactly one value")]
    NotSingle,
    /// The format does not exist here, or cannot hold this kind of value: 4.06.
    #[error("the format cannot hold the value")]
    Unsupported,
    /// A record does not lie at or below the base: a fault of the caller.
    #[error("{0} does not lie below the base path")]
    OutsideBase(Path),
    /// The resource holds a value and instances at once: a fault of the caller.
    #[error("{0} has a value and instances at once")]
    Mixed(Path),
    /// A value is longer than the format can say.
    #[error("the value of {0} is too long for the format")]
    TooLong(Path),
}

/// Why bytes are no records.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes break the format: 4.00.
    #[error("malformed payload: {0}")]
    Malformed(&'static str),
    /// The value at a path is not of the resource's type: 4.00.
    #[error("the value of {path} is no {expected}")]
    WrongKind {
        /// The resource or resource instance.
        path: Path,
        /// The type of the resource.
        expected: Kind,
    },
    /// There is no such resource, or it has no value: 4.04 or ignored, as the caller decides.
    #[error("{0} is not known")]
    UnknownResource(Path),
    /// The payload names something that does not lie below the path of the request: 4.00.
    #[error("{0} does not lie below the path of the request")]
    OutsideBase(Path),
    /// A bound of this module is exceeded: 4.13.
    #[error("the payload holds too much")]
    TooMuch,
    /// The format is not spoken here or does not fit the path: 4.15.
    #[error("the content format does not fit")]
    Unsupported,
}

/// Writes records in a format.
///
/// # Errors
/// [`EncodeError::Unsupported`] for formats without records, else what the format says.
pub fn encode(format: ContentFormat, base: Path, records: &[Record]) -> Result<Vec<u8>, EncodeError> {
    match format {
        ContentFormat::Text => text::encode(base, records),
        ContentFormat::Opaque => opaque::encode(base, records),
        ContentFormat::Cbor => cbor::encode(base, records),
        ContentFormat::SenmlJson | ContentFormat::SenmlEtchJson => senml_json::encode(base, records),
        ContentFormat::SenmlCbor | ContentFormat::SenmlEtchCbor => senml_cbor::encode(base, records),
        ContentFormat::Tlv => tlv::encode(base, records),
        ContentFormat::LinkFormat | ContentFormat::Lwm2mJson | ContentFormat::Lwm2mCbor => {
            Err(EncodeError::Unsupported)
        }
    }
}

/// Reads records in a format.
///
/// # Errors
/// [`DecodeError::Unsupported`] for formats without records, else what the format says.
pub fn decode(format: ContentFormat, base: Path, bytes: &[u8], kinds: Kinds<'_>) -> Result<Vec<Record>, DecodeError> {
    match format {
        ContentFormat::Text => text::decode(base, bytes, kinds),
        ContentFormat::Opaque => opaque::decode(base, bytes, kinds),
        ContentFormat::Cbor => cbor::decode(base, bytes, kinds),
        ContentFormat::SenmlJson | ContentFormat::SenmlEtchJson => senml_json::decode(base, bytes, kinds),
        ContentFormat::SenmlCbor | ContentFormat::SenmlEtchCbor => senml_cbor::decode(base, bytes, kinds),
        ContentFormat::Tlv => tlv::decode(base, bytes, kinds),
        ContentFormat::LinkFormat | ContentFormat::Lwm2mJson | ContentFormat::Lwm2mCbor => {
            Err(DecodeError::Unsupported)
        }
    }
}

/// Reads records as [`decode`] does, and leaves out those whose resource is not known or whose value is not of its type: for who
/// reads what a client tells of itself.
///
/// # Errors
/// As [`decode`], but for [`DecodeError::UnknownResource`] and [`DecodeError::WrongKind`] of payloads that hold several records.
pub fn decode_known(
    format: ContentFormat,
    base: Path,
    bytes: &[u8],
    kinds: Kinds<'_>,
) -> Result<Vec<Record>, DecodeError> {
    match format {
        ContentFormat::SenmlJson | ContentFormat::SenmlEtchJson => senml_json::decode_known(base, bytes, kinds),
        ContentFormat::SenmlCbor | ContentFormat::SenmlEtchCbor => senml_cbor::decode_known(base, bytes, kinds),
        ContentFormat::Tlv => tlv::decode_known(base, bytes, kinds),
        ContentFormat::Text
        | ContentFormat::Opaque
        | ContentFormat::Cbor
        | ContentFormat::LinkFormat
        | ContentFormat::Lwm2mJson
        | ContentFormat::Lwm2mCbor => decode(format, base, bytes, kinds),
    }
}

/// Reads the paths of a Read-Composite or Observe-Composite: records with names and no values, of any level.
///
/// # Errors
/// [`DecodeError::Unsupported`] for anything but SenML.
pub fn decode_paths(format: ContentFormat, bytes: &[u8]) -> Result<Vec<Path>, DecodeError> {
    match format {
        ContentFormat::SenmlJson | ContentFormat::SenmlEtchJson => senml_json::decode_paths(bytes),
        ContentFormat::SenmlCbor | ContentFormat::SenmlEtchCbor => senml_cbor::decode_paths(bytes),
        ContentFormat::Text
        | ContentFormat::LinkFormat
        | ContentFormat::Opaque
        | ContentFormat::Cbor
        | ContentFormat::Tlv
        | ContentFormat::Lwm2mJson
        | ContentFormat::Lwm2mCbor => Err(DecodeError::Unsupported),
    }
}

impl DecodeError {
    /// Whether it speaks of one value, and not of the payload.
    fn is_of_a_value(&self) -> bool {
        matches!(self, DecodeError::UnknownResource(_) | DecodeError::WrongKind { .. })
    }
}

impl ContentFormat {
    /// The format of a CoAP number, with the numbers of LwM2M before 1.0: 1541 text, 1542 TLV, 1543 JSON, 1544 opaque.
    /// An answer to a request with such a number should carry the same number.
    pub fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 | 1541 => ContentFormat::Text,
            40 => ContentFormat::LinkFormat,
            42 | 1544 => ContentFormat::Opaque,
            60 => ContentFormat::Cbor,
            110 => ContentFormat::SenmlJson,
            112 => ContentFormat::SenmlCbor,
            320 => ContentFormat::SenmlEtchJson,
            322 => ContentFormat::SenmlEtchCbor,
            11542 | 1542 => ContentFormat::Tlv,
            11543 | 1543 => ContentFormat::Lwm2mJson,
            11544 => ContentFormat::Lwm2mCbor,
            _ => return None,
        })
    }

    /// The CoAP number.
    pub fn number(self) -> u16 {
        match self {
            ContentFormat::Text => 0,
            ContentFormat::LinkFormat => 40,
            ContentFormat::Opaque => 42,
            ContentFormat::Cbor => 60,
            ContentFormat::SenmlJson => 110,
            ContentFormat::SenmlCbor => 112,
            ContentFormat::SenmlEtchJson => 320,
            ContentFormat::SenmlEtchCbor => 322,
            ContentFormat::Tlv => 11542,
            ContentFormat::Lwm2mJson => 11543,
            ContentFormat::Lwm2mCbor => 11544,
        }
    }
}

/// The value of the one record, which lies at `base`, a resource or a resource instance.
fn single(base: Path, records: &[Record]) -> Result<&Value, EncodeError> {
    match records {
        [record] if record.path == base && base.resource().is_some() => Ok(&record.value),
        _ => Err(EncodeError::NotSingle),
    }
}

/// The type of the one value at `base`.
fn single_kind(base: Path, kinds: Kinds<'_>) -> Result<Kind, DecodeError> {
    if base.resource().is_none() { Err(DecodeError::Unsupported) } else { kind_of(base, kinds) }
}

/// The type of a resource or resource instance.
fn kind_of(path: Path, kinds: Kinds<'_>) -> Result<Kind, DecodeError> {
    kinds(path.truncated(3)).ok_or(DecodeError::UnknownResource(path))
}

/// Records must be values of resources at or below the base.
fn check_records(base: Path, records: &[Record]) -> Result<(), EncodeError> {
    let astray = |record: &&Record| record.path.resource().is_none() || !record.path.starts_with(base);
    records.iter().find(astray).map_or(Ok(()), |record| Err(EncodeError::OutsideBase(record.path)))
}
