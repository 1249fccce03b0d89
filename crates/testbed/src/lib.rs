//! For tests and the demo only: virtual time, a lossy network, a scripted DM server, boards on ptys. Nothing in the product depends on it.

pub mod clock;
pub mod network;
