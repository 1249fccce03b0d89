//! What the configuration says about links.

use std::time::Duration;

use crate::device::{Questions, units};

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
    /// Whether the gateway announces itself.
    pub announce: bool,
}
