//! Nuncio speaks LwM2M for devices that cannot.
//!
//! The daemon behind `nuncio run`, as a library, so that tests can drive it in-process. `docs/ARCHITECTURE.md` is the map.

pub mod archive;
pub mod boards;
pub mod builtin;
pub mod config;
pub mod control;
mod credentials;
pub mod device;
pub mod executors;
pub mod gateway;
pub mod hooks;
pub mod host;
pub mod leases;
pub mod mqtt;
mod procfs;
pub mod proxy;
pub mod store;
pub mod transports;
pub mod update;
pub mod web;
