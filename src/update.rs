//! One firmware update: staging, the state machine, proof.

mod settings;

pub use settings::{AfterCrash, DownloadSettings, UpdateSettings};
