//! A simulated Arduino Uno on a pty, for the demo and for tests that need no real AVR code.
//!
//! It speaks the STK500 version 1 dialect of optiboot, keeps 32 KiB of flash, restarts when its port is opened for the
//! first time (as DTR does on the real board), and then "runs" what was flashed: a text in flash that begins with
//! `ID ` is what the program prints at start, every two seconds, and on each `?`. Tests that must trust the chip use the
//! simulated ATmega328P of `tests/world` instead, which runs real machine code.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, inotify};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};

/// Bytes of flash of an ATmega328P.
pub const FLASH_SIZE: usize = 32 * 1024;
/// Where optiboot lies; program addresses end here.
pub const BOOTLOADER_START: usize = 0x7e00;
/// How long optiboot waits for a programmer after a reset.
const BOOT_WAIT: Duration = Duration::from_secs(1);
/// How often the program repeats its line.
const BANNER_EVERY: Duration = Duration::from_secs(2);
/// A page write of the real chip.
const PAGE_WRITE: Duration = Duration::from_micros(4500);
/// How long the board looks elsewhere at most.
const TICK: Duration = Duration::from_millis(5);

const STK_OK: u8 = 0x10;
const STK_INSYNC: u8 = 0x14;
const STK_NOSYNC: u8 = 0x15;
const CRC_EOP: u8 = 0x20;

/// A running board; dropping it unplugs it.
#[derive(Debug)]
pub struct Uno {
    link: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Uno {
    /// Plugs a board in at the symlink `link`, with `flash` as its program (cut at the bootloader).
    ///
    /// # Errors
    /// When no pty can be had or the link cannot be made.
    pub fn plug_in(link: &Path, program: &[u8]) -> io::Result<Self> {
        let port = Port::open(link)?;
        let mut flash = vec![0xff; FLASH_SIZE];
        let length = program.len().min(BOOTLOADER_START);
        flash[..length].copy_from_slice(&program[..length]);
        let stop = Arc::new(AtomicBool::new(false));
        let mut board = Board::new(port, flash);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("uno".into()).spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                board.turn();
            }
        })?;
        Ok(Self { link: link.to_owned(), stop, thread: Some(thread) })
    }

    /// The path under which tools find it.
    pub fn link(&self) -> &Path {
        &self.link
    }
}

impl Drop for Uno {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the board has been printed by its own thread already.
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.link);
    }
}

/// The bytes of a program that prints `line`, padded to `size` so that flashing it takes a moment.
pub fn program(line: &str, size: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at * 7 % 251).unwrap_or(0)).collect();
    let text = format!("{line}\0");
    let at = size.saturating_sub(text.len()) & !1;
    bytes.truncate(at);
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Intel HEX text of a program at address 0.
pub fn intel_hex(bytes: &[u8]) -> String {
    let record = |kind: u8, address: usize, data: &[u8]| {
        let mut raw = vec![u8::try_from(data.len()).unwrap_or(0), (address >> 8) as u8, address as u8, kind];
        raw.extend_from_slice(data);
        let sum = raw.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
        raw.push(sum);
        let digits: String = raw.iter().map(|byte| format!("{byte:02X}")).collect();
        format!(":{digits}\n")
    };
    let data: String = bytes.chunks(16).enumerate().map(|(at, chunk)| record(0, at * 16, chunk)).collect();
    data + &record(1, 0, &[])
}

/// The pty and who has its other end open.
struct Port {
    master: OwnedFd,
    /// Kept open so that the master never sees a hang-up, and to flush what a closing tool left unread.
    slave: OwnedFd,
    watch: OwnedFd,
    openers: usize,
}

impl Port {
    fn open(link: &Path) -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        let name = PathBuf::from(std::ffi::OsStr::from_bytes(ptsname(&master, Vec::new())?.as_bytes()));
        let slave = rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
        let mut settings = tcgetattr(&slave)?;
        settings.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &settings)?;
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(
            &watch,
            &name,
            inotify::WatchFlags::OPEN | inotify::WatchFlags::CLOSE_WRITE | inotify::WatchFlags::CLOSE_NOWRITE,
        )?;
        let temporary = link.with_extension(format!("{}.tmp", std::process::id()));
        symlink(&name, &temporary)?;
        fs::rename(&temporary, link)?;
        Ok(Self { master, slave, watch, openers: 0 })
    }

    /// Waits a tick for bytes or openers; true when somebody opened a port that nobody had open.
    fn wait(&mut self) -> bool {
        let mut fds = [
            PollFd::new(&self.watch, PollFlags::IN),
            PollFd::new(&self.master, if self.openers > 0 { PollFlags::IN } else { PollFlags::empty() }),
        ];
        let limit = rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::from(TICK.subsec_nanos()) };
        // Interrupted or not: what is there is read below.
        let _ = poll(&mut fds, Some(&limit));
        let mut opened = false;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.watch.as_fd(), &mut buffer);
        while let Ok(event) = reader.next() {
            if event.events().contains(inotify::ReadFlags::OPEN) {
                opened |= self.openers == 0;
                self.openers += 1;
            } else if self.openers > 0 {
                self.openers -= 1;
                if self.openers == 0 {
                    let _ = tcflush(&self.slave, QueueSelector::IOFlush);
                }
            }
        }
        opened
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        if self.openers == 0 { 0 } else { rustix::io::read(&self.master, buffer).unwrap_or(0) }
    }

    /// Nobody listening means the bytes are lost, as with a real adapter.
    fn write(&self, bytes: &[u8]) {
        if self.openers > 0 {
            let _ = rustix::io::write(&self.master, bytes);
        }
    }
}

