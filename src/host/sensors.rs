//! Temperatures: thermal zones, and what chips tell through hwmon. The numbers are thousandths of a degree (kernel,
//! Documentation/driver-api/thermal and Documentation/hwmon/sysfs-interface).

use std::path::{Path, PathBuf};

use super::{numbered, text};
use crate::device::plain_text;

/// So many are shown.
const MOST: usize = 16;
/// Longest name of one, in characters.
const MAX_NAME: usize = 64;
/// What a sensor tells that is broken or not there lies outside of this, in degrees.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = -60.0..=200.0;

/// One temperature.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sensor {
    /// `thermal_zone0`, `hwmon1/temp2`.
    pub(super) key: String,
    /// What its driver calls it.
    pub(super) name: String,
    file: PathBuf,
}

impl Sensor {
    /// What it tells now.
    pub(super) fn celsius(&self) -> Option<f64> {
        let thousandths: f64 = text(&self.file)?.trim().parse().ok()?;
        Some(thousandths / 1000.0).filter(|degrees| PLAUSIBLE.contains(degrees))
    }
}

/// Those that tell a temperature. A thermal zone that hwmon shows as well is listed once.
pub(super) fn find(root: &Path) -> Vec<Sensor> {
    let zones = numbered(&root.join("sys/class/thermal"), "thermal_zone", "");
    let zones = zones.into_iter().filter_map(|folder| {
        let key = folder.file_name()?.to_str()?.to_owned();
        let name = label(&folder.join("type")).unwrap_or_else(|| key.clone());
        Some(Sensor { key, name, file: folder.join("temp") })
    });
    let chips = numbered(&root.join("sys/class/hwmon"), "hwmon", "");
    let of_chips = chips.iter().filter(|folder| !is_thermal_zone(folder)).flat_map(|folder| of_chip(folder));
    zones.chain(of_chips).filter(|sensor| sensor.celsius().is_some()).take(MOST).collect()
}

fn of_chip(folder: &Path) -> Vec<Sensor> {
    let chip = label(&folder.join("name"));
    let sensor = |file: PathBuf| {
        let input = file.file_name()?.to_str()?.strip_suffix("_input")?;
        let key = format!("{}/{input}", folder.file_name()?.to_str()?);
        let own = label(&folder.join(format!("{input}_label")));
        let name = match (&chip, own) {
            (Some(chip), Some(own)) => format!("{chip} {own}"),
            (Some(only), None) => only.clone(),
            (None, Some(own)) => own,
            (None, None) => key.clone(),
        };
        Some(Sensor { key, name, file })
    };
    numbered(folder, "temp", "_input").into_iter().filter_map(sensor).collect()
}

/// A zone's hwmon chip is the child of the zone.
fn is_thermal_zone(chip: &Path) -> bool {
    std::fs::canonicalize(chip.join("device"))
        .is_ok_and(|of| of.file_name().is_some_and(|name| name.to_string_lossy().starts_with("thermal_zone")))
}

fn label(file: &Path) -> Option<String> {
    text(file).map(|text| plain_text(text.trim(), MAX_NAME)).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::tests::made_up;
    use super::*;

    #[test]
    fn zones_and_chips_are_found_once_and_only_where_they_tell_something() {
        let root = made_up(&[
            ("sys/class/thermal/thermal_zone10/type", "soc\n"),
            ("sys/class/thermal/thermal_zone10/temp", "50000\n"),
            ("sys/class/thermal/thermal_zone2/temp", "-1250\n"),
            ("sys/class/thermal/thermal_zone3/temp", "-274000\n"),
            ("sys/class/thermal/cooling_device0/type", "fan\n"),
            ("sys/class/hwmon/hwmon0/name", "coretemp\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "61000\n"),
            ("sys/class/hwmon/hwmon0/temp1_label", "Package id 0\n"),
            ("sys/class/hwmon/hwmon0/temp2_input", "broken\n"),
            ("sys/class/hwmon/hwmon0/fan1_input", "900\n"),
            ("sys/class/hwmon/hwmon1/name", "soc\n"),
            ("sys/class/hwmon/hwmon1/temp1_input", "50000\n"),
        ]);
        let class = root.path().join("sys/class");
        std::os::unix::fs::symlink(class.join("thermal/thermal_zone10"), class.join("hwmon/hwmon1/device"))
            .expect("a link");
        let found = find(root.path());
        let told: Vec<_> = found.iter().map(|one| (one.key.as_str(), one.name.as_str(), one.celsius())).collect();
        assert_eq!(
            told,
            [
                ("thermal_zone2", "thermal_zone2", Some(-1.25)),
                ("thermal_zone10", "soc", Some(50.0)),
                ("hwmon0/temp1", "coretemp Package id 0", Some(61.0)),
            ]
        );
        std::fs::write(class.join("hwmon/hwmon0/temp1_input"), "").expect("written");
        assert_eq!(found[2].celsius(), None, "it keeps its place, and tells nothing");
    }
}
