//! The world that end-to-end tests happen in: simulated boards, foreign servers, and the daemon as a process.
//!
//! Everything here is started from the outside, as a user would: nothing of nuncio is imported, the daemon is the built
//! binary with a configuration file in a folder of its own. What is started lives as long as its value; its output is
//! printed when the test fails. Programs that are missing are a failure that says what to run, never a skip.
//!
//! `tests/world` builds the boards, `tests/peers` gets the foreign programs; this crate starts and drives both. It is
//! not for unit tests: those have `testbed`, without processes and with virtual time.

mod aftermath;
mod board;
mod browser;
mod cache;
mod clock;
mod container;
mod curl;
mod daemon;
mod disk;
mod esp;
mod files;
mod foreign;
mod hass;
mod http;
mod interrupt;
mod lan;
mod leftovers;
mod leonardo;
mod leshan;
mod mosquitto;
mod node;
mod ports;
mod powercut;
mod process;
mod scene;
pub mod soak;
mod status;
mod terminal;
mod texts;
mod tls;
mod tools;
pub mod torture;
mod tty;
mod usb;
mod wait;
mod webhook;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

pub use aftermath::{Version, Victim};
pub use board::{BoardBuilder, Model, SimBoard, Stat};
pub use browser::Browser;
pub use cache::{
    avr_image, dummy_discovery, esp_image, esphome_firmware, firmata_image, improv_sdk, noise_server, repository,
    smp_python,
};
pub use clock::WallClock;
pub use container::{Container, Ran};
pub use curl::{Curled, curl, curling, parsed_metrics, schemathesis};
pub use daemon::{Cli, Daemon, DaemonBuilder};
pub use disk::{Disk, Fault};
pub use esp::{EspBuilder, EspFake};
pub use files::{Behaviour, HttpFiles, Request};
pub use foreign::ForeignClient;
pub use hass::{hass_entities, hass_offers_update};
pub use http::{Answer, get, request};
pub use interrupt::stop_at_interrupt;
pub use lan::{Addresses, Announced, Gateway, Lan, Machine};
pub use leftovers::Leftovers;
pub use leonardo::Leonardo;
pub use leshan::{Events, Leshan, LeshanAnswer, PushFormat};
pub use mosquitto::{Listener, Message, Mosquitto, MosquittoBuilder};
pub use node::NodeServer;
pub use ports::{free_both, free_tcp, free_udp};
pub use powercut::{Changes, Loss};
pub use process::{Process, User, processes_naming};
pub use scene::{Firmware, Scene};
pub use status::{DeviceView, ServerView};
pub use terminal::Terminal;
pub use texts::{commands, rust_files};
pub use tls::Authority;
pub use tools::{Esptool, avrdude, esptool};
pub use tty::Tty;
pub use usb::UsbBus;
pub use wait::{eventually, holds};
pub use webhook::WebhookServer;

/// One test's world: a temporary folder, a seed, and the binary under test.
pub struct World {
    dir: tempfile::TempDir,
    nuncio: PathBuf,
    seed: u64,
    user: Option<User>,
}

/// A [`World`] around the binary that cargo built for this test.
#[macro_export]
macro_rules! world {
    () => {
        $crate::World::new(env!("CARGO_BIN_EXE_nuncio"))
    };
}

impl World {
    /// An empty world. `nuncio` is the binary's path; see [`world!`].
    pub fn new(nuncio: impl Into<PathBuf>) -> Self {
        let dir = tempfile::Builder::new().prefix("nuncio-").tempdir().expect("a temporary folder");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("a folder that others may enter");
        Self { dir, nuncio: nuncio.into(), seed: seed(), user: None }
    }

    /// The same for one of several worlds that share their seed: their names differ by the number.
    pub(crate) fn numbered(nuncio: &Path, number: u32) -> Self {
        let mut world = Self::new(nuncio);
        world.seed = fastrand::Rng::with_seed(world.seed ^ u64::from(number) << 32).u64(..);
        world
    }

