//! Whether a port can be used, told without opening it, and what the operator can do where it cannot.

use std::path::Path;

use rustix::fs::{AtFlags, CWD};

use crate::device::Access;
use crate::procfs::{self, Forbidden};

/// Whether the gateway's own rights let it read and write a node.
pub(super) fn permitted(path: &Path) -> bool {
    let wanted = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
    rustix::fs::accessat(CWD, path, wanted, AtFlags::EACCESS).is_ok()
}

/// What to tell of a port whose permissions keep the gateway out.
pub(super) fn not_permitted(path: &Path) -> Access {
    let Forbidden { permissions, remedy } = procfs::forbidden(path);
    Access::NotPermitted { permissions, remedy }
}

/// What to do about a program that takes every serial port it sees, whoever it is meant for.
fn thief(holder: &str) -> Option<&'static str> {
    match holder.split(' ').next()? {
        "ModemManager" => Some(
            "it tries whether this is a modem: `systemctl disable --now ModemManager`, or a udev rule that sets \
             ENV{ID_MM_DEVICE_IGNORE}=\"1\" for this port",
        ),
        "brltty" => {
            Some("it takes it for a braille display: `apt remove brltty`, or mask its udev rules (85-brltty.rules)")
        }
        _ => None,
    }
}

/// What to tell of a port that somebody else has open; `holder` as [`super::holders`] names it.
pub(super) fn busy(path: &Path, holder: Option<&str>) -> Access {
    let path = path.display();
    if let Some((holder, cure)) = holder.and_then(|holder| Some((holder, thief(holder)?))) {
        return Access::Busy { holder: holder.to_owned(), remedy: cure.to_owned() };
    }
    match holder {
        Some(holder) => Access::Busy {
            holder: holder.to_owned(),
            remedy: format!(
                "end it, or keep the gateway off this port by `[serial] deny`; `sudo fuser -v {path}` shows who has it"
            ),
        },
        None => Access::Busy {
            holder: "a process of another user".to_owned(),
            remedy: format!(
                "`sudo fuser -v {path}` shows which one; end it, or keep the gateway off this port by `[serial] deny`"
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thieves_are_named_with_their_cure() {
        let remedy = |holder: &str| match busy(Path::new("/dev/ttyUSB0"), Some(holder)) {
            Access::Busy { remedy, .. } => remedy,
            other => panic!("{other:?}"),
        };
        assert!(remedy("ModemManager (pid 7)").contains("ID_MM_DEVICE_IGNORE"));
        assert!(remedy("brltty (pid 7)").contains("apt remove brltty"));
        assert!(remedy("picocom (pid 7)").contains("fuser -v /dev/ttyUSB0"));
    }
}
