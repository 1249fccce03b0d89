//! What the configuration says about the broker.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::{Host, Url};

use crate::control::Secret;
use crate::device::units;

/// Longest prefix of topics, in bytes.
const PREFIX_MAX: usize = 128;

/// `[mqtt]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    /// Whether to connect at all.
    pub enabled: bool,
    /// `mqtt://HOST[:PORT]` or `mqtts://HOST[:PORT]`.
    pub broker: String,
    /// User name at the broker; empty: none.
    pub username: String,
    /// Its password; empty: none.
    pub password: Secret,
    /// A file with the password, or one of the service's credentials; empty: none.
    pub password_file: PathBuf,
    /// Further certificate authorities, PEM files.
    pub ca: Vec<PathBuf>,
    /// Client identifier; empty: made from the gateway's name.
    pub client_id: String,
    /// How often the connection is tried while nothing happens.
    #[serde(with = "units::duration")]
    pub keep_alive: Duration,
    /// Begins all topics of this and other gateways.
    pub prefix: String,
    /// Where Home Assistant listens for devices.
    pub discovery_prefix: String,
    /// Whether orders are taken.
    pub commands: bool,
    /// How long a device that is gone is shown as that before it is taken away.
    #[serde(with = "units::duration")]
    pub remove_after: Duration,
}

impl MqttSettings {
    /// What is wrong with it, each with its key.
    pub fn flaws(&self) -> Vec<(&'static str, String)> {
        let mut flaws = Vec::new();
        if self.enabled && self.broker.is_empty() {
            flaws.push(("broker", "`enabled` needs one: \"mqtt://HOST\" or \"mqtts://HOST\"".to_owned()));
        } else if let Some(flaw) = Broker::parse(&self.broker).err().filter(|_| !self.broker.is_empty()) {
            flaws.push(("broker", flaw));
        }
        let file = !self.password_file.as_os_str().is_empty();
        if file && !self.password.is_empty() {
            flaws.push(("password_file", "there is a `password` already".to_owned()));
        }
        if self.username.is_empty() && (file || !self.password.is_empty()) {
            flaws.push(("username", "a password needs a user name".to_owned()));
        }
        for (key, prefix) in [("prefix", &self.prefix), ("discovery_prefix", &self.discovery_prefix)] {
            if !is_prefix(prefix) {
                let wanted = "expected a topic without wildcards, without `/` at its ends, at most 128 bytes";
                flaws.push((key, wanted.to_owned()));
            }
        }
        let seconds = self.keep_alive.as_secs();
        if self.keep_alive.subsec_nanos() != 0 || !(5..=65_535).contains(&seconds) {
            flaws.push(("keep_alive", "expected whole seconds, \"5s\" to \"65535s\"".to_owned()));
        }
        if self.client_id.len() > 64 || self.client_id.contains(char::is_control) {
            flaws.push(("client_id", "expected at most 64 bytes, without control characters".to_owned()));
        }
        flaws
    }
}

fn is_prefix(prefix: &str) -> bool {
    let plain = |letter: char| !letter.is_control() && !matches!(letter, '+' | '#');
    (1..=PREFIX_MAX).contains(&prefix.len())
        && prefix.chars().all(plain)
        && prefix.split('/').all(|level| !level.is_empty())
        && !prefix.starts_with('$')
}

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broker {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

impl Broker {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = "expected mqtt://HOST[:PORT] or mqtts://HOST[:PORT]";
        let url = Url::parse(text).map_err(|error| format!("no URL ({error}): {wrong}"))?;
        let tls = match url.scheme() {
            "mqtt" => false,
            "mqtts" => true,
            other => return Err(format!("scheme `{other}` is not spoken here: {wrong}")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("user name and password have keys of their own: `username`, `password_file`".to_owned());
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() || url.port() == Some(0)
        {
            return Err(wrong.to_owned());
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(wrong.to_owned()),
        };
        Ok(Self { host, port: url.port().unwrap_or(if tls { 8883 } else { 1883 }), tls })
    }
}

impl Broker {
    /// Whether others may hear what is said to it.
    pub(super) fn is_overheard(&self) -> bool {
        let here = self.host == "localhost" || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        !self.tls && !here
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_a_host_with_or_without_its_port() {
        for (text, shown) in [
            ("mqtt://broker.example", "mqtt://broker.example:1883"),
            ("mqtts://broker.example/", "mqtts://broker.example:8883"),
            ("mqtt://[fd00::7]:1884", "mqtt://[fd00::7]:1884"),
            ("mqtt://10.0.0.7", "mqtt://10.0.0.7:1883"),
        ] {
            assert_eq!(Broker::parse(text).expect(text).to_string(), shown);
        }
        for wrong in ["", "broker", "http://h", "mqtt://", "mqtt://u:p@h", "mqtt://h/topic", "mqtt://h:0", "mqtt://h?x"]
        {
            assert!(Broker::parse(wrong).is_err(), "{wrong}");
        }
        let overheard = |text| Broker::parse(text).expect(text).is_overheard();
        assert!(overheard("mqtt://10.0.0.7") && !overheard("mqtts://10.0.0.7") && !overheard("mqtt://[::1]"));
        assert!(!Broker::parse("mqtt://u:geheim@h").expect_err("refused").contains("geheim"));
    }

    #[test]
    fn topics_have_no_wildcards_in_their_prefix() {
        for (prefix, right) in
            [("nuncio", true), ("site/a", true), ("", false), ("a/", false), ("a/+", false), ("$SYS", false)]
        {
            assert_eq!(is_prefix(prefix), right, "{prefix}");
        }
    }
}
