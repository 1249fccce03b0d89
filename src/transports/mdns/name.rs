//! Names and records as mdns-sd gives them, as the gateway keeps them: anything may stand in them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use mdns_sd::{ResolvedService, ScopedIp};

use super::DOMAIN;
use crate::device::{ServiceName, ServiceSeen, ServiceType};

/// At most so many entries of a TXT record are kept.
const MAX_ENTRIES: usize = 64;
/// At most so many addresses of a service are kept.
const MAX_ADDRESSES: usize = 16;
/// Longest host name that is kept, in bytes.
const MAX_HOST: usize = 255;

/// The name of an instance of this type; `None` for what is no such name.
pub(super) fn of(kind: &ServiceType, fullname: &str) -> Option<ServiceName> {
    let suffix = format!(".{kind}{DOMAIN}");
    let at = fullname.len().checked_sub(suffix.len())?;
    let instance = fullname.get(..at).filter(|_| fullname[at..].eq_ignore_ascii_case(&suffix))?;
    ServiceName::new(instance, kind)
}

/// A resolved service, within bounds.
pub(super) fn seen(kind: &ServiceType, service: &ResolvedService) -> Option<ServiceSeen> {
    let host = service.host.strip_suffix(DOMAIN).unwrap_or(&service.host).trim_end_matches('.');
    let host = text(host);
    let mut addresses: Vec<&ScopedIp> = service.addresses.iter().collect();
    addresses.sort_by_key(|address| (address.to_ip_addr(), address.to_string()));
    Some(ServiceSeen {
        name: of(kind, &service.fullname)?,
        host: if host.len() > MAX_HOST { return None } else { host },
        addresses: addresses.into_iter().take(MAX_ADDRESSES).filter_map(address).collect(),
        port: service.port,
        txt: txt(service.txt_properties.iter().map(|entry| (entry.key(), entry.val().unwrap_or_default()))),
    })
}

/// An address with its interface, where it means nothing without one.
fn address(scoped: &ScopedIp) -> Option<String> {
    match scoped.to_ip_addr() {
        address @ IpAddr::V4(_) => Some(address.to_string()),
        // The library writes the interface after a link-local address.
        IpAddr::V6(_) => Some(scoped.to_string()),
    }
}

/// Keys are case-insensitive printable ASCII, the first of several counts (RFC 6763, 6.4); what else there is, is dropped.
fn txt<'a>(entries: impl Iterator<Item = (&'a str, &'a [u8])>) -> BTreeMap<String, String> {
    let mut kept = BTreeMap::new();
    for (key, value) in entries {
        let printable = !key.is_empty() && key.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if printable && kept.len() < MAX_ENTRIES {
            kept.entry(key.to_ascii_lowercase()).or_insert_with(|| text(&String::from_utf8_lossy(value)));
        }
    }
    kept
}

/// Text without control characters.
fn text(any: &str) -> String {
    any.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_what_comes_before_its_type() {
        let kind: ServiceType = "_http._tcp".parse().expect("a type");
        let name = of(&kind, "Bob's lamp 2.0._HTTP._tcp.local.").expect("a name");
        assert_eq!((name.instance(), name.kind()), ("Bob's lamp 2.0", kind.as_str()));
        for other in ["", "._http._tcp.local.", "x._ipp._tcp.local.", "ü_http._tcp.local", "\u{fc}http._tcp.local."] {
            assert!(of(&kind, other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_txt_record_is_kept_within_bounds() {
        let many: Vec<(String, [u8; 3])> = (0..100).map(|number| (format!("key{number}"), *b"a\n\xFF")).collect();
        let mut entries: Vec<(&str, &[u8])> = many.iter().map(|(key, value)| (key.as_str(), &value[..])).collect();
        entries.insert(0, ("KEY1", b"first"));
        entries.insert(1, ("k\u{7}", b"no key"));
        let kept = txt(entries.into_iter());
        assert_eq!(kept.len(), MAX_ENTRIES);
        assert_eq!((kept["key1"].as_str(), kept["key2"].as_str()), ("first", "a\u{FFFD}\u{FFFD}"));
    }
}
