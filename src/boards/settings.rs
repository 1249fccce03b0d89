//! What the configuration says about single devices.

use super::template::Template;
use crate::device::Link;

/// Whether a configured link is tried before its device is believed to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// As its transport does: a tty by its node, a `tcp:` link by a connect.
    #[default]
    Auto,
    /// Take it as there: connecting to a serial server would reset the board behind it.
    Never,
}

/// One `[[device]]`: what cannot be recognised by itself, or shall have a name.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceEntry {
    /// Its name in this gateway.
    pub name: String,
    /// Its board; without one it is identified like any other.
    #[serde(default)]
    pub board: Option<String>,
    /// How it is reached.
    pub link: Link,
    /// Its endpoint name; made from its identity when absent.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// No question may open its port, and servers cannot restart it.
    #[serde(default)]
    pub never_reset: bool,
    /// Whether its link is tried.
    #[serde(default)]
    pub probe: Probe,
}

/// `[join]`: which found devices become clients.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinSettings {
    /// What a device that nobody knows must have.
    pub policy: JoinPolicy,
    /// Globs over endpoint names: only such devices may join. Empty: all.
    pub allow: Vec<String>,
    /// Globs over endpoint names: such devices never join.
    pub deny: Vec<String>,
    /// So many devices that nobody knows may join at once ...
    pub burst: u32,
    /// ... and then so many a minute.
    pub per_minute: u32,
}

/// What a device that nobody knows must have to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JoinPolicy {
    /// Nothing.
    Automatic,
    /// An operator's approval.
    Approve,
}

/// `[naming]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamingSettings {
    /// Template for the endpoint names of devices that get theirs now; empty: the usual forms.
    pub endpoint: String,
}

impl NamingSettings {
    /// Whether it can be used.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub fn check(&self) -> Result<(), String> {
        if self.endpoint.is_empty() { Ok(()) } else { Template::parse(&self.endpoint).map(drop) }
    }
}
