//! One firmware update of one device: what is staged, how it is flashed, and what proves it.
//!
//! [`machine`] decides, as a pure state machine; [`table`] says what servers read of it; [`staging`], [`download`] and
//! [`inspect`] bring an image in; [`manager`] is the actor that owns all of it and speaks to the rest of the gateway
//! through [`Handle`] and [`Effect`]. Not here: LwM2M, processes, ports, the store. Driven by `gateway`.

pub mod download;
pub mod inspect;
pub mod machine;
pub mod manager;
mod moved;
pub mod policy;
mod saved;
pub mod schedule;
mod settings;
mod signatures;
pub mod staging;
pub mod table;
pub mod uri;

pub use machine::Forecast;
pub use manager::{Adoption, Effect, Flash, Handle, Intent, Manager, Setup, StartError};
pub use moved::taken_up_from_backup;
pub use schedule::BrakeChoice;
pub use settings::{AfterCrash, DownloadSettings, UpdateSettings};
pub use signatures::{SignaturePolicy, Signatures};
pub use table::Refused;
