//! The options of a message that the endpoint understands (RFC 7252 §5.10, 7641, 7959, 9175), between our types and coap-lite's map. A broken or unknown
//! elective option is passed over, a critical one is told as a fault (§5.4.1, §5.4.3, §5.4.5); what a fault leads to, the endpoint decides.

use coap_lite::{CoapOption, Packet};

use crate::block::{BlockError, BlockOption};

const URI_HOST: u16 = 3;
const ETAG: u16 = 4;
const OBSERVE: u16 = 6;
const URI_PORT: u16 = 7;
const LOCATION_PATH: u16 = 8;
const URI_PATH: u16 = 11;
const CONTENT_FORMAT: u16 = 12;
const MAX_AGE: u16 = 14;
const URI_QUERY: u16 = 15;
const ACCEPT: u16 = 17;
const BLOCK2: u16 = 23;
const BLOCK1: u16 = 27;
const SIZE2: u16 = 28;
const PROXY_URI: u16 = 35;
const PROXY_SCHEME: u16 = 39;
const SIZE1: u16 = 60;
const REQUEST_TAG: u16 = 292;

/// The longest path segment or query argument, in bytes.
pub(crate) const MAX_SEGMENT: usize = 255;

/// The options of one message. A list stands for a repeatable option, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Uri-Path.
    pub path: Vec<String>,
    /// Uri-Query.
    pub query: Vec<String>,
    /// Location-Path.
    pub location_path: Vec<String>,
    /// Content-Format.
    pub content_format: Option<u16>,
    /// Accept.
    pub accept: Option<u16>,
    /// Observe, 24 bits.
    pub observe: Option<u32>,
    /// Block1.
    pub block1: Option<BlockOption>,
    /// Block2.
    pub block2: Option<BlockOption>,
    /// Size1.
    pub size1: Option<u32>,
    /// Size2.
    pub size2: Option<u32>,
    /// Max-Age in seconds.
    pub max_age: Option<u32>,
    /// The first `ETag`.
    pub etag: Option<Vec<u8>>,
    /// The first Request-Tag (RFC 9175), which tells concurrent bodies apart.
    pub request_tag: Option<Vec<u8>>,
    /// The first critical option that can not be heeded; never written.
    pub fault: Option<OptionFault>,
}

/// A critical option that can not be heeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionFault {
    /// Unknown, repeated where it must not be, or of a wrong length: 4.02.
    UnknownCritical(u16),
    /// Block1 or Block2 with the reserved size: 4.00.
    ReservedBlockSize,
    /// Proxy-Uri or Proxy-Scheme: 5.05.
    Proxy,
}

impl Options {
    /// Sorts out what coap-lite found.
    pub(crate) fn read(packet: &Packet) -> Self {
        let mut options = Self::default();
        for (number, values) in packet.options() {
            let taken = match *number {
                URI_PATH => strings(values.iter(), &mut options.path),
                URI_QUERY => strings(values.iter(), &mut options.query),
                LOCATION_PATH => strings(values.iter(), &mut options.location_path),
                ETAG => opaque(values.front(), 1, &mut options.etag),
                REQUEST_TAG => opaque(values.front(), 0, &mut options.request_tag),
                number if values.len() > 1 => Err(OptionFault::UnknownCritical(number)),
                number => options.read_single(number, values.front().map_or(&[], Vec::as_slice)),
            };
            if let Err(fault) = taken
                && number & 1 == 1
            {
                options.fault.get_or_insert(match fault {
                    OptionFault::UnknownCritical(_) => OptionFault::UnknownCritical(*number),
                    other => other,
                });
            }
        }
        options
    }

    fn read_single(&mut self, number: u16, value: &[u8]) -> Result<(), OptionFault> {
        match number {
            OBSERVE => uint(value, 3, &mut self.observe),
            CONTENT_FORMAT => uint(value, 2, &mut self.content_format),
            MAX_AGE => uint(value, 4, &mut self.max_age),
            ACCEPT => uint(value, 2, &mut self.accept),
            SIZE1 => uint(value, 4, &mut self.size1),
            SIZE2 => uint(value, 4, &mut self.size2),
            BLOCK1 => block(value, &mut self.block1),
            BLOCK2 => block(value, &mut self.block2),
            // The driver's channel ends here, whatever name the peer has for it.
            URI_HOST | URI_PORT => Ok(()),
            PROXY_URI | PROXY_SCHEME => Err(OptionFault::Proxy),
            _ => Err(OptionFault::UnknownCritical(number)),
        }
    }

