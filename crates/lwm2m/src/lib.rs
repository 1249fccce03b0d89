//! LwM2M without I/O.
//!
//! The lower half is what a client and a server share: paths, values, object models, content formats, links and
//! attributes. It knows (path, value) records and bytes, no session and no time. What speaks for a device stands above it, and
//! beside that what manages devices.

mod access;
pub mod attributes;
pub mod client;
pub mod format;
pub mod link;
pub mod model;
mod objects;
pub mod path;
pub mod record;
pub mod server;
pub mod value;
