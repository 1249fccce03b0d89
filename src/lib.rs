//! Nuncio speaks LwM2M for devices that cannot.
//!
//! The daemon behind `nuncio run`, as a library, so that tests can drive it in-process. `docs/ARCHITECTURE.md` is the map.

pub mod archive;
pub mod boards;
pub mod config;
pub mod control;
pub mod device;
pub mod executors;
pub mod gateway;
pub mod leases;
mod procfs;
pub mod proxy;
pub mod store;
pub mod transports;
pub mod update;
pub mod web;
