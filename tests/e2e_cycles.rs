//! A thousand times something is plugged in or out, on ports and on a network, in random order: the registrations at a real
//! server are the devices that are there, and the daemon does not grow.
//!
//! Needs the peers lan and leshan, and root: `make peers`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use world::{Announced, Daemon, Lan, Leshan, Machine, World, eventually, world};

/// So many devices hang on ports, and so many are on the network.
const PORTS: usize = 6;
const HOSTS: usize = 3;
const CYCLES: usize = 1000;
/// One of so many cycles is of one on the network: avahi needs a second to agree on a name.
const ONE_ON_NETWORK: usize = 20;
/// After so many cycles it is seen whether the server knows what is there.
const LOOK: usize = 10;
/// When the daemon has seen everything that it can come to hold.
const WARM: usize = 100;
/// A thread of tokio's that nobody has needed for ten seconds has ended.
const IDLE_THREAD: Duration = Duration::from_secs(11);
/// Ten times what it takes until the last one has registered, which avahi's own probing makes a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port without a board: it is there, and nobody opens it.
struct Port {
    path: PathBuf,
    pty: Option<OwnedFd>,
}

impl Port {
    fn toggle(&mut self) {
        if self.pty.take().is_some() {
            return fs::remove_file(&self.path).expect("it was there");
        }
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
        grantpt(&pty).and_then(|()| unlockpt(&pty)).expect("a pty of ours");
        let node = ptsname(&pty, Vec::new()).expect("its name");
        symlink(node.to_str().expect("ASCII"), &self.path).expect("a free name");
        self.pty = Some(pty);
    }
}

/// What the daemon holds: descriptors, threads, tasks, and memory in KiB.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: usize,
    threads: usize,
    tasks: u64,
    memory: f64,
}

fn held(daemon: &mut Daemon) -> Held {
    let process = format!("/proc/{}", daemon.process().id());
    let count = |folder: &str| fs::read_dir(format!("{process}/{folder}")).expect("it runs").count();
    let status = fs::read_to_string(format!("{process}/status")).expect("it runs");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let memory = memory.trim().trim_end_matches(" kB").parse().expect("a number");
    let told = daemon.cli(&["status", "--json"]).output;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"));
    let tasks = told["gateway"]["tasks"].as_u64().expect("it counts them");
    Held { descriptors: count("fd"), threads: count("task"), tasks, memory }
}

struct Scene {
    ports: Vec<Port>,
    hosts: Vec<(Machine, Option<Announced>)>,
    daemon: Daemon,
    leshan: Leshan,
    _lan: Lan,
    world: World,
}

impl Scene {
    fn new() -> Self {
        let (world, leshan) = (world!(), Leshan::start("cycles"));
        let lan = Lan::new(&world);
        let gateway = lan.gateway();
        let ports: Vec<Port> =
            (0..PORTS).map(|number| Port { path: world.dir().join(format!("port-{number}")), pty: None }).collect();
        let mut builder = world.daemon().server("leshan", &gateway.uri(&leshan), 123, "lifetime = \"1h\"");
        for (number, port) in ports.iter().enumerate() {
            let link = format!("serial:{}", port.path.display());
            builder = builder.device(&format!("port-{number}"), "arduino-uno", &link, "");
        }
        let daemon = builder.lan(&gateway, "").start();
        // A server whose very first answer takes longer than a client that leaves waits for it keeps that client for an hour.
        leshan.await_client(&world.own_endpoint());
        let hosts = (0..HOSTS).map(|number| (lan.machine(&format!("host-{number}")), None)).collect();
        Self { ports, hosts, daemon, leshan, _lan: lan, world }
    }

    fn mac(&self, number: usize) -> String {
        format!("02{:06x}{number:04x}", self.world.seed() & 0x00ff_ffff)
    }

    /// Plugs one in or out.
    fn toggle(&mut self, which: usize) {
        if let Some(port) = self.ports.get_mut(which) {
            return port.toggle();
        }
        let number = which - PORTS;
        let mac = self.mac(number);
        let (machine, announced) = &mut self.hosts[number];
        *announced = match announced.take() {
            Some(service) => {
                machine.withdraw(service);
                None
            }
            None => Some(machine.announce(&format!("h{number}"), "_esphomelib._tcp", 6053, &[("mac", &mac)]).0),
        };
    }

    /// The endpoints of what is there, sorted.
    fn present(&self) -> Vec<String> {
        let ports = self.ports.iter().enumerate().filter(|(_, port)| port.pty.is_some());
        let hosts = self.hosts.iter().enumerate().filter(|(_, (_, announced))| announced.is_some());
        let hosts = hosts.map(|(number, _)| format!("mac-{}", self.mac(number)));
        let mut all: Vec<String> = ports.map(|(number, _)| format!("port-{number}")).chain(hosts).collect();
        all.sort();
        all
    }

    fn await_equal(&self) {
        let (present, until) = (self.present(), Instant::now() + PATIENCE);
        loop {
            let mut known = self.leshan.clients();
            // The gateway itself is always there.
            known.retain(|endpoint| *endpoint != self.world.own_endpoint());
            known.sort();
            if known == present {
                return;
            }
            assert!(Instant::now() < until, "the server knows {known:?}, and {present:?} are there");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Nothing is there: what the daemon holds then does not depend on chance.
    fn held_when_empty(&mut self) -> Held {
        for which in 0..PORTS + HOSTS {
            let there = match self.ports.get(which) {
                Some(port) => port.pty.is_some(),
                None => self.hosts[which - PORTS].1.is_some(),
            };
            if there {
                self.toggle(which);
            }
        }
        self.await_equal();
        let mut last = held(&mut self.daemon);
        // Clients that have just left end by and by, and threads that wait for more to do.
        eventually("the daemon is at rest", PATIENCE, || {
            std::thread::sleep(IDLE_THREAD);
            let before = std::mem::replace(&mut last, held(&mut self.daemon));
            let same =
                (before.descriptors, before.threads, before.tasks) == (last.descriptors, last.threads, last.tasks);
            same.then_some(last)
        })
    }
}

#[test]
fn a_thousand_cycles_leave_nothing_behind() {
    let mut scene = Scene::new();
    let mut random = fastrand::Rng::with_seed(scene.world.seed());
    let mut warm = None;
    for cycle in 1..=CYCLES {
        let on_network = random.usize(..ONE_ON_NETWORK) == 0;
        scene.toggle(if on_network { PORTS + random.usize(..HOSTS) } else { random.usize(..PORTS) });
        if cycle % LOOK == 0 {
            scene.await_equal();
        }
        if cycle == WARM {
            warm = Some(scene.held_when_empty());
        }
    }
    let (warm, end) = (warm.expect("there were so many"), scene.held_when_empty());
    println!("after {WARM} cycles {warm:?}, after {CYCLES} {end:?}");
    assert_eq!((warm.descriptors, warm.threads, warm.tasks), (end.descriptors, end.threads, end.tasks));
    assert!((end.memory - warm.memory).abs() <= warm.memory * 0.05, "{warm:?}, {end:?}");
}