    /// Adds every option that is set.
    pub(crate) fn write(self, packet: &mut Packet) {
        let mut add = |number: u16, value: Vec<u8>| packet.add_option(CoapOption::from(number), value);
        let uints = [
            (OBSERVE, self.observe),
            (CONTENT_FORMAT, self.content_format.map(u32::from)),
            (MAX_AGE, self.max_age),
            (ACCEPT, self.accept.map(u32::from)),
            (BLOCK2, self.block2.map(BlockOption::value)),
            (BLOCK1, self.block1.map(BlockOption::value)),
            (SIZE2, self.size2),
            (SIZE1, self.size1),
        ];
        uints.into_iter().filter_map(|(number, value)| Some((number, value?))).for_each(|(n, v)| add(n, uint_bytes(v)));
        let lists = [(URI_PATH, self.path), (URI_QUERY, self.query), (LOCATION_PATH, self.location_path)];
        lists.into_iter().for_each(|(number, list)| list.into_iter().for_each(|s| add(number, s.into_bytes())));
        self.etag.filter(|tag| (1..=8).contains(&tag.len())).into_iter().for_each(|tag| add(ETAG, tag));
        self.request_tag.into_iter().for_each(|tag| add(REQUEST_TAG, tag));
    }
}

const BROKEN: OptionFault = OptionFault::UnknownCritical(0);

fn strings<'a>(values: impl ExactSizeIterator<Item = &'a Vec<u8>>, list: &mut Vec<String>) -> Result<(), OptionFault> {
    list.reserve_exact(values.len());
    for value in values {
        let text = str::from_utf8(value).ok().filter(|text| text.len() <= MAX_SEGMENT).ok_or(BROKEN)?;
        list.push(text.to_owned());
    }
    Ok(())
}

fn opaque(value: Option<&Vec<u8>>, min: usize, slot: &mut Option<Vec<u8>>) -> Result<(), OptionFault> {
    *slot = value.filter(|value| (min..=8).contains(&value.len())).cloned();
    Ok(())
}

fn uint<T: TryFrom<u32>>(value: &[u8], max: usize, slot: &mut Option<T>) -> Result<(), OptionFault> {
    let number = (value.len() <= max).then(|| value.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)));
    *slot = Some(number.and_then(|number| T::try_from(number).ok()).ok_or(BROKEN)?);
    Ok(())
}

fn block(value: &[u8], slot: &mut Option<BlockOption>) -> Result<(), OptionFault> {
    *slot = Some(BlockOption::decode(value).map_err(|error| match error {
        BlockError::Length(_) => BROKEN,
        BlockError::ReservedSize => OptionFault::ReservedBlockSize,
    })?);
    Ok(())
}

fn uint_bytes(value: u32) -> Vec<u8> {
    let leading = value.leading_zeros() as usize / 8;
    value.to_be_bytes()[leading..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(u16, &[u8])]) -> Options {
        let mut packet = Packet::new();
        options.iter().for_each(|(number, value)| packet.add_option(CoapOption::from(*number), value.to_vec()));
        Options::read(&packet)
    }

    #[test]
    fn integers_go_without_leading_zeros() {
        assert_eq!(uint_bytes(0), [0_u8; 0]);
        assert_eq!(uint_bytes(40), [40]);
        assert_eq!(uint_bytes(11542), [0x2d, 0x16]);
        assert_eq!(uint_bytes(0x0100_0000), [1, 0, 0, 0]);
    }

    #[test]
    fn leading_zeros_are_taken() {
        assert_eq!(read(&[(CONTENT_FORMAT, &[0, 40])]).content_format, Some(40));
    }

    #[test]
    fn a_broken_elective_option_is_passed_over() {
        let options = read(&[(CONTENT_FORMAT, &[1, 2, 3]), (OBSERVE, &[1, 2, 3, 4]), (ETAG, &[]), (SIZE1, &[0; 5])]);
        assert_eq!(options, Options::default());
    }

    #[test]
    fn a_broken_critical_option_is_a_fault() {
        let cases: [(u16, &[u8], OptionFault); 7] = [
            (URI_PATH, b"\xff\xfe", OptionFault::UnknownCritical(URI_PATH)),
            (URI_PATH, &[b'a'; 256], OptionFault::UnknownCritical(URI_PATH)),
            (ACCEPT, &[1, 2, 3], OptionFault::UnknownCritical(ACCEPT)),
            (BLOCK1, &[1, 2, 3, 4], OptionFault::UnknownCritical(BLOCK1)),
            (BLOCK2, &[7], OptionFault::ReservedBlockSize),
            (PROXY_URI, b"coap://x", OptionFault::Proxy),
            (9, &[], OptionFault::UnknownCritical(9)),
        ];
        for (number, value, fault) in cases {
            assert_eq!(read(&[(number, value)]).fault, Some(fault), "option {number}");
        }
    }

    #[test]
    fn repeating_a_single_option_is_a_fault_only_if_it_is_critical() {
        assert_eq!(read(&[(ACCEPT, &[1]), (ACCEPT, &[2])]).fault, Some(OptionFault::UnknownCritical(ACCEPT)));
        assert_eq!(read(&[(OBSERVE, &[]), (OBSERVE, &[1])]).fault, None);
    }

    #[test]
    fn host_and_port_are_known_and_without_effect() {
        assert_eq!(read(&[(URI_HOST, b"example"), (URI_PORT, &[0x16, 0x33])]), Options::default());
    }
}
