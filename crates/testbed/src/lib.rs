//! For tests and the demo only: virtual time, a lossy network, a scripted DM server.
//!
//! Nothing here is linked into the daemon.

pub mod dm_server;
pub mod lwm2m_world;
pub mod network;
