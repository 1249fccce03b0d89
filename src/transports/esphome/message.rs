//! The messages of ESPHome's native API that are used here, with the numbers of its `api.proto`.

use prost::Message;

use crate::device::{POINT_TEXT_MAX, Point, PointValue};

pub(super) const HELLO_REQUEST: u32 = 1;
pub(super) const HELLO_RESPONSE: u32 = 2;
pub(super) const AUTHENTICATION_REQUEST: u32 = 3;
pub(super) const AUTHENTICATION_RESPONSE: u32 = 4;
pub(super) const DISCONNECT_REQUEST: u32 = 5;
pub(super) const DISCONNECT_RESPONSE: u32 = 6;
pub(super) const PING_REQUEST: u32 = 7;
pub(super) const PING_RESPONSE: u32 = 8;
pub(super) const DEVICE_INFO_REQUEST: u32 = 9;
pub(super) const DEVICE_INFO_RESPONSE: u32 = 10;
pub(super) const LIST_ENTITIES_REQUEST: u32 = 11;
pub(super) const LIST_ENTITIES_DONE: u32 = 19;
pub(super) const SUBSCRIBE_STATES_REQUEST: u32 = 20;
const LIST_BINARY_SENSOR: u32 = 12;
const LIST_LIGHT: u32 = 15;
const LIST_SENSOR: u32 = 16;
const LIST_SWITCH: u32 = 17;
const LIST_TEXT_SENSOR: u32 = 18;
const LIST_NUMBER: u32 = 49;
const LIST_BUTTON: u32 = 61;
const BINARY_SENSOR_STATE: u32 = 21;
const LIGHT_STATE: u32 = 24;
const SENSOR_STATE: u32 = 25;
const SWITCH_STATE: u32 = 26;
const TEXT_SENSOR_STATE: u32 = 27;
const NUMBER_STATE: u32 = 50;
const LIGHT_COMMAND: u32 = 32;
const SWITCH_COMMAND: u32 = 33;
const NUMBER_COMMAND: u32 = 51;
const BUTTON_COMMAND: u32 = 62;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Hello {
    #[prost(string, tag = "1")]
    pub(super) client_info: String,
    #[prost(uint32, tag = "2")]
    pub(super) api_version_major: u32,
    #[prost(uint32, tag = "3")]
    pub(super) api_version_minor: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AuthenticationResponse {
    #[prost(bool, tag = "1")]
    pub(super) invalid_password: bool,
}

/// What a device says of itself.
#[derive(Clone, PartialEq, Message)]
pub(super) struct DeviceInfo {
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    mac_address: String,
    #[prost(string, tag = "4")]
    esphome_version: String,
    #[prost(string, tag = "5")]
    compilation_time: String,
    #[prost(string, tag = "6")]
    model: String,
    #[prost(string, tag = "8")]
    project_name: String,
    #[prost(string, tag = "9")]
    project_version: String,
    #[prost(string, tag = "12")]
    manufacturer: String,
    #[prost(string, tag = "13")]
    friendly_name: String,
}

impl DeviceInfo {
    /// What it tells, by the names that `api.proto` has for it.
    pub(super) fn values(self) -> impl Iterator<Item = (&'static str, String)> {
        let all = [
            ("name", self.name),
            ("mac_address", self.mac_address),
            ("esphome_version", self.esphome_version),
            ("compilation_time", self.compilation_time),
            ("model", self.model),
            ("project_name", self.project_name),
            ("project_version", self.project_version),
            ("manufacturer", self.manufacturer),
            ("friendly_name", self.friendly_name),
        ];
        all.into_iter().map(|(name, text)| (name, kept(&text))).filter(|(_, text)| !text.is_empty())
    }
}

/// One thing that a device has: a sensor, a switch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entity {
    /// What its states and commands name it by.
    pub(super) id: EntityId,
    pub(super) point: Point,
    /// From where to where a number goes; others the device passes over without a word.
    range: Option<(f32, f32)>,
}

/// Names an entity: `key` is made of its name alone, so that sub-devices may have the same ones (`device_id`; 0: the device
/// itself).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntityId {
    key: u32,
    device: u32,
}

