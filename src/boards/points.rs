//! Which IPSO object a point of a device becomes, by its board's file.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use globset::GlobMatcher;
use serde::Deserialize;

use super::announced::{Uuid, some_glob};
use crate::device::{
    GattPoint, NumberForm, POINTS_MAX, PinMode, PinPoint, Point, PointValue, ShownPoint, Watch, units,
};

/// How often characteristics are read at most, and at least.
const EVERY: Range<Duration> = Duration::from_secs(5)..Duration::from_secs(24 * 3600);
/// Pins that Firmata can name.
const MAX_PIN: u8 = 127;

/// A board's points as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PointsText {
    #[serde(default)]
    esphome: Vec<Rule>,
    gatt: Option<GattText>,
    firmata: Option<FirmataText>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct GattText {
    #[serde(default = "every_minute", with = "units::duration")]
    every: Duration,
    values: Vec<GattRule>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FirmataText {
    baud: u32,
    pins: Vec<PinRule>,
}

/// What becomes of points that the device itself describes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    kind: String,
    class: Option<String>,
    /// What its user calls it.
    #[serde(default, deserialize_with = "some_glob")]
    name: Option<GlobMatcher>,
    /// The unit that the device tells it in.
    from: Option<String>,
    object: u16,
    unit: Option<String>,
    #[serde(default = "as_it_is")]
    scale: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct GattRule {
    uuid: Uuid,
    #[serde(rename = "type")]
    form: NumberForm,
    /// What is written there when no value is known.
    unknown: Option<i64>,
    name: Option<String>,
    object: u16,
    unit: Option<String>,
    #[serde(default = "as_it_is")]
    scale: f64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinRule {
    pin: u8,
    mode: PinMode,
    name: Option<String>,
    object: u16,
    unit: Option<String>,
    #[serde(default = "as_it_is")]
    scale: f64,
}

/// What a point is shown as.
struct Shown<'a> {
    object: u16,
    unit: Option<&'a String>,
    scale: f64,
    /// The name that the file gives it.
    name: Option<&'a String>,
}

fn every_minute() -> Duration {
    Duration::from_secs(60)
}

fn as_it_is() -> f64 {
    1.0
}

impl PointsText {
    /// How a device of this board is watched; `None` where it has no points.
    pub(super) fn watch(&self) -> Option<Watch> {
        if let Some(GattText { every, values }) = &self.gatt {
            let point = |rule: &GattRule| {
                let GattRule { uuid, form, unknown, .. } = rule;
                GattPoint { uuid: uuid.as_str().to_owned(), form: *form, unknown: *unknown }
            };
            return Some(Watch::Gatt { values: values.iter().map(point).collect(), every: *every });
        }
        if let Some(FirmataText { baud, pins }) = &self.firmata {
            let pin = |rule: &PinRule| PinPoint { pin: rule.pin, mode: rule.mode };
            return Some(Watch::Firmata { baud: *baud, pins: pins.iter().map(pin).collect() });
        }
        (!self.esphome.is_empty()).then_some(Watch::Esphome)
    }

    /// The IPSO objects that it names.
    pub(super) fn objects(&self) -> BTreeSet<u16> {
        let gatt = self.gatt.iter().flat_map(|gatt| &gatt.values).map(|rule| rule.object);
        let pins = self.firmata.iter().flat_map(|firmata| &firmata.pins).map(|rule| rule.object);
        self.esphome.iter().map(|rule| rule.object).chain(gatt).chain(pins).collect()
    }

    /// What is wrong with it, in words.
    pub(super) fn flaws(&self) -> Vec<String> {
        let mut flaws = Vec::new();
        let ways = [!self.esphome.is_empty(), self.gatt.is_some(), self.firmata.is_some()];
        if ways.iter().filter(|way| **way).count() > 1 {
            flaws.push("a device is watched in one way: expected one of `esphome`, `gatt` and `firmata`".to_owned());
        }
        if let Some(GattText { every, .. }) = &self.gatt
            && !EVERY.contains(every)
        {
            flaws.push("`every` is out of range: expected \"5s\" to \"24h\"".to_owned());
        }
        let pins = self.firmata.iter().flat_map(|firmata| &firmata.pins);
        let mut seen = BTreeSet::new();
        for PinRule { pin, .. } in pins {
            if *pin > MAX_PIN {
                flaws.push(format!("Firmata has no pin {pin}: expected 0 to {MAX_PIN}"));
            }
            if !seen.insert(pin) {
                flaws.push(format!("pin {pin} is named twice"));
            }
        }
        let gatt = self.gatt.iter().flat_map(|gatt| &gatt.values).map(|rule| rule.scale);
        let pins = self.firmata.iter().flat_map(|firmata| &firmata.pins).map(|rule| rule.scale);
        if self.esphome.iter().map(|rule| rule.scale).chain(gatt).chain(pins).any(|scale| !scale.is_normal()) {
            flaws.push("`scale` is no factor: expected a number that is not 0".to_owned());
        }
        flaws
    }

    /// What servers are shown of points, in the order of the device; those that no rule names are left out. Instances are
    /// counted by object.
    pub(super) fn shown(&self, points: &[Point]) -> Vec<ShownPoint> {
        let mut given: BTreeMap<u16, u16> = BTreeMap::new();
        let show = |point: &Point| {
            let shown = self.rule(point)?;
            let next = given.entry(shown.object).or_default();
            let instance = *next;
            *next += 1;
            Some(ShownPoint {
                key: point.key.clone(),
                object: shown.object,
                instance,
                value: point.value.clone().map(|value| scaled(value, shown.scale)),
                unit: shown.unit.or(point.unit.as_ref()).cloned(),
                name: shown.name.or(point.name.as_ref()).cloned(),
                writable: point.writable,
                scale: shown.scale,
            })
        };
        points.iter().take(POINTS_MAX).filter_map(show).collect()
    }

    /// What a point is shown as.
    fn rule(&self, point: &Point) -> Option<Shown<'_>> {
        if let Some(uuid) = point.key.strip_prefix("gatt/") {
            let rule = self.gatt.as_ref()?.values.iter().find(|rule| rule.uuid.as_str() == uuid)?;
            return Some(Shown {
                object: rule.object,
                unit: rule.unit.as_ref(),
                scale: rule.scale,
                name: rule.name.as_ref(),
            });
        }
        if let Some(pin) = point.key.strip_prefix("pin/") {
            let rule = self.firmata.as_ref()?.pins.iter().find(|rule| pin.parse() == Ok(rule.pin))?;
            return Some(Shown {
                object: rule.object,
                unit: rule.unit.as_ref(),
                scale: rule.scale,
                name: rule.name.as_ref(),
            });
        }
        let fits = |rule: &&Rule| {
            let class = rule.class.is_none() || rule.class == point.class;
            let unit = rule.from.is_none() || rule.from == point.unit;
            let name =
                rule.name.as_ref().is_none_or(|glob| point.name.as_ref().is_some_and(|name| glob.is_match(name)));
            rule.kind == point.kind && class && unit && name
        };
        let rule = self.esphome.iter().find(fits)?;
        Some(Shown { object: rule.object, unit: rule.unit.as_ref(), scale: rule.scale, name: None })
    }
}

