//! Arduino's pluggable discovery protocol, version 1: commands go out in lines, JSON objects come in, over any number of lines
//! (arduino.github.io/arduino-cli, "Pluggable Discovery specification").

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::device::{Access, Evidence, Link, LinkReport, plain_text};

/// Largest object, in bytes.
const MAX_OBJECT: usize = 64 * 1024;
/// Most properties of one port, and the longest text in one, in characters.
const MAX_PROPERTIES: usize = 64;
const MAX_TEXT: usize = 255;

/// What a program says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Message {
    pub(super) event_type: String,
    #[serde(default)]
    pub(super) error: bool,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) protocol_version: u32,
    #[serde(default)]
    pub(super) port: Option<Port>,
}

/// A port: a device that it has found.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Port {
    #[serde(default)]
    address: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    protocol: String,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

impl Port {
    /// The link that leads to it; `None` for what is none. Serial ports are looked after by the gateway itself.
    pub(super) fn link(&self, by: &str) -> Option<Link> {
        let serial = self.protocol == "serial" || self.address.chars().count() > MAX_TEXT;
        if serial { None } else { format!("discovered:{by}/{}/{}", self.protocol, self.address).parse().ok() }
    }

    pub(super) fn report(self, by: &str) -> Option<LinkReport> {
        let link = self.link(by)?;
        let text = |text: &str| plain_text(text, MAX_TEXT);
        let properties = self.properties.iter().take(MAX_PROPERTIES);
        let properties = properties.map(|(key, value)| (text(key).to_ascii_lowercase(), text(value))).collect();
        let (by, protocol, label) = (by.to_owned(), text(&self.protocol), text(&self.label));
        let evidence = vec![Evidence::Discovered { by, protocol, label, properties }];
        Some(LinkReport { link, aliases: Vec::new(), access: Access::Usable, evidence, signal: None })
    }
}

/// Finds whole objects in what a program prints.
#[derive(Debug, Default)]
pub(super) struct Objects {
    object: Vec<u8>,
    depth: u32,
    quoted: bool,
    escaped: bool,
}

impl Objects {
    /// Takes a byte; a message when it ended one.
    ///
    /// # Errors
    /// What is wrong with what the program prints.
    pub(super) fn push(&mut self, byte: u8) -> Result<Option<Message>, String> {
        if self.depth == 0 && byte != b'{' {
            let blank = byte.is_ascii_whitespace();
            return if blank { Ok(None) } else { Err("it prints something that is no JSON object".to_owned()) };
        }
        if self.object.len() >= MAX_OBJECT {
            return Err(format!("it prints an object of more than {MAX_OBJECT} bytes"));
        }
        self.object.push(byte);
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            b'{' if !self.quoted => self.depth += 1,
            b'}' if !self.quoted => self.depth -= 1,
            _ => {}
        }
        if self.depth > 0 {
            return Ok(None);
        }
        let object = std::mem::take(&mut self.object);
        serde_json::from_slice(&object).map(Some).map_err(|error| format!("it prints no message: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Message>, String> {
        let mut objects = Objects::default();
        bytes.iter().filter_map(|&byte| objects.push(byte).transpose()).collect()
    }

    #[test]
    fn objects_are_found_over_lines_and_with_brackets_in_texts() {
        let text = br#"{ "eventType": "hello", "message": "OK }\" {",
            "protocolVersion": 1 }
            {"eventType":"add","port":{"address":"10.0.0.7","label":"x","protocol":"network","properties":{"Board":"esp32\u0007"}}}"#;
        let [hello, add] = &read(text).expect("messages")[..] else { panic!() };
        assert_eq!((hello.event_type.as_str(), hello.protocol_version), ("hello", 1));
        let report = add.port.clone().expect("a port").report("net").expect("a report");
        assert_eq!(report.link.to_string(), "discovered:net/network/10.0.0.7");
        let [Evidence::Discovered { properties, .. }] = &report.evidence[..] else { panic!("{report:?}") };
        assert_eq!(properties["board"], "esp32\u{fffd}");
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        for text in ["hello", "[]", "{}", "{\"eventType\": 5}", "{\"eventType\": \"x\"} x"] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
        assert!(read(format!("{{\"eventType\": \"{}", "x".repeat(MAX_OBJECT)).as_bytes()).is_err());
        let serial = Port { address: "/dev/ttyACM0".to_owned(), protocol: "serial".to_owned(), ..Port::default() };
        assert_eq!(serial.link("x"), None);
        let long = Port { address: "x".repeat(300), protocol: "network".to_owned(), ..Port::default() };
        assert_eq!(long.link("x"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
            let _ = read(&[&b"{"[..], &bytes].concat());
        }

        #[test]
        fn any_port_is_safe(address in "\\PC{0,20}", protocol in "\\PC{0,20}", key in any::<String>()) {
            let port = Port { address, protocol, properties: [(key.clone(), key)].into(), ..Port::default() };
            if let Some(report) = port.report("x") {
                let text = report.link.to_string();
                prop_assert_eq!(text.parse::<Link>().expect("reads back"), report.link);
            }
        }
    }
}
