//! What a device is recognised by, and its names: given once, kept in the store, never given to another.
//!
//! The order of identities and the forms of endpoint names are those of `docs/decisions/` (identities and names).

use std::collections::{BTreeMap, BTreeSet};

use crate::device::{DeviceId, Evidence, Identity, IdentityRecord, UsbIds};

use super::settings::{DeviceEntry, NamingSettings};
use super::template::Template;

/// USB serial numbers that clones, examples, and all chips with one boot ROM share.
const SHARED_SERIALS: [&str; 7] =
    ["E0C9125B0D9B", "123456", "12345678", "123456789", "1234567890", "0123456789", "0123456789ABCDEF"];
/// A serial number shorter than this, leading zeros not counted, is a chip's factory setting.
const MIN_SERIAL: usize = 4;

/// What is known of where a device hangs, besides its evidence.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Surroundings {
    /// The USB serial number is the chip's MAC address.
    pub(super) serial_is_mac: bool,
    /// Another device that is here has the same USB serial number.
    pub(super) serial_taken: bool,
    /// The USB device has another tty, of a lower interface number.
    pub(super) further_interface: bool,
}

/// What a device announces of who it is.
#[derive(Debug, Default, Clone)]
pub(super) struct Announced {
    /// Its MAC address.
    pub(super) mac: Option<String>,
    /// Its host name.
    pub(super) host: Option<String>,
    /// Its Bluetooth address, where that stays.
    pub(super) ble: Option<String>,
}

/// What a device is recognised by: the surest that there is.
pub(super) fn identity<'a>(
    entry: Option<&DeviceEntry>,
    usb: Option<&UsbIds>,
    told: impl Iterator<Item = &'a Evidence>,
    announced: Announced,
    port: &str,
    around: Surroundings,
) -> Identity {
    let suffix = |usb: &UsbIds| if around.further_interface { format!("-if{}", usb.interface) } else { String::new() };
    if let Some(mac) = mac_told(told) {
        return Identity::Mac(mac);
    }
    if let Some(usb) = usb
        && let Some(serial) = usb.serial.as_deref()
    {
        if let Some(mac) = mac_in(serial).filter(|_| around.serial_is_mac) {
            return Identity::Mac(mac);
        }
        if is_unique(serial) && !around.serial_taken {
            return Identity::UsbSerial(format!("{:04x}-{:04x}-{serial}{}", usb.vid, usb.pid, suffix(usb)));
        }
    }
    if let Some(mac) = announced.mac.as_deref().and_then(mac_in) {
        return Identity::Mac(mac);
    }
    if let Some(address) = announced.ble {
        return Identity::Ble(address);
    }
    if let Some(entry) = entry {
        return Identity::Configured(entry.name.clone());
    }
    match (usb, announced.host) {
        (Some(usb), _) => Identity::UsbPath(format!("{}{}", usb.path, suffix(usb))),
        (None, Some(host)) => Identity::Host(host),
        (None, None) => Identity::PortPath(port.to_owned()),
    }
}

fn mac_told<'a>(mut told: impl Iterator<Item = &'a Evidence>) -> Option<String> {
    told.find_map(|evidence| match evidence {
        Evidence::EspChip { mac: Some(mac), .. } => Some(mac.iter().map(|byte| format!("{byte:02x}")).collect()),
        _ => None,
    })
}

/// The address in a text like `DC:DA:0C:11:22:33`.
fn mac_in(serial: &str) -> Option<String> {
    let digits: String = serial.chars().filter(|letter| !matches!(letter, ':' | '-')).collect();
    let whole = digits.len() == 12 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    whole.then(|| digits.to_ascii_lowercase())
}

/// Whether a serial number looks as if its maker had counted.
fn is_unique(serial: &str) -> bool {
    let significant = serial.trim_start_matches('0');
    let alike = |letter: char| serial.chars().all(|other| other == letter);
    significant.len() >= MIN_SERIAL
        && !SHARED_SERIALS.contains(&serial.to_ascii_uppercase().as_str())
        && !serial.chars().next().is_some_and(alike)
}

/// All names that were ever given.
#[derive(Debug)]
pub(super) struct Names {
    gateway: String,
    /// The site's own form of names.
    template: Option<Template>,
    records: BTreeMap<Identity, IdentityRecord>,
    /// Endpoint names of all records, so that none is given twice.
    endpoints: BTreeSet<String>,
    /// Names that the configuration gives to its devices.
    configured_ids: BTreeSet<String>,
    configured_endpoints: BTreeSet<String>,
}

