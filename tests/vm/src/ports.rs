//! The guest's USB ports as seen from outside: boards are plugged into them and pulled out, and what the kernel's drivers
//! do to them is told.

use crate::machine::Machine;
use crate::told::{Tellings, Told};

/// The ports, numbered from 0 on; a board in port N has the USB path `1-(N+1)`.
///
/// Of a board is told: `plugged`, `lines dtr=1 rts=1`, `baud 9600`, `divisor 1a`, `received HEX`, `break 1`, `gone`.
pub struct Ports {
    tellings: Tellings,
}

impl Ports {
    /// Starts what serves the ports in the guest.
    pub fn open(machine: &mut Machine) -> Self {
        let mut tellings = Tellings::open(&machine.socket("usb"));
        machine.must("systemd-run --quiet --unit=usbworld /usr/local/bin/usbworld /dev/virtio-ports/usb");
        tellings.wait(0, "world", "ready", |what| what == "ready");
        Self { tellings }
    }

    /// Plugs a board in: `kind` is acm, acm2, cp210x, ch341 or ftdi, `ids` is `VID:PID`. Returns once the kernel has taken
    /// it; its tty comes some time later.
    pub fn plug(&mut self, board: &str, kind: &str, ids: &str, serial: Option<&str>, port: u8) {
        self.plug_speaking(board, kind, ids, serial, port, "");
    }

    /// The same for a board whose program says this line when a rising DTR has started it.
    pub fn plug_speaking(&mut self, board: &str, kind: &str, ids: &str, serial: Option<&str>, port: u8, banner: &str) {
        let (ids, serial) = (ids.replace(':', " "), serial.unwrap_or("-"));
        self.tellings.do_now(&format!("plug {board} {kind} {ids} {serial} {port} {banner}"), board, "plugged");
    }

    /// Pulls a board out, and returns once it is.
    pub fn unplug(&mut self, board: &str) {
        self.tellings.do_now(&format!("unplug {board}"), board, "gone");
    }

    /// A place to look on from.
    pub fn mark(&mut self) -> usize {
        self.tellings.mark()
    }

    /// What was told of a board since a mark.
    pub fn told(&mut self, mark: usize, board: &str) -> Vec<Told> {
        self.tellings.since(mark, board)
    }

    /// Waits until something is told of a board, after a mark, that begins so.
    pub fn await_told(&mut self, mark: usize, board: &str, start: &str) {
        self.tellings.wait(mark, board, start, |what| what.starts_with(start));
    }
}
