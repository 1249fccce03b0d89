//! What the modules say to each other about one update.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use super::{
    BoardState, DeviceId, JobFailure, JobOutcome, JobStart, Link, Phase, ReportedVersion, Restoring, Sha256Digest,
    StagedImage, ToolOutput,
};

/// The id of one update: a UUID version 7, so ids sort by time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
pub struct UpdateId(pub uuid::Uuid);

impl fmt::Display for UpdateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a server may do with a device's firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FirmwareRight {
    /// Stage when the device is idle; execute, cancel and reset what it staged itself.
    #[default]
    Own,
    /// Also what others staged.
    Any,
    /// Only read.
    None,
}

/// Who asks for something.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Requester {
    /// A DM server.
    Server {
        /// Its short server id.
        short_id: u16,
        /// Its name in the configuration.
        name: String,
    },
    /// `nuncio flash`: counts as `any`.
    Local,
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { name, .. } => f.write_str(name),
            Self::Local => f.write_str("nuncio flash"),
        }
    }
}

/// What is asked of a device's firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirmwareOrder {
    /// Download from this URI (5/0/1).
    Fetch(String),
    /// Begin a push (first block of 5/0/0). Answered with [`FirmwareReply::Writer`].
    Push,
    /// Take a local file (`nuncio flash`).
    Stage {
        /// The file.
        path: PathBuf,
        /// The version that it is expected to bring, where the operator said so.
        version: Option<String>,
    },
    /// Drop what is staged or under way (`""` to 5/0/1, one NUL to 5/0/0).
    Reset,
    /// Stage the last good image again, in place of whatever is staged (`nuncio rollback`).
    Rollback,
    /// Flash what is staged (5/0/2).
    Execute,
    /// The same, also outside the maintenance window (`nuncio flash --now`, `nuncio rollback`).
    ExecuteNow,
    /// Give up and say so with result 10 (5/0/10).
    Cancel,
    /// 5/0/11: 0 critical, 1 mandatory, 2 optional.
    SetSeverity(u8),
    /// 5/0/13, seconds.
    SetMaxDefer(u32),
}

/// The answer to an order.
pub enum FirmwareReply {
    /// Accepted; what comes of it shows in the view.
    Done,
    /// A push may begin: write its bytes here.
    Writer(Box<dyn ImageWriter>),
    /// This requester has not the right (4.01).
    NotAllowed,
    /// Not in this state (4.05).
    WrongState,
    /// The value is no good (4.00).
    BadValue,
}

impl fmt::Debug for FirmwareReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "Done",
            Self::Writer(_) => "Writer",
            Self::NotAllowed => "NotAllowed",
            Self::WrongState => "WrongState",
            Self::BadValue => "BadValue",
        })
    }
}

/// Where a push's bytes go. Dropped without [`finish`](Self::finish): the push broke off.
pub trait ImageWriter: Send {
    /// Appends bytes; they are in the file when this returns. Called from an async task: never waits for the disk.
    ///
    /// # Errors
    /// When the file cannot take them; the push is over then.
    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError>;

    /// All bytes were written: checks begin, and the view tells what came of them.
    fn finish(self: Box<Self>);
}

/// Why pushed bytes could not be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// No space, or over the size cap: 4.13, and result 2 shows in the view.
    #[error("no room for the image: {0}")]
    TooLarge(String),
    /// The push was ended meanwhile (reset, cancelled, timed out): 4.08.
    #[error("the push was ended")]
    Ended,
    /// Anything else the disk said: accepted, and shown in the view.
    #[error("cannot store the image: {0}")]
    Failed(String),
}

/// 5/0/3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FirmwareState {
    /// Nothing staged.
    #[default]
    Idle = 0,
    /// Bytes are coming in.
    Downloading = 1,
    /// Staged and checked.
    Downloaded = 2,
    /// Being flashed and proven.
    Updating = 3,
}

/// 5/0/5, by the names of the object's version 1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateResult {
    /// Nothing to say yet.
    #[default]
    Initial = 0,
    /// Proven.
    Success = 1,
    /// Too large for the board or the gateway's disk.
    NotEnoughFlash = 2,
    /// Out of memory during the download.
    OutOfRam = 3,
    /// The download or push broke off for good.
    ConnectionLost = 4,
    /// Digest wrong or image damaged.
    IntegrityFailure = 5,
    /// Not an image for this board.
    UnsupportedPackage = 6,
    /// URI unparsable, refused or not found.
    InvalidUri = 7,
    /// Flash or proof failed.
    Failed = 8,
    /// Scheme unknown.
    UnsupportedProtocol = 9,
    /// Cancelled by a server.
    Cancelled = 10,
    /// Accepted, but cannot start yet.
    Deferred = 11,
}

/// What every server reads of a device's update.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct FirmwareView {
    /// 5/0/3.
    pub state: FirmwareState,
    /// 5/0/5.
    pub result: UpdateResult,
    /// 5/0/1 as it was written, credentials included (servers wrote it); masked everywhere else.
    pub uri: String,
    /// 5/0/6, `""` when unknown.
    pub package_name: String,
    /// 5/0/7, `""` when unknown.
    pub package_version: String,
    /// 5/0/11.
    pub severity: u8,
    /// 5/0/12, seconds since 1970; 0 before the first change.
    pub last_change: i64,
    /// 5/0/13, seconds.
    pub max_defer: u32,
}

