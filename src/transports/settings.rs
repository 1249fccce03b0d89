//! What the configuration says about links.

use std::time::Duration;

use crate::device::units;

/// How far the gateway may go to find out what hangs on a serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Questions {
    /// Never open a port to look: USB descriptors and the configuration must do.
    Passive,
    /// Open ports and ask the running program (Firmata, banners); this restarts boards that reset when opened.
    Serial,
    /// Also reset into the bootloader and read signature or chip id.
    Bootloader,
}

/// `[serial]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialSettings {
    /// How far identification may go.
    pub questions: Questions,
    /// How often the ports are looked over.
    #[serde(with = "units::duration")]
    pub poll: Duration,
    /// Globs and paths of ports to take, symlinks included.
    pub watch: Vec<String>,
    /// Globs and paths of ports that are never opened, whatever else names them.
    pub deny: Vec<String>,
}

/// `[tcp]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpSettings {
    /// How often a `tcp:` link is tried.
    #[serde(with = "units::duration")]
    pub probe: Duration,
    /// How long one try may take.
    #[serde(with = "units::duration")]
    pub timeout: Duration,
}
