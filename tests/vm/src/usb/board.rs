//! One board: plugged into a port of the virtual host controller, served by a thread until it is unplugged.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::chip::Chip;
use super::descriptors::{Ids, Kind};
use super::wire::{self, Command, Transfer};

const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";
/// Ten times what the kernel takes to let go of a port.
const RELEASE: Duration = Duration::from_secs(60);
/// How long a bootloader waits for an image.
const BOOTLOADER: Duration = Duration::from_millis(500);
/// What a board keeps of what nobody reads; further bytes are lost, as in a UART.
const UNREAD: usize = 64 * 1024;
/// FTDI: each packet begins with the state of the modem's lines.
const FTDI_PACKET: usize = 64;
const FTDI_STATUS: [u8; 2] = [0xb1, 0x60];

/// What is to be plugged.
#[derive(Debug, Clone)]
pub struct Order {
    /// Its adapter.
    pub kind: Kind,
    /// Its ids.
    pub ids: Ids,
    /// The controller's port, from 0 on: the last number of the USB path, less one.
    pub port: u8,
    /// What it says when DTR rises, as a program does that a reset has started.
    pub banner: Option<String>,
}

/// A plugged board.
pub struct Board {
    shared: Arc<Shared>,
}

type Tell = Box<dyn Fn(&str) + Send + Sync>;

struct Shared {
    tell: Tell,
    state: Mutex<State>,
}

struct State {
    to_kernel: UnixStream,
    /// Transfers that ask for bytes, with endpoint and length, oldest first.
    asking: VecDeque<(u32, u8, u32)>,
    /// Bytes that nobody has asked for, per endpoint.
    unread: Vec<(u8, VecDeque<u8>)>,
}

impl Board {
    /// Plugs a board in. `tell` hears what its driver does to it, and at last `gone`.
    ///
    /// # Errors
    /// When the port is not free in time, or the kernel takes no device.
    pub fn plug(order: &Order, tell: impl Fn(&str) + Send + Sync + 'static) -> io::Result<Self> {
        await_free(order.port)?;
        let (ours, kernels) = UnixStream::pair()?;
        /// Full speed, as `enum usb_device_speed` counts.
        const SPEED: u8 = 2;
        let device = 0x1_0000 + u32::from(order.port);
        let line = format!("{} {} {device} {SPEED}", order.port, kernels.as_raw_fd());
        fs::write(format!("{CONTROLLER}/attach"), line)?;
        let state = State { to_kernel: ours.try_clone()?, asking: VecDeque::new(), unread: Vec::new() };
        let shared = Arc::new(Shared { tell: Box::new(tell), state: Mutex::new(state) });
        let served = Arc::clone(&shared);
        let order = order.clone();
        thread::spawn(move || {
            // It ends when the board is unplugged.
            let _ = serve(&served, &order, ours);
            (served.tell)("gone");
        });
        Ok(Self { shared })
    }

    /// Pulls it out.
    pub fn unplug(&self) {
        // One that the kernel has thrown out is as good.
        let _ = self.shared.lock().to_kernel.shutdown(Shutdown::Both);
    }

