//! The value of the Block1 and Block2 options (RFC 7959 §2.2): 20 bits of number, one of "more", three of size. coap-lite has
//! only 16 bits for all of it, so a firmware of 64-byte blocks would silently wrap at 256 KiB; hence this one.

/// One Block1 or Block2 option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockOption {
    /// Number of this block, at most [`BlockOption::MAX_NUM`].
    pub num: u32,
    /// Whether more blocks follow.
    pub more: bool,
    /// Size exponent, 0 (16 bytes) to 6 (1024 bytes).
    pub szx: u8,
}

/// What is wrong with the value of a Block option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// More than three bytes.
    #[error("block option of {0} bytes")]
    Length(usize),
    /// Exponent 7, reserved.
    #[error("reserved block size exponent 7")]
    ReservedSize,
}

impl BlockOption {
    /// The greatest number that 20 bits carry.
    pub const MAX_NUM: u32 = 0xf_ffff;

    /// Bytes in a full block of this size.
    pub const fn size(self) -> usize {
        block_size(self.szx)
    }

    /// Where the block starts in the body.
    pub const fn offset(self) -> u64 {
        (self.num as u64) << (self.szx + 4)
    }

    /// The block of size `szx` that starts at `offset`; `None` where the offset is inside a block or beyond 20 bits.
    pub fn at(offset: u64, more: bool, szx: u8) -> Option<Self> {
        let num = u32::try_from(offset >> (szx + 4)).ok()?;
        let block = Self { num, more, szx };
        (num <= Self::MAX_NUM && block.offset() == offset).then_some(block)
    }

    /// Reads the value of an option.
    ///
    /// # Errors
    /// On more than three bytes and on the reserved size.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        if bytes.len() > 3 {
            return Err(BlockError::Length(bytes.len()));
        }
        let value = bytes.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte));
        match (value & 7) as u8 {
            7 => Err(BlockError::ReservedSize),
            szx => Ok(Self { num: value >> 4, more: value & 8 != 0, szx }),
        }
    }

    /// The value as an unsigned integer; as an option it goes without leading zero bytes.
    pub const fn value(self) -> u32 {
        self.num << 4 | (self.more as u32) << 3 | self.szx as u32
    }

    /// The value of the option, 0 to 3 bytes.
    pub fn encode(self) -> Vec<u8> {
        let bytes = self.value().to_be_bytes();
        let leading = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes[leading..].to_vec()
    }
}

/// Bytes in a full block of exponent `szx`.
pub(crate) const fn block_size(szx: u8) -> usize {
    16 << szx
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_as_in_rfc_7959() {
        // §3.1: 2:0/1/128 is NUM 0, more, SZX 3.
        assert_eq!(BlockOption { num: 0, more: true, szx: 3 }.encode(), [0x0b]);
        // §3.2: 1:3/0/128, the last block.
        assert_eq!(BlockOption { num: 3, more: false, szx: 3 }.encode(), [0x33]);
        assert_eq!(BlockOption { num: 0, more: false, szx: 0 }.encode(), [0_u8; 0]);
        assert_eq!(BlockOption::decode(&[]), Ok(BlockOption { num: 0, more: false, szx: 0 }));
    }

    #[test]
    fn a_number_above_4095_takes_three_bytes() {
        let block = BlockOption { num: 5000, more: true, szx: 6 };
        assert_eq!(block.encode(), [0x01, 0x38, 0x8e]);
        assert_eq!(BlockOption::decode(&[0x01, 0x38, 0x8e]), Ok(block));
        assert_eq!(block.offset(), 5_120_000);
    }

    #[test]
    fn the_reserved_size_and_long_values_are_refused() {
        assert_eq!(BlockOption::decode(&[0x17]), Err(BlockError::ReservedSize));
        assert_eq!(BlockOption::decode(&[0, 0, 0, 0]), Err(BlockError::Length(4)));
    }

    #[test]
    fn an_offset_inside_a_block_has_no_number() {
        assert_eq!(BlockOption::at(2048, false, 6), Some(BlockOption { num: 2, more: false, szx: 6 }));
        assert_eq!(BlockOption::at(1000, false, 6), None);
        assert_eq!(BlockOption::at(1 << 24, false, 0), None);
        assert_eq!(BlockOption::at(u64::MAX, false, 6), None);
    }

    proptest! {
        #[test]
        fn any_block_survives_the_wire(num in 0..=BlockOption::MAX_NUM, more: bool, szx in 0_u8..=6) {
            let block = BlockOption { num, more, szx };
            prop_assert_eq!(BlockOption::decode(&block.encode()), Ok(block));
            prop_assert_eq!(BlockOption::at(block.offset(), more, szx), Some(block));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..6)) {
            let _ = BlockOption::decode(&bytes);
        }
    }
}
