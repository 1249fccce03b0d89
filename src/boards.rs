//! The board catalogue: which board a device is, and which device it is.
//!
//! Boards are data ([`Catalogue`]); what is known of the links there are is a pure value ([`Registry`]) that says which
//! question to ask next, least disturbing first, and tells what came of it. Nothing here opens a port, keeps time or
//! writes a file: `gateway` feeds it reports and answers, and carries out its decisions.

mod announced;
mod asking;
mod budget;
mod catalogue;
mod file;
mod identify;
mod joining;
mod naming;
mod points;
mod registry;
mod settings;
mod template;
mod why;

pub use catalogue::{Catalogue, NOT_FLASHED};
pub use joining::KeptOut;
pub use registry::{Decision, JoinError, Registry, RegistrySettings};
pub use settings::{DeviceEntry, JoinPolicy, JoinSettings, NamingSettings, Probe};
pub use why::{Verdict, Why, WhyStep};
