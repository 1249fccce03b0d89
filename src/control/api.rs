//! What can be seen of a gateway. Every type is written as JSON under a schema in `docs/schema/`: a field is only ever
//! added, and what is unknown is `null`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::device::{
    Access, BoardId, Brake, DeviceId, FirmwareState, GoodOrigin, HistoryRow, Identity, Link, Phase, ReportedVersion,
    Requester, Role, Sha256Digest, ShownPoint, Sureness, UpdateId, UpdateResult,
};

/// All devices, and the links that are no device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeviceList {
    /// Sorted by name.
    pub devices: Vec<DeviceStatus>,
    /// Ports that carry no known device, or cannot be used; sorted by name.
    pub links: Vec<LinkStatus>,
}

/// The gateway, its servers, and its devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The gateway itself.
    pub gateway: GatewayStatus,
    /// In the configuration's order.
    pub servers: Vec<ServerStatus>,
    /// The one asked for, or all, sorted by name.
    pub devices: Vec<DeviceStatus>,
}

/// The daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GatewayStatus {
    /// `[gateway] name`.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Seconds since 1970 when it started.
    pub started: i64,
    /// State folder.
    #[schema(value_type = String)]
    pub state: PathBuf,
    /// The configuration file in use; `None` when only the defaults hold.
    #[schema(value_type = Option<String>)]
    pub config: Option<PathBuf>,
    /// Tasks that run: one for each client, and for each thing under way.
    pub tasks: usize,
    /// What the operator should know, one line each: a damaged database that was put aside, a reload that failed.
    pub notes: Vec<String>,
    /// The endpoint that is the gateway itself; `None` where it is none.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Its life at each server.
    #[serde(default)]
    pub registrations: Vec<RegistrationStatus>,
}

/// One Device Management server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerStatus {
    /// `[[server]] name`.
    pub name: String,
    /// Its URI.
    pub uri: String,
    /// Its short server id.
    pub short_id: u16,
    /// So many devices are registered there ...
    pub registered: usize,
    /// ... of so many.
    pub devices: usize,
    /// The last failure, until a device is registered again.
    pub last_error: Option<String>,
}

/// One device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeviceStatus {
    /// Its name here.
    pub id: DeviceId,
    /// Its endpoint name.
    pub endpoint: String,
    /// What it is recognised by.
    pub identity: Identity,
    /// How it is reached.
    pub link: Link,
    /// Its type.
    pub board: BoardId,
    /// What its type is known by.
    pub sureness: Sureness,
    /// Whether its link is there.
    pub present: bool,
    /// Whether its link may be used.
    pub access: Access,
    /// Who uses its link just now: `update of press-3`.
    pub in_use_by: Option<String>,
    /// The version read from it.
    pub version: Option<ReportedVersion>,
    /// Why no server can update it, with the remedy.
    pub not_updatable: Option<String>,
    /// Why it is in quarantine: a flash ended badly, and it does not tell that it runs.
    pub quarantined: Option<String>,
    /// What `nuncio rollback` would put back.
    pub way_back: Option<WayBackStatus>,
    /// One for each server.
    pub registrations: Vec<RegistrationStatus>,
    /// Its firmware update.
    pub update: UpdateStatus,
}

/// An image that a device can go back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WayBackStatus {
    /// The version that the board told with it, where it told one.
    pub version: Option<String>,
    /// Its digest.
    pub sha256: Sha256Digest,
    /// Its length in bytes.
    pub size: u64,
    /// How it is known to be good.
    pub origin: GoodOrigin,
    /// Seconds since 1970 when it was last known to run.
    pub since: i64,
}

impl DeviceStatus {
    /// Whether an operator's word means this device: its name, its endpoint name, or its link with or without `serial:`.
    pub fn answers_to(&self, word: &str) -> bool {
        let path = self.link.serial_path().is_some_and(|path| path.to_str() == Some(word));
        self.id.as_str() == word || self.endpoint == word || path || self.link.to_string() == word
    }
}

