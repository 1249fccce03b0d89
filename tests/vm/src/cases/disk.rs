//! Boards that show themselves as disks: the kernel's USB gadget over its dummy controller, its usb-storage and its FAT.

use vm::{Gateway, Lab, Machine};

use super::site;

const UF2: &str = "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n";
const UNIQUE: &str = "9904360254734e45001f800c00000030000000009796990b";

/// A program for the guest's Python: a FAT12 of 256 sectors with one file, whose name is padded to eight and three.
const FAT: &str = r#"
import struct, sys
image, name, text = sys.argv[1], sys.argv[2].encode(), sys.argv[3].encode().decode('unicode_escape').encode()
boot = b'\xeb\x3c\x90nuncio  ' + struct.pack('<HBHBHHBHHHII', 512, 1, 1, 1, 16, 256, 0xf8, 1, 32, 2, 0, 0)
boot += struct.pack('<BBBI', 0x80, 0, 0x29, 1) + b'BOARD      FAT12   '
boot = boot.ljust(510, b'\0') + b'\x55\xaa'
fat = b'\xf8\xff\xff\xff\x0f\x00'.ljust(512, b'\0')
root = name + b'\x21' + bytes(14) + struct.pack('<HI', 2, len(text))
data = boot + fat + root.ljust(512, b'\0') + text.ljust(512, b'\0')
open(image, 'wb').write(data.ljust(256 * 512, b'\0'))
"#;

/// Plugs a disk in that holds this one file.
fn plug(machine: &mut Machine, module: &str, ids: (&str, &str), serial: &str, name: &str, text: &str) {
    machine.file("/tmp/fat.py", FAT);
    let text = text.replace("\r\n", "\\r\\n");
    machine.must(&format!("python3 /tmp/fat.py /tmp/disk.img '{name}' '{text}'"));
    machine.must("modprobe dummy_hcd");
    let (vendor, product) = ids;
    machine.must(&format!(
        "modprobe {module} file=/tmp/disk.img ro=1 removable=1 stall=0 idVendor=0x{vendor} idProduct=0x{product} iSerialNumber={serial}"
    ));
}

fn mount(machine: &mut Machine) {
    machine.must("for i in $(seq 100); do test -b /dev/sda && break; sleep 0.2; done; mkdir -p /media/board; mount -t vfat -o ro /dev/sda /media/board");
}

fn link_of(machine: &mut Machine, gateway: &Gateway<'_>, endpoint: &str) -> String {
    let device = gateway.await_device(machine, "of this name", |device| device["endpoint"] == endpoint);
    device["link"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn a_boards_disk_and_its_tty_are_one_device(lab: &Lab) {
    let (mut machine, _ports, gateway) = site(lab, "", "");
    let details = format!("Unique ID: {UNIQUE}\r\nInterface Version: 0255\r\n");
    plug(&mut machine, "g_acm_ms", ("0d28", "0204"), UNIQUE, "DETAILS TXT", &details);
    gateway.await_link(&mut machine, "serial:/dev/ttyACM0");
    gateway.await_registered(&[]);
    mount(&mut machine);
    let endpoint = format!("usb-0d28-0204-{UNIQUE}");
    gateway.await_registered(&[&endpoint]);
    assert_eq!(link_of(&mut machine, &gateway, &endpoint), "serial:/dev/ttyACM0");
    let why = machine.must("nuncio why serial:/dev/ttyACM0");
    assert!(why.contains("/media/board/DETAILS.TXT") && why.contains("bbc-microbit-v2"), "{why}");
    // Nothing holds the disk.
    machine.must("umount /media/board");
    gateway.await_registered(&[&endpoint]);
    machine.must("rmmod g_acm_ms");
    gateway.await_registered(&[]);
}

pub(super) fn a_disk_that_is_pulled_out_while_it_is_mounted_is_gone(lab: &Lab) {
    let (mut machine, _ports, gateway) = site(lab, "", "");
    for _ in 0..2 {
        plug(&mut machine, "g_mass_storage", ("2e8a", "0003"), "E0C9125B0D9B", "INFO_UF2TXT", UF2);
        mount(&mut machine);
        let path = machine.must("basename $(dirname $(ls -d /sys/bus/usb/devices/*/idVendor | xargs grep -l 2e8a))");
        let path = path.trim();
        let endpoint = format!("port-world-{path}");
        gateway.await_registered(&[&endpoint]);
        assert_eq!(link_of(&mut machine, &gateway, &endpoint), format!("discovered:disk/uf2/{path}"));
        machine.must("rmmod g_mass_storage");
        gateway.await_registered(&[]);
        machine.must("grep -q /media/board /proc/mounts && umount -l /media/board");
    }
}
