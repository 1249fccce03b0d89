//! Espressif's ROM loader: reset into it, `SYNC`, which chip, its MAC address, on request the version in the application
//! descriptor, and reset back into the program.
//!
//! A request is `00 op length checksum data` in SLIP, all little endian; an answer `01 op length value data status`.
//! The status has 4 bytes from the ROM of newer chips, 2 from the oldest one and from a RAM stub that was left running;
//! the answer to SYNC is nothing but status, and so tells which. An unknown command is answered with the operation of
//! the last good one and an error.

use std::thread;
use std::time::{Duration, Instant};

use super::super::port::Port;
use super::slip;
use crate::device::{Answer, Evidence, QuestionFailed, ReportedVersion};

const SYNC: u8 = 0x08;
const READ_REG: u8 = 0x0A;
const SPI_SET_PARAMS: u8 = 0x0B;
const SPI_ATTACH: u8 = 0x0D;
const READ_FLASH_SLOW: u8 = 0x0E;
const GET_SECURITY_INFO: u8 = 0x14;

/// A register whose value differs from chip to chip.
const MAGIC: u32 = 0x4000_1000;
/// `esp_app_desc_t` lies behind the header of the image and of its first segment.
const DESCRIPTOR_AT: u32 = 0x20;
const DESCRIPTOR_MAGIC: [u8; 4] = [0x32, 0x54, 0xCD, 0xAB];
/// How much READ_FLASH_SLOW reads at once: enough for the magic and the version.
const FLASH_READ: u32 = 64;

/// How long one answer may take.
const REPLY: Duration = Duration::from_millis(500);
/// How long an answer to SYNC may take, and how often it is asked after each reset.
const SYNC_REPLY: Duration = Duration::from_millis(150);
const SYNCS: usize = 5;

/// How a chip is reset into its loader by the modem lines. Boards differ; they are tried in turn.
const RESETS: [fn(&mut Port); 3] = [
    |port| reset_by_transistors(port, 50),
    reset_by_usb_jtag,
    |port| {
        reset_by_transistors(port, 550);
    },
];

/// Where a chip keeps its factory MAC address.
#[derive(Clone, Copy)]
enum MacAt {
    /// Low word (last four bytes) at this address, the two first bytes in the next word.
    Fuses(u32),
    /// Scattered over three words, with a short list of prefixes.
    OldFuses,
    Unknown,
}

/// A chip that the magic register alone tells.
struct ByMagic {
    magic: u32,
    name: &'static str,
    mac: MacAt,
}

const BY_MAGIC: [ByMagic; 3] = [
    ByMagic { magic: 0x00F0_1D83, name: "ESP32", mac: MacAt::Fuses(0x3FF5_A004) },
    ByMagic { magic: 0x0000_07C6, name: "ESP32-S2", mac: MacAt::Fuses(0x3F41_A044) },
    ByMagic { magic: 0xFFF0_C101, name: "ESP8266", mac: MacAt::OldFuses },
];

/// Newer chips by the id in their security information; it is also the id in the header of their images.
fn by_chip_id(id: u32) -> Option<(&'static str, MacAt)> {
    Some(match id {
        5 => ("ESP32-C3", MacAt::Fuses(0x6000_8844)),
        9 => ("ESP32-S3", MacAt::Fuses(0x6000_7044)),
        12 => ("ESP32-C2", MacAt::Fuses(0x6000_8840)),
        13 => ("ESP32-C6", MacAt::Fuses(0x600B_0844)),
        16 => ("ESP32-H2", MacAt::Fuses(0x600B_0844)),
        18 => ("ESP32-P4", MacAt::Unknown),
        20 => ("ESP32-C61", MacAt::Unknown),
        23 => ("ESP32-C5", MacAt::Unknown),
        _ => return None,
    })
}

/// Asks, and resets into the program whatever came of it.
pub(super) fn ask(port: &mut Port, app_offset: Option<u32>) -> Result<Answer, QuestionFailed> {
    let answer = ask_loader(port, app_offset);
    port.pulse_rts();
    answer
}

fn ask_loader(port: &mut Port, app_offset: Option<u32>) -> Result<Answer, QuestionFailed> {
    let Some(mut rom) = connect(port)? else { return Ok(Answer::default()) };
    let Some(magic) = rom.register(MAGIC)? else { return Ok(Answer::default()) };
    let (chip, mac_at) = rom.chip(magic)?;
    let mac = rom.mac(mac_at)?;
    let app_version = match app_offset {
        // The oldest ROM has no command to read flash.
        Some(offset) if !matches!(mac_at, MacAt::OldFuses) => rom.app_version(offset)?,
        _ => None,
    };
    let version = app_version.clone().map(|text| ReportedVersion { text, source: "esp-app-desc".to_owned() });
    Ok(Answer { evidence: vec![Evidence::EspChip { chip, mac, app_version }], version })
}

