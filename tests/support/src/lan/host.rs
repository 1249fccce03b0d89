//! What runs on a network's members: a host name, an empty `/run`, dbus-daemon and avahi-daemon.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::PATIENCE;
use super::network::{Network, done};
use crate::cache::program;
use crate::process::{Process, children, run};
use crate::wait::eventually;

const BEGIN: &str = "mount --make-rprivate / && mount -t tmpfs run /run && mkdir -p /run/dbus /run/avahi-daemon && \
    hostname \"$0\" && echo ready && exec sleep infinity";

/// Processes that end together, whatever user they have become: dbus-daemon is not root for long, and with that forgets
/// whose death it was to follow.
pub(super) struct Host {
    name: String,
    /// The first of its processes: when it goes, the kernel ends all others.
    leader: u32,
    // Dropped first: power goes for all at once, and nobody is left to say goodbye for another.
    _process: Process,
    services: Vec<Process>,
}

impl Host {
    pub(super) fn boot(name: &str, network: &Network) -> Self {
        let mut command = network.enter();
        command.arg(program("lan", "unshare")).args(["--mount", "--uts", "--pid", "--fork", "--kill-child"]);
        command.args(["sh", "-c", BEGIN, name]);
        let mut process = Process::start(&format!("host {name}"), &command, None);
        process.line_after(0, PATIENCE, |line| (line == "ready").then_some(()));
        let leader = children(process.id()).first().expect("unshare waits for its child").as_raw_nonzero();
        let leader = leader.get().cast_unsigned();
        Self { name: name.to_owned(), leader, _process: process, services: Vec::new() }
    }

    /// What runs a command here that stays the child that it would be elsewhere, and sees all processes of this machine.
    pub(super) fn enter(&self) -> Command {
        let mut command = Command::new(program("lan", "nsenter"));
        command.args(["--target", &self.leader.to_string(), "--net", "--mount", "--uts", "--"]);
        command
    }

    /// Starts a command as one of this host's processes.
    pub(super) fn start(&self, what: &str, command: &Command) -> Process {
        let mut outer = Command::new(program("lan", "nsenter"));
        outer.args(["--target", &self.leader.to_string(), "--net", "--mount", "--uts", "--pid", "--"]);
        outer.arg(command.get_program()).args(command.get_args());
        outer.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        Process::start(&format!("{what} on {}", self.name), &outer, None)
    }

    /// Runs a program here and gives what it printed.
    pub(super) fn run(&self, name: &str, args: &[&str]) -> String {
        let mut command = self.enter();
        command.arg(program("lan", name)).args(args);
        run(&format!("{name} on {}", self.name), &command, PATIENCE).1
    }

    /// Starts dbus-daemon and avahi-daemon (anew), with these further lines of its `[server]`; returns once avahi answers.
    pub(super) fn avahi(&mut self, dir: &Path, lines: &str) {
        self.services.clear();
        let name = &self.name;
        let config = dir.join(format!("avahi-{name}-{}.conf", self.leader));
        // Two hundred services of one machine are more than avahi allows by itself.
        let text = format!(
            "[server]\nhost-name={name}\nuse-ipv4=yes\nuse-ipv6=yes\nenable-dbus=yes\ndeny-interfaces=up0\nobjects-per-client-max=4096\n\
             entries-per-entry-group-max=64\nratelimit-interval-usec=1000000\nratelimit-burst=1000\n{lines}\n[wide-area]\n\
             enable-wide-area=no\n[publish]\npublish-hinfo=no\npublish-workstation=no\n[rlimits]\n"
        );
        fs::write(&config, text).expect("a writable folder");
        // One that was killed has left its process id.
        let mut clean = self.enter();
        clean.args(["rm", "-f", "/run/avahi-daemon/pid"]);
        done(&clean);
        let answers = |args: &[&str]| {
            let mut command = self.enter();
            command.arg(program("lan", "dbus-send")).args(["--system", "--print-reply"]).args(args);
            run("dbus-send", &command, PATIENCE).0.success()
        };
        let mut bus = Command::new(program("lan", "dbus-daemon"));
        bus.args(["--system", "--nofork", "--nopidfile"]);
        let bus = self.start("dbus-daemon", &bus);
        let names = ["--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.ListNames"];
        eventually("the bus answers", PATIENCE, || answers(&names).then_some(()));
        let mut avahi = Command::new(program("lan", "avahi-daemon"));
        avahi.arg("-f").arg(&config).args(["--no-drop-root", "--no-chroot", "--no-rlimits"]);
        let avahi = self.start("avahi-daemon", &avahi);
        let state = ["--dest=org.freedesktop.Avahi", "/", "org.freedesktop.Avahi.Server.GetState"];
        eventually("avahi answers", PATIENCE, || answers(&state).then_some(()));
        self.services = vec![avahi, bus];
    }
}