/// What the chip executes.
enum Running {
    /// The bootloader, until then.
    Bootloader { until: Instant },
    /// The program; prints again then.
    Program { next: Instant },
}

struct Board {
    port: Port,
    flash: Vec<u8>,
    running: Running,
    input: Vec<u8>,
    address: usize,
}

impl Board {
    fn new(port: Port, flash: Vec<u8>) -> Self {
        Self { port, flash, running: Running::Program { next: Instant::now() }, input: Vec::new(), address: 0 }
    }

    fn turn(&mut self) {
        if self.port.wait() {
            self.input.clear();
            self.running = Running::Bootloader { until: Instant::now() + BOOT_WAIT };
        }
        let mut buffer = [0; 1024];
        let count = self.port.read(&mut buffer);
        match self.running {
            Running::Bootloader { until } => {
                self.input.extend_from_slice(&buffer[..count]);
                while self.command() {}
                if Instant::now() >= until && matches!(self.running, Running::Bootloader { .. }) {
                    self.start_program();
                }
            }
            Running::Program { next } => {
                if Instant::now() >= next || buffer[..count].contains(&b'?') {
                    self.print();
                }
            }
        }
    }

    fn start_program(&mut self) {
        self.input.clear();
        self.running = Running::Program { next: Instant::now() };
    }

    fn print(&mut self) {
        let program = &self.flash[..BOOTLOADER_START];
        if let Some(start) = program.windows(3).position(|window| window == b"ID ") {
            let text = &program[start..];
            let end = text.iter().position(|&byte| byte == 0 || byte == 0xff).unwrap_or(text.len());
            self.port.write(&text[..end]);
            self.port.write(b"\r\n");
        }
        self.running = Running::Program { next: Instant::now() + BANNER_EVERY };
    }

    /// Takes one whole command off the input, if there is one.
    fn command(&mut self) -> bool {
        let Some(&code) = self.input.first() else { return false };
        let arguments = match code {
            0x41 => 1,
            0x42 => 20,
            0x45 => 5,
            0x55 => 2,
            0x56 => 4,
            0x64 if self.input.len() >= 3 => 3 + usize::from(u16::from_be_bytes([self.input[1], self.input[2]])),
            0x64 => return false,
            0x74 => 3,
            _ => 0,
        };
        if self.input.len() < arguments + 2 {
            return false;
        }
        let command: Vec<u8> = self.input.drain(..arguments + 2).collect();
        if command.last() != Some(&CRC_EOP) {
            self.port.write(&[STK_NOSYNC]);
            return true;
        }
        self.running = Running::Bootloader { until: Instant::now() + BOOT_WAIT };
        let data = self.execute(code, &command[1..=arguments]);
        self.port.write(&[&[STK_INSYNC], data.as_slice(), &[STK_OK]].concat());
        if code == 0x51 {
            self.start_program();
        }
        true
    }

    fn execute(&mut self, code: u8, arguments: &[u8]) -> Vec<u8> {
        match code {
            0x41 => vec![if arguments[0] == 0x81 { 8 } else { 0 }],
            0x55 => {
                self.address = usize::from(u16::from_le_bytes([arguments[0], arguments[1]])) * 2;
                Vec::new()
            }
            0x56 => vec![0],
            0x64 => {
                self.write_page(&arguments[3..]);
                Vec::new()
            }
            0x74 => {
                let length = usize::from(u16::from_be_bytes([arguments[0], arguments[1]]));
                let end = (self.address + length).min(FLASH_SIZE);
                let mut page = self.flash[self.address.min(end)..end].to_vec();
                page.resize(length, 0xff);
                page
            }
            0x75 => vec![0x1e, 0x95, 0x0f],
            _ => Vec::new(),
        }
    }

    fn write_page(&mut self, data: &[u8]) {
        std::thread::sleep(PAGE_WRITE);
        let end = (self.address + data.len()).min(BOOTLOADER_START);
        if self.address < end {
            self.flash[self.address..end].copy_from_slice(&data[..end - self.address]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_prints_its_line_from_flash() {
        let bytes = program("ID board=uno fw=1.0.0", 512);
        assert!(bytes.windows(21).any(|window| window == b"ID board=uno fw=1.0.0"));
        assert!(bytes.len() <= 512 && bytes.len() > 480);
    }

    #[test]
    fn intel_hex_ends_with_its_record() {
        let text = intel_hex(&[0xde, 0xad]);
        assert_eq!(text, ":02000000DEAD73\n:00000001FF\n");
    }
}
