//! What the configuration says about links.

use std::collections::BTreeMap;
use std::time::Duration;

use super::esphome::Key;
use super::hub;
use super::patterns::{PatternError, Patterns};
use crate::device::{Questions, units};

/// `[serial]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SerialSettings {
    /// How far identification may go.
    pub questions: Questions,
    /// So many questions may open a port ...
    pub budget: u32,
    /// ... and then one more each time this has passed.
    #[serde(with = "units::duration")]
    pub again_after: Duration,
    /// How often the ports are looked over.
    #[serde(with = "units::duration")]
    pub poll: Duration,
    /// Globs and paths of ports to take, symlinks included.
    pub watch: Vec<String>,
    /// Globs and paths of ports that are never opened, whatever else names them.
    pub deny: Vec<String>,
    /// Whether a board's USB port is switched off and on when nothing else is left.
    pub hub_power: HubPower,
    /// Globs over the USB sockets where that may be done.
    pub hub_ports: Vec<String>,
}

impl SerialSettings {
    /// Checks `hub_ports`.
    ///
    /// # Errors
    /// The number of the one that is no pattern, and why.
    pub fn check_sockets(&self) -> Result<(), (usize, String)> {
        hub::patterns(&self.hub_ports).map(drop).map_err(|(at, error)| (at, error.to_string()))
    }
}

/// `[serial] hub_power`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HubPower {
    /// No port is ever switched.
    #[default]
    Never,
    /// After the last run of a tool that failed, and as the restart of boards that have no other.
    LastResort,
}

/// `[disk]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSettings {
    /// Whether to look at mounted disks at all.
    pub enabled: bool,
    /// Globs and paths of further folders to look into, whatever they lie on.
    pub paths: Vec<String>,
}

impl DiskSettings {
    /// Checks one of `paths`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(pattern: &str) -> Result<(), PatternError> {
        Patterns::compile(&[pattern]).map(drop)
    }
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

/// `[mdns]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MdnsSettings {
    /// Whether to listen at all.
    pub enabled: bool,
    /// Network interfaces to listen on; empty: all.
    pub interfaces: Vec<String>,
    /// How often each service is asked whether it still is there; zero: never.
    #[serde(with = "units::duration")]
    pub verify: Duration,
    /// Whether devices may be asked for more than they announce.
    pub ask: bool,
    /// Whether the gateway announces itself.
    pub announce: bool,
}

/// `[ble]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BleSettings {
    /// Whether to scan at all.
    pub enabled: bool,
    /// The adapter, e.g. `hci0`; empty: the first one.
    pub adapter: String,
    /// How long one scan takes.
    #[serde(with = "units::duration")]
    pub scan: Duration,
    /// Pause between two scans while something changes; it doubles while nothing does ...
    #[serde(with = "units::duration")]
    pub pause: Duration,
    /// ... up to this.
    #[serde(with = "units::duration")]
    pub pause_max: Duration,
    /// A device that was not heard of in so many scans is gone.
    pub gone_after: u8,
    /// Whether devices may be connected to, to read what their board files want to know.
    pub ask: bool,
}

/// `[esphome]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EsphomeSettings {
    /// Keys of encrypted native APIs, by the names of devices: globs over instance and host.
    pub keys: BTreeMap<String, Key>,
}

/// One `[[discovery]]`: a program of others that finds devices.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscoverySettings {
    /// What it is called here; part of its links.
    pub name: String,
    /// The program, by its whole path, and its arguments.
    pub program: Vec<String>,
}
