//! One connected UDP socket per session, read without a buffer of its own.
//!
//! Watched for reading only: a UDP socket can nearly always be written, and being told so after each datagram would wake
//! the runtime twice for every request.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Datagrams taken from one socket before the others have their turn.
pub(super) const BURST: usize = 16;
/// Largest datagram that is taken; a longer one is cut by the kernel and then refused as malformed.
pub(super) const DATAGRAM_MAX: usize = 2048;

/// Bytes of the headers of IP and UDP before a datagram.
const HEADERS_V4: usize = 20 + 8;
const HEADERS_V6: usize = 40 + 8;

/// A socket connected to one server.
#[derive(Debug)]
pub(super) struct Socket {
    watched: AsyncFd<UdpSocket>,
    /// Bytes that go before each datagram on the network.
    headers: usize,
}

impl Socket {
    /// Connects a new socket to a server, by the first of its addresses that can be had. Within a runtime.
    ///
    /// # Errors
    /// When the system gives no socket.
    pub(super) fn connect(addresses: &[SocketAddr]) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for &address in addresses {
            match Self::connect_to(address) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn connect_to(address: SocketAddr) -> io::Result<Self> {
        let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        socket.connect(address)?;
        // SAFETY: a std socket owns its descriptor and names the same one for as long as it lives, which is as long as
        // its registration does.
        #[expect(unsafe_code, reason = "watching for reading only is to be had no other way")]
        let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self { watched: watched?, headers: if address.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 } })
    }

    /// Sends a datagram, or loses it: [`io::ErrorKind::WouldBlock`] when the buffer is full.
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.watched.get_ref().send(datagram)
    }

    /// Takes a datagram, if one is there.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.watched.try_io(Interest::READABLE, |socket| socket.recv(buffer))
    }

    /// How long a datagram of this length is on the network, IP's header included.
    pub(super) fn on_network(&self, bytes: usize) -> usize {
        bytes + self.headers
    }

    fn is_readable(&self, context: &mut Context<'_>) -> bool {
        // Its guard is dropped, which leaves the socket readable until a receive finds nothing.
        self.watched.poll_read_ready(context).is_ready()
    }
}

/// Waits until one of the sockets can be read; its index.
pub(super) fn poll_readable(sockets: &[Option<Socket>], context: &mut Context<'_>, first: usize) -> Poll<usize> {
    let count = sockets.len();
    let turns = (0..count).map(|step| (first + step) % count.max(1));
    let mut is_readable =
        |at: &usize| sockets.get(*at).and_then(Option::as_ref).is_some_and(|socket| socket.is_readable(context));
    turns.into_iter().find(|at| is_readable(at)).map_or(Poll::Pending, Poll::Ready)
}
