//! Which messages belong to one block-wise transfer (RFC 7959 §2.2: same endpoint, method and cache key). A hash is enough: there is one
//! peer, and with a collision it only confuses itself.

use crate::message::Message;

/// Names one body at one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TransferKey {
    /// Method, path, query, Accept and Request-Tag.
    target: u64,
    /// The payload, if there is one: it is part of the key of a FETCH (RFC 8132 §2.1), yet the follow-ups of a FETCH that came by Block1 have none.
    payload: Option<u64>,
}

impl TransferKey {
    /// The key of a request, its payload aside.
    pub(super) fn of(request: &Message) -> Self {
        let options = &request.options;
        let mut hash = Fnv::default();
        hash.bytes(&[request.code.0]);
        options.path.iter().for_each(|segment| hash.bytes(segment.as_bytes()));
        hash.bytes(&[0xff]);
        options.query.iter().for_each(|argument| hash.bytes(argument.as_bytes()));
        hash.bytes(&options.accept.map_or([0xff; 3], |accept| [0, (accept >> 8) as u8, accept as u8]));
        options.request_tag.iter().for_each(|tag| hash.bytes(tag));
        Self { target: hash.0, payload: None }
    }

    /// The same with the request's body, where it has one.
    pub(super) fn with_payload(self, payload: &[u8]) -> Self {
        Self { payload: (!payload.is_empty()).then(|| digest(payload)), ..self }
    }

    /// Whether a follow-up with this key means the transfer with that key.
    pub(super) fn follows(self, transfer: Self) -> bool {
        self.target == transfer.target && (self.payload.is_none() || self.payload == transfer.payload)
    }
}

/// 64 bits that stand for these bytes; not proof against forgery.
pub(super) fn digest(bytes: &[u8]) -> u64 {
    let mut hash = Fnv::default();
    hash.bytes(bytes);
    hash.0
}

/// FNV-1a, each field closed by its length.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        let length = bytes.len() as u64;
        bytes.iter().map(|byte| u64::from(*byte)).chain([length]).for_each(|word| self.add(word));
    }

    fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Kind, Message};
    use crate::options::Options;
    use crate::{Code, MessageId, Token};

    fn key(method: Code, path: &[&str], query: &[&str], accept: Option<u16>) -> TransferKey {
        let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        let options = Options { path: strings(path), query: strings(query), accept, ..Options::default() };
        let payload = Vec::new();
        let (kind, id, token) = (Kind::Confirmable, MessageId(1), Token::EMPTY);
        TransferKey::of(&Message { kind, code: method, id, token, options, payload })
    }

    #[test]
    fn every_part_of_the_cache_key_tells_transfers_apart() {
        let keys = [
            key(Code::GET, &["3", "0"], &[], None),
            key(Code::PUT, &["3", "0"], &[], None),
            key(Code::GET, &["30"], &[], None),
            key(Code::GET, &["3", "0"], &["a"], None),
            key(Code::GET, &["3"], &["0"], None),
            key(Code::GET, &["3", "0"], &[], Some(0)),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(keys[..index].iter().all(|other| other != key), "key {index}");
        }
        assert_eq!(keys[0], key(Code::GET, &["3", "0"], &[], None));
    }

    #[test]
    fn a_follow_up_may_leave_out_the_payload_but_not_change_it() {
        let bare = key(Code::FETCH, &[], &[], None);
        let transfer = bare.with_payload(b"paths");
        assert!(bare.follows(transfer));
        assert!(bare.with_payload(b"paths").follows(transfer));
        assert!(!bare.with_payload(b"other").follows(transfer));
    }
}