macro_rules! listed {
    ($name:ident, $device:literal $(, $field:ident = $tag:literal)*) => {
        #[derive(Clone, PartialEq, Message)]
        struct $name {
            #[prost(string, tag = "1")]
            object_id: String,
            #[prost(fixed32, tag = "2")]
            key: u32,
            #[prost(string, tag = "3")]
            name: String,
            #[prost(uint32, tag = $device)]
            device_id: u32,
            $(#[prost(string, tag = $tag)] $field: String,)*
        }
    };
}

listed!(ListedLight, "16");
listed!(ListedBinarySensor, "10", device_class = "5");
listed!(ListedSensor, "14", unit_of_measurement = "6", device_class = "9");
listed!(ListedSwitch, "10", device_class = "9");
listed!(ListedTextSensor, "9", device_class = "8");
listed!(ListedButton, "9", device_class = "8");
listed!(ListedNumber, "14", unit_of_measurement = "11", device_class = "13");

/// The least and the most that a number takes, in its list entry.
#[derive(Clone, PartialEq, Message)]
struct Range {
    #[prost(float, tag = "6")]
    least: f32,
    #[prost(float, tag = "7")]
    most: f32,
}

/// `None` where a device gives none.
fn range(listed: &[u8]) -> Option<(f32, f32)> {
    let Range { least, most } = Range::decode(listed).ok()?;
    (least < most).then_some((least, most))
}

/// Text as it is kept: bounded, and nothing in it that would move a cursor.
fn kept(text: &str) -> String {
    let mut text: String = text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
    text.truncate(text.floor_char_boundary(POINT_TEXT_MAX));
    text
}

fn some(text: &str) -> Option<String> {
    Some(kept(text)).filter(|text| !text.is_empty())
}

/// The name in a key: newer devices leave the object id to whoever asks, who makes it of the name as they did.
fn object_id(told: &str, name: &str) -> String {
    if !told.is_empty() {
        return kept(told);
    }
    let letter = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9' | '-' | '_') => letter,
        _ => '_',
    };
    kept(&name.chars().map(letter).collect::<String>())
}

/// An entity of a list; `None` for what is of no use here, and for what cannot be read.
pub(super) fn entity(kind: u32, body: &[u8]) -> Option<Entity> {
    macro_rules! of {
        ($type:ident, $kind:literal, $class:expr, $unit:expr, $writable:literal) => {{
            let listed = $type::decode(body).ok()?;
            let (class, unit): (Option<String>, Option<String>) = ($class(&listed), $unit(&listed));
            let id = EntityId { key: listed.key, device: listed.device_id };
            let name = object_id(&listed.object_id, &listed.name);
            let point = Point {
                key: match id.device {
                    0 => format!("{}/{name}", $kind),
                    device => format!("{}/{name}@{device}", $kind),
                },
                kind: $kind.to_owned(),
                class,
                unit,
                name: some(&listed.name),
                writable: $writable,
                value: None,
            };
            Some(Entity { id, point, range: (kind == LIST_NUMBER).then(|| range(body)).flatten() })
        }};
    }
    match kind {
        LIST_LIGHT => of!(ListedLight, "light", |_: &ListedLight| None, |_: &ListedLight| None, true),
        LIST_BINARY_SENSOR => of!(
            ListedBinarySensor,
            "binary_sensor",
            |one: &ListedBinarySensor| some(&one.device_class),
            |_: &ListedBinarySensor| None,
            false
        ),
        LIST_SENSOR => of!(
            ListedSensor,
            "sensor",
            |one: &ListedSensor| some(&one.device_class),
            |one: &ListedSensor| some(&one.unit_of_measurement),
            false
        ),
        LIST_SWITCH => {
            of!(ListedSwitch, "switch", |one: &ListedSwitch| some(&one.device_class), |_: &ListedSwitch| None, true)
        }
        LIST_TEXT_SENSOR => of!(
            ListedTextSensor,
            "text_sensor",
            |one: &ListedTextSensor| some(&one.device_class),
            |_: &ListedTextSensor| None,
            false
        ),
        LIST_BUTTON => {
            of!(ListedButton, "button", |one: &ListedButton| some(&one.device_class), |_: &ListedButton| None, true)
        }
        LIST_NUMBER => of!(
            ListedNumber,
            "number",
            |one: &ListedNumber| some(&one.device_class),
            |one: &ListedNumber| some(&one.unit_of_measurement),
            true
        ),
        _ => None,
    }
}

#[derive(Clone, PartialEq, Message)]
struct SwitchState {
    #[prost(fixed32, tag = "1")]
    key: u32,
    #[prost(bool, tag = "2")]
    state: bool,
    #[prost(uint32, tag = "3")]
    device_id: u32,
}

#[derive(Clone, PartialEq, Message)]
struct LightState {
    #[prost(fixed32, tag = "1")]
    key: u32,
    #[prost(bool, tag = "2")]
    state: bool,
    #[prost(uint32, tag = "14")]
    device_id: u32,
}

