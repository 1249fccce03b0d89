//! What a tool read from a board, made into an image that can be flashed back: cut to the program area, without what is
//! erased behind the program.
//!
//! Blocking; driven by the manager before a device's first flash. What was read is trusted no more than anything else: it
//! passes the same inspection as an image that a server sends.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::device::{ImageInfo, ImageRules};

use super::inspect;

/// Bytes of data in one record of Intel HEX.
const ROW: usize = 16;
/// What an erased cell reads.
const ERASED: u8 = 0xff;

/// Makes an image of a file that was read from a board, in its place.
///
/// # Errors
/// Why it is none, in one line: the board is blank, or holds something that could not be flashed back.
pub(super) fn trim(path: &Path, rules: &ImageRules) -> Result<ImageInfo, String> {
    let head = inspect::head(path).map_err(|error| error.to_string())?;
    match head.first() {
        Some(b':') => trim_hex(path, rules)?,
        Some(_) => inspect::cut_behind_image(path, rules).map_err(|damage| damage.to_string())?,
        None => return Err("nothing was read".to_owned()),
    }
    inspect::inspect(path, rules).map_err(|damage| format!("what the board holds is no image for it: {damage}"))
}

fn trim_hex(path: &Path, rules: &ImageRules) -> Result<(), String> {
    let memory = inspect::hex_bytes(path, rules.min_address, rules.max_size).map_err(|damage| damage.to_string())?;
    let used = memory.iter().rposition(|&byte| byte != ERASED).map_or(0, |last| last + 1);
    if used == 0 {
        return Err("the board is blank".to_owned());
    }
    let fresh = path.with_extension("trimmed");
    write_hex(&fresh, rules.min_address, &memory[..used])
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(|error| format!("cannot store it: {error}"))
}

fn write_hex(path: &Path, start: u64, memory: &[u8]) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let mut out = BufWriter::new(file);
    let mut upper = 0;
    for (number, row) in memory.chunks(ROW).enumerate() {
        let address = start + (number * ROW) as u64;
        let high = (address >> 16) as u16;
        if std::mem::replace(&mut upper, high) != high {
            record(&mut out, 0, 4, &high.to_be_bytes())?;
        }
        record(&mut out, (address & 0xffff) as u16, 0, row)?;
    }
    record(&mut out, 0, 1, &[])?;
    let file: File = out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// One line: length, address, kind, data, and the checksum that makes their sum 0.
fn record(out: &mut impl Write, address: u16, kind: u8, data: &[u8]) -> std::io::Result<()> {
    let length = u8::try_from(data.len()).expect("a row is short");
    let [high, low] = address.to_be_bytes();
    let line: Vec<u8> = [length, high, low, kind].iter().chain(data).copied().collect();
    let sum = line.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
    out.write_all(b":")?;
    line.iter().chain([&sum]).try_for_each(|byte| write!(out, "{byte:02X}"))?;
    out.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::ImageFormat;

    fn rules(max_size: u64) -> ImageRules {
        ImageRules { formats: vec![ImageFormat::Ihex], max_size, ..ImageRules::default() }
    }

    fn file(memory: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("saved.part");
        write_hex(&path, 0, memory).expect("written");
        (folder, path)
    }

    #[test]
    fn a_dump_loses_its_boot_loader_and_the_erased_end() {
        let mut memory = vec![ERASED; 0x1_8000];
        memory[..300].fill(0x11);
        memory[0x1_0004] = 0x22;
        memory[0x1_7f00..].fill(0x33);
        let (_folder, path) = file(&memory);
        let info = trim(&path, &rules(0x1_7f00)).expect("an image");
        assert_eq!(info.ranges, [(0, 0x1_0005)]);
        assert_eq!(inspect::hex_bytes(&path, 0, 0x1_7f00).expect("readable")[..0x1_0005], memory[..0x1_0005]);
    }

    #[test]
    fn a_blank_board_and_rubbish_are_no_way_back() {
        let mut memory = vec![ERASED; 0x8000];
        memory[0x7e00..].fill(0x33);
        let (_folder, path) = file(&memory);
        assert_eq!(trim(&path, &rules(0x7e00)), Err("the board is blank".to_owned()));
        fs::write(&path, "").expect("written");
        assert!(trim(&path, &rules(0x7e00)).is_err());
        fs::write(&path, ":nonsense").expect("written");
        assert!(trim(&path, &rules(0x7e00)).is_err());
        fs::write(&path, [0xe9, 1, 2]).expect("written");
        assert!(trim(&path, &rules(0x7e00)).is_err());
    }
}
