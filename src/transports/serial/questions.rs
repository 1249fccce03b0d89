//! Questions asked over an open serial port, one file for each protocol. All are blocking, bounded in time and bytes,
//! and leave the board running its program as far as the protocol allows.

mod at;
mod esp_rom;
mod firmata;
mod improv;
mod listen;
mod pointing;
mod program;
mod slip;
mod smp;
mod stk500;
mod stk500v2;
mod watch;

use std::path::Path;

use super::port::Port;
use crate::device::{Answer, Evidence, Question, QuestionFailed, RebootMethod};

/// Speed for a restart, where nothing is said over the line.
const RESTART_BAUD: u32 = 115_200;

/// What calls a boot loader (Arduino platform specification, `use_1200bps_touch`).
const TOUCH_BAUD: u32 = 1200;

pub(super) use pointing::point_out;
pub(super) use watch::{Ends, run as watch};

/// Opens the port and asks.
pub(super) fn ask(path: &Path, question: &Question) -> Result<Answer, QuestionFailed> {
    match question {
        Question::Listen(question) => listen::ask(path, question),
        Question::Program(question) => program::ask(path, question),
        Question::Stk500 { baud } => stk500::ask(&mut Port::open(path, *baud)?, *baud),
        Question::Stk500v2 { baud } => stk500v2::ask(&mut Port::open(path, *baud)?, *baud),
        Question::Gatt { .. } | Question::Http { .. } | Question::Esphome { .. } | Question::SmpUdp { .. } => {
            Err(QuestionFailed::Unsupported)
        }
        Question::EspRom { baud, app_offset } => esp_rom::ask(&mut Port::open(path, *baud)?, *app_offset),
    }
}

/// Restarts the program behind a port.
pub(super) fn restart(path: &Path, method: RebootMethod) -> Result<(), QuestionFailed> {
    if matches!(method, RebootMethod::None | RebootMethod::UsbPower) {
        return Err(QuestionFailed::Unsupported);
    }
    let mut port = Port::open(path, RESTART_BAUD)?;
    match method {
        // What opening does to a port whose lines were down.
        RebootMethod::Dtr | RebootMethod::Open => port.pulse_dtr(),
        RebootMethod::Rts => port.pulse_rts(),
        RebootMethod::None | RebootMethod::UsbPower => {}
    }
    Ok(())
}

/// Calls the boot loader of a board that is its own USB device: the line at 1200 baud, and DTR down. The board goes then.
pub(super) fn touch_1200(path: &Path) -> Result<(), QuestionFailed> {
    let mut port = Port::open(path, TOUCH_BAUD)?;
    port.set_lines(false, false);
    Ok(())
}

/// The answer of a bootloader that told the signature of its chip. All bits equal is an empty bus, not a chip.
fn signature(protocol: &str, bytes: [u8; 3], baud: u32) -> Answer {
    let real = bytes[0] != 0 && bytes[0] != 0xFF;
    let evidence = real.then(|| Evidence::Signature { protocol: protocol.to_owned(), bytes, baud });
    Answer { evidence: evidence.into_iter().collect(), version: None }
}
