//! Whether this machine lets a further program speak mDNS.

use std::net::{Ipv4Addr, SocketAddr};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

/// mDNS's port (RFC 6762, 3).
const PORT: u16 = 5353;

/// What keeps the gateway from listening to mDNS, with the cure. mdns-sd itself would just hear nothing.
pub(super) fn obstacle() -> Option<String> {
    let error = bind().err()?;
    let in_use = error.raw_os_error() == Some(Errno::ADDRINUSE.raw_os_error());
    Some(match in_use {
        true => "another mDNS responder keeps port 5353 for itself, so that no device is found by mDNS. If it is \
                 avahi-daemon: set `disallow-other-stacks=no` in /etc/avahi/avahi-daemon.conf and restart it"
            .to_owned(),
        false => format!("port 5353 cannot be used, so that no device is found by mDNS: {error}"),
    })
}

fn bind() -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())
}
