//! STK500 version 1, as optiboot and ATmegaBOOT speak it: reset, `GET_SYNC`, `READ_SIGN`, `LEAVE_PROGMODE` (Atmel AVR061).
//!
//! Every command ends with `20` (end of packet); every answer lies between `14` (in sync) and `10` (ok).

use std::thread;
use std::time::Duration;

use super::super::port::Port;
use super::signature;
use crate::device::{Answer, QuestionFailed};

const GET_SYNC: [u8; 2] = [0x30, 0x20];
const READ_SIGN: [u8; 2] = [0x75, 0x20];
const LEAVE_PROGMODE: [u8; 2] = [0x51, 0x20];
const IN_SYNC: u8 = 0x14;
const OK: u8 = 0x10;

/// From the reset until the bootloader listens.
const SETTLE: Duration = Duration::from_millis(100);
/// How long one answer may take.
const REPLY: Duration = Duration::from_millis(250);
/// Tries to get in sync: together with `REPLY` a little more than the second that optiboot waits.
const TRIES: usize = 8;

/// Resets into the bootloader, reads the signature and lets the program run again.
pub(super) fn ask(port: &mut Port, baud: u32) -> Result<Answer, QuestionFailed> {
    port.pulse_dtr();
    thread::sleep(SETTLE);
    port.discard();
    if !sync(port)? {
        return Ok(Answer::default());
    }
    let reply = port.exchange(&READ_SIGN, REPLY, |reply| framed_signature(reply).is_some())?;
    port.exchange(&LEAVE_PROGMODE, REPLY, |reply| reply.ends_with(&[IN_SYNC, OK]))?;
    Ok(framed_signature(&reply).map_or_else(Answer::default, |bytes| signature("stk500", bytes, baud)))
}

/// In sync when a reply is exactly the two bytes: a chattering program holds them by chance only.
fn sync(port: &mut Port) -> Result<bool, QuestionFailed> {
    for _ in 0..TRIES {
        let reply = port.exchange(&GET_SYNC, REPLY, |reply| reply.len() >= 2)?;
        if reply == [IN_SYNC, OK] {
            // Answers to the tries before may still be on their way.
            port.drain(Duration::from_millis(50))?;
            return Ok(true);
        }
        if !reply.is_empty() {
            port.drain(Duration::from_millis(50))?;
        }
    }
    Ok(false)
}

fn framed_signature(reply: &[u8]) -> Option<[u8; 3]> {
    match *reply {
        [IN_SYNC, a, b, c, OK] => Some([a, b, c]),
        _ => None,
    }
}
