//! Flash tools: described by TOML files, run as supervised subprocesses.

mod settings;

pub use settings::{ExecutorSettings, ToolChoice};
