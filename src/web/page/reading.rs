//! Values of points, as people read them.

use crate::device::{PointValue, ShownPoint};

const MIB: f64 = (1 << 20) as f64;

/// A value with its unit; `None` where it is not known.
pub(super) fn reading(point: &ShownPoint) -> Option<String> {
    let value = point.value.as_ref()?;
    let PointValue::Number(number) = value else { return Some(value.to_string()) };
    Some(match point.unit.as_deref() {
        Some("/100") => format!("{number:.0} %"),
        Some("Cel") => format!("{number:.1} °C"),
        Some("B") if *number >= MIB => format!("{:.1} MiB", number / MIB),
        Some("s") if *number >= 60.0 => span(*number),
        Some(unit) => format!("{} {unit}", short(*number)),
        None => short(*number),
    })
}

/// A time in seconds, by days, hours and minutes.
fn span(seconds: f64) -> String {
    let minutes = (seconds / 60.0).floor();
    let (days, hours) = ((minutes / 1440.0).floor(), (minutes % 1440.0 / 60.0).floor());
    format!("{days:.0} d {hours:.0} h {:.0} min", minutes % 60.0)
}

/// Without the digits that only a computer's way of counting brings in; what is small keeps all of them.
fn short(number: f64) -> String {
    if number.abs() < 1.0 {
        return number.to_string();
    }
    let digits = format!("{number:.3}");
    digits.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_people_read_it() {
        let point = |value: Option<f64>, unit: Option<&str>| ShownPoint {
            key: "x".to_owned(),
            object: 3300,
            instance: 0,
            value: value.map(PointValue::Number),
            unit: unit.map(str::to_owned),
            name: None,
            writable: false,
            scale: 1.0,
        };
        for (value, unit, text) in [
            (Some(42.4), Some("/100"), Some("42 %")),
            (Some(51.25), Some("Cel"), Some("51.2 °C")),
            (Some(3_145_728.0), Some("B"), Some("3.0 MiB")),
            (Some(512.0), Some("B"), Some("512 B")),
            (Some(93_784.0), Some("s"), Some("1 d 2 h 3 min")),
            (Some(2.5), Some("s"), Some("2.5 s")),
            (Some(0.5), None, Some("0.5")),
            (Some(0.000_25), Some("A"), Some("0.00025 A")),
            (Some(3.300_000_000_4), Some("V"), Some("3.3 V")),
            (Some(100.0), Some("lx"), Some("100 lx")),
            (None, Some("/100"), None),
        ] {
            assert_eq!(reading(&point(value, unit)).as_deref(), text, "{value:?} {unit:?}");
        }
    }
}
