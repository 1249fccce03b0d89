//! What `update` and `executors` say to each other about one run of a tool.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{BoardId, DeviceId, Link, Sha256Digest, StagedImage, UpdateId};

/// What a run of a tool is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobTask {
    /// Write the job's image and verify it.
    Flash,
    /// Read what the board holds now into this file, where the tool's file says how (`backup`): the way back. Ends as
    /// [`JobOutcome::Saved`].
    Backup {
        /// The file to make, absolute; nothing is there yet.
        to: PathBuf,
    },
}

/// One run of a flash tool, as `update` orders it from `executors`.
#[derive(Debug, Clone, PartialEq)]
pub struct FlashJob {
    /// What for.
    pub task: JobTask,
    /// The update it belongs to.
    pub update: UpdateId,
    /// The device.
    pub device: DeviceId,
    /// Its board: decides the tool, by `[executors]`.
    pub board: BoardId,
    /// Variables from the board file.
    pub vars: std::collections::BTreeMap<String, String>,
    /// The port.
    pub link: Link,
    /// The image.
    pub image: StagedImage,
    /// 1 for the first try.
    pub attempt: u32,
    /// How large a program the board takes, in bytes from the beginning of its program area.
    pub board_size: u64,
    /// Limit for the whole run.
    pub timeout: Duration,
}

/// A tool that is ready to run and waits for the word: the process exists, the program has not begun.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct JobStart {
    /// The tool's name.
    pub tool: String,
    /// The program's path.
    #[schema(value_type = String)]
    pub program: PathBuf,
    /// Its version, as the tool tells it.
    pub tool_version: Option<String>,
    /// The whole argument vector, program first; secrets masked.
    pub argv: Vec<String>,
    /// Process id, also the id of its process group.
    pub pid: u32,
    /// Start time of the process in clock ticks since boot (`/proc/PID/stat`, field 22).
    pub start_time: u64,
    /// Value of the marker variable `NUNCIO_JOB` in its environment.
    pub marker: String,
}

/// What a tool is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Started, not yet writing.
    Prepare,
    /// Writing flash.
    Write,
    /// Comparing flash with the image.
    Verify,
}

/// How a run of a tool ended, by class. Retry, result code and text are functions of this.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum JobFailure {
    /// The port could not be opened or is held by somebody.
    PortUnavailable,
    /// The port went away while the tool ran.
    PortLost,
    /// The bootloader did not answer.
    NoSync,
    /// Bytes were garbled.
    Noise,
    /// Another chip than the image is for.
    WrongDevice,
    /// The tool compared and found a difference.
    VerifyFailed,
    /// The tool said success without a verify over exactly the image.
    Unverified,
    /// No progress for the stall limit.
    Stalled,
    /// The total limit was reached.
    TimedOut,
    /// It took more than it may: a file too large, a folder too full, too much of the processor.
    LimitExceeded,
    /// Ended by a signal that the gateway did not send, or by the gateway's own death.
    Interrupted,
    /// The program could not be started.
    NotStarted,
    /// Any other failure the tool reports.
    ToolFailed,
}

/// What a run printed, as it is kept as evidence.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ToolOutput {
    /// Its beginning and its end, both streams as they came, cleaned of control characters and terminal escapes; the
    /// middle is left out beyond 64 KiB, and a line says so.
    pub text: String,
    /// Bytes that it printed in all.
    pub printed: u64,
    /// From the word to begin to the end of its last process, in milliseconds.
    pub took_ms: u64,
}

impl fmt::Display for JobFailure {
    /// As board and tool files write it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use serde::Serialize as _;
        self.serialize(f)
    }
}

/// The end of a run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum JobOutcome {
    /// The tool completed its own verify over exactly the image's bytes, in this job.
    Verified {
        /// How many bytes it says it verified.
        bytes: u64,
    },
    /// The board's present image was read and is in the file that the job named.
    Saved {
        /// Its length in bytes.
        size: u64,
        /// Its digest.
        sha256: Sha256Digest,
    },
    /// It did not.
    Failed {
        /// Class.
        class: JobFailure,
        /// The line that decided, or what the gateway saw; one line.
        detail: String,
    },
}

/// What `executors` tells of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEvent {
    /// The process waits to be released.
    Ready(JobStart),
    /// How far it is.
    Progress {
        /// Doing what.
        phase: Phase,
        /// 0 to 100.
        percent: u8,
    },
    /// A line of its output, cleaned, at most 512 bytes.
    Line(String),
    /// All that it printed, cleaned and bounded; comes once, right before the end, never dropped.
    Output(ToolOutput),
    /// It is over, and nothing of it is left running.
    Ended(JobOutcome),
}
