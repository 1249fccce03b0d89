//! Object 3, Device: the facts that are known of it. What is not known is not there.

use super::Content;
use super::gateway::HostFacts;
use super::server::BINDING;
use crate::value::Value;

/// What is known of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceFacts {
    /// 3/0/0.
    pub manufacturer: Option<String>,
    /// 3/0/1.
    pub model: Option<String>,
    /// 3/0/2.
    pub serial: Option<String>,
    /// 3/0/3: read from the device, never guessed.
    pub firmware_version: Option<String>,
    /// 3/0/18.
    pub hardware_version: Option<String>,
    /// 3/0/17.
    pub device_type: Option<String>,
    /// 3/0/11, by the registry's numbers; empty reads as "no error" (0).
    pub error_codes: Vec<u8>,
}

/// What a resource holds. Reboot is always listed, being mandatory; other executables would have no effect and are absent.
/// `host` is there for a gateway.
pub(super) fn content(facts: &DeviceFacts, host: Option<&HostFacts>, resource: u16) -> Content {
    match resource {
        0 => Content::known(facts.manufacturer.as_deref()),
        1 => Content::known(facts.model.as_deref()),
        2 => Content::known(facts.serial.as_deref()),
        3 => Content::known(facts.firmware_version.as_deref()),
        4 => Content::Silent,
        10 => kilobytes(host.and_then(|host| host.storage_free)),
        11 => error_codes(&facts.error_codes),
        13 => host.and_then(|host| host.time).map_or(Content::Absent, |time| Content::Single(Value::Time(time))),
        16 => Content::text(BINDING),
        17 => Content::known(facts.device_type.as_deref()),
        18 => Content::known(facts.hardware_version.as_deref()),
        19 => Content::known(host.and_then(|host| host.software_version.as_deref())),
        21 => kilobytes(host.and_then(|host| host.storage_total)),
        _ => Content::Absent,
    }
}

fn kilobytes(count: Option<u64>) -> Content {
    count.map_or(Content::Absent, |count| Content::integer(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn error_codes(codes: &[u8]) -> Content {
    let codes = if codes.is_empty() { &[0] } else { codes };
    Content::Multiple((0_u16..).zip(codes).map(|(id, code)| (id, Value::Integer((*code).into()))).collect())
}
