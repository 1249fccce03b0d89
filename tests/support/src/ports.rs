//! Ports on loopback that nobody uses.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel takes ports for outgoing connections, so that none of those gets in between.
const FIRST: u16 = 20_000;
/// So many processes have ports of their own, and so many each.
const BLOCKS: u16 = 40;
const EACH: u16 = 300;

/// Where this process's own ports begin. Test programs run side by side, and a port is bound some time after it was looked for: no
/// other process may find it free meanwhile.
fn first() -> u16 {
    /// Held for as long as the process lives.
    static BLOCK: OnceLock<(u16, File)> = OnceLock::new();
    let block = || {
        let folder = std::env::temp_dir().join("nuncio-ports");
        fs::create_dir_all(&folder).expect("a writable folder");
        let locked = |number: u16| {
            let file = File::create(folder.join(number.to_string())).expect("a writable folder");
            file.try_lock().is_ok().then_some((number, file))
        };
        (0..BLOCKS).find_map(locked).expect("fewer test programs at once")
    };
    FIRST + EACH * BLOCK.get_or_init(block).0
}

fn candidates() -> impl Iterator<Item = u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = first();
    (0..EACH).map(move |_| first + NEXT.fetch_add(1, Ordering::Relaxed) % EACH)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_its_ports_for_itself() {
        let ports = [free_tcp(), free_udp(), free_both()];
        let block = (first() - FIRST) / EACH;
        assert!(ports.iter().all(|port| (port - FIRST) / EACH == block), "{ports:?}");
        // As another process would.
        let file = File::create(std::env::temp_dir().join("nuncio-ports").join(block.to_string())).expect("there");
        assert!(file.try_lock().is_err(), "somebody else may have the same");
    }
}
