//! A network namespace.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::PATIENCE;
use crate::cache::program;
use crate::process::{Process, run};

/// Addresses count at once, without a look for duplicates that takes a second.
const BEGIN: &str = "for of in all default; do echo 0 > /proc/sys/net/ipv6/conf/$of/accept_dad; done 2>/dev/null; \
    ip link set lo up && echo ready && exec sleep infinity";

/// A network stack of its own with `lo` up, for as long as the process that holds it.
pub(super) struct Network(Process);

impl Network {
    pub(super) fn new(name: &str) -> Self {
        let mut command = Command::new(program("lan", "unshare"));
        command.args(["--net", "sh", "-c", BEGIN]);
        let mut process = Process::start(&format!("network of {name}"), &command, None);
        process.line_after(0, PATIENCE, |line| (line == "ready").then_some(()));
        Self(process)
    }

    /// The process that `ip` names it by.
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// What runs a command here.
    pub(super) fn enter(&self) -> Command {
        let mut command = Command::new(program("lan", "nsenter"));
        command.args(["--target", &self.id().to_string(), "--net", "--"]);
        command
    }

    /// Runs `ip` here.
    pub(super) fn ip(&self, args: &str) {
        let mut command = self.enter();
        command.arg(program("lan", "ip")).args(args.split(' '));
        done(&command);
    }

    /// Runs code of the test here; sockets that it makes stay here.
    pub(super) fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let here = File::open(format!("/proc/{}/ns/net", self.id())).expect("the network is there");
        let inside = || {
            // Of this thread alone, which ends with it.
            move_into_link_name_space(here.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter networks");
            run()
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Runs `ip` on this machine itself.
pub(super) fn ip(args: &str) {
    let mut command = Command::new(program("lan", "ip"));
    command.args(args.split(' '));
    done(&command);
}

/// Runs a command that must succeed.
pub(super) fn done(command: &Command) {
    let (status, output) = run("set-up", command, PATIENCE);
    assert!(status.success(), "{command:?}: {output}");
}