/// States that may be missing are laid out alike.
macro_rules! state_or_missing {
    ($name:ident, $kind:ident, $type:ty) => {
        #[derive(Clone, PartialEq, Message)]
        struct $name {
            #[prost(fixed32, tag = "1")]
            key: u32,
            #[prost($kind, tag = "2")]
            state: $type,
            #[prost(bool, tag = "3")]
            missing_state: bool,
            #[prost(uint32, tag = "4")]
            device_id: u32,
        }
    };
}

state_or_missing!(FlagOrMissing, bool, bool);
state_or_missing!(NumberState, float, f32);
state_or_missing!(TextState, string, String);

/// What an entity holds now; `None` for what is no state, and for what cannot be read.
pub(super) fn state(kind: u32, body: &[u8]) -> Option<(EntityId, Option<PointValue>)> {
    let of = |key, device| EntityId { key, device };
    match kind {
        SWITCH_STATE => {
            let told = SwitchState::decode(body).ok()?;
            Some((of(told.key, told.device_id), Some(PointValue::Flag(told.state))))
        }
        LIGHT_STATE => {
            let told = LightState::decode(body).ok()?;
            Some((of(told.key, told.device_id), Some(PointValue::Flag(told.state))))
        }
        BINARY_SENSOR_STATE => {
            let told = FlagOrMissing::decode(body).ok()?;
            let value = (!told.missing_state).then_some(PointValue::Flag(told.state));
            Some((of(told.key, told.device_id), value))
        }
        SENSOR_STATE | NUMBER_STATE => {
            let told = NumberState::decode(body).ok()?;
            let known = !told.missing_state && told.state.is_finite();
            // Shortest first: 20.1 as a single is no 20.100000381.
            let number = told.state.to_string().parse().ok();
            Some((of(told.key, told.device_id), number.filter(|_| known).map(PointValue::Number)))
        }
        TEXT_SENSOR_STATE => {
            let told = TextState::decode(body).ok()?;
            let value = (!told.missing_state).then(|| PointValue::Text(kept(&told.state)));
            Some((of(told.key, told.device_id), value))
        }
        _ => None,
    }
}

#[derive(Clone, PartialEq, Message)]
struct SwitchCommand {
    #[prost(fixed32, tag = "1")]
    key: u32,
    #[prost(bool, tag = "2")]
    state: bool,
    #[prost(uint32, tag = "3")]
    device_id: u32,
}

#[derive(Clone, PartialEq, Message)]
struct NumberCommand {
    #[prost(fixed32, tag = "1")]
    key: u32,
    #[prost(float, tag = "2")]
    state: f32,
    #[prost(uint32, tag = "3")]
    device_id: u32,
}

