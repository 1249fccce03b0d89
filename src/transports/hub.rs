//! USB hubs whose ports are switched off and on again: a board that hangs is disconnected, and loses its supply where the hub can take
//! it away.
//!
//! Linux 6.0 and later have a file `disable` for each port of a hub (Documentation/ABI/testing/sysfs-bus-usb). It is there whether or
//! not the hub switches the supply of single ports, which only its class descriptor tells (USB 2.0, 11.23.2.1, wHubCharacteristics);
//! without that, the board is disconnected and enumerated anew, and keeps its supply. A USB 3 socket is a port of two hubs, one of
//! them of USB 2: its supply goes when both are off.
//!
//! What is switched off is noted on the disk before, and switched on again by whoever comes next: the call itself, its being dropped,
//! or the next start. Not here: whether a board may be treated so. Driven by `gateway`, over the board's lease.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use globset::{GlobSet, GlobSetBuilder};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::settings::{HubPower, SerialSettings};

/// So long a port stays off: capacitors of boards hold their supply for a second or two.
const OFF: Duration = Duration::from_secs(3);
/// How long what hangs on a port may take to be there again.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);
/// A hub's `bDeviceClass`.
const HUB_CLASS: &str = "09";
/// So many notes are looked at; more ports are never off at once.
const MOST_NOTES: usize = 256;
/// Longest file that is read.
const MAX_FILE: u64 = 64;
/// Longest name of a socket: seven tiers (USB 2.0, 4.1.1).
const MAX_NAME: usize = 40;

/// Switches ports. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Hubs {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The kernel's list of USB devices.
    devices: PathBuf,
    /// What is switched off is noted here.
    notes: PathBuf,
    power: HubPower,
    sockets: GlobSet,
}

/// Why a port was not switched.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The site does not want it.
    #[error("{0}")]
    NotWanted(String),
    /// There is no switch.
    #[error("no USB hub has a switch for socket {socket}: {file} is not there (it takes Linux 6.0)")]
    NoSwitch {
        /// The socket.
        socket: String,
        /// The file that was looked for.
        file: PathBuf,
    },
    /// Others would lose their supply.
    #[error("USB socket {socket} carries {what}: only a board by itself is switched off")]
    Carries {
        /// The socket.
        socket: String,
        /// What hangs there.
        what: String,
    },
    /// The file may not be written.
    #[error(
        "{file} may not be written: run as root, or have a udev rule give the gateway's group write access to it (see [serial] hub_power)"
    )]
    NotPermitted {
        /// Which.
        file: PathBuf,
    },
    /// The service may not write below `/sys`.
    #[error(
        "{file} cannot be written, since /sys is read-only for the gateway: its unit's ProtectKernelTunables forbids it"
    )]
    ReadOnly {
        /// Which.
        file: PathBuf,
    },
    /// Something else went wrong.
    #[error("{file}: {error}")]
    Failed {
        /// With which file.
        file: PathBuf,
        /// What.
        #[source]
        error: io::Error,
    },
    /// A thread of ours broke off.
    #[error("switching broke off by a fault of the gateway")]
    BrokeOff,
}

impl Hubs {
    /// `sys` is where the kernel's sysfs is, `/sys` on this machine; `state` is the gateway's folder. The settings were checked with
    /// the configuration; a pattern that is none fits nothing.
    pub fn new(sys: &Path, state: &Path, settings: &SerialSettings) -> Self {
        let sockets = patterns(&settings.hub_ports).unwrap_or_default();
        let (devices, notes) = (sys.join("bus/usb/devices"), state.join("hub-ports"));
        Self { shared: Arc::new(Shared { devices, notes, power: settings.hub_power, sockets }) }
    }

    /// Whether a board in this socket may be switched off when nothing else is left.
    pub fn is_last_resort(&self, socket: &str) -> bool {
        self.shared.wanted(socket).is_ok()
    }

    /// Switches a socket, e.g. `1-1.4`, off and on again, and waits for a while until something is there again. Whoever calls has the
    /// lease of what hangs on it.
    ///
    /// # Errors
    /// Why it was not switched, or may still be off.
    pub async fn cycle(&self, socket: &str) -> Result<(), HubError> {
        let (shared, name) = (Arc::clone(&self.shared), socket.to_owned());
        let off = spawn_blocking(move || {
            let ports = shared.ports(&name)?;
            Off::begin(ports, &shared.notes)
        });
        let off = off.await.map_err(|_| HubError::BrokeOff)??;
        tracing::info!(socket, "its USB port is switched off");
        sleep(OFF).await;
        spawn_blocking(move || off.end()).await.map_err(|_| HubError::BrokeOff)??;
        tracing::info!(socket, "its USB port is switched on again");
        self.await_back(socket).await;
        Ok(())
    }