    /// It says something at its first port.
    ///
    /// # Errors
    /// When it is gone.
    pub fn say(&self, kind: Kind, text: &str) -> io::Result<()> {
        let mut state = self.shared.lock();
        state.push(kind.answering(2), text.as_bytes());
        state.pump(kind)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kernel lets go of a port some time after a board was pulled out of it.
fn await_free(port: u8) -> io::Result<()> {
    let began = Instant::now();
    loop {
        // "hs  0000 004 ...": hub, port, state; 4 is free.
        let status = fs::read_to_string(format!("{CONTROLLER}/status"))?;
        let mut ports = status.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let wanted = format!("{port:04}");
        match ports.find(|words| words.len() > 2 && words[0] == "hs" && words[1] == wanted) {
            None => return Err(io::Error::other(format!("the controller has no port {port}"))),
            Some(words) if words[2] == "004" => return Ok(()),
            Some(_) if began.elapsed() > RELEASE => return Err(io::Error::other(format!("port {port} is in use"))),
            Some(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn serve(shared: &Arc<Shared>, order: &Order, mut from_kernel: UnixStream) -> io::Result<()> {
    let mut chip = Chip::new(order.kind, order.ids.clone());
    loop {
        match wire::read(&mut from_kernel)? {
            Command::Unlink { sequence, victim } => {
                let mut state = shared.lock();
                let before = state.asking.len();
                state.asking.retain(|(asking, ..)| *asking != victim);
                let in_time = state.asking.len() != before;
                wire::unlinked(&mut state.to_kernel, sequence, in_time)?;
            }
            Command::Submit(transfer) if transfer.endpoint == 0 => control(shared, order, &mut chip, &transfer)?,
            Command::Submit(transfer) => line(shared, order, &transfer)?,
        }
    }
}

fn control(shared: &Arc<Shared>, order: &Order, chip: &mut Chip, transfer: &Transfer) -> io::Result<()> {
    let bulk_in = order.kind.answering(if transfer.setup.index >= 2 { 5 } else { 2 });
    let before = chip.dtr(bulk_in);
    let reaction = chip.control(transfer.setup, transfer.out.as_deref().unwrap_or_default());
    let mut state = shared.lock();
    match reaction.answer {
        None => wire::stall(&mut state.to_kernel, transfer.sequence)?,
        Some(_) if transfer.out.is_some() => {
            wire::done(&mut state.to_kernel, transfer.sequence, transfer.length, &[])?;
        }
        Some(mut data) => {
            data.truncate(transfer.length as usize);
            let length = u32::try_from(data.len()).expect("an answer of some dozen bytes");
            wire::done(&mut state.to_kernel, transfer.sequence, length, &data)?;
        }
    }
    drop(state);
    if chip.dtr(bulk_in) && !before {
        start_program(shared, order, bulk_in);
    }
    if let Some(told) = reaction.told {
        (shared.tell)(&told);
    }
    Ok(())
}

/// A rising DTR has reset the board: its bootloader is through some time later, and its program says what it is.
fn start_program(shared: &Arc<Shared>, order: &Order, bulk_in: u8) {
    let Some(banner) = order.banner.clone() else { return };
    let (shared, kind) = (Arc::clone(shared), order.kind);
    thread::spawn(move || {
        thread::sleep(BOOTLOADER);
        let mut state = shared.lock();
        state.push(bulk_in, format!("{banner}\r\n").as_bytes());
        // A board that is gone says nothing.
        let _ = state.pump(kind);
    });
}

/// Bytes of the line. What is written is told, and not answered: a board is no echo.
fn line(shared: &Shared, order: &Order, transfer: &Transfer) -> io::Result<()> {
    let mut state = shared.lock();
    if let Some(out) = &transfer.out {
        wire::done(&mut state.to_kernel, transfer.sequence, transfer.length, &[])?;
        drop(state);
        let hex: String = out.iter().take(40).map(|byte| format!("{byte:02x}")).collect();
        (shared.tell)(&format!("received {hex}"));
        return Ok(());
    }
    state.asking.push_back((transfer.sequence, transfer.endpoint, transfer.length));
    state.pump(order.kind)
}

impl State {
    fn push(&mut self, endpoint: u8, bytes: &[u8]) {
        if !self.unread.iter().any(|(of, _)| *of == endpoint) {
            self.unread.push((endpoint, VecDeque::new()));
        }
        let queue = self.unread.iter_mut().find(|(of, _)| *of == endpoint).map(|(_, queue)| queue);
        if let Some(queue) = queue {
            queue.extend(bytes.iter().take(UNREAD.saturating_sub(queue.len())));
        }
    }

    /// Answers as many transfers as there are bytes for.
    fn pump(&mut self, kind: Kind) -> io::Result<()> {
        for (endpoint, queue) in &mut self.unread {
            let mine = |asking: &(u32, u8, u32)| asking.1 == *endpoint && kind.is_bulk_in(*endpoint);
            while !queue.is_empty()
                && let Some(at) = self.asking.iter().position(mine)
                && let Some((sequence, _, length)) = self.asking.remove(at)
            {
                let data = packet(kind, queue, length as usize);
                let length = u32::try_from(data.len()).expect("no longer than was asked for");
                wire::done(&mut self.to_kernel, sequence, length, &data)?;
            }
        }
        Ok(())
    }
}

fn packet(kind: Kind, queue: &mut VecDeque<u8>, length: usize) -> Vec<u8> {
    if kind != Kind::Ftdi {
        return queue.drain(..queue.len().min(length)).collect();
    }
    let count = queue.len().min(length.min(FTDI_PACKET).saturating_sub(FTDI_STATUS.len()));
    FTDI_STATUS.into_iter().chain(queue.drain(..count)).collect()
}
