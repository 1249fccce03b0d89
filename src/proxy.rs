//! The virtual LwM2M clients.

mod settings;

pub use settings::{FirmwareObject, OfferedVersion, ServerAccess, ServerSettings};
