//! Numbers as formats carry them, and the object link's text form, brought to a resource's type without losing anything.

use crate::value::{Kind, Value};

/// A value as a self-describing format carries it, before the resource's type is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// A whole number; wide enough for both signed and unsigned ones.
    Integer(i128),
    /// A fraction, or a whole number that came as one.
    Float(f64),
    /// Text.
    Text(String),
    /// True or false.
    Boolean(bool),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An object link in its text form, marked as such.
    Link(String),
}

impl Raw {
    /// The value of a resource of this kind; `None` when it cannot be one.
    pub(super) fn into_value(self, kind: Kind) -> Option<Value> {
        match (kind, self) {
            (Kind::String, Raw::Text(text)) => Some(Value::String(text)),
            (Kind::CoreLink, Raw::Text(text)) => Some(Value::CoreLink(text)),
            (Kind::ObjectLink, Raw::Link(text) | Raw::Text(text)) => parse_link(&text),
            (Kind::Boolean, Raw::Boolean(value)) => Some(Value::Boolean(value)),
            (Kind::Opaque, Raw::Bytes(bytes)) => Some(Value::Opaque(bytes)),
            (Kind::Float, Raw::Integer(number)) => Some(Value::Float(number as f64)),
            (Kind::Float, Raw::Float(number)) => Some(Value::Float(number)),
            (Kind::Integer, raw) => raw.whole()?.try_into().ok().map(Value::Integer),
            (Kind::Unsigned, raw) => raw.whole()?.try_into().ok().map(Value::Unsigned),
            (Kind::Time, raw) => raw.whole()?.try_into().ok().map(Value::Time),
            _ => None,
        }
    }

    /// The whole number, also when it came as `1.0` or `1e3`.
    fn whole(&self) -> Option<i128> {
        match self {
            Raw::Integer(number) => Some(*number),
            Raw::Float(number) if number.fract() == 0.0 => Some(*number as i128),
            Raw::Float(_) | Raw::Text(_) | Raw::Boolean(_) | Raw::Bytes(_) | Raw::Link(_) => None,
        }
    }
}

/// `oid:iid`
pub(super) fn write_link(object: u16, instance: u16) -> String {
    format!("{object}:{instance}")
}

/// Reads `oid:iid`.
pub(super) fn parse_link(text: &str) -> Option<Value> {
    let (object, instance) = text.split_once(':')?;
    Some(Value::ObjectLink(parse_id(object)?, parse_id(instance)?))
}

fn parse_id(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The same number with half the bits, when it is the same.
pub(super) fn as_single(number: f64) -> Option<f32> {
    let single = number as f32;
    (f64::from(single).to_bits() == number.to_bits()).then_some(single)
}

/// A half precision number (IEEE 754 binary16) as the standard library has no stable type for it.
pub(super) fn half_to_double(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_numbers_of_rfc_8949_are_read() {
        let vectors = [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0x3e00, 1.5),
            (0x7bff, 65504.0),
            (0x0001, 5.960464477539063e-8),
            (0x0400, 0.00006103515625),
            (0xc400, -4.0),
            (0x7c00, f64::INFINITY),
            (0xfc00, f64::NEG_INFINITY),
        ];
        for (bits, number) in vectors {
            assert_eq!(half_to_double(bits), number, "{bits:04x}");
        }
        assert!(half_to_double(0x7e00).is_nan());
        assert!(half_to_double(0x8000).is_sign_negative());
    }

    #[test]
    fn whole_numbers_keep_their_range() {
        assert_eq!(Raw::Float(1e3).into_value(Kind::Integer), Some(Value::Integer(1000)));
        assert_eq!(Raw::Float(0.5).into_value(Kind::Integer), None);
        assert_eq!(Raw::Float(f64::NAN).into_value(Kind::Time), None);
        assert_eq!(Raw::Float(f64::INFINITY).into_value(Kind::Integer), None);
        assert_eq!(Raw::Float(1e300).into_value(Kind::Integer), None);
        assert_eq!(Raw::Integer(-1).into_value(Kind::Unsigned), None);
        assert_eq!(Raw::Integer(u64::MAX.into()).into_value(Kind::Unsigned), Some(Value::Unsigned(u64::MAX)));
        assert_eq!(Raw::Integer(u64::MAX.into()).into_value(Kind::Integer), None);
    }

    #[test]
    fn object_links_are_two_plain_numbers() {
        assert_eq!(parse_link("33605:0"), Some(Value::ObjectLink(33605, 0)));
        for text in ["", ":", "1", "1:", ":1", "1:2:3", "65536:0", "+1:0", "1 :0", "-1:0"] {
            assert_eq!(parse_link(text), None, "{text:?}");
        }
    }
}
