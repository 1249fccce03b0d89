//! SLIP framing (RFC 1055): `C0 .. C0`, with `DB DC` for `C0` and `DB DD` for `DB`.

const END: u8 = 0xC0;
const ESC: u8 = 0xDB;
const ESC_END: u8 = 0xDC;
const ESC_ESC: u8 = 0xDD;

/// Longest frame that is taken, in bytes; what is longer is dropped.
const MAX_FRAME: usize = 1024;

/// Frames a packet.
pub(super) fn encode(packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(packet.len() + 8);
    frame.push(END);
    for &byte in packet {
        match byte {
            END => frame.extend([ESC, ESC_END]),
            ESC => frame.extend([ESC, ESC_ESC]),
            _ => frame.push(byte),
        }
    }
    frame.push(END);
    frame
}

/// Finds frames in a stream of bytes that need not begin with one: a boot log comes before them.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The packet so far, while inside a frame.
    inside: Option<Vec<u8>>,
    escaped: bool,
}

impl Decoder {
    /// Takes a byte; a packet when it ended one.
    pub(super) fn push(&mut self, byte: u8) -> Option<Vec<u8>> {
        if byte == END {
            self.escaped = false;
            // An empty frame is the end of one whose beginning was missed, and so the beginning of the next.
            return self.inside.replace(Vec::new()).filter(|packet| !packet.is_empty()).inspect(|_| self.inside = None);
        }
        let packet = self.inside.as_mut()?;
        match (std::mem::take(&mut self.escaped), byte) {
            (false, ESC) => self.escaped = true,
            (true, ESC_END) => packet.push(END),
            (true, ESC_ESC) => packet.push(ESC),
            (false, _) if packet.len() < MAX_FRAME => packet.push(byte),
            _ => self.inside = None,
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut decoder = Decoder::default();
        bytes.iter().filter_map(|&byte| decoder.push(byte)).collect()
    }

    #[test]
    fn special_bytes_are_escaped() {
        assert_eq!(encode(&[1, 0xC0, 0xDB]), [0xC0, 1, 0xDB, 0xDC, 0xDB, 0xDD, 0xC0]);
    }

    proptest! {
        #[test]
        fn packets_come_back_as_they_went(
            log in "[ -~\r\n]{0,40}",
            packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..100), 0..8),
        ) {
            let mut stream = log.into_bytes();
            packets.iter().for_each(|packet| stream.extend(encode(packet)));
            prop_assert_eq!(decode(&stream), packets);
        }

        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..4000)) {
            prop_assert!(decode(&bytes).iter().all(|packet| packet.len() <= MAX_FRAME));
        }
    }
}
