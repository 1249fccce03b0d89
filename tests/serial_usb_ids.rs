//! USB descriptors of ports, from a made-up `/sys/class/tty` and `/dev` in a mount namespace of its own.

mod serial_support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use nuncio::device::{Evidence, Link, LinkReport, UsbIds};
use nuncio::transports::{Event, serial};
use serial_support::{next, pty, settings};
use tokio::sync::mpsc;

/// Set in the run inside the namespace.
const INNER: &str = "NUNCIO_TEST_IN_NAMESPACE";

#[test]
fn usb_ports_tell_their_descriptors_and_where_they_hang() {
    if std::env::var_os(INNER).is_some() {
        return tokio::runtime::Runtime::new().expect("a runtime").block_on(inside());
    }
    let possible = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|output| output.status.success());
    if !possible {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "unshare -m does not work here, and in CI it must");
        eprintln!("not run: unshare -m does not work here (it needs root)");
        return;
    }
    let output = Command::new("unshare")
        .arg("-m")
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "usb_ports_tell_their_descriptors_and_where_they_hang", "--nocapture"])
        .env(INNER, "1")
        .output()
        .expect("started");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
}

/// The made-up machine: what is mounted over `/sys/class/tty`, and over `/dev`.
struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = |name: &str| {
            fs::create_dir(folder.path().join(name)).expect("a folder");
            folder.path().join(name)
        };
        let (class, dev) = (made("class"), made("dev"));
        made("devices");
        mount(&["--bind"], &class, "/sys/class/tty");
        fs::create_dir(dev.join("pts")).expect("a folder");
        symlink("pts/ptmx", dev.join("ptmx")).expect("linked");
        mount(&["--bind"], Path::new("/dev/pts"), dev.join("pts"));
        for name in ["null", "urandom"] {
            fs::write(dev.join(name), "").expect("written");
            mount(&["--bind"], &Path::new("/dev").join(name), dev.join(name));
        }
        mount(&["--rbind"], &dev, "/dev");
        Self { folder }
    }

    /// A USB device with attributes, and the folder of its tty below it.
    fn usb_device(&self, path: &str, attributes: &[(&str, &str)], interface: u8, tty: &str) -> PathBuf {
        let device = self.folder.path().join("devices/usb1/1-1").join(path);
        let interface_folder = device.join(format!("{path}:1.{interface}"));
        let adapter = interface_folder.join(tty);
        fs::create_dir_all(&adapter).expect("folders");
        for (name, text) in attributes {
            fs::write(device.join(name), format!("{text}\n")).expect("written");
        }
        fs::write(interface_folder.join("bInterfaceNumber"), format!("{interface:02x}\n")).expect("written");
        adapter
    }

    fn register(&self, tty: &str, adapter: &Path) {
        let class = self.folder.path().join("class").join(tty);
        fs::create_dir_all(&class).expect("a folder");
        symlink(adapter, class.join("new")).expect("linked");
        fs::rename(class.join("new"), class.join("device")).expect("renamed");
    }
}

fn mount(options: &[&str], what: &Path, place: impl AsRef<Path>) {
    let status = Command::new("mount").args(options).arg(what).arg(place.as_ref()).status().expect("mount");
    assert!(status.success(), "mount {} {}", what.display(), place.as_ref().display());
}

/// A node under a name of its own, as the kernel would make it.
fn plug(name: &str) -> (fs::File, PathBuf) {
    let (master, slave) = pty();
    let node = Path::new("/dev").join(name);
    fs::write(&node, "").expect("written");
    mount(&["--bind"], &slave, &node);
    (master, node)
}

fn unplug(node: &Path) {
    assert!(Command::new("umount").arg(node).status().expect("umount").success());
    fs::remove_file(node).expect("removed");
}

fn ids(report: &LinkReport) -> Option<&UsbIds> {
    match &report.evidence[..] {
        [Evidence::Usb(usb)] => Some(usb),
        _ => None,
    }
}

async fn inside() {
    let machine = Machine::new();
    let uno = [
        ("idVendor", "2341"),
        ("idProduct", "0043"),
        ("serial", "75437303830351F0D0C1"),
        ("product", "Uno R3"),
        ("manufacturer", "Arduino (www.arduino.cc)"),
    ];
    let ch340 = [("idVendor", "1a86"), ("idProduct", "7523"), ("product", "USB Serial")];
    machine.register("ttyACM0", &machine.usb_device("1-1.4", &uno, 0, "tty"));
    machine.register("ttyUSB0", &machine.usb_device("1-1.2", &ch340, 2, "ttyUSB0"));
    machine.register("ttyS9", &machine.usb_device("1-1.3", &ch340, 0, "ttyS9"));
    let (_acm, acm) = plug("ttyACM0");
    let (_usb, usb) = plug("ttyUSB0");
    let (_other, _not_watched) = plug("ttyS9");
    let (sender, mut events) = mpsc::channel(8);
    let watch = ["/dev/ttyUSB*".to_owned(), "/dev/ttyACM*".to_owned()];
    serial::spawn(&settings(&watch, &[]), Vec::new(), sender).expect("patterns");

    let Event::Appeared(report) = next(&mut events).await else { panic!("no port") };
    assert_eq!(report.link, Link::Serial(acm.clone()));
    let found = ids(&report).expect("on USB");
    assert_eq!((found.vid, found.pid, found.interface, found.path.as_str()), (0x2341, 0x0043, 0, "1-1.4"));
    assert_eq!(found.serial.as_deref(), Some("75437303830351F0D0C1"));
    assert_eq!(found.manufacturer.as_deref(), Some("Arduino (www.arduino.cc)"));
    assert_eq!(found.product.as_deref(), Some("Uno R3"));

    let Event::Appeared(report) = next(&mut events).await else { panic!("no port") };
    assert_eq!(report.link, Link::Serial(usb.clone()));
    let found = ids(&report).expect("on USB");
    assert_eq!((found.vid, found.pid, found.interface, found.serial.as_deref()), (0x1A86, 0x7523, 2, None));

    // Another device behind the same node.
    let mega = [("idVendor", "2341"), ("idProduct", "0042")];
    machine.register("ttyACM0", &machine.usb_device("1-1.1", &mega, 0, "tty"));
    let Event::Changed(report) = next(&mut events).await else { panic!("no change") };
    assert_eq!(report.link, Link::Serial(acm.clone()));
    assert_eq!(ids(&report).map(|found| (found.pid, found.path.as_str())), Some((0x0042, "1-1.1")));

    unplug(&acm);
    assert_eq!(next(&mut events).await, Event::Vanished(Link::Serial(acm)));
    let (_back, acm) = plug("ttyACM0");
    assert!(matches!(next(&mut events).await, Event::Appeared(report) if report.link == Link::Serial(acm)));
}
