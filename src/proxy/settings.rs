//! `[[server]]`.

use std::time::Duration;

use crate::device::{FirmwareRight, units};

/// The LwM2M version offered at registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum OfferedVersion {
    /// LwM2M 1.0.
    #[serde(rename = "1.0")]
    V1_0,
    /// LwM2M 1.1.
    #[default]
    #[serde(rename = "1.1")]
    V1_1,
    /// LwM2M 1.2; never offered unasked.
    #[serde(rename = "1.2")]
    V1_2,
}

/// What a server may do besides firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerAccess {
    /// Read, write, execute.
    #[default]
    Full,
    /// Read only.
    Read,
}

/// Which version of object 5 a server is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum FirmwareObject {
    /// What goes with the LwM2M version in use.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// 1.0 always, for a server that knows no newer model.
    #[serde(rename = "1.0")]
    V1_0,
}

/// One `[[server]]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSettings {
    /// As logs and the CLI call it.
    pub name: String,
    /// `coap://HOST[:PORT][/PATH]`.
    pub uri: String,
    /// Short server id, 1 to 65534.
    pub short_id: u16,
    /// Registration lifetime, whole seconds.
    #[serde(with = "units::duration", default = "default_lifetime")]
    pub lifetime: Duration,
    /// 1/x/7; only `U` for now.
    #[serde(default = "default_binding")]
    pub binding: String,
    /// 1/x/6.
    #[serde(default)]
    pub notification_storing: bool,
    /// Version offered.
    #[serde(default)]
    pub version: OfferedVersion,
    /// Access to everything but firmware.
    #[serde(default)]
    pub access: ServerAccess,
    /// Access to firmware.
    #[serde(default)]
    pub firmware: FirmwareRight,
    /// Version of object 5 shown.
    #[serde(default)]
    pub firmware_object: FirmwareObject,
    /// Whether object 26300 is shown, which tells how far a flash is.
    #[serde(default = "default_flashing_object")]
    pub flashing_object: bool,
    /// First wait after a failed registration; doubles up to `retry_max`.
    #[serde(with = "units::duration", default = "default_retry")]
    pub retry: Duration,
    /// Longest wait between two tries.
    #[serde(with = "units::duration", default = "default_retry_max")]
    pub retry_max: Duration,
}

fn default_lifetime() -> Duration {
    Duration::from_secs(300)
}

fn default_binding() -> String {
    "U".to_owned()
}

fn default_flashing_object() -> bool {
    true
}

fn default_retry() -> Duration {
    Duration::from_secs(10)
}

fn default_retry_max() -> Duration {
    Duration::from_secs(300)
}
