//! Who has a port of the network, by the kernel's tables of sockets and the processes that have them open.

use std::fs;
use std::path::Path;

use super::process::Process;

/// Which kind of port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP, listening.
    Tcp,
    /// UDP.
    Udp,
}

/// The state of a TCP socket that listens, as the table has it.
const LISTENING: &str = "0A";

/// Who has a port on some address of this machine; `None` where nobody has, or it is not to be told: other users' open files
/// are not.
pub(crate) fn port_holder(transport: Transport, port: u16) -> Option<Process> {
    let tables = match transport {
        Transport::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Transport::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let inodes: Vec<String> = tables.into_iter().flat_map(|path| inodes(&text(path), transport, port)).collect();
    if inodes.is_empty() {
        return None;
    }
    super::process::ids()
        .find(|pid| has_open(*pid, &inodes))
        .map(|pid| Process::read(pid).unwrap_or_else(|| Process::gone(pid)))
}

/// The sockets on a port: `sl local:PORT remote:PORT state tx:rx tr:when retrnsmt uid timeout inode ...`, numbers but the inode
/// in hexadecimal.
fn inodes(table: &str, transport: Transport, port: u16) -> Vec<String> {
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (_, local) = fields.get(1)?.rsplit_once(':')?;
        let same = u16::from_str_radix(local, 16).is_ok_and(|local| local == port);
        let listens = transport == Transport::Udp || *fields.get(3)? == LISTENING;
        (same && listens).then(|| fields.get(9).map(|inode| format!("socket:[{inode}]"))).flatten()
    };
    table.lines().skip(1).filter_map(inode).collect()
}

fn has_open(pid: u32, inodes: &[String]) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let leads_there = |link: &Path| link.to_str().is_some_and(|link| inodes.iter().any(|inode| inode == link));
    descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|link| leads_there(&link))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn who_has_a_port_is_found() {
        let udp = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        let tcp = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let (udp_port, tcp_port) = (udp.local_addr().expect("bound").port(), tcp.local_addr().expect("bound").port());
        let own = Some(std::process::id());
        assert_eq!(port_holder(Transport::Udp, udp_port).map(|process| process.pid), own);
        assert_eq!(port_holder(Transport::Tcp, tcp_port).map(|process| process.pid), own);
        drop((udp, tcp));
        assert!(port_holder(Transport::Tcp, tcp_port).is_none());
    }

    proptest! {
        #[test]
        fn any_table_is_safe(table in "(.{0,60}\n){0,4}", port: u16) {
            inodes(&table, Transport::Tcp, port);
        }
    }
}
