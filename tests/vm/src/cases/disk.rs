//! Boards that show themselves as disks: the kernel's USB gadget over its dummy controller, its usb-storage and its FAT.

use vm::{Gateway, Lab, Machine};

use super::site;

pub(super) const UF2: &str = "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n";
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

/// A script that makes a device with a disk and these further functions ($5), and plugs it in.
const GADGET: &str = r#"
set -e
g=/sys/kernel/config/usb_gadget/board
modprobe -a dummy_hcd libcomposite
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
mkdir -p $g/strings/0x409 $g/configs/c.1 $g/functions/mass_storage.0
echo 0x$1 >$g/idVendor
echo 0x$2 >$g/idProduct
echo $3 >$g/strings/0x409/serialnumber
echo 1 >$g/functions/mass_storage.0/lun.0/ro
echo /tmp/disk.img >$g/functions/mass_storage.0/lun.0/file
for f in mass_storage.0 $4; do
  mkdir -p $g/functions/$f
  ln -s $g/functions/$f $g/configs/c.1/
done
echo dummy_udc.0 >$g/UDC
"#;

const PLUG: &str = "echo dummy_udc.0 >/sys/kernel/config/usb_gadget/board/UDC";
const UNPLUG: &str = "echo >/sys/kernel/config/usb_gadget/board/UDC";

/// Plugs a device in whose disk holds this one file. Its disk has the first interface.
pub(super) fn plug(machine: &mut Machine, device: &str, name: &str, text: &str) {
    machine.file("/tmp/fat.py", FAT);
    machine.file("/tmp/gadget.sh", GADGET);
    let text = text.replace("\r\n", "\\r\\n");
    machine.must(&format!("python3 /tmp/fat.py /tmp/disk.img '{name}' '{text}'"));
    machine.must(&format!("sh /tmp/gadget.sh {device}"));
}

pub(super) fn mount(machine: &mut Machine) {
    machine.must("for i in $(seq 100); do test -b /dev/sda && break; sleep 0.2; done; mkdir -p /media/board; mount -t vfat -o ro /dev/sda /media/board");
}

fn link_of(machine: &mut Machine, gateway: &Gateway<'_>, endpoint: &str) -> String {
    let device = gateway.await_device(machine, "of this name", |device| device["endpoint"] == endpoint);
    device["link"].as_str().unwrap_or_default().to_owned()
}

pub(super) fn a_boards_disk_and_its_tty_are_one_device(lab: &Lab) {
    let (mut machine, _ports, gateway) = site(lab, "", "");
    let details = format!("Unique ID: {UNIQUE}\r\nInterface Version: 0255\r\n");
    plug(&mut machine, &format!("0d28 0204 {UNIQUE} acm.0"), "DETAILS TXT", &details);
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
    machine.must(UNPLUG);
    gateway.await_registered(&[]);
}

pub(super) fn a_disk_that_is_pulled_out_while_it_is_mounted_is_gone(lab: &Lab) {
    let (mut machine, _ports, gateway) = site(lab, "", "");
    plug(&mut machine, "2e8a 0003 E0C9125B0D9B", "INFO_UF2TXT", UF2);
    for _ in 0..2 {
        mount(&mut machine);
        let path = machine.must("basename $(dirname $(ls -d /sys/bus/usb/devices/*/idVendor | xargs grep -l 2e8a))");
        let path = path.trim();
        let endpoint = format!("port-world-{path}");
        gateway.await_registered(&[&endpoint]);
        assert_eq!(link_of(&mut machine, &gateway, &endpoint), format!("discovered:disk/uf2/{path}"));
        machine.must(UNPLUG);
        gateway.await_registered(&[]);
        machine.must("grep -q /media/board /proc/mounts && umount -l /media/board");
        machine.must(PLUG);
    }
}
