//! Local networks with machines on them: network namespaces, joined by a bridge, with avahi-daemons of their own. Needs root.
//!
//! A namespace lives as long as the process that holds it, which dies with the test; a veth goes with either of its ends. So
//! nothing is left of a network, whatever becomes of its test.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::cache::{program, repository};
use crate::process::{Process, run};
use crate::wait::eventually;
use crate::{Leshan, World};

/// Ten times what starting anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A network: one bridge.
pub struct Lan {
    hub: Namespace,
    /// The third number of its addresses.
    number: u8,
    members: AtomicU32,
    dir: std::path::PathBuf,
}

/// Where the daemon under test lives: on the networks, with a way to the servers on this machine.
pub struct Gateway {
    space: Namespace,
    /// This machine's address on the way there.
    uplink: String,
    dir: std::path::PathBuf,
    services: Vec<Process>,
}

/// A device: a host of its own with avahi.
pub struct Machine {
    name: String,
    space: Namespace,
    avahi: Vec<Process>,
    announcer: Process,
    announced: u32,
}

/// A service that a machine announces.
#[derive(Debug, Clone, Copy)]
pub struct Announced(u32);

/// Addresses that a machine has on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// IPv4, and link-local IPv6.
    Both,
    /// Link-local IPv6 only.
    LinkLocal,
}

/// A process in namespaces of its own.
struct Namespace {
    process: Process,
    mounts: bool,
}

impl Lan {
    /// An empty network.
    pub fn new(world: &World) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let hub = Namespace::new("lan", false);
        hub.ip("link add br0 type bridge mcast_snooping 0");
        hub.ip("link set br0 up");
        let number = u8::try_from(NUMBER.fetch_add(1, Ordering::Relaxed) % 200).expect("small") + 1;
        Self { hub, number, members: AtomicU32::new(0), dir: world.dir().to_owned() }
    }

    /// The gateway's namespace, on this network as `eth0`.
    pub fn gateway(&self) -> Gateway {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let space = Namespace::new("gateway", true);
        self.join(&space, "eth0", Addresses::Both);
        let (process, number) = (std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let block = format!("10.{}.{}", 160 + (process >> 6) % 64, (process << 2 & 0xff) + number / 64 % 4);
        let base = number % 64 * 4;
        let (ours, theirs) = (format!("{block}.{}", base + 1), format!("{block}.{}", base + 2));
        let name = format!("nun{process}x{number}");
        ip(&format!("link add {name} type veth peer name up0 netns {}", space.id()));
        ip(&format!("addr add {ours}/30 dev {name}"));
        ip(&format!("link set {name} up"));
        space.ip(&format!("addr add {theirs}/30 dev up0"));
        space.ip("link set up0 up");
        Gateway { space, uplink: ours, dir: self.dir.clone(), services: Vec::new() }
    }

    /// A machine on this network.
    pub fn machine(&self, name: &str) -> Machine {
        self.machine_with(name, Addresses::Both)
    }

    /// A machine with these addresses.
    pub fn machine_with(&self, name: &str, addresses: Addresses) -> Machine {
        let space = Namespace::new(name, true);
        self.join(&space, "eth0", addresses);
        Machine::start(name, space, &self.dir)
    }

    /// A machine on this network and another one.
    pub fn machine_on_both(&self, name: &str, other: &Self) -> Machine {
        let space = Namespace::new(name, true);
        self.join(&space, "eth0", Addresses::Both);
        other.join(&space, "eth1", Addresses::Both);
        Machine::start(name, space, &self.dir)
    }

    fn join(&self, space: &Namespace, interface: &str, addresses: Addresses) {
        let member = self.members.fetch_add(1, Ordering::Relaxed) + 1;
        let (port, host) = (format!("p{member}"), format!("10.77.{}.{member}", self.number));
        ip(&format!("link add {interface} netns {} type veth peer name {port} netns {}", space.id(), self.hub.id()));
        self.hub.ip(&format!("link set {port} master br0 up"));
        if addresses == Addresses::Both {
            space.ip(&format!("addr add {host}/24 dev {interface}"));
        }
        space.ip(&format!("link set {interface} up"));
    }
}

impl Gateway {
    /// Onto a further network, as this interface.
    pub fn join(&self, lan: &Lan, interface: &str) {
        lan.join(&self.space, interface, Addresses::Both);
    }

    /// An interface goes down or comes up.
    pub fn set_interface(&self, interface: &str, up: bool) {
        self.space.ip(&format!("link set {interface} {}", if up { "up" } else { "down" }));
    }

    /// A server's URI, as it is from here.
    pub fn uri(&self, server: &Leshan) -> String {
        server.uri().replace("127.0.0.1", &self.uplink)
    }

    /// An avahi-daemon of the gateway's own, with these further lines of its `[server]`.
    pub fn avahi(&mut self, lines: &str) {
        self.services.clear();
        self.services = avahi("gateway", &self.space, &self.dir, lines);
    }

    /// What runs a command here.
    pub(crate) fn around(&self) -> Command {
        self.space.enter()
    }
}

