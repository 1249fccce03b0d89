//! Values as compressed JSON: tools print the same lines at every flash, and a disk of the gateway's kind is small.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// Longest text that is unpacked, in bytes: a tool's output is kept to 64 KiB, and JSON may escape each of its bytes.
const LONGEST: u64 = 4 << 20;

/// Packs a value; its checksum goes with it.
///
/// # Errors
/// What the serializer says.
pub(super) fn pack<T: serde::Serialize>(value: &T) -> std::io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&serde_json::to_vec(value)?)?;
    encoder.finish()
}

/// Unpacks a value.
///
/// # Errors
/// One line: cut, damaged, or written by another version.
pub(super) fn unpack<T: serde::de::DeserializeOwned>(bytes: &[u8], length: i64) -> Result<T, String> {
    if usize::try_from(length) != Ok(bytes.len()) {
        return Err(format!("cut: {} of {length} bytes are there", bytes.len()));
    }
    let mut text = Vec::new();
    ZlibDecoder::new(bytes).take(LONGEST).read_to_end(&mut text).map_err(|error| format!("damaged: {error}"))?;
    serde_json::from_slice(&text).map_err(|error| format!("not understood: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_and_what_was_cut_or_changed_is_noticed() {
        let text = "avrdude: AVR device initialized and ready to accept instructions\n".repeat(30);
        let packed = pack(&text).expect("packed");
        let length = i64::try_from(packed.len()).expect("short");
        assert!(packed.len() < text.len() / 8, "{} bytes", packed.len());
        assert_eq!(unpack::<String>(&packed, length), Ok(text));
        assert!(unpack::<String>(&packed[..packed.len() - 1], length).is_err_and(|error| error.contains("are there")));
        assert!(unpack::<String>(&packed[..9], 9).is_err());
        for at in 0..packed.len() {
            let mut other = packed.clone();
            other[at] ^= 0x10;
            assert!(unpack::<String>(&other, length).is_err(), "byte {at}");
        }
        assert!(unpack::<u32>(&packed, length).is_err_and(|error| error.contains("not understood")));
    }

    #[test]
    fn a_bomb_unpacks_to_a_bounded_text() {
        let packed = pack(&"x".repeat(32 << 20)).expect("packed");
        let length = i64::try_from(packed.len()).expect("short");
        assert!(unpack::<String>(&packed, length).is_err());
    }
}
