//! A device on a network.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use serde_json::json;

use super::PATIENCE;
use super::host::Host;
use super::network::Network;
use crate::cache::repository;
use crate::process::Process;

/// A device: a host of its own with avahi.
pub struct Machine {
    name: String,
    dir: PathBuf,
    interfaces: Vec<String>,
    address: Option<Ipv4Addr>,
    /// What runs there while it has power.
    running: Option<Running>,
    network: Network,
    announced: u32,
}

struct Running {
    // Dropped first: see there.
    host: Host,
    announcer: Process,
}

/// A service that a machine announces.
#[derive(Debug, Clone, Copy)]
pub struct Announced(u32);

impl Machine {
    pub(super) fn start(
        name: &str,
        network: Network,
        interfaces: &[&str],
        address: Option<Ipv4Addr>,
        dir: &Path,
    ) -> Self {
        let interfaces = interfaces.iter().map(ToString::to_string).collect();
        let running = Some(Running::boot(name, &network, dir));
        Self { name: name.to_owned(), dir: dir.to_owned(), interfaces, address, running, network, announced: 0 }
    }

    /// Announces a service, and returns what it is called: another machine may have had the name.
    pub fn announce(&mut self, name: &str, kind: &str, port: u16, txt: &[(&str, &str)]) -> (Announced, String) {
        let entries = entries(txt);
        self.announce_bytes(name, kind, port, &entries)
    }

    /// The same with any TXT record.
    pub fn announce_bytes(&mut self, name: &str, kind: &str, port: u16, txt: &[Vec<u8>]) -> (Announced, String) {
        self.add(name, kind, port, txt, true)
    }

    /// Announces a service without waiting for the network to agree to its name.
    pub fn announce_at_once(&mut self, name: &str, kind: &str, port: u16, txt: &[(&str, &str)]) -> Announced {
        let entries = entries(txt);
        self.add(name, kind, port, &entries, false).0
    }

    fn add(&mut self, name: &str, kind: &str, port: u16, txt: &[Vec<u8>], wait: bool) -> (Announced, String) {
        self.announced += 1;
        let (id, txt) = (self.announced, hex(txt));
        let order =
            json!({ "op": "add", "id": id, "name": name, "type": kind, "port": port, "txt": txt, "wait": wait });
        (Announced(id), self.order(&order))
    }

    /// Another TXT record for a service.
    pub fn set_txt(&mut self, service: Announced, txt: &[(&str, &str)]) {
        self.set_txt_bytes(service, &entries(txt));
    }

    /// The same with any TXT record.
    pub fn set_txt_bytes(&mut self, service: Announced, txt: &[Vec<u8>]) {
        self.order(&json!({ "op": "txt", "id": service.0, "txt": hex(txt) }));
    }

    /// The service says goodbye.
    pub fn withdraw(&mut self, service: Announced) {
        self.order(&json!({ "op": "free", "id": service.0 }));
    }

    /// The machine loses its power for good: nobody is told anything.
    pub fn crash(mut self) {
        self.power_off();
    }

    /// The machine loses its power: nobody is told anything, and what it announced is forgotten.
    pub fn power_off(&mut self) {
        self.set_interfaces("down");
        self.running = None;
    }

    /// It has power again, with the addresses that it had, and announces nothing yet.
    pub fn power_on(&mut self) {
        self.set_interfaces("up");
        self.running = Some(Running::boot(&self.name, &self.network, &self.dir));
    }

    fn set_interfaces(&self, state: &str) {
        self.interfaces.iter().for_each(|interface| self.network.ip(&format!("link set {interface} {state}")));
    }

    /// Its IPv4 address; on the first network, when it is on two.
    pub fn address(&self) -> Ipv4Addr {
        self.address.expect("a machine with IPv4")
    }

    /// It has another IPv4 address from now on, as DHCP may give it: a hundred further.
    pub fn renumber(&mut self) {
        let [first, second, third, last] = self.address().octets();
        let other = Ipv4Addr::new(first, second, third, last + 100);
        // One of the same network would go with the old one.
        self.network.ip(&format!("addr del {}/24 dev eth0", self.address()));
        self.network.ip(&format!("addr add {other}/24 dev eth0"));
        self.address = Some(other);
    }

    /// Runs a program here, e.g. `avahi-browse`, and gives what it printed.
    pub fn run(&self, name: &str, args: &[&str]) -> String {
        self.running().host.run(name, args)
    }

    /// Starts a program here; it ends with its value or with the machine's power.
    pub fn start_program(&self, name: &str, command: &Command) -> Process {
        self.running().host.start(name, command)
    }

    /// A TCP port of this machine on all its addresses, for a server in the test itself.
    pub fn listen(&self, port: u16) -> TcpListener {
        self.network.inside(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).expect("a free port"))
    }

    /// Sends these bytes to all that listen to mDNS on the first network, as avahi never would.
    pub fn multicast(&self, packet: &[u8]) {
        let from = SocketAddrV4::new(self.address(), 5353);
        let send = || -> std::io::Result<usize> {
            let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
            // Beside this machine's avahi.
            sockopt::set_socket_reuseaddr(&socket, true)?;
            sockopt::set_socket_reuseport(&socket, true)?;
            // An address of its own tells which interface multicasts go out of.
            bind(&socket, &from)?;
            let socket = UdpSocket::from(socket);
            socket.set_multicast_ttl_v4(255)?;
            socket.send_to(packet, (Ipv4Addr::new(224, 0, 0, 251), 5353))
        };
        let sent = self.network.inside(send).expect("the network takes packets");
        assert_eq!(sent, packet.len());
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("a machine with power")
    }

    fn order(&mut self, order: &serde_json::Value) -> String {
        let announcer = &mut self.running.as_mut().expect("a machine with power").announcer;
        let mark = announcer.mark();
        announcer.tell(&order.to_string());
        let answer = announcer.line_after(mark, PATIENCE, |line| {
            (line.starts_with("ok ") || line.starts_with("error ")).then(|| line.to_owned())
        });
        answer.strip_prefix("ok ").unwrap_or_else(|| panic!("{order}: {answer}")).to_owned()
    }
}

impl Running {
    fn boot(name: &str, network: &Network, dir: &Path) -> Self {
        let mut host = Host::boot(name, network);
        host.avahi(dir, "");
        // Debian's own, whatever other one comes first: it has the D-Bus module.
        let mut command = Command::new("/usr/bin/python3");
        command.arg(repository().join("tests/world/announce.py"));
        let announcer = host.start("announcer", &command);
        Self { host, announcer }
    }
}

fn entries(txt: &[(&str, &str)]) -> Vec<Vec<u8>> {
    txt.iter().map(|(key, value)| format!("{key}={value}").into_bytes()).collect()
}

fn hex(entries: &[Vec<u8>]) -> Vec<String> {
    entries.iter().map(|entry| entry.iter().map(|byte| format!("{byte:02x}")).collect()).collect()
}
