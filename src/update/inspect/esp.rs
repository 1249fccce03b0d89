//! Espressif application images: header, segments, checksum, appended digest, application descriptor.
//!
//! Offsets as `docs` of the vendor and real boot loaders have them: an 8-byte header; from the ESP32 on 16 more bytes
//! with the chip id at 0x0C and "digest appended" at 0x17; segments of 8 bytes header and data; a checksum in the last
//! byte of a 16-byte row (0xEF XOR all data); then 32 bytes SHA-256 over all before. An ESP8266 program may carry its
//! second-stage loader in front: a whole image, padding up to 0x1000, and the program's image there.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use sha2::{Digest, Sha256};

use super::{fits, unreadable};
use crate::device::{Damage, ImageFormat, ImageInfo, ImageRules};
use crate::update::uri::version_text;

pub(super) const MAGIC: u8 = 0xe9;
const MAX_SEGMENTS: u8 = 16;
const CHECKSUM_SEED: u8 = 0xef;
const SHORT_HEADER: u64 = 8;
const LONG_HEADER: u64 = 24;
const DIGEST: u64 = 32;
/// `esp_app_desc_t` begins the first segment's data.
const DESCRIPTOR_MAGIC: [u8; 4] = [0x32, 0x54, 0xcd, 0xab];
const DESCRIPTOR: usize = 0x70;
/// Where the program follows the ESP8266's second-stage loader.
const SECOND_IMAGE: u64 = 0x1000;
/// Secure-boot signature blocks fill a row of this size behind the image.
const SIGNATURE_ROW: u64 = 4096;
const SIGNATURE_MAGIC: [u8; 2] = [0xe7, 0x02];

pub(super) fn inspect(file: File, size: u64, rules: &ImageRules) -> Result<ImageInfo, Damage> {
    fits(size, rules)?;
    let mut reader = BufReader::new(file);
    let long = !rules.esp8266_header;
    let image = read_image(&mut reader, 0, size, long).map_err(|damage| {
        let other = read_image(&mut reader, 0, size, !long);
        if other.is_ok() { Damage::WrongTarget("it is for another family of chips".into()) } else { damage }
    })?;
    if let (true, Some(chip)) = (long, rules.esp_chip_id) {
        right_chip(image.chip, chip)?;
    }
    if let (true, Some(descriptor)) = (long, &image.descriptor) {
        not_a_loader(descriptor)?;
    }
    match long {
        true => nothing_behind(&mut reader, image.end, size)?,
        false => second_image(&mut reader, image.end, size)?,
    }
    let (version, project) = image.descriptor.as_deref().map_or((None, None), described);
    Ok(ImageInfo { format: ImageFormat::EspImage, flash_bytes: size, ranges: Vec::new(), version, project })
}

/// Where the image ends that a dump of flash begins with.
pub(super) fn end_of(file: File, rules: &ImageRules) -> Result<u64, Damage> {
    let size = file.metadata().map_err(unreadable)?.len();
    let mut reader = BufReader::new(file);
    let long = !rules.esp8266_header;
    let first = read_image(&mut reader, 0, size, long)?.end;
    let second = if long { None } else { read_image(&mut reader, SECOND_IMAGE, size, false).ok() };
    Ok(second.map_or(first, |image| image.end))
}

/// The version in the application descriptor of what looks like an image with the long header.
pub(super) fn own_version(mut file: File) -> Option<String> {
    let mut head = vec![0; LONG_HEADER as usize + 8 + DESCRIPTOR];
    file.read_exact(&mut head).ok()?;
    let is_image = head[0] == MAGIC;
    described(&head[LONG_HEADER as usize + 8..]).0.filter(|_| is_image)
}

struct Image {
    chip: u16,
    /// First bytes of the first segment's data.
    descriptor: Option<Vec<u8>>,
    end: u64,
}

/// Reads one image that begins at `start`, checksum and digest included.
fn read_image(reader: &mut BufReader<File>, start: u64, size: u64, long: bool) -> Result<Image, Damage> {
    let mut hasher = Hashing { inner: reader, sha256: Sha256::new() };
    hasher.inner.seek(SeekFrom::Start(start)).map_err(unreadable)?;
    let header = hasher.bytes(if long { LONG_HEADER } else { SHORT_HEADER })?;
    if header[0] != MAGIC || header[1] == 0 || header[1] > MAX_SEGMENTS {
        return Err(Damage::Corrupt(format!("no image header at {start:#x}")));
    }
    let mut at = start + header.len() as u64;
    let (mut sum, mut descriptor) = (CHECKSUM_SEED, None);
    for number in 0..header[1] {
        let segment = hasher.bytes(8)?;
        let length = u64::from(u32::from_le_bytes([segment[4], segment[5], segment[6], segment[7]]));
        at += 8 + length;
        if at > size {
            return Err(cut_off());
        }
        let first = hasher.segment(length, &mut sum)?;
        descriptor = if number == 0 { Some(first) } else { descriptor };
    }
    hasher.checksum(&mut at, start, sum)?;
    if long && header[0x17] == 1 {
        hasher.digest()?;
        at += DIGEST;
    }
    let chip = if long { u16::from_le_bytes([header[0x0c], header[0x0d]]) } else { 0 };
    Ok(Image { chip, descriptor, end: at })
}

