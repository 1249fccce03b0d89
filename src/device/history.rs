//! What is kept of an update when it is over: who asked, what was done to the board, and what came of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{
    BoardId, DeviceId, Identity, ImageFormat, JobOutcome, Link, ReportedVersion, Requester, Sha256Digest, ToolOutput,
    UpdateEvent, UpdateId,
};

/// How an update stands, or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateOutcome {
    /// Not decided yet.
    #[default]
    UnderWay,
    /// The new firmware is on the board, and proven.
    Proven,
    /// The flash or its proof failed. It may be staged still, and be tried again.
    Failed,
    /// It failed, and the last good image is back on the board, and proven.
    RolledBack,
    /// No image was taken, and nothing was flashed.
    Refused,
    /// Given up on request before anything was flashed.
    Dropped,
    /// Nobody knows: the journal lost it.
    Lost,
}

impl UpdateOutcome {
    /// The word in JSON and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnderWay => "under-way",
            Self::Proven => "proven",
            Self::Failed => "failed",
            Self::RolledBack => "rolled-back",
            Self::Refused => "refused",
            Self::Dropped => "dropped",
            Self::Lost => "lost",
        }
    }
}

/// One update, without the runs of its tools.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct UpdateRecord {
    /// Which.
    pub update: UpdateId,
    /// Of which device. It may be gone since.
    pub device: DeviceId,
    /// The device's endpoint name.
    pub endpoint: Option<String>,
    /// What it was recognised by.
    pub identity: Option<Identity>,
    /// Its board.
    pub board: Option<BoardId>,
    /// The gateway that did it.
    pub gateway: Option<GatewayRecord>,
    /// Who asked; `None` until the journal says so.
    pub requester: Option<Requester>,
    /// Where the image came from, login masked; `None` for a push or a file.
    pub uri: Option<String>,
    /// Seconds since 1970.
    pub began: i64,
    /// Seconds since 1970; `None` while it may still be executed, again or for the first time.
    pub ended: Option<i64>,
    /// How long flashing and proof took, in milliseconds; `None` when nothing was flashed.
    pub took_ms: Option<u64>,
    /// How it stands.
    pub outcome: UpdateOutcome,
    /// One line: step, why, what to do.
    pub reason: Option<String>,
    /// What the device told before.
    pub version_before: Option<ReportedVersion>,
    /// What it told when the update was proven, or the last good image again.
    pub version_after: Option<ReportedVersion>,
    /// What was to be flashed.
    pub image: Option<ImageRecord>,
    /// What happened, in order; progress and the tools' own runs left out.
    pub events: Vec<TimedEvent>,
    /// So many events were left out of the middle.
    pub left_out: u32,
}

/// Which gateway did an update.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct GatewayRecord {
    /// Its name.
    pub name: String,
    /// Version of the program.
    pub version: String,
}

/// The image of an update.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ImageRecord {
    /// Digest of the file.
    pub sha256: Sha256Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Its format.
    pub format: ImageFormat,
    /// Bytes that a tool writes and must verify.
    pub flash_bytes: u64,
    /// The version it is expected to bring.
    pub version: Option<String>,
    /// Id of the key whose signature was found right.
    #[serde(default)]
    pub signed_by: Option<String>,
}

/// Something that happened, and when.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct TimedEvent {
    /// Seconds since 1970.
    pub at: i64,
    /// What.
    pub event: UpdateEvent,
}

/// One run of a tool in an update.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct AttemptRecord {
    /// Counted within its update, from 1.
    pub number: u32,
    /// What for.
    pub task: AttemptTask,
    /// Whether it came to its end.
    pub state: AttemptState,
    /// Seconds since 1970.
    pub began: i64,
    /// How long it took in milliseconds, as far as it came to its end.
    pub took_ms: Option<u64>,
    /// The tool's name; `None` when it did not even come to a process.
    pub tool: Option<String>,
    /// Its version.
    pub tool_version: Option<String>,
    /// The program's path.
    #[schema(value_type = Option<String>)]
    pub program: Option<PathBuf>,
    /// The whole argument vector, program first; secrets masked.
    pub argv: Vec<String>,
    /// The port.
    pub link: Option<Link>,
    /// Variables that had another value than the board's usual one.
    pub changed: BTreeMap<String, String>,
    /// How it ended: class and reason.
    pub outcome: Option<JobOutcome>,
    /// What it printed.
    pub output: Option<ToolOutput>,
}

/// What a run of a tool was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptTask {
    /// Writing the image.
    #[default]
    Flash,
    /// Reading what the board held.
    Backup,
    /// Writing the last good image back.
    Restore,
}

/// Whether a run came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AttemptState {
    /// It runs.
    Running,
    /// It ended, and was seen to.
    Ended,
    /// Its end was not seen: the gateway died, or could not end it.
    Interrupted,
}

/// What changed in an update, on its way to the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The update as it stands.
    pub record: UpdateRecord,
    /// The run that changed, if one did.
    pub attempt: Option<AttemptRecord>,
}

/// An update that an earlier gateway left open.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenRecord {
    /// The update as it stood.
    pub record: UpdateRecord,
    /// Runs of tools so far.
    pub attempts: u32,
}

/// One update in a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct HistoryRow {
    /// Which.
    pub update: UpdateId,
    /// Of which device.
    pub device: DeviceId,
    /// Its board.
    pub board: Option<BoardId>,
    /// Who asked.
    pub requester: Option<Requester>,
    /// Seconds since 1970.
    pub began: i64,
    /// Seconds since 1970; `None` while it may still be executed.
    pub ended: Option<i64>,
    /// How long flashing and proof took, in milliseconds.
    pub took_ms: Option<u64>,
    /// How it stands.
    pub outcome: UpdateOutcome,
    /// One line: step, why, what to do.
    pub reason: Option<String>,
    /// What the device told before.
    pub version_before: Option<String>,
    /// What it told when the update was proven, or the last good image again.
    pub version_after: Option<String>,
    /// What the image was expected to bring.
    pub expected_version: Option<String>,
    /// Digest of the image.
    pub image_sha256: Option<Sha256Digest>,
    /// Runs of the tool that were to flash it.
    pub attempts: u32,
    /// What of this row cannot be read.
    pub damaged: Option<String>,
}

/// Which updates are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct HistoryQuery {
    /// Of this device only.
    pub device: Option<DeviceId>,
    /// Only those that failed or were refused.
    pub failed: bool,
    /// At most so many, the newest; all without.
    pub limit: Option<u32>,
}

/// Updates, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct History {
    /// Those that were asked for.
    pub updates: Vec<HistoryRow>,
    /// So many more would fit the question.
    pub more: u64,
}

/// All that is kept of one update.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct UpdateEvidence {
    /// The update.
    #[serde(flatten)]
    pub record: UpdateRecord,
    /// The runs of its tools, in order.
    pub attempts: Vec<AttemptRecord>,
    /// What of it cannot be read; empty when all can.
    pub damaged: Vec<String>,
}

/// How long the history is kept, and how large it may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// What ended before this is forgotten; seconds since 1970.
    pub not_before: i64,
    /// The database holds no more than so many bytes of anything.
    pub max_size: u64,
}
