//! Names in topics: of gateways, devices and points, whatever those are called.
//!
//! Home Assistant takes letters, digits, `_` and `-` in the topics that it is told of things by. A name of these, which
//! does not use the marks below, stays as it is; any other is cut down to them and gets a hash, so that no two names ever
//! become one.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Longest name that stays as it is, and longest of all, in bytes.
const PLAIN_MAX: usize = 48;
/// So much of another name is kept for people.
const KEPT: usize = 24;
/// Comes between what is kept of a name and its hash.
const HASHED: &str = "__";
/// Comes between names where several make one; no name has it inside.
const JOINED: &str = "--";

/// A name as one level of a topic.
pub(super) fn segment(name: &str) -> String {
    if is_plain(name) {
        return name.to_owned();
    }
    let mut kept = String::new();
    for letter in name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }) {
        if kept.len() < KEPT && (letter != '-' || !(kept.is_empty() || kept.ends_with('-'))) {
            kept.push(letter);
        }
    }
    let mut segment = format!("{}{HASHED}", kept.trim_end_matches('-'));
    for byte in Sha256::digest(name.as_bytes()).iter().take(8) {
        write!(segment, "{byte:02x}").expect("a String takes everything");
    }
    segment
}

/// Several names as one.
pub(super) fn joined(segments: &[&str]) -> String {
    segments.join(JOINED)
}

/// Whether [`segment`] could have made it.
pub(super) fn is_segment(text: &str) -> bool {
    let hashed = text.split_once(HASHED).is_some_and(|(kept, hash)| {
        kept.len() <= KEPT && (kept.is_empty() || is_plain(kept)) && hash.len() == 16 && hash.bytes().all(is_hex)
    });
    hashed || is_plain(text)
}

fn is_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)
}

fn is_plain(name: &str) -> bool {
    let (Some(first), Some(last)) = (name.bytes().next(), name.bytes().last()) else { return false };
    name.len() <= PLAIN_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && !name.contains(HASHED)
        && !name.contains(JOINED)
}

/// The name of a point of this object under this key, e.g. `3303-sensor-kitchen`.
pub(super) fn of_point(object: u16, key: &str) -> String {
    // What comes before the first slash never has a dash in it where it is kept, so no two keys become one.
    match key.split_once('/') {
        Some((kind, rest)) if is_plain(kind) && !kind.contains('-') && is_plain(rest) && key.len() < PLAIN_MAX => {
            format!("{object}-{kind}-{rest}")
        }
        _ => format!("{object}-{}", segment(&format!("/{key}"))),
    }
}

/// Whether [`of_point`] could have made it.
pub(super) fn is_of_point(text: &str) -> bool {
    let digits = |text: &str| text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('-').is_some_and(|(object, rest)| digits(object) && is_segment(rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_names_stay_and_others_get_a_hash() {
        for name in ["press-3", "mac-a4cf12345678", "usb-2341-0043-75833353035351", "Kitchen_2"] {
            assert_eq!(segment(name), name);
        }
        for (name, begin) in [
            ("urn:dev:mac:a4cf12", "urn-dev-mac-a4cf12__"),
            ("a--b", "a-b__"),
            ("press__0123456789abcdef", "press-0123456789abcdef__"),
            ("+/#", "__"),
            ("", "__"),
            ("Küche", "K-che__"),
        ] {
            let made = segment(name);
            assert!(made.starts_with(begin) && is_segment(&made), "{name:?}: {made}");
        }
    }

    #[test]
    fn points_are_named_by_object_and_key() {
        assert_eq!(of_point(3306, "pin/13"), "3306-pin-13");
        assert_eq!(of_point(3303, "gatt/2a6e"), "3303-gatt-2a6e");
        assert_ne!(of_point(3303, "a/b-c"), of_point(3303, "a-b/c"));
        assert_ne!(of_point(3303, "a-b"), of_point(3303, "a/b"));
        assert!(is_of_point("3306-pin-13") && is_of_point(&of_point(3303, "öl/+#")));
        assert!(!is_of_point("update") && !is_of_point("3306/x") && !is_of_point("33-x"));
    }

    proptest! {
        #[test]
        fn whatever_a_name_is_its_segment_is_safe_and_its_own(name in ".{0,80}", other in ".{0,80}") {
            let made = segment(&name);
            prop_assert!(made.len() <= PLAIN_MAX && !made.contains(JOINED));
            prop_assert!(made.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')));
            prop_assert!(is_segment(&made));
            prop_assert_eq!(made == segment(&other), name == other);
            prop_assert!(is_of_point(&of_point(3303, &name)));
        }

        #[test]
        fn no_two_keys_become_one(one in "[a-c/-]{1,6}", other in "[a-c/-]{1,6}") {
            prop_assert_eq!(of_point(3303, &one) == of_point(3303, &other), one == other);
        }
    }
}
