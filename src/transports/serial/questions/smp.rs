//! MCUmgr's SMP server over a serial console: a message with its length in front and a CRC behind goes as base64 in lines,
//! the first of which begins with `06 09`, the others with `04 14`; what else the console prints lies between
//! (Zephyr, "SMP transport: UART/serial and console").

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::super::smp::message::{self, Read, Told};
use super::super::port::Port;
use crate::device::{Answer, QuestionFailed};

const FIRST: [u8; 2] = [0x06, 0x09];
const FURTHER: [u8; 2] = [0x04, 0x14];
/// Longest line that is looked at: Zephyr's have 127 bytes.
const MAX_LINE: usize = 1024;
/// Longest message.
const MAX_MESSAGE: usize = 8192;
/// How long one answer may take.
const REPLY: Duration = Duration::from_millis(800);

/// The request for the images, framed.
pub(super) fn request() -> Vec<u8> {
    frame(&Read::Images.request(0))
}

/// What came of it: an answer where one of the lines heard is it.
pub(super) fn answered(message: &[u8]) -> Option<Told> {
    Read::Images.answer(0, message)
}

/// The server is there and has told its images: asks what it is.
pub(super) fn finish(port: &mut Port, images: Told) -> Result<Answer, QuestionFailed> {
    let slots = match images {
        Told::Images(slots) => slots,
        Told::Info(_) | Told::Refused => Vec::new(),
    };
    port.write(&frame(&Read::Info.request(1)))?;
    let until = Instant::now() + REPLY;
    let (mut lines, mut received, mut info) = (Deframer::default(), Vec::new(), None);
    while info.is_none() && port.read(&mut received, until)? {
        let told = received.drain(..).filter_map(|byte| lines.push(byte));
        info = told.filter_map(|message| Read::Info.answer(1, &message)).next();
    }
    let info = match info {
        Some(Told::Info(info)) => Some(info),
        _ => None,
    };
    let (evidence, version) = message::evidence(slots, info);
    Ok(Answer { evidence: vec![evidence], version })
}

/// A short message as one line.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len() + 2).expect("our requests are short");
    let body = [&length.to_be_bytes(), message, &crc(message).to_be_bytes()].concat();
    let mut line = FIRST.to_vec();
    line.extend(STANDARD.encode(body).into_bytes());
    line.push(b'\n');
    line
}

/// CRC-16/XMODEM: polynomial 1021, beginning with 0.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 })
    })
}

/// Finds messages in what a console prints.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    line: Vec<u8>,
    /// Length, message and CRC so far, while inside one.
    inside: Option<Vec<u8>>,
}

impl Deframer {
    /// Takes a byte; a message when it ended one.
    pub(super) fn push(&mut self, byte: u8) -> Option<Vec<u8>> {
        if byte != b'\n' {
            if self.line.len() < MAX_LINE {
                self.line.push(byte);
            }
            return None;
        }
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        // A prompt may stand before it.
        let begins = |mark: [u8; 2]| line.windows(2).rposition(|pair| pair == mark).map(|at| &line[at + 2..]);
        let (text, mut body) = match (begins(FIRST), begins(FURTHER), self.inside.take()) {
            (Some(text), ..) => (text, Vec::new()),
            (None, Some(text), Some(body)) => (text, body),
            // Something else was printed in between.
            (None, None, inside) => {
                self.inside = inside;
                return None;
            }
            (None, Some(_), None) => return None,
        };
        body.extend(STANDARD.decode(text).ok()?);
        let length = usize::from(u16::from_be_bytes(*body.first_chunk()?));
        if body.len() < length + 2 {
            self.inside = (length <= MAX_MESSAGE).then_some(body);
            return None;
        }
        let (message, sum) = body.get(2..length + 2)?.split_last_chunk::<2>()?;
        (crc(message) == u16::from_be_bytes(*sum)).then(|| message.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn deframe(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut deframer = Deframer::default();
        bytes.iter().filter_map(|&byte| deframer.push(byte)).collect()
    }

    #[test]
    fn messages_are_found_between_what_a_console_prints() {
        // As the documentation of the Python package smp frames it, in one line and in several.
        let whole = b"uart:~$ \x06\x09AA9IZWxsbywgd29ybGQhet4=\r\n";
        let parts =
            b"\x06\x09AA9I\n\x04\x14ZWxs\n[00:01] log\n\x04\x14bywg\n\x04\x14d29y\n\x04\x14bGQh\n\x04\x14et4=\n";
        for bytes in [&whole[..], parts] {
            assert_eq!(deframe(bytes), [b"Hello, world!"]);
        }
        assert_eq!(frame(b"Hello, world!"), b"\x06\x09AA9IZWxsbywgd29ybGQhet4=\n");
        assert_eq!(deframe(b"\x06\x09AA9IZWxsbywgd29ybGQhet5=\n"), Vec::<Vec<u8>>::new(), "a wrong CRC");
        assert_eq!(deframe(b"\x04\x14et4=\n"), Vec::<Vec<u8>>::new(), "without a beginning");
    }

    proptest! {
        #[test]
        fn what_is_framed_is_found(message in proptest::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(deframe(&frame(&message)), vec![message]);
        }

        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..3000)) {
            deframe(&bytes);
        }

        #[test]
        fn any_lines_are_safe(lines in proptest::collection::vec("[A-D]{0,40}", 0..40)) {
            let text: String = lines.iter().map(|line| format!("\u{4}\u{14}{line}\n")).collect();
            let mut deframer = Deframer::default();
            format!("\u{6}\u{9}AAAA\n{text}").bytes().for_each(|byte| drop(deframer.push(byte)));
            prop_assert!(deframer.inside.is_none_or(|inside| inside.len() < MAX_MESSAGE + MAX_LINE));
        }
    }
}
