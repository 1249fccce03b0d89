//! Points: single values that a device tells, or takes, besides what it is: a temperature, a switch, a pin.
//!
//! A transport *watches* a device and tells its points under keys of its own protocol; `boards` says which IPSO object each
//! one becomes, by the board's file; `proxy` shows them to servers. The same keys come back when a server writes.

use std::fmt;
use std::time::Duration;

use tokio::sync::oneshot;

/// Longest key, name, class, unit or text value that is kept, in bytes.
pub const POINT_TEXT_MAX: usize = 255;
/// At most so many points of one device are kept.
pub const POINTS_MAX: usize = 256;

/// What a point holds.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PointValue {
    /// A number; never infinite nor NaN.
    Number(f64),
    /// On or off.
    Flag(bool),
    /// Text.
    Text(String),
}

/// A point as the device's own protocol describes it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Point {
    /// What names it for as long as the device lives, and leads back to it: `sensor/temperature`, `gatt/2a6e`, `pin/13`.
    pub key: String,
    /// The part of the protocol that it is of, which board files match on: `sensor`, `switch`, `gatt`, `pin`.
    pub kind: String,
    /// What it measures, where the protocol says so: `temperature`.
    pub class: Option<String>,
    /// In which unit, where the protocol says so: `°C`.
    pub unit: Option<String>,
    /// What its user calls it.
    pub name: Option<String>,
    /// Whether the device takes a value for it.
    pub writable: bool,
    /// What it holds now; `None` while the device has not told, or says that it knows no value.
    pub value: Option<PointValue>,
}

/// How a device is watched for its points, as its board file says.
#[derive(Debug, Clone, PartialEq)]
pub enum Watch {
    /// Over the native API of an ESPHome device, which tells what it has.
    Esphome,
    /// By reading Bluetooth characteristics again and again. Keys are `gatt/UUID`, kind `gatt`.
    Gatt {
        /// Which.
        values: Vec<GattPoint>,
        /// How often.
        every: Duration,
    },
    /// Over a running Firmata, which tells pins as they change. Keys are `pin/NUMBER`, kind `pin`.
    Firmata {
        /// Line speed.
        baud: u32,
        /// Which pins, and how they are used.
        pins: Vec<PinPoint>,
    },
}

/// A characteristic that holds a number.
#[derive(Debug, Clone, PartialEq)]
pub struct GattPoint {
    /// Its UUID, in full and in small letters.
    pub uuid: String,
    /// How the number is written there.
    pub form: NumberForm,
    /// The number that means that no value is known, as it is written there.
    pub unknown: Option<i64>,
}

/// A number of some bytes, the lowest first (Core specification supplement, GATT Specification Supplement, 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberForm {
    /// One byte.
    U8,
    /// One byte, signed.
    S8,
    /// Two bytes.
    U16,
    /// Two bytes, signed.
    S16,
    /// Three bytes.
    U24,
    /// Three bytes, signed.
    S24,
    /// Four bytes.
    U32,
    /// Four bytes, signed.
    S32,
}

/// A pin of a Firmata board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinPoint {
    /// Its number, as Firmata counts: on an Uno 14 is A0.
    pub pin: u8,
    /// What for.
    pub mode: PinMode,
}

/// What a pin is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinMode {
    /// Read, high or low.
    Input,
    /// Read, with the chip's own resistor to the supply.
    Pullup,
    /// Written, high or low.
    Output,
    /// Its voltage is read, as the converter's number.
    Analog,
    /// Written as a number, 0 to 255.
    Pwm,
}

/// A point as servers see it: which IPSO object it is.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ShownPoint {
    /// What leads back to it.
    pub key: String,
    /// The IPSO object (OMA registry), 3200 to 3347.
    pub object: u16,
    /// Its instance.
    pub instance: u16,
    /// What it holds, in `unit`; `None` while that is not known.
    pub value: Option<PointValue>,
    /// 5701.
    pub unit: Option<String>,
    /// 5750.
    pub name: Option<String>,
    /// Whether the device takes a value.
    pub writable: bool,
    /// What a number of the device's is multiplied by to be in `unit`.
    pub scale: f64,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq)]
pub enum PointsSeen {
    /// All points there are, in place of what was told before. A watch that begins takes a moment to learn what they hold, so
    /// that observations do not end by its beginning.
    All(Vec<Point>),
    /// One of them holds something else now.
    Value {
        /// Which.
        key: String,
        /// What.
        value: Option<PointValue>,
    },
    /// Nothing is known of what they hold any more.
    NoValues,
}

/// Why a value was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PointRefused {
    /// The device takes no such value, now or later.
    #[error("{0}")]
    BadValue(String),
    /// It could not be written just now.
    #[error("{0}")]
    NotNow(String),
}

/// What a watch is told.
#[derive(Debug)]
pub enum PointOrder {
    /// Write a value to the device.
    Write {
        /// To which point.
        key: String,
        /// What.
        value: PointValue,
        /// `Err` with the reason when the device did not take it.
        reply: oneshot::Sender<Result<(), PointRefused>>,
    },
    /// Make the device visible, where the protocol has a way.
    PointOut {
        /// What was done, for people; or why not.
        reply: oneshot::Sender<Result<String, String>>,
    },
}

impl fmt::Display for PointValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Flag(flag) => f.write_str(if *flag { "on" } else { "off" }),
            Self::Text(text) => f.write_str(text),
        }
    }
}
