//! Simulated AVR boards: `tests/world/simboard.c` as a process, and its control socket.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::avr_image;
use crate::process::Process;
use crate::tty::Tty;
use crate::wait::eventually;
use crate::{World, free_udp};

/// Ten times what a board takes to start and print its banner.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which board with which bootloader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// ATmega328P, optiboot at 115200 Bd; also a new Nano.
    Uno,
    /// ATmega328P, ATmegaBOOT at 57600 Bd.
    NanoOld,
    /// ATmega2560, stk500v2 at 115200 Bd.
    Mega,
    /// ATmega168 behind optiboot: a wrong signature for everything here.
    Atmega168,
}

impl Model {
    fn mcu(self) -> &'static str {
        match self {
            Self::Uno | Self::NanoOld => "atmega328p",
            Self::Mega => "atmega2560",
            Self::Atmega168 => "atmega168",
        }
    }

    fn bootloader(self) -> &'static str {
        match self {
            Self::Uno => "boot-uno.hex",
            Self::NanoOld => "boot-nano-old.hex",
            Self::Mega => "boot-mega.hex",
            Self::Atmega168 => "boot-168.hex",
        }
    }

    fn flash_size(self) -> usize {
        match self {
            Self::Uno | Self::NanoOld => 0x8000,
            Self::Mega => 0x4_0000,
            Self::Atmega168 => 0x4000,
        }
    }
}

/// A board that is not started yet.
pub struct BoardBuilder<'a> {
    world: &'a World,
    model: Model,
    flash: Vec<u8>,
    speed: u32,
    name: Option<String>,
}

impl<'a> BoardBuilder<'a> {
    pub(crate) fn new(world: &'a World, model: Model) -> Self {
        Self { world, model, flash: vec![0xff; model.flash_size()], speed: 1, name: None }
    }

    /// What is in its flash when it starts: an Intel HEX file. A blank chip otherwise, which costs a whole core.
    #[must_use]
    pub fn with(mut self, hex: &Path) -> Self {
        load(&mut self.flash, hex);
        self
    }

    /// How many times real time it runs. The bootloader waits a second of its own time, and avrdude a quarter of a real
    /// one before it speaks: 2 works, 4 does not.
    #[must_use]
    pub fn speed(mut self, factor: u32) -> Self {
        self.speed = factor;
        self
    }

    /// The name of its port below the world's home; `ttyN` otherwise.
    #[must_use]
    pub fn port(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Plugs it in.
    pub fn start(self) -> SimBoard {
        // A number that no other board of any test has: what ports are counted by will do.
        let name = self.name.unwrap_or_else(|| format!("tty{}", free_udp()));
        let home = self.world.home();
        let (link, control, image) =
            (home.join(&name), home.join(format!("{name}.ctl")), home.join(format!("{name}.img")));
        fs::write(&image, &self.flash).expect("a writable folder");
        let mut command = Command::new(self.world.executable(&avr_image("simboard")));
        command.args(["--mcu", self.model.mcu(), "--speed", &self.speed.to_string(), "-v", "--boot"]);
        command.arg(self.world.home().join(self.model.bootloader()));
        command.arg("--link").arg(&link).arg("--ctl").arg(&control).arg("--image").arg(&image);
        fs::copy(avr_image(self.model.bootloader()), home.join(self.model.bootloader())).expect("a writable folder");
        if let Some(user) = self.world.user() {
            user.own(&image);
        }
        let process = Process::start(&format!("simboard {name}"), &command, self.world.user());
        let mut board = SimBoard { process, link, control, image, command, world_user: self.world.user().cloned() };
        board.await_start();
        board
    }
}

/// A simulated board that is plugged in.
pub struct SimBoard {
    process: Process,
    link: PathBuf,
    control: PathBuf,
    image: PathBuf,
    command: Command,
    world_user: Option<crate::User>,
}

/// A board's counters since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// How often its port was opened.
    pub opens: u64,
    /// How often it was reset.
    pub resets: u64,
    /// Flash pages written.
    pub pages: u64,
    /// Page writes that the lock bits refused: over the bootloader.
    pub locked: u64,
}

impl SimBoard {
    /// The path of its port; stays the same over `hangup` and `plug`.
    pub fn port(&self) -> &Path {
        &self.link
    }

    /// Its link as a configuration names it.
    pub fn link(&self) -> String {
        format!("serial:{}", self.link.display())
    }

