//! One message on the wire (RFC 7252 §3). coap-lite does the coding, but it takes things that no CoAP message may be (another version, a payload marker
//! without payload, an Empty message that is not empty), so the frame is checked before it sees a byte. Who sent the message is not known here.

use coap_lite::{MessageClass, MessageType, Packet};

use crate::options::Options;
use crate::{Code, MessageId, Token};

/// The most options that a message may carry; each costs an allocation, and nothing sensible needs more.
const MAX_OPTIONS: usize = 64;

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// CON.
    Confirmable,
    /// NON.
    NonConfirmable,
    /// ACK.
    Acknowledgement,
    /// RST.
    Reset,
}

/// A decoded message, or one to be encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// CON, NON, ACK or RST.
    pub kind: Kind,
    /// Method, response code, or [`Code::EMPTY`].
    pub code: Code,
    /// The sender's message id, or the one that is acknowledged.
    pub id: MessageId,
    /// The token.
    pub token: Token,
    /// The options.
    pub options: Options,
    /// What follows the payload marker.
    pub payload: Vec<u8>,
}

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Too short, or of another version: to be ignored in silence (RFC 7252 §3).
    #[error("no CoAP message")]
    Foreign,
    /// The header is readable, the rest breaks the format.
    #[error("message format error")]
    Format {
        /// The id to refuse with RST; only for a confirmable message (§4.2).
        reject: Option<MessageId>,
    },
}

impl Message {
    /// An Empty message: ACK, RST, or as CON a ping.
    pub fn empty(kind: Kind, id: MessageId) -> Self {
        Self { kind, code: Code::EMPTY, id, token: Token::EMPTY, options: Options::default(), payload: Vec::new() }
    }

    /// Reads a datagram. Unknown and broken options are no error here, see [`Options::fault`].
    ///
    /// # Errors
    /// When the bytes are no message.
    pub fn decode(datagram: &[u8]) -> Result<Self, Malformed> {
        let header = Header::read(datagram)?;
        check_frame(&header, datagram).ok_or(header.malformed())?;
        let packet = Packet::from_bytes(datagram).map_err(|_| header.malformed())?;
        let token = Token::new(packet.get_token()).ok_or(header.malformed())?;
        let options = Options::read(&packet);
        Ok(Self { kind: header.kind, code: header.code, id: header.id, token, options, payload: packet.payload })
    }

    /// The datagram.
    pub fn encode(self) -> Vec<u8> {
        let mut packet = Packet::new();
        packet.header.set_type(match self.kind {
            Kind::Confirmable => MessageType::Confirmable,
            Kind::NonConfirmable => MessageType::NonConfirmable,
            Kind::Acknowledgement => MessageType::Acknowledgement,
            Kind::Reset => MessageType::Reset,
        });
        packet.header.code = MessageClass::from(self.code.0);
        packet.header.message_id = self.id.0;
        packet.set_token(self.token.as_bytes().to_vec());
        self.options.write(&mut packet);
        packet.payload = self.payload;
        packet.to_bytes_unlimited().expect("without a limit only a header that does not fit its own buffer fails")
    }
}

/// The datagram of an empty message, without the way through the codec.
pub(crate) fn empty_datagram(kind: Kind, id: MessageId) -> Vec<u8> {
    let [high, low] = id.0.to_be_bytes();
    vec![0x40 | (kind as u8) << 4, 0, high, low]
}

struct Header {
    kind: Kind,
    token_length: usize,
    code: Code,
    id: MessageId,
}

impl Header {
    fn read(datagram: &[u8]) -> Result<Self, Malformed> {
        let [first, code, high, low, ..] = *datagram else { return Err(Malformed::Foreign) };
        if first >> 6 != 1 {
            return Err(Malformed::Foreign);
        }
        let kind = match first >> 4 & 3 {
            0 => Kind::Confirmable,
            1 => Kind::NonConfirmable,
            2 => Kind::Acknowledgement,
            _ => Kind::Reset,
        };
        let id = MessageId(u16::from_be_bytes([high, low]));
        Ok(Self { kind, token_length: usize::from(first & 0xf), code: Code(code), id })
    }

    fn malformed(&self) -> Malformed {
        Malformed::Format { reject: (self.kind == Kind::Confirmable).then_some(self.id) }
    }
}

