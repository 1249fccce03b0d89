//! `[history]`.

use std::time::Duration;

use crate::device::units;

/// `[history]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistorySettings {
    /// An update that ended is forgotten after so long.
    #[serde(with = "units::duration")]
    pub keep: Duration,
    /// The oldest are forgotten when the database holds more than so many bytes.
    pub max_size: u64,
}
