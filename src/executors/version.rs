//! Versions of tools: numbers with dots, compared number by number.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// Most numbers that one version has.
const MAX_PARTS: usize = 8;

/// A version such as `7.1`, told as it was written; `5` and `5.0` compare equal.
#[derive(Debug, Clone)]
pub(super) struct Version {
    text: String,
    /// Without zeros at the end.
    parts: Vec<u32>,
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl Eq for Version {}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts.cmp(&other.parts)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match parts {
            Ok(mut parts) if parts.len() <= MAX_PARTS => {
                while parts.len() > 1 && parts.last() == Some(&0) {
                    parts.pop();
                }
                Ok(Self { text: text.to_owned(), parts })
            }
            _ => Err(format!("`{text}` is no version: expected numbers with dots, e.g. \"7.1\"")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let version = |text: &str| text.parse::<Version>().expect("a version");
        assert!(version("4.12.0") < version("5"));
        assert!(version("7.9") < version("7.10"));
        assert_eq!(version("5"), version("5.0"));
        assert_eq!(version("5.0").to_string(), "5.0");
        assert!(version("0") < version("0.0.1"));
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in ["", "7.", "v7", "7-1", "1.1.1.1.1.1.1.1.1", "99999999999"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