/// A number in the unit that servers read it in. Products of a decimal factor are rounded to what a number of that size holds,
/// so that 2150 times 0.01 is 21.5.
fn scaled(value: PointValue, scale: f64) -> PointValue {
    match value {
        PointValue::Number(number) if scale.to_bits() != 1.0_f64.to_bits() => {
            let product = number * scale;
            PointValue::Number(format!("{product:.12e}").parse().unwrap_or(product))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(text: &str) -> PointsText {
        toml::from_str(text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn point(key: &str, kind: &str, class: Option<&str>, unit: Option<&str>, value: f64) -> Point {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let value = Some(PointValue::Number(value));
        let (key, kind, name) = (key.to_owned(), kind.to_owned(), Some("Bench".to_owned()));
        Point { key, kind, class: text(class), unit: text(unit), name, writable: false, value }
    }

    #[test]
    fn the_first_rule_that_fits_counts_and_instances_are_counted_by_object() {
        let text = points(
            r#"esphome = [
                { kind = "sensor", class = "temperature", from = "°C", object = 3303, unit = "Cel" },
                { kind = "sensor", class = "energy", from = "kWh", object = 3331, unit = "Wh", scale = 1000 },
                { kind = "sensor", object = 3300 },
            ]"#,
        );
        let seen = [
            point("sensor/a", "sensor", Some("temperature"), Some("°C"), 20.5),
            point("sensor/b", "sensor", Some("temperature"), Some("°F"), 68.0),
            point("switch/c", "switch", None, None, 1.0),
            point("sensor/d", "sensor", Some("temperature"), Some("°C"), 3.0),
            point("sensor/e", "sensor", Some("energy"), Some("kWh"), 1.1),
        ];
        let shown: Vec<_> =
            text.shown(&seen).into_iter().map(|one| (one.key, one.object, one.instance, one.unit, one.value)).collect();
        let expect = |key: &str, object, instance, unit: &str, value| {
            (key.to_owned(), object, instance, Some(unit.to_owned()), Some(PointValue::Number(value)))
        };
        let expected = [
            expect("sensor/a", 3303, 0, "Cel", 20.5),
            expect("sensor/b", 3300, 0, "°F", 68.0),
            expect("sensor/d", 3303, 1, "Cel", 3.0),
            expect("sensor/e", 3331, 0, "Wh", 1100.0),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn characteristics_and_pins_are_found_by_their_keys() {
        let text = points(
            r#"gatt = { values = [{ uuid = "2a6e", type = "s16", scale = 0.01, object = 3303, unit = "Cel" }] }"#,
        );
        let Some(Watch::Gatt { values, every }) = text.watch() else { panic!("gatt") };
        assert_eq!(every, Duration::from_secs(60));
        let key = format!("gatt/{}", values[0].uuid);
        let shown = text.shown(&[point(&key, "gatt", None, None, 2150.0)]);
        assert_eq!(shown[0].value, Some(PointValue::Number(21.5)));
        let text = points(
            r#"firmata = { baud = 57600, pins = [{ pin = 13, mode = "output", object = 3306, name = "lamp" }] }"#,
        );
        let shown = text.shown(&[point("pin/13", "pin", None, None, 1.0), point("pin/12", "pin", None, None, 1.0)]);
        assert_eq!((shown.len(), shown[0].name.as_deref()), (1, Some("lamp")));
        assert_eq!(text.objects(), BTreeSet::from([3306]));
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for (text, flaw) in [
            (r#"gatt = { every = "1s", values = [] }"#, "`every`"),
            (r#"firmata = { baud = 1, pins = [{ pin = 128, mode = "input", object = 3200 }] }"#, "no pin 128"),
            (
                r#"firmata = { baud = 1, pins = [{ pin = 1, mode = "input", object = 3200 }, { pin = 1, mode = "pwm", object = 3203 }] }"#,
                "twice",
            ),
            ("esphome = [{ kind = \"sensor\", object = 3300 }]\ngatt = { values = [] }", "in one way"),
            (r#"esphome = [{ kind = "sensor", object = 3300, scale = 0.0 }]"#, "`scale`"),
        ] {
            let flaws = points(text).flaws();
            assert!(flaws.len() == 1 && flaws[0].contains(flaw), "{text}: {flaws:?}");
        }
    }
}
