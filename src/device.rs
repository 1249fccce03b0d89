//! Plain types that at least two siblings share: what a device is, how it is reached, what was seen of it, and what
//! the modules say to each other about an update of it.
//!
//! No I/O, no clock, and no method that decides anything: a module that wants to decide takes these values and does so
//! in its own folder. Nothing here speaks LwM2M; `proxy` translates.

mod ble;
mod board;
mod brake;
mod builtin;
mod evidence;
mod file_error;
mod flashing;
mod good;
mod history;
mod image;
mod job;
mod lease;
mod link;
mod masking;
mod own;
mod point;
mod schema;
mod service;
mod tape;
mod text;
mod token;
pub mod units;
mod update;

use std::fmt;
use std::sync::Arc;

pub use ble::{BleAddress, BleAddressError, BleAddressKind, BleSeen};
pub use board::{
    Alternative, BoardId, ElfFlags, Enter, Exclusive, FlashProfile, ImageRules, PointOut, RebootMethod, RetryRules,
    RollbackPolicy, Sureness, VersionQuestion, WayBack,
};
pub use brake::{Brake, BrakeFailure};
pub use builtin::{BuiltinClient, BuiltinOffer, BuiltinTarget, BuiltinValue, BuiltinView, OfferState};
pub use evidence::{
    Answer, DISKS, Evidence, ListenQuestion, ProgramQuestion, Question, QuestionFailed, Questions, SmpSlot, UsbIds,
};
pub use file_error::FileError;
pub use flashing::{FlashingPhase, FlashingView};
pub use good::{BoardState, GoodImage, GoodOrigin, Goods, Restoring};
pub use history::{
    AttemptRecord, AttemptState, AttemptTask, GatewayRecord, History, HistoryQuery, HistoryRow, ImageRecord,
    OpenRecord, Recorded, Retention, TimedEvent, UpdateEvidence, UpdateOutcome, UpdateRecord,
};
pub use image::{Damage, ImageFormat, ImageInfo, Sha256Digest, StagedImage};
pub use job::{FlashJob, JobEvent, JobFailure, JobOutcome, JobStart, JobTask, Phase, ToolOutput};
pub use lease::{GiveBack, Lease};
pub use link::{Access, Link, LinkParseError, LinkReport};
pub use masking::{masked_uri, sounds_secret};
pub use own::{Attached, HostSample, OwnInfo, Uplink};
pub use point::{
    GattPoint, NumberForm, POINT_TEXT_MAX, POINTS_MAX, PinMode, PinPoint, Point, PointOrder, PointRefused, PointValue,
    PointsSeen, ShownPoint, Watch,
};
pub use service::{ServiceName, ServiceNameError, ServiceSeen, ServiceType, ServiceTypeError};
pub use tape::{TAPE_SCHEMA, TapeEvent, TapeLine};
pub use text::plain_text;
pub use token::{Role, TokenRecord};
pub use update::{
    FirmwareOrder, FirmwareReply, FirmwareRight, FirmwareState, FirmwareView, ImageWriter, JournalEntry, JournalStep,
    Requester, UpdateEvent, UpdateId, UpdateResult, WriteError,
};

/// The name of a device inside this gateway: what logs, the CLI and the store call it. Unique, never reused.
///
/// A `[[device]]` entry's `name`, else the endpoint name.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct DeviceId(Arc<str>);

impl DeviceId {
    /// Wraps a name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes a device the same one tomorrow, and how sure that is.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "key")]
pub enum Identity {
    /// A MAC address or chip id, 12 hex digits: strong.
    Mac(String),
    /// `vid-pid-serial` of a USB chip with a serial number of its own.
    UsbSerial(String),
    /// A Bluetooth address that stays, 12 hex digits.
    Ble(String),
    /// A `[[device]]` entry: the user says so.
    Configured(String),
    /// The host name under which it announces itself: weak, anybody may take it when it is free.
    Host(String),
    /// The USB socket it hangs on: weak, the board behind it may be exchanged.
    UsbPath(String),
    /// Nothing but the path of its port: weakest.
    PortPath(String),
}

impl Identity {
    /// For people: how it is recognised, and how far that can be relied on.
    pub fn in_words(&self) -> String {
        match self {
            Self::Mac(mac) => format!("its MAC address or chip id {mac}"),
            Self::UsbSerial(serial) => format!("its USB serial number {serial}"),
            Self::Configured(name) => format!("its [[device]] entry {name}"),
            Self::UsbPath(path) => {
                format!("the USB socket it hangs on, {path} (another board there would pass for it)")
            }
            Self::Ble(address) => format!("its Bluetooth address {address}"),
            Self::Host(host) => format!("its host name {host} (whatever takes that name would pass for it)"),
            Self::PortPath(path) => format!("its port {path} (another board there would pass for it)"),
        }
    }
}

/// What the store keeps of a device that once was here, so that it gets the same names again and nobody else does.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct IdentityRecord {
    /// What it is recognised by.
    pub identity: Identity,
    /// Its name in this gateway.
    pub id: DeviceId,
    /// Its endpoint name.
    pub endpoint: String,
}

/// A version that was read from the device itself, and where it came from. Never invented, never the image's claim.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ReportedVersion {
    /// The version as the device tells it, e.g. `1.4.2`.
    pub text: String,
    /// Which question was answered, or where it announces it: `banner`, `firmata`, `esp-app-desc`, `mdns-txt KEY`.
    pub source: String,
}

/// How a device itself is connected, where it is not on a wire of the gateway's.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Connectivity {
    /// By what.
    pub bearer: Bearer,
    /// How strongly the gateway receives it, in dBm.
    pub signal: Option<i16>,
    /// Its addresses.
    pub addresses: Vec<String>,
}

/// What a device is connected by, with its number in 4/0/0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Bearer {
    /// WiFi.
    Wlan = 21,
    /// Bluetooth.
    Bluetooth = 22,
    /// Ethernet.
    Ethernet = 41,
}

/// A device as the rest of the gateway knows it: made by `boards`, given to `proxy`, `update` and `control`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct DeviceInfo {
    /// Its name here.
    pub id: DeviceId,
    /// Its LwM2M endpoint name; given once, kept in the store, never reused.
    pub endpoint: String,
    /// What it is recognised by.
    pub identity: Identity,
    /// How it is reached now.
    pub link: Link,
    /// Its type in the catalogue.
    pub board: BoardId,
    /// 3/0/0.
    pub manufacturer: Option<String>,
    /// 3/0/1.
    pub model: Option<String>,
    /// 3/0/17.
    pub device_type: Option<String>,
    /// 3/0/2, only where the device tells one.
    pub serial_number: Option<String>,
    /// 3/0/18, only where the device tells one.
    #[serde(default)]
    pub hardware_version: Option<String>,
    /// 3/0/3, only after it was read from the device.
    pub version: Option<ReportedVersion>,
    /// Object 4; `None` for a device on a wire, and where the bearer is not known.
    #[serde(default)]
    pub connectivity: Option<Connectivity>,
    /// How 3/0/4 restarts it.
    pub reboot: RebootMethod,
    /// Why no server can update it, with the remedy; `None` when it can.
    pub not_updatable: Option<String>,
    /// Why it is in quarantine: a flash ended badly and it does not tell that it runs. Shows as 3/0/11 = 8.
    pub quarantined: Option<String>,
}
