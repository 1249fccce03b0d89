//! Tokens and message ids: what matches a response to its request (RFC 7252 §5.3.1) and an acknowledgement to its message (§4.4).

use std::fmt;

/// The id of one message; only meaningful together with the peer that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub u16);

impl MessageId {
    /// The id that follows, round the corner.
    pub(crate) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// A token of at most 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Token {
    length: u8,
    bytes: [u8; 8],
}

impl Token {
    /// The token of no bytes.
    pub const EMPTY: Self = Self { length: 0, bytes: [0; 8] };

    /// A token of these bytes, `None` if they are more than 8.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut token = Self { length: u8::try_from(bytes.len()).ok()?, bytes: [0; 8] };
        token.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(token)
    }

    /// The bytes as on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl From<[u8; 8]> for Token {
    fn from(bytes: [u8; 8]) -> Self {
        Self { length: 8, bytes }
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_at_most_eight_bytes() {
        assert_eq!(Token::new(&[]), Some(Token::EMPTY));
        assert_eq!(Token::new(&[1; 8]), Some(Token::from([1; 8])));
        assert_eq!(Token::new(&[1; 9]), None);
        assert_eq!(Token::new(&[0; 300]), None);
    }

    #[test]
    fn tokens_of_different_length_differ() {
        assert_ne!(Token::new(&[0]), Token::new(&[0, 0]));
        assert_eq!(Token::new(&[0xab, 1]).map(|t| t.to_string()), Some("ab01".to_owned()));
    }

    #[test]
    fn message_ids_wrap() {
        assert_eq!(MessageId(u16::MAX).next(), MessageId(0));
    }
}