/// What an update has written down before it acted.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct JournalEntry {
    /// The update.
    pub update: UpdateId,
    /// The device.
    pub device: DeviceId,
    /// Who asked for what is staged.
    pub requester: Requester,
    /// Where it is.
    pub step: JournalStep,
    /// 5/0/1 as written, for resuming; empty for a push or a file.
    pub uri: String,
    /// The version read before.
    pub version_before: Option<ReportedVersion>,
    /// The version that the device was last read to run when this was written.
    #[serde(default)]
    pub version: Option<ReportedVersion>,
    /// Seconds since 1970 when this was written.
    pub at: i64,
    /// View to restore after a restart.
    pub view: FirmwareView,
    /// What is known of what the board holds.
    #[serde(default)]
    pub board: BoardState,
}

/// Where a journalled update is.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum JournalStep {
    /// A download is under way.
    Downloading {
        /// The partial file.
        part: PathBuf,
        /// Bytes that were synced.
        synced: u64,
        /// Strong ETag of the answer; without one there is no resuming.
        etag: Option<String>,
    },
    /// Staged and checked.
    Staged {
        /// The image.
        image: StagedImage,
    },
    /// The tool is about to run, or ran.
    Flashing {
        /// The image.
        image: StagedImage,
        /// The port.
        link: Link,
        /// The process.
        start: JobStart,
        /// 1 for the first try.
        attempt: u32,
        /// Set while the last good image is put back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restoring: Option<Box<Restoring>>,
    },
    /// The tool verified; the version is being read.
    Proving {
        /// The image.
        image: StagedImage,
        /// Set while the last good image is put back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restoring: Option<Box<Restoring>>,
    },
    /// Over. Kept as history.
    Closed {
        /// `Ok` with the proven version (if the board tells one), or one line that says why not.
        outcome: Result<Option<ReportedVersion>, String>,
        /// What was flashed, when it came that far.
        image_sha256: Option<Sha256Digest>,
    },
}

/// Facts about an update, for logs, `nuncio status` and progress bars.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum UpdateEvent {
    /// Bytes are coming in.
    DownloadProgressed {
        /// So many.
        bytes: u64,
        /// Of so many, where known.
        total: Option<u64>,
    },
    /// Staged and checked.
    ImageStaged {
        /// Length in bytes.
        size: u64,
        /// Digest.
        sha256: Sha256Digest,
        /// Expected version.
        version: Option<String>,
    },
    /// What arrived was refused, or never arrived.
    StagingFailed {
        /// Step, why, what to do: one line.
        reason: String,
    },
    /// Accepted, but something holds it up.
    Deferred {
        /// What.
        reason: String,
    },
    /// The tool was let loose.
    ToolStarted {
        /// Its name.
        tool: String,
        /// Its version.
        tool_version: Option<String>,
        /// Its arguments.
        argv: Vec<String>,
    },
    /// The tool moves on.
    ToolProgressed {
        /// Doing what.
        phase: Phase,
        /// 0 to 100.
        percent: u8,
    },
    /// A line of its output.
    ToolSaid {
        /// The line.
        line: String,
    },
    /// All that it printed, as evidence; right before its end.
    ToolPrinted {
        /// What.
        output: ToolOutput,
    },
    /// The tool is done.
    ToolEnded {
        /// How.
        outcome: JobOutcome,
    },
    /// The tool failed, and is run again.
    Retrying {
        /// The number of the next run in this update, from 2.
        attempt: u32,
        /// How the last one failed.
        class: JobFailure,
        /// One line: why.
        reason: String,
        /// Variables that have other values than usual in the next run.
        vars: BTreeMap<String, String>,
    },
    /// What the board holds is read first, to have a way back.
    Saving,
    /// What the board held is kept.
    BoardSaved {
        /// Digest of what is kept.
        sha256: Sha256Digest,
        /// The version that the board told before.
        version: Option<String>,
    },
    /// What the board held could not be kept; the update goes on.
    NotSaved {
        /// Why.
        reason: String,
    },
    /// The last good image is put back in place of the one that failed.
    RollingBack {
        /// Why: how the flash or its proof failed.
        reason: String,
        /// The version that is put back, where it is known.
        version: Option<String>,
    },
    /// The last good image is back, and proven.
    RolledBack {
        /// The version that the board tells now.
        version: Option<ReportedVersion>,
    },
    /// The board does not tell that it runs; it keeps its name and waits for an image.
    Quarantined {
        /// Why, and what to do.
        reason: String,
    },
    /// Waiting for the board, then asking its version.
    Proving,
    /// Done: the new version runs.
    Proven {
        /// What the board tells; `None` where it can tell nothing.
        version: Option<ReportedVersion>,
    },
    /// Not done.
    UpdateFailed {
        /// Step, why, what to do: one line.
        reason: String,
    },
    /// Dropped on request.
    Dropped,
}
