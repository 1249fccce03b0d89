//! How a device is reached.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{BleAddress, Evidence, ServiceName};

/// One way to reach a device. Written as `serial:PATH`, `tcp:HOST:PORT`, `mdns:INSTANCE._TYPE._tcp`,
/// `ble:ADDRESS` or `discovered:NAME/PROTOCOL/ADDRESS`.
///
/// A serial link carries the name under which it was configured or seen, which need not be the device node itself:
/// two names of one node are one link, made so by the transport that reports it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    /// A tty by path: `/dev/ttyUSB0`, `/dev/serial/by-path/...`, a symlink to a pty.
    Serial(PathBuf),
    /// Something that answers a TCP connect: a serial server, or the device itself.
    Tcp {
        /// Host name or address; an IPv6 address in brackets when written.
        host: String,
        /// Port, 1 to 65535.
        port: u16,
    },
    /// A service that the device announces, whatever its address is just now.
    Service(ServiceName),
    /// A Bluetooth Low Energy device.
    Ble(BleAddress),
    /// What a discovery program has found: its name here, the protocol and the address that it tells.
    Discovered(Box<str>),
}

impl Link {
    /// The tty's path, for a serial link.
    pub fn serial_path(&self) -> Option<&Path> {
        match self {
            Self::Serial(path) => Some(path),
            Self::Tcp { .. } | Self::Service(_) | Self::Ble(_) | Self::Discovered(_) => None,
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(path) => write!(f, "serial:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
            Self::Service(name) => write!(f, "mdns:{name}"),
            Self::Ble(address) => write!(f, "ble:{address}"),
            Self::Discovered(place) => write!(f, "discovered:{place}"),
        }
    }
}

/// Why a text is no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no link: expected serial:/dev/NAME, tcp:HOST:PORT, mdns:INSTANCE._TYPE._tcp, ble:ADDRESS or discovered:NAME/PROTOCOL/ADDRESS"
)]
pub struct LinkParseError(pub String);

impl FromStr for Link {
    type Err = LinkParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || LinkParseError(text.to_owned());
        if let Some(path) = text.strip_prefix("serial:") {
            return if path.starts_with('/') { Ok(Self::Serial(PathBuf::from(path))) } else { Err(wrong()) };
        }
        if let Some(name) = text.strip_prefix("mdns:") {
            return name.parse().map(Self::Service).map_err(|_| wrong());
        }
        if let Some(address) = text.strip_prefix("ble:") {
            return address.parse().map(Self::Ble).map_err(|_| wrong());
        }
        if let Some(place) = text.strip_prefix("discovered:") {
            let word =
                |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
            let plain = |text: &str| !text.is_empty() && !text.contains(char::is_control);
            let mut parts = place.splitn(3, '/');
            let (by, protocol, address) = (parts.next(), parts.next(), parts.next());
            let good = by.is_some_and(word) && protocol.is_some_and(word) && address.is_some_and(plain);
            return if good { Ok(Self::Discovered(place.into())) } else { Err(wrong()) };
        }
        let address = text.strip_prefix("tcp:").ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host = match bare {
            Some(inner) => inner,
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(wrong)?;
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl serde::Serialize for Link {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Link {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether the gateway may use a link just now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Access {
    /// It can be opened as far as one can tell without opening it.
    Usable,
    /// Somebody else has it open or locked.
    Busy {
        /// Who, as `/proc` tells: `picocom (pid 4711)`, or `a process of another user`.
        holder: String,
        /// What the operator can do about it.
        remedy: String,
    },
    /// Its permissions keep the gateway out.
    NotPermitted {
        /// Owner, group and mode as found, e.g. `root:dialout 0660`.
        permissions: String,
        /// What the operator can do about it.
        remedy: String,
    },
    /// The configuration's `deny` forbids opening it.
    Denied,
    /// It is configured, but not there.
    Absent,
}

/// One link as a transport sees it at one moment.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LinkReport {
    /// Its name.
    pub link: Link,
    /// Other names of the same node, canonical path first; empty for what has only one.
    pub aliases: Vec<PathBuf>,
    /// Whether it can be used.
    pub access: Access,
    /// What the transport saw without disturbing the device.
    pub evidence: Vec<Evidence>,
    /// How strongly it is received, in dBm, for what comes by radio.
    pub signal: Option<i16>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_reads_back_as_it_is_written() {
        for text in [
            "serial:/dev/ttyUSB0",
            "tcp:10.0.0.7:4000",
            "tcp:[fe80::1]:23",
            "tcp:pump.local:1",
            "mdns:a b._x._tcp",
            "ble:F0:F1:F2:F3:F4:05",
            "discovered:net/network/10.0.0.7/a b",
        ] {
            let link: Link = text.parse().expect("a link");
            assert_eq!(link.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_link_is_refused() {
        for text in [
            "",
            "serial:",
            "serial:ttyUSB0",
            "tcp:host",
            "tcp::1",
            "tcp:h:0",
            "tcp:h:65536",
            "tcp:a:b:1",
            "udp:h:1",
            "mdns:x",
            "discovered:net/network",
            "discovered:net//x",
            "discovered:net/network/a\u{1b}b",
        ] {
            assert!(text.parse::<Link>().is_err(), "{text}");
        }
    }
}
