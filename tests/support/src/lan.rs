//! Local networks with machines on them: network namespaces, joined by a bridge, with avahi-daemons of their own. Needs root.
//!
//! A network lives as long as the processes in it, and they die with the test; a veth goes with either of its ends. So
//! nothing is left of a network, whatever becomes of its test.

mod host;
mod machine;
mod network;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use host::Host;
pub use machine::{Announced, Machine};
use network::{Network, ip};

use crate::{Leshan, Process, World};

/// Ten times what starting anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A network: one bridge.
pub struct Lan {
    hub: Network,
    /// The third number of its addresses.
    number: u8,
    members: AtomicU8,
    dir: PathBuf,
}

/// Where the daemon under test lives: on the networks, with a way to the servers on this machine.
pub struct Gateway {
    host: Host,
    network: Network,
    /// This machine's address on the way there.
    uplink: String,
    dir: PathBuf,
}

/// Addresses that a machine has on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4, and link-local IPv6.
    Both,
    /// Link-local IPv6 only.
    LinkLocal,
}

impl Lan {
    /// An empty network.
    pub fn new(world: &World) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let hub = Network::new("lan");
        hub.ip("link add br0 type bridge mcast_snooping 0");
        hub.ip("link set br0 up");
        let number = u8::try_from(NUMBER.fetch_add(1, Ordering::Relaxed) % 200).expect("small") + 1;
        Self { hub, number, members: AtomicU8::new(0), dir: world.dir().to_owned() }
    }

    /// The gateway, on this network as `eth0`.
    pub fn gateway(&self) -> Gateway {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let network = Network::new("gateway");
        self.join(&network, "eth0", Addresses::Both);
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let block = format!("10.{}.{}", 160 + (process >> 6) % 64, (process << 2 & 0xff) + number / 64 % 4);
        let base = number % 64 * 4;
        let (ours, theirs) = (format!("{block}.{}", base + 1), format!("{block}.{}", base + 2));
        let name = format!("nun{process}x{number}");
        ip(&format!("link add {name} type veth peer name up0 netns {}", network.id()));
        ip(&format!("addr add {ours}/30 dev {name}"));
        ip(&format!("link set {name} up"));
        network.ip(&format!("addr add {theirs}/30 dev up0"));
        network.ip("link set up0 up");
        Gateway { host: Host::boot("gateway", &network), network, uplink: ours, dir: self.dir.clone() }
    }

    /// A machine on this network.
    pub fn machine(&self, name: &str) -> Machine {
        self.machine_with(name, Addresses::Both)
    }

    /// A machine with these addresses.
    pub fn machine_with(&self, name: &str, addresses: Addresses) -> Machine {
        let network = Network::new(name);
        let address = self.join(&network, "eth0", addresses);
        Machine::start(name, network, &["eth0"], address, &self.dir)
    }

    /// A machine on this network and another one.
    pub fn machine_on_both(&self, name: &str, other: &Self) -> Machine {
        let network = Network::new(name);
        let address = self.join(&network, "eth0", Addresses::Both);
        other.join(&network, "eth1", Addresses::Both);
        Machine::start(name, network, &["eth0", "eth1"], address, &self.dir)
    }

    fn join(&self, network: &Network, interface: &str, addresses: Addresses) -> Option<Ipv4Addr> {
        let member = self.members.fetch_add(1, Ordering::Relaxed) + 1;
        let (port, address) = (format!("p{member}"), Ipv4Addr::new(10, 77, self.number, member));
        ip(&format!("link add {interface} netns {} type veth peer name {port} netns {}", network.id(), self.hub.id()));
        self.hub.ip(&format!("link set {port} master br0 up"));
        let address = (addresses == Addresses::Both).then_some(address);
        if let Some(address) = address {
            network.ip(&format!("addr add {address}/24 dev {interface}"));
        }
        network.ip(&format!("link set {interface} up"));
        address
    }
}

impl Gateway {
    /// Onto a further network, as this interface.
    pub fn join(&self, lan: &Lan, interface: &str) {
        lan.join(&self.network, interface, Addresses::Both);
    }

    /// An interface goes down or comes up.
    pub fn set_interface(&self, interface: &str, up: bool) {
        self.network.ip(&format!("link set {interface} {}", if up { "up" } else { "down" }));
    }

    /// A server's URI, as it is from here.
    pub fn uri(&self, server: &Leshan) -> String {
        server.uri().replace("127.0.0.1", &self.uplink)
    }

    /// An avahi-daemon of the gateway's own, with these further lines of its `[server]`.
    pub fn avahi(&mut self, lines: &str) {
        self.host.avahi(&self.dir, lines);
    }

    /// Runs a program here, e.g. `avahi-browse`, and gives what it printed.
    pub fn run(&self, name: &str, args: &[&str]) -> String {
        self.host.run(name, args)
    }

    /// Starts a program here; it ends with its value.
    pub fn start_program(&self, name: &str, command: &Command) -> Process {
        self.host.start(name, command)
    }

    /// What runs a command here.
    pub(crate) fn around(&self) -> Command {
        self.host.enter()
    }
}
