//! The ways to reach devices.

mod settings;

pub use settings::{Questions, SerialSettings, TcpSettings};
