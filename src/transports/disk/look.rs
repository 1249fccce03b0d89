//! One look at one place, on a thread that may hang: what lies there is opened without following links, without waiting, and
//! for reading only, and no more than its beginning is read.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::told::{self, MAX_FILE, Told};
use crate::device::{Access, DISKS, Evidence, Link, LinkReport, plain_text};
use crate::transports::sysfs;

/// What boards describe themselves in.
const UF2_INFO: &str = "INFO_UF2.TXT";
const DAPLINK_DETAILS: &str = "DETAILS.TXT";
const DAPLINK_SHORTCUT: &str = "MBED.HTM";
/// Longest path of a place that becomes part of a link, in bytes.
const MAX_PATH: usize = 255;

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Number and device of the mount at just this path, where one is.
    pub(super) mount: Option<(u32, (u32, u32))>,
    /// It was found in the table of mounts, and nothing else may lie there meanwhile.
    pub(super) is_disk: bool,
}

impl Place {
    /// Looks; `None` where there is no board's disk.
    ///
    /// # Errors
    /// What keeps the gateway from looking.
    pub(super) fn look(&self) -> io::Result<Option<LinkReport>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, &self.path, flags, Mode::empty())?;
        if let Some((_, (major, minor))) = self.mount.filter(|_| self.is_disk)
            && rustix::fs::fstat(&folder)?.st_dev != rustix::fs::makedev(major, minor)
        {
            return Ok(None);
        }
        let found = match beginning(&folder, UF2_INFO)?.as_deref().and_then(told::uf2) {
            Some(told) => Some(("uf2", UF2_INFO, told)),
            None => daplink(&folder)?.map(|(file, told)| ("daplink", file, told)),
        };
        Ok(found.and_then(|(protocol, file, told)| self.report(protocol, file, told)))
    }

    fn report(&self, protocol: &str, file: &str, properties: Told) -> Option<LinkReport> {
        let usb = self.mount.and_then(|(_, device)| sysfs::usb_ids_of_block_device(device));
        let path = self.path.to_str().filter(|path| path.len() <= MAX_PATH);
        // Where it is plugged in says more than the name that it happens to be mounted under.
        let address = usb.as_ref().map(|usb| usb.path.as_str()).or(path)?;
        let link: Link = format!("discovered:{DISKS}/{protocol}/{}", plain_text(address, MAX_PATH)).parse().ok()?;
        let label = plain_text(&self.path.join(file).to_string_lossy(), MAX_PATH);
        let (by, protocol) = (DISKS.to_owned(), protocol.to_owned());
        let told = Evidence::Discovered { by, protocol, label, properties };
        let evidence = usb.map(Evidence::Usb).into_iter().chain([told]).collect();
        Some(LinkReport { link, aliases: Vec::new(), access: Access::Usable, evidence, signal: None })
    }
}

/// What a DAPLink or an interface before it says, and in which file.
fn daplink(folder: &OwnedFd) -> io::Result<Option<(&'static str, Told)>> {
    let details = beginning(folder, DAPLINK_DETAILS)?;
    if let Some(told) = told::daplink(details.as_deref(), None) {
        return Ok(Some((DAPLINK_DETAILS, told)));
    }
    let shortcut = beginning(folder, DAPLINK_SHORTCUT)?;
    Ok(told::daplink(details.as_deref(), shortcut.as_deref()).map(|told| (DAPLINK_SHORTCUT, told)))
}

/// The beginning of a file; `None` where there is no regular one.
fn beginning(folder: &OwnedFd, name: &str) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // What it is must be known before it is opened: opening a device may do something.
    if FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    for_reading(&found)?.take(MAX_FILE as u64).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Opens just what was looked at; where the kernel allows it, without a note on the disk that it was read.
fn for_reading(found: &OwnedFd) -> io::Result<File> {
    let again = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open(&*again, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(rustix::fs::open(&*again, flags, Mode::empty())?.into()),
        opened => Ok(opened?.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn look(folder: &tempfile::TempDir) -> Option<LinkReport> {
        let place = Place { path: folder.path().to_owned(), mount: None, is_disk: false };
        place.look().expect("it can be looked at")
    }

    #[test]
    fn a_folder_with_the_file_is_a_board() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(look(&folder), None);
        fs::write(folder.path().join("INFO_UF2.TXT"), "UF2 Bootloader v1\r\nBoard-ID: X-1\r\n").expect("written");
        let report = look(&folder).expect("a board");
        assert_eq!(report.link.to_string(), format!("discovered:disk/uf2/{}", folder.path().display()));
        let [Evidence::Discovered { label, properties, .. }] = &report.evidence[..] else { panic!("{report:?}") };
        assert_eq!((properties["board-id"].as_str(), label.ends_with("/INFO_UF2.TXT")), ("X-1", true));
    }

    #[test]
    fn only_a_regular_file_is_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("INFO_UF2.TXT");
        let elsewhere = folder.path().join("elsewhere");
        fs::write(&elsewhere, "Board-ID: X-1\n").expect("written");
        symlink(&elsewhere, &file).expect("a link");
        assert_eq!(look(&folder), None);
        fs::remove_file(&file).expect("removed");
        rustix::fs::mknodat(CWD, &file, FileType::Fifo, Mode::RUSR, 0).expect("a FIFO");
        assert_eq!(look(&folder), None);
        fs::remove_file(&file).expect("removed");
        fs::create_dir(&file).expect("a folder");
        assert_eq!(look(&folder), None);
    }

    #[test]
    fn no_more_than_the_beginning_is_read_and_no_link_is_followed_to_the_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = File::create(folder.path().join("DETAILS.TXT")).expect("a file");
        file.set_len(1 << 30).expect("a gigabyte");
        assert_eq!(look(&folder), None);
        let link = folder.path().join("link");
        symlink(folder.path(), &link).expect("a link");
        assert!(Place { path: link, mount: None, is_disk: false }.look().is_err());
    }
}
