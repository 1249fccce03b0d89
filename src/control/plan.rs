//! What an update would be: the answer to `nuncio plan`, as JSON under `docs/schema/plan-1.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::WayBackStatus;
use crate::device::{
    BoardId, DeviceId, ImageFormat, JobFailure, Link, ReportedVersion, RollbackPolicy, Sha256Digest, UpdateId,
    UpdateResult,
};

/// An update as it would be if it were ordered now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Whether it would be carried out.
    pub verdict: PlanVerdict,
    /// The device.
    pub device: DeviceId,
    /// Its type.
    pub board: BoardId,
    /// How it is reached.
    pub link: Link,
    /// What it runs now, as it told it.
    pub version: Option<ReportedVersion>,
    /// The file that was asked about.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// What it holds; `None` for one that would be refused.
    pub image: Option<PlannedImage>,
    /// 5/0/5 as servers would read it, where the image would be refused.
    pub result: Option<UpdateResult>,
    /// All that was looked at, in the order in which an update does.
    pub checks: Vec<PlanCheck>,
    /// The runs of the tool, in order. Their commands name the file that was asked about; an update hands over its own
    /// copy of it.
    pub runs: Vec<PlannedRun>,
    /// What follows a run that fails.
    pub retries: PlannedRetries,
    /// What would have to come true for it to count as proven.
    pub proof: Option<PlannedProof>,
    /// What there is to go back to.
    pub way_back: PlannedWayBack,
    /// The newest update of the device that proved itself.
    pub last: Option<PastUpdate>,
}

/// Whether an update would be carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlanVerdict {
    /// It would begin at once.
    Ready,
    /// It would be accepted, and begin later by itself.
    Waits,
    /// It would not be carried out.
    Refused,
}

/// What is known of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedImage {
    /// Digest of the file.
    pub sha256: Sha256Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Its format.
    pub format: ImageFormat,
    /// Bytes that would be written and verified.
    pub flash_bytes: u64,
    /// What is overwritten, `[start, end)` in bytes; empty where neither the image nor the board tells where it goes.
    pub overwritten: Vec<(u64, u64)>,
    /// The version it is expected to bring.
    pub version: Option<String>,
    /// Id of the key whose signature was found right.
    pub signed_by: Option<String>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanCheck {
    /// What.
    pub what: String,
    /// What came of it.
    pub state: PlanCheckState,
    /// In words, with the remedy.
    pub detail: String,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlanCheckState {
    /// Nothing against it.
    Ok,
    /// It would be waited for.
    Waits,
    /// It keeps the update from being carried out.
    Failed,
}

/// One run of the tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedRun {
    /// What for.
    pub task: PlannedTask,
    /// The tool.
    pub tool: String,
    /// Its version, as it tells it.
    pub tool_version: Option<String>,
    /// The whole argument vector, program first; secrets masked.
    pub argv: Vec<String>,
    /// It is ended after so many seconds.
    pub limit_s: u64,
    /// What its sandbox allows, in words.
    pub sandbox: String,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedTask {
    /// It reads what the board holds, for the way back.
    Backup,
    /// It writes and verifies the image.
    Flash,
}

/// What follows a run that fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedRetries {
    /// Runs of the tool for one Execute, the first included.
    pub max: u32,
    /// After failures of these classes.
    pub on: Vec<JobFailure>,
    /// Other values of variables that would be tried then.
    pub alternatives: Vec<PlannedAlternative>,
}

/// Other values of variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedAlternative {
    /// After these; empty: after any that is retried.
    pub on: Vec<JobFailure>,
    /// The values.
    pub vars: BTreeMap<String, String>,
}

/// What would prove an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedProof {
    /// The tool itself must have compared so many bytes with the flash, in the same run.
    pub verified_bytes: u64,
    /// The board must be back within so many seconds ...
    pub back_within_s: u64,
    /// ... and run for so long before it is asked.
    pub soak_s: u64,
    /// Whether the board can tell its version, and must.
    pub tells_version: bool,
    /// Which it must be; any where that is not known.
    pub version: Option<String>,
}

/// What there is to go back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedWayBack {
    /// When it is put back.
    pub policy: RollbackPolicy,
    /// The first run saves what the board holds now.
    pub saved_first: bool,
    /// What is kept already.
    pub kept: Option<WayBackStatus>,
}

/// An update that was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PastUpdate {
    /// Which.
    pub update: UpdateId,
    /// Seconds since 1970 when it began.
    pub began: i64,
    /// How long flash and proof took, in milliseconds.
    pub took_ms: Option<u64>,
    /// What the board told then.
    pub version: Option<String>,
}
