//! Improv over serial, as programs speak it that want to be told a WiFi network: `IMPROV`, version 1, type, length, data,
//! and the sum of all before it (improv-wifi.com/serial). Only the request for device information is made, which changes
//! nothing.

use crate::device::{Answer, Evidence, ReportedVersion, plain_text};

const BEGINNING: [u8; 7] = *b"IMPROV\x01";
const RPC: u8 = 0x03;
const RPC_RESULT: u8 = 0x04;
const DEVICE_INFO: u8 = 0x03;
/// Beginning, type and length.
const HEADER: usize = 9;
/// Longest text that is kept, in characters.
const MAX_TEXT: usize = 64;

/// The request for device information. The line's end makes programs look that read lines.
pub(super) fn request() -> Vec<u8> {
    let mut packet = packet(RPC, &[DEVICE_INFO, 0]);
    packet.push(b'\n');
    packet
}

fn packet(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut packet = BEGINNING.to_vec();
    packet.extend([kind, u8::try_from(data.len()).expect("our requests are short")]);
    packet.extend_from_slice(data);
    packet.push(sum(&packet));
    packet
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// Finds the answer in a stream of bytes.
#[derive(Debug, Default)]
pub(super) struct Parser {
    packet: Vec<u8>,
}

impl Parser {
    /// Takes a byte; the answer when it ended one.
    pub(super) fn push(&mut self, byte: u8) -> Option<Answer> {
        self.packet.push(byte);
        while !begins(&self.packet) {
            self.packet.remove(0);
        }
        let length = usize::from(*self.packet.get(HEADER - 1)?);
        if self.packet.len() < HEADER + length + 1 {
            return None;
        }
        let packet = std::mem::take(&mut self.packet);
        let (checksum, told) = packet.split_last()?;
        match (sum(told) == *checksum, told[HEADER - 2]) {
            (true, RPC_RESULT) => info(&told[HEADER..]),
            _ => None,
        }
    }
}

/// Whether it is a packet so far.
fn begins(packet: &[u8]) -> bool {
    packet.iter().zip(BEGINNING).all(|(byte, expected)| *byte == expected)
}

/// A result: the command, the length of all, and texts, each with its length.
fn info(data: &[u8]) -> Option<Answer> {
    let [DEVICE_INFO, length, texts @ ..] = data else { return None };
    let mut texts = texts.get(..usize::from(*length))?;
    let mut told = Vec::new();
    while let [length, rest @ ..] = texts {
        let (text, further) = rest.split_at_checked(usize::from(*length))?;
        told.push(plain_text(&String::from_utf8_lossy(text), MAX_TEXT));
        texts = further;
    }
    let mut told = told.into_iter();
    let firmware = told.next().filter(|firmware| !firmware.is_empty())?;
    let mut next = || told.next().unwrap_or_default();
    let (version, chip, name) = (next(), next(), next());
    let source = "improv".to_owned();
    let reported = (!version.is_empty()).then(|| ReportedVersion { text: version.clone(), source });
    Some(Answer { evidence: vec![Evidence::Improv { firmware, version, chip, name }], version: reported })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Vec<Answer> {
        let mut parser = Parser::default();
        bytes.iter().filter_map(|&byte| parser.push(byte)).collect()
    }

    fn result(texts: &[&str]) -> Vec<u8> {
        let mut data: Vec<u8> = Vec::new();
        for text in texts {
            data.push(u8::try_from(text.len()).expect("short"));
            data.extend(text.bytes());
        }
        data.splice(0..0, [DEVICE_INFO, u8::try_from(data.len()).expect("short")]);
        packet(RPC_RESULT, &data)
    }

    #[test]
    fn the_request_is_what_the_documentation_says() {
        assert_eq!(request(), b"IMPROV\x01\x03\x02\x03\x00\xe6\n");
    }

    #[test]
    fn the_answer_is_found_among_other_output() {
        let state = packet(0x01, &[0x02]);
        let answer = result(&["WLED", "0.15.0", "ESP32-C3", "desk \x07lamp", "ESP-IDF", "5.1"]);
        let bytes = [b"boot\r\nIMPIMPROV?".to_vec(), state, answer, b"\n".to_vec()].concat();
        let [answer] = &parse(&bytes)[..] else { panic!("{:?}", parse(&bytes)) };
        let name = "desk \u{fffd}lamp".to_owned();
        let (firmware, version, chip) = ("WLED".to_owned(), "0.15.0".to_owned(), "ESP32-C3".to_owned());
        assert_eq!(answer.evidence, [Evidence::Improv { firmware, version, chip, name }]);
        assert_eq!(answer.version.as_ref().expect("a version").text, "0.15.0");
    }

    #[test]
    fn a_wrong_sum_or_length_is_no_answer() {
        let good = result(&["WLED", "0.15.0"]);
        assert_eq!(parse(&good).len(), 1);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x01;
            assert_eq!(parse(&bad), [], "byte {at}");
        }
        assert_eq!(parse(&packet(RPC_RESULT, &[DEVICE_INFO, 3, 9, b'a', b'b'])), []);
        assert_eq!(parse(&packet(RPC_RESULT, &[DEVICE_INFO, 0])), []);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            parse(&[&b"IMPROV\x01\x04"[..], &bytes].concat());
            parse(&bytes);
        }

        #[test]
        fn any_result_is_safe(data in proptest::collection::vec(any::<u8>(), 0..250)) {
            parse(&packet(RPC_RESULT, &[&[DEVICE_INFO][..], &data].concat()));
        }
    }
}
