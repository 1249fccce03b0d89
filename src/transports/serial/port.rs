//! A port opened for one question: exclusive, raw, with time and bytes counted.
//!
//! Bytes go over a file of our own; beside it the serial port library holds a second descriptor of the same tty, which
//! makes it exclusive (TIOCEXCL, flock) and moves the modem lines, for which there is no safe call otherwise.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{ControlModes, OptionalActions, QueueSelector};
use tokio_serial::SerialPort;
use tracing::trace;

use super::holders::{self, Node};
use crate::device::QuestionFailed;

/// So many bytes one question reads at most: a board that chatters at 2 Mbaud says no more in a second.
const MAX_READ: usize = 256 * 1024;

/// How long a write may wait for room.
const WRITE_WITHIN: Duration = Duration::from_secs(1);

/// An open port. Closing it throws away what was not sent yet, so that it never hangs.
pub(super) struct Port {
    /// Dropped first: gives up the exclusive right while the file is still open.
    lines: Box<dyn SerialPort>,
    file: File,
    path: PathBuf,
    left: usize,
}

impl Port {
    /// Opens a port at a line speed, 8N1, and discards what it received before.
    pub(super) fn open(path: &Path, baud: u32) -> Result<Self, QuestionFailed> {
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let flags = i32::try_from(flags.bits()).expect("the flags of open(2) are an int");
        let opened = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let file = opened.map_err(|error| refused(path, &error))?;
        let lines =
            tokio_serial::new(path.to_string_lossy(), baud).open().map_err(|error| not_exclusive(path, &error))?;
        let port = Self { lines, file, path: path.to_owned(), left: MAX_READ };
        port.set_raw(baud).map_err(|error| port.broken(&error.into()))?;
        port.discard();
        Ok(port)
    }

    /// Raw mode, and the speed by its classic constant where it has one: the library above always takes the arbitrary
    /// kind (BOTHER), which stays on the port and which older programs do not understand.
    fn set_raw(&self, baud: u32) -> Result<(), Errno> {
        let mut termios = rustix::termios::tcgetattr(&self.file)?;
        termios.make_raw();
        termios.control_modes |= ControlModes::CREAD | ControlModes::CLOCAL;
        termios.set_speed(baud)?;
        rustix::termios::tcsetattr(&self.file, OptionalActions::Now, &termios)
    }

    /// Appends what has come in, waiting for it until `until`. `false`: nothing came, or this question read enough.
    pub(super) fn read(&mut self, into: &mut Vec<u8>, until: Instant) -> Result<bool, QuestionFailed> {
        let mut buffer = [0; 1024];
        while self.left > 0 && self.wait(PollFlags::IN, until)? {
            let room = self.left.min(buffer.len());
            match self.file.read(&mut buffer[..room]) {
                Ok(0) => return Err(QuestionFailed::Gone),
                Ok(count) => {
                    trace!(port = %self.path.display(), bytes = %buffer[..count].escape_ascii(), "received");
                    into.extend_from_slice(&buffer[..count]);
                    self.left -= count;
                    return Ok(true);
                }
                Err(error) if again(&error) => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(false)
    }

    /// Sends bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), QuestionFailed> {
        trace!(port = %self.path.display(), bytes = %bytes.escape_ascii(), "sending");
        let until = Instant::now() + WRITE_WITHIN;
        while !bytes.is_empty() {
            if !self.wait(PollFlags::OUT, until)? {
                return Err(QuestionFailed::Failed("the port takes no bytes".to_owned()));
            }
            match self.file.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if again(&error) => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
        Ok(())
    }

    /// Waits until the port is ready or broken; `false` when time is up.
    fn wait(&self, what: PollFlags, until: Instant) -> Result<bool, QuestionFailed> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let limit = Timespec::try_from(left).ok();
            match rustix::event::poll(&mut [PollFd::new(&self.file, what)], limit.as_ref()) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.broken(&error.into())),
            }
        }
    }

    /// Sends a request and collects what comes until it suffices (`enough`) or time is up.
    pub(super) fn exchange(
        &mut self,
        request: &[u8],
        within: Duration,
        enough: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, QuestionFailed> {
        self.write(request)?;
        let until = Instant::now() + within;
        let mut received = Vec::new();
        while !enough(&received) && self.read(&mut received, until)? {}
        Ok(received)
    }

    /// Sets both modem lines, DTR first. A pty has none (ENOTTY), some adapters only one: that is no failure, and a port
    /// that is gone says so at the next read.
    pub(super) fn set_lines(&mut self, dtr: bool, rts: bool) {
        let done = self.lines.write_data_terminal_ready(dtr).and_then(|()| self.lines.write_request_to_send(rts));
        if let Err(error) = done {
            trace!(port = %self.path.display(), %error, "modem lines cannot be set");
        }
    }

    /// A pulse on DTR: what the reset capacitor of an AVR board waits for is the falling edge at its end.
    pub(super) fn pulse_dtr(&mut self) {
        self.set_lines(false, false);
        thread::sleep(Duration::from_millis(250));
        self.set_lines(true, true);
    }

    /// A pulse on RTS with DTR idle: resets a chip with the two-transistor circuit (EN on RTS) into its program.
    pub(super) fn pulse_rts(&mut self) {
        self.set_lines(false, true);
        thread::sleep(Duration::from_millis(100));
        self.set_lines(false, false);
    }

    /// Throws away what was received and not read.
    pub(super) fn discard(&self) {
        // Fails only where the port is gone, which the next read tells.
        let _ = rustix::termios::tcflush(&self.file, QueueSelector::IFlush);
    }

    /// Reads and throws away until nothing came for `silence`.
    pub(super) fn drain(&mut self, silence: Duration) -> Result<(), QuestionFailed> {
        let mut received = Vec::new();
        while self.read(&mut received, Instant::now() + silence)? {}
        Ok(())
    }

    fn broken(&self, error: &io::Error) -> QuestionFailed {
        if hung_up(error) || !self.path.exists() {
            return QuestionFailed::Gone;
        }
        QuestionFailed::Failed(format!("cannot use the port: {error}"))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = rustix::termios::tcflush(&self.file, QueueSelector::IOFlush);
    }
}

/// Who holds a port, as far as that can be told at once.
pub(super) fn holder(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    holders::holder(Node { rdev: found.rdev(), dev: found.dev(), ino: found.ino() })
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock)
}

fn hung_up(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::IO | Errno::NXIO | Errno::NODEV | Errno::NOENT))
}

fn refused(path: &Path, error: &io::Error) -> QuestionFailed {
    match Errno::from_io_error(error) {
        Some(Errno::BUSY) => busy(path),
        // EPERM: systemd's DevicePolicy, where the node's mode would allow it.
        Some(Errno::ACCESS | Errno::PERM) => QuestionFailed::NotPermitted,
        _ if hung_up(error) => QuestionFailed::Gone,
        _ => QuestionFailed::Failed(format!("cannot open the port: {error}")),
    }
}

fn not_exclusive(path: &Path, error: &tokio_serial::Error) -> QuestionFailed {
    match error.kind {
        // TIOCEXCL (EBUSY) or flock: somebody came between, or holds only a lock.
        tokio_serial::ErrorKind::NoDevice => busy(path),
        _ if !path.exists() => QuestionFailed::Gone,
        _ => QuestionFailed::Failed(format!("cannot take the port for the gateway alone: {}", error.description)),
    }
}

fn busy(path: &Path) -> QuestionFailed {
    let unknown = || format!("a process of another user (`sudo fuser -v {}` shows which one)", path.display());
    QuestionFailed::Busy(holder(path).unwrap_or_else(unknown))
}
