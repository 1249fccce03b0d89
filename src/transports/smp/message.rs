//! The few messages of the Simple Management Protocol (MCUmgr) that tell what a device runs. A header of eight bytes, all
//! numbers high byte first: operation, flags, length of the body (2), group (2), sequence, command; then a map in CBOR
//! (Zephyr, "SMP protocol specification"). Version 1 of it is spoken, which servers of version 2 answer alike.

use minicbor::Decoder;
use minicbor::data::Type;
use minicbor::decode::Error;

use crate::device::{Evidence, ReportedVersion, SmpSlot, plain_text};

const READ: u8 = 0;
const READ_ANSWER: u8 = 1;
const OS: u16 = 0;
const IMAGE: u16 = 1;
const HEADER: usize = 8;

/// At most so many images and slots are taken; MCUboot has two for each image, and few images.
const MAX_SLOTS: usize = 32;
/// Longest text that is kept, in characters.
const MAX_TEXT: usize = 128;
/// Longest hash: SHA-512.
const MAX_HASH: usize = 64;

/// What is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::transports) enum Read {
    /// Which images are in which slots (group 1, command 0).
    Images,
    /// What the application is, as `uname -a` would tell (group 0, command 7).
    Info,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::transports) enum Told {
    Images(Vec<SmpSlot>),
    Info(String),
    /// The server does not know the command.
    Refused,
}

impl Read {
    fn place(self) -> (u16, u8) {
        match self {
            Self::Images => (IMAGE, 0),
            Self::Info => (OS, 7),
        }
    }

    /// The request.
    pub(in crate::transports) fn request(self, sequence: u8) -> Vec<u8> {
        // {} and {"format": "a"}.
        let body: &[u8] = match self {
            Self::Images => &[0xA0],
            Self::Info => b"\xA1\x66format\x61a",
        };
        let (group, command) = self.place();
        let mut message = vec![READ, 0];
        message.extend(u16::try_from(body.len()).expect("our requests are short").to_be_bytes());
        message.extend(group.to_be_bytes());
        message.extend([sequence, command]);
        message.extend_from_slice(body);
        message
    }

    /// The answer to that request, if a message is it.
    pub(in crate::transports) fn answer(self, sequence: u8, message: &[u8]) -> Option<Told> {
        let (header, body) = message.split_first_chunk::<HEADER>()?;
        let [operation, _, high, low, group_high, group_low, answered, command] = *header;
        let ours = (u16::from_be_bytes([group_high, group_low]), command) == self.place() && answered == sequence;
        let whole = usize::from(u16::from_be_bytes([high, low])) == body.len();
        if operation & 7 != READ_ANSWER || !ours || !whole {
            return None;
        }
        Some(self.told(body).unwrap_or(Told::Refused))
    }

    fn told(self, body: &[u8]) -> Result<Told, Error> {
        let mut told = Told::Refused;
        each_entry(&mut Decoder::new(body), |key, value| {
            match (self, key) {
                (Self::Images, "images") => told = Told::Images(slots(value)?),
                (Self::Info, "output") => told = Told::Info(text(value)?),
                _ => value.skip()?,
            }
            Ok(())
        })?;
        Ok(told)
    }
}

/// What a device is found to run, from its answers.
pub(in crate::transports) fn evidence(
    slots: Vec<SmpSlot>,
    info: Option<String>,
) -> (Evidence, Option<ReportedVersion>) {
    // The first image is the application; further ones are of other cores.
    let runs = slots.iter().find(|slot| slot.active && slot.image == 0);
    let version = runs.map(|slot| slot.version.clone()).filter(|version| !version.is_empty());
    let version = version.map(|text| ReportedVersion { text, source: "smp".to_owned() });
    (Evidence::Smp { slots, info }, version)
}

