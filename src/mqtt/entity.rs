//! What a point of a device is in Home Assistant: which kind of entity, in which of its classes, in which unit, and how its
//! values are written.

use serde_json::{Map, Value, json};

use super::names;
use crate::device::{PointValue, ShownPoint, plain_text};

/// Longest name of an entity, in characters.
const NAME_MAX: usize = 64;
/// Longest state that Home Assistant keeps, in characters.
pub(super) const STATE_MAX: usize = 255;
/// Longest unit, in characters.
const UNIT_MAX: usize = 16;
/// A value that is not known.
pub(super) const NOT_KNOWN: &str = "None";
const ON: &str = "ON";
const OFF: &str = "OFF";

/// Kinds of entities, by Home Assistant's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Platform {
    Update,
    Sensor,
    BinarySensor,
    Switch,
    Light,
    Number,
    Text,
}

impl Platform {
    /// Its name in discovery.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Update => "update",
            Self::Sensor => "sensor",
            Self::BinarySensor => "binary_sensor",
            Self::Switch => "switch",
            Self::Light => "light",
            Self::Number => "number",
            Self::Text => "text",
        }
    }

    fn takes_orders(self) -> bool {
        matches!(self, Self::Switch | Self::Light | Self::Number | Self::Text)
    }
}

/// A point as an entity.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entity {
    /// What names it among those of its device.
    pub(super) name: String,
    pub(super) platform: Platform,
    /// What leads back to the point.
    pub(super) key: String,
    /// What Home Assistant is told of it, but for its topics and its identity.
    pub(super) facts: Map<String, Value>,
}

/// What is known of an IPSO object.
struct Kind {
    name: &'static str,
    platform: Platform,
    class: Option<Class>,
}

