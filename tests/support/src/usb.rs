//! A made-up USB bus: nodes in `/dev` and what the kernel tells of them in `/sys/class/tty`, in the daemon's own mount
//! namespace. A board keeps its serial number when its node gets another name.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{SimBoard, World};

/// Nodes that programs expect in `/dev`.
const NODES: [&str; 5] = ["null", "zero", "random", "urandom", "tty"];

/// Mounts `$0` over `/sys/class/tty` and `$1` over `/dev`.
const MOUNT: &str = "mount --bind \"$0\" /sys/class/tty && mount --rbind /dev/pts \"$1/pts\" && \
    for node in $2; do mount --bind \"/dev/$node\" \"$1/$node\" || exit; done && mount --rbind \"$1\" /dev && \
    shift 2 && exec \"$@\"";

/// The bus.
#[derive(Clone)]
pub struct UsbBus {
    folder: PathBuf,
}

impl UsbBus {
    /// One with nothing on it.
    pub fn new(world: &World) -> Self {
        let folder = world.home().join("bus");
        for name in ["class", "devices", "dev/pts"] {
            fs::create_dir_all(folder.join(name)).expect("a writable folder");
        }
        for node in NODES {
            fs::write(folder.join("dev").join(node), "").expect("a writable folder");
        }
        symlink("pts/ptmx", folder.join("dev/ptmx")).expect("a writable folder");
        Self { folder }
    }

    /// A board's port appears under this name, e.g. `ttyACM0`: an Arduino Uno with this serial number.
    pub fn plug(&self, board: &SimBoard, name: &str, serial: &str) {
        let node = fs::read_link(board.port()).expect("the board is plugged in");
        self.plug_node(&node, name, &format!("1-{serial}"), ("2341", "0043"), Some(serial));
    }

    /// A board behind a bridge chip that many boards have appears under this name, in a socket such as `1-1.4`: a CH340.
    pub fn plug_bridge(&self, board: &SimBoard, name: &str, socket: &str) {
        let node = fs::read_link(board.port()).expect("the board is plugged in");
        self.plug_node(&node, name, socket, ("1a86", "7523"), None);
    }

    /// A node appears under this name, in a socket, with these vendor and product ids.
    pub(crate) fn plug_node(&self, node: &Path, name: &str, socket: &str, ids: (&str, &str), serial: Option<&str>) {
        let device = self.folder.join("devices").join(socket);
        fs::create_dir_all(device.join("port")).expect("a writable folder");
        let attributes = [("idVendor", Some(ids.0)), ("idProduct", Some(ids.1)), ("serial", serial)];
        for (attribute, text) in attributes.into_iter().filter_map(|(attribute, text)| Some((attribute, text?))) {
            fs::write(device.join(attribute), format!("{text}\n")).expect("a writable folder");
        }
        let class = self.folder.join("class").join(name);
        fs::create_dir_all(&class).expect("a writable folder");
        symlink(device.join("port"), class.join("device")).expect("no such port is there");
        symlink(node, self.folder.join("dev").join(name)).expect("no such port is there");
    }

    /// The port of this name goes.
    pub fn unplug(&self, name: &str) {
        fs::remove_file(self.folder.join("dev").join(name)).expect("the port was there");
        fs::remove_dir_all(self.folder.join("class").join(name)).expect("the port was there");
    }

    /// What runs a command that sees this bus.
    pub fn around(&self) -> Command {
        let mut outer = Command::new("unshare");
        outer.args(["--mount", "sh", "-c", MOUNT]);
        outer.arg(self.folder.join("class")).arg(self.folder.join("dev")).arg(NODES.join(" "));
        outer
    }
}
