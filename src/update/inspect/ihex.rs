//! Intel HEX, line by line: every record whole, one end record and nothing behind it, no byte written twice.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use ihex::Record;

use super::{checked_ranges, total, unreadable};
use crate::device::{Damage, ImageFormat, ImageInfo, ImageRules};

/// Longest line: a record of 255 bytes has 521 characters.
const MAX_LINE: u64 = 600;
/// Most separate runs of data before they are refused as rubbish; a program has a handful.
const MAX_RUNS: usize = 65_536;
/// What an erased cell reads.
const ERASED: u8 = 0xff;

pub(super) fn inspect(file: File, rules: &ImageRules) -> Result<ImageInfo, Damage> {
    let memory = read(file, |_, _| ())?;
    if !memory.ended {
        return Err(Damage::Corrupt("the end record is missing: the file was cut off".into()));
    }
    let ranges = checked_ranges(memory.runs, rules)?;
    Ok(ImageInfo { format: ImageFormat::Ihex, flash_bytes: total(&ranges), ranges, version: None, project: None })
}

/// What a file writes from `start` up to `end`, what it leaves out erased.
pub(super) fn bytes(file: File, start: u64, end: u64) -> Result<Vec<u8>, Damage> {
    let mut cells = vec![ERASED; usize::try_from(end.saturating_sub(start)).unwrap_or(0)];
    read(file, |address, data| {
        for (address, &byte) in (address..).zip(data) {
            let cell = address.checked_sub(start).and_then(|at| cells.get_mut(usize::try_from(at).ok()?));
            cell.into_iter().for_each(|cell| *cell = byte);
        }
    })?;
    Ok(cells)
}

/// Reads all records; `take` gets address and bytes of each that has data.
fn read(file: File, mut take: impl FnMut(u64, &[u8])) -> Result<Memory, Damage> {
    let mut memory = Memory::default();
    let mut reader = BufReader::new(file);
    let mut number = 0;
    while let Some(line) = next_line(&mut reader)? {
        number += 1;
        let wrong = |why: String| Damage::Corrupt(format!("line {number}: {why}"));
        if !line.is_empty() {
            let record = Record::from_record_string(&line).map_err(|error| wrong(error.to_string()))?;
            if let Record::Data { offset, value } = &record {
                take(memory.base + u64::from(*offset), value);
            }
            memory.take(record).map_err(wrong)?;
        }
    }
    Ok(memory)
}

/// The next line without its end; `None` at the end of the file.
fn next_line(reader: &mut BufReader<File>) -> Result<Option<String>, Damage> {
    let mut line = Vec::new();
    reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line).map_err(unreadable)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.len() as u64 == MAX_LINE {
        return Err(Damage::Corrupt("a line is longer than any record".into()));
    }
    Ok(Some(String::from_utf8_lossy(line.trim_ascii()).into_owned()))
}

/// What the records so far write.
#[derive(Default)]
struct Memory {
    base: u64,
    runs: Vec<(u64, u64)>,
    ended: bool,
}

impl Memory {
    fn take(&mut self, record: Record) -> Result<(), String> {
        if self.ended {
            return Err("data behind the end record".into());
        }
        match record {
            Record::Data { offset, value } => return self.data(self.base + u64::from(offset), value.len() as u64),
            Record::ExtendedSegmentAddress(segment) => self.base = u64::from(segment) << 4,
            Record::ExtendedLinearAddress(high) => self.base = u64::from(high) << 16,
            Record::StartSegmentAddress { .. } | Record::StartLinearAddress(_) => {}
            Record::EndOfFile => self.ended = true,
        }
        Ok(())
    }

    fn data(&mut self, start: u64, length: u64) -> Result<(), String> {
        let full = self.runs.len() == MAX_RUNS;
        match self.runs.last_mut() {
            _ if length == 0 => {}
            Some(last) if last.1 == start => last.1 += length,
            _ if full => return Err("too many separate runs of data".into()),
            _ => self.runs.push((start, start + length)),
        }
        Ok(())
    }
}
