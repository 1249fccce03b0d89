//! A Debian with systemd as its first process, in a systemd-nspawn container: where the package is installed. Needs root.
//!
//! Its files are those that `tests/packages/build.sh` has put together, under a layer that lives in memory and goes with the
//! container, as do all its processes. It has no network and no devices but ptys; its control groups are of version 2.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::cache::{avr_image, debian_root, program, repository};
use crate::process::{Process, children, run};
use crate::wait::eventually;
use crate::{World, board};

/// Ten times what booting, installing or any command in here takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the world's folder is inside.
const WORLD: &str = "/srv/world";
/// Where the simulated boards are inside.
const BOARDS: &str = "/srv/boards";

/// A control group of its own, so that two containers do not share one; the layer; a package that is there from the start;
/// and then systemd. `$0` is the Debian, `$1` the folder for the layer, `$2` the group, `$3` the package or nothing, the rest
/// are options of systemd-nspawn.
const BEGIN: &str = r#"
set -e
groups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
[ -n "$groups" ] || { groups=$1/groups; mkdir "$groups"; mount -t cgroup2 groups "$groups"; }
mkdir "$groups/$2"
echo $$ > "$groups/$2/cgroup.procs"
mount -t tmpfs -o mode=755 layer "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$0,upperdir=$1/upper,workdir=$1/work" debian "$1/root"
root=$1/root package=$3
shift 3
if [ -n "$package" ]; then
  cp "$package" "$root/package.deb"
  chroot "$root" dpkg --install /package.deb
  rm "$root/package.deb"
fi
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec systemd-nspawn --quiet --directory "$root" --private-network --register=no --keep-unit --console=pipe --boot "$@"
"#;

/// A container that has booted.
pub struct Container {
    /// Its first process, as this machine counts.
    leader: u32,
    world: PathBuf,
    group: String,
    process: Process,
}

/// What a command in a container gave back.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Whether it succeeded.
    pub success: bool,
    /// Both of its outputs.
    pub output: String,
}

impl World {
    /// The Debian package of the binary under test, built once for all tests of this process.
    pub fn package(&self) -> &'static Path {
        static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
        PACKAGE.get_or_init(|| {
            let folder = self.nuncio().parent().expect("a program lies in a folder").join("deb-for-tests");
            fs::remove_dir_all(&folder).ok();
            let mut command = Command::new(repository().join("packaging/deb.sh"));
            command.arg("--fast").arg("--binary").arg(self.nuncio()).arg("--output").arg(&folder);
            let (status, output) = run("packaging/deb.sh", &command, PATIENCE);
            assert!(status.success(), "{output}");
            let made = fs::read_dir(&folder).expect("its output").flatten().map(|entry| entry.path()).next();
            made.expect("a package was made")
        })
    }

    /// A container without the package.
    pub fn container(&self) -> Container {
        Container::boot(self, None)
    }

    /// A container that boots with the package installed.
    pub fn container_with(&self, package: &Path) -> Container {
        Container::boot(self, Some(package))
    }
}

impl Container {
    fn boot(world: &World, package: Option<&Path>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let group = format!("nuncio-world-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let layer = world.dir().join(&group);
        fs::create_dir(&layer).expect("a folder for the layer");
        let boards = avr_image("simboard");
        let boards = boards.parent().expect("a program lies in a folder").display();
        program("deb", "systemd-nspawn");
        let mut command = Command::new(program("deb", "unshare"));
        // Whatever becomes of the test: with the first of these, all processes end, those of the container among them.
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", BEGIN]).arg(debian_root()).arg(layer).arg(&group);
        command.arg(package.unwrap_or(Path::new("")));
        command.arg(format!("--bind={}:{WORLD}", world.dir().display())).arg(format!("--bind-ro={boards}:{BOARDS}"));
        let mut process = Process::start("container", &command, None);
        let leader = eventually("the container's first process", PATIENCE, || {
            assert!(process.try_wait().is_none(), "the container ended:\n{}", process.output());
            let child = child_of(child_of(process.id())?)?;
            fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name == "systemd\n").then_some(child)
        });
        let container = Self { leader, world: world.dir().to_owned(), group, process };
        eventually("the container has booted", PATIENCE, || {
            let state = container.try_run(&["systemctl", "is-system-running"]).output;
            matches!(state.trim(), "running" | "degraded").then_some(())
        });
        container
    }

