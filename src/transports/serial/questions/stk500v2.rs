//! STK500 version 2, as the serial bootloader of large AVRs speaks it (Atmel AVR068): reset, `SIGN_ON`, the signature's
//! three bytes one by one, `LEAVE_PROGMODE_ISP`.
//!
//! A message is `1B`, sequence number, length (two bytes, high first), `0E`, body, and the XOR of all before it.

use std::thread;
use std::time::{Duration, Instant};

use super::super::port::Port;
use super::signature;
use crate::device::{Answer, QuestionFailed};

const SIGN_ON: u8 = 0x01;
const LEAVE_PROGMODE_ISP: u8 = 0x11;
const READ_SIGNATURE_ISP: u8 = 0x1B;
const STATUS_OK: u8 = 0x00;

const START: u8 = 0x1B;
const TOKEN: u8 = 0x0E;

/// From the reset until the bootloader listens.
const SETTLE: Duration = Duration::from_millis(100);
/// How long one answer may take.
const REPLY: Duration = Duration::from_millis(400);
/// Tries to sign on.
const TRIES: usize = 5;
/// Longest body that is taken; the ones asked for have at most 11 bytes.
const MAX_BODY: usize = 64;

/// Resets into the bootloader, reads the signature and lets the program run again.
pub(super) fn ask(port: &mut Port, baud: u32) -> Result<Answer, QuestionFailed> {
    port.pulse_dtr();
    thread::sleep(SETTLE);
    port.discard();
    let mut talk = Talk { port, sequence: 0 };
    if !talk.sign_on()? {
        return Ok(Answer::default());
    }
    let mut bytes = [0; 3];
    let mut complete = true;
    for (index, byte) in (0..).zip(&mut bytes) {
        let told = talk.signature_byte(index)?;
        complete &= told.is_some();
        *byte = told.unwrap_or(0);
    }
    talk.command(&[LEAVE_PROGMODE_ISP, 1, 1])?;
    Ok(if complete { signature("stk500v2", bytes, baud) } else { Answer::default() })
}

struct Talk<'a> {
    port: &'a mut Port,
    sequence: u8,
}

impl Talk<'_> {
    fn sign_on(&mut self) -> Result<bool, QuestionFailed> {
        for _ in 0..TRIES {
            if let Some([SIGN_ON, STATUS_OK, ..]) = self.command(&[SIGN_ON])?.as_deref() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn signature_byte(&mut self, index: u8) -> Result<Option<u8>, QuestionFailed> {
        // The fourth byte of the reply to the SPI command `30 00 index 00` is the one.
        let body = self.command(&[READ_SIGNATURE_ISP, 4, 0x30, 0, index, 0])?;
        Ok(match body.as_deref() {
            Some(&[READ_SIGNATURE_ISP, STATUS_OK, byte, ..]) => Some(byte),
            _ => None,
        })
    }

    /// Sends a command; the body of the answer that carries its sequence number.
    fn command(&mut self, body: &[u8]) -> Result<Option<Vec<u8>>, QuestionFailed> {
        self.sequence = self.sequence.wrapping_add(1);
        self.port.write(&frame(self.sequence, body))?;
        let until = Instant::now() + REPLY;
        let mut received = Vec::new();
        while self.port.read(&mut received, until)? {
            if let Some((sequence, body)) = unframe(&received)
                && sequence == self.sequence
            {
                return Ok(Some(body.to_vec()));
            }
        }
        Ok(None)
    }
}

fn frame(sequence: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).expect("our commands are short");
    let mut message = vec![START, sequence, 0, length, TOKEN];
    message.extend_from_slice(body);
    message.push(message.iter().fold(0, |sum, byte| sum ^ byte));
    message
}

/// The last whole message in what was received: a late answer to an earlier try may lie before it.
fn unframe(received: &[u8]) -> Option<(u8, &[u8])> {
    (0..received.len()).rev().find_map(|at| message(&received[at..]))
}

fn message(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let &[START, sequence, high, low, TOKEN, ref rest @ ..] = bytes else { return None };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_BODY || rest.len() <= length {
        return None;
    }
    let sum = bytes[..5 + length].iter().fold(0, |sum, byte| sum ^ byte);
    (sum == rest[length]).then_some((sequence, &rest[..length]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sign_on_is_framed_as_the_bootloader_expects_it() {
        assert_eq!(frame(1, &[SIGN_ON]), [0x1B, 1, 0, 1, 0x0E, 1, 0x14]);
    }

    proptest! {
        #[test]
        fn a_message_is_found_behind_anything(
            noise in proptest::collection::vec(any::<u8>(), 0..40),
            sequence: u8,
            body in proptest::collection::vec(any::<u8>(), 1..40),
        ) {
            let mut received = noise;
            received.extend(frame(sequence, &body));
            // What looks like a message inside the body wins; then its end is the same.
            let (_, found) = unframe(&received).expect("a message");
            prop_assert!(found.len() <= body.len());
        }

        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            unframe(&bytes);
        }
    }
}
