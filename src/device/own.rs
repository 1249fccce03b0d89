//! The gateway itself as servers see it: an endpoint of its own beside its devices'.

use crate::device::{Connectivity, DeviceInfo, ShownPoint};

/// What is known of the gateway, and stays while it runs but for what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnInfo {
    /// Its LwM2M endpoint name.
    pub endpoint: String,
    /// Version of the program: 3/0/3 and 3/0/19.
    pub version: String,
    /// Of the machine: 3/0/1.
    pub model: Option<String>,
    /// Of the machine: 3/0/2.
    pub serial_number: Option<String>,
    /// Of the machine: 3/0/18.
    pub hardware_version: Option<String>,
    /// Something keeps it from its work: 3/0/11.
    pub troubled: bool,
}

/// What changes by itself, at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HostSample {
    /// Seconds since 1970.
    pub time: i64,
    /// Bytes that can be stored in the state folder, and how many it has in all.
    pub storage: Option<(u64, u64)>,
    /// How the machine is connected, where it is.
    pub uplink: Option<Uplink>,
    /// What its sensors and the kernel tell, as IPSO objects.
    pub points: Vec<ShownPoint>,
}

/// The link that leads to servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// By what, how well, and under which addresses.
    pub connectivity: Connectivity,
    /// Of WLAN, as its driver counts it.
    pub quality: Option<u8>,
    /// The next hops.
    pub routers: Vec<String>,
}

/// A device that hangs on the gateway, for its list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Its endpoint name.
    pub endpoint: String,
    /// Its type.
    pub board: String,
    /// How it is reached.
    pub link: String,
    /// Whether the link is there.
    pub present: bool,
    /// The version read from it; empty when unknown.
    pub version: String,
}

impl Attached {
    /// What the list has of a device.
    pub fn of(info: &DeviceInfo, present: bool) -> Self {
        Self {
            endpoint: info.endpoint.clone(),
            board: info.board.to_string(),
            link: info.link.to_string(),
            present,
            version: info.version.as_ref().map(|version| version.text.clone()).unwrap_or_default(),
        }
    }
}
