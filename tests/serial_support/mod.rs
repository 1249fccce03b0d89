//! Ptys as ports: a scripted board on the master end, the gateway on the slave.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part of this; one uses all")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nuncio::device::{Lease, Link, Questions};
use nuncio::leases::Table;
use nuncio::transports::serial::{self, Handle};
use nuncio::transports::{Event, HubPower, SerialSettings};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pty::OpenptFlags;
use tokio::sync::mpsc;

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A new pty: the board's end, and the path of the port.
pub(crate) fn pty() -> (File, PathBuf) {
    let master: OwnedFd =
        rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
    rustix::pty::grantpt(&master).expect("granted");
    rustix::pty::unlockpt(&master).expect("unlocked");
    let name = rustix::pty::ptsname(&master, Vec::new()).expect("a name");
    (File::from(master), PathBuf::from(name.into_string().expect("plain text")))
}

/// A board on a thread: each chunk that it receives goes to the script, whose answer it sends. Before the port is
/// opened, and after it is closed, reading the master fails; the board waits then, as a real one would.
pub(crate) fn board(mut script: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> PathBuf {
    let (mut master, path) = pty();
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        loop {
            match master.read(&mut buffer) {
                Ok(count) => {
                    let answer = script(&buffer[..count]);
                    if master.write_all(&answer).is_err() {
                        return;
                    }
                }
                Err(_) => thread::sleep(Duration::from_millis(2)),
            }
        }
    });
    path
}

/// A board that says the same again and again, whatever it hears, while its port is open.
pub(crate) fn talker(words: &'static [u8]) -> PathBuf {
    let (mut master, path) = pty();
    thread::spawn(move || {
        loop {
            let mut end = [PollFd::new(&master, PollFlags::empty())];
            let limit = Timespec::try_from(Duration::from_millis(30)).expect("fits");
            rustix::event::poll(&mut end, Some(&limit)).expect("polled");
            let closed = end[0].revents().contains(PollFlags::HUP);
            if closed {
                thread::sleep(Duration::from_millis(2));
            } else if master.write_all(words).is_err() {
                return;
            }
        }
    });
    path
}

/// `[serial]` for tests.
pub(crate) fn settings(watch: &[String], deny: &[String]) -> SerialSettings {
    SerialSettings {
        questions: Questions::Bootloader,
        budget: 1000,
        again_after: Duration::from_secs(300),
        poll: Duration::from_millis(50),
        watch: watch.to_vec(),
        deny: deny.to_vec(),
        hub_power: HubPower::Never,
        hub_ports: Vec::new(),
    }
}

/// The transport without any port to look at.
pub(crate) fn transport() -> (Handle, mpsc::Receiver<Event>) {
    let (events, receiver) = mpsc::channel(64);
    (serial::spawn(&settings(&[], &[]), Vec::new(), events).expect("no patterns"), receiver)
}

/// A lease for a port.
pub(crate) fn lease(path: impl Into<PathBuf>) -> Lease {
    Table::new().0.take(&Link::Serial(path.into()), "test").expect("free")
}

/// The next event.
pub(crate) async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("in time").expect("an event")
}