#[derive(Clone, PartialEq, Message)]
struct LightCommand {
    #[prost(fixed32, tag = "1")]
    key: u32,
    #[prost(bool, tag = "2")]
    has_state: bool,
    #[prost(bool, tag = "3")]
    state: bool,
    #[prost(uint32, tag = "28")]
    device_id: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ButtonCommand {
    #[prost(fixed32, tag = "1")]
    key: u32,
    #[prost(uint32, tag = "2")]
    device_id: u32,
}

/// The message that writes a value to an entity.
///
/// # Errors
/// When it takes no such value.
pub(super) fn command(entity: &Entity, value: &PointValue) -> Result<(u32, Vec<u8>), &'static str> {
    let EntityId { key, device: device_id } = entity.id;
    match (entity.point.kind.as_str(), value) {
        ("switch", PointValue::Flag(state)) => {
            Ok((SWITCH_COMMAND, SwitchCommand { key, state: *state, device_id }.encode_to_vec()))
        }
        ("light", PointValue::Flag(state)) => {
            Ok((LIGHT_COMMAND, LightCommand { key, has_state: true, state: *state, device_id }.encode_to_vec()))
        }
        ("number", PointValue::Number(number)) => {
            let number = *number as f32;
            let within = |(least, most): (f32, f32)| (least..=most).contains(&number);
            if !number.is_finite() || !entity.range.is_none_or(within) {
                return Err("the number is out of the range that the device gives it");
            }
            Ok((NUMBER_COMMAND, NumberCommand { key, state: number, device_id }.encode_to_vec()))
        }
        ("button", PointValue::Flag(true)) => Ok((BUTTON_COMMAND, ButtonCommand { key, device_id }.encode_to_vec())),
        ("button", PointValue::Flag(false)) => Err("a button can only be pressed"),
        _ => Err("it takes no such value"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_bounded_and_harmless_and_a_missing_object_id_is_made_of_the_name() {
        let listed = ListedSensor {
            object_id: String::new(),
            key: 7,
            device_id: 0,
            name: "Boiler Temp. 1\u{1b}[2J".to_owned(),
            unit_of_measurement: "°".repeat(300),
            device_class: String::new(),
        };
        let Entity { id, point, .. } = entity(LIST_SENSOR, &listed.encode_to_vec()).expect("a sensor");
        assert_eq!((id.key, point.key.as_str()), (7, "sensor/boiler_temp__1__2j"));
        assert_eq!(point.name.as_deref(), Some("Boiler Temp. 1\u{fffd}[2J"));
        assert_eq!((point.class, point.unit.map(|unit| unit.len())), (None, Some(254)));
    }

    #[test]
    fn states_are_numbers_as_people_write_them_or_not_known() {
        let told = |state: f32, missing_state| {
            state_of(SENSOR_STATE, &NumberState { key: 1, state, missing_state, device_id: 0 }.encode_to_vec())
        };
        assert_eq!(told(20.1, false), Some(PointValue::Number(20.1)));
        assert_eq!(told(f32::NAN, false), None);
        assert_eq!(told(1.0, true), None);
        // A switch of a sub-device has its number where others say that the state is missing.
        let switch = FlagOrMissing { key: 1, state: true, missing_state: true, device_id: 0 }.encode_to_vec();
        assert_eq!(state_of(SWITCH_STATE, &switch), Some(PointValue::Flag(true)));
        assert_eq!(state_of(BINARY_SENSOR_STATE, &switch), None);
    }

    fn state_of(kind: u32, body: &[u8]) -> Option<PointValue> {
        let (key, value) = state(kind, body).expect("a state");
        assert_eq!(key.key, 1);
        value
    }

    #[test]
    fn what_two_sub_devices_call_alike_is_two_things_each_with_its_state_and_its_orders() {
        let listed = |device_id| ListedSwitch {
            object_id: "relay".to_owned(),
            key: 7,
            name: "Relay".to_owned(),
            device_id,
            device_class: String::new(),
        };
        let of = |device_id| entity(LIST_SWITCH, &listed(device_id).encode_to_vec()).expect("a switch");
        let (own, sub) = (of(0), of(5));
        assert_eq!((own.point.key.as_str(), sub.point.key.as_str()), ("switch/relay", "switch/relay@5"));
        let told = state(SWITCH_STATE, &SwitchState { key: 7, state: true, device_id: 5 }.encode_to_vec());
        assert_eq!(told, Some((sub.id, Some(PointValue::Flag(true)))));
        assert_ne!(own.id, sub.id);
        let (kind, body) = command(&sub, &PointValue::Flag(true)).expect("an order");
        let sent = SwitchCommand::decode(&body[..]).expect("whole");
        assert_eq!((kind, sent), (SWITCH_COMMAND, SwitchCommand { key: 7, state: true, device_id: 5 }));
    }

    #[test]
    fn a_number_out_of_its_range_is_refused_since_the_device_would_pass_over_it() {
        let mut listed = ListedNumber { key: 7, name: "Limit".to_owned(), ..ListedNumber::default() }.encode_to_vec();
        let free = entity(LIST_NUMBER, &listed).expect("a number");
        listed.extend(Range { least: -5.0, most: 100.1 }.encode_to_vec());
        let bound = entity(LIST_NUMBER, &listed).expect("a number");
        let taken = |entity: &Entity, number| command(entity, &PointValue::Number(number)).is_ok();
        assert!(taken(&bound, 100.1) && taken(&bound, -5.0) && !taken(&bound, 101.0) && !taken(&bound, f64::NAN));
        assert!(taken(&free, 1e6) && !taken(&free, 1e39));
    }

    #[test]
    fn a_button_of_a_sub_device_is_pressed_there() {
        let mut listed = ListedButton { key: 7, name: "Restart".to_owned(), ..ListedButton::default() }.encode_to_vec();
        // Field 9, a varint: 5 (api.proto of ESPHome).
        listed.extend([9 << 3, 5]);
        let button = entity(LIST_BUTTON, &listed).expect("a button");
        let (_, body) = command(&button, &PointValue::Flag(true)).expect("an order");
        assert_eq!(ButtonCommand::decode(&body[..]), Ok(ButtonCommand { key: 7, device_id: 5 }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(kind in 0_u32..120, body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = state(kind, &body);
            let _ = entity(kind, &body);
            let _ = DeviceInfo::decode(&body[..]).map(|info| info.values().count());
        }
    }
}