    /// A path of the world's folder as it is inside.
    pub fn inside(&self, path: &Path) -> String {
        let below = path.strip_prefix(&self.world).expect("a path of this world");
        Path::new(WORLD).join(below).display().to_string()
    }

    /// Runs a command inside, as root.
    pub fn try_run(&self, command: &[&str]) -> Ran {
        let (status, output) = run("in the container", &self.command(command), PATIENCE);
        Ran { success: status.success(), output }
    }

    /// The same, and it must succeed; gives what it printed.
    pub fn run(&self, command: &[&str]) -> String {
        let ran = self.try_run(command);
        assert!(ran.success, "{command:?}:\n{}\n{}", ran.output, self.journal("nuncio"));
        ran.output
    }

    /// Starts a command inside; it ends with its value.
    pub fn start(&self, name: &str, command: &[&str]) -> Process {
        Process::start(name, &self.command(command), None)
    }

    /// Writes a file inside.
    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.path(path), text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Reads a file inside.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Whether something is there.
    pub fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }

    /// A property of a unit, as `systemctl show` tells it.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run(&["systemctl", "show", unit, "--value", "--property", name]).trim().to_owned()
    }

    /// Waits until a property has a value.
    pub fn await_property(&self, unit: &str, name: &str, wanted: &str) {
        eventually(&format!("{name} of {unit} is {wanted}"), PATIENCE, || {
            (self.property(unit, name) == wanted).then_some(())
        });
    }

    /// What a unit has logged, and what systemd logged of it.
    pub fn journal(&self, unit: &str) -> String {
        self.try_run(&["journalctl", "--no-pager", "--output", "short-precise", "--unit", unit]).output
    }

    /// An Arduino Uno with this image of `avr_image`, whose port the group `dialout` may use, as udev has it on a real machine.
    /// Gives the board and the path of its port inside.
    pub fn uno(&self, image: &str) -> (Process, String) {
        let mut flash = vec![0xff; 0x8000];
        board::load(&mut flash, &avr_image(image));
        fs::write(self.world.join("uno.img"), flash).expect("a writable folder");
        let port = format!("{WORLD}/uno");
        let boot = format!("{BOARDS}/boot-uno.hex");
        let (program, memory) = (format!("{BOARDS}/simboard"), format!("{WORLD}/uno.img"));
        let mut board = self.start(
            "simboard",
            &[&program, "--mcu", "atmega328p", "-v", "--boot", &boot, "--link", &port, "--image", &memory],
        );
        board.line_after(0, PATIENCE, |line| line.contains("reset (power)").then_some(()));
        self.run(&["chgrp", "dialout", &port]);
        self.run(&["chmod", "0660", &port]);
        (board, port)
    }

    fn command(&self, command: &[&str]) -> Command {
        let mut outer = Command::new(program("deb", "nsenter"));
        outer.args(["--target", &self.leader.to_string(), "--all", "--"]).args(command);
        outer.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8").env("SYSTEMD_COLORS", "0");
        outer
    }

    /// A path inside as it is from here.
    fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.process.kill();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let groups = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            Some((words.next()?, words.next()?)).filter(|(_, kind)| *kind == "cgroup2")
        });
        if let Some((groups, _)) = groups {
            let group = Path::new(groups).join(&self.group);
            eventually("the container's groups are empty", PATIENCE, || removed(&group).then_some(()));
        }
    }
}

fn child_of(process: u32) -> Option<u32> {
    children(process).first().map(|child| child.as_raw_nonzero().get().cast_unsigned())
}

/// Removes a control group with all below it; false while a process is left.
fn removed(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            removed(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}
