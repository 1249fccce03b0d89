//! Where machines come from: the disk of `build.sh`, a snapshot of the machine that it boots into, which is kept, and one
//! with the programs under test in it, which each run makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use world::{Leshan, World, get, repository};

use crate::machine::{self, Machine};

/// The snapshot's name in a disk.
const SNAPSHOT: &str = "now";
/// What systemd takes to be through with everything that a boot starts.
const SETTLE: Duration = Duration::from_secs(300);

/// What all cases share.
pub struct Lab {
    image: PathBuf,
    /// This run's files.
    folder: tempfile::TempDir,
    /// The program under test.
    nuncio: PathBuf,
    /// A real server, on the host, shared by all cases.
    pub leshan: Leshan,
}

impl Lab {
    /// Starts the server, and makes the machine that cases start from. `bins` is where the built programs are.
    pub fn open(bins: &Path) -> Self {
        let cache = std::env::var_os("NUNCIO_CACHE").map_or_else(|| repository().join(".cache"), PathBuf::from);
        let cache = cache.join("vm").canonicalize();
        let cache = cache.expect("the machine's disk is in the cache; run: make test-vm");
        let lab = Self {
            image: cache.join("image"),
            folder: folder(),
            nuncio: bins.join("nuncio"),
            leshan: Leshan::start("leshan"),
        };
        let booted = lab.booted(&cache);
        lab.equip(&booted, bins);
        lab
    }

    /// A machine of its own, just booted, with the programs of ours in it, and a server that knows nobody.
    pub fn machine(&self) -> Machine {
        // What a failed case has left behind.
        if get(self.leshan.http_port(), "/api/clients").is_none_or(|answer| answer.json() != json!([])) {
            self.leshan.restart();
        }
        self.restored(&self.disk())
    }

    /// A machine into which the package of the program under test has been installed.
    pub fn machine_with_package(&self) -> Machine {
        let mut machine = self.machine();
        machine.copy(World::new(&self.nuncio).package(), "/root/nuncio.deb");
        // As much as three minutes of xz in a slow guest.
        let done = machine.shell_within("rm /usr/local/bin/nuncio && dpkg --install /root/nuncio.deb", SETTLE * 2);
        assert_eq!(done.code, 0, "{}", done.output);
        machine
    }

    /// The disk that cases start from.
    fn disk(&self) -> PathBuf {
        self.folder.path().join("equipped.qcow2")
    }

    /// A machine on a copy of this disk.
    fn restored(&self, disk: &Path) -> Machine {
        let folder = folder();
        let copy = folder.path().join("disk.qcow2");
        fs::copy(disk, &copy).expect("a copy of the snapshot");
        Machine::start(&self.image, &copy, Some(SNAPSHOT), folder)
    }

    /// The booted machine: one for each disk, QEMU and set of devices.
    fn booted(&self, cache: &Path) -> PathBuf {
        let (overlay, stamp) = (cache.join("booted.qcow2"), cache.join("booted.stamp"));
        let built = fs::read_to_string(self.image.join(".stamp")).expect("a disk that is whole; run: make test-vm");
        let hardware = machine::hardware().join(" ");
        let wanted = format!("{SNAPSHOT} {built}{}{hardware}", output("qemu-system-x86_64", &["--version"]));
        if overlay.exists() && fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
            return overlay;
        }
        let began = Instant::now();
        let _ = (fs::remove_file(&stamp), fs::remove_file(&overlay));
        let base = self.image.join("root.ext4").display().to_string();
        output("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &base, &overlay.display().to_string()]);
        let mut machine = Machine::start(&self.image, &overlay, None, folder());
        let up = began.elapsed();
        let state = machine.shell_within("systemctl is-system-running --wait", SETTLE).output;
        assert_eq!(state.trim(), "running", "{}", machine.must("systemctl --failed --no-legend"));
        // Its Python takes eight seconds to begin with.
        machine.must("until journalctl -u world-radio -o cat | grep -qx ready; do sleep 0.2; done");
        machine.keep(SNAPSHOT);
        fs::write(&stamp, wanted).expect("a writable cache");
        say(&format!("booted in {up:.1?}, settled and kept after {:.1?}", began.elapsed()));
        overlay
    }

    /// Puts the programs into the machine: once for all cases, since the guest reads slowly.
    fn equip(&self, booted: &Path, bins: &Path) {
        let disk = self.disk();
        fs::copy(booted, &disk).expect("a copy of the snapshot");
        let mut machine = Machine::start(&self.image, &disk, Some(SNAPSHOT), folder());
        for name in ["nuncio", "usbworld"] {
            let program = bins.join(name);
            assert!(program.exists(), "{} is not built; run: make test-vm", program.display());
            // Without what only a debugger needs.
            let stripped = self.folder.path().join(name);
            output("strip", &["-o", &stripped.display().to_string(), &program.display().to_string()]);
            machine.copy(&stripped, &format!("/usr/local/bin/{name}"));
        }
        machine.keep(SNAPSHOT);
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("nuncio-vm-").tempdir().expect("a temporary folder")
}

fn output(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("cannot start {program}: {error}; run: make test-vm"));
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[expect(clippy::print_stdout, reason = "times are part of what a run tells")]
fn say(text: &str) {
    println!("{text}");
}