/// `None` where the frame breaks the rules that coap-lite lets pass.
fn check_frame(header: &Header, datagram: &[u8]) -> Option<()> {
    let allowed = match header.kind {
        _ if header.code == Code::EMPTY => datagram.len() == 4 && header.token_length == 0,
        Kind::Reset => false,
        Kind::Acknowledgement => header.code.is_response(),
        Kind::Confirmable | Kind::NonConfirmable => header.code.is_request() || header.code.is_response(),
    };
    let mut rest = datagram.get(4 + header.token_length..)?;
    if !allowed || header.token_length > 8 {
        return None;
    }
    let mut count = 0;
    while let [first, after @ ..] = rest {
        if *first == 0xff {
            return (!after.is_empty()).then_some(());
        }
        count += 1;
        let (_delta, after) = extended(first >> 4, after)?;
        let (length, after) = extended(first & 0xf, after)?;
        rest = after.get(length..).filter(|_| count <= MAX_OPTIONS)?;
    }
    Some(())
}

/// A 4-bit field with the bytes that extend it (RFC 7252 §3.1).
fn extended(nibble: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    match (nibble, bytes) {
        (0..=12, rest) => Some((usize::from(nibble), rest)),
        (13, [byte, rest @ ..]) => Some((usize::from(*byte) + 13, rest)),
        (14, [high, low, rest @ ..]) => Some((usize::from(u16::from_be_bytes([*high, *low])) + 269, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::block::BlockOption;
    use crate::options::OptionFault;

    /// RFC 7252 figure 16: CON GET /temperature, id 0x7d34, no token.
    const FIGURE_16: &[u8] = b"\x40\x01\x7d\x34\xbbtemperature";

    #[test]
    fn the_request_of_rfc_7252_figure_16_reads_and_writes() {
        let message = Message::decode(FIGURE_16).unwrap();
        assert_eq!((message.kind, message.code, message.id), (Kind::Confirmable, Code::GET, MessageId(0x7d34)));
        assert_eq!(message.options.path, ["temperature"]);
        assert_eq!(message.token, Token::EMPTY);
        assert_eq!(message.encode(), FIGURE_16);
    }

    #[test]
    fn the_response_of_rfc_7252_figure_16_reads_and_writes() {
        let bytes = b"\x60\x45\x7d\x34\xff22.3 C";
        let message = Message::decode(bytes).unwrap();
        assert_eq!((message.kind, message.code), (Kind::Acknowledgement, Code::CONTENT));
        assert_eq!(message.payload, b"22.3 C");
        assert_eq!(message.encode(), bytes);
    }

    #[test]
    fn a_register_reads_as_its_parts() {
        // CON POST /rd?lwm2m=1.1&ep=a&lt=60, Content-Format 40.
        let bytes = b"\x42\x02\x00\x01\xaa\xbb\xb2rd\x11\x28\x39lwm2m=1.1\x04ep=a\x05lt=60\xff</1/1>,</3/0>".as_slice();
        let message = Message::decode(bytes).unwrap();
        assert_eq!(message.options.path, ["rd"]);
        assert_eq!(message.options.query, ["lwm2m=1.1", "ep=a", "lt=60"]);
        assert_eq!(message.options.content_format, Some(40));
        assert_eq!(message.encode(), bytes);
    }

    #[test]
    fn the_frame_is_checked_before_the_codec_sees_it() {
        let foreign = Malformed::Foreign;
        let silent = Malformed::Format { reject: None };
        let reject = Malformed::Format { reject: Some(MessageId(0x0102)) };
        let cases: [(&[u8], Malformed, &str); 13] = [
            (b"", foreign, "nothing"),
            (b"\x40\x01\x01", foreign, "three bytes"),
            (b"\x00\x01\x01\x02", foreign, "version 0"),
            (b"\x80\x01\x01\x02", foreign, "version 2"),
            (b"\x49\x01\x01\x02123456789", reject, "token length 9"),
            (b"\x44\x01\x01\x02ab", reject, "token cut off"),
            (b"\x40\x01\x01\x02\xff", reject, "marker without payload"),
            (b"\x50\x01\x01\x02\xff", silent, "the same as NON"),
            (b"\x40\x00\x01\x02\xffx", reject, "Empty with payload"),
            (b"\x41\x00\x01\x02x", reject, "Empty with token"),
            (b"\x40\xe1\x01\x02", reject, "a code of class 7"),
            (b"\x60\x01\x01\x02", silent, "a request in an ACK"),
            (b"\x70\x45\x01\x02", silent, "a response in a RST"),
        ];
        for (bytes, expected, what) in cases {
            assert_eq!(Message::decode(bytes), Err(expected), "{what}");
        }
        assert_eq!(Message::decode(b"\x40\x01\x01\x02\xf0"), Err(reject), "delta 15");
        assert_eq!(Message::decode(b"\x40\x01\x01\x02\x0f"), Err(reject), "length 15");
        assert_eq!(Message::decode(b"\x40\x01\x01\x02\xb5ab"), Err(reject), "option cut off");
    }

    #[test]
    fn a_flood_of_options_is_refused() {
        let flood = |count| [b"\x40\x01\x01\x02\xb0".as_slice(), &vec![0; count - 1]].concat();
        assert!(Message::decode(&flood(MAX_OPTIONS)).is_ok());
        assert!(Message::decode(&flood(MAX_OPTIONS + 1)).is_err());
    }

    #[test]
    fn an_option_value_or_payload_of_ff_is_no_marker() {
        assert_eq!(Message::decode(b"\x40\x01\x01\x02\x41\xff").unwrap().options.etag, Some(vec![0xff]));
        assert_eq!(Message::decode(b"\x40\x02\x01\x02\xff\xff").unwrap().payload, [0xff]);
    }

    #[test]
    fn unknown_critical_options_are_told_and_elective_ones_passed_over() {
        let critical = Message::decode(b"\x40\x01\x01\x02\x10").unwrap();
        assert_eq!(critical.options.fault, Some(OptionFault::UnknownCritical(1)));
        // Option 2, then option 258 (No-Response), both elective.
        let elective = Message::decode(b"\x40\x01\x01\x02\x20\xd1\xf3\x02").unwrap();
        assert_eq!(elective.options, Options::default());
    }

    #[test]
    fn empty_datagrams_are_four_bytes() {
        for kind in [Kind::Confirmable, Kind::Acknowledgement, Kind::Reset] {
            let datagram = empty_datagram(kind, MessageId(0xbeef));
            assert_eq!(datagram, Message::empty(kind, MessageId(0xbeef)).encode());
            assert_eq!(Message::decode(&datagram), Ok(Message::empty(kind, MessageId(0xbeef))));
        }
    }

    fn blocks() -> impl Strategy<Value = Option<BlockOption>> {
        proptest::option::of(
            (0..=BlockOption::MAX_NUM, any::<bool>(), 0_u8..=6).prop_map(|(num, more, szx)| BlockOption {
                num,
                more,
                szx,
            }),
        )
    }

    prop_compose! {
        fn options()(
            path in proptest::collection::vec("[a-z0-9é]{0,20}", 0..6),
            query in proptest::collection::vec("[a-z=0-9]{0,30}", 0..6),
            location_path in proptest::collection::vec("[a-z]{0,9}", 0..3),
            (content_format, accept) in any::<(Option<u16>, Option<u16>)>(),
            observe in proptest::option::of(0_u32..1 << 24),
            (block1, block2) in (blocks(), blocks()),
            (size1, size2, max_age) in any::<(Option<u32>, Option<u32>, Option<u32>)>(),
            etag in proptest::option::of(proptest::collection::vec(any::<u8>(), 1..=8)),
            request_tag in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..=8)),
        ) -> Options {
            Options {
                path, query, location_path, content_format, accept, observe, block1, block2, size1, size2, max_age, etag,
                request_tag, fault: None,
            }
        }
    }

    proptest! {
        #[test]
        fn any_message_survives_the_wire(
            options in options(),
            confirmable: bool,
            code in prop_oneof![Just(Code::GET), Just(Code::IPATCH), Just(Code::CONTENT), Just(Code::REQUEST_ENTITY_TOO_LARGE)],
            id: u16,
            token in proptest::collection::vec(any::<u8>(), 0..=8),
            payload in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let kind = if confirmable { Kind::Confirmable } else { Kind::NonConfirmable };
            let message = Message { kind, code, id: MessageId(id), token: Token::new(&token).unwrap(), options, payload };
            prop_assert_eq!(Message::decode(&message.clone().encode()), Ok(message));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Message::decode(&bytes);
        }

        #[test]
        fn any_bytes_after_a_good_header_decode_or_are_refused(
            first in 0x40_u8..0x79, code in 0_u8..0xa8, rest in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            if let Ok(message) = Message::decode(&[&[first, code, 1, 2], rest.as_slice()].concat()) {
                let _ = message.encode();
            }
        }
    }
}
