//! The private folder of a job: its working folder, its HOME, gone when the job is.

use std::collections::BTreeSet;
use std::fs::{DirEntry, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::device::DeviceId;

/// The names of all such folders begin so.
const PREFIX: &str = "job-";
/// Beside the folder, where the tool cannot write, a file of this ending names the device whose board it may have touched:
/// for a gateway whose journal was lost.
const DEVICE: &str = "device";
/// What the disk is counted in, in bytes (stat(2), `st_blocks`).
const BLOCK: u64 = 512;
/// Most files and folders of one job.
const MAX_FILES: usize = 10_000;
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
        let mut named = File::create(device_file(&scratch.0))?;
        named.write_all(device.as_str().as_bytes())?;
        named.sync_all()?;
        Ok(scratch)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir_all(&self.0);
        // After a power cut the device's name may be all that is there.
        if let Err(error) =
            removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
        {
            warn!(folder = %self.0.display(), %error, "cannot remove the folder of a job");
        }
        // Last: as long as the folder is there, so is its device's name. A job that never got so far has none.
        let named = device_file(&self.0);
        if std::fs::remove_file(&named).is_err() {
            return;
        }
        // The update goes on when the job is over: a name that came back after a power cut would cast doubt on its end.
        if let Some(Err(error)) = named.parent().map(|above| File::open(above).and_then(|above| above.sync_all())) {
            warn!(folder = %self.0.display(), %error, "cannot make it last that a job is over");
        }
    }
}

/// Whether more than `most` bytes of the disk lie in a folder and below it, or too many files. What cannot be looked at is
/// not counted.
pub(super) fn exceeds(folder: &Path, most: u64) -> bool {
    let (mut folders, mut bytes, mut files) = (vec![folder.to_owned()], 0_u64, 0);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            files += 1;
            bytes = bytes.saturating_add(metadata.blocks().saturating_mul(BLOCK));
            if bytes > most || files > MAX_FILES {
                return true;
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    false
}

/// Removes what jobs of an earlier gateway left behind.
pub(super) fn remove_leftovers(above: &Path) {
    for marker in markers(above) {
        // Dropping it removes it.
        drop(Scratch(above.join(format!("{PREFIX}{marker}"))));
    }
}

fn device_file(folder: &Path) -> PathBuf {
    folder.with_added_extension(DEVICE)
}

/// The device that a job's folder names.
pub(super) fn device(above: &Path, marker: &str) -> Option<DeviceId> {
    let file = File::open(device_file(&above.join(format!("{PREFIX}{marker}")))).ok()?;
    let mut name = String::new();
    file.take(MAX_NAME).read_to_string(&mut name).ok().filter(|length| *length > 0)?;
    Some(DeviceId::new(name))
}

/// The markers of the jobs of which a folder or a device's name lies here; none when there is no such folder.
pub(super) fn markers(above: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(above).into_iter().flatten().flatten();
    let marker = |entry: DirEntry| {
        let name = entry.file_name();
        let marker = name.to_str()?.strip_prefix(PREFIX)?;
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => Some(marker.to_owned()),
            false => Some(marker.strip_suffix(DEVICE)?.strip_suffix('.')?.to_owned()),
        }
    };
    let markers: BTreeSet<String> = entries.filter_map(marker).collect();
    markers.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_of_which_only_the_devices_name_is_left_is_found_and_forgotten() {
        let above = tempfile::tempdir().expect("a folder");
        drop(Scratch::new(above.path(), "whole", &DeviceId::new("d")).expect("made"));
        assert!(markers(above.path()).is_empty(), "nothing of it is left");
        std::fs::write(above.path().join("job-torn.device"), "press-3").expect("written");
        assert_eq!(markers(above.path()), ["torn"]);
        assert_eq!(device(above.path(), "torn"), Some(DeviceId::new("press-3")));
        remove_leftovers(above.path());
        assert_eq!(std::fs::read_dir(above.path()).expect("listed").count(), 0);
    }

    #[test]
    fn what_lies_in_a_folder_is_counted_with_all_below_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("a/b");
        std::fs::create_dir_all(&below).expect("made");
        std::fs::write(below.join("file"), vec![7; 300_000]).expect("written");
        assert!(exceeds(folder.path(), 299_999));
        assert!(!exceeds(folder.path(), 400_000));
        (0..=MAX_FILES).for_each(|number| std::fs::write(below.join(number.to_string()), "").expect("made"));
        assert!(exceeds(folder.path(), u64::MAX), "too many files");
        assert!(!exceeds(&folder.path().join("nowhere"), 0));
    }
}
