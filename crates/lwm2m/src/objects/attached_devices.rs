//! Object 26301, Attached Devices: what hangs on a gateway, as parallel lists under one number for each device.
//!
//! One instance with lists, and not an instance for each device: what is listed in a registration must not grow with the
//! number of boards, for servers take only so much of it.

use std::collections::BTreeMap;

use super::Content;
use crate::value::Value;

/// A device as its gateway lists it. Whoever tells it keeps texts to the lengths of the object's definition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AttachedDevice {
    /// 26301/0/1: the endpoint name under which it is registered itself.
    pub endpoint: String,
    /// 26301/0/2: its type.
    pub board: String,
    /// 26301/0/3: how the gateway reaches it.
    pub link: String,
    /// 26301/0/4: whether the link is there just now.
    pub present: bool,
    /// 26301/0/5, `""` when unknown.
    pub version: String,
}

/// What a resource holds.
pub(super) fn content(devices: &BTreeMap<u16, AttachedDevice>, resource: u16) -> Content {
    let list = |value: fn(&AttachedDevice) -> Value| {
        Content::Multiple(devices.iter().map(|(number, device)| (*number, value(device))).collect())
    };
    match resource {
        0 => Content::integer(i64::try_from(devices.len()).unwrap_or(i64::MAX)),
        1 => list(|device| Value::String(device.endpoint.clone())),
        2 => list(|device| Value::String(device.board.clone())),
        3 => list(|device| Value::String(device.link.clone())),
        4 => list(|device| Value::Boolean(device.present)),
        5 => list(|device| Value::String(device.version.clone())),
        _ => Content::Absent,
    }
}
