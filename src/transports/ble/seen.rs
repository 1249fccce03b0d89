//! Advertisements as BlueZ gives them, as the gateway keeps them: anything may stand in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use btleplug::api::{AddressType, PeripheralProperties};

use crate::device::{BleAddress, BleAddressKind, BleSeen};

/// Longest name that is kept, in bytes (Core specification, volume 3, part C, 12.1).
const MAX_NAME: usize = 248;
/// At most so many services, companies and pieces of data of one device are kept.
const MAX_ENTRIES: usize = 32;
/// Longest piece of data that is kept, in bytes: an extended advertisement has no more.
const MAX_DATA: usize = 255;

/// What a device advertises, within bounds.
pub(super) fn of(properties: &PeripheralProperties) -> BleSeen {
    let address = BleAddress(properties.address.into_inner());
    let public = properties.address_type == Some(AddressType::Public);
    let mut data = BTreeMap::new();
    for (company, bytes) in &properties.manufacturer_data {
        data.insert(format!("{company:04x}"), hex(bytes));
    }
    for (service, bytes) in &properties.service_data {
        data.insert(service.to_string(), hex(bytes));
    }
    BleSeen {
        address,
        address_kind: if public { BleAddressKind::Public } else { address.random_kind() },
        // BlueZ's alias is the address where there is no name.
        name: properties.advertisement_name.as_deref().and_then(name),
        services: first(properties.services.iter().map(ToString::to_string)),
        manufacturers: first(properties.manufacturer_data.keys().copied()),
        data_of: first(properties.service_data.keys().map(ToString::to_string)),
        data: data.into_iter().take(MAX_ENTRIES).collect(),
    }
}

/// Whether two advertisements differ in their data at most.
pub(super) fn is_same_but_data(one: &BleSeen, other: &BleSeen) -> bool {
    BleSeen { data: other.data.clone(), ..one.clone() } == *other
}

/// Once it has connected, BlueZ tells the services and the name of the device's GATT table in place of those that it advertises:
/// what was advertised while it is here counts on.
pub(super) fn keep_advertised(before: &BleSeen, now: &mut BleSeen) {
    let room = (2 * MAX_ENTRIES).saturating_sub(now.services.len());
    now.services.extend(before.services.iter().take(room).cloned());
    if before.name.is_some() {
        now.name.clone_from(&before.name);
    }
}

/// Sorted, so that too many are always the same few.
fn first<T: Ord>(entries: impl Iterator<Item = T>) -> BTreeSet<T> {
    let all: BTreeSet<T> = entries.collect();
    all.into_iter().take(MAX_ENTRIES).collect()
}

fn name(text: &str) -> Option<String> {
    let clean: String =
        text.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect();
    (!clean.trim().is_empty() && clean.len() <= MAX_NAME).then_some(clean)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(MAX_DATA).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn an_advertisement_is_kept_within_bounds() {
        let properties = PeripheralProperties {
            address: [0xF0, 1, 2, 3, 4, 5].into(),
            address_type: Some(AddressType::Random),
            advertisement_name: Some("a\u{1b}[2Jb".to_owned()),
            manufacturer_data: (0..100).map(|company| (company, vec![1; 300])).collect(),
            service_data: HashMap::new(),
            ..PeripheralProperties::default()
        };
        let seen = of(&properties);
        assert_eq!(
            (seen.address.to_string().as_str(), seen.address_kind),
            ("F0:01:02:03:04:05", BleAddressKind::Static)
        );
        assert_eq!(seen.name.as_deref(), Some("a\u{FFFD}[2Jb"));
        assert_eq!((seen.manufacturers.len(), seen.data.len()), (MAX_ENTRIES, MAX_ENTRIES));
        assert_eq!(seen.data["0000"].len(), 2 * MAX_DATA);
        let mut connected =
            BleSeen { name: Some("GAP".to_owned()), services: BTreeSet::from(["gatt".to_owned()]), ..seen.clone() };
        let before = BleSeen { services: BTreeSet::from(["advertised".to_owned()]), ..seen.clone() };
        keep_advertised(&before, &mut connected);
        assert_eq!((connected.services.len(), &connected.name), (2, &seen.name));
        let other = of(&PeripheralProperties { manufacturer_data: HashMap::new(), ..properties.clone() });
        assert!(!is_same_but_data(&seen, &other));
        let measured = PeripheralProperties {
            manufacturer_data: (0..100).map(|company| (company, vec![2])).collect(),
            ..properties
        };
        assert!(is_same_but_data(&seen, &of(&measured)));
    }
}
