//! Images that the daemon cannot read where they lie: in somebody's home, or in the `/tmp` that a hardened unit has of its
//! own. Whoever may use the socket may put a copy into a folder beside it; the daemon says where, and that it is needed.
//!
//! The copy is removed by the one that made it, once the daemon is through with it, and by the next daemon at the latest.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// What may lie beside an image and goes with it.
const BESIDE: [&str; 3] = ["sha256", "version", "minisig"];

/// Where copies are put that belong to a socket.
pub(super) fn folder(socket: &Path) -> PathBuf {
    socket.with_extension("images")
}

/// Makes the folder, empty, for the same people as the socket. A copy of another user that was left over may stay.
pub(super) fn prepare(folder: &Path) -> io::Result<()> {
    clear(folder);
    DirBuilder::new().recursive(true).create(folder)?;
    std::fs::set_permissions(folder, Permissions::from_mode(0o770))
}

/// Takes it away, with what was left in it.
pub(super) fn clear(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(folder = %folder.display(), %error, "copies of images could not be removed");
        }
        _ => {}
    }
}

/// Whether this process may read an image. A pipe is opened without waiting for its other end.
pub(super) fn readable(image: &Path) -> bool {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("open flags fit an int");
    OpenOptions::new().read(true).custom_flags(flags).open(image).is_ok()
}

/// An image as the daemon can read it; a copy goes with the value.
#[derive(Debug)]
pub struct HandedImage {
    path: PathBuf,
    copy: Option<PathBuf>,
}

impl HandedImage {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn as_it_is(image: &Path) -> Self {
        Self { path: image.to_owned(), copy: None }
    }

    /// Copies an image and what lies beside it, for others to read: the folder lets in only who may use the socket.
    pub(super) fn copied(image: &Path, folder: &Path) -> io::Result<Self> {
        let name = image.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let own = folder.join(uuid::Uuid::now_v7().to_string());
        DirBuilder::new().mode(0o755).create(&own)?;
        let handed = Self { path: own.join(name), copy: Some(own.clone()) };
        std::fs::set_permissions(&own, Permissions::from_mode(0o755))?;
        copy(image, &handed.path)?;
        for suffix in BESIDE {
            let (from, to) = (beside(image, suffix), beside(&handed.path, suffix));
            if from.is_file() {
                copy(&from, &to)?;
            }
        }
        Ok(handed)
    }
}

impl Drop for HandedImage {
    fn drop(&mut self) {
        if let Some(copy) = &self.copy
            && let Err(error) = std::fs::remove_dir_all(copy)
        {
            tracing::debug!(folder = %copy.display(), %error, "the copy of an image could not be removed");
        }
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::copy(from, to)?;
    std::fs::set_permissions(to, Permissions::from_mode(0o644))
}

fn beside(image: &Path, suffix: &str) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_what_lies_beside_the_image_and_goes_with_its_value() {
        let dir = tempfile::tempdir().expect("a folder");
        let (home, folder) = (dir.path().join("home"), dir.path().join("s.images"));
        std::fs::create_dir(&home).expect("made");
        let image = home.join("blink.hex");
        for (file, text) in [("blink.hex", "image"), ("blink.hex.version", "1.3.0"), ("blink.hex.other", "x")] {
            std::fs::write(home.join(file), text).expect("written");
        }
        std::fs::set_permissions(&image, Permissions::from_mode(0o600)).expect("mine");
        prepare(&folder).expect("made");
        let handed = HandedImage::copied(&image, &folder).expect("copied");
        assert_eq!(handed.path().file_name(), image.file_name());
        assert_eq!(std::fs::read_to_string(handed.path()).expect("there"), "image");
        assert_eq!(std::fs::metadata(handed.path()).expect("there").permissions().mode() & 0o777, 0o644);
        let around: Vec<_> = std::fs::read_dir(handed.path().parent().expect("a folder")).expect("there").collect();
        assert_eq!(around.len(), 2, "{around:?}");
        drop(handed);
        assert_eq!(std::fs::read_dir(&folder).expect("there").count(), 0);
    }

    #[test]
    fn what_is_left_over_goes_when_the_folder_is_made_anew() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = folder(&dir.path().join("control.sock"));
        prepare(&folder).expect("made");
        std::fs::write(folder.join("left"), "over").expect("written");
        prepare(&folder).expect("made anew");
        assert_eq!(std::fs::read_dir(&folder).expect("there").count(), 0);
        assert_eq!(std::fs::metadata(&folder).expect("there").permissions().mode() & 0o777, 0o770);
        clear(&folder);
        assert!(!folder.exists());
    }
}
