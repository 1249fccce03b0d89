//! What the standard says of the objects: ids, names, operations, types and ranges, as constant tables.
//!
//! Not for what a device's objects hold or do: those look their own resources up here. The tables agree with the OMA
//! registry's XML (`tests/oma`) and with our own (`docs/26300.xml`, `docs/26301.xml`), which a test compares.

mod access_control;
mod attached_devices;
mod board_flashing;
mod connectivity;
mod device;
mod firmware;
mod ipso;
mod security;
mod server;
mod statistics;

use std::fmt;
use std::str::FromStr;

use crate::path::Path;
use crate::value::{Kind, Value};

pub use access_control::ACCESS_CONTROL;
pub use attached_devices::ATTACHED_DEVICES;
pub use board_flashing::BOARD_FLASHING;
pub use connectivity::CONNECTIVITY;
pub use device::DEVICE;
pub use firmware::{FIRMWARE_UPDATE, FIRMWARE_UPDATE_1_0};
pub use ipso::IPSO;
pub use security::SECURITY;
pub use server::SERVER;
pub use statistics::STATISTICS;

/// The newest version of each object known here beside [`IPSO`], by id.
pub const OBJECTS: [&ObjectModel; 9] = [
    &SECURITY,
    &SERVER,
    &ACCESS_CONTROL,
    &DEVICE,
    &CONNECTIVITY,
    &FIRMWARE_UPDATE,
    &STATISTICS,
    &BOARD_FLASHING,
    &ATTACHED_DEVICES,
];

/// The definition of one object in one version.
#[derive(Debug, PartialEq)]
pub struct ObjectModel {
    /// The object id.
    pub id: u16,
    /// The registry's name.
    pub name: &'static str,
    /// The version of this definition.
    pub version: Version,
    /// Whether there may be several instances.
    pub multiple: bool,
    /// Whether every client has it.
    pub mandatory: bool,
    /// Its resources, by id.
    pub resources: &'static [ResourceModel],
}

/// The definition of one resource.
#[derive(Debug, PartialEq)]
pub struct ResourceModel {
    /// The resource id.
    pub id: u16,
    /// The registry's name.
    pub name: &'static str,
    /// What a server may do with it; nothing at all means a bootstrap server only.
    pub operations: Operations,
    /// Whether it has instances.
    pub multiple: bool,
    /// Whether every instance of the object has it.
    pub mandatory: bool,
    /// Its type; `None` for what can only be executed.
    pub kind: Option<Kind>,
    /// What values are allowed beyond the type.
    pub range: Range,
}

/// What a server may do with a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operations {
    /// Read, Observe, Write-Attributes.
    pub read: bool,
    /// Write.
    pub write: bool,
    /// Execute.
    pub execute: bool,
}

/// Which values of a kind are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// Every value.
    Any,
    /// Numbers from the first to the second, both included.
    Between(i64, i64),
    /// Strings and opaques of the first to the second number of bytes, both included.
    Length(usize, usize),
}

/// A version of LwM2M or of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// The number before the dot.
    pub major: u8,
    /// The number behind it.
    pub minor: u8,
}

/// The newest definition of an object known here.
pub fn object(id: u16) -> Option<&'static ObjectModel> {
    OBJECTS.into_iter().chain(IPSO).find(|object| object.id == id)
}

/// The type of the resource at a path of three or four levels, by the newest definition.
pub fn kind_at(path: Path) -> Option<Kind> {
    object(path.object()?)?.resource(path.resource()?)?.kind
}

/// The version of an object that a registration means when it states none (lwm2m.md 5.1).
pub fn default_version(object: u16, lwm2m: Version) -> Version {
    let minor = match (lwm2m, object) {
        (Version::V1_0, _) => 0,
        (Version::V1_1, 0 | 1 | 3) => 1,
        (Version::V1_1, 4) => 2,
        (Version::V1_1, _) => 0,
        (_, 0 | 1 | 3) => 2,
        (_, 2 | 5) => 1,
        (_, 4) => 3,
        _ => 0,
    };
    Version { major: 1, minor }
}

impl ObjectModel {
    /// The definition of a resource.
    pub fn resource(&self, id: u16) -> Option<&'static ResourceModel> {
        self.resources.iter().find(|resource| resource.id == id)
    }
}

impl ResourceModel {
    /// Whether the value has the resource's type and lies in its range.
    pub fn accepts(&self, value: &Value) -> bool {
        self.kind == Some(value.kind()) && self.range.contains(value)
    }

    const fn new(id: u16, name: &'static str, operations: Operations, kind: Kind) -> Self {
        let range = Range::Any;
        ResourceModel { id, name, operations, multiple: false, mandatory: false, kind: Some(kind), range }
    }

    const fn executable(id: u16, name: &'static str) -> Self {
        let (operations, range) = (Operations::EXECUTE, Range::Any);
        ResourceModel { id, name, operations, multiple: false, mandatory: false, kind: None, range }
    }

    const fn mandatory(mut self) -> Self {
        self.mandatory = true;
        self
    }

    const fn multiple(mut self) -> Self {
        self.multiple = true;
        self
    }

    const fn between(mut self, low: i64, high: i64) -> Self {
        self.range = Range::Between(low, high);
        self
    }

    const fn length(mut self, low: usize, high: usize) -> Self {
        self.range = Range::Length(low, high);
        self
    }
}

impl Operations {
    /// Only a bootstrap server, or nobody.
    pub const NONE: Operations = Operations { read: false, write: false, execute: false };
    /// Read.
    pub const READ: Operations = Operations { read: true, write: false, execute: false };
    /// Write.
    pub const WRITE: Operations = Operations { read: false, write: true, execute: false };
    /// Read and Write.
    pub const READ_WRITE: Operations = Operations { read: true, write: true, execute: false };
    /// Execute.
    pub const EXECUTE: Operations = Operations { read: false, write: false, execute: true };
}

impl Range {
    /// Whether the value lies in the range; a range of another kind of value holds everything.
    pub fn contains(self, value: &Value) -> bool {
        match (self, value) {
            (Range::Between(low, high), Value::Integer(number) | Value::Time(number)) => (low..=high).contains(number),
            (Range::Between(low, high), Value::Unsigned(number)) => {
                i64::try_from(*number).is_ok_and(|number| (low..=high).contains(&number))
            }
            (Range::Between(low, high), Value::Float(number)) => (low as f64..=high as f64).contains(number),
            (Range::Length(low, high), Value::String(text) | Value::CoreLink(text)) => {
                (low..=high).contains(&text.len())
            }
            (Range::Length(low, high), Value::Opaque(bytes)) => (low..=high).contains(&bytes.len()),
            _ => true,
        }
    }
}

impl Version {
    /// 1.0
    pub const V1_0: Version = Version { major: 1, minor: 0 };
    /// 1.1
    pub const V1_1: Version = Version { major: 1, minor: 1 };
    /// 1.2
    pub const V1_2: Version = Version { major: 1, minor: 2 };
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Text that is no version of the form `1.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version looks like 1.1")]
pub struct VersionError;

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let (major, minor) = text.split_once('.').ok_or(VersionError)?;
        Ok(Version { major: parse_number(major)?, minor: parse_number(minor)? })
    }
}

fn parse_number(text: &str) -> Result<u8, VersionError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().map_err(|_| VersionError) } else { Err(VersionError) }
}