    /// Says a word to its control socket: see `tests/world/README.md`.
    pub fn order(&self, word: &str) {
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.send_to(word.as_bytes(), &self.control).expect("the board listens on its control socket");
    }

    /// Unplugs it.
    pub fn unplug(&self) {
        self.order("hangup");
        eventually("the port goes", PATIENCE, || (!self.link.exists()).then_some(()));
    }

    /// Plugs it in again, under the same name.
    pub fn plug(&self) {
        self.order("plug");
        eventually("the port comes", PATIENCE, || self.link.exists().then_some(()));
    }

    /// Takes its power away and gives it back; the flash stays.
    pub fn power_cycle(&mut self) {
        self.order("quit");
        self.process.wait(PATIENCE);
        self.process = Process::start("simboard again", &self.command, self.world_user.as_ref());
        self.await_start();
    }

    /// Takes its power away and gives it back with this HEX file in its flash: another program runs then.
    pub fn exchange(&mut self, hex: &Path) {
        let mut flash = self.flash();
        load(&mut flash, hex);
        self.restore(&flash);
    }

    /// Takes its power away and gives it back with this in its flash.
    pub fn restore(&mut self, flash: &[u8]) {
        self.order("quit");
        self.process.wait(PATIENCE);
        fs::write(&self.image, flash).expect("a writable folder");
        self.process = Process::start("simboard again", &self.command, self.world_user.as_ref());
        self.await_start();
    }

    /// Its counters.
    pub fn stat(&mut self) -> Stat {
        let mark = self.process.mark();
        self.order("stat");
        self.process.line_after(mark, PATIENCE, stat_of)
    }

    /// How often its light went on: boot loaders blink at each start, also while nobody does anything.
    pub fn blinks(&mut self) -> u64 {
        let mark = self.process.mark();
        self.order("stat");
        self.process.line_after(mark, PATIENCE, |line| value(line, "blinks"))
    }

    /// What is in its flash now.
    pub fn flash(&self) -> Vec<u8> {
        let dump = self.image.with_extension("dump");
        fs::remove_file(&dump).ok();
        self.order(&format!("dump {}", dump.display()));
        eventually("the board's dump", PATIENCE, || fs::read(&dump).ok())
    }

    /// Whether its flash holds exactly this image where the image has bytes.
    pub fn holds(&self, hex: &Path) -> bool {
        let mut expected = self.flash();
        load(&mut expected, hex);
        expected == self.flash()
    }

    /// Opens its port as a person with a terminal would, which resets it, and reads `ID board=uno fw=1.2.0`.
    pub fn banner(&self) -> String {
        Tty::open(&self.link, 115_200).line("ID ", PATIENCE)
    }

    /// The same, where what it holds may not run.
    pub fn try_banner(&self) -> Option<String> {
        Tty::open(&self.link, 115_200).try_line("ID ", PATIENCE / 2)
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    fn await_start(&mut self) {
        self.process.line_after(0, PATIENCE, |line| line.contains("reset (power)").then_some(()));
    }
}

/// The number of a `KEY=NUMBER` among words.
fn value(line: &str, key: &str) -> Option<u64> {
    line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse().ok())
}

fn stat_of(line: &str) -> Option<Stat> {
    let value = |key: &str| value(line, key);
    Some(Stat { opens: value("opens")?, resets: value("resets")?, pages: value("pages")?, locked: value("locked")? })
}

/// Lays an Intel HEX file over a memory.
pub(crate) fn load(memory: &mut [u8], hex: &Path) {
    let text = fs::read_to_string(hex).unwrap_or_else(|error| panic!("{}: {error}", hex.display()));
    let mut base = 0;
    for record in ihex::Reader::new(&text) {
        match record.expect("a flawless HEX file") {
            ihex::Record::Data { offset, value } => {
                let start = base + usize::from(offset);
                memory[start..start + value.len()].copy_from_slice(&value);
            }
            ihex::Record::ExtendedSegmentAddress(segment) => base = usize::from(segment) << 4,
            ihex::Record::ExtendedLinearAddress(upper) => base = usize::from(upper) << 16,
            ihex::Record::EndOfFile
            | ihex::Record::StartSegmentAddress { .. }
            | ihex::Record::StartLinearAddress(_) => {}
        }
    }
}
