//! Points: single values that a device tells, or takes, besides what it is: a temperature, a switch, a pin.
//!
//! A transport *watches* a device and tells its points under keys of its own protocol; `boards` says which IPSO object each
//! one becomes, by the board's file; `proxy` shows them to servers. The same keys come back when a server writes.

use std::fmt;

use tokio::sync::oneshot;

/// Longest key, name, class, unit or text value that is kept, in bytes.
pub const POINT_TEXT_MAX: usize = 255;
/// At most so many points of one device are kept.
pub const POINTS_MAX: usize = 256;

/// What a point holds.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
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
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
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

/// What a watch tells.
#[derive(Debug, Clone, PartialEq)]
pub enum PointsSeen {
    /// All points there are, in place of what was told before.
    All(Vec<Point>),
    /// One of them holds something else now.
    Value {
        /// Which.
        key: String,
        /// What.
        value: Option<PointValue>,
    },
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
        reply: oneshot::Sender<Result<(), String>>,
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
