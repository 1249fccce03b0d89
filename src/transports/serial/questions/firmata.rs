//! The few messages of the Firmata protocol (2.x) that tell what runs on a board: system exclusive `F0 .. F7`, data
//! bytes of 7 bits, text as pairs of low and high half.

/// Asks for name and version of the firmware (`REPORT_FIRMWARE`).
pub(super) const QUERY_FIRMWARE: [u8; 3] = [0xF0, 0x79, 0xF7];
/// Asks which pins are analog (`ANALOG_MAPPING_QUERY`); the answer has a byte for each pin.
pub(super) const QUERY_PINS: [u8; 3] = [0xF0, 0x69, 0xF7];

/// Longest message that is taken; the pins of the largest boards make 70 bytes, a name some 60.
const MAX_MESSAGE: usize = 256;

/// What a board said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    /// Name and version of the firmware.
    Firmware { name: String, major: u8, minor: u8 },
    /// How many pins the analog mapping lists.
    Pins(u16),
}

/// Finds messages in a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// What came after `F0`, while inside a message.
    inside: Option<Vec<u8>>,
}

impl Parser {
    /// Takes a byte; a message when it ended one.
    pub(super) fn push(&mut self, byte: u8) -> Option<Message> {
        match (byte, &mut self.inside) {
            (0xF0, _) => self.inside = Some(Vec::new()),
            (0xF7, Some(_)) => return self.inside.take().and_then(|body| read(&body)),
            (0x00..=0x7F, Some(body)) if body.len() < MAX_MESSAGE => body.push(byte),
            _ => self.inside = None,
        }
        None
    }
}

fn read(body: &[u8]) -> Option<Message> {
    match *body {
        [0x79, major, minor, ref name @ ..] => {
            let letters = name.chunks_exact(2).map(|pair| char::from(pair[0] | pair[1] << 7));
            let name: String = letters.filter(|letter| !letter.is_control()).collect();
            (!name.is_empty()).then_some(Message::Firmware { name, major, minor })
        }
        [0x6A, ref pins @ ..] if !pins.is_empty() => u16::try_from(pins.len()).ok().map(Message::Pins),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Vec<Message> {
        let mut parser = Parser::default();
        bytes.iter().filter_map(|&byte| parser.push(byte)).collect()
    }

    #[test]
    fn an_announcement_is_read() {
        // F9: protocol version 2.5; then the firmware's own report.
        let mut bytes = vec![0xF9, 2, 5, 0xF0, 0x79, 2, 5];
        bytes.extend("Blink.ino".bytes().flat_map(|letter| [letter & 0x7F, letter >> 7]));
        bytes.push(0xF7);
        let expected = Message::Firmware { name: "Blink.ino".to_owned(), major: 2, minor: 5 };
        assert_eq!(parse(&bytes), [expected]);
    }

    #[test]
    fn the_analog_mapping_counts_the_pins() {
        let mut bytes = vec![0xF0, 0x6A];
        bytes.extend([127; 14]);
        bytes.extend(0..6);
        bytes.push(0xF7);
        assert_eq!(parse(&bytes), [Message::Pins(20)]);
    }

    #[test]
    fn a_message_that_is_broken_off_is_none() {
        assert_eq!(parse(&[0xF0, 0x79, 2, 5, b'A', 0, 0xC0, b'B', 0, 0xF7]), []);
        assert_eq!(parse(&QUERY_FIRMWARE), []);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            parse(&bytes);
        }
    }
}
