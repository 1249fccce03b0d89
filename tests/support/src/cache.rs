//! Where the built boards, images and foreign programs lie.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::process;

/// The repository's root, without `..` in it: Chromium reads no file whose path has one.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate lies two folders deep")
}

/// An AVR image or program of `tests/world`, by its file name.
pub fn avr_image(name: &str) -> PathBuf {
    world("avr", name)
}

/// An ESP image or library of `tests/world`, by its file name.
pub fn esp_image(name: &str) -> PathBuf {
    world("esp", name)
}

/// The library that makes a disk fail.
pub(crate) fn faultfs() -> PathBuf {
    world("fault", "faultfs.so")
}

/// StandardFirmata for an ATmega328P.
pub fn firmata_image() -> PathBuf {
    peer("avr", "firmata/StandardFirmata.hex")
}

/// Real ESPHome firmware for this machine; it listens on TCP port 6053.
pub fn esphome_firmware() -> PathBuf {
    world("esphome", "kitchen")
}

/// A device with an encrypted native API, made of foreign libraries; its arguments are still to be given.
pub fn noise_server() -> Command {
    let mut command = Command::new(peer("esphome", "esphome/bin/python"));
    command.arg(repository().join("tests/world/esphome/noise_server.py"));
    command
}

/// The Python that has smpclient, and with it what `tests/world/smpfake.py` needs.
pub fn smp_python() -> PathBuf {
    peer("ask", "smpclient/bin/python")
}

/// A discovery program of Arduino's, which finds a device that is none every two seconds.
pub fn dummy_discovery() -> PathBuf {
    peer("discovery", "discovery/dummy-discovery")
}

/// Home Assistant's own judgement: see `tests/peers/hass-check.py`.
pub(crate) fn hass_check() -> Command {
    let mut command = Command::new(peer("mqtt", "hass/bin/python"));
    command.arg(repository().join("tests/peers/hass-check.py"));
    command
}

/// The folder of the Improv SDK.
pub fn improv_sdk() -> PathBuf {
    peer("ask", "improv/serial.js").parent().expect("a file lies in a folder").to_owned()
}

/// A foreign program or file below `.cache/peers`. Where it is missing the test fails and says what to run.
pub(crate) fn peer(group: &str, path: &str) -> PathBuf {
    let found = cache().join("peers").join(path);
    let folder = cache().join("peers").join(path.split('/').next().expect("a split has a first part"));
    assert!(
        folder.join(".stamp").exists() && found.exists(),
        "the peer `{group}` is not installed ({} is missing); run: make peers",
        found.display()
    );
    found
}

/// A program on the PATH.
pub(crate) fn program(group: &str, name: &str) -> PathBuf {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).map(|dir| dir.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("`{name}` of the peer group `{group}` is not installed; run: make peers"))
}

/// The Debian that containers are made of.
pub(crate) fn debian_root() -> PathBuf {
    let folder = cache().join("packages");
    assert!(folder.join(".stamp").exists(), "{} is not built; run: make world", folder.display());
    folder.join("root")
}

fn cache() -> PathBuf {
    std::env::var_os("NUNCIO_CACHE").map_or_else(|| repository().join(".cache"), PathBuf::from)
}

fn world(part: &'static str, name: &str) -> PathBuf {
    built(part);
    let found = cache().join("world").join(part).join(name);
    assert!(found.exists(), "{} does not exist: is the name right?", found.display());
    found
}

/// Builds a part of the world once per process; some milliseconds when nothing has changed.
fn built(part: &'static str) {
    static AVR: OnceLock<()> = OnceLock::new();
    static ESP: OnceLock<()> = OnceLock::new();
    static ESPHOME: OnceLock<()> = OnceLock::new();
    static FAULT: OnceLock<()> = OnceLock::new();
    let once = match part {
        "avr" => &AVR,
        "esp" => &ESP,
        "esphome" => &ESPHOME,
        _ => &FAULT,
    };
    once.get_or_init(|| {
        let mut build = Command::new(repository().join("tests/world/build.sh"));
        build.arg(part);
        let (status, output) = process::run("tests/world/build.sh", &build, Duration::from_secs(300));
        assert!(status.success(), "the test world cannot be built (make peers gets what it needs):\n{output}");
    });
}