    /// What hangs on a socket is enumerated again, or does not come; whose business that is finds out by itself.
    async fn await_back(&self, socket: &str) {
        let (until, device) = (Instant::now() + BACK_WITHIN, self.shared.devices.join(socket));
        while !device.join("idVendor").exists() && Instant::now() < until {
            sleep(LOOK).await;
        }
    }

    /// Switches on what an earlier gateway has left off. Blocking.
    pub fn restore(&self) {
        let entries = fs::read_dir(&self.shared.notes).into_iter().flatten().flatten().take(MOST_NOTES);
        for note in entries.map(|entry| entry.path()) {
            let name = note.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(folder) = self.shared.folder_of_port(name) else {
                tracing::debug!(note = %note.display(), "no port is called so");
                continue;
            };
            let port = Port { folder };
            match port.restore() {
                Ok(true) => tracing::warn!(port = name, "switched on a USB port that an earlier gateway left off"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(port = name, %error, "a USB port that an earlier gateway left off stays off");
                    continue;
                }
            }
            if let Err(error) = fs::remove_file(&note) {
                tracing::warn!(note = %note.display(), %error, "a note on a USB port cannot be removed");
            }
        }
    }

    /// What can be switched here, for `nuncio check`. Blocking.
    pub fn survey(&self) -> Survey {
        let hubs = fs::read_dir(&self.shared.devices).into_iter().flatten().flatten().map(|entry| entry.path());
        let ports = hubs.filter(|path| is_interface(path)).flat_map(|path| ports_of(&path));
        let mut survey = Survey { power: self.shared.power, switches: 0, writable: 0 };
        for port in ports {
            survey.switches += 1;
            survey.writable += usize::from(OpenOptions::new().write(true).open(port.switch()).is_ok());
        }
        survey
    }
}

/// What can be switched on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// What the site wants.
    pub power: HubPower,
    /// Ports with a switch.
    pub switches: usize,
    /// Those that the gateway may write to.
    pub writable: usize,
}

/// Reads patterns of sockets.
///
/// # Errors
/// The number of the one that is none, and why.
pub fn patterns(texts: &[String]) -> Result<GlobSet, (usize, globset::Error)> {
    let mut all = GlobSetBuilder::new();
    for (at, text) in texts.iter().enumerate() {
        all.add(globset::Glob::new(text).map_err(|error| (at, error))?);
    }
    all.build().map_err(|error| (0, error))
}

impl Shared {
    fn wanted(&self, socket: &str) -> Result<(), HubError> {
        match self.power {
            HubPower::Never => Err(HubError::NotWanted("`[serial] hub_power` is \"never\"".to_owned())),
            HubPower::LastResort if !self.sockets.is_match(socket) => {
                Err(HubError::NotWanted(format!("`[serial] hub_ports` does not name USB socket {socket}")))
            }
            HubPower::LastResort => Ok(()),
        }
    }

    /// The ports that a board's socket is, and nobody else's.
    fn ports(&self, socket: &str) -> Result<Vec<Port>, HubError> {
        self.wanted(socket)?;
        let folder = self.folder_of_socket(socket).ok_or_else(|| self.no_switch(socket, &self.devices.join(socket)))?;
        let port = Port { folder };
        if !port.switch().exists() {
            return Err(self.no_switch(socket, &port.switch()));
        }
        let carries = |what: String| HubError::Carries { socket: socket.to_owned(), what };
        self.alone(socket).map_err(carries)?;
        let peer = fs::canonicalize(port.folder.join("peer")).ok().map(|folder| Port { folder });
        let peer = peer.filter(|peer| peer.switch().exists());
        if peer.as_ref().is_some_and(|peer| peer.folder.join("device").exists()) {
            return Err(carries("a USB 3 device as well".to_owned()));
        }
        Ok(peer.into_iter().chain([port]).collect())
    }

    fn no_switch(&self, socket: &str, file: &Path) -> HubError {
        HubError::NoSwitch { socket: socket.to_owned(), file: file.to_owned() }
    }

