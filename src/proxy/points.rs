//! Points of a device between the gateway's words and the LwM2M client's: each value as its object's main resource has it.

use lwm2m::client::{PointFacts, accepts_value, main_resource, takes_values};
use lwm2m::value::{Kind, Value};

use crate::device::{PointValue, ShownPoint};

/// Whether a point can be shown as such an object.
pub fn is_point_object(object: u16) -> bool {
    main_resource(object).is_some()
}

/// What the client shows.
pub(super) fn facts(points: &[ShownPoint]) -> Vec<PointFacts> {
    points.iter().map(fact).collect()
}

fn fact(point: &ShownPoint) -> PointFacts {
    let kind = main_resource(point.object).map(|(_, kind)| kind);
    PointFacts {
        object: point.object,
        instance: point.instance,
        value: point.value.as_ref().and_then(|value| told(value, kind?)),
        unit: point.unit.clone(),
        name: point.name.clone(),
        writable: point.writable && takes_values(point.object),
    }
}

fn told(value: &PointValue, kind: Kind) -> Option<Value> {
    Some(match (kind, value) {
        (Kind::Float, PointValue::Number(number)) => Value::Float(*number),
        (Kind::Float, PointValue::Flag(flag)) => Value::Float(f64::from(*flag)),
        (Kind::Boolean, PointValue::Flag(flag)) => Value::Boolean(*flag),
        (Kind::Boolean, PointValue::Number(number)) => Value::Boolean(*number != 0.0),
        (Kind::String, value) => Value::String(value.to_string()),
        _ => return None,
    })
}

/// What a server wrote, as the device's own protocol has it: in the unit of the device.
pub(super) fn written(point: &ShownPoint, value: Value) -> Option<PointValue> {
    match value {
        Value::Boolean(flag) => Some(PointValue::Flag(flag)),
        Value::Float(number) if number.is_finite() => Some(PointValue::Number(number / point.scale)),
        Value::String(text) => Some(PointValue::Text(text)),
        _ => None,
    }
}

/// What an operator wishes a point to hold, as the device's own protocol has it; `None` where a server could not write it
/// either.
pub fn wished(point: &ShownPoint, value: &PointValue) -> Option<PointValue> {
    let (_, kind) = main_resource(point.object).filter(|_| point.writable)?;
    let value = told(value, kind).filter(|value| accepts_value(point.object, value))?;
    written(point, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(object: u16, value: PointValue, scale: f64) -> ShownPoint {
        let (key, value) = ("k".to_owned(), Some(value));
        ShownPoint { key, object, instance: 0, value, unit: None, name: None, writable: true, scale }
    }

    #[test]
    fn a_value_has_the_type_of_its_object_or_is_not_there() {
        for (object, value, expected) in [
            (3303, PointValue::Number(1.5), Some(Value::Float(1.5))),
            (3303, PointValue::Flag(true), Some(Value::Float(1.0))),
            (3303, PointValue::Text("warm".to_owned()), None),
            (3306, PointValue::Flag(true), Some(Value::Boolean(true))),
            (3200, PointValue::Number(0.0), Some(Value::Boolean(false))),
            (3341, PointValue::Text("ok".to_owned()), Some(Value::String("ok".to_owned()))),
        ] {
            assert_eq!(fact(&shown(object, value, 1.0)).value, expected, "{object}");
        }
        assert!(!fact(&shown(3303, PointValue::Number(1.0), 1.0)).writable, "a sensor takes no value");
    }

    #[test]
    fn what_is_written_goes_back_in_the_units_of_the_device() {
        let level = shown(3203, PointValue::Number(0.0), 0.5);
        assert_eq!(written(&level, Value::Float(1.0)), Some(PointValue::Number(2.0)));
        assert_eq!(written(&level, Value::Float(f64::NAN)), None);
        assert_eq!(written(&level, Value::Integer(1)), None);
    }

    #[test]
    fn an_operator_writes_what_a_server_could_and_no_more() {
        let level = shown(3203, PointValue::Number(0.0), 0.5);
        assert_eq!(wished(&level, &PointValue::Number(0.25)), Some(PointValue::Number(0.5)));
        assert_eq!(wished(&level, &PointValue::Number(1.5)), None, "the object goes up to 1");
        assert_eq!(wished(&level, &PointValue::Text("1".to_owned())), None);
        let lamp = shown(3306, PointValue::Flag(false), 1.0);
        assert_eq!(wished(&lamp, &PointValue::Flag(true)), Some(PointValue::Flag(true)));
        let fixed = ShownPoint { writable: false, ..lamp };
        assert_eq!(wished(&fixed, &PointValue::Flag(true)), None);
        assert_eq!(wished(&shown(3303, PointValue::Number(1.0), 1.0), &PointValue::Number(2.0)), None, "a sensor");
    }
}