/// Reads and hashes at once.
struct Hashing<'a> {
    inner: &'a mut BufReader<File>,
    sha256: Sha256,
}

impl Hashing<'_> {
    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, Damage> {
        let mut bytes = Vec::new();
        self.inner.by_ref().take(length).read_to_end(&mut bytes).map_err(unreadable)?;
        self.sha256.update(&bytes);
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(cut_off()) }
    }

    /// Adds a segment's data to the checksum; returns its first bytes.
    fn segment(&mut self, length: u64, sum: &mut u8) -> Result<Vec<u8>, Damage> {
        const PART: u64 = 16 * 1024;
        let (mut first, mut left) = (Vec::new(), length);
        while left > 0 {
            let part = self.bytes(left.min(PART))?;
            *sum = part.iter().fold(*sum, |sum, byte| sum ^ byte);
            left -= part.len() as u64;
            if first.is_empty() {
                first = part.into_iter().take(DESCRIPTOR).collect();
            }
        }
        Ok(first)
    }

    fn checksum(&mut self, at: &mut u64, start: u64, sum: u8) -> Result<(), Damage> {
        let row = 16 - (*at - start) % 16;
        let stored = self.bytes(row)?;
        *at += row;
        match stored.last() {
            Some(&last) if last == sum => Ok(()),
            _ => Err(Damage::Corrupt("its checksum is wrong".into())),
        }
    }

    fn digest(&mut self) -> Result<(), Damage> {
        let computed = self.sha256.clone().finalize();
        let stored = self.bytes(DIGEST)?;
        if stored == computed[..] { Ok(()) } else { Err(Damage::Corrupt("its appended SHA-256 is wrong".into())) }
    }
}

fn right_chip(chip: u16, wanted: u16) -> Result<(), Damage> {
    if chip == wanted {
        return Ok(());
    }
    Err(Damage::WrongTarget(format!("for chip id {chip}, this board's is {wanted}")))
}

/// A second-stage loader begins its data with 0x50, its version, and `v` of the framework's version.
fn not_a_loader(descriptor: &[u8]) -> Result<(), Damage> {
    if descriptor.first() == Some(&0x50) && descriptor.get(8) == Some(&b'v') {
        return Err(Damage::WrongTarget("it is a boot loader, not an application".into()));
    }
    Ok(())
}

/// Behind the image only a signature may follow, in a row of its own.
fn nothing_behind(reader: &mut BufReader<File>, end: u64, size: u64) -> Result<(), Damage> {
    if end == size {
        return Ok(());
    }
    let row = end.next_multiple_of(SIGNATURE_ROW);
    if row + SIGNATURE_ROW == size && bytes_at(reader, row, 2).map_err(unreadable)? == SIGNATURE_MAGIC {
        return Ok(());
    }
    Err(Damage::Corrupt(format!("{} bytes follow behind the image's end: no single application", size - end)))
}

fn second_image(reader: &mut BufReader<File>, end: u64, size: u64) -> Result<(), Damage> {
    if end == size {
        return Ok(());
    }
    if end > SECOND_IMAGE || size <= SECOND_IMAGE {
        return Err(Damage::Corrupt(format!("{} bytes follow behind the image's end", size - end)));
    }
    read_image(reader, SECOND_IMAGE, size, false).map(|_| ())
}

fn bytes_at(reader: &mut BufReader<File>, at: u64, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    reader.seek(SeekFrom::Start(at))?;
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Version and project of an application descriptor.
fn described(descriptor: &[u8]) -> (Option<String>, Option<String>) {
    if descriptor.len() < DESCRIPTOR || descriptor[..4] != DESCRIPTOR_MAGIC {
        return (None, None);
    }
    (text(&descriptor[0x10..0x30]), text(&descriptor[0x30..0x50]))
}

fn text(field: &[u8]) -> Option<String> {
    let length = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    version_text(std::str::from_utf8(&field[..length]).ok()?)
}

fn cut_off() -> Damage {
    Damage::Corrupt("it is cut off".into())
}