/// A device's life at one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistrationStatus {
    /// The server's name.
    pub server: String,
    /// Its short server id.
    pub short_id: u16,
    /// Where it is.
    pub state: RegistrationState,
    /// The registration id as the server gave it: the segments of its Location-Path behind the first, joined by `/`.
    pub registration_id: Option<String>,
    /// Lifetime in seconds.
    pub lifetime_s: u64,
    /// Seconds until the registration would run out.
    pub expires_in_s: Option<u64>,
    /// Seconds until the next try, after a failure.
    pub retry_in_s: Option<u64>,
    /// The last failure, until it is registered again.
    pub last_error: Option<String>,
}

/// Where a registration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RegistrationState {
    /// Nothing was tried yet.
    Idle,
    /// A Register is on its way.
    Registering,
    /// The server knows the device.
    Registered,
    /// It failed and will be tried again.
    Waiting,
    /// A De-register is on its way.
    Deregistering,
    /// The device left the server.
    Deregistered,
}

/// A device's update as an operator sees it; credentials in URIs masked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct UpdateStatus {
    /// 5/0/3.
    pub state: FirmwareState,
    /// 5/0/5.
    pub result: UpdateResult,
    /// Which update this is; `None` before the first.
    pub id: Option<UpdateId>,
    /// Who asked for it.
    pub requester: Option<Requester>,
    /// What the tool is doing.
    pub phase: Option<Phase>,
    /// How far it is, 0 to 100, of the phase or the download.
    pub percent: Option<u8>,
    /// Where the image comes from, login masked; `None` for a push or a file.
    pub uri: Option<String>,
    /// Digest of the image.
    pub image_sha256: Option<Sha256Digest>,
    /// The version that is expected after it.
    pub expected_version: Option<String>,
    /// Seconds since 1970 of the last change; `None` before the first.
    pub changed: Option<i64>,
    /// One line: step, why, what to do. For a failure or what holds it up.
    pub message: Option<String>,
}

/// A link that is no device, or cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkStatus {
    /// Its name.
    pub link: Link,
    /// Whether it may be used, and if not, the remedy.
    pub access: Access,
    /// What was seen of it, in words: `USB 1a86:7523 "USB Serial"`.
    pub seen: Option<String>,
    /// Why it is no device, with the remedy.
    pub note: Option<String>,
    /// Whether an operator's approval makes a device of it: its board is known, and only a rule of joining keeps it out.
    pub approvable: bool,
}

/// Why something is taken for what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// What was asked about.
    pub subject: WhatWhy,
    /// What it is taken for.
    pub board: Option<BoardId>,
    /// What it is recognised by tomorrow.
    pub identity: Option<Identity>,
    /// How sure that is, in words.
    pub sureness: Option<String>,
    /// In the order in which they were taken.
    pub steps: Vec<WhyStep>,
}

/// A device, or a link that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhatWhy {
    /// The device, when it is one.
    pub device: Option<DeviceId>,
    /// Its link.
    pub link: Link,
}

/// One thing that was looked at, or was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyStep {
    /// What: `[[device]] press-3`, `USB ids`, `Firmata`, `bootloader stk500`.
    pub what: String,
    /// What it came to.
    pub verdict: WhyVerdict,
    /// Which board it speaks for or against, what was seen, or why it was not asked.
    pub detail: String,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhyVerdict {
    /// It speaks for a board.
    Matched,
    /// It rules one out.
    Excluded,
    /// It was asked and told nothing of use.
    Asked,
    /// It was not asked.
    NotAsked,
    /// It was seen, and decides nothing.
    Noted,
    /// It speaks against what was decided.
    Contradicts,
}