/// Resets until the loader answers SYNC.
fn connect(port: &mut Port) -> Result<Option<Rom<'_>>, QuestionFailed> {
    let mut rom = Rom { port, decoder: slip::Decoder::default(), status: 4 };
    for reset in RESETS {
        reset(rom.port);
        rom.port.discard();
        for _ in 0..SYNCS {
            if rom.sync()? {
                return Ok(Some(rom));
            }
        }
    }
    Ok(None)
}

/// Two transistors cross the lines: EN is low while RTS alone is raised, IO0 while DTR alone is. IO0 is sampled when EN
/// has risen; where its capacitor is large that takes longer.
fn reset_by_transistors(port: &mut Port, hold_ms: u64) {
    port.set_lines(false, true);
    thread::sleep(Duration::from_millis(100));
    port.set_lines(true, false);
    thread::sleep(Duration::from_millis(hold_ms));
    port.set_lines(false, false);
}

/// The chip's own USB port takes the lines' changes as commands; the way must lead over both lines raised.
fn reset_by_usb_jtag(port: &mut Port) {
    let pause = Duration::from_millis(100);
    port.set_lines(false, false);
    thread::sleep(pause);
    port.set_lines(true, false);
    thread::sleep(pause);
    port.set_lines(true, true);
    port.set_lines(false, true);
    thread::sleep(pause);
    port.set_lines(false, false);
}

struct Rom<'a> {
    port: &'a mut Port,
    decoder: slip::Decoder,
    /// Length of the status at the end of an answer.
    status: usize,
}

struct Reply {
    value: u32,
    data: Vec<u8>,
}

impl Rom<'_> {
    fn sync(&mut self) -> Result<bool, QuestionFailed> {
        let mut data = vec![0x07, 0x07, 0x12, 0x20];
        data.resize(36, 0x55);
        self.send(SYNC, &data)?;
        let Some((_, body)) = self.receive(SYNC, SYNC_REPLY)? else { return Ok(false) };
        if body.len() != 2 && body.len() != 4 {
            return Ok(false);
        }
        self.status = body.len();
        // The ROM answers eight times.
        self.port.drain(Duration::from_millis(100))?;
        self.decoder = slip::Decoder::default();
        Ok(true)
    }

    fn register(&mut self, address: u32) -> Result<Option<u32>, QuestionFailed> {
        Ok(self.command(READ_REG, &address.to_le_bytes())?.map(|reply| reply.value))
    }

    fn chip(&mut self, magic: u32) -> Result<(String, MacAt), QuestionFailed> {
        if let Some(known) = BY_MAGIC.iter().find(|known| known.magic == magic) {
            return Ok((known.name.to_owned(), known.mac));
        }
        // Flags, a count, seven more bytes, the chip id, the revision of the ROM.
        let info = self.command(GET_SECURITY_INFO, &[])?;
        let id = info.and_then(|reply| reply.data.get(12..16).and_then(word));
        Ok(match id.and_then(by_chip_id) {
            Some((name, mac)) => (name.to_owned(), mac),
            None => (format!("unknown (magic 0x{magic:08x})"), MacAt::Unknown),
        })
    }

    fn mac(&mut self, at: MacAt) -> Result<Option<[u8; 6]>, QuestionFailed> {
        let mac = match at {
            MacAt::Unknown => None,
            MacAt::Fuses(address) => match (self.register(address)?, self.register(address + 4)?) {
                (Some(low), Some(high)) => Some(mac_of_words(low, high)),
                _ => None,
            },
            MacAt::OldFuses => {
                let words = (self.register(0x3FF0_0050)?, self.register(0x3FF0_0054)?, self.register(0x3FF0_005C)?);
                match words {
                    (Some(first), Some(second), Some(fourth)) => mac_of_old_fuses(first, second, fourth),
                    _ => None,
                }
            }
        };
        Ok(mac.filter(|mac| *mac != [0; 6] && *mac != [0xFF; 6]))
    }

    fn app_version(&mut self, offset: u32) -> Result<Option<String>, QuestionFailed> {
        if self.command(SPI_ATTACH, &[0; 8])?.is_none() {
            return Ok(None);
        }
        // Id, size of the flash (the least there is that holds an application), block, sector, page, status mask.
        let geometry: Vec<u8> =
            [0, 4 << 20, 0x10000, 0x1000, 0x100, 0xFFFF].iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
        if self.command(SPI_SET_PARAMS, &geometry)?.is_none() {
            return Ok(None);
        }
        let at = offset.saturating_add(DESCRIPTOR_AT);
        let request = [at.to_le_bytes(), FLASH_READ.to_le_bytes()].concat();
        Ok(self.command(READ_FLASH_SLOW, &request)?.and_then(|reply| descriptor_version(&reply.data)))
    }

    /// Sends a command; `None` when it was refused or not answered.
    fn command(&mut self, op: u8, data: &[u8]) -> Result<Option<Reply>, QuestionFailed> {
        self.send(op, data)?;
        let Some((value, mut data)) = self.receive(op, REPLY)? else { return Ok(None) };
        let Some(at) = data.len().checked_sub(self.status) else { return Ok(None) };
        let status = data.split_off(at);
        Ok((status[0] == 0).then_some(Reply { value, data }))
    }

    fn send(&mut self, op: u8, data: &[u8]) -> Result<(), QuestionFailed> {
        let length = u16::try_from(data.len()).expect("our commands are short");
        let mut packet = vec![0, op];
        packet.extend(length.to_le_bytes());
        packet.extend([0; 4]);
        packet.extend_from_slice(data);
        self.port.write(&slip::encode(&packet))
    }

    /// The value and the body of the next answer to this operation; others are skipped.
    fn receive(&mut self, op: u8, within: Duration) -> Result<Option<(u32, Vec<u8>)>, QuestionFailed> {
        let until = Instant::now() + within;
        let mut received = Vec::new();
        while self.port.read(&mut received, until)? {
            for byte in received.drain(..) {
                let Some(packet) = self.decoder.push(byte) else { continue };
                if let Some(answer) = answer_to(op, &packet) {
                    return Ok(Some(answer));
                }
            }
        }
        Ok(None)
    }
}

