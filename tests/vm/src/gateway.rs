//! The daemon in the guest.

use std::time::{Duration, Instant};

use serde_json::Value;
use world::{Leshan, eventually, get};

use crate::machine::Machine;

/// Ten times what the daemon takes for anything in a slow guest.
const PATIENCE: Duration = Duration::from_secs(120);
/// The runtime ends idle threads after 10 s.
const IDLE: Duration = Duration::from_secs(12);
/// The endpoint that is the gateway itself.
const OWN: &str = "gateway-world";
/// The host, as QEMU's network shows it to the guest.
const HOST: &str = "10.0.2.2";

/// `nuncio run` in the guest as a service of its systemd, with all of `/dev` as it is.
pub struct Gateway<'a> {
    leshan: &'a Leshan,
}

impl<'a> Gateway<'a> {
    /// Writes its configuration (`tables` is added to it) and starts it; returns once it is ready.
    pub fn start(machine: &mut Machine, leshan: &'a Leshan, serial: &str, tables: &str) -> Self {
        let gateway = Self::configured(machine, leshan, serial, tables);
        gateway.run(machine);
        gateway
    }

    /// The same for the service that the package has installed.
    pub fn service(machine: &mut Machine, leshan: &'a Leshan, serial: &str, tables: &str) -> Self {
        let gateway = Self::configured(machine, leshan, serial, tables);
        machine.must("systemctl restart nuncio");
        gateway
    }

    fn configured(machine: &mut Machine, leshan: &'a Leshan, serial: &str, tables: &str) -> Self {
        let uri = leshan.uri().replace("127.0.0.1", HOST);
        let config = format!(
            "[gateway]\nname = \"world\"\nlog = \"debug\"\n[serial]\npoll = \"500ms\"\n{serial}\n\
             [[server]]\nname = \"leshan\"\nuri = {uri:?}\nshort_id = 123\nlifetime = \"60s\"\nretry = \"2s\"\nretry_max = \"2s\"\n{tables}"
        );
        machine.file("/etc/nuncio/nuncio.toml", &config);
        Self { leshan }
    }

    /// Starts it (again).
    pub fn run(&self, machine: &mut Machine) {
        machine.must("systemd-run --quiet --unit=nuncio -p Type=notify /usr/local/bin/nuncio run");
    }

    /// Stops it, as a shutdown would.
    pub fn stop(&self, machine: &mut Machine) {
        machine.must("systemctl stop nuncio");
    }

    /// All endpoints of devices that are registered at the server now, in order.
    pub fn registered(&self) -> Vec<String> {
        let answer = get(self.leshan.http_port(), "/api/clients").expect("Leshan answers").json();
        let all = answer.as_array().into_iter().flatten();
        let mut names: Vec<String> = all.filter_map(|client| client["endpoint"].as_str()).map(str::to_owned).collect();
        names.retain(|name| name != OWN);
        names.sort();
        names
    }

    /// Waits until exactly these are registered.
    pub fn await_registered(&self, wanted: &[&str]) {
        let mut wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        wanted.sort();
        let mut last = Vec::new();
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            last = self.registered();
            if last == wanted {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("registered is {last:?}, and not {wanted:?}");
    }

    /// A command of nuncio that answers in JSON.
    pub fn json(&self, machine: &mut Machine, command: &str) -> Value {
        let output = machine.must(&format!("nuncio {command} --json"));
        let start = output.find(['{', '[']).unwrap_or(output.len());
        serde_json::from_str(&output[start..]).unwrap_or_default()
    }

    /// Waits until `nuncio devices` tells something of a device.
    pub fn await_device(&self, machine: &mut Machine, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("a device {what}"), PATIENCE, || {
            let all = self.json(machine, "devices");
            all["devices"].as_array().into_iter().flatten().find(|device| wanted(device)).cloned()
        })
    }

    /// How many descriptors and threads the daemon has.
    pub fn holds(&self, machine: &mut Machine) -> (usize, usize) {
        let counts =
            machine.must("p=$(systemctl show -P MainPID nuncio); ls /proc/$p/fd | wc -l; ls /proc/$p/task | wc -l");
        let mut counts = counts.lines().map(|line| line.trim().parse().expect("wc counts"));
        (counts.next().expect("descriptors"), counts.next().expect("threads"))
    }

    /// The same once the numbers have not changed for some seconds: threads of the runtime that are idle end by then.
    pub fn settled(&self, machine: &mut Machine) -> (usize, usize) {
        let (mut last, mut since) = (self.holds(machine), Instant::now());
        let began = Instant::now();
        while since.elapsed() < IDLE {
            assert!(began.elapsed() < PATIENCE, "the daemon's descriptors and threads change all the time");
            std::thread::sleep(Duration::from_millis(500));
            let now = self.holds(machine);
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        last
    }

    /// Waits until the daemon has this many descriptors and threads.
    pub fn await_holding(&self, machine: &mut Machine, wanted: (usize, usize)) {
        let mut last = self.holds(machine);
        let began = Instant::now();
        while last != wanted {
            let list = || "ls -l /proc/$(systemctl show -P MainPID nuncio)/fd";
            if began.elapsed() > PATIENCE {
                panic!("descriptors and threads are {last:?}, and were {wanted:?}: {}", machine.must(list()));
            }
            std::thread::sleep(Duration::from_millis(500));
            last = self.holds(machine);
        }
    }

    /// Waits until `nuncio devices` lists a link, whatever is on it.
    pub fn await_link(&self, machine: &mut Machine, link: &str) {
        self.await_links(machine, link, 1);
    }

    /// Waits until it lists so many links that begin so.
    pub fn await_links(&self, machine: &mut Machine, start: &str, count: usize) {
        eventually(&format!("{count} links are listed that begin with {start}"), PATIENCE, || {
            let listed = machine.must("nuncio devices --json");
            let listed: String = listed.split_whitespace().collect();
            (listed.matches(&format!("\"link\":\"{start}")).count() == count).then_some(())
        });
    }

    /// Waits until it has logged these words, since it or this was started last.
    pub fn await_line(&self, machine: &mut Machine, words: &str) {
        eventually(&format!("the daemon says: {words}"), PATIENCE, || self.log(machine).contains(words).then_some(()));
    }

    /// What it has logged.
    pub fn log(&self, machine: &mut Machine) -> String {
        machine.must("journalctl -u nuncio -o cat --no-pager")
    }
}
