//! Services that devices announce by DNS-SD over mDNS.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Longest instance name, in bytes (RFC 6763, 4.1.1).
const MAX_INSTANCE: u8 = 63;
/// Longest service name without its `_`, in bytes. RFC 6763, 7.2 allows 15; older devices announce longer ones.
const MAX_TYPE: usize = 62;

/// A service instance's name: `kitchen._esphomelib._tcp`, without the domain, which is always `local`.
///
/// As text, control characters, `%` and what is no letter of any script stand as `%XX`, so that it can be shown as it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName {
    /// Instance and type, a dot between.
    whole: Box<str>,
    /// Length of the instance, in bytes.
    instance: u8,
}

/// The type of a service: `_esphomelib._tcp`, in small letters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceType(String);

/// A service as it was resolved.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ServiceSeen {
    /// Its name.
    pub name: ServiceName,
    /// The host that runs it, without the domain: `kitchen`.
    pub host: String,
    /// Its addresses, sorted, IPv4 first; link-local ones with their interface: `fe80::1%eth0`.
    pub addresses: Vec<String>,
    /// Its port.
    pub port: u16,
    /// What it tells of itself (TXT, RFC 6763, 6): keys in small letters, values with what is no text replaced.
    pub txt: BTreeMap<String, String>,
}

impl ServiceName {
    /// A name of its parts; `None` where DNS could not carry it.
    pub fn new(instance: &str, kind: &ServiceType) -> Option<Self> {
        let length = u8::try_from(instance.len()).ok().filter(|length| (1..=MAX_INSTANCE).contains(length))?;
        Some(Self { whole: format!("{instance}.{kind}").into(), instance: length })
    }

    /// The instance, as its device calls it: any text.
    pub fn instance(&self) -> &str {
        &self.whole[..usize::from(self.instance)]
    }

    /// The service's type: `_esphomelib._tcp`.
    pub fn kind(&self) -> &str {
        &self.whole[usize::from(self.instance) + 1..]
    }
}

impl ServiceType {
    /// The type as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.instance().chars() {
            if letter.is_alphanumeric() || (letter.is_ascii() && !letter.is_ascii_control() && letter != '%') {
                write!(f, "{letter}")?;
            } else {
                let mut bytes = [0; 4];
                letter.encode_utf8(&mut bytes).bytes().try_for_each(|byte| write!(f, "%{byte:02X}"))?;
            }
        }
        write!(f, ".{}", self.kind())
    }
}

impl fmt::Display for ServiceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text names no service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no service: expected INSTANCE._TYPE._tcp or INSTANCE._TYPE._udp")]
pub struct ServiceNameError(String);

/// Why a text is no type of a service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no type of a service: expected _NAME._tcp or _NAME._udp, e.g. `_arduino._tcp`")]
pub struct ServiceTypeError(String);

impl FromStr for ServiceType {
    type Err = ServiceTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ServiceTypeError(text.to_owned());
        let (name, protocol) = text.split_once('.').ok_or_else(wrong)?;
        let name = name.strip_prefix('_').ok_or_else(wrong)?;
        let known = matches!(protocol.to_ascii_lowercase().as_str(), "_tcp" | "_udp");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !known || name.is_empty() || name.len() > MAX_TYPE || !name.bytes().all(plain) {
            return Err(wrong());
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl FromStr for ServiceName {
    type Err = ServiceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ServiceNameError(text.to_owned());
        // The type is the last two labels; an instance may hold dots.
        let protocol = text.rfind('.').ok_or_else(wrong)?;
        let kind = text[..protocol].rfind('.').ok_or_else(wrong)?;
        let instance = unescaped(&text[..kind]).ok_or_else(wrong)?;
        Self::new(&instance, &text[kind + 1..].parse().map_err(|_| wrong())?).ok_or_else(wrong)
    }
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

macro_rules! as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(ServiceName);
as_text!(ServiceType);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_reads_back_as_it_is_written() {
        for text in ["kitchen._esphomelib._tcp", "Bob's lamp 2.0._http._tcp", "K%C3%BCche._x._udp"] {
            let name: ServiceName = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        let lamp: ServiceName = "Bob's lamp 2.0._HTTP._tcp".parse().expect("a name");
        assert_eq!((lamp.instance(), lamp.kind()), ("Bob's lamp 2.0", "_http._tcp"));
    }

    #[test]
    fn what_names_no_service_is_refused() {
        for text in
            ["", "x", "x._http", "._http._tcp", "x.http._tcp", "x._http._sctp", "x%4._http._tcp", "x%FF._h._tcp"]
        {
            assert!(text.parse::<ServiceName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_instance_is_shown_without_control_characters_and_reads_back(instance in "\\PC{1,15}|.{1,15}") {
            let kind: ServiceType = "_x._tcp".parse().expect("a type");
            let Some(name) = ServiceName::new(&instance, &kind) else { return Ok(()) };
            let text = name.to_string();
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
            prop_assert_eq!(text.parse(), Ok(name));
        }
    }
}