fn answer_to(op: u8, packet: &[u8]) -> Option<(u32, Vec<u8>)> {
    let &[1, answered, low, high, ref rest @ ..] = packet else { return None };
    let (value, body) = rest.split_first_chunk::<4>()?;
    let whole = usize::from(u16::from_le_bytes([low, high])) == body.len();
    (answered == op && whole).then(|| (u32::from_le_bytes(*value), body.to_vec()))
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_le_bytes)
}

fn mac_of_words(low: u32, high: u32) -> [u8; 6] {
    let [_, _, a, b] = high.to_be_bytes();
    let [c, d, e, f] = low.to_be_bytes();
    [a, b, c, d, e, f]
}

/// The prefix stands in the fourth word, or is one of two by a number in the second.
fn mac_of_old_fuses(first: u32, second: u32, fourth: u32) -> Option<[u8; 6]> {
    if first == 0 && second == 0 {
        return None;
    }
    let [_, a, b, c] = fourth.to_be_bytes();
    let [_, kind, d, e] = second.to_be_bytes();
    let prefix = match kind {
        _ if fourth != 0 => [a, b, c],
        0 => [0x18, 0xFE, 0x34],
        1 => [0xAC, 0xD0, 0x74],
        _ => return None,
    };
    Some([prefix[0], prefix[1], prefix[2], d, e, first.to_be_bytes()[0]])
}

/// `esp_app_desc_t`: magic, secure version, 8 bytes, then the version in 32.
fn descriptor_version(data: &[u8]) -> Option<String> {
    if !data.starts_with(&DESCRIPTOR_MAGIC) {
        return None;
    }
    let text = data.get(16..48)?.split(|&byte| byte == 0).next()?;
    let text: String = String::from_utf8_lossy(text).chars().filter(|letter| !letter.is_control()).collect();
    if text.is_empty() { None } else { Some(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mac_address_is_put_together_from_the_fuses() {
        let mac = [0x24, 0x6F, 0x28, 0xAA, 0xBB, 0xCC];
        assert_eq!(mac_of_words(0x28AA_BBCC, 0x1234_246F), mac);
        assert_eq!(mac_of_old_fuses(0xCC00_0000, 0x0000_AABB, 0), Some([0x18, 0xFE, 0x34, 0xAA, 0xBB, 0xCC]));
        assert_eq!(mac_of_old_fuses(0xCC00_0000, 0x0000_AABB, 0x0024_6F28), Some(mac));
        assert_eq!(mac_of_old_fuses(0, 0x0002_0000, 0), None);
    }

    #[test]
    fn an_answer_to_another_command_is_none() {
        // The real ROM answers an unknown command with the operation of the last good one.
        let packet = [1, READ_REG, 4, 0, 1, 2, 3, 4, 1, 5, 0, 0];
        assert_eq!(answer_to(GET_SECURITY_INFO, &packet), None);
        assert_eq!(answer_to(READ_REG, &packet), Some((0x0403_0201, vec![1, 5, 0, 0])));
    }

    #[test]
    fn the_version_ends_at_its_first_null() {
        let mut data = DESCRIPTOR_MAGIC.to_vec();
        data.resize(16, 0);
        data.extend(b"1.4.2\0leftover");
        data.resize(64, 0xFF);
        assert_eq!(descriptor_version(&data).as_deref(), Some("1.4.2"));
        assert_eq!(descriptor_version(&[0xFF; 64]), None);
    }

    proptest! {
        #[test]
        fn any_packet_is_safe(packet in proptest::collection::vec(any::<u8>(), 0..80)) {
            answer_to(READ_REG, &packet);
            descriptor_version(&packet);
        }
    }
}
