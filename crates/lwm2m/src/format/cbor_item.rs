//! Single CBOR items (RFC 8949): what `application/cbor` and SenML CBOR share.

use std::convert::Infallible;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use super::DecodeError;
use super::number::{Raw, as_single, half_to_double, write_link};
use crate::value::Value;

/// CBOR being written; a `Vec` takes every byte.
pub(super) type Writer = Encoder<Vec<u8>>;

/// What every write to a `Vec` returns.
pub(super) type Written<'a> = Result<&'a mut Writer, minicbor::encode::Error<Infallible>>;

/// Takes note of a write that cannot fail.
pub(super) fn done(written: Written<'_>) {
    written.expect("a Vec takes every byte");
}

/// Writes a value as one item: floats in 32 bits where these hold them exactly, object links as text.
pub(super) fn write_value(writer: &mut Writer, value: &Value) {
    done(match value {
        Value::String(text) | Value::CoreLink(text) => writer.str(text),
        Value::Integer(number) | Value::Time(number) => writer.i64(*number),
        Value::Unsigned(number) => writer.u64(*number),
        Value::Float(number) => match as_single(*number) {
            Some(single) => writer.f32(single),
            None => writer.f64(*number),
        },
        Value::Boolean(value) => writer.bool(*value),
        Value::Opaque(bytes) => writer.bytes(bytes),
        Value::ObjectLink(object, instance) => writer.str(&write_link(*object, *instance)),
    });
}

/// Reads one item of a simple type: a number, text, bytes, true or false.
pub(super) fn read_item(decoder: &mut Decoder<'_>) -> Result<Raw, DecodeError> {
    match decoder.datatype().map_err(truncated)? {
        Type::String => read_text(decoder).map(|text| Raw::Text(text.to_owned())),
        Type::Bool => decoder.bool().map(Raw::Boolean).map_err(truncated),
        Type::Bytes => decoder.bytes().map(|bytes| Raw::Bytes(bytes.to_vec())).map_err(truncated),
        _ => read_number(decoder),
    }
}

/// Reads a number of any width.
pub(super) fn read_number(decoder: &mut Decoder<'_>) -> Result<Raw, DecodeError> {
    match decoder.datatype().map_err(truncated)? {
        Type::F16 => read_half(decoder),
        Type::F32 => decoder.f32().map(|single| Raw::Float(f64::from(single))).map_err(truncated),
        Type::F64 => decoder.f64().map(Raw::Float).map_err(truncated),
        _ => decoder.int().map(|number| Raw::Integer(i128::from(number))).map_err(|_| NOT_A_NUMBER),
    }
}

/// Reads text of known length.
pub(super) fn read_text<'b>(decoder: &mut Decoder<'b>) -> Result<&'b str, DecodeError> {
    decoder.str().map_err(|_| DecodeError::Malformed("no CBOR text of definite length"))
}

fn read_half(decoder: &mut Decoder<'_>) -> Result<Raw, DecodeError> {
    let start = decoder.position() + 1;
    let bits = decoder.input().get(start..start + 2).and_then(|bytes| bytes.try_into().ok());
    let bits = bits.ok_or(DecodeError::Malformed("CBOR ends too early"))?;
    decoder.set_position(start + 2);
    Ok(Raw::Float(half_to_double(u16::from_be_bytes(bits))))
}

const NOT_A_NUMBER: DecodeError = DecodeError::Malformed("no CBOR value of a simple type");

/// The text of every error that the shape of the bytes causes.
pub(super) fn truncated(_: minicbor::decode::Error) -> DecodeError {
    DecodeError::Malformed("CBOR is broken or ends too early")
}
