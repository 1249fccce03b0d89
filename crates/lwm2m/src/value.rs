//! What a resource can hold.
//!
//! Not for how a value looks on the wire: each content format decides that.

use std::fmt;

/// The type of a resource, as the object's definition names it (LwM2M core, appendix C).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UTF-8 text.
    String,
    /// A signed integer of up to 64 bits.
    Integer,
    /// An unsigned integer of up to 64 bits.
    Unsigned,
    /// A floating point number of up to 64 bits.
    Float,
    /// True or false.
    Boolean,
    /// Bytes.
    Opaque,
    /// Seconds since 1970-01-01 UTC.
    Time,
    /// A reference to an object instance.
    ObjectLink,
    /// Text in CoRE link format (RFC 6690).
    CoreLink,
}

/// One value of a resource or of a resource instance.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// UTF-8 text.
    String(String),
    /// A signed integer.
    Integer(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// A floating point number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// Bytes.
    Opaque(Vec<u8>),
    /// Seconds since 1970-01-01 UTC.
    Time(i64),
    /// Object id and instance id; 65535:65535 is the null link.
    ObjectLink(u16, u16),
    /// Text in CoRE link format.
    CoreLink(String),
}

impl Value {
    /// The type of this value.
    pub fn kind(&self) -> Kind {
        match self {
            Value::String(_) => Kind::String,
            Value::Integer(_) => Kind::Integer,
            Value::Unsigned(_) => Kind::Unsigned,
            Value::Float(_) => Kind::Float,
            Value::Boolean(_) => Kind::Boolean,
            Value::Opaque(_) => Kind::Opaque,
            Value::Time(_) => Kind::Time,
            Value::ObjectLink(..) => Kind::ObjectLink,
            Value::CoreLink(_) => Kind::CoreLink,
        }
    }

    /// The value as a number where it is one, for comparing against `gt`, `lt` and `st`.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Integer(number) | Value::Time(number) => Some(*number as f64),
            Value::Unsigned(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            Value::String(_) | Value::Boolean(_) | Value::Opaque(_) | Value::ObjectLink(..) | Value::CoreLink(_) => {
                None
            }
        }
    }
}

impl Kind {
    /// Whether `gt`, `lt` and `st` make sense for it.
    pub fn is_numeric(self) -> bool {
        matches!(self, Kind::Integer | Kind::Unsigned | Kind::Float | Kind::Time)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Unsigned => "unsigned integer",
            Kind::Float => "float",
            Kind::Boolean => "boolean",
            Kind::Opaque => "opaque",
            Kind::Time => "time",
            Kind::ObjectLink => "object link",
            Kind::CoreLink => "core link",
        })
    }
}