fn slots(value: &mut Decoder<'_>) -> Result<Vec<SmpSlot>, Error> {
    let mut slots = Vec::new();
    let mut left = value.array()?;
    while more(value, &mut left)? {
        let mut slot = SmpSlot::default();
        each_entry(value, |key, value| {
            match key {
                "image" => slot.image = value.u32()?,
                "slot" => slot.slot = value.u32()?,
                "version" => slot.version = text(value)?,
                "hash" => slot.hash = value.bytes()?.iter().take(MAX_HASH).map(|byte| format!("{byte:02x}")).collect(),
                "active" => slot.active = value.bool()?,
                "pending" => slot.pending = value.bool()?,
                "confirmed" => slot.confirmed = value.bool()?,
                _ => value.skip()?,
            }
            Ok(())
        })?;
        if slots.len() < MAX_SLOTS {
            slots.push(slot);
        }
    }
    Ok(slots)
}

/// Goes through a map; keys that are no text are skipped with their values.
fn each_entry<'b>(
    map: &mut Decoder<'b>,
    mut take: impl FnMut(&str, &mut Decoder<'b>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut left = map.map()?;
    while more(map, &mut left)? {
        if map.datatype()? == Type::String {
            let key = map.str()?;
            take(key, map)?;
        } else {
            map.skip()?;
            map.skip()?;
        }
    }
    Ok(())
}

/// Whether there is another element in an array or a map, of known length or not.
fn more(values: &mut Decoder<'_>, left: &mut Option<u64>) -> Result<bool, Error> {
    match left {
        Some(0) => Ok(false),
        Some(count) => {
            *count -= 1;
            Ok(true)
        }
        None if values.datatype()? == Type::Break => {
            values.set_position(values.position() + 1);
            Ok(false)
        }
        None => Ok(true),
    }
}

fn text(value: &mut Decoder<'_>) -> Result<String, Error> {
    Ok(plain_text(value.str()?, MAX_TEXT))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_are_what_the_specification_says() {
        assert_eq!(Read::Images.request(7), [0, 0, 0, 1, 0, 1, 7, 0, 0xA0]);
        assert_eq!(Read::Info.request(8), b"\x00\x00\x00\x0a\x00\x00\x08\x07\xA1\x66format\x61a");
    }

    #[test]
    fn slots_are_read_from_maps_of_known_length_and_without() {
        let known = b"\xA2\x66images\x81\xA4\x64slot\x00\x67version\x655.1.0\x66active\xF5\x64hash\x42\xAB\xCD\x6BsplitStatus\x00";
        let open = b"\xBF\x66images\x9F\xBF\x64slot\x00\x67version\x655.1.0\x66active\xF5\x64hash\x42\xAB\xCD\x67unknown\x81\x01\xFF\xFF\x6BsplitStatus\x00\xFF";
        let slot = SmpSlot { version: "5.1.0".to_owned(), hash: "abcd".to_owned(), active: true, ..SmpSlot::default() };
        for body in [&known[..], &open[..]] {
            let length = u16::try_from(body.len()).expect("short").to_be_bytes();
            // Version 2 of the protocol says so in the operation.
            let message = [&[0x09, 0], &length[..], &[0, 1, 3, 0], body].concat();
            assert_eq!(Read::Images.answer(3, &message), Some(Told::Images(vec![slot.clone()])));
            assert_eq!(Read::Images.answer(4, &message), None, "of another request");
            assert_eq!(Read::Info.answer(3, &message), None, "of another command");
            assert_eq!(Read::Images.answer(3, &message[..message.len() - 1]), None, "cut short");
        }
    }

    #[test]
    fn a_command_that_is_not_known_is_refused() {
        assert_eq!(Read::Info.answer(1, b"\x01\x00\x00\x05\x00\x00\x01\x07\xA1\x62rc\x08"), Some(Told::Refused));
    }

    proptest! {
        #[test]
        fn any_body_is_safe(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            for read in [Read::Images, Read::Info] {
                let _ = read.told(&body);
                read.answer(0, &body);
            }
        }

        #[test]
        fn any_answer_to_our_request_is_safe(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let length = u16::try_from(body.len()).expect("short").to_be_bytes();
            let message = [&[1, 0], &length[..], &[0, 1, 0, 0], &body].concat();
            prop_assert!(Read::Images.answer(0, &message).is_some());
        }
    }
}
