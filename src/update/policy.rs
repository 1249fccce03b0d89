//! Which URIs may be downloaded from, and which addresses may be connected to.
//!
//! By default every http(s) host, unless its *resolved* address is the gateway itself or lies on the local link; with
//! `[download] allow`, exactly what begins with one of its prefixes, wherever it lies. The address is checked where
//! the connection is made (the resolver's answer and literal addresses), so a name cannot change between check and
//! use. A redirect is checked like a first URI.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::table::{Refusal, Refused};
use crate::device::masked_uri;

/// Variables of the environment that may name a proxy: its address is the operator's choice, not a server's.
const PROXY_VARIABLES: [&str; 6] = ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// `[download] allow`, checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    allow: Vec<Url>,
    /// What the gateway serves itself begins so.
    own: Option<Url>,
}

impl Policy {
    /// Reads the prefixes.
    ///
    /// # Errors
    /// The prefix that is no http(s) URI, with the reason.
    pub fn new(allow: &[String]) -> Result<Self, String> {
        let read = |text: &String| match Url::parse(text) {
            Ok(prefix) if matches!(prefix.scheme(), "http" | "https") => Ok(prefix),
            Ok(_) => Err(format!("`{}` in [download] allow is neither http nor https", masked_uri(text))),
            Err(error) => Err(format!("`{}` in [download] allow is no URI: {error}", masked_uri(text))),
        };
        allow.iter().map(read).collect::<Result<_, _>>().map(|allow| Self { allow, own: None })
    }

    /// The same, and what the gateway serves itself below a prefix that nobody else can know.
    #[must_use]
    pub fn with_own(self, own: Option<Url>) -> Self {
        Self { own, ..self }
    }

    /// Whether the gateway serves it itself.
    pub(super) fn is_own(&self, uri: &Url) -> bool {
        self.own.as_ref().is_some_and(|own| begins_with(uri, own))
    }

    /// Whether a URI may be asked, as far as its text tells.
    ///
    /// # Errors
    /// [`Refusal::BadUri`] with the rule that forbids it.
    pub fn check(&self, uri: &Url) -> Result<(), Refused> {
        let refused = |why: &str| Err(Refused::new(Refusal::BadUri, format!("{} {why}", masked_uri(uri.as_str()))));
        if self.is_own(uri) {
            return Ok(());
        }
        if !self.allow.is_empty() {
            return match self.allow.iter().any(|prefix| begins_with(uri, prefix)) {
                true => Ok(()),
                false => refused("is not below any prefix of [download] allow"),
            };
        }
        match uri.host() {
            Some(Host::Ipv4(address)) if !is_outside(IpAddr::V4(address)) => refused(LOCAL),
            Some(Host::Ipv6(address)) if !is_outside(IpAddr::V6(address)) => refused(LOCAL),
            Some(Host::Domain(name)) if is_localhost(name) => refused(LOCAL),
            Some(_) => Ok(()),
            None => refused("names no host"),
        }
    }

    /// The resolver through which every connection goes.
    pub(super) fn resolver(&self) -> Arc<CheckedResolver> {
        let check = self.allow.is_empty();
        Arc::new(CheckedResolver { check, proxies: if check { proxy_hosts() } else { Vec::new() } })
    }
}

const LOCAL: &str = "leads to the gateway itself or its local link, which only [download] allow can permit";

/// Same scheme, host and port, and a path (with query) that begins with the prefix's path.
fn begins_with(uri: &Url, prefix: &Url) -> bool {
    let origin =
        |url: &Url| (url.scheme().to_owned(), url.host().map(|host| host.to_owned()), url.port_or_known_default());
    origin(uri) == origin(prefix) && uri.path().starts_with(prefix.path())
}

fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether an address leads to another machine beyond the local link.
pub fn is_outside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_outside_v4(v4),
        IpAddr::V6(v6) => embedded_v4(v6).map_or_else(|| is_outside_v6(v6), is_outside_v4),
    }
}

