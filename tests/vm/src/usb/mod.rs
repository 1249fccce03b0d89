//! USB serial boards without hardware: a USB device in user space, plugged into the running kernel by USB/IP (`vhci_hcd`),
//! whose stock drivers (cdc_acm, cp210x, ch341, ftdi_sio) make a tty of it, as udev and nuncio see it on any machine.
//!
//! Runs inside the guest, as the program `usbworld`. What a driver does to its adapter (DTR, RTS, baud rate, bytes) is told
//! with the time at which it came.

mod board;
mod chip;
mod descriptors;
mod wire;

pub use board::{Board, Order};
pub use descriptors::{Ids, Kind};
