//! A file that is there under its name when it is whole, and else not at all.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::ArchiveError;

/// The file while it grows; dropped, it goes.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    name: PathBuf,
}

impl Part {
    /// A new one, for this user alone: what is in it may be secret.
    pub(super) fn create(name: &Path) -> Result<(Self, File), ArchiveError> {
        if name.symlink_metadata().is_ok() {
            return Err(ArchiveError::Exists(name.to_owned()));
        }
        let mut path = name.as_os_str().to_owned();
        path.push(format!(".{}.part", std::process::id()));
        let path = PathBuf::from(path);
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = made.map_err(ArchiveError::io("make", &path))?;
        Ok((Self { path, name: name.to_owned() }, file))
    }

    /// It is whole.
    pub(super) fn finish(self, file: &File) -> Result<(), ArchiveError> {
        file.sync_all().map_err(ArchiveError::io("write", &self.path))?;
        match renameat_with(CWD, &self.path, CWD, &self.name, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(ArchiveError::Exists(self.name.clone())),
            // A file system that does not know how, FAT for one: it was looked at when this began.
            Err(Errno::INVAL | Errno::NOSYS) => {
                std::fs::rename(&self.path, &self.name).map_err(ArchiveError::io("make", &self.name))?;
            }
            Err(error) => return Err(ArchiveError::io("make", &self.name)(error.into())),
        }
        let folder = self.name.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(ArchiveError::io("write", folder))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It has another name by now where all went well.
        let _ = std::fs::remove_file(&self.path);
    }
}
