//! Bluetooth Low Energy: addresses, and what devices advertise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// A device's address, `F0:F1:F2:F3:F4:05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BleAddress(pub [u8; 6]);

/// Whose address it is (Core specification, volume 6, part B, 1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BleAddressKind {
    /// Given by the maker, for ever.
    Public,
    /// Chosen by the device, and kept as long as it has power at least.
    Static,
    /// Changed every few minutes: it tells nobody who it is.
    Rotating,
}

/// What a device advertises.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BleSeen {
    /// Its address.
    pub address: BleAddress,
    /// What kind of address that is.
    pub address_kind: BleAddressKind,
    /// Its name, where it has one.
    pub name: Option<String>,
    /// Services, as UUIDs in full and in small letters.
    pub services: BTreeSet<String>,
    /// Company identifiers that it has data of.
    pub manufacturers: BTreeSet<u16>,
    /// Services that it has data of, as UUIDs.
    pub data_of: BTreeSet<String>,
    /// The data itself, in hex, by company identifier or UUID: sensors change theirs all the time.
    pub data: BTreeMap<String, String>,
}

impl BleAddress {
    /// The kind of a random address: its two highest bits say.
    pub fn random_kind(self) -> BleAddressKind {
        if self.0[0] >> 6 == 0b11 { BleAddressKind::Static } else { BleAddressKind::Rotating }
    }

    /// Twelve hex digits in small letters.
    pub fn plain(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for BleAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{g:02X}")
    }
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no Bluetooth address: expected six bytes in hex, e.g. F0:F1:F2:F3:F4:05")]
pub struct BleAddressError(String);

impl FromStr for BleAddress {
    type Err = BleAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || BleAddressError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(bytes)) }
    }
}

impl serde::Serialize for BleAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for BleAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_and_tells_its_kind() {
        let address: BleAddress = "f0:f1:F2:03:04:05".parse().expect("an address");
        assert_eq!((address.to_string().as_str(), address.plain().as_str()), ("F0:F1:F2:03:04:05", "f0f1f2030405"));
        assert_eq!(address.random_kind(), BleAddressKind::Static);
        for (first, kind) in
            [("7F", BleAddressKind::Rotating), ("3A", BleAddressKind::Rotating), ("C0", BleAddressKind::Static)]
        {
            let address: BleAddress = format!("{first}:00:00:00:00:01").parse().expect("an address");
            assert_eq!(address.random_kind(), kind, "{first}");
        }
        for wrong in
            ["", "F0:F1:F2:F3:F4", "F0:F1:F2:F3:F4:05:06", "F0F1F2F3F405", "+0:F1:F2:F3:F4:5", "G0:F1:F2:F3:F4:05"]
        {
            assert!(wrong.parse::<BleAddress>().is_err(), "{wrong}");
        }
    }
}
