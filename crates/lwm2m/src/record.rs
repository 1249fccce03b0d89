//! The one currency between objects and content formats: a value and where it stands.
//!
//! Formats know records, objects know typed resources, nothing knows both.

use crate::path::Path;
use crate::value::Value;

/// A value of a resource (three levels) or of one instance of a multiple resource (four levels).
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Where the value stands.
    pub path: Path,
    /// The value.
    pub value: Value,
}

impl Record {
    /// A record.
    pub fn new(path: impl Into<Path>, value: Value) -> Self {
        Record { path: path.into(), value }
    }
}
