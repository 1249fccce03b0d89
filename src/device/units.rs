//! Serde adapters for values that are written with a unit.

/// A [`std::time::Duration`] written as `"30s"`, `"5m"`, `"1h 30m"`. Use with `#[serde(with = "units::duration")]`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Reads a duration.
    ///
    /// # Errors
    /// When the text is no duration with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|error| {
            de::Error::custom(format!("`{text}` is no duration ({error}): expected e.g. \"30s\" or \"5m\""))
        })
    }

    /// Writes a duration.
    ///
    /// # Errors
    /// Only what the serializer itself says.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }
}