/// A device class of sensors, and the units that it may have.
struct Class(&'static str, &'static [&'static str]);

const PRESSURES: &[&str] = &["Pa", "hPa", "kPa", "mbar", "bar", "cbar", "mmHg", "inHg", "psi"];
const LENGTHS: &[&str] = &["km", "m", "cm", "mm", "mi", "nmi", "yd", "ft", "in"];
const POWERS: &[&str] = &["mW", "W", "kW", "MW", "GW", "TW"];
const ENERGIES: &[&str] = &["J", "kJ", "MJ", "GJ", "mWh", "Wh", "kWh", "MWh", "GWh", "TWh"];

fn kind(object: u16) -> Kind {
    let sensor = |name, class| Kind { name, platform: Platform::Sensor, class };
    let plain = |name, platform| Kind { name, platform, class: None };
    let of = |class, units| Some(Class(class, units));
    match object {
        3200 => plain("Input", Platform::BinarySensor),
        3201 => plain("Output", Platform::Switch),
        3202 => sensor("Analog input", None),
        3203 => plain("Analog output", Platform::Number),
        3301 => sensor("Illuminance", of("illuminance", &["lx"])),
        3302 => Kind { class: of("occupancy", &[]), ..plain("Presence", Platform::BinarySensor) },
        3303 => sensor("Temperature", of("temperature", &["°C", "°F", "K"])),
        3304 => sensor("Humidity", of("humidity", &["%"])),
        3306 => plain("Actuation", Platform::Switch),
        3308 => plain("Set point", Platform::Number),
        3311 => plain("Light", Platform::Light),
        3312 => plain("Power control", Platform::Switch),
        3315 => sensor("Barometer", of("atmospheric_pressure", PRESSURES)),
        3316 => sensor("Voltage", of("voltage", &["mV", "V", "kV", "MV"])),
        3317 => sensor("Current", of("current", &["mA", "A"])),
        3318 => sensor("Frequency", of("frequency", &["mHz", "Hz", "kHz", "MHz", "GHz"])),
        3320 => sensor("Percentage", None),
        3321 => sensor("Altitude", of("distance", LENGTHS)),
        3322 => sensor("Load", of("weight", &["kg", "g", "mg", "oz", "lb", "st"])),
        3323 => sensor("Pressure", of("pressure", PRESSURES)),
        3324 => sensor("Loudness", of("sound_pressure", &["dB", "dBA"])),
        3325 => sensor("Concentration", None),
        3326 => sensor("Acidity", None),
        3327 => sensor("Conductivity", of("conductivity", &["S/cm", "mS/cm"])),
        3328 => sensor("Power", of("power", POWERS)),
        3329 => sensor("Power factor", of("power_factor", &["%"])),
        3330 => sensor("Distance", of("distance", LENGTHS)),
        3331 => sensor("Energy", of("energy", ENERGIES)),
        3341 => plain("Text", Platform::Text),
        3342 => plain("On/off switch", Platform::BinarySensor),
        3347 => plain("Push button", Platform::BinarySensor),
        _ => sensor("Sensor", None),
    }
}

/// The units of LwM2M (SenML) that Home Assistant calls otherwise.
fn unit(told: &str) -> Option<String> {
    let unit = match told {
        "Cel" => "°C",
        "Far" => "°F",
        "%RH" | "%EL" => "%",
        "l" => "L",
        "/" | "1" | "" | "pH" => return None,
        other => other,
    };
    Some(plain_text(unit, UNIT_MAX))
}

impl Entity {
    /// Of a point; `orders`: whether values are taken from Home Assistant.
    pub(super) fn of(point: &ShownPoint, orders: bool) -> Self {
        let kind = kind(point.object);
        let platform = match kind.platform {
            it if !it.takes_orders() || (point.writable && orders) => it,
            Platform::Switch | Platform::Light => Platform::BinarySensor,
            _ => Platform::Sensor,
        };
        let name = match point.name.as_deref().map(str::trim) {
            Some(name) if !name.is_empty() => plain_text(name, NAME_MAX),
            _ => format!("{} {}", kind.name, point.instance),
        };
        let mut facts = Map::new();
        facts.insert("platform".to_owned(), json!(platform.name()));
        facts.insert("name".to_owned(), json!(name));
        let text = kind.platform == Platform::Text;
        let unit = point.unit.as_deref().and_then(unit);
        let class = kind.class.filter(|class| match (&unit, platform) {
            (_, Platform::BinarySensor) => class.1.is_empty(),
            (Some(unit), _) => class.1.contains(&unit.as_str()),
            (None, _) => false,
        });
        if let Some(Class(class, _)) = class {
            facts.insert("device_class".to_owned(), json!(class));
        }
        if let Some(unit) = unit.filter(|_| !text && matches!(platform, Platform::Sensor | Platform::Number)) {
            facts.insert("unit_of_measurement".to_owned(), json!(unit));
        }
        match platform {
            Platform::Sensor if !text => {
                let total = matches!(class, Some(Class("energy", _)));
                facts.insert("state_class".to_owned(), json!(if total { "total_increasing" } else { "measurement" }));
            }
            Platform::Number => facts.extend(range(point.object)),
            Platform::Text => _ = facts.insert("max".to_owned(), json!(STATE_MAX)),
            _ => {}
        }
        Self { name: names::of_point(point.object, &point.key), platform, key: point.key.clone(), facts }
    }

    /// What a point holds, as a state of this entity.
    pub(super) fn state(&self, value: Option<&PointValue>) -> String {
        let flag = |flag: bool| if flag { ON } else { OFF }.to_owned();
        match (self.platform, value) {
            (_, None) => NOT_KNOWN.to_owned(),
            (Platform::BinarySensor | Platform::Switch | Platform::Light, Some(value)) => match value {
                PointValue::Flag(on) => flag(*on),
                PointValue::Number(number) => flag(*number != 0.0),
                PointValue::Text(_) => NOT_KNOWN.to_owned(),
            },
            (Platform::Text, Some(value)) => plain_text(&value.to_string(), STATE_MAX),
            (_, Some(PointValue::Number(number))) => number.to_string(),
            (_, Some(PointValue::Flag(on))) => u8::from(*on).to_string(),
            (_, Some(PointValue::Text(text))) => plain_text(text, STATE_MAX),
        }
    }

    /// What Home Assistant wishes the point to hold; `None` for what is no value of this kind.
    pub(super) fn wished(&self, payload: &str) -> Option<PointValue> {
        match self.platform {
            Platform::Switch | Platform::Light => match payload {
                ON => Some(PointValue::Flag(true)),
                OFF => Some(PointValue::Flag(false)),
                _ => None,
            },
            Platform::Number => {
                payload.trim().parse().ok().filter(|number: &f64| number.is_finite()).map(PointValue::Number)
            }
            Platform::Text => (payload.len() <= STATE_MAX).then(|| PointValue::Text(payload.to_owned())),
            Platform::Update | Platform::Sensor | Platform::BinarySensor => None,
        }
    }
}

/// How a number may be set; Home Assistant wants to know.
fn range(object: u16) -> Map<String, Value> {
    let (min, max, step, mode) = match object {
        3203 => (0.0, 1.0, 0.01, "slider"),
        _ => (-1e6, 1e6, 0.001, "box"),
    };
    let keys = ["min", "max", "step", "mode"].map(str::to_owned);
    keys.into_iter().zip([json!(min), json!(max), json!(step), json!(mode)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(object: u16, unit: Option<&str>, writable: bool) -> ShownPoint {
        ShownPoint {
            key: "sensor/x".to_owned(),
            object,
            instance: 0,
            value: None,
            unit: unit.map(str::to_owned),
            name: None,
            writable,
            scale: 1.0,
        }
    }

    #[test]
    fn an_object_is_the_entity_that_people_expect() {
        for (object, unit, writable, platform, class, shown) in [
            (3303, Some("Cel"), false, "sensor", Some("temperature"), Some("°C")),
            (3303, Some("furlong"), false, "sensor", None, Some("furlong")),
            (3303, None, false, "sensor", None, None),
            (3304, Some("%RH"), false, "sensor", Some("humidity"), Some("%")),
            (3331, Some("Wh"), false, "sensor", Some("energy"), Some("Wh")),
            (3302, None, false, "binary_sensor", Some("occupancy"), None),
            (3306, None, true, "switch", None, None),
            (3306, None, false, "binary_sensor", None, None),
            (3311, None, true, "light", None, None),
            (3203, None, true, "number", None, None),
            (3308, Some("Cel"), true, "number", None, Some("°C")),
            (3203, None, false, "sensor", None, None),
            (3341, Some("Cel"), true, "text", None, None),
            (3341, None, false, "sensor", None, None),
            (9999, None, false, "sensor", None, None),
        ] {
            let facts = Entity::of(&point(object, unit, writable), true).facts;
            assert_eq!(facts["platform"], platform, "{object}");
            assert_eq!(facts.get("device_class").and_then(Value::as_str), class, "{object}");
            assert_eq!(facts.get("unit_of_measurement").and_then(Value::as_str), shown, "{object}");
        }
        assert_eq!(Entity::of(&point(3306, None, true), false).platform, Platform::BinarySensor, "no orders are taken");
        let energy = Entity::of(&point(3331, Some("Wh"), false), true);
        assert_eq!(energy.facts["state_class"], "total_increasing");
        assert!(
            !Entity::of(&point(3341, None, false), true).facts.contains_key("state_class"),
            "text is no measurement"
        );
    }

    #[test]
    fn states_and_wishes_are_in_home_assistants_words() {
        let number = |number| Some(PointValue::Number(number));
        let switch = Entity::of(&point(3306, None, true), true);
        assert_eq!(switch.state(Some(&PointValue::Flag(true))), "ON");
        assert_eq!(switch.state(number(0.0).as_ref()), "OFF");
        assert_eq!(switch.state(None), "None");
        assert_eq!(switch.wished("ON"), Some(PointValue::Flag(true)));
        assert_eq!(switch.wished("on"), None);
        let level = Entity::of(&point(3203, None, true), true);
        assert_eq!(level.state(number(0.25).as_ref()), "0.25");
        assert_eq!(level.wished("0.5"), number(0.5));
        for wrong in ["", "NaN", "inf", "much", "1e999"] {
            assert_eq!(level.wished(wrong), None, "{wrong}");
        }
        let sensor = Entity::of(&point(3303, None, false), true);
        assert_eq!(sensor.state(Some(&PointValue::Text("x\u{7}".repeat(300)))).chars().count(), STATE_MAX);
        assert_eq!(sensor.wished("1"), None, "a sensor takes nothing");
    }
}
