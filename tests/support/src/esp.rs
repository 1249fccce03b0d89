//! Espressif chips: `tests/world/espfake.py` as a process.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cache::{esp_image, program, repository};
use crate::process::Process;
use crate::tty::Tty;
use crate::wait::eventually;
use crate::{World, free_udp};

const PATIENCE: Duration = Duration::from_secs(20);
const FLASH_SIZE: usize = 4 << 20;

/// A chip that is not started yet.
pub struct EspBuilder<'a> {
    world: &'a World,
    chip: String,
    flash: Vec<u8>,
    args: Vec<String>,
}

impl<'a> EspBuilder<'a> {
    pub(crate) fn new(world: &'a World, chip: &str) -> Self {
        Self { world, chip: chip.to_owned(), flash: vec![0xff; FLASH_SIZE], args: Vec::new() }
    }

    /// What is in its flash when it starts: an application image.
    #[must_use]
    pub fn with(mut self, image: &Path) -> Self {
        let bytes = fs::read(image).unwrap_or_else(|error| panic!("{}: {error}", image.display()));
        let at = application(&self.chip);
        self.flash[at..at + bytes.len()].copy_from_slice(&bytes);
        self
    }

    /// Further arguments of `espfake.py`, e.g. `--fault badmd5`.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Plugs it in.
    pub fn start(self) -> EspFake {
        let home = self.world.home();
        let name = format!("tty{}", free_udp());
        let (link, control, image) =
            (home.join(&name), home.join(format!("{name}.ctl")), home.join(format!("{name}.img")));
        fs::write(&image, &self.flash).expect("a writable folder");
        let script = self.world.executable(&repository().join("tests/world/espfake.py"));
        let mut command = Command::new(program("esp", "python3"));
        command.arg(script).args(["--chip", &self.chip, "--app-only", "--pty"]).arg(&link).arg("--ctl").arg(&control);
        command.arg("--image").arg(&image).args(&self.args);
        if let Some(user) = self.world.user() {
            user.own(&image);
        }
        let mut process = Process::start(&format!("espfake {name}"), &command, self.world.user());
        process.line_after(0, PATIENCE, |line| line.contains("start ").then_some(()));
        EspFake { process, chip: self.chip, link, control, image }
    }
}

/// Where in the flash of a chip its application begins.
pub(crate) fn application(chip: &str) -> usize {
    if chip == "esp8266" { 0 } else { 0x1_0000 }
}

/// A chip that is plugged in.
pub struct EspFake {
    process: Process,
    chip: String,
    link: PathBuf,
    control: PathBuf,
    image: PathBuf,
}

impl EspFake {
    /// The path of its port.
    pub fn port(&self) -> &Path {
        &self.link
    }

    /// Its link as a configuration names it.
    pub fn link(&self) -> String {
        format!("serial:{}", self.link.display())
    }

    /// Its chip as tools name it.
    pub fn chip(&self) -> &str {
        &self.chip
    }

    /// Says a word to its control socket: see `tests/world/README.md`.
    pub fn order(&self, word: &str) {
        let socket = UnixDatagram::unbound().expect("a socket");
        socket.send_to(word.as_bytes(), &self.control).expect("the chip listens on its control socket");
    }

    /// Unplugs it.
    pub fn unplug(&self) {
        self.order("hangup");
        eventually("the port goes", PATIENCE, || (!self.link.exists()).then_some(()));
    }

    /// Plugs it in again, under the same name: it starts anew.
    pub fn plug(&self) {
        self.order("plug");
        self.order("power");
        eventually("the port comes", PATIENCE, || self.link.exists().then_some(()));
    }

    /// What is in its flash now.
    pub fn flash(&self) -> Vec<u8> {
        let dump = self.image.with_extension("dump");
        fs::remove_file(&dump).ok();
        self.order(&format!("dump {}", dump.display()));
        eventually("the chip's dump", PATIENCE, || fs::read(&dump).ok())
    }

    /// What a process needs in its environment to have DTR and RTS on this port, which a pty lacks.
    pub fn modem_lines(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", esp_image("dtrshim.so")), ("DTRSHIM_CTL", self.control.clone())]
    }

    /// A script of this name that gives a tool modem lines for this chip and becomes the tool: what a test's tool file
    /// names as the program, or what lies first on a daemon's PATH.
    pub fn wrapper(&self, world: &World, folder: &str, name: &str, tool: &Path) -> PathBuf {
        let lines: String =
            self.modem_lines().iter().map(|(key, path)| format!("export {key}='{}'\n", path.display())).collect();
        world.script(&format!("{folder}/{name}"), &format!("#!/bin/sh\n{lines}exec '{}' \"$@\"\n", tool.display()))
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// How often it was started, by power or by its reset line, since it was plugged in.
    pub fn starts(&self) -> usize {
        self.process.output().lines().filter(|line| line.contains("start ")).count()
    }

    /// Opens its port, powers it up, and reads what the booted application says: `ID board=esp32 fw=1.4.2 ...`, or
    /// what the second-stage bootloader complains about.
    pub fn banner(&self) -> String {
        let mut tty = Tty::open(&self.link, 115_200);
        self.order("power");
        tty.line("ID ", PATIENCE)
    }

    /// Ends it and gives what is in its flash.
    pub fn into_flash(mut self) -> Vec<u8> {
        self.order("quit");
        self.process.wait(PATIENCE);
        eventually("the chip's flash", PATIENCE, || fs::read(&self.image).ok())
    }
}