    /// Whether nothing but a board hangs on a socket, or nothing at all.
    fn alone(&self, socket: &str) -> Result<(), String> {
        let device = self.devices.join(socket);
        if text(&device.join("bDeviceClass")).is_some_and(|class| class == HUB_CLASS) {
            return Err("a hub".to_owned());
        }
        let below = format!("{socket}.");
        let names = fs::read_dir(&self.devices).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let other = names.into_iter().find(|name| name.to_string_lossy().starts_with(&below));
        other.map_or(Ok(()), |name| Err(format!("{} behind it", name.to_string_lossy())))
    }

    /// `1-1.4` is port 4 of hub `1-1`, `1-2` port 2 of the root hub of bus 1.
    fn folder_of_socket(&self, socket: &str) -> Option<PathBuf> {
        if !is_socket(socket) {
            return None;
        }
        let (hub, port) = match socket.rsplit_once('.') {
            Some((hub, port)) => (hub.to_owned(), port),
            None => socket.split_once('-').map(|(bus, port)| (format!("usb{bus}"), port))?,
        };
        self.folder_of_port(&format!("{hub}-port{port}"))
    }

    /// `1-1-port4` lies in the hub's interface `1-1:1.0`, `usb1-port2` in the root hub's, `1-0:1.0`.
    fn folder_of_port(&self, name: &str) -> Option<PathBuf> {
        let (hub, number) = name.rsplit_once("-port")?;
        let digits = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(number) {
            return None;
        }
        let interface = match hub.strip_prefix("usb") {
            Some(bus) if digits(bus) => format!("{bus}-0:1.0"),
            Some(_) => return None,
            None if is_socket(hub) => format!("{hub}:1.0"),
            None => return None,
        };
        Some(self.devices.join(interface).join(name))
    }
}

/// `1-1.4`: the bus, and the ports on the way.
fn is_socket(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.split_once('-');
    name.len() <= MAX_NAME && parts.is_some_and(|(bus, ports)| number(bus) && ports.split('.').all(number))
}

/// `1-1:1.0`.
fn is_interface(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(':'))
}

fn ports_of(interface: &Path) -> Vec<Port> {
    let entries = fs::read_dir(interface).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_port = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains("-port"));
    entries.filter(is_port).map(|folder| Port { folder }).filter(|port| port.switch().exists()).collect()
}

/// One port of one hub.
#[derive(Debug, PartialEq, Eq)]
struct Port {
    folder: PathBuf,
}

impl Port {
    fn switch(&self) -> PathBuf {
        self.folder.join("disable")
    }

    /// The name of its note.
    fn name(&self) -> &str {
        self.folder.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    fn set(&self, off: bool) -> Result<(), HubError> {
        let file = self.switch();
        let written = OpenOptions::new().write(true).open(&file);
        written.and_then(|mut switch| switch.write_all(if off { b"1" } else { b"0" })).map_err(|error| {
            match error.kind() {
                io::ErrorKind::PermissionDenied => HubError::NotPermitted { file },
                io::ErrorKind::ReadOnlyFilesystem => HubError::ReadOnly { file },
                _ => HubError::Failed { file, error },
            }
        })
    }

    /// Switches it on where it is off; whether it was. A hub that has gone meanwhile comes back with its ports on.
    fn restore(&self) -> Result<bool, HubError> {
        match text(&self.switch()) {
            Some(state) if state == "1" => self.set(false).map(|()| true),
            _ => Ok(false),
        }
    }
}

/// Ports that are off. They are switched on when this goes, however it goes.
#[derive(Debug)]
struct Off {
    ports: Vec<Port>,
    notes: PathBuf,
}

impl Off {
    /// Notes the ports, then switches them off. One that cannot be switched leaves none off.
    fn begin(ports: Vec<Port>, notes: &Path) -> Result<Self, HubError> {
        note(&ports, notes).map_err(|error| HubError::Failed { file: notes.to_owned(), error })?;
        let mut off = Self { ports: Vec::new(), notes: notes.to_owned() };
        let mut left = ports.into_iter();
        for port in left.by_ref() {
            let switched = port.set(true);
            let refused = matches!(switched, Err(HubError::NotPermitted { .. } | HubError::ReadOnly { .. }));
            if refused {
                off.forget(&port);
            } else {
                // One that failed on the way may be off all the same.
                off.ports.push(port);
            }
            if let Err(error) = switched {
                left.for_each(|port| off.forget(&port));
                return Err(error);
            }
        }
        Ok(off)
    }

    /// It was not touched, or is on again. Where its note cannot be removed, the next start finds the port on.
    fn forget(&self, port: &Port) {
        let _ = fs::remove_file(self.notes.join(port.name()));
    }

    /// Switches them on.
    fn end(mut self) -> Result<(), HubError> {
        self.switch_on()
    }

