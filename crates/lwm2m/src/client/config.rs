//! What a client is told when it is made: its name, its servers, and what each of them may do.
//!
//! Plain data, shared by reference between thousands of clients; not the user's configuration file, which has its own types.

use std::sync::Arc;
use std::time::Duration;

use crate::model::Version;

/// The package resource, as [`coap::Config::stream_paths`] names it: a pushed image is never put together in memory.
pub const PACKAGE_PATH: &str = "5/0/0";

/// One client: one device.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The endpoint name (`ep`).
    pub endpoint: Arc<str>,
    /// The servers; [`SessionId`](super::SessionId) counts from the first. All clients of a gateway share them.
    pub servers: Arc<[ServerConfig]>,
    /// CoAP parameters; start from [`coap_config`], or pushes are limited to `max_body`.
    pub coap: Arc<coap::Config>,
}

/// CoAP parameters for a client: the defaults of RFC 7252, with [`PACKAGE_PATH`] streamed.
pub fn coap_config() -> coap::Config {
    coap::Config { stream_paths: vec![PACKAGE_PATH.to_owned()], ..coap::Config::default() }
}

/// One server account.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// What logs call it.
    pub name: String,
    /// Short server id, 1 to 65534; each server has its own.
    pub short_id: u16,
    /// Where it is. Not read here: the driver resolves it and owns the socket.
    pub uri: String,
    /// Path segments of the URI; go before `rd`.
    pub base_path: Vec<String>,
    /// Query arguments of the URI; go before `lwm2m`.
    pub base_query: Vec<String>,
    /// Registration lifetime in seconds until the server writes another; 0 never ends.
    pub lifetime: u32,
    /// The version that is offered first; on 4.12 the next lower one.
    pub version: Version,
    /// Show this server object 5 in version 1.0, for servers that have no model of 1.1 (decisions.md §3).
    pub firmware_object_1_0: bool,
    /// Show this server object 26300, Board Flashing.
    pub flashing_object: bool,
    /// 1/x/6 until the server writes another. A new registration ends all observations, so nothing is ever stored for long.
    pub notification_storing: bool,
    /// Its rights on everything but its own account and the firmware.
    pub access: Access,
    /// Its right on the firmware.
    pub firmware: FirmwareRight,
    /// Wait after the first failed registration; doubles with each further one.
    pub retry: Duration,
    /// Longest wait between registrations.
    pub retry_max: Duration,
}

/// What a server may do with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Read, write, execute.
    #[default]
    Full,
    /// Only read.
    Read,
}

/// What a server may do with a device's firmware. Object 2 knows only `None` and the rest; who staged an image is
/// known to whoever answers the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirmwareRight {
    /// What it staged itself.
    #[default]
    Own,
    /// Also what others staged.
    Any,
    /// Only read.
    None,
}
