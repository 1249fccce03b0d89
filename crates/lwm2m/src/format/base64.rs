//! Base64 (RFC 4648), the two dialects that LwM2M needs: standard with padding for text/plain, URL-safe without padding
//! for SenML JSON.

/// The alphabet and whether `=` fills the last group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `+` and `/`, padded (section 4).
    Standard,
    /// `-` and `_`, not padded (section 5).
    Url,
}

impl Dialect {
    fn alphabet(self) -> &'static [u8; 64] {
        match self {
            Dialect::Standard => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            Dialect::Url => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        }
    }

    fn sextet(self, symbol: u8) -> Option<u32> {
        let (plus, slash) = match self {
            Dialect::Standard => (b'+', b'/'),
            Dialect::Url => (b'-', b'_'),
        };
        let value = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            _ if symbol == plus => 62,
            _ if symbol == slash => 63,
            _ => return None,
        };
        Some(u32::from(value))
    }
}

/// Bytes as text.
pub(super) fn encode(dialect: Dialect, bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(group.get(at).copied().unwrap_or(0)));
        for at in 0..=group.len() {
            text.push(char::from(dialect.alphabet()[(bits >> (18 - 6 * at) & 0x3f) as usize]));
        }
        if dialect == Dialect::Standard {
            text.extend(std::iter::repeat_n('=', 3 - group.len()));
        }
    }
    text
}

/// Text as bytes; `None` for foreign symbols, a wrong length, wrong padding, or bits that do not fit a byte. The URL
/// dialect takes padding too, since some senders add it.
pub(super) fn decode(dialect: Dialect, text: &[u8]) -> Option<Vec<u8>> {
    let symbols = match dialect {
        Dialect::Standard if !text.len().is_multiple_of(4) => return None,
        Dialect::Url if !text.contains(&b'=') => text,
        Dialect::Standard | Dialect::Url => strip_padding(text)?,
    };
    let mut bytes = Vec::with_capacity(symbols.len() / 4 * 3 + 2);
    for group in symbols.chunks(4) {
        let bits = group.iter().try_fold(0, |bits, symbol| Some(bits << 6 | dialect.sextet(*symbol)?))?;
        push_group(&mut bytes, bits, group.len())?;
    }
    Some(bytes)
}

fn strip_padding(text: &[u8]) -> Option<&[u8]> {
    let unpadded = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"=")).unwrap_or(text);
    text.len().is_multiple_of(4).then_some(unpadded)
}

/// Appends what `symbols` sextets hold; spare bits must be zero.
fn push_group(bytes: &mut Vec<u8>, bits: u32, symbols: usize) -> Option<()> {
    let (spare, count) = match symbols {
        4 => (0, 3),
        3 => (2, 2),
        2 => (4, 1),
        _ => return None,
    };
    if bits & ((1 << spare) - 1) != 0 {
        return None;
    }
    bytes.extend_from_slice(&(bits >> spare).to_be_bytes()[4 - count..]);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_vectors_of_rfc_4648_hold() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(encode(Dialect::Standard, bytes.as_bytes()), text);
            assert_eq!(decode(Dialect::Standard, text.as_bytes()).unwrap(), bytes.as_bytes());
            assert_eq!(encode(Dialect::Url, bytes.as_bytes()), text.trim_end_matches('='));
        }
    }

    #[test]
    fn the_alphabets_are_kept_apart() {
        assert_eq!(encode(Dialect::Standard, &[0xfb, 0xff]), "+/8=");
        assert_eq!(encode(Dialect::Url, &[0xfb, 0xff]), "-_8");
        assert_eq!(decode(Dialect::Url, b"-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(decode(Dialect::Url, b"-_8="), Some(vec![0xfb, 0xff]));
        assert_eq!(decode(Dialect::Url, b"+/8"), None);
        assert_eq!(decode(Dialect::Standard, b"-_8="), None);
    }

    #[test]
    fn broken_padding_and_spare_bits_are_refused() {
        for text in ["Zg", "Zg=", "Zg===", "Z===", "====", "Zh==", "Zg==Zg==", " Zg==", "Zg==\n"] {
            assert_eq!(decode(Dialect::Standard, text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(decode(Dialect::Url, b"Z"), None);
        assert_eq!(decode(Dialect::Url, b"Zh"), None);
    }

    proptest! {
        #[test]
        fn bytes_survive_both_dialects(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for dialect in [Dialect::Standard, Dialect::Url] {
                prop_assert_eq!(decode(dialect, encode(dialect, &bytes).as_bytes()), Some(bytes.clone()));
            }
        }

        #[test]
        fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            decode(Dialect::Standard, &bytes);
            decode(Dialect::Url, &bytes);
        }
    }
}
