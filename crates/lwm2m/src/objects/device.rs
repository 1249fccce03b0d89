//! Object 3, Device: the facts that are known of it. What is not known is not there.

use super::Content;
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
pub(super) fn content(facts: &DeviceFacts, resource: u16) -> Content {
    match resource {
        0 => Content::known(facts.manufacturer.as_deref()),
        1 => Content::known(facts.model.as_deref()),
        2 => Content::known(facts.serial.as_deref()),
        3 => Content::known(facts.firmware_version.as_deref()),
        4 => Content::Silent,
        11 => error_codes(&facts.error_codes),
        16 => Content::text(BINDING),
        17 => Content::known(facts.device_type.as_deref()),
        18 => Content::known(facts.hardware_version.as_deref()),
        _ => Content::Absent,
    }
}

fn error_codes(codes: &[u8]) -> Content {
    let codes = if codes.is_empty() { &[0] } else { codes };
    Content::Multiple((0_u16..).zip(codes).map(|(id, code)| (id, Value::Integer((*code).into()))).collect())
}
