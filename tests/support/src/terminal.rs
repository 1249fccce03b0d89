//! A program at a terminal of its own, where somebody types.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, tcgetattr};

use crate::cache::program;
use crate::wait::eventually;

/// Ten times what a program takes to ask, also for work that is made to take long.
const PATIENCE: Duration = Duration::from_secs(120);

/// The terminal, and the program that has it. Dropped, the program is ended.
pub struct Terminal {
    screen: File,
    /// The program's end, kept open so that what it wrote last can be read.
    line: File,
    child: Child,
    seen: String,
}

impl Terminal {
    /// Starts a program.
    pub fn run(command: &Command) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("our own terminal");
        let name = ptsname(&master, Vec::new()).expect("it has a name").into_string().expect("a path of ours");
        fcntl_setfl(&master, OFlags::NONBLOCK).expect("our own terminal");
        let line = File::options().read(true).write(true).open(name).expect("the other end");
        let end = || Stdio::from(line.try_clone().expect("a descriptor more"));
        // A session of its own, whose terminal is its standard input.
        let mut outer = Command::new(program("avr", "setsid"));
        outer.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        outer.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let child = outer.stdin(end()).stdout(end()).stderr(end()).spawn().expect("the program starts");
        Self { screen: File::from(master), line, child, seen: String::new() }
    }

    /// Waits until this stands on the screen, behind what was waited for last.
    pub fn await_text(&mut self, text: &str) {
        eventually(&format!("`{text}` on the screen"), PATIENCE, || {
            self.look();
            let end = self.seen.find(text)? + text.len();
            self.seen.drain(..end);
            Some(())
        });
    }

    /// Presses these keys.
    pub fn press(&mut self, keys: &str) {
        self.screen.write_all(keys.as_bytes()).expect("a terminal takes keys");
    }

    /// Whether what is typed is shown.
    pub fn echoes(&self) -> bool {
        tcgetattr(&self.line).expect("a terminal").local_modes.contains(LocalModes::ECHO)
    }

    /// Waits for the end of the program; what was on the screen since.
    pub fn end(&mut self) -> (ExitStatus, String) {
        let status = eventually("the end of the program", PATIENCE, || {
            self.look();
            self.child.try_wait().expect("our own child")
        });
        self.look();
        (status, std::mem::take(&mut self.seen))
    }

    fn look(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.screen.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => self.seen.push_str(&String::from_utf8_lossy(&buffer[..length])),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => return,
                Err(error) => panic!("the terminal broke: {error}"),
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended is as good.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
