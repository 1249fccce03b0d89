//! The messages of the Firmata protocol (2.x) that tell what runs on a board and what its pins hold: system exclusive
//! `F0 .. F7` and short ones of two data bytes, all of 7 bits; text as pairs of low and high half.

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
    /// The analog channel of each pin; 127 for a pin that has none.
    Pins(Vec<u8>),
    /// What the pins of a port of eight hold (`90`).
    Digital { port: u8, levels: u8 },
    /// What an analog channel measures (`E0`).
    Analog { channel: u8, level: u16 },
    /// A pin's mode, and what was written to it last (`F0 6E`).
    State { pin: u8, mode: u8, value: u32 },
}

/// Finds messages in a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// What came after `F0`, while inside a message.
    inside: Option<Vec<u8>>,
    /// A short message: its first byte, and its first data byte where that is there.
    short: Option<(u8, Option<u8>)>,
}

impl Parser {
    /// Takes a byte; a message when it ended one.
    pub(super) fn push(&mut self, byte: u8) -> Option<Message> {
        match (byte, &mut self.inside) {
            (0xF0, _) => (self.inside, self.short) = (Some(Vec::new()), None),
            (0xF7, Some(_)) => return self.inside.take().and_then(|body| read(&body)),
            (0x00..=0x7F, Some(body)) if body.len() < MAX_MESSAGE => body.push(byte),
            (0x00..=0x7F, None) => return self.push_short(byte),
            (0x90..=0x9F | 0xE0..=0xEF, _) => (self.inside, self.short) = (None, Some((byte, None))),
            _ => (self.inside, self.short) = (None, None),
        }
        None
    }

    /// Takes a data byte of a short message.
    fn push_short(&mut self, byte: u8) -> Option<Message> {
        let (first, low) = self.short?;
        let Some(low) = low else {
            self.short = Some((first, Some(byte)));
            return None;
        };
        self.short = None;
        Some(match first {
            0x90..=0x9F => Message::Digital { port: first & 0x0F, levels: low | (byte & 1) << 7 },
            _ => Message::Analog { channel: first & 0x0F, level: u16::from(low) | u16::from(byte) << 7 },
        })
    }
}

fn read(body: &[u8]) -> Option<Message> {
    match *body {
        [0x79, major, minor, ref name @ ..] => {
            let letters = name.chunks_exact(2).map(|pair| char::from(pair[0] | pair[1] << 7));
            let name: String = letters.filter(|letter| !letter.is_control()).collect();
            (!name.is_empty()).then_some(Message::Firmware { name, major, minor })
        }
        [0x6A, ref pins @ ..] if !pins.is_empty() => Some(Message::Pins(pins.to_vec())),
        [0x6E, pin, mode, ref value @ ..] if (1..=4).contains(&value.len()) => {
            let value = value.iter().rev().fold(0, |sum, &part| sum << 7 | u32::from(part));
            Some(Message::State { pin, mode, value })
        }
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
        let messages = parse(&bytes);
        assert!(matches!(&messages[..], [Message::Pins(pins)] if pins.len() == 20 && pins[14] == 0), "{messages:?}");
    }

    #[test]
    fn what_pins_hold_is_read_between_other_messages() {
        let bytes =
            [0x91, 0x20, 0x01, 0xF0, 0x6E, 13, 1, 1, 0xF7, 0xE3, 0x7F, 0x07, 0x90, 0xF0, 0x6E, 6, 3, 0x7F, 1, 0xF7];
        let expected = [
            Message::Digital { port: 1, levels: 0xA0 },
            Message::State { pin: 13, mode: 1, value: 1 },
            Message::Analog { channel: 3, level: 1023 },
            Message::State { pin: 6, mode: 3, value: 255 },
        ];
        assert_eq!(parse(&bytes), expected);
        assert_eq!(parse(&[0x01, 0x02, 0x03]), [], "data that belongs to nothing");
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
