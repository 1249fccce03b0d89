//! Making it visible which board hangs on a port.

use std::path::Path;
use std::thread;
use std::time::Duration;

use super::super::port::Port;
use crate::device::{PointOut, QuestionFailed, RebootMethod};

/// Speed for restarts, where nothing is said over the line.
const RESTART_BAUD: u32 = 115_200;
/// How often a light goes on, and for how long it stays on and off.
const BLINKS: u32 = 10;
const BLINK: Duration = Duration::from_millis(250);
/// How often a board is restarted, and how long its boot loader may blink each time.
const RESTARTS: u32 = 3;
const RESTART: Duration = Duration::from_secs(2);
/// A board that was restarted by the opening of its port answers after its boot loader: up to 4 s.
const START: Duration = Duration::from_secs(4);
/// Firmata's messages: set a pin's mode, set a digital pin's value (Firmata protocol 2.5), and the mode of an output.
const SET_PIN_MODE: u8 = 0xF4;
const SET_PIN_VALUE: u8 = 0xF5;
const OUTPUT: u8 = 1;

/// Lets a board blink, for some seconds; blocking.
pub(in super::super) fn point_out(path: &Path, how: PointOut) -> Result<(), QuestionFailed> {
    match how {
        PointOut::Firmata { baud, pin } => blink(&mut Port::open(path, baud)?, pin),
        PointOut::Restart(method) => {
            let mut port = Port::open(path, RESTART_BAUD)?;
            for _ in 0..RESTARTS {
                match method {
                    RebootMethod::Dtr | RebootMethod::Open => port.pulse_dtr(),
                    RebootMethod::Rts => port.pulse_rts(),
                    RebootMethod::None | RebootMethod::UsbPower => return Err(QuestionFailed::Unsupported),
                }
                thread::sleep(RESTART);
            }
            Ok(())
        }
    }
}

/// The board's program goes on: the pin is left an output that is low, as sketches begin with it.
fn blink(port: &mut Port, pin: u8) -> Result<(), QuestionFailed> {
    thread::sleep(START);
    port.write(&[SET_PIN_MODE, pin, OUTPUT])?;
    for _ in 0..BLINKS {
        for on in [1, 0] {
            port.write(&[SET_PIN_VALUE, pin, on])?;
            thread::sleep(BLINK);
        }
    }
    Ok(())
}
