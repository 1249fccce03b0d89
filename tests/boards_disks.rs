//! Boards that show themselves as disks: which board, which device beside its tty, which facts, from reports alone.

use std::path::PathBuf;
use std::sync::Arc;

use nuncio::boards::{Catalogue, Decision, JoinPolicy, JoinSettings, NamingSettings, Registry, RegistrySettings};
use nuncio::device::{Access, DeviceInfo, Evidence, Identity, Link, LinkReport, Questions, Sureness, UsbIds};

const UNIQUE: &str = "9904360254734e45001f800c00000030000000009796990b";

fn registry() -> Registry {
    let catalogue = Arc::new(Catalogue::load(None).expect("the built-in boards are good"));
    let join =
        JoinSettings { policy: JoinPolicy::Automatic, allow: Vec::new(), deny: Vec::new(), burst: 100, per_minute: 60 };
    let settings = RegistrySettings {
        budget: 16,
        gateway: "pi".to_owned(),
        questions: Questions::Passive,
        ask_hosts: true,
        ask_ble: true,
        devices: Vec::new(),
        naming: NamingSettings { endpoint: String::new() },
        join,
        banned: Vec::new(),
        own_endpoint: None,
    };
    Registry::new(catalogue, settings, Vec::new())
}

fn usb(ids: (u16, u16), serial: &str, path: &str, interface: u8) -> Evidence {
    let (serial, path) = (Some(serial.to_owned()), path.to_owned());
    Evidence::Usb(UsbIds { vid: ids.0, pid: ids.1, serial, manufacturer: None, product: None, path, interface })
}

fn disk(protocol: &str, usb: Option<Evidence>, place: &str, told: &[(&str, &str)]) -> LinkReport {
    let properties = told.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let (by, label) = ("disk".to_owned(), format!("{place}/X.TXT"));
    let told = Evidence::Discovered { by, protocol: protocol.to_owned(), label, properties };
    LinkReport {
        link: format!("discovered:disk/{protocol}/{place}").parse().expect("a link"),
        aliases: Vec::new(),
        access: Access::Usable,
        evidence: usb.into_iter().chain([told]).collect(),
        signal: None,
    }
}

fn tty(path: &str, usb: Evidence) -> LinkReport {
    let link = Link::Serial(PathBuf::from(path));
    LinkReport { link, aliases: Vec::new(), access: Access::Usable, evidence: vec![usb], signal: None }
}

