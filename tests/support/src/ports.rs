//! Ports on loopback that nobody uses.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel takes ports for outgoing connections, so that none of those gets in between.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

fn candidates() -> impl Iterator<Item = u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes run side by side: each starts somewhere else.
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("below COUNT");
    (0..COUNT).map(move |_| FIRST + (start.wrapping_mul(7) + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
}

/// A port that is free for UDP on all addresses.
pub fn free_udp() -> u16 {
    candidates().find(|&port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()).expect("a free UDP port")
}

/// A port that is free for both on all addresses.
pub fn free_both() -> u16 {
    candidates()
        .find(|&port| {
            let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port));
            udp.is_ok() && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()
        })
        .expect("a free port")
}

/// A port that is free for TCP on all addresses.
pub fn free_tcp() -> u16 {
    candidates().find(|&port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()).expect("a free TCP port")
}
