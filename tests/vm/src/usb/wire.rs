//! USB/IP as the kernel's `vhci_hcd` speaks it over a socket: 48 bytes of header, then what goes out
//! (Documentation/usb/usbip_protocol.rst in the kernel's sources).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use super::chip::Setup;

const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;

/// No transfer is longer; the kernel's drivers ask for some KiB.
const LONGEST: u32 = 1 << 20;

/// What the kernel wants of the device.
#[derive(Debug)]
pub(super) enum Command {
    /// A transfer.
    Submit(Transfer),
    /// It takes the transfer of this number back.
    Unlink { sequence: u32, victim: u32 },
}

/// One transfer.
#[derive(Debug)]
pub(super) struct Transfer {
    pub(super) sequence: u32,
    pub(super) endpoint: u8,
    /// How many bytes it may have.
    pub(super) length: u32,
    pub(super) setup: Setup,
    /// What goes out; `None` for one that asks for bytes.
    pub(super) out: Option<Vec<u8>>,
}

/// The next command; an error when the connection ended.
pub(super) fn read(from: &mut UnixStream) -> io::Result<Command> {
    let mut header = [0_u8; 48];
    from.read_exact(&mut header)?;
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (command, sequence, direction) = (word(0), word(4), word(12));
    match command {
        CMD_UNLINK => return Ok(Command::Unlink { sequence, victim: word(20) }),
        CMD_SUBMIT => {}
        other => return Err(io::Error::other(format!("no such USB/IP command: {other}"))),
    }
    let length = word(24);
    if length > LONGEST {
        return Err(io::Error::other(format!("a transfer of {length} bytes")));
    }
    let setup = Setup {
        kind: header[40],
        request: header[41],
        value: u16::from_le_bytes([header[42], header[43]]),
        index: u16::from_le_bytes([header[44], header[45]]),
    };
    let out = if direction == 0 {
        let mut bytes = vec![0; length as usize];
        from.read_exact(&mut bytes)?;
        Some(bytes)
    } else {
        None
    };
    let endpoint = u8::try_from(word(16)).map_err(io::Error::other)?;
    Ok(Command::Submit(Transfer { sequence, endpoint, length, setup, out }))
}

/// A transfer is done: so many bytes went, or these came.
pub(super) fn done(to: &mut UnixStream, sequence: u32, length: u32, data: &[u8]) -> io::Result<()> {
    reply(to, RET_SUBMIT, sequence, 0, length, data)
}

/// The device refuses a request.
pub(super) fn stall(to: &mut UnixStream, sequence: u32) -> io::Result<()> {
    const EPIPE: i32 = -32;
    reply(to, RET_SUBMIT, sequence, EPIPE, 0, &[])
}

/// A transfer was taken back, unless it was done before.
pub(super) fn unlinked(to: &mut UnixStream, sequence: u32, in_time: bool) -> io::Result<()> {
    const ECONNRESET: i32 = -104;
    reply(to, RET_UNLINK, sequence, if in_time { ECONNRESET } else { 0 }, 0, &[])
}

fn reply(to: &mut UnixStream, command: u32, sequence: u32, status: i32, length: u32, data: &[u8]) -> io::Result<()> {
    let mut bytes: Vec<u8> = [command, sequence, 0, 0, 0].map(u32::to_be_bytes).concat();
    bytes.extend(status.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.resize(48, 0);
    bytes.extend(data);
    to.write_all(&bytes)
}