/// What is to be done about the brakes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "order")]
pub enum BrakeOrder {
    /// Tell which hold.
    List,
    /// Hold an image, or every image, back from a board type.
    Pull {
        /// The board type.
        board: String,
        /// Digest of the image, 64 hex digits.
        image: Option<String>,
    },
    /// Let go.
    Release {
        /// A board type, or the beginning of an image's digest; all without.
        what: Option<String>,
    },
}

/// The brakes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BrakeReport {
    /// Those that hold.
    pub brakes: Vec<Brake>,
    /// Those that were let go just now.
    pub released: Vec<ReleasedBrake>,
}

/// A brake that was let go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleasedBrake {
    /// The board type.
    pub board: BoardId,
    /// The image; `None`: every image.
    pub image: Option<Sha256Digest>,
}

/// What is to be done about a device's being here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "order")]
pub enum JoinOrder {
    /// Let it join.
    Approve {
        /// Its link, or the name that it had.
        device: String,
    },
    /// As if it had never been here.
    Forget {
        /// Its name or endpoint name.
        device: String,
        /// Whether it is kept out from now on.
        deny: bool,
    },
    /// Another name inside this gateway.
    Rename {
        /// Its name or endpoint name.
        device: String,
        /// The new name.
        name: String,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinReport {
    /// The device as it is called now; `None` when it is not here.
    pub device: Option<DeviceId>,
    /// Its endpoint name.
    pub endpoint: Option<String>,
    /// What was done, in words.
    pub done: String,
}

/// A device that was made visible.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identified {
    /// The device.
    pub device: DeviceId,
    /// By what, in words.
    pub by: String,
}

/// What a device tells besides what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Points {
    /// The device.
    pub device: DeviceId,
    /// Why they are not read just now; `None` while they are.
    pub not_read: Option<String>,
    /// As servers are shown them.
    pub points: Vec<ShownPoint>,
}

/// Who has a link, an adapter or a hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Who {
    /// The link; else `adapter hci0` or `hub usb:1-2`.
    pub link: String,
    /// The device on it.
    pub device: Option<DeviceId>,
    /// Who inside the daemon holds it.
    pub holder: Option<String>,
    /// Whether it can be used, and who outside the daemon has it.
    pub access: Access,
}

/// How `nuncio flash` ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    /// The device.
    pub device: DeviceId,
    /// The update, when it came to one.
    pub update: Option<UpdateId>,
    /// How.
    pub outcome: Outcome,
    /// The version that the device tells now.
    pub version: Option<ReportedVersion>,
    /// One line: step, why, what to do; for anything but `proven`.
    pub reason: Option<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// How an update ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The new firmware is on the board, and proven.
    Proven,
    /// It is not, or there is no proof.
    Failed,
    /// It was given up on request before anything was flashed.
    Cancelled,
}

/// Updates, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryList {
    /// Those that were asked for.
    pub updates: Vec<HistoryRow>,
    /// So many older ones would fit the question as well.
    pub more: u64,
    /// What the operator should know, one line each: a damaged database that was put aside.
    pub notes: Vec<String>,
}

/// What is to be done about tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "order")]
pub enum TokenOrder {
    /// Tell which there are.
    List,
    /// Make one.
    Add {
        /// Its name: lower-case letters, digits, `-` and `_`; `None`: one is made up.
        name: Option<String>,
        /// What it is good for.
        role: Role,
        /// For so many seconds; `None`: for ever.
        lifetime_s: Option<u64>,
    },
    /// Make one worthless.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// The tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenReport {
    /// Those that are good for something, by name.
    pub tokens: Vec<TokenStatus>,
    /// The one that was made just now, whole. It is kept nowhere.
    pub token: Option<String>,
    /// Where the page is, e.g. `http://127.0.0.1:8080`; `None` where nothing listens.
    pub page: Option<String>,
}

/// A token as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenStatus {
    /// Its name.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    /// Seconds since 1970.
    pub since: i64,
    /// Seconds since 1970; `None`: never.
    pub expires: Option<i64>,
}
