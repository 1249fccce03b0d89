//! The built-in server as one of the servers.

use std::path::Path;
use std::time::Duration;

use crate::builtin::BuiltinSettings;
use crate::proxy::{FirmwareObject, OfferedVersion, ServerAccess, ServerSettings};

/// Its folder for files that are dropped, below the state folder.
const DROP: &str = "drop";
/// Longest that a registration lasts without an Update. Client and server live and die together, so that nothing but a mistake
/// is found out by it: an hour is soon enough, and wakes nobody up for less.
const LIFETIME: Duration = Duration::from_secs(3600);
/// It is there as soon as the gateway is, or somebody has its port.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// The settings with what their defaults depend on. The short id is the highest that is free: low ones are what people give to
/// their servers, and a number that changes makes another server of it in the eyes of an update.
pub(super) fn completed(builtin: BuiltinSettings, servers: &[ServerSettings], state: &Path) -> BuiltinSettings {
    let is_free = |id: &u16| servers.iter().all(|server| server.short_id != *id);
    let short_id = builtin.short_id.or_else(|| (1..u16::MAX).rev().find(is_free));
    let drop = builtin.drop.unwrap_or_else(|| state.join(DROP));
    BuiltinSettings { short_id, drop: Some(drop), ..builtin }
}

/// What the clients are told of it.
pub(super) fn server(builtin: &BuiltinSettings) -> ServerSettings {
    ServerSettings {
        name: builtin.name.clone(),
        uri: format!("coap://127.0.0.1:{}", builtin.port),
        short_id: builtin.short_id.unwrap_or(u16::MAX - 1),
        lifetime: LIFETIME,
        binding: "U".to_owned(),
        notification_storing: false,
        version: OfferedVersion::V1_1,
        access: ServerAccess::Full,
        firmware: builtin.firmware,
        firmware_object: FirmwareObject::Auto,
        flashing_object: true,
        retry: RETRY,
        retry_max: RETRY_MAX,
    }
}
