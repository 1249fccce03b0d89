//! USB descriptors of a tty or a disk, as the kernel shows them in sysfs; no udev, and nothing is opened on the device.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::device::UsbIds;

/// A folder lies at most so many folders below its USB device: a tty's with port, interface and configuration, a partition's
/// with disk, SCSI unit, target, host, interface and configuration.
const MAX_CLIMB: usize = 10;

/// Where the kernel lists block devices, by major and minor number.
const BLOCK_DEVICES: &str = "/sys/dev/block";

/// Longest attribute that is read; a USB string descriptor has at most 126 characters.
const MAX_ATTRIBUTE: u64 = 512;

/// What tells whether the descriptors must be read again: the kernel makes a new folder for each device it enumerates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64, u64, i64, i64);

/// The device folder of a tty, where the kernel has one under the name of any of its paths.
///
/// The canonical path comes first; the others matter where a node in `/dev` stands for a tty elsewhere.
pub(super) fn device_folder<'a>(paths: impl Iterator<Item = &'a Path>) -> Option<(PathBuf, Stamp)> {
    let in_dev = paths.filter(|path| path.parent() == Some(Path::new("/dev")));
    in_dev.filter_map(Path::file_name).find_map(|name| {
        let folder = Path::new("/sys/class/tty").join(name).join("device");
        let found = fs::metadata(&folder).ok()?;
        Some((folder, Stamp(found.dev(), found.ino(), found.mtime(), found.ctime())))
    })
}

/// Whether a block device is there; `true` where the kernel does not tell.
pub(super) fn has_block_device(number: (u32, u32)) -> bool {
    let all = Path::new(BLOCK_DEVICES);
    all.join(format!("{}:{}", number.0, number.1)).exists() || !all.exists()
}

/// The descriptors of the USB device that a block device is on; `None` for one that is not on USB.
pub(super) fn usb_ids_of_block_device(number: (u32, u32)) -> Option<UsbIds> {
    usb_ids(&Path::new(BLOCK_DEVICES).join(format!("{}:{}", number.0, number.1)))
}

/// Reads the descriptors; `None` for what is not on USB.
pub(super) fn usb_ids(device_folder: &Path) -> Option<UsbIds> {
    let folder = fs::canonicalize(device_folder).ok()?;
    let above = || folder.ancestors().take(MAX_CLIMB);
    let interface = above().find_map(|at| hex(at, "bInterfaceNumber")).and_then(|number| u8::try_from(number).ok());
    let device = above().find(|at| at.join("idVendor").exists())?;
    Some(UsbIds {
        vid: hex(device, "idVendor")?,
        pid: hex(device, "idProduct")?,
        serial: attribute(device, "serial"),
        manufacturer: attribute(device, "manufacturer"),
        product: attribute(device, "product"),
        path: device.file_name()?.to_string_lossy().into_owned(),
        interface: interface.unwrap_or(0),
    })
}

fn hex(folder: &Path, name: &str) -> Option<u16> {
    u16::from_str_radix(&attribute(folder, name)?, 16).ok()
}

/// One attribute, trimmed, without control characters; `None` when it is absent or empty.
fn attribute(folder: &Path, name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(folder.join(name)).ok()?.take(MAX_ATTRIBUTE).read_to_end(&mut bytes).ok()?;
    let text: String = String::from_utf8_lossy(&bytes).chars().filter(|letter| !letter.is_control()).collect();
    let text = text.trim();
    if text.is_empty() { None } else { Some(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_up(adapter: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let device = folder.path().join("usb1/1-1/1-1.4");
        fs::create_dir_all(device.join(adapter)).expect("folders");
        for (name, text) in
            [("idVendor", "2341\n"), ("idProduct", "0043\n"), ("serial", "7543\u{1}5\n"), ("product", " \n")]
        {
            fs::write(device.join(name), text).expect("written");
        }
        fs::write(device.join("1-1.4:1.0/bInterfaceNumber"), "02\n").expect("written");
        folder
    }

    #[test]
    fn descriptors_are_found_above_a_port_an_interface_and_a_partition() {
        for adapter in ["1-1.4:1.0", "1-1.4:1.0/ttyUSB0", "1-1.4:1.0/host0/target0:0:0/0:0:0:0/block/sda/sda1"] {
            let folder = made_up(adapter);
            let ids = usb_ids(&folder.path().join("usb1/1-1/1-1.4").join(adapter)).expect("ids");
            assert_eq!((ids.vid, ids.pid, ids.interface), (0x2341, 0x0043, 2));
            assert_eq!(ids.serial.as_deref(), Some("75435"));
            assert_eq!((ids.product, ids.manufacturer), (None, None));
            assert_eq!(ids.path, "1-1.4");
        }
    }

    #[test]
    fn a_tty_that_is_not_on_usb_has_none() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(usb_ids(folder.path()), None);
    }
}
