//! A serial port as another program would open it: to hear what a board says, or to be in the gateway's way.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::termios::{OptionalActions, ioctl_tiocexcl, tcgetattr, tcsetattr};

/// An open port, raw.
pub struct Tty {
    file: File,
    heard: Vec<u8>,
}

impl Tty {
    /// Opens a port at a speed; this restarts most boards.
    pub fn open(path: &Path, baud: u32) -> Self {
        let flags = i32::try_from((OFlags::NOCTTY | OFlags::NONBLOCK).bits()).expect("flags fit");
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).expect("the port opens");
        let mut termios = tcgetattr(&file).expect("a tty");
        termios.make_raw();
        termios.set_speed(baud).expect("a speed that ttys know");
        tcsetattr(&file, OptionalActions::Now, &termios).expect("a tty");
        Self { file, heard: Vec::new() }
    }

    /// Takes the lock that well-behaved programs take.
    pub fn lock(&self) {
        flock(&self.file, FlockOperation::NonBlockingLockExclusive).expect("nobody else holds the port");
    }

    /// Forbids others to open it from now on (TIOCEXCL), which leaves no trace in `/proc`.
    pub fn exclude_others(&self) {
        ioctl_tiocexcl(&self.file).expect("a tty");
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) {
        self.file.write_all(bytes).expect("the port takes a few bytes");
    }

    /// The first whole line from now on that begins so.
    pub fn line(&mut self, start: &str, within: Duration) -> String {
        let line = self.try_line(start, within);
        let heard = String::from_utf8_lossy(&self.heard);
        line.unwrap_or_else(|| panic!("no line `{start}...` within {within:?}, only {heard:?}"))
    }

    /// The same, if there is one in time.
    pub fn try_line(&mut self, start: &str, within: Duration) -> Option<String> {
        let began = Instant::now();
        while began.elapsed() < within {
            let text = String::from_utf8_lossy(&self.heard).into_owned();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            if let Some(line) = whole.lines().find(|line| line.starts_with(start)) {
                return Some(line.trim_end().to_owned());
            }
            self.hear();
        }
        None
    }

    /// Whether these bytes come within the time.
    pub fn hears(&mut self, wanted: &[u8], within: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < within {
            if self.heard.windows(wanted.len()).any(|part| part == wanted) {
                return true;
            }
            self.hear();
        }
        false
    }

    /// Waits a little for bytes and takes them.
    fn hear(&mut self) {
        let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
        let mut ready = [PollFd::new(&self.file, PollFlags::IN)];
        if poll(&mut ready, Some(&pause)).unwrap_or(0) == 0 {
            return;
        }
        let mut buffer = [0; 4096];
        let count = self.file.read(&mut buffer).unwrap_or(0);
        self.heard.extend_from_slice(&buffer[..count]);
    }
}
