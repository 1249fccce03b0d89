//! Where machines come from: the disk of `build.sh`, and a snapshot of the machine that it boots into.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use world::{Leshan, get, repository};

use crate::machine::{self, Machine, Start};

const SNAPSHOT: &str = "booted";
/// What systemd takes to be through with everything that a boot starts.
const SETTLE: Duration = Duration::from_secs(300);

/// What all cases share.
pub struct Lab {
    cache: PathBuf,
    nuncio: PathBuf,
    usbworld: PathBuf,
    /// A real server, on the host, shared by all cases.
    pub leshan: Leshan,
}

impl Lab {
    /// Starts the server, and boots the machine once where no snapshot of it is there. `bins` is where the built programs
    /// are.
    pub fn open(bins: &Path) -> Self {
        let cache = std::env::var_os("NUNCIO_CACHE").map_or_else(|| repository().join(".cache"), PathBuf::from);
        let cache = cache.join("vm").canonicalize().expect("tests/vm/build.sh has run");
        let stripped = ["nuncio", "usbworld"].map(|name| stripped(&bins.join(name), &cache.join(name)));
        let [nuncio, usbworld] = stripped;
        let lab = Self { cache, nuncio, usbworld, leshan: Leshan::start("leshan") };
        lab.boot();
        lab
    }

    /// A machine of its own, just booted, with the programs of ours in it.
    pub fn machine(&self) -> Machine {
        // What a failed case has left behind.
        if get(self.leshan.http_port(), "/api/clients").is_none_or(|answer| answer.json() != json!([])) {
            self.leshan.restart();
        }
        let folder = tempfile::Builder::new().prefix("nuncio-vm-").tempdir().expect("a temporary folder");
        let disk = folder.path().join("disk.qcow2");
        fs::copy(self.cache.join("booted.qcow2"), &disk).expect("a copy of the snapshot");
        let image = self.cache.join("image");
        let mut machine = Machine::start(Start { image: &image, disk, snapshot: Some(SNAPSHOT), folder });
        machine.copy(&self.nuncio, "/usr/local/bin/nuncio");
        machine.copy(&self.usbworld, "/usr/local/bin/usbworld");
        machine
    }

    /// Makes the snapshot that all machines go on from. It holds for one image, one QEMU and one set of devices.
    fn boot(&self) {
        let (overlay, stamp) = (self.cache.join("booted.qcow2"), self.cache.join("booted.stamp"));
        let image = self.cache.join("image");
        let built = fs::read_to_string(image.join(".stamp")).expect("tests/vm/build.sh has run");
        let wanted =
            format!("{built}{}{}", output("qemu-system-x86_64", &["--version"]), machine::hardware().join(" "));
        if overlay.exists() && fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
            return;
        }
        let began = Instant::now();
        let _ = (fs::remove_file(&stamp), fs::remove_file(&overlay));
        let base = image.join("root.ext4").display().to_string();
        output("qemu-img", &["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &base, &overlay.display().to_string()]);
        let folder = tempfile::Builder::new().prefix("nuncio-vm-").tempdir().expect("a temporary folder");
        let mut machine = Machine::start(Start { image: &image, disk: overlay, snapshot: None, folder });
        let booted = began.elapsed();
        let state = machine.shell_within("systemctl is-system-running --wait", SETTLE).output;
        assert_eq!(state.trim(), "running", "{}", machine.must("systemctl --failed --no-legend"));
        machine.monitor("human-monitor-command", &json!({ "command-line": format!("savevm {SNAPSHOT}") }));
        machine.monitor("quit", &json!({}));
        fs::write(&stamp, wanted).expect("a writable cache");
        say(&format!("booted in {booted:.1?}, settled and kept after {:.1?}", began.elapsed()));
    }
}

/// A program without what only a debugger needs: the guest reads it over a slow bus.
fn stripped(program: &Path, to: &Path) -> PathBuf {
    assert!(program.exists(), "{} is not built; run: make test-vm", program.display());
    output("strip", &["-o", &to.display().to_string(), &program.display().to_string()]);
    to.to_owned()
}

fn output(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("cannot start {program}: {error}; run: make test-vm"));
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[expect(clippy::print_stdout, reason = "times are part of what a run tells")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
