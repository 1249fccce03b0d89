//! The board catalogue: which board a device is, and which device it is.

mod settings;

pub use settings::{DeviceEntry, Probe};
