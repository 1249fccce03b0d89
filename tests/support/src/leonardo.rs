//! A board whose chip is its own USB port, on ptys: its program goes when the port is opened at 1200 baud, its boot loader comes
//! under another pty, speaks AVR109 (Atmel's application note of that number, as Arduino's Caterina has it), and goes as well.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use crate::UsbBus;
use crate::board::load;

/// What calls the boot loader.
const TOUCH: u32 = 1200;
/// A boot loader that nobody speaks to starts the program again.
const LOADER_WAITS: Duration = Duration::from_secs(8);
/// How long the port is away in between.
const AWAY: Duration = Duration::from_millis(400);
/// How often the program says what it is.
const SAYS: Duration = Duration::from_millis(300);
const FLASH: usize = 0x8000;
const PAGE: [u8; 2] = [0, 128];
/// ATmega32U4, lowest byte first.
const SIGNATURE: [u8; 3] = [0x87, 0x95, 0x1e];

/// A simulated board that is plugged in.
pub struct Leonardo {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    bus: UsbBus,
    socket: String,
    flash: Mutex<Vec<u8>>,
    unplugged: AtomicBool,
    /// The boot loader does not come.
    dead: AtomicBool,
    called: Mutex<u32>,
}

impl Leonardo {
    /// Plugs one into a socket, with an Intel HEX file in its flash: its program is ttyACM0, its boot loader ttyACM1.
    pub fn start(bus: &UsbBus, socket: &str, hex: &Path) -> Self {
        let mut flash = vec![0xff; FLASH];
        load(&mut flash, hex);
        let shared = Arc::new(Shared {
            bus: bus.clone(),
            socket: socket.to_owned(),
            flash: Mutex::new(flash),
            unplugged: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            called: Mutex::new(0),
        });
        let own = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            while !own.is_unplugged() {
                own.program();
                if !own.dead.load(Ordering::Relaxed) {
                    own.loader();
                }
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// Whether it holds exactly what a HEX file says, and nothing else below the boot loader.
    pub fn holds(&self, hex: &Path) -> bool {
        let mut wanted = vec![0xff; FLASH];
        load(&mut wanted, hex);
        let flash = held(&self.shared.flash);
        wanted.iter().zip(flash.iter()).all(|(wanted, is)| *wanted == 0xff || wanted == is)
    }

    /// How often its boot loader was called.
    pub fn called(&self) -> u32 {
        *held(&self.shared.called)
    }

    /// From now on its boot loader does not come, or does again.
    pub fn lose_loader(&self, lost: bool) {
        self.shared.dead.store(lost, Ordering::Relaxed);
    }
}

impl Drop for Leonardo {
    fn drop(&mut self) {
        self.shared.unplugged.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A thread that broke down has said so.
            drop(thread.join());
        }
    }
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn is_unplugged(&self) -> bool {
        self.unplugged.load(Ordering::Relaxed)
    }

    /// Runs until somebody touches the port.
    fn program(&self) {
        let port = Pty::plug(&self.bus, &self.socket, ["ttyACM0", "8036"]);
        let mut says = Instant::now();
        while !self.is_unplugged() {
            if port.speed() == TOUCH {
                *held(&self.called) += 1;
                break;
            }
            if says.elapsed() >= SAYS {
                says = Instant::now();
                port.write(self.banner().as_bytes());
            }
            thread::sleep(Duration::from_millis(10));
        }
        drop(port);
        thread::sleep(AWAY);
    }

    /// What the program that is in the flash prints.
    fn banner(&self) -> String {
        let flash = held(&self.flash);
        let at = flash.windows(9).position(|window| window == b"ID board=");
        let text = at.map(|at| flash[at..].iter().copied().take_while(|byte| byte.is_ascii_graphic() || *byte == b' '));
        let text: Vec<u8> = text.map(Iterator::collect).unwrap_or_default();
        format!("{}\r\n", String::from_utf8_lossy(&text))
    }

    /// Serves the tool until it says that it is through.
    fn loader(&self) {
        let port = Pty::plug(&self.bus, &self.socket, ["ttyACM1", "0036"]);
        let (mut spoken, mut address) = (Instant::now(), 0_usize);
        while !self.is_unplugged() && spoken.elapsed() < LOADER_WAITS {
            let Some(command) = port.read(1) else {
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            spoken = Instant::now();
            match command[0] {
                b'S' => port.write(b"CATERIN"),
                b'V' => port.write(b"10"),
                b'p' => port.write(b"S"),
                b'a' => port.write(b"Y"),
                b'b' => port.write(&[b'Y', PAGE[0], PAGE[1]]),
                b't' => port.write(&[0x44, 0]),
                b's' => port.write(&SIGNATURE),
                b'A' => {
                    let Some(bytes) = port.await_bytes(2) else { break };
                    address = 2 * usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
                    port.write(b"\r");
                }
                b'B' => {
                    let Some(head) = port.await_bytes(3) else { break };
                    let Some(data) = port.await_bytes(usize::from(u16::from_be_bytes([head[0], head[1]]))) else {
                        break;
                    };
                    let mut flash = held(&self.flash);
                    for byte in data.into_iter().filter(|_| head[2] == b'F') {
                        flash[address % FLASH] = byte;
                        address += 1;
                    }
                    port.write(b"\r");
                }
                b'g' => {
                    let Some(head) = port.await_bytes(3) else { break };
                    let flash = held(&self.flash);
                    let count = usize::from(u16::from_be_bytes([head[0], head[1]]));
                    let data: Vec<u8> = (address..address + count).map(|at| flash[at % FLASH]).collect();
                    address += count;
                    port.write(&data);
                }
                b'T' | b'x' | b'y' => {
                    if port.await_bytes(1).is_none() {
                        break;
                    }
                    port.write(b"\r");
                }
                b'P' | b'L' | b'e' => port.write(b"\r"),
                b'F' | b'N' | b'Q' | b'r' => port.write(&[0xff]),
                b'E' => {
                    port.write(b"\r");
                    // The watchdog of the real one takes a quarter of a second.
                    thread::sleep(Duration::from_millis(250));
                    break;
                }
                0x1b => {}
                _ => port.write(b"?"),
            }
        }
        drop(port);
        thread::sleep(AWAY);
    }
}

/// A pty that others open as a port of the bus.
struct Pty {
    master: OwnedFd,
    bus: UsbBus,
    name: &'static str,
}

impl Pty {
    fn plug(bus: &UsbBus, socket: &str, [name, product]: [&'static str; 2]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).expect("a free pty");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let mut termios = tcgetattr(&master).expect("a terminal");
        termios.make_raw();
        tcsetattr(&master, OptionalActions::Now, &termios).expect("set");
        let flags = rustix::fs::fcntl_getfl(&master).expect("open") | OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&master, flags).expect("open");
        let path = ptsname(&master, Vec::new()).expect("named");
        let path = PathBuf::from(path.to_str().expect("text"));
        // Tests that run as nobody have to open it.
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).expect("ours");
        bus.plug_node(&path, name, socket, ("2341", product), None);
        Self { master, bus: bus.clone(), name }
    }

    fn speed(&self) -> u32 {
        tcgetattr(self.master.as_fd()).map_or(0, |termios| termios.output_speed())
    }

    /// What has no room is lost, as in a UART.
    fn write(&self, mut bytes: &[u8]) {
        let until = Instant::now() + Duration::from_millis(100);
        while !bytes.is_empty() && Instant::now() < until {
            match rustix::io::write(&self.master, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// At most so many bytes that are there.
    fn read(&self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        // EIO while nobody has it open.
        let read = rustix::io::read(&self.master, bytes.as_mut_slice()).ok().filter(|read| *read > 0)?;
        bytes.truncate(read);
        Some(bytes)
    }

    fn await_bytes(&self, count: usize) -> Option<Vec<u8>> {
        let until = Instant::now() + Duration::from_secs(2);
        let mut bytes = Vec::new();
        while bytes.len() < count && Instant::now() < until {
            match self.read(count - bytes.len()) {
                Some(more) => bytes.extend(more),
                None => thread::sleep(Duration::from_millis(1)),
            }
        }
        (bytes.len() == count).then_some(bytes)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.bus.unplug(self.name);
    }
}