    /// From here on boards and daemons run as an unprivileged user, from copies in a folder that this user may enter.
    /// Only root can do this.
    #[must_use]
    pub fn unprivileged(mut self) -> Self {
        let user = User::nobody_special();
        let home = self.dir.path().join("home");
        fs::create_dir(&home).expect("a home for the unprivileged user");
        user.own(&home);
        self.user = Some(user);
        self
    }

    /// The folder of this world; it goes with it. Set `NUNCIO_KEEP=1` to keep it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The folder stays when this world goes.
    pub(crate) fn keep(&mut self) {
        self.dir.disable_cleanup(true);
    }

    /// Where boards and daemons of this world keep their files: theirs to write, whoever they run as.
    pub fn home(&self) -> PathBuf {
        if self.user.is_some() { self.dir().join("home") } else { self.dir().to_owned() }
    }

    /// Writes a file below [`home`](Self::home), readable for all.
    pub fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home().join(name);
        fs::create_dir_all(path.parent().expect("a path below home has a parent")).expect("a folder for the file");
        fs::write(&path, contents).expect("a writable folder");
        path
    }

    /// Writes an executable script below [`home`](Self::home).
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our own file");
        path
    }

    /// What chance there is in this world comes from here; printed when the test fails, set by `NUNCIO_SEED`.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// A name that no other test uses, for endpoints at servers that several tests share.
    pub fn name(&self, stem: &str) -> String {
        format!("{stem}-{:08x}", self.seed & 0xffff_ffff)
    }

    /// The endpoint name of this world's gateways themselves.
    pub fn own_endpoint(&self) -> String {
        self.name("gateway")
    }

    /// An Arduino Uno that runs this image of [`avr_image`], e.g. `uno-1.2.0.hex`.
    pub fn uno(&self, image: &str) -> SimBoard {
        self.board(Model::Uno).with(&avr_image(image)).start()
    }

    /// Any AVR board, not yet started.
    pub fn board(&self, model: Model) -> BoardBuilder<'_> {
        BoardBuilder::new(self, model)
    }

    /// An Espressif chip, not yet started.
    pub fn esp(&self, chip: &str) -> EspBuilder<'_> {
        EspBuilder::new(self, chip)
    }

    /// A small HTTP server for images.
    pub fn http(&self) -> HttpFiles {
        HttpFiles::start()
    }

    /// An MQTT broker, not yet configured; its files are in a folder of this name.
    pub fn mosquitto(&self, name: &str) -> MosquittoBuilder {
        MosquittoBuilder::new(self, name)
    }

    /// A daemon, not yet configured.
    pub fn daemon(&self) -> DaemonBuilder<'_> {
        DaemonBuilder::new(self)
    }

    /// The binary under test, where this world's user may execute it.
    pub fn nuncio(&self) -> PathBuf {
        self.executable(&self.nuncio)
    }

    /// A process of this world's user that has a port open and locked, as a serial monitor would.
    pub fn holder(&self, port: &Path) -> Process {
        let mut command = std::process::Command::new("flock");
        command.args(["--exclusive", "--nonblock", "--no-fork"]).arg(port).args([
            "sh",
            "-c",
            "echo held; exec sleep 600",
        ]);
        let mut process = Process::start("holder", &command, self.user());
        process.line_after(0, std::time::Duration::from_secs(20), |line| (line == "held").then_some(()));
        process
    }

    pub(crate) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// The program itself, or a copy below this world for an unprivileged user.
    pub(crate) fn executable(&self, program: &Path) -> PathBuf {
        if self.user.is_none() {
            return program.to_owned();
        }
        let copy = self.dir().join(program.file_name().expect("a program has a name"));
        if !copy.exists() {
            fs::copy(program, &copy).expect("a copy of the program");
        }
        copy
    }
}

/// The seed that `NUNCIO_SEED` gives, else any.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("NUNCIO_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| fastrand::u64(..))
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            process::say(&format!("world: seed {} (NUNCIO_SEED), folder {}", self.seed, self.dir.path().display()));
        }
        if std::env::var_os("NUNCIO_KEEP").is_some() {
            self.dir.disable_cleanup(true);
        }
    }
}
