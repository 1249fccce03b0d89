//! The private folder of a job: its working folder, its HOME, gone when the job is.

use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::device::DeviceId;

/// The names of all such folders begin so.
const PREFIX: &str = "job-";
/// Names the device whose board the tool may have touched: for a gateway whose journal was lost.
const DEVICE: &str = "device";
/// Longer names are not read.
const MAX_NAME: u64 = 1024;

/// A folder that only this user may enter; removed with everything in it when dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one; the folders above it are made, too.
    pub(super) fn new(above: &Path, marker: &str, device: &DeviceId) -> std::io::Result<Self> {
        std::fs::create_dir_all(above)?;
        let path = above.join(format!("{PREFIX}{marker}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        // Tools see it as their working folder: names must mean the same from there.
        let scratch = Self(std::path::absolute(path)?);
        std::fs::write(scratch.0.join(DEVICE), device.as_str())?;
        Ok(scratch)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            warn!(folder = %self.0.display(), %error, "cannot remove the folder of a job");
        }
    }
}

/// Removes what jobs of an earlier gateway left behind.
pub(super) fn remove_leftovers(above: &Path) {
    for marker in markers(above) {
        // Dropping it removes it.
        drop(Scratch(above.join(format!("{PREFIX}{marker}"))));
    }
}

/// The device that a job's folder names.
pub(super) fn device(above: &Path, marker: &str) -> Option<DeviceId> {
    let file = std::fs::File::open(above.join(format!("{PREFIX}{marker}")).join(DEVICE)).ok()?;
    let mut name = String::new();
    file.take(MAX_NAME).read_to_string(&mut name).ok().filter(|length| *length > 0)?;
    Some(DeviceId::new(name))
}

/// The markers of the jobs whose folders lie here; none when there is no such folder.
pub(super) fn markers(above: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(above).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(PREFIX)?.to_owned())).collect()
}