impl Machine {
    fn start(name: &str, space: Namespace, dir: &std::path::Path) -> Self {
        let avahi = avahi(name, &space, dir, "");
        let mut command = space.enter();
        // Debian's own, whatever other one comes first: it has the D-Bus module.
        command.arg("/usr/bin/python3").arg(repository().join("tests/world/announce.py"));
        let announcer = Process::start(&format!("announcer on {name}"), &command, None);
        Self { name: name.to_owned(), space, avahi, announcer, announced: 0 }
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
    pub fn announce_at_once(&mut self, name: &str, kind: &str, port: u16, txt: &[(&str, &str)]) {
        let entries = entries(txt);
        self.add(name, kind, port, &entries, false);
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
        let entries = entries(txt);
        self.order(&json!({ "op": "txt", "id": service.0, "txt": hex(&entries) }));
    }

    /// The service says goodbye.
    pub fn withdraw(&mut self, service: Announced) {
        self.order(&json!({ "op": "free", "id": service.0 }));
    }

    /// The machine loses its power: nobody is told anything.
    pub fn crash(mut self) {
        self.space.ip("link set eth0 down");
        self.announcer.kill();
        self.avahi.iter_mut().for_each(Process::kill);
    }

    /// Runs a program of avahi here, e.g. `avahi-browse`, and gives what it printed.
    pub fn run(&self, name: &str, args: &[&str]) -> String {
        let mut command = self.space.enter();
        command.arg(program("lan", name)).args(args);
        run(&format!("{name} on {}", self.name), &command, PATIENCE).1
    }

    fn order(&mut self, order: &serde_json::Value) -> String {
        let mark = self.announcer.mark();
        self.announcer.tell(&order.to_string());
        let answer = self.announcer.line_after(mark, PATIENCE, |line| {
            (line.starts_with("ok ") || line.starts_with("error ")).then(|| line.to_owned())
        });
        answer.strip_prefix("ok ").unwrap_or_else(|| panic!("{order}: {answer}")).to_owned()
    }
}

impl Namespace {
    /// A network of its own with `lo` up, and, if asked to, mounts with an empty `/run` and a host name.
    fn new(name: &str, mounts: bool) -> Self {
        let own_run = "mount --make-rprivate / && mount -t tmpfs run /run && mkdir -p /run/dbus /run/avahi-daemon && hostname \"$0\"";
        let begin = format!(
            "{} && {{ for of in all default; do echo 0 > /proc/sys/net/ipv6/conf/$of/accept_dad; done 2>/dev/null; ip link set lo up && \
             echo ready && exec sleep infinity; }}",
            if mounts { own_run } else { "true" }
        );
        let mut command = Command::new("unshare");
        command.arg("--net");
        if mounts {
            command.args(["--mount", "--uts"]);
        }
        command.args(["sh", "-c", &begin, name]);
        let mut process = Process::start(&format!("namespace {name}"), &command, None);
        process.line_after(0, PATIENCE, |line| (line == "ready").then_some(()));
        Self { process, mounts }
    }

    fn id(&self) -> u32 {
        self.process.id()
    }

    /// What runs a command here.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.id().to_string(), "--net"]);
        if self.mounts {
            command.args(["--mount", "--uts"]);
        }
        command.arg("--");
        command
    }

    fn ip(&self, args: &str) {
        let mut command = self.enter();
        command.arg(program("lan", "ip")).args(args.split(' '));
        done(&command);
    }
}

/// On this machine itself.
fn ip(args: &str) {
    let mut command = Command::new(program("lan", "ip"));
    command.args(args.split(' '));
    done(&command);
}

fn done(command: &Command) {
    let (status, output) = run("set-up", command, PATIENCE);
    assert!(status.success(), "{command:?}: {output}");
}

/// dbus-daemon and avahi-daemon in a namespace; returns once avahi answers.
fn avahi(name: &str, space: &Namespace, dir: &std::path::Path, lines: &str) -> Vec<Process> {
    let config = dir.join(format!("avahi-{name}-{}.conf", space.id()));
    // Two hundred services of one machine are more than avahi allows by itself.
    let text = format!(
        "[server]\nhost-name={name}\nuse-ipv4=yes\nuse-ipv6=yes\nenable-dbus=yes\ndeny-interfaces=up0\nobjects-per-client-max=4096\n\
         entries-per-entry-group-max=64\nratelimit-interval-usec=1000000\nratelimit-burst=1000\n{lines}\n[wide-area]\n\
         enable-wide-area=no\n[publish]\npublish-hinfo=no\npublish-workstation=no\n[rlimits]\n"
    );
    fs::write(&config, text).expect("a writable folder");
    let start = |what: &str, args: &[&str]| {
        let mut command = space.enter();
        command.arg(program("lan", what)).args(args);
        Process::start(&format!("{what} on {name}"), &command, None)
    };
    // One that was killed has left its process id.
    let mut clean = space.enter();
    clean.args(["rm", "-f", "/run/avahi-daemon/pid"]);
    done(&clean);
    let dbus = start("dbus-daemon", &["--system", "--nofork", "--nopidfile"]);
    let answers = |args: &[&str]| {
        let mut command = space.enter();
        command.arg(program("lan", "dbus-send")).args(["--system", "--print-reply"]).args(args);
        run("dbus-send", &command, PATIENCE).0.success()
    };
    let bus = ["--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.ListNames"];
    eventually("the bus answers", PATIENCE, || answers(&bus).then_some(()));
    let config = config.display().to_string();
    let daemon = start("avahi-daemon", &["-f", &config, "--no-drop-root", "--no-chroot", "--no-rlimits"]);
    let state = ["--dest=org.freedesktop.Avahi", "/", "org.freedesktop.Avahi.Server.GetState"];
    eventually("avahi answers", PATIENCE, || answers(&state).then_some(()));
    vec![daemon, dbus]
}

fn entries(txt: &[(&str, &str)]) -> Vec<Vec<u8>> {
    txt.iter().map(|(key, value)| format!("{key}={value}").into_bytes()).collect()
}

fn hex(entries: &[Vec<u8>]) -> Vec<String> {
    entries.iter().map(|entry| entry.iter().map(|byte| format!("{byte:02x}")).collect()).collect()
}
