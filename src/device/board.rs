//! What the rest of the gateway must know of a board, taken from its file by `boards`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{ImageFormat, JobFailure, ListenQuestion, ProgramQuestion, units};

/// The id of a board type in the catalogue, e.g. `arduino-uno`.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = String)]
pub struct BoardId(Arc<str>);

impl BoardId {
    /// Wraps an id.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BoardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a board is known by, the surest first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Sureness {
    /// A `[[device]]` entry says so.
    Configured,
    /// Its USB ids belong to one board alone.
    UsbIds,
    /// Its bootloader told signature or chip.
    Bootloader,
    /// The running program told.
    Program,
    /// A file on the disk that it shows says so.
    Disk,
    /// It announces itself so.
    Announced,
    /// It is not known.
    Unknown,
}

impl Sureness {
    /// In one word.
    pub fn in_short(self) -> &'static str {
        match self {
            Self::Configured => "certain",
            Self::UsbIds | Self::Bootloader => "sure",
            Self::Program | Self::Disk | Self::Announced => "likely",
            Self::Unknown => "unknown",
        }
    }

    /// What speaks for it; nothing where nothing does.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Configured => "the configuration says so",
            Self::UsbIds => "its USB ids belong to this board alone",
            Self::Bootloader => "its bootloader told signature or chip",
            Self::Program => "the running program told",
            Self::Disk => "a file on the disk that it shows says so",
            Self::Announced => "it announces itself so, and anybody on the network could",
            Self::Unknown => "",
        }
    }
}

impl fmt::Display for Sureness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            "" => f.write_str(self.in_short()),
            reason => write!(f, "{}: {reason}", self.in_short()),
        }
    }
}

/// How a board is restarted (3/0/4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RebootMethod {
    /// Pulse DTR: Arduinos with a reset capacitor.
    Dtr,
    /// Pulse RTS: Espressif's two-transistor circuit (EN on RTS).
    Rts,
    /// Opening the port is enough.
    Open,
    /// Switching its USB port off and on, where the site allows that.
    UsbPower,
    /// There is no way; Reboot answers 5.00.
    #[default]
    None,
}

/// How a board's boot loader is called before a tool runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Enter {
    /// The tool does that itself.
    #[default]
    Tool,
    /// The port is opened at 1200 baud and closed with DTR down. The board goes, and comes back in the same socket as its boot
    /// loader, with other USB ids and maybe under another name (Arduino platform specification, `use_1200bps_touch`).
    #[serde(rename = "touch-1200")]
    Touch1200,
}

/// How a board makes itself visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointOut {
    /// Its running Firmata blinks a light.
    Firmata {
        /// Line speed.
        baud: u32,
        /// The pin that the light is on.
        pin: u8,
    },
    /// It is restarted some times, and its boot loader blinks.
    Restart(RebootMethod),
}

/// One step of the ladder that reads the running version, least disturbing first.
#[derive(Debug, Clone, PartialEq)]
pub enum VersionQuestion {
    /// Listen for a banner or Firmata.
    Listen(ListenQuestion),
    /// Ask the running program.
    Program(ProgramQuestion),
    /// Read the application descriptor through the ROM loader.
    EspAppDesc {
        /// Line speed.
        baud: u32,
        /// Where the application lies in flash.
        offset: u32,
    },
}

/// Which images fit a board.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ImageRules {
    /// Accepted formats, in the order of preference.
    pub formats: Vec<ImageFormat>,
    /// First address behind the program area (the bootloader's start or the end of flash, in bytes). For formats that
    /// carry no addresses: the largest file.
    pub max_size: u64,
    /// Lowest address of the program area; 0 for AVR.
    pub min_address: u64,
    /// ELF machine number (`e_machine`): 83 for AVR.
    pub elf_machine: Option<u16>,
    /// What the ELF header's flags must be: one machine number stands for chips that do not run each other's programs.
    pub elf_flags: Option<ElfFlags>,
    /// Chip id of an ESP image (offset 0x0C of its header); `None` with `esp8266_header` for the old header.
    pub esp_chip_id: Option<u16>,
    /// The image has the ESP8266's 8-byte header, without chip id and digest.
    pub esp8266_header: bool,
}

/// A condition on an ELF header's `e_flags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElfFlags {
    /// The bits that count: 0x7f for AVR, where they are the architecture.
    pub mask: u32,
    /// What they must be: 5 for avr5 (ATmega328P), 6 for avr6 (ATmega2560).
    pub value: u32,
}

/// Everything an update must know of a board's type.
#[derive(Debug, Clone, PartialEq)]
pub struct FlashProfile {
    /// The board.
    pub board: BoardId,
    /// Which images fit.
    pub image: ImageRules,
    /// Variables for the tool's argument templates, e.g. `mcu`, `baud`, `offset`.
    pub vars: BTreeMap<String, String>,
    /// How long the link may be away after the tool ended.
    pub expect_return: Duration,
    /// How long the new program must run before its version counts.
    pub soak: Duration,
    /// The ladder that reads the running version; empty when the board can tell none.
    pub version: Vec<VersionQuestion>,
    /// How it is restarted.
    pub reboot: RebootMethod,
    /// How its boot loader is called.
    pub enter: Enter,
    /// Limit for the whole job; a tool's own limit may be lower.
    pub timeout: Duration,
    /// When a run of the tool that failed is followed by another one.
    pub retries: RetryRules,
    /// Other values of variables to try then.
    pub alternatives: Vec<Alternative>,
    /// When the last good image is put back.
    pub rollback: RollbackPolicy,
    /// Where an image to go back to comes from before any has proven itself.
    pub way_back: WayBack,
    /// What a flash must have for itself.
    pub exclusive: Exclusive,
}

/// What a flash must have for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exclusive {
    /// Its port.
    #[default]
    Port,
    /// The USB hub that it hangs on: no second flash runs there.
    Hub,
}

/// When a run of the tool that failed is followed by another one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryRules {
    /// Runs of the tool for one Execute, the first included.
    pub max: u32,
    /// Pause before the next one.
    #[serde(with = "units::duration")]
    pub backoff: Duration,
    /// After failures of these classes.
    pub on: Vec<JobFailure>,
}

impl Default for RetryRules {
    fn default() -> Self {
        let on = vec![JobFailure::NoSync, JobFailure::Noise, JobFailure::PortLost, JobFailure::PortUnavailable];
        Self { max: 3, backoff: Duration::from_secs(2), on }
    }
}

/// Other values of some variables, tried after failures of some classes: a lower speed, the other boot loader's.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alternative {
    /// After these; empty: after any that is retried.
    #[serde(default)]
    pub on: Vec<JobFailure>,
    /// The values.
    pub vars: BTreeMap<String, String>,
}

/// When the last good image is put back in place of one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RollbackPolicy {
    /// Never, and nothing is kept for it.
    Never,
    /// At once when a flash or its proof has failed, and when an operator says so.
    OnFailure,
    /// When an operator says so.
    #[default]
    OnRequest,
}

/// Where an image to go back to comes from before any has proven itself here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WayBack {
    /// What the board holds is read before its first flash, where the tool's file says how.
    #[default]
    Backup,
    /// Only what has proven itself is kept.
    PreviousImage,
}
