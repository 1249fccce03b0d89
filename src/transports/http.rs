//! Questions asked of devices' own web servers: one GET, and values picked from the JSON that comes.
//!
//! Only devices that announced themselves are asked, at the addresses that they announced, for the path that their board
//! file names. Nothing is followed elsewhere. Driven by `gateway`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::redirect::Policy;
use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use tokio::sync::Semaphore;

use crate::device::{Answer, Evidence, Lease, Question, QuestionFailed, ServiceSeen};

/// How long one answer may take; devices on bad WiFi are slow.
const WITHIN: Duration = Duration::from_secs(10);
/// At most so many devices are asked at once.
const AT_ONCE: usize = 16;
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// Longest value that is kept, in bytes.
const MAX_VALUE: usize = 255;

/// Asks web servers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    places: Arc<Semaphore>,
}

impl Default for Handle {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Handle {
    /// Asks a question over the leased link.
    pub async fn ask(&self, lease: Lease, question: Question) -> (Lease, Result<Answer, QuestionFailed>) {
        let Question::Http { service, path, pointers } = question else {
            return (lease, Err(QuestionFailed::Unsupported));
        };
        let place = self.places.acquire().await;
        let outcome = tokio::time::timeout(WITHIN, get(&service, &path)).await;
        drop(place);
        let outcome =
            outcome.unwrap_or_else(|_| Err(QuestionFailed::Failed("its web server does not answer".to_owned())));
        (lease, outcome.map(|body| picked(&body, &pointers)))
    }
}

async fn get(service: &ServiceSeen, path: &str) -> Result<serde_json::Value, QuestionFailed> {
    let failed = |what: &str| QuestionFailed::Failed(what.to_owned());
    let addresses = addresses(service);
    if addresses.is_empty() {
        return Err(failed("it announces no address that could be asked"));
    }
    // A name of ours leads to the addresses, whatever the device calls itself.
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .resolve_to_addrs("device", &addresses)
        .build()
        .map_err(|error| failed(&error.to_string()))?;
    let sent = client.get(format!("http://device:{}{path}", service.port)).send().await;
    // Without the address, which the operator has before him, and the URL, which is no real one.
    let answer = sent.map_err(|error| failed(&format!("its web server cannot be asked: {}", error.without_url())))?;
    if !answer.status().is_success() {
        return Err(failed(&format!("its web server answers {}", answer.status())));
    }
    let (mut body, mut stream) = (Vec::new(), answer.bytes_stream());
    while let Some(part) = stream.next().await {
        body.extend_from_slice(&part.map_err(|_| failed("its web server broke off"))?);
        if body.len() > MAX_ANSWER {
            return Err(failed("its web server says too much"));
        }
    }
    serde_json::from_slice(&body).map_err(|_| failed("its web server answers no JSON"))
}

/// Where a service can be reached, as far as it announces addresses that a device can have.
pub(super) fn addresses(service: &ServiceSeen) -> Vec<SocketAddr> {
    service.addresses.iter().filter_map(|address| address_of(address, service.port)).collect()
}

/// An address that a device may announce, where it is one that a device can have.
pub(super) fn address_of(text: &str, port: u16) -> Option<SocketAddr> {
    let (address, interface) = text.split_once('%').map_or((text, None), |(address, name)| (address, Some(name)));
    let address: IpAddr = address.parse().ok()?;
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() || port == 0 {
        return None;
    }
    match (address, interface) {
        (IpAddr::V6(address), Some(name)) => Some(scoped(address, port, name)?.into()),
        (address, _) => Some(SocketAddr::new(address, port)),
    }
}

fn scoped(address: Ipv6Addr, port: u16, interface: &str) -> Option<SocketAddrV6> {
    let any = socket(AddressFamily::INET6, SocketType::DGRAM, None).ok()?;
    let index = netdevice::name_to_index(&any, interface).ok()?;
    Some(SocketAddrV6::new(address, port, 0, index))
}

/// What stands at these places (RFC 6901), as text; what is no single value is left out.
fn picked(body: &serde_json::Value, pointers: &[String]) -> Answer {
    let text = |pointer: &String| {
        let text = match body.pointer(&format!("/{pointer}"))? {
            serde_json::Value::String(text) => text.clone(),
            value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => value.to_string(),
            _ => return None,
        };
        (text.len() <= MAX_VALUE).then(|| (pointer.clone(), text))
    };
    let values: BTreeMap<String, String> = pointers.iter().filter_map(text).collect();
    let evidence = (!values.is_empty()).then_some(Evidence::Http { values });
    Answer { evidence: evidence.into_iter().collect(), version: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_a_device_can_have_are_asked() {
        for (text, port, asked) in [
            ("10.0.0.7", 80, true),
            ("fd00::7", 80, true),
            ("127.0.0.1", 80, false),
            ("::1", 80, false),
            ("0.0.0.0", 80, false),
            ("224.0.0.251", 80, false),
            ("10.0.0.7", 0, false),
            ("fe80::1%no-such-interface", 80, false),
            ("kitchen", 80, false),
        ] {
            assert_eq!(address_of(text, port).is_some(), asked, "{text}");
        }
        let scoped = address_of("fe80::1%lo", 80).expect("every machine has one");
        assert!(matches!(scoped, SocketAddr::V6(address) if address.scope_id() > 0));
    }

    #[test]
    fn values_are_picked_from_anything() {
        let body = serde_json::json!({"a": {"b": "1.2"}, "n": 3, "l": [1, true], "long": "x".repeat(300)});
        let pointers: Vec<String> = ["a/b", "n", "l/1", "l", "none", "long"].map(str::to_owned).into();
        let Answer { evidence, .. } = picked(&body, &pointers);
        let [Evidence::Http { values }] = &evidence[..] else { panic!("{evidence:?}") };
        let told: Vec<(&str, &str)> = values.iter().map(|(at, value)| (at.as_str(), value.as_str())).collect();
        assert_eq!(told, [("a/b", "1.2"), ("l/1", "true"), ("n", "3")]);
        assert_eq!(picked(&serde_json::Value::Null, &pointers), Answer::default());
    }
}
