//! Looking into an image before any server is told that it is staged: is it whole, and is it for this board?
//!
//! The tools do not do this for us: one flashes a HEX without its end record, another any truncated image. So what a
//! tool would write is worked out here, from the file alone, against the board's [`ImageRules`]. Blocking; driven by
//! the manager on a blocking thread, with files whose size is already capped. Never opens a device.

mod elf;
mod esp;
mod ihex;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::device::{Damage, ImageFormat, ImageInfo, ImageRules};

/// How much of a file's beginning tells its format.
const HEAD: usize = 64;
/// Most flash that is held in memory, in bytes.
const MAX_MEMORY: u64 = 16 << 20;

/// Checks an image against a board's rules.
///
/// # Errors
/// What is wrong with it, by class.
pub fn inspect(path: &Path, rules: &ImageRules) -> Result<ImageInfo, Damage> {
    let mut file = File::open(path).map_err(unreadable)?;
    let size = file.metadata().map_err(unreadable)?.len();
    let format = format_of(&mut file, size, rules)?;
    match format {
        ImageFormat::Ihex => ihex::inspect(file, rules),
        ImageFormat::Elf => elf::inspect(file, rules),
        ImageFormat::EspImage => esp::inspect(file, size, rules),
        ImageFormat::Raw => raw(size, rules),
    }
}

/// The version that an image itself names, whatever board it is for; `None` also when it is damaged.
pub fn own_version(path: &Path) -> Option<String> {
    esp::own_version(File::open(path).ok()?)
}

/// The first bytes of a file, at most 64.
///
/// # Errors
/// When it cannot be read.
pub fn head(path: &Path) -> Result<Vec<u8>, Damage> {
    let mut head = Vec::with_capacity(HEAD);
    File::open(path).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head)).map_err(unreadable)?;
    Ok(head)
}

/// What a HEX file writes between two addresses, `start` included; cells that it leaves out read as erased. Needs as much
/// memory as there is between them, at most 16 MiB.
///
/// # Errors
/// As [`inspect`], but for what lies outside.
pub fn hex_bytes(path: &Path, start: u64, end: u64) -> Result<Vec<u8>, Damage> {
    ihex::bytes(File::open(path).map_err(unreadable)?, start, end.min(start + MAX_MEMORY))
}

/// Cuts a dump of flash behind the image that it begins with, where the format tells where that is.
///
/// # Errors
/// When it begins with no image of this board.
pub fn cut_behind_image(path: &Path, rules: &ImageRules) -> Result<(), Damage> {
    if !rules.formats.contains(&ImageFormat::EspImage) {
        return Ok(());
    }
    let file = File::options().read(true).write(true).open(path).map_err(unreadable)?;
    let end = esp::end_of(file.try_clone().map_err(unreadable)?, rules)?;
    file.set_len(end).and_then(|()| file.sync_all()).map_err(unreadable)
}

fn format_of(file: &mut File, size: u64, rules: &ImageRules) -> Result<ImageFormat, Damage> {
    let mut head = Vec::with_capacity(HEAD);
    file.take(HEAD as u64).read_to_end(&mut head).map_err(unreadable)?;
    file.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    if size == 0 {
        return Err(Damage::Corrupt("the file is empty".into()));
    }
    let (seen, sure) = sniff(&head);
    let accepted = |format: &ImageFormat| rules.formats.contains(format);
    match seen {
        Some(format) if accepted(&format) => Ok(format),
        Some(format) if sure || !accepted(&ImageFormat::Raw) => Err(other_format(format.as_str(), rules)),
        None if !accepted(&ImageFormat::Raw) => Err(other_format(name_of(&head), rules)),
        _ => Ok(ImageFormat::Raw),
    }
}

/// The format that the first bytes show, and whether they can hardly be anything else.
fn sniff(head: &[u8]) -> (Option<ImageFormat>, bool) {
    let hex_line = |line: &[u8]| line.iter().all(u8::is_ascii_hexdigit);
    match head {
        [0x7f, b'E', b'L', b'F', ..] => (Some(ImageFormat::Elf), true),
        [b':', rest @ ..] => {
            let line = rest.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
            (Some(ImageFormat::Ihex), line.len() >= 10 && hex_line(line))
        }
        [esp::MAGIC, ..] => (Some(ImageFormat::EspImage), false),
        _ => (None, false),
    }
}

/// A foreign format by name, for the refusal.
fn name_of(head: &[u8]) -> &'static str {
    match head {
        [b'U', b'F', b'2', b'\n', ..] => "uf2",
        [0x3d, 0xb8, 0xf3, 0x96, ..] => "mcuboot",
        [b'P', b'K', ..] => "zip",
        [0x1f, 0x8b, ..] => "gzip",
        [b'S', b'0'..=b'9', ..] => "srec",
        _ => "of no known format",
    }
}

fn other_format(seen: &str, rules: &ImageRules) -> Damage {
    let wanted: Vec<&str> = rules.formats.iter().map(|format| format.as_str()).collect();
    Damage::WrongTarget(format!("the file is {seen}, this board takes {}", wanted.join(" or ")))
}

fn raw(size: u64, rules: &ImageRules) -> Result<ImageInfo, Damage> {
    fits(size, rules)?;
    Ok(ImageInfo { format: ImageFormat::Raw, flash_bytes: size, ranges: Vec::new(), version: None, project: None })
}

/// For formats without addresses: the whole file is written.
fn fits(size: u64, rules: &ImageRules) -> Result<(), Damage> {
    if size <= rules.max_size {
        return Ok(());
    }
    Err(Damage::TooLarge(format!("{size} bytes, the board takes at most {}", rules.max_size)))
}

/// Merges `[start, end)` ranges and checks them against the board's program area.
fn checked_ranges(mut ranges: Vec<(u64, u64)>, rules: &ImageRules) -> Result<Vec<(u64, u64)>, Damage> {
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (start, end) in ranges {
        match merged.last_mut() {
            Some(last) if start < last.1 => {
                return Err(Damage::Corrupt(format!("address {start:#x} is written twice")));
            }
            Some(last) if start == last.1 => last.1 = end,
            _ => merged.push((start, end)),
        }
    }
    let (Some(first), Some(last)) = (merged.first(), merged.last()) else {
        return Err(Damage::Corrupt("it holds no data".into()));
    };
    if last.1 > rules.max_size {
        let reason = format!("it reaches to {:#x}, the program area ends at {:#x}", last.1, rules.max_size);
        return Err(Damage::TooLarge(reason));
    }
    if first.0 < rules.min_address {
        let reason = format!("it begins at {:#x}, the program area at {:#x}", first.0, rules.min_address);
        return Err(Damage::WrongTarget(reason));
    }
    Ok(merged)
}

fn total(ranges: &[(u64, u64)]) -> u64 {
    ranges.iter().map(|(start, end)| end - start).sum()
}

#[expect(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn unreadable(error: std::io::Error) -> Damage {
    Damage::Corrupt(format!("the staged file cannot be read: {error}"))
}
