//! What `nuncio check` is to say of it: may it have its port, and may it write to its drop folder?

use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::BuiltinSettings;
use crate::procfs::{Transport, port_holder};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it is as it should be.
    pub good: bool,
    /// What was found.
    pub detail: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Looks at port and folder; `running` is the daemon that has this configuration already. Blocking.
pub fn check(settings: &BuiltinSettings, running: Option<u32>) -> Vec<Finding> {
    let ports = [Transport::Udp, Transport::Tcp].map(|transport| port(transport, settings.port, running));
    ports.into_iter().chain(settings.drop.as_deref().map(folder)).collect()
}

/// Why a port cannot be had, with who has it where that is to be told.
pub(super) fn taken(transport: Transport, port: u16, error: &io::Error) -> String {
    let kind = name(transport);
    let holder = port_holder(transport, port).filter(|_| error.kind() == io::ErrorKind::AddrInUse);
    match holder {
        Some(holder) => format!("{kind} port {port} is held by {}", holder.told()),
        None => format!("{kind} port {port} on 127.0.0.1 cannot be used: {error}"),
    }
}

fn port(transport: Transport, port: u16, running: Option<u32>) -> Finding {
    let at = (Ipv4Addr::LOCALHOST, port);
    let bound = match transport {
        Transport::Udp => UdpSocket::bind(at).map(drop),
        Transport::Tcp => TcpListener::bind(at).map(drop),
    };
    let kind = name(transport);
    let held = || port_holder(transport, port).map(|holder| holder.pid);
    match bound {
        Ok(()) => good(format!("{kind} port {port} is free")),
        Err(_) if running.is_some() && held() == running => {
            good(format!("{kind} port {port}: the running daemon has it"))
        }
        Err(error) => {
            let hint = "end what has it, or give another one by [builtin_server] port".to_owned();
            Finding { good: false, detail: taken(transport, port, &error), hint: Some(hint) }
        }
    }
}

fn folder(path: &Path) -> Finding {
    let shown = path.display();
    let may = |path: &Path| accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok();
    let bad = |detail: String| Finding {
        good: false,
        detail: format!("drop folder {shown}: {detail}"),
        hint: Some(format!(
            "make it, and give it to the user that the daemon runs as: sudo install -d -m 3770 {shown}"
        )),
    };
    match std::fs::metadata(path) {
        Ok(found) if !found.is_dir() => bad("is no folder".to_owned()),
        Ok(_) if may(path) => good(format!("drop folder {shown}: writable")),
        Ok(_) => bad("may not be written to".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let above = path.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/"));
            match may(above) {
                true => good(format!("drop folder {shown}: will be made at the first start")),
                false => bad(format!("is not there, and may not be made in {}", above.display())),
            }
        }
        Err(error) => bad(error.to_string()),
    }
}

fn good(detail: String) -> Finding {
    Finding { good: true, detail, hint: None }
}

fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "TCP",
        Transport::Udp => "UDP",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::FirmwareRight;

    fn settings(port: u16, drop: &Path) -> BuiltinSettings {
        BuiltinSettings {
            enabled: true,
            name: "builtin".to_owned(),
            port,
            short_id: Some(1),
            firmware: FirmwareRight::Own,
            drop: Some(drop.to_owned()),
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_its_holder_unless_that_is_the_daemon() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let settings = settings(socket.local_addr().expect("bound").port(), folder.path());
        let found = check(&settings, None);
        assert!(!found[0].good && found[0].detail.contains(&format!("(pid {})", std::process::id())), "{found:?}");
        assert!(found[2].good);
        assert!(check(&settings, Some(std::process::id()))[0].good);
        drop(socket);
        assert!(check(&settings, None)[0].good);
    }

    #[test]
    fn a_drop_folder_that_cannot_be_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "x").expect("written");
        let found = |path: &Path| check(&settings(1, path), None).pop().expect("the last one");
        assert!(!found(&file).good && found(&folder.path().join("new")).detail.contains("will be made"));
        assert!(found(folder.path()).detail.ends_with("writable"));
    }
}
