//! Who listens on a TCP port of this machine.

use super::process::{Process, processes};

/// `/proc/net/tcp`: "0A" is LISTEN (include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// Who listens on a port, on whichever address; `None` when nobody does, or it is a process that this one may not look into.
pub(crate) fn listener_on(port: u16) -> Option<Process> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let inodes: Vec<String> = tables.iter().flat_map(|table| inodes(table, port)).collect();
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    processes().find(|process| holds(process, &wanted))
}

/// Inodes of the sockets that listen on a port, from a table of the kernel's.
fn inodes(table: &str, port: u16) -> Vec<String> {
    let wanted = format!(":{port:04X}");
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = lines
        .filter(|fields| fields.get(1).is_some_and(|local| local.ends_with(&wanted)) && fields.get(3) == Some(&LISTEN));
    found.filter_map(|fields| fields.get(9).map(|&inode| inode.to_owned())).collect()
}

fn holds(process: &Process, wanted: &[String]) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{}/fd", process.pid)) else { return false };
    let targets = open.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.into_iter().any(|target| wanted.iter().any(|socket| target.as_os_str() == socket.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_found_on_either_family() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            let port = listener.local_addr().expect("bound").port();
            assert_eq!(listener_on(port).map(|holder| holder.pid), Some(std::process::id()), "{address}");
            drop(listener);
            assert_eq!(listener_on(port), None, "{address}");
        }
    }
}