    /// In the other order. What stays off keeps its note.
    fn switch_on(&mut self) -> Result<(), HubError> {
        let mut failed = None;
        while let Some(port) = self.ports.pop() {
            match port.set(false) {
                Ok(()) => self.forget(&port),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Drop for Off {
    fn drop(&mut self) {
        if !self.ports.is_empty()
            && let Err(error) = self.switch_on()
        {
            tracing::error!(%error, "a USB port stays off; the next start tries again");
        }
    }
}

/// Names ports on the disk, before anything is off.
fn note(ports: &[Port], notes: &Path) -> io::Result<()> {
    fs::create_dir_all(notes)?;
    for port in ports {
        let note = notes.join(port.name());
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(note)?.sync_all()?;
    }
    File::open(notes)?.sync_all()
}

/// A small file's text, trimmed.
fn text(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A made-up sysfs and a state folder.
    struct Bench {
        folder: tempfile::TempDir,
    }

    impl Bench {
        /// A hub `1-1` with four ports, the third of which has a board, and the root hub's first two.
        fn new() -> Self {
            let bench = Self { folder: tempfile::tempdir().expect("a folder") };
            for (interface, port) in [("1-1:1.0", "1-1-port3"), ("1-1:1.0", "1-1-port4"), ("1-0:1.0", "usb1-port1")] {
                bench.file(&format!("sys/bus/usb/devices/{interface}/{port}/disable"), "0\n");
            }
            bench.device("1-1", HUB_CLASS);
            bench.device("1-1.3", "00");
            bench
        }

        fn file(&self, name: &str, text: &str) {
            let file = self.path(name);
            fs::create_dir_all(file.parent().expect("below the folder")).expect("a folder");
            fs::write(file, text).expect("written");
        }

        fn device(&self, socket: &str, class: &str) {
            self.file(&format!("sys/bus/usb/devices/{socket}/bDeviceClass"), class);
            self.file(&format!("sys/bus/usb/devices/{socket}/idVendor"), "2341\n");
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn hubs(&self, power: HubPower, ports: &[&str]) -> Hubs {
            let sockets = patterns(&ports.iter().map(|&port| port.to_owned()).collect::<Vec<_>>()).expect("patterns");
            let (devices, notes) = (self.path("sys/bus/usb/devices"), self.path("state/hub-ports"));
            Hubs { shared: Arc::new(Shared { devices, notes, power, sockets }) }
        }

        fn switch(&self, interface: &str, port: &str) -> String {
            text(&self.path(&format!("sys/bus/usb/devices/{interface}/{port}/disable"))).expect("it is there")
        }

        fn notes(&self) -> Vec<String> {
            let entries = fs::read_dir(self.path("state/hub-ports")).into_iter().flatten().flatten();
            let mut notes: Vec<String> =
                entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            notes.sort();
            notes
        }
    }

    fn everywhere(bench: &Bench) -> Hubs {
        bench.hubs(HubPower::LastResort, &["*"])
    }

    #[tokio::test]
    async fn a_port_is_noted_switched_off_and_on_again() {
        let bench = Bench::new();
        let hubs = everywhere(&bench);
        let cycle = tokio::spawn(async move { hubs.cycle("1-1.3").await });
        while bench.switch("1-1:1.0", "1-1-port3") != "1" && !cycle.is_finished() {
            tokio::task::yield_now().await;
        }
        assert_eq!(bench.notes(), ["1-1-port3"]);
        cycle.await.expect("no panic").expect("switched");
        assert_eq!((bench.switch("1-1:1.0", "1-1-port3").as_str(), bench.notes().len()), ("0", 0));
        assert_eq!(bench.switch("1-1:1.0", "1-1-port4"), "0", "the one beside it was left alone");
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_switches_it_on_again() {
        let bench = Bench::new();
        let hubs = everywhere(&bench);
        let cycle = tokio::spawn(async move { hubs.cycle("1-1.3").await });
        while bench.switch("1-1:1.0", "1-1-port3") != "1" && !cycle.is_finished() {
            tokio::task::yield_now().await;
        }
        cycle.abort();
        assert!(cycle.await.expect_err("it was dropped").is_cancelled());
        assert_eq!((bench.switch("1-1:1.0", "1-1-port3").as_str(), bench.notes().len()), ("0", 0));
    }

    #[test]
    fn the_next_start_switches_on_what_a_killed_one_left_off() {
        let bench = Bench::new();
        let hubs = everywhere(&bench);
        let off = Off::begin(hubs.shared.ports("1-1.3").expect("a port"), &hubs.shared.notes).expect("switched");
        // As SIGKILL does: nothing is run any more.
        std::mem::forget(off);
        bench.file("state/hub-ports/1-1-port9", "");
        bench.file("state/hub-ports/..-portx", "");
        hubs.restore();
        assert_eq!(bench.switch("1-1:1.0", "1-1-port3"), "0");
        assert_eq!(bench.notes(), ["..-portx"], "a hub that is gone has nothing off, and what is no port stays");
        assert_eq!(bench.switch("1-1:1.0", "1-1-port4"), "0");
    }

    #[test]
    fn a_socket_of_usb_3_is_two_ports_and_carries_nothing_else() {
        let bench = Bench::new();
        bench.file("sys/bus/usb/devices/2-1:1.0/2-1-port3/disable", "0\n");
        let (port, peer) =
            (bench.path("sys/bus/usb/devices/1-1:1.0/1-1-port3"), bench.path("sys/bus/usb/devices/2-1:1.0/2-1-port3"));
        symlink(&peer, port.join("peer")).expect("a link");
        let hubs = everywhere(&bench);
        let ports = hubs.shared.ports("1-1.3").expect("ports");
        let names: Vec<&str> = ports.iter().map(Port::name).collect();
        assert_eq!(names, ["2-1-port3", "1-1-port3"]);
        bench.device("2-1.3", "08");
        symlink(bench.path("sys/bus/usb/devices/2-1.3"), peer.join("device")).expect("a link");
        let refused = hubs.shared.ports("1-1.3").expect_err("a disk would lose its supply");
        assert!(matches!(refused, HubError::Carries { .. }), "{refused}");
    }

    #[test]
    fn what_carries_others_or_is_not_wanted_or_has_no_switch_is_left_alone() {
        let bench = Bench::new();
        bench.device("1-1.4", "00");
        bench.device("1-1.4.1", "00");
        let refused = |hubs: &Hubs, socket: &str| hubs.shared.ports(socket).expect_err("refused").to_string();
        let hubs = everywhere(&bench);
        for (socket, why) in [
            ("1-1", "carries a hub"),
            ("1-1.4", "carries 1-1.4.1 behind it"),
            ("1-1.7", "no USB hub has a switch"),
            ("3-2", "3-0:1.0/usb3-port2/disable is not there"),
            ("1-1.3/../1-1.4", "no USB hub has a switch"),
            ("", "no USB hub has a switch"),
        ] {
            let told = refused(&hubs, socket);
            assert!(told.contains(why), "{socket}: {told}");
        }
        assert!(refused(&bench.hubs(HubPower::Never, &["*"]), "1-1.3").contains("`[serial] hub_power` is \"never\""));
        let some = bench.hubs(HubPower::LastResort, &["1-2.*", "2-*"]);
        assert!(refused(&some, "1-1.3").contains("`[serial] hub_ports` does not name USB socket 1-1.3"));
        assert!(some.is_last_resort("1-2.4") && !some.is_last_resort("1-1.3"));
        assert_eq!(bench.notes(), Vec::<String>::new());
    }

    #[test]
    fn a_port_that_cannot_be_written_is_told_with_the_remedy_and_leaves_nothing_off() {
        let bench = Bench::new();
        bench.file("sys/bus/usb/devices/2-1:1.0/2-1-port3/disable", "0\n");
        let ports = ["1-1:1.0/1-1-port3", "2-1:1.0/2-1-port3"];
        let [good, bad] = ports.map(|port| Port { folder: bench.path(&format!("sys/bus/usb/devices/{port}")) });
        fs::remove_file(bad.switch()).expect("ours");
        fs::create_dir(bad.switch()).expect("a folder is no file");
        let refused = Off::begin(vec![good, bad], &bench.path("state/hub-ports")).expect_err("one is no file");
        assert!(matches!(refused, HubError::Failed { .. }), "{refused}");
        assert_eq!(bench.switch("1-1:1.0", "1-1-port3"), "0");
        let file = bench.path("x");
        assert!(HubError::NotPermitted { file: file.clone() }.to_string().contains("udev rule"));
        assert!(HubError::ReadOnly { file }.to_string().contains("ProtectKernelTunables"));
    }

    #[test]
    fn switches_are_counted() {
        let bench = Bench::new();
        let power = HubPower::LastResort;
        assert_eq!(everywhere(&bench).survey(), Survey { power, switches: 3, writable: 3 });
    }
}
