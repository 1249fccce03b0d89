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
    /// 4/0/3, as the bearer counts it.
    pub quality: Option<u8>,
    /// 4/0/4.
    pub addresses: Vec<String>,
    /// 4/0/5.
    pub routers: Vec<String>,
}

/// What a resource holds.
pub(super) fn content(facts: &ConnectivityFacts, resource: u16) -> Content {
    match resource {
        0 => Content::integer(facts.bearer),
        1 => Content::Multiple(vec![(0, Value::Integer(facts.bearer.into()))]),
        2 => facts.signal.map_or(Content::Absent, Content::integer),
        3 => facts.quality.map_or(Content::Absent, Content::integer),
        4 => texts(&facts.addresses),
        5 if facts.routers.is_empty() => Content::Absent,
        5 => texts(&facts.routers),
        _ => Content::Absent,
    }
}

fn texts(all: &[String]) -> Content {
    Content::Multiple((0_u16..).zip(all.iter().map(|text| Value::String(text.clone()))).collect())
}
