//! `[builtin_server]`.

use std::path::PathBuf;

use crate::device::FirmwareRight;

/// `[builtin_server]`, as written and with the defaults beneath.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltinSettings {
    /// Whether there is one.
    pub enabled: bool,
    /// As logs and the CLI call it.
    pub name: String,
    /// Its port on loopback: UDP for LwM2M, TCP for the images.
    pub port: u16,
    /// Short server id; `None` until the configuration has found a free one.
    pub short_id: Option<u16>,
    /// Its right on firmware.
    pub firmware: FirmwareRight,
    /// Where files are dropped; `None` until the configuration has put in the state folder.
    pub drop: Option<PathBuf>,
}
