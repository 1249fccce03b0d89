//! The real flash tools, run by hand: what a test compares the gateway with.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::board::SimBoard;
use crate::cache::{peer, program};
use crate::esp::EspFake;
use crate::process::run;

/// Ten times the slowest run here.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the real avrdude on a board; `args` are programmer, part and the rest.
pub fn avrdude(board: &SimBoard, args: &[&str]) -> (ExitStatus, String) {
    let mut command = Command::new(program("avr", "avrdude"));
    command.arg("-P").arg(board.port()).args(args);
    run("avrdude", &command, PATIENCE)
}

/// Which esptool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Esptool {
    /// 4.12.0, called `esptool.py`.
    V4,
    /// 5.6.0, called `esptool`.
    V5,
}

impl Esptool {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V5];

    /// Its program.
    pub fn program(self) -> PathBuf {
        match self {
            Self::V4 => peer("esp", "esptool4/bin/esptool.py"),
            Self::V5 => peer("esp", "esptool5/bin/esptool"),
        }
    }

    /// The name under which it is found.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "esptool.py",
            Self::V5 => "esptool",
        }
    }
}

/// Runs a real esptool on a chip, with modem lines.
pub fn esptool(version: Esptool, chip: &EspFake, args: &[&str]) -> (ExitStatus, String) {
    let mut command = Command::new(version.program());
    command.args(["--chip", chip.chip(), "--port"]).arg(chip.port()).args(args).envs(chip.modem_lines());
    run(version.name(), &command, PATIENCE)
}

/// Runs any program of the system to its end; for openssl and the like.
pub(crate) fn system(group: &str, name: &str, args: &[&str], dir: &Path) -> String {
    let mut command = Command::new(program(group, name));
    command.args(args).current_dir(dir);
    let (status, output) = run(name, &command, PATIENCE);
    assert!(status.success(), "{name} {args:?} failed:\n{output}");
    output
}
