//! The ways to reach devices: what is there, whether it can be used, and questions asked over it.
//!
//! A transport never decides what a device is: it reports links with what it saw of them, and asks over a leased link
//! what it is told to ask. Driven by `gateway`, which spawns one task per transport and feeds their events to `boards`.

pub mod ble;
pub mod discovery;
pub mod disk;
pub mod esphome;
pub mod http;
pub mod hub;
pub mod mdns;
mod patterns;
pub mod serial;
mod settings;
pub mod smp;
mod sysfs;
pub mod tcp;
mod telling;

pub use settings::{
    BleSettings, DiscoverySettings, DiskSettings, EsphomeSettings, HubPower, MdnsSettings, SerialSettings, TcpSettings,
};

use crate::device::{Link, LinkReport};
// `[serial] questions` is a word of the configuration, found beside the rest of it.
pub use crate::device::Questions;

/// What a transport tells of its links. For one link: `Appeared`, any number of `Changed`, `Vanished`, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A link is there.
    Appeared(LinkReport),
    /// Something about it is different: its access, its names, what was seen of it.
    Changed(LinkReport),
    /// It is not there any more.
    Vanished(Link),
    /// The transport as a whole cannot do its work, with the cure; or it can again.
    Trouble {
        /// Its section in the configuration.
        transport: &'static str,
        /// What is wrong; `None`: nothing any more.
        what: Option<String>,
    },
}
