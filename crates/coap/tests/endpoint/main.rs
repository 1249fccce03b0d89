//! The endpoint from outside, through its public API only.

mod bench;
mod client_role;
mod epoch;
mod hostile;
mod server_role;
