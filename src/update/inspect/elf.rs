//! ELF: the machine and its flags, and what its loadable segments put where.
//!
//! Flash addresses are physical ones. An AVR's segments at 0x810000 and above are EEPROM, fuses, lock bits and the
//! like: a flash write leaves them out, so they neither count nor disqualify.

use std::fs::File;
use std::io::Read;

use object::elf::{EM_AVR, PT_LOAD};
use object::read::elf::{ElfFile32, ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, FileKind};

use super::{checked_ranges, total, unreadable};
use crate::device::{Damage, ImageFormat, ImageInfo, ImageRules};

/// Where the linker of AVR programs puts what is not flash.
const AVR_NOT_FLASH: u64 = 0x81_0000;

pub(super) fn inspect(mut file: File, rules: &ImageRules) -> Result<ImageInfo, Damage> {
    let mut data = Vec::new();
    file.read_to_end(&mut data).map_err(unreadable)?;
    let Loaded { machine, flags, segments } = match FileKind::parse(&*data).map_err(broken)? {
        FileKind::Elf32 => loaded(&ElfFile32::<Endianness>::parse(&*data).map_err(broken)?, &data)?,
        FileKind::Elf64 => loaded(&ElfFile64::<Endianness>::parse(&*data).map_err(broken)?, &data)?,
        _ => return Err(Damage::Corrupt("its header is damaged".into())),
    };
    match rules.elf_machine {
        Some(wanted) if wanted == machine => {}
        Some(wanted) => return Err(Damage::WrongTarget(format!("for machine {machine}, this board is {wanted}"))),
        None => return Err(Damage::WrongTarget("this board's file names no ELF machine".into())),
    }
    if let Some(wanted) = rules.elf_flags.filter(|wanted| flags & wanted.mask != wanted.value) {
        let (told, wanted) = (flags & wanted.mask, wanted.value);
        return Err(Damage::WrongTarget(format!("for architecture {told} of this machine, this board is {wanted}")));
    }
    let in_flash = |&(start, _): &(u64, u64)| machine != EM_AVR.0 || start < AVR_NOT_FLASH;
    let ranges = checked_ranges(segments.into_iter().filter(in_flash).collect(), rules)?;
    Ok(ImageInfo { format: ImageFormat::Elf, flash_bytes: total(&ranges), ranges, version: None, project: None })
}

/// What of an ELF file matters here.
struct Loaded {
    machine: u16,
    flags: u32,
    segments: Vec<(u64, u64)>,
}

fn loaded<'a, Elf: FileHeader<Endian = Endianness>>(
    elf: &object::read::elf::ElfFile<'a, Elf>,
    data: &'a [u8],
) -> Result<Loaded, Damage> {
    let endian = elf.endian();
    let mut segments = Vec::new();
    for header in elf.elf_program_headers() {
        let start: u64 = header.p_paddr(endian).into();
        let length: u64 = header.p_filesz(endian).into();
        if header.p_type(endian) != PT_LOAD || length == 0 {
            continue;
        }
        header.data(endian, data).map_err(|()| Damage::Corrupt("it is cut off within a segment".into()))?;
        let end = start.checked_add(length).ok_or_else(|| Damage::Corrupt("a segment wraps round".into()))?;
        segments.push((start, end));
    }
    let header = elf.elf_header();
    Ok(Loaded { machine: header.e_machine(endian).0, flags: header.e_flags(endian).0, segments })
}

fn broken(error: object::read::Error) -> Damage {
    Damage::Corrupt(format!("it cannot be read as ELF: {error}"))
}
