//! What was seen of a device, and what it can be asked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{BleSeen, ReportedVersion, ServiceSeen, units};

/// The USB descriptors of a serial adapter or board, as sysfs shows them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UsbIds {
    /// Vendor id.
    pub vid: u16,
    /// Product id.
    pub pid: u16,
    /// Serial number as the chip tells it; clones often share one, bridges often have none.
    pub serial: Option<String>,
    /// Manufacturer string.
    pub manufacturer: Option<String>,
    /// Product string.
    pub product: Option<String>,
    /// The socket it hangs on, `BUS-PORT[.PORT...]` as sysfs names it, e.g. `1-1.4`.
    pub path: String,
    /// Interface number of this tty on a composite device.
    pub interface: u8,
}

/// One thing that was seen of a device.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Evidence {
    /// USB descriptors; read without touching the device.
    Usb(UsbIds),
    /// A service it announces by mDNS; it sent that of itself.
    Service(ServiceSeen),
    /// What it advertises by Bluetooth.
    Ble(BleSeen),
    /// Characteristics that were read from it, as text.
    Gatt {
        /// By UUID, in full and in small letters.
        values: BTreeMap<String, String>,
    },
    /// What its web server told, as text.
    Http {
        /// By the place in the JSON answer, without the first slash (RFC 6901).
        values: BTreeMap<String, String>,
    },
    /// What it told of itself over ESPHome's native API, by the names of its `api.proto`.
    Esphome {
        /// As text.
        values: BTreeMap<String, String>,
    },
    /// It answered a TCP connect.
    Connected,
    /// Firmata's report (`F0 79`) and, where asked for, how many pins its analog mapping lists.
    Firmata {
        /// Name of the sketch, e.g. `StandardFirmata.ino`.
        name: String,
        /// Firmware version, major.
        major: u8,
        /// Firmware version, minor.
        minor: u8,
        /// Number of pins of the analog mapping response (`F0 6A`).
        pins: Option<u16>,
    },
    /// A line the running program printed, and the named groups a board's pattern found in it.
    Banner {
        /// The line, without its end, at most 256 bytes, control characters replaced.
        line: String,
        /// The `version` group.
        version: Option<String>,
    },
    /// What a program told by Improv.
    Improv {
        /// Name of the firmware, e.g. `ESPHome`.
        firmware: String,
        /// Its version.
        version: String,
        /// The chip it runs on, e.g. `ESP32-C3`.
        chip: String,
        /// What the device is called.
        name: String,
    },
    /// What an SMP server (MCUmgr) told.
    Smp {
        /// Its images.
        slots: Vec<SmpSlot>,
        /// What the application is, as `uname -a` would tell.
        info: Option<String>,
    },
    /// What AT commands were answered, by command.
    At {
        /// The first line of each answer.
        values: BTreeMap<String, String>,
    },
    /// What a discovery program tells of it.
    Discovered {
        /// What the program is called here.
        by: String,
        /// Protocol of the port, e.g. `network`.
        protocol: String,
        /// What the port is called for people.
        label: String,
        /// Whatever it knows, keys in small letters.
        properties: BTreeMap<String, String>,
    },
    /// What was said in no language that it was asked in; control characters replaced.
    Said {
        /// The beginning of it.
        text: String,
    },
    /// The three signature bytes of an AVR, told by its bootloader.
    Signature {
        /// `stk500` (version 1, optiboot and ATmegaBOOT) or `stk500v2` (wiring).
        protocol: String,
        /// As the chip tells them, e.g. `1e 95 0f`.
        bytes: [u8; 3],
        /// Baud rate at which the bootloader answered.
        baud: u32,
    },
    /// What an Espressif ROM loader tells.
    EspChip {
        /// `ESP32`, `ESP32-C3`, `ESP32-S3`, `ESP8266`, or `unknown (magic 0x...)`.
        chip: String,
        /// Factory MAC address.
        mac: Option<[u8; 6]>,
        /// Version in the application descriptor found in flash at the asked offset.
        app_version: Option<String>,
    },
}

/// What the gateway's own look at disks is called where a discovery program has its name ([`Evidence::Discovered`]).
pub const DISKS: &str = "disk";

