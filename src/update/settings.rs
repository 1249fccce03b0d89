//! `[update]` and `[download]`.

use std::path::PathBuf;
use std::time::Duration;

use crate::device::units;

use super::schedule::Window;
use super::signatures::SignaturePolicy;

/// What happens to a flash that a crash of the gateway cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterCrash {
    /// Flash the journalled image once more and prove it.
    Finish,
    /// Read the board and report what is true.
    Report,
}

/// `[update]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateSettings {
    /// After a crash in the middle of a flash.
    pub after_crash: AfterCrash,
    /// A staged image is released when its owner has been unreachable for so long.
    #[serde(with = "units::duration")]
    pub owner_timeout: Duration,
    /// A staged image is released when it has lain for so long.
    #[serde(with = "units::duration")]
    pub staged_timeout: Duration,
    /// A push that is silent for so long has failed.
    #[serde(with = "units::duration")]
    pub push_timeout: Duration,
    /// Flashes at once.
    pub max_parallel: std::num::NonZeroUsize,
    /// When flashes may begin, by local time; empty: always.
    pub window: Vec<Window>,
    /// Failures of one image on one board type until no further board gets it; 0: never.
    pub brake_after: u32,
    /// The first board of a type tries an image alone.
    pub canary: bool,
    /// Whether images must be signed.
    pub signatures: SignaturePolicy,
    /// Folder of the public keys that may sign, `*.pub`.
    pub keys: PathBuf,
}

/// `[download]`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownloadSettings {
    /// URI prefixes that are allowed; empty means any http(s) host that does not resolve to a loopback or link-local address.
    pub allow: Vec<String>,
    /// Largest image in bytes.
    pub max_size: u64,
    /// Further certificate authorities, PEM files.
    pub ca: Vec<PathBuf>,
    /// Give up when nothing arrived for so long.
    #[serde(with = "units::duration")]
    pub stalled: Duration,
    /// How often a broken connection is resumed.
    pub retries: u32,
    /// How many redirects are followed.
    pub redirects: u32,
}
