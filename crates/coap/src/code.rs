//! Message codes (RFC 7252 §3, §12.1): one byte, three bits of class and five of detail. Nothing here knows which codes make sense where.

use std::fmt;

/// The code of a message, printed as `2.05`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u8);

macro_rules! codes {
    ($($name:ident = $class:literal . $detail:literal),+ $(,)?) => {
        impl Code {
            $(
                #[doc = concat!("Code ", stringify!($class), ".", stringify!($detail), ".")]
                pub const $name: Self = Self(($class << 5) | $detail);
            )+
        }
    };
}

codes! {
    EMPTY = 0 . 0,
    GET = 0 . 1,
    POST = 0 . 2,
    PUT = 0 . 3,
    DELETE = 0 . 4,
    FETCH = 0 . 5,
    PATCH = 0 . 6,
    IPATCH = 0 . 7,
    CREATED = 2 . 1,
    DELETED = 2 . 2,
    VALID = 2 . 3,
    CHANGED = 2 . 4,
    CONTENT = 2 . 5,
    CONTINUE = 2 . 31,
    BAD_REQUEST = 4 . 0,
    UNAUTHORIZED = 4 . 1,
    BAD_OPTION = 4 . 2,
    FORBIDDEN = 4 . 3,
    NOT_FOUND = 4 . 4,
    METHOD_NOT_ALLOWED = 4 . 5,
    NOT_ACCEPTABLE = 4 . 6,
    REQUEST_ENTITY_INCOMPLETE = 4 . 8,
    CONFLICT = 4 . 9,
    PRECONDITION_FAILED = 4 . 12,
    REQUEST_ENTITY_TOO_LARGE = 4 . 13,
    UNSUPPORTED_CONTENT_FORMAT = 4 . 15,
    UNPROCESSABLE_ENTITY = 4 . 22,
    TOO_MANY_REQUESTS = 4 . 29,
    INTERNAL_SERVER_ERROR = 5 . 0,
    NOT_IMPLEMENTED = 5 . 1,
    BAD_GATEWAY = 5 . 2,
    SERVICE_UNAVAILABLE = 5 . 3,
    GATEWAY_TIMEOUT = 5 . 4,
    PROXYING_NOT_SUPPORTED = 5 . 5,
}

impl Code {
    /// The class: 0 requests, 2 success, 4 client error, 5 server error.
    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    /// The detail below the class, 0 to 31.
    pub const fn detail(self) -> u8 {
        self.0 & 0x1f
    }

    /// A method: class 0, but not the Empty message.
    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }

    /// A response of class 2, 4 or 5.
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2 | 4 | 5)
    }

    /// Class 2.
    pub const fn is_success(self) -> bool {
        self.class() == 2
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.detail())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_print_as_class_and_two_digits_of_detail() {
        assert_eq!(Code::CONTENT.to_string(), "2.05");
        assert_eq!(Code::CONTINUE.0, 0x5f);
        assert_eq!(Code::REQUEST_ENTITY_TOO_LARGE.to_string(), "4.13");
        assert_eq!(Code::IPATCH.0, 7);
        assert_eq!(Code::PROXYING_NOT_SUPPORTED.0, 0xa5);
    }

    #[test]
    fn classes_tell_requests_from_responses() {
        assert!(Code::FETCH.is_request() && !Code::FETCH.is_response());
        assert!(!Code::EMPTY.is_request() && !Code::EMPTY.is_response());
        assert!(Code::CHANGED.is_success() && Code::NOT_FOUND.is_response() && !Code::NOT_FOUND.is_success());
        assert!(!Code(0xe1).is_response(), "7.01 is a signal of CoAP over TCP");
    }
}
