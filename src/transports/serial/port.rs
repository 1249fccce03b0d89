//! A port opened for one question: exclusive, raw, with time and bytes counted.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tokio_serial::{ClearBuffer, SerialPort};
use tracing::trace;

use super::holders::{self, Node};
use crate::device::QuestionFailed;

/// So many bytes one question reads at most: a board that chatters at 2 Mbaud says no more in a second.
const MAX_READ: usize = 256 * 1024;

/// How long a write may wait for room.
const WRITE_WITHIN: Duration = Duration::from_secs(1);

/// An open port. Closing it throws away what was not sent yet, so that it never hangs.
pub(super) struct Port {
    tty: Box<dyn SerialPort>,
    path: PathBuf,
    left: usize,
}

impl Port {
    /// Opens a port at a line speed, 8N1, and discards what it received before.
    pub(super) fn open(path: &Path, baud: u32) -> Result<Self, QuestionFailed> {
        let tty = tokio_serial::new(path.to_string_lossy(), baud).open().map_err(|error| refused(path, &error))?;
        let port = Self { tty, path: path.to_owned(), left: MAX_READ };
        port.discard();
        Ok(port)
    }

    /// Appends what has come in, waiting for it until `until`. `false`: nothing came, or this question read enough.
    pub(super) fn read(&mut self, into: &mut Vec<u8>, until: Instant) -> Result<bool, QuestionFailed> {
        let mut buffer = [0; 1024];
        loop {
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() || self.left == 0 {
                return Ok(false);
            }
            self.tty.set_timeout(wait).map_err(|error| self.broken(&error.into()))?;
            match self.tty.read(&mut buffer[..self.left.min(1024)]) {
                Ok(0) => return Err(QuestionFailed::Gone),
                Ok(count) => {
                    trace!(port = %self.path.display(), bytes = ?buffer[..count].escape_ascii(), "received");
                    into.extend_from_slice(&buffer[..count]);
                    self.left -= count;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(false),
                Err(error) if again(&error) => {}
                Err(error) => return Err(self.broken(&error)),
            }
        }
    }

    /// Sends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), QuestionFailed> {
        trace!(port = %self.path.display(), bytes = ?bytes.escape_ascii(), "sending");
        self.tty.set_timeout(WRITE_WITHIN).map_err(|error| self.broken(&error.into()))?;
        match self.tty.write_all(bytes) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(QuestionFailed::Failed("the port takes no bytes".to_owned()))
            }
            done => done.map_err(|error| self.broken(&error)),
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
        let _ = self.tty.clear(ClearBuffer::Input);
    }

    /// Reads and throws away until nothing came for `silence`.
    pub(super) fn drain(&mut self, silence: Duration) -> Result<(), QuestionFailed> {
        let mut received = Vec::new();
        while self.read(&mut received, Instant::now() + silence)? {}
        Ok(())
    }

    fn broken(&self, error: &io::Error) -> QuestionFailed {
        let gone = matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::NotFound);
        if gone || error_is_hangup(error) || !self.path.exists() {
            return QuestionFailed::Gone;
        }
        QuestionFailed::Failed(format!("cannot use the port: {error}"))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = self.tty.clear(ClearBuffer::All);
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

/// A line that was hung up reads and writes as EIO, ENXIO or ENODEV; the library keeps only the text of these.
fn error_is_hangup(error: &io::Error) -> bool {
    let text = error.to_string();
    ["I/O error", "Input/output error", "No such device"].iter().any(|known| text.contains(known))
}

fn refused(path: &Path, error: &tokio_serial::Error) -> QuestionFailed {
    match error.kind {
        // EBUSY by TIOCEXCL, or flock; ENXIO and ENODEV have kinds of their own.
        tokio_serial::ErrorKind::NoDevice => QuestionFailed::Busy(holder(path).unwrap_or_else(|| {
            format!("a process of another user (`sudo fuser -v {}` shows which one)", path.display())
        })),
        tokio_serial::ErrorKind::Io(io::ErrorKind::NotFound) => QuestionFailed::Gone,
        tokio_serial::ErrorKind::Io(io::ErrorKind::PermissionDenied) => QuestionFailed::NotPermitted,
        _ if error.description.contains("not permitted") => QuestionFailed::NotPermitted,
        _ if error_is_hangup(&io::Error::other(error.description.clone())) || !path.exists() => QuestionFailed::Gone,
        _ => QuestionFailed::Failed(format!("cannot open the port: {}", error.description)),
    }
}