impl Names {
    pub(super) fn new<'a>(
        gateway: &str,
        naming: &NamingSettings,
        entries: impl Iterator<Item = &'a DeviceEntry>,
        known: Vec<IdentityRecord>,
    ) -> Self {
        let mut configured_ids = BTreeSet::new();
        let mut configured_endpoints = BTreeSet::new();
        for entry in entries {
            configured_ids.insert(entry.name.clone());
            configured_endpoints.extend(entry.endpoint.clone());
        }
        let endpoints = known.iter().map(|record| record.endpoint.clone()).collect();
        let records = known.into_iter().map(|record| (record.identity.clone(), record)).collect();
        // Checked with the configuration.
        let template = Template::parse(&naming.endpoint).ok();
        Self { gateway: gateway.to_owned(), template, records, endpoints, configured_ids, configured_endpoints }
    }

    /// No device gets this endpoint name.
    pub(super) fn keep_free(&mut self, endpoint: Option<String>) {
        self.configured_endpoints.extend(endpoint);
    }

    /// Whether a device had its names before.
    pub(super) fn knows(&self, identity: &Identity) -> bool {
        self.records.contains_key(identity)
    }

    /// The endpoint name that a device has or would get.
    pub(super) fn prospect(&self, identity: &Identity) -> String {
        self.records.get(identity).map_or_else(|| self.free_endpoint(identity), |record| record.endpoint.clone())
    }

    /// The record that an operator means by a name or an endpoint name.
    pub(super) fn find(&self, word: &str) -> Option<&IdentityRecord> {
        self.records.values().find(|record| record.id.as_str() == word || record.endpoint == word)
    }

    /// The device's names are free again.
    pub(super) fn forget(&mut self, identity: &Identity) {
        if let Some(record) = self.records.remove(identity) {
            self.endpoints.remove(&record.endpoint);
        }
    }

    /// Gives a device another name inside this gateway; `None` when somebody has or had it.
    pub(super) fn rename(&mut self, identity: &Identity, name: &str) -> Option<IdentityRecord> {
        let mut others = self.records.values().filter(|record| record.identity != *identity);
        let taken = others.any(|record| record.id.as_str() == name || record.endpoint == name);
        if taken || self.configured_ids.contains(name) {
            return None;
        }
        let record = self.records.get_mut(identity)?;
        record.id = DeviceId::new(name);
        Some(record.clone())
    }

    /// The names of a device, and whether they are new to the store.
    pub(super) fn give(&mut self, identity: &Identity, entry: Option<&DeviceEntry>) -> (IdentityRecord, bool) {
        let known = self.records.get(identity).cloned();
        let mine = |value: &String, taken: &BTreeSet<String>, of: fn(&IdentityRecord) -> &str| {
            let mut others = self.records.values().filter(|other| other.identity != *identity);
            !taken.contains(value) && !others.any(|other| of(other) == value)
        };
        let kept_endpoint = known.as_ref().map(|known| known.endpoint.clone());
        let endpoint = entry
            .and_then(|entry| entry.endpoint.clone())
            .or_else(|| kept_endpoint.filter(|kept| mine(kept, &self.configured_endpoints, |other| &other.endpoint)))
            .unwrap_or_else(|| self.free_endpoint(identity));
        let kept_id = known.as_ref().map(|known| known.id.to_string());
        let id = entry
            .map(|entry| entry.name.clone())
            .or_else(|| kept_id.filter(|kept| mine(kept, &self.configured_ids, |other| other.id.as_str())))
            .unwrap_or_else(|| endpoint.clone());
        let id = DeviceId::new(id);
        let record = IdentityRecord { identity: identity.clone(), id, endpoint };
        let news = known.as_ref() != Some(&record);
        if news {
            self.endpoints.insert(record.endpoint.clone());
            self.records.insert(identity.clone(), record.clone());
        }
        (record, news)
    }

    /// The usual form of a name.
    fn usual(&self, identity: &Identity) -> String {
        sanitized(&match identity {
            Identity::Mac(mac) => format!("mac-{mac}"),
            Identity::UsbSerial(key) => format!("usb-{key}"),
            Identity::Configured(name) => format!("{}-{name}", self.gateway),
            Identity::Ble(address) => format!("ble-{address}"),
            Identity::Host(host) => format!("host-{}-{host}", self.gateway),
            Identity::UsbPath(path) => format!("port-{}-{path}", self.gateway),
            Identity::PortPath(path) => format!("port-{}-{}", self.gateway, path.trim_start_matches("/dev/")),
        })
    }

    /// A name by the rules that nobody has or had.
    fn free_endpoint(&self, identity: &Identity) -> String {
        let own = self.template.as_ref().and_then(|template| template.name(identity, &self.gateway, sanitized));
        let plain = own.unwrap_or_else(|| self.usual(identity));
        let numbered = (2u32..).map(|number| format!("{plain}-{number}"));
        let taken = |name: &String| {
            self.endpoints.contains(name)
                || self.configured_endpoints.contains(name)
                || self.configured_ids.contains(name)
        };
        std::iter::once(plain.clone()).chain(numbered).find(|name| !taken(name)).expect("there is always a next number")
    }
}