fn is_outside_v4(address: Ipv4Addr) -> bool {
    let this_network = address.octets()[0] == 0;
    !(address.is_loopback()
        || address.is_link_local()
        || this_network
        || address.is_broadcast()
        || address.is_multicast())
}

fn is_outside_v6(address: Ipv6Addr) -> bool {
    !(address.is_loopback() || address.is_unspecified() || address.is_unicast_link_local() || address.is_multicast())
}

/// IPv4 inside IPv6: mapped (`::ffff:0:0/96`), compatible (`::/96`), and NAT64's well-known prefix (`64:ff9b::/96`).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, high, low] = address.segments();
    let carries = matches!((a, b, c, d, e, f), (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0))
        || ((a, b, c, d, e, f) == (0, 0, 0, 0, 0, 0) && high != 0);
    let bits = (u32::from(high) << 16) | u32::from(low);
    carries.then(|| Ipv4Addr::from_bits(bits))
}

fn proxy_hosts() -> Vec<String> {
    let host = |text: String| {
        let text = if text.contains("://") { text } else { format!("http://{text}") };
        Url::parse(&text).ok()?.host_str().map(str::to_ascii_lowercase)
    };
    PROXY_VARIABLES.iter().filter_map(|name| std::env::var(name).ok()).filter_map(host).collect()
}

/// Resolves like the system does, and leaves out every address that the policy forbids.
pub(super) struct CheckedResolver {
    check: bool,
    proxies: Vec<String>,
}

/// A name that leads nowhere but to forbidden addresses.
#[derive(Debug, thiserror::Error)]
#[error("`{host}` {LOCAL}")]
pub(super) struct ForbiddenAddress {
    host: String,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let check = self.check && !self.proxies.contains(&host.to_ascii_lowercase());
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let outside = |address: &SocketAddr| !check || is_outside(address.ip());
            let permitted: Vec<SocketAddr> = found.iter().copied().filter(outside).collect();
            if permitted.is_empty() && !found.is_empty() {
                return Err(ForbiddenAddress { host }.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allow: &[&str], uri: &str) -> bool {
        let allow: Vec<String> = allow.iter().map(|&text| text.to_owned()).collect();
        Policy::new(&allow).expect("prefixes").check(&Url::parse(uri).expect("a URI")).is_ok()
    }

    #[test]
    fn by_default_every_host_but_the_gateway_and_its_link_is_allowed() {
        for uri in ["http://fw.example/a", "https://10.0.0.1/a", "http://192.168.1.1:8080/", "http://[2001:db8::1]/"] {
            assert!(check(&[], uri), "{uri}");
        }
        for uri in [
            "http://127.0.0.1/",
            "http://127.8.9.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0.0.0.0/",
            "http://169.254.169.254/latest",
            "http://[::1]/",
            "http://[::]/",
            "http://[fe80::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost:80/",
            "http://[::127.0.0.1]/",
        ] {
            assert!(!check(&[], uri), "{uri}");
        }
    }

    #[test]
    fn allow_names_exactly_what_is_permitted() {
        let allow = ["https://fw.example.org/images/", "http://127.0.0.1:8000/"];
        assert!(check(&allow, "https://fw.example.org/images/a.bin?x"));
        assert!(check(&allow, "https://user@fw.example.org:443/images/a.bin"));
        assert!(check(&allow, "http://127.0.0.1:8000/a"));
        for uri in [
            "https://fw.example.org/other",
            "https://fw.example.org/images/../other",
            "http://fw.example.org/images/a",
            "https://fw.example.org.evil.example/images/a",
            "https://fw.example.org@evil.example/images/a",
            "https://fw.example.org:8443/images/a",
            "http://127.0.0.1:8001/a",
            "https://example.com/",
        ] {
            assert!(!check(&allow, uri), "{uri}");
        }
        assert!(Policy::new(&["ftp://x/".to_owned()]).is_err());
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_the_gateway_is_forbidden_where_it_is_resolved() {
        let resolved = Policy::default().resolver().resolve("localhost".parse().expect("a name")).await;
        assert!(resolved.is_err_and(|error| error.is::<ForbiddenAddress>()));
    }
}