/// One slot for an image, as an SMP server tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct SmpSlot {
    /// Which image: 0 is the application's.
    pub image: u32,
    /// Which of its slots.
    pub slot: u32,
    /// Version of what is in it.
    pub version: String,
    /// Its hash, in hex digits.
    pub hash: String,
    /// It runs.
    pub active: bool,
    /// The next start runs it.
    pub pending: bool,
    /// It stays after that.
    pub confirmed: bool,
}

/// How far the gateway may go to find out what hangs on a serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Questions {
    /// Never open a port to look: USB descriptors and the configuration must do.
    Passive,
    /// Open ports and ask the running program (Firmata, banners); this restarts boards that reset when opened.
    Serial,
    /// Also reset into the bootloader and read signature or chip id.
    Bootloader,
}

/// A question that a transport can ask over a link it holds a lease for. Every one opens the port, and so may reset
/// the board.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// Open, listen for a banner or Firmata's announcement, ask Firmata once, close.
    Listen(ListenQuestion),
    /// Open, listen, ask the running program in some languages, close.
    Program(ProgramQuestion),
    /// Reset into an STK500 version 1 bootloader and read the signature.
    Stk500 {
        /// 115200 (optiboot) or 57600 (ATmegaBOOT).
        baud: u32,
    },
    /// Reset into an STK500 version 2 bootloader and read the signature.
    Stk500v2 {
        /// Usually 115200.
        baud: u32,
    },
    /// Reset into an Espressif ROM loader, read chip and MAC, and reset back into the program.
    EspRom {
        /// Usually 115200.
        baud: u32,
        /// Where to look for an application descriptor in flash, if at all.
        app_offset: Option<u32>,
    },
    /// Connect to a Bluetooth device and read characteristics.
    Gatt {
        /// Their UUIDs, in full and in small letters.
        characteristics: Vec<String>,
    },
    /// Ask a device what it is over ESPHome's native API.
    Esphome {
        /// The service that announces it, with its addresses.
        service: Box<ServiceSeen>,
    },
    /// Read the images of a device's SMP server over UDP.
    SmpUdp {
        /// The service that announces it, with its addresses.
        service: Box<ServiceSeen>,
        /// Its port.
        port: u16,
    },
    /// GET a path of a device's web server, and pick values from the JSON that it answers.
    Http {
        /// The service that announces it, with its addresses.
        service: Box<ServiceSeen>,
        /// Path and query.
        path: String,
        /// Places in the answer, without the first slash (RFC 6901).
        pointers: Vec<String>,
    },
}

/// Details of [`Question::Listen`].
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ListenQuestion {
    /// Line speed.
    pub baud: u32,
    /// Patterns tried on each received line, with a group named `version`. Compiled once when the board file is read.
    pub banners: Vec<String>,
    /// Also take Firmata's report, and query it when nothing came of itself.
    pub firmata: bool,
    /// Restart the program first (by modem lines), for boards that do not restart when their port is opened.
    pub reset: bool,
    /// How long to listen at most; ends early when a pattern matched or Firmata reported.
    #[serde(with = "units::duration")]
    pub within: Duration,
}

/// Details of [`Question::Program`]: the languages that are tried, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct ProgramQuestion {
    /// Line speed.
    pub baud: u32,
    /// Improv's request for device information.
    pub improv: bool,
    /// SMP's requests for images and application.
    pub smp: bool,
    /// AT commands, in order; each once.
    pub at: Vec<String>,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct Answer {
    /// What was learnt; empty when the device said nothing of use.
    pub evidence: Vec<Evidence>,
    /// The version the device told, with its source.
    pub version: Option<ReportedVersion>,
}

/// Why a question could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionFailed {
    /// The link is not there any more.
    #[error("the port is gone")]
    Gone,
    /// Somebody else has it.
    #[error("the port is held by {0}")]
    Busy(String),
    /// Permissions.
    #[error("not permitted to open the port")]
    NotPermitted,
    /// The transport cannot ask this on this kind of link.
    #[error("this link cannot be asked that")]
    Unsupported,
    /// Anything else the system said.
    #[error("{0}")]
    Failed(String),
}
