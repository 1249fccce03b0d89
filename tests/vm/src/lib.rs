//! The virtual machine of `make test-vm`: a real kernel with its real USB serial drivers, udev and BlueZ, in which the built
//! `nuncio` runs, and boards come and go. What hangs on no kernel is tested by `cargo test` instead, which is much quicker.
//!
//! `build.sh` makes the disk; [`Lab`] starts machines from a snapshot of the booted one; [`Machine`] is one of them, with
//! the guest's shell; [`Ports`] and [`Radio`] are its USB ports and its Bluetooth, [`Gateway`] is the daemon in it. [`usb`] is the other side: what runs inside the guest.

mod channel;
mod gateway;
mod lab;
mod machine;
mod ports;
mod radio;
mod told;
pub mod usb;

pub use gateway::Gateway;
pub use lab::Lab;
pub use machine::{Machine, Shell};
pub use ports::Ports;
pub use radio::{Advertised, Peripheral, Radio};
pub use told::Told;
