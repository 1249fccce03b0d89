//! Object 4, Connectivity Monitoring: how the device itself is connected, where that is by radio or network. What is not
//! known is not there, be it mandatory.

use super::Content;
use crate::value::Value;

/// How a device is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectivityFacts {
    /// 4/0/0 and 4/0/1, by the registry's numbers: 21 WLAN, 22 Bluetooth, 41 Ethernet.
    pub bearer: u8,
    /// 4/0/2, in dBm.
    pub signal: Option<i16>,
    /// 4/0/4.
    pub addresses: Vec<String>,
}

/// What a resource holds.
pub(super) fn content(facts: &ConnectivityFacts, resource: u16) -> Content {
    match resource {
        0 => Content::integer(facts.bearer),
        1 => Content::Multiple(vec![(0, Value::Integer(facts.bearer.into()))]),
        2 => facts.signal.map_or(Content::Absent, Content::integer),
        4 => {
            let addresses = facts.addresses.iter().map(|address| Value::String(address.clone()));
            Content::Multiple((0_u16..).zip(addresses).collect())
        }
        _ => Content::Absent,
    }
}
