//! Endpoint names by the site's own template, e.g. `urn:dev:mac:{mac}`.

use crate::device::Identity;

/// What a template may hold.
const VARIABLES: [&str; 9] = ["mac", "usb", "ble", "host", "port", "name", "kind", "key", "gateway"];
/// Those that tell one device from another.
const TELLING: [&str; 7] = ["mac", "usb", "ble", "host", "port", "name", "key"];
/// Longest template, in bytes.
const MAX: usize = 128;

/// A template, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(&'static str),
}

/// What a device is recognised by, as a template names it: the variable, and its value.
fn variable(identity: &Identity) -> (&'static str, &str) {
    match identity {
        Identity::Mac(key) => ("mac", key),
        Identity::UsbSerial(key) => ("usb", key),
        Identity::Ble(key) => ("ble", key),
        Identity::Host(key) => ("host", key),
        Identity::UsbPath(key) | Identity::PortPath(key) => ("port", key),
        Identity::Configured(key) => ("name", key),
    }
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX || text.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
            return Err(format!("too long, or with blanks: expected at most {MAX} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            let end = from.find('}').filter(|_| from.starts_with('{')).ok_or("a brace without its other half")?;
            let name = &from[1..end];
            let known = VARIABLES.iter().find(|known| **known == name);
            let known =
                known.ok_or_else(|| format!("`{{{name}}}` is unknown: expected one of {}", VARIABLES.join(", ")))?;
            parts.extend([Part::Text(before.to_owned()), Part::Variable(known)]);
            rest = &from[end + 1..];
        }
        parts.push(Part::Text(rest.to_owned()));
        let tells = |part: &Part| matches!(part, Part::Variable(name) if TELLING.contains(name));
        if !parts.iter().any(tells) {
            return Err("all devices would have the same name: expected {mac}, {key} or the like".to_owned());
        }
        Ok(Self(parts))
    }

    /// The name of a device; `None` where the template names what this device does not have.
    pub(super) fn name(&self, identity: &Identity, gateway: &str, clean: fn(&str) -> String) -> Option<String> {
        let (kind, key) = variable(identity);
        let part = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Variable("gateway") => Some(clean(gateway)),
            Part::Variable("kind") => Some(kind.to_owned()),
            Part::Variable("key") => Some(clean(key)),
            Part::Variable(name) => (*name == kind).then(|| clean(key)),
        };
        self.0.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(template: &str, identity: &Identity) -> Option<String> {
        Template::parse(template).expect(template).name(identity, "pi", str::to_owned)
    }

    #[test]
    fn a_template_names_what_a_device_has() {
        let mac = Identity::Mac("a4cf12ab34cd".to_owned());
        assert_eq!(named("urn:dev:mac:{mac}", &mac).as_deref(), Some("urn:dev:mac:a4cf12ab34cd"));
        assert_eq!(named("{gateway}/{kind}-{key}", &mac).as_deref(), Some("pi/mac-a4cf12ab34cd"));
        assert_eq!(named("urn:dev:mac:{mac}", &Identity::Host("kitchen".to_owned())), None);
        assert_eq!(named("{kind}:{key}", &Identity::UsbPath("1-1.4".to_owned())).as_deref(), Some("port:1-1.4"));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for wrong in ["", "press", "{gateway}", "{mac", "mac}", "{serial}", "{mac} x", &"{mac}".repeat(40)] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
