//! Devices that come and go: each on its own time, some by saying goodbye, some with the power of a whole machine.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::run::Shared;
use super::stage::port_name;
use crate::{Announced, Machine, World};

/// One device in so many hangs on a serial port; the others are on the network.
const ONE_ON_A_PORT: usize = 10;
/// How long a device stays and stays away, in the mean.
const STAYS: Duration = Duration::from_secs(360);
const AWAY: Duration = Duration::from_secs(120);
/// No time is shorter or longer than this.
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(1500);
/// Such a part of them is there at the beginning.
const AT_FIRST: f64 = 0.75;
/// Such a part of the times at which one on the network would go, it tells of another version instead.
const CHANGES: f64 = 0.15;
/// A machine loses its power first after this time, and then again and again after these ...
const FIRST_OUTAGE: Duration = Duration::from_secs(60);
const OUTAGES: [Duration; 2] = [Duration::from_secs(240), Duration::from_secs(420)];
/// ... for so long: some outages are over before anybody can know of them.
const OUTAGE: [Duration; 2] = [Duration::from_secs(45), Duration::from_secs(300)];
/// None begins so long before memory is compared, nor lasts until then: a quarter of all devices is away.
const GUARD: Duration = Duration::from_secs(150);

/// So many of them hang on ports.
pub(super) fn ports(devices: usize) -> usize {
    devices / ONE_ON_A_PORT
}

/// What holds a device.
enum Place {
    Port { path: PathBuf, pty: Option<OwnedFd> },
    Machine { number: usize, mac: String, service: Option<Announced>, version: u32 },
}

struct Device {
    endpoint: String,
    place: Place,
    next: Instant,
}

/// Whether a device is there, as servers should see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) endpoint: String,
    pub(super) present: bool,
    pub(super) since: Instant,
}

/// What others may see of the crowd.
#[derive(Default)]
pub(super) struct Board(Mutex<Vec<Truth>>);

impl Board {
    fn lock(&self) -> MutexGuard<'_, Vec<Truth>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<Truth> {
        self.lock().clone()
    }
}

/// The crowd, which has the machines.
pub(super) struct Crowd<'a> {
    shared: &'a Shared,
    board: &'a Board,
    rng: fastrand::Rng,
    machines: Vec<Machine>,
    devices: Vec<Device>,
    /// The machine without power, and when it has power again.
    dark: Option<(usize, Instant)>,
    next_outage: Instant,
}

