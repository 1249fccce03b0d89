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

/// What to tell of a port that somebody else has open; `holder` as [`super::holders`] names it.
pub(super) fn busy(path: &Path, holder: Option<&str>) -> Access {
    let path = path.display();
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
