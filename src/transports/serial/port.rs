//! A port opened for one question: exclusive, raw, with time and bytes counted.
//!
//! The serial port library opens the tty, makes it exclusive (TIOCEXCL, flock) and moves the modem lines, for which there
//! is no safe call otherwise; bytes go over the same descriptor. There is only the one: a second open would look like a
//! second reset to whoever counts opens.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::termios::{ControlModes, OptionalActions, QueueSelector};
use tokio_serial::SerialPort;
use tracing::trace;

use crate::device::QuestionFailed;
use crate::procfs::{self, Node};

/// So many bytes one question reads at most: a board that chatters at 2 Mbaud says no more in a second.
const MAX_READ: usize = 256 * 1024;

/// How long a write may wait for room.
const WRITE_WITHIN: Duration = Duration::from_secs(1);

/// So long what comes in is thrown away at most, before a next try.
const MAX_DRAIN: Duration = Duration::from_millis(300);

/// An open port. Closing it throws away what was not sent yet, so that it never hangs.
pub(super) struct Port {
    tty: Box<dyn Tty>,
    path: PathBuf,
    left: usize,
}

/// What the library's port is for us.
trait Tty: SerialPort + AsRawFd {}

impl<T: SerialPort + AsRawFd> Tty for T {}

impl Port {
    /// Opens a port at a line speed, 8N1, and discards what it received before.
    pub(super) fn open(path: &Path, baud: u32) -> Result<Self, QuestionFailed> {
        let opened = tokio_serial::new(path.to_string_lossy(), baud).open_native();
        let tty = opened.map_err(|error| refused(path, &error))?;
        let port = Self { tty: Box::new(tty), path: path.to_owned(), left: MAX_READ };
        port.set_raw(baud).map_err(|error| port.broken(error))?;
        port.discard();
        Ok(port)
    }

    /// Raw mode without waiting, and the speed by its classic constant where it has one: the library takes the arbitrary
    /// kind (BOTHER) always, which stays on the port and which older programs do not understand.
    fn set_raw(&self, baud: u32) -> Result<(), Errno> {
        let tty = self.descriptor();
        let mut termios = rustix::termios::tcgetattr(tty)?;
        termios.make_raw();
        termios.control_modes |= ControlModes::CREAD | ControlModes::CLOCAL;
        // Closing leaves the modem lines up, so that the next open is no edge on them and resets nothing.
        termios.control_modes.remove(ControlModes::HUPCL);
        termios.set_speed(baud)?;
        rustix::termios::tcsetattr(tty, OptionalActions::Now, &termios)?;
        rustix::fs::fcntl_setfl(tty, rustix::fs::fcntl_getfl(tty)? | OFlags::NONBLOCK)
    }

    #[expect(unsafe_code, reason = "the library shows its descriptor as a bare number only")]
    fn descriptor(&self) -> BorrowedFd<'_> {
        // SAFETY: `tty` owns the descriptor and closes it when it is dropped, which outlasts this borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.tty.as_raw_fd()) }
    }

    /// Appends what has come in, waiting for it until `until`. `false`: nothing came, or this question read enough.
    pub(super) fn read(&mut self, into: &mut Vec<u8>, until: Instant) -> Result<bool, QuestionFailed> {
        let mut buffer = [0; 1024];
        while self.left > 0 && self.wait(PollFlags::IN, until)? {
            let room = self.left.min(buffer.len());
            match rustix::io::read(self.descriptor(), &mut buffer[..room]) {
                Ok(0) => return Err(QuestionFailed::Gone),
                Ok(count) => {
                    trace!(port = %self.path.display(), bytes = %buffer[..count].escape_ascii(), "received");
                    into.extend_from_slice(&buffer[..count]);
                    self.left -= count;
                    return Ok(true);
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
        Ok(false)
    }

    /// Lets as much be read again as one question may: for who reads on and on.
    pub(super) fn refill(&mut self) {
        self.left = MAX_READ;
    }

    /// Sends bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), QuestionFailed> {
        trace!(port = %self.path.display(), bytes = %bytes.escape_ascii(), "sending");
        let until = Instant::now() + WRITE_WITHIN;
        while !bytes.is_empty() {
            if !self.wait(PollFlags::OUT, until)? {
                return Err(QuestionFailed::Failed("the port takes no bytes".to_owned()));
            }
            match rustix::io::write(self.descriptor(), bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(self.broken(error)),
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
            match rustix::event::poll(&mut [PollFd::from_borrowed_fd(self.descriptor(), what)], limit.as_ref()) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.broken(error)),
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
        let done = self.tty.write_data_terminal_ready(dtr).and_then(|()| self.tty.write_request_to_send(rts));
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
        let _ = rustix::termios::tcflush(self.descriptor(), QueueSelector::IFlush);
    }

    /// Reads and throws away until nothing came for `silence`, or a program that never stops was given up on.
    pub(super) fn drain(&mut self, silence: Duration) -> Result<(), QuestionFailed> {
        let limit = Instant::now() + MAX_DRAIN;
        let mut received = Vec::new();
        while self.read(&mut received, limit.min(Instant::now() + silence))? {}
        Ok(())
    }

    fn broken(&self, error: Errno) -> QuestionFailed {
        if matches!(error, Errno::IO | Errno::NXIO | Errno::NODEV) || !self.path.exists() {
            return QuestionFailed::Gone;
        }
        QuestionFailed::Failed(format!("cannot use the port: {error}"))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = rustix::termios::tcflush(self.descriptor(), QueueSelector::IOFlush);
    }
}

/// Who holds a port, as far as that can be told at once.
pub(super) fn holder(path: &Path) -> Option<String> {
    let found = fs::metadata(path).ok()?;
    procfs::holder(Node::of(&found), procfs::ours).map(|process| process.told())
}

/// What the library says of a failed open. It keeps only the text of errors that it does not know itself.
fn refused(path: &Path, error: &tokio_serial::Error) -> QuestionFailed {
    let says = |text: &str| error.description.contains(text);
    match error.kind {
        // EBUSY by TIOCEXCL, or flock.
        tokio_serial::ErrorKind::NoDevice => busy(path),
        tokio_serial::ErrorKind::Io(io::ErrorKind::PermissionDenied) => QuestionFailed::NotPermitted,
        tokio_serial::ErrorKind::Io(io::ErrorKind::NotFound) => QuestionFailed::Gone,
        // EPERM: systemd's DevicePolicy, where the node's mode would allow it.
        _ if says("not permitted") => QuestionFailed::NotPermitted,
        _ if says("No such device") || says("I/O error") || !path.exists() => QuestionFailed::Gone,
        _ => QuestionFailed::Failed(format!("cannot open the port: {}", error.description)),
    }
}

fn busy(path: &Path) -> QuestionFailed {
    let unknown = || format!("a process of another user (`sudo fuser -v {}` shows which one)", path.display());
    QuestionFailed::Busy(holder(path).unwrap_or_else(unknown))
}
