//! What the kernel tells of other processes: who they are, which ports they hold, whose a port is.
//!
//! Plain look-ups in `/proc` and `/etc`, blocking, without memory of their own: when to look, and what follows, is for
//! the rooms that ask. Not here: devices and boards. Used by `transports`, before a port is listed, by `executors`, before a
//! tool is let at it and after it is gone, and by `builtin` and `web`, whose port somebody else may have.

mod ports;
mod process;
mod rights;
mod sockets;

pub(crate) use ports::{Node, holder, holders, ours};
pub(crate) use process::{Process, boot_id, processes};
pub(crate) use rights::{Forbidden, forbidden};
pub(crate) use sockets::{Transport, port_holder};