impl<'a> Crowd<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        board: &'a Board,
        world: &World,
        machines: Vec<Machine>,
        devices: usize,
    ) -> Self {
        let ports = ports(devices);
        let on_port = |number: usize| Device {
            endpoint: port_name(world, number),
            place: Place::Port { path: world.home().join(format!("port-{number}")), pty: None },
            next: Instant::now(),
        };
        let on_machine = |number: usize| {
            let mac = format!("02{:06x}{number:04x}", world.seed() & 0x00ff_ffff);
            let place = Place::Machine { number: number % machines.len(), mac: mac.clone(), service: None, version: 0 };
            Device { endpoint: format!("mac-{mac}"), place, next: Instant::now() }
        };
        let all: Vec<Device> = (0..devices).map(|n| if n < ports { on_port(n) } else { on_machine(n) }).collect();
        *board.lock() = all
            .iter()
            .map(|device| Truth { endpoint: device.endpoint.clone(), present: false, since: Instant::now() })
            .collect();
        let rng = fastrand::Rng::with_seed(world.seed());
        let next_outage = Instant::now() + FIRST_OUTAGE;
        Self { shared, board, rng, machines, devices: all, dark: None, next_outage }
    }

    /// Until the soak is over.
    pub(super) fn live(mut self) {
        for number in 0..self.devices.len() {
            if self.rng.f64() < AT_FIRST {
                self.come(number, "came");
            }
            self.plan_next(number);
        }
        while self.shared.pause(Duration::from_millis(50)) {
            self.power();
            let now = Instant::now();
            let due = |number: &usize| self.devices[*number].next <= now;
            let Some(number) = (0..self.devices.len()).find(due) else { continue };
            match self.is_present(number) {
                _ if self.is_dark(number) => {}
                false => self.come(number, "came"),
                true if self.rng.f64() < CHANGES => self.change(number),
                true => self.leave(number),
            }
            self.plan_next(number);
        }
    }

    fn is_present(&self, number: usize) -> bool {
        self.board.lock()[number].present
    }

    /// Its machine has no power.
    fn is_dark(&self, number: usize) -> bool {
        matches!((&self.devices[number].place, self.dark), (Place::Machine { number, .. }, Some((dark, _))) if *number == dark)
    }

    /// When it comes, goes or changes next: times of no memory, as of people and power supplies.
    fn plan_next(&mut self, number: usize) {
        let mean = if self.is_present(number) { STAYS } else { AWAY };
        let drawn = mean.mul_f64(-(1.0 - self.rng.f64()).ln());
        self.devices[number].next = Instant::now() + drawn.clamp(SHORTEST, LONGEST);
    }

    fn set(&mut self, number: usize, present: bool, kind: &str) {
        {
            let mut board = self.board.lock();
            board[number].present = present;
            board[number].since = Instant::now();
        }
        self.shared.record.event(kind, &self.devices[number].endpoint, "");
        self.shared.tally(|tally| {
            if present {
                (tally.present, tally.came) = (tally.present + 1, tally.came + 1);
            } else {
                (tally.present, tally.went) = (tally.present - 1, tally.went + 1);
            }
        });
    }

    fn come(&mut self, number: usize, kind: &str) {
        match &mut self.devices[number].place {
            Place::Port { path, pty } => {
                let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
                grantpt(&end).and_then(|()| unlockpt(&end)).expect("a pty of ours");
                let node = ptsname(&end, Vec::new()).expect("its name");
                symlink(node.to_str().expect("ASCII"), &*path).expect("a free name");
                *pty = Some(end);
            }
            Place::Machine { number: machine, mac, service, version } => {
                let (told, name) = (told(*version), format!("soak-{mac}"));
                let txt = [("mac", mac.as_str()), ("project_name", "soak.sensor"), ("project_version", &told)];
                *service = Some(self.machines[*machine].announce_at_once(&name, "_esphomelib._tcp", 6053, &txt));
            }
        }
        self.set(number, true, kind);
    }

    fn leave(&mut self, number: usize) {
        match &mut self.devices[number].place {
            Place::Port { path, pty } => {
                fs::remove_file(path).expect("it was there");
                *pty = None;
            }
            Place::Machine { number: machine, service, .. } => {
                let service = service.take().expect("one that is there is announced");
                self.machines[*machine].withdraw(service);
            }
        }
        self.set(number, false, "went");
    }

    fn change(&mut self, number: usize) {
        let Place::Machine { number: machine, mac, service, version } = &mut self.devices[number].place else { return };
        *version += 1;
        let told = told(*version);
        let txt = [("mac", mac.as_str()), ("project_name", "soak.sensor"), ("project_version", &told)];
        self.machines[*machine].set_txt(service.expect("one that is there is announced"), &txt);
        self.shared.record.event("changed", &self.devices[number].endpoint, &told);
    }

    /// Machines lose their power, and get it back.
    fn power(&mut self) {
        let now = Instant::now();
        if let Some((machine, until)) = self.dark {
            if now >= until {
                self.machines[machine].power_on();
                let back: Vec<usize> = (0..self.devices.len()).filter(|&number| self.is_dark(number)).collect();
                self.dark = None;
                for number in back {
                    if matches!(&self.devices[number].place, Place::Machine { service: Some(_), .. }) {
                        self.come(number, "back");
                    }
                }
            }
            return;
        }
        if now < self.next_outage {
            return;
        }
        let [least, most] = OUTAGES;
        self.next_outage = now + least + (most - least).mul_f64(self.rng.f64());
        let [least, most] = OUTAGE;
        let length = least + (most - least).mul_f64(self.rng.f64());
        if self.shared.is_compared(now, now + length + GUARD) {
            return;
        }
        let machine = self.rng.usize(..self.machines.len());
        self.machines[machine].power_off();
        self.dark = Some((machine, now + length));
        self.next_outage += length;
        self.shared.record.event("outage", &format!("floor-{machine}"), &format!("{:.0} s", length.as_secs_f64()));
        for number in 0..self.devices.len() {
            if self.is_dark(number) && self.is_present(number) {
                self.set(number, false, "lost");
            }
        }
    }
}

fn told(version: u32) -> String {
    format!("1.{}.{}", version / 10, version % 10)
}
