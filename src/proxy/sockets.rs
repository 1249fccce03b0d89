//! One connected UDP socket per session, read without a buffer of its own.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use tokio::net::UdpSocket;

/// Datagrams taken from one socket before the others have their turn.
pub(super) const BURST: usize = 16;
/// Largest datagram that is taken; a longer one is cut by the kernel and then refused as malformed.
pub(super) const DATAGRAM_MAX: usize = 2048;

/// Connects a new socket to a server, by the first of its addresses that can be had.
///
/// # Errors
/// When the system gives no socket.
pub(super) async fn connect(addresses: &[SocketAddr]) -> io::Result<UdpSocket> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for &address in addresses {
        match connect_to(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let local = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(address).await?;
    // Until the runtime has seen the socket once, a send would be put off, and the first Register lost.
    socket.writable().await?;
    Ok(socket)
}

/// Waits until one of the sockets can be read; its index.
pub(super) fn poll_readable(sockets: &[Option<UdpSocket>], context: &mut Context<'_>, first: usize) -> Poll<usize> {
    let count = sockets.len();
    for at in (0..count).map(|step| (first + step) % count.max(1)) {
        if let Some(socket) = sockets.get(at).and_then(Option::as_ref)
            && socket.poll_recv_ready(context).is_ready()
        {
            return Poll::Ready(at);
        }
    }
    Poll::Pending
}
