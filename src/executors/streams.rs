//! Where a tool prints to: two pipes, or one terminal for programs that show how far they are only there.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What programs are told of the terminal.
const SIZE: Winsize = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
/// What it is said to be: all that it obeys is taken out again.
const TERMINAL: &str = "xterm";

/// `stdio` in a tool's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stdio {
    /// Two pipes.
    #[default]
    Pipe,
    /// A terminal, for both outputs.
    Pty,
}

/// Our ends of what a tool prints to.
#[derive(Debug)]
pub(super) struct Streams {
    /// Of a terminal, both outputs.
    pub(super) stdout: OwnedFd,
    pub(super) stderr: Option<OwnedFd>,
}

impl Stdio {
    /// Gives a command its outputs. Its input is empty in any case.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn give(self, command: &mut Command) -> io::Result<Streams> {
        command.stdin(std::process::Stdio::null());
        match self {
            Self::Pipe => {
                let (stdout, out) = io::pipe()?;
                let (stderr, err) = io::pipe()?;
                command.stdout(out).stderr(err);
                Ok(Streams { stdout: stdout.into(), stderr: Some(stderr.into()) })
            }
            Self::Pty => {
                let (master, slave) = terminal()?;
                command.stdout(slave.try_clone()?).stderr(slave).env("TERM", TERMINAL);
                Ok(Streams { stdout: master, stderr: None })
            }
        }
    }
}

/// A terminal that nobody sits at: it echoes nothing and leaves line ends alone.
fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let slave = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    let mut modes = tcgetattr(&slave)?;
    modes.local_modes.remove(LocalModes::ECHO);
    modes.output_modes.remove(OutputModes::OPOST);
    tcsetattr(&slave, OptionalActions::Now, &modes)?;
    tcsetwinsize(&slave, SIZE)?;
    Ok((master, slave))
}

/// One of our ends, read as the tool prints.
pub(super) struct Output {
    end: Option<AsyncFd<OwnedFd>>,
    pub(super) buffer: Vec<u8>,
}

#[expect(unsafe_code, reason = "tokio asks for a promise that the descriptor stays the same one")]
fn watch(end: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one descriptor for as long as it lives, and it is never replaced inside the `AsyncFd`.
    Ok(unsafe { AsyncFd::register_with_interest(end, Interest::READABLE) }?)
}

impl Output {
    /// Nothing to read where there is no end.
    ///
    /// # Errors
    /// When it cannot be watched.
    pub(super) fn new(end: Option<OwnedFd>, size: usize) -> io::Result<Self> {
        let watched = end.map(|end| -> io::Result<_> {
            rustix::io::ioctl_fionbio(&end, true)?;
            watch(end)
        });
        Ok(Self { end: watched.transpose()?, buffer: vec![0; size] })
    }

    /// Whether more may come.
    pub(super) fn is_open(&self) -> bool {
        self.end.is_some()
    }

    /// Reads once; an error is as good as the end: a terminal whose other end is closed for good gives one.
    pub(super) async fn read(&mut self) -> usize {
        let Some(end) = &self.end else { return 0 };
        let buffer = &mut self.buffer;
        let read = end.async_io(Interest::READABLE, |end| {
            Ok(rustix::io::retry_on_intr(|| rustix::io::read(end, buffer.as_mut_slice()))?)
        });
        let read = read.await.unwrap_or(0);
        if read == 0 {
            self.end = None;
        }
        read
    }
}
