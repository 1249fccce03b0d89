//! The table of mounts, as the kernel writes it (proc_pid_mountinfo(5)).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::transports::sysfs;

/// The mounts of this process.
pub(super) const MOUNTS: &str = "/proc/self/mountinfo";
/// Largest table that is read, in bytes.
const MAX_TABLE: u64 = 4 << 20;
/// Types of file systems that boards show.
const BOARDS_TYPES: [&str; 3] = ["vfat", "msdos", "exfat"];
/// What waits at a place until somebody looks, and then mounts something there.
const AUTOMOUNTER: &str = "autofs";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its number, given anew once it is gone.
    pub(super) id: u32,
    /// Major and minor number of what is mounted.
    pub(super) device: (u32, u32),
    /// The whole file system and no folder of it.
    whole: bool,
    kind: String,
}

/// What is mounted, by place; only what lies on top there.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<PathBuf, Mount>);

impl Table {
    /// Reads the table, without the disks whose device was pulled out.
    pub(super) fn read() -> io::Result<Self> {
        let mut text = Vec::new();
        File::open(MOUNTS)?.take(MAX_TABLE).read_to_end(&mut text)?;
        let mut table = Self::parse(&text);
        table.0.retain(|_, mount| !mount.is_disk() || sysfs::has_block_device(mount.device));
        Ok(table)
    }

    fn parse(text: &[u8]) -> Self {
        let lines = text.split(|byte| *byte == b'\n');
        // A later mount at the same place lies on top.
        Self(lines.filter_map(mount).collect())
    }

    /// What may be a board's disk, each once.
    pub(super) fn disks(&self) -> impl Iterator<Item = (&PathBuf, &Mount)> {
        let mut seen = Vec::new();
        self.0.iter().filter(move |(_, mount)| {
            let first = mount.is_disk() && !seen.contains(&mount.device);
            seen.extend(first.then_some(mount.device));
            first
        })
    }

    /// What is mounted at just this place.
    pub(super) fn at(&self, place: &Path) -> Option<&Mount> {
        self.0.get(place)
    }

    /// Whether looking at a place would have something mounted there.
    pub(super) fn would_mount(&self, place: &Path) -> bool {
        place.ancestors().find_map(|above| self.0.get(above)).is_some_and(|mount| mount.kind == AUTOMOUNTER)
    }
}

impl Mount {
    fn is_disk(&self) -> bool {
        self.whole && BOARDS_TYPES.contains(&self.kind.as_str())
    }
}

/// One line: number, parent, device, folder in the file system, place, options, fields that end with `-`, type.
fn mount(line: &[u8]) -> Option<(PathBuf, Mount)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let text = |field: Option<&[u8]>| String::from_utf8(field?.to_vec()).ok();
    let id = text(fields.next())?.parse().ok()?;
    let device = text(fields.nth(1))?;
    let (major, minor) = device.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let whole = fields.next()? == b"/";
    let place = PathBuf::from(OsString::from_vec(unescaped(fields.next()?)));
    fields.find(|field| *field == b"-")?;
    Some((place, Mount { id, device, whole, kind: text(fields.next())? }))
}

/// Blanks, line ends and backslashes are written as `\` and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = field;
    while let Some((&byte, behind)) = rest.split_first() {
        let octal = behind.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(meant) if byte == b'\\' => {
                bytes.push(meant);
                rest = &behind[3..];
            }
            _ => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 8:1 / /media/a\\040b rw,nosuid shared:7 master:2 - vfat /dev/sda1 rw,fmask=0022
24 22 8:1 / /media/zwei rw - vfat /dev/sda1 rw
25 22 8:17 /sub /media/part rw - vfat /dev/sdb1 rw
26 22 0:40 / /net rw - autofs systemd-1 rw
27 22 8:33 / /mnt rw - exfat /dev/sdc1 rw
28 27 0:41 / /mnt rw - tmpfs none rw
29 26 0:42 / /net/here rw - tmpfs none rw
no line at all
";

    #[test]
    fn disks_are_whole_file_systems_of_boards_on_top_and_each_once() {
        let table = Table::parse(TABLE);
        let disks: Vec<(&Path, u32)> = table.disks().map(|(place, mount)| (place.as_path(), mount.id)).collect();
        assert_eq!(disks, [(Path::new("/media/a b"), 23)]);
        assert_eq!(table.at(Path::new("/mnt")).map(|mount| mount.device), Some((0, 41)));
        assert_eq!(table.at(Path::new("/mnt/x")), None);
    }

    #[test]
    fn an_automounter_is_left_alone_but_not_what_it_has_mounted() {
        let table = Table::parse(TABLE);
        for (place, would) in [("/net/x/y", true), ("/net", true), ("/net/here", false), ("/media", false)] {
            assert_eq!(table.would_mount(Path::new(place)), would, "{place}");
        }
    }

    #[test]
    fn only_what_is_escaped_is_unescaped() {
        for (field, meant) in [("a\\040b\\134", "a b\\"), ("\\04", "\\04"), ("\\999", "\\999"), ("\\", "\\")] {
            assert_eq!(unescaped(field.as_bytes()), meant.as_bytes(), "{field}");
        }
    }

    #[test]
    fn the_table_of_this_machine_is_read() {
        assert!(Table::read().expect("read").at(Path::new("/proc")).is_some());
    }
}