/// Letters, digits and `.`, `_`, `-` stay; all else becomes one `-`.
fn sanitized(name: &str) -> String {
    let mut clean = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-') {
            clean.push(letter);
        } else if !clean.ends_with('-') {
            clean.push('-');
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usual() -> NamingSettings {
        NamingSettings { endpoint: String::new() }
    }

    #[test]
    fn a_template_is_for_those_it_fits_and_never_gives_a_name_twice() {
        let naming = NamingSettings { endpoint: "urn:dev:{mac}".to_owned() };
        let mut names = Names::new("pi", &naming, std::iter::empty(), Vec::new());
        let endpoint = |names: &mut Names, identity| names.give(&identity, None).0.endpoint;
        assert_eq!(endpoint(&mut names, Identity::Mac("a4cf12ab34cd".to_owned())), "urn:dev:a4cf12ab34cd");
        assert_eq!(endpoint(&mut names, Identity::Host("kitchen".to_owned())), "host-pi-kitchen");
        let naming = NamingSettings { endpoint: "{key}".to_owned() };
        let mut names = Names::new("pi", &naming, std::iter::empty(), Vec::new());
        assert_eq!(endpoint(&mut names, Identity::Host("a".to_owned())), "a");
        assert_eq!(endpoint(&mut names, Identity::UsbPath("a".to_owned())), "a-2");
    }

    #[test]
    fn the_gateways_own_name_is_no_devices() {
        let naming = NamingSettings { endpoint: "gateway-{key}".to_owned() };
        let before = Identity::Host("pi".to_owned());
        let known = IdentityRecord {
            identity: before.clone(),
            id: DeviceId::new("gateway-pi"),
            endpoint: "gateway-pi".to_owned(),
        };
        let mut names = Names::new("pi", &naming, std::iter::empty(), vec![known]);
        names.keep_free(Some("gateway-pi".to_owned()));
        assert_eq!(names.give(&Identity::UsbPath("pi".to_owned()), None).0.endpoint, "gateway-pi-2");
        assert_eq!(names.give(&before, None).0.endpoint, "gateway-pi-3", "also where one had it before");
    }

    fn usb(serial: Option<&str>) -> UsbIds {
        UsbIds {
            vid: 0x10C4,
            pid: 0xEA60,
            serial: serial.map(str::to_owned),
            manufacturer: None,
            product: None,
            path: "1-1.4".to_owned(),
            interface: 2,
        }
    }

    fn of(usb: &UsbIds, told: &[Evidence], around: Surroundings) -> Identity {
        identity(None, Some(usb), told.iter(), Announced::default(), "/dev/ttyUSB0", around)
    }

    #[test]
    fn the_surest_identity_wins() {
        let around = Surroundings::default();
        let chip =
            Evidence::EspChip { chip: String::new(), mac: Some([0x24, 0x6F, 0x28, 0xA, 0xB, 0xC]), app_version: None };
        let serial = usb(Some("A50285BI"));
        assert_eq!(of(&serial, &[chip], around), Identity::Mac("246f280a0b0c".to_owned()));
        assert_eq!(of(&serial, &[], around), Identity::UsbSerial("10c4-ea60-A50285BI".to_owned()));
        assert_eq!(of(&usb(Some("0001")), &[], around), Identity::UsbPath("1-1.4".to_owned()));
        let taken = Surroundings { serial_taken: true, ..around };
        assert_eq!(of(&serial, &[], taken), Identity::UsbPath("1-1.4".to_owned()));
        let second = Surroundings { further_interface: true, ..around };
        assert_eq!(of(&serial, &[], second), Identity::UsbSerial("10c4-ea60-A50285BI-if2".to_owned()));
        let mac = Surroundings { serial_is_mac: true, ..around };
        assert_eq!(of(&usb(Some("DC:DA:0C:11:22:33")), &[], mac), Identity::Mac("dcda0c112233".to_owned()));
        let of_link = |announced| identity(None, None, [].iter(), announced, "/dev/pts/1", around);
        assert_eq!(of_link(Announced::default()), Identity::PortPath("/dev/pts/1".to_owned()));
        let host = Announced { host: Some("kitchen".to_owned()), ..Announced::default() };
        assert_eq!(of_link(host.clone()), Identity::Host("kitchen".to_owned()));
        let mac = |mac: &str| Announced { mac: Some(mac.to_owned()), ..host.clone() };
        assert_eq!(of_link(mac("A4-CF-12-AB-34-CD")), Identity::Mac("a4cf12ab34cd".to_owned()));
        assert_eq!(of_link(mac("not one")), Identity::Host("kitchen".to_owned()));
    }

    #[test]
    fn serial_numbers_that_clones_share_identify_nobody() {
        for serial in ["0001", "0000000000", "AAAA", "123456", "0123456789abcdef", "7"] {
            assert!(!is_unique(serial), "{serial}");
        }
        for serial in ["A50285BI", "75437303830351F0D0C1", "0000A1B2"] {
            assert!(is_unique(serial), "{serial}");
        }
    }

    #[test]
    fn a_name_is_kept_and_never_given_to_another() {
        let mut names = Names::new("pi", &usual(), std::iter::empty(), Vec::new());
        let one = Identity::PortPath("/tmp/a b".to_owned());
        let other = Identity::PortPath("/tmp/a-b".to_owned());
        let (first, news) = names.give(&one, None);
        assert!(news);
        assert_eq!(first.endpoint, "port-pi-tmp-a-b");
        let (second, _) = names.give(&other, None);
        assert_eq!(second.endpoint, "port-pi-tmp-a-b-2");
        let mut names = Names::new("renamed", &usual(), std::iter::empty(), vec![first.clone(), second]);
        assert_eq!(names.give(&one, None), (first, false));
    }

    #[test]
    fn an_entry_names_its_device() {
        let entry: DeviceEntry =
            toml::from_str("name = \"press-3\"\nlink = \"tcp:h:1\"\nendpoint = \"urn:press\"").expect("an entry");
        let mut names = Names::new("pi", &usual(), [&entry].into_iter(), Vec::new());
        let identity = Identity::Configured("press-3".to_owned());
        let (record, _) = names.give(&identity, Some(&entry));
        assert_eq!((record.id.as_str(), record.endpoint.as_str()), ("press-3", "urn:press"));
        let plain = DeviceEntry { endpoint: None, name: "press-4".to_owned(), ..entry };
        let (record, _) = names.give(&Identity::Configured("press-4".to_owned()), Some(&plain));
        assert_eq!(record.endpoint, "pi-press-4");
    }

    #[test]
    fn two_boards_that_had_one_name_in_turn_do_not_share_it_afterwards() {
        let entry: DeviceEntry =
            toml::from_str("name = \"press-3\"\nlink = \"tcp:h:1\"\nendpoint = \"press\"").expect("an entry");
        let boards = ["a", "b"].map(|serial| Identity::UsbSerial(format!("2341-0043-{serial}")));
        let mut names = Names::new("pi", &usual(), [&entry].into_iter(), Vec::new());
        let known: Vec<IdentityRecord> = boards.iter().map(|board| names.give(board, Some(&entry)).0).collect();
        assert_eq!(known[0].endpoint, known[1].endpoint);
        let mut names = Names::new("pi", &usual(), std::iter::empty(), known);
        let [one, other] = boards.map(|board| names.give(&board, None).0);
        assert!(one.id != other.id && one.endpoint != other.endpoint, "{one:?} {other:?}");
    }

    proptest! {
        #[test]
        fn no_two_identities_share_an_endpoint(paths in proptest::collection::btree_set("[/a-c .-]{1,4}", 1..20)) {
            let mut names = Names::new("pi", &usual(), std::iter::empty(), Vec::new());
            let given: BTreeSet<String> =
                paths.iter().map(|path| names.give(&Identity::PortPath(path.clone()), None).0.endpoint).collect();
            prop_assert_eq!(given.len(), paths.len());
        }
    }
}
