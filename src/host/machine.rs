//! Which machine it is: by the device tree on boards like a Raspberry Pi, by DMI on PCs. Neither: nothing is known.

use std::path::Path;

use super::text;
use crate::device::plain_text;

/// Longest text that is kept, in characters.
const MAX_TEXT: usize = 128;

/// What DMI has where a maker wrote nothing.
const EMPTY: [&str; 13] = [
    "to be filled by o.e.m.",
    "system product name",
    "system manufacturer",
    "system version",
    "system serial number",
    "default string",
    "not specified",
    "not applicable",
    "unknown",
    "none",
    "n/a",
    "o.e.m.",
    "0123456789",
];

/// What a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// Its maker's name for it: `Raspberry Pi 4 Model B Rev 1.4`.
    pub model: Option<String>,
    /// Its serial number; often for root only.
    pub serial_number: Option<String>,
    /// Its revision.
    pub hardware_version: Option<String>,
}

pub(super) fn look(root: &Path) -> Machine {
    let tree = |name: &str| told(&root.join("proc/device-tree").join(name));
    let dmi = |name: &str| told(&root.join("sys/class/dmi/id").join(name));
    match tree("model") {
        Some(model) => Machine {
            model: Some(model),
            serial_number: tree("serial-number"),
            hardware_version: revision(&text(&root.join("proc/cpuinfo")).unwrap_or_default()),
        },
        None => Machine {
            model: dmi("product_name").map(|product| with_maker(product, dmi("sys_vendor"))),
            serial_number: dmi("product_serial"),
            hardware_version: dmi("product_version"),
        },
    }
}

/// A product's name with its maker's before it, unless it begins with that.
fn with_maker(product: String, maker: Option<String>) -> String {
    match maker {
        Some(maker) if !product.to_lowercase().starts_with(&maker.to_lowercase()) => format!("{maker} {product}"),
        _ => product,
    }
}

/// `Revision : c03114`.
fn revision(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find_map(|line| line.strip_prefix("Revision"))?;
    kept(line.split_once(':')?.1)
}

fn told(file: &Path) -> Option<String> {
    kept(&text(file)?)
}

/// Trimmed, without the device tree's NUL, where it says anything.
fn kept(text: &str) -> Option<String> {
    let text = plain_text(text.trim_matches(|letter: char| letter == '\0' || letter.is_whitespace()), MAX_TEXT);
    let says_nothing = text.chars().all(|letter| matches!(letter, '0' | ' ' | '.' | '-'));
    (!says_nothing && !EMPTY.contains(&text.to_lowercase().as_str())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::tests::made_up;
    use super::*;

    #[test]
    fn a_raspberry_pi_is_known_by_its_device_tree() {
        let root = made_up(&[
            ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
            ("proc/device-tree/serial-number", "10000000abcdef01\0"),
            ("proc/cpuinfo", "processor\t: 0\n\nHardware\t: BCM2835\nRevision\t: c03114\n"),
        ]);
        let machine = look(root.path());
        assert_eq!(machine.model.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
        assert_eq!(machine.serial_number.as_deref(), Some("10000000abcdef01"));
        assert_eq!(machine.hardware_version.as_deref(), Some("c03114"));
    }

    #[test]
    fn a_pc_is_known_by_dmi_as_far_as_its_maker_wrote_it() {
        let root = made_up(&[
            ("sys/class/dmi/id/sys_vendor", "Intel Corporation\n"),
            ("sys/class/dmi/id/product_name", "NUC7i5BNH\n"),
            ("sys/class/dmi/id/product_serial", "To Be Filled By O.E.M.\n"),
            ("sys/class/dmi/id/product_version", "0000 \n"),
        ]);
        let model = Some("Intel Corporation NUC7i5BNH".to_owned());
        assert_eq!(look(root.path()), Machine { model, ..Machine::default() });
        assert_eq!(with_maker("Dell XPS".to_owned(), Some("DELL".to_owned())), "Dell XPS");
    }

    #[test]
    fn of_a_machine_that_tells_nothing_nothing_is_known() {
        assert_eq!(look(made_up(&[]).path()), Machine::default());
    }
}