fn ready(decisions: &[Decision]) -> &DeviceInfo {
    let found = decisions.iter().find_map(|decision| match decision {
        Decision::DeviceReady(info) => Some(info),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("a device: {decisions:?}"))
}

/// The functions of a composite device: its disk comes first.
fn daplink() -> (LinkReport, LinkReport) {
    let ids = (0x0d28, 0x0204);
    let told = [("unique id", UNIQUE), ("interface version", "0255"), ("bootloader version", "0255")];
    (disk("daplink", Some(usb(ids, UNIQUE, "1-2", 0)), "1-2", &told), tty("/dev/ttyACM0", usb(ids, UNIQUE, "1-2", 1)))
}

#[test]
fn a_uf2_boot_loader_tells_its_board_and_no_version() {
    let mut registry = registry();
    let told = [("bootloader", "UF2 Bootloader v3.0"), ("model", "Raspberry Pi RP2"), ("board-id", "RPI-RP2")];
    let report = disk("uf2", None, "/media/x", &told);
    let decisions = registry.handle_link(report.clone());
    let info = ready(&decisions).clone();
    assert_eq!((info.board.as_str(), info.model.as_deref()), ("rp2040-bootsel", Some("Raspberry Pi RP2")));
    assert_eq!((&info.version, &info.connectivity), (&None, &None));
    let why = registry.why_device(&info.id).expect("why");
    assert_eq!(why.sureness, Sureness::Disk);
    assert!(why.steps.iter().any(|step| step.detail.contains("bootloader=UF2 Bootloader v3.0")), "{why:?}");
    assert_eq!(registry.handle_vanished(&report.link), [Decision::DeviceGone(info.id)]);
    let other = disk("uf2", None, "/media/y", &[("board-id", "Another-v1")]);
    assert_eq!(registry.handle_link(other), []);
}

#[test]
fn a_serial_number_that_all_chips_tell_is_nobodys() {
    let mut registry = registry();
    let boot = |path: &str| {
        disk("uf2", Some(usb((0x2e8a, 0x0003), "E0C9125B0D9B", path, 0)), path, &[("board-id", "RPI-RP2")])
    };
    let first = ready(&registry.handle_link(boot("1-1"))).clone();
    let second = ready(&registry.handle_link(boot("1-2"))).clone();
    assert_eq!(first.identity, Identity::UsbPath("1-1".to_owned()));
    assert_eq!(second.identity, Identity::UsbPath("1-2".to_owned()));
}

#[test]
fn a_disk_and_its_tty_are_one_device_in_whichever_order_they_come() {
    let endpoint = format!("usb-0d28-0204-{UNIQUE}");
    let (disk, tty) = daplink();

    let mut registry = registry();
    assert_eq!(registry.handle_link(tty.clone()), [], "its USB ids are those of every such interface");
    let decisions = registry.handle_link(disk.clone());
    let info = ready(&decisions).clone();
    assert_eq!((info.board.as_str(), &info.link, &info.endpoint), ("bbc-microbit-v2", &tty.link, &endpoint));
    assert_eq!((info.serial_number.as_deref(), info.hardware_version.as_deref()), (Some(UNIQUE), Some("9904")));
    assert_eq!(info.version, None, "the interface's version is not the program's");
    assert!(registry.is_double(&disk.link));
    let why = registry.why_device(&info.id).expect("why");
    assert!(why.steps.iter().any(|step| step.detail.contains("interface version=0255")), "{why:?}");
    // Unmounted, it is still what it is; unplugged it is gone.
    assert_eq!(registry.handle_vanished(&disk.link), []);
    assert_eq!(registry.handle_vanished(&tty.link), [Decision::DeviceGone(info.id.clone())]);
    assert_eq!(registry.handle_link(tty.clone()), [], "what was told of another stay counts no more");

    let mut registry = self::registry();
    let first = ready(&registry.handle_link(disk.clone())).clone();
    assert_eq!((&first.link, &first.endpoint), (&disk.link, &endpoint));
    let decisions = registry.handle_link(tty.clone());
    let [Decision::DeviceChanged(moved)] = &decisions[..] else { panic!("{decisions:?}") };
    assert_eq!((&moved.id, &moved.link, moved.serial_number.as_deref()), (&first.id, &tty.link, Some(UNIQUE)));
    let decisions = registry.handle_vanished(&tty.link);
    let [Decision::DeviceChanged(back)] = &decisions[..] else { panic!("{decisions:?}") };
    assert_eq!((&back.id, &back.link), (&first.id, &disk.link));
    assert_eq!(registry.handle_vanished(&disk.link), [Decision::DeviceGone(first.id)]);
}

#[test]
fn only_the_first_tty_of_a_device_is_what_its_disk_tells() {
    let mut registry = registry();
    let (disk, first) = daplink();
    let second = tty("/dev/ttyACM1", usb((0x0d28, 0x0204), UNIQUE, "1-2", 3));
    let elsewhere = tty("/dev/ttyACM2", usb((0x0d28, 0x0204), &format!("{UNIQUE}1"), "1-3", 1));
    assert_eq!(registry.handle_link(first.clone()), []);
    assert_eq!(registry.handle_link(second), []);
    assert_eq!(registry.handle_link(elsewhere.clone()), []);
    assert_eq!(ready(&registry.handle_link(disk)).link, first.link);
    assert_eq!(registry.devices().count(), 1);
    assert_eq!(registry.why_link(&elsewhere.link).expect("why").board, None);
}
