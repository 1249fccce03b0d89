//! Lines over a Unix socket that QEMU listens at.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use world::eventually;

/// Ten times what QEMU takes to open its sockets.
const OPENING: Duration = Duration::from_secs(60);

/// One connection.
pub(crate) struct Channel {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Channel {
    /// Connects, as soon as somebody listens.
    pub(crate) fn open(path: &Path) -> Self {
        let what = format!("QEMU listens at {}", path.display());
        let stream = eventually(&what, OPENING, || UnixStream::connect(path).ok());
        Self { stream, buffer: Vec::new() }
    }

    /// An error when QEMU has ended.
    pub(crate) fn send(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes())
    }

    /// The next line; `None` when there is none in time, an error when QEMU has ended.
    pub(crate) fn line(&mut self, within: Duration) -> io::Result<Option<String>> {
        let end = Instant::now() + within;
        loop {
            if let Some(at) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.drain(..=at).collect::<Vec<u8>>();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).expect("a time limit can be set");
            let mut bytes = [0; 65536];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.buffer.extend_from_slice(&bytes[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if Instant::now() >= end {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}
