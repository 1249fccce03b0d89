//! The guest's USB ports as seen from outside: boards are plugged into them and pulled out, and what the kernel's drivers
//! do to them is told.

use std::time::Duration;

use world::eventually;

use crate::channel::Channel;
use crate::machine::Machine;

/// Ten times what the guest takes to do anything with a port.
const PATIENCE: Duration = Duration::from_secs(60);

/// The ports, numbered from 0 on; a board in port N has the USB path `1-(N+1)` or the like.
pub struct Ports {
    channel: Channel,
    told: Vec<Told>,
}

/// What was told of a board.
#[derive(Debug, Clone)]
pub struct Told {
    /// By the guest's clock, in seconds since the ports were opened.
    pub at: f64,
    /// The board.
    pub board: String,
    /// `plugged`, `lines dtr=1 rts=1`, `baud 9600`, `divisor 1a`, `received HEX`, `break 1`, `gone`.
    pub what: String,
}

impl Ports {
    /// Starts what serves the ports in the guest.
    pub fn open(machine: &mut Machine) -> Self {
        let channel = Channel::open(&machine.socket("usb"));
        machine.must("systemd-run --quiet --unit=usbworld /usr/local/bin/usbworld /dev/virtio-ports/usb");
        let mut ports = Self { channel, told: Vec::new() };
        ports.await_told("world", "ready");
        ports
    }

    /// Plugs a board in: `kind` is acm, acm2, cp210x, ch341 or ftdi, `ids` is `VID:PID`. Returns once the kernel has taken
    /// it; its tty comes some time later.
    pub fn plug(&mut self, board: &str, kind: &str, ids: &str, serial: Option<&str>, port: u8) {
        self.plug_speaking(board, kind, ids, serial, port, "");
    }

    /// The same for a board whose program says this line when a rising DTR has started it.
    pub fn plug_speaking(&mut self, board: &str, kind: &str, ids: &str, serial: Option<&str>, port: u8, banner: &str) {
        let (ids, serial) = (ids.replace(':', " "), serial.unwrap_or("-"));
        let mark = self.mark();
        self.send(&format!("plug {board} {kind} {ids} {serial} {port} {banner}"));
        self.await_after(mark, board, "plugged");
    }

    /// Pulls a board out, and returns once it is.
    pub fn unplug(&mut self, board: &str) {
        let mark = self.mark();
        self.send(&format!("unplug {board}"));
        self.await_after(mark, board, "gone");
    }

    /// A place to look on from.
    pub fn mark(&mut self) -> usize {
        self.read();
        self.told.len()
    }

    /// What was told of a board since a mark.
    pub fn told(&mut self, mark: usize, board: &str) -> Vec<Told> {
        self.read();
        self.told.iter().skip(mark).filter(|told| told.board == board).cloned().collect()
    }

    /// Waits until something is told of a board.
    pub fn await_told(&mut self, board: &str, what: &str) {
        self.await_after(0, board, what);
    }

    /// The same for what is told after a mark.
    pub fn await_after(&mut self, mark: usize, board: &str, what: &str) {
        eventually(&format!("{board}: {what}"), PATIENCE, || {
            let told = self.told(mark, board);
            if let Some(error) = told.iter().find(|told| told.what.starts_with("error")) {
                panic!("{board}: {}", error.what);
            }
            told.iter().any(|told| told.what == what).then_some(())
        });
    }

    /// Waits until something is told that begins so.
    pub fn await_prefix(&mut self, board: &str, what: &str) {
        self.await_prefix_after(0, board, what);
    }

    /// The same for what is told after a mark.
    pub fn await_prefix_after(&mut self, mark: usize, board: &str, what: &str) {
        eventually(&format!("{board}: {what}..."), PATIENCE, || {
            self.told(mark, board).iter().any(|told| told.what.starts_with(what)).then_some(())
        });
    }

    fn send(&mut self, order: &str) {
        self.channel.send(order).expect("the machine runs");
    }

    fn read(&mut self) {
        while let Some(line) = self.channel.line(Duration::ZERO).expect("the machine runs") {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            let at = words.next().and_then(|word| word.parse().ok()).expect("a line begins with a time");
            let [board, what] = [words.next(), words.next()].map(Option::unwrap_or_default);
            self.told.push(Told { at, board, what });
        }
    }
}
