//! The private folder of a job: its working folder, its HOME, gone when the job is.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tracing::warn;

/// The names of all such folders begin so.
const PREFIX: &str = "job-";

/// A folder that only this user may enter; removed with everything in it when dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one; the folders above it are made, too.
    pub(super) fn new(above: &Path, marker: &str) -> std::io::Result<Self> {
        std::fs::create_dir_all(above)?;
        let path = above.join(format!("{PREFIX}{marker}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        // Tools see it as their working folder: names must mean the same from there.
        Ok(Self(std::path::absolute(path)?))
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

/// The markers of the jobs whose folders lie here; none when there is no such folder.
pub(super) fn markers(above: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(above).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix(PREFIX)?.to_owned())).collect()
}
