//! The control requests of each kind of adapter, as the Linux drivers send them: what the chip answers, and what that means.

use super::descriptors::{Ids, Kind, descriptor};

/// A SETUP packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    /// Direction, type and recipient.
    pub(super) kind: u8,
    /// The request.
    pub(super) request: u8,
    /// Its value.
    pub(super) value: u16,
    /// Its index.
    pub(super) index: u16,
}

/// What a request comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reaction {
    /// The answer; `None` is a stall.
    pub(super) answer: Option<Vec<u8>>,
    /// What it did to the line, in words.
    pub(super) told: Option<String>,
}

/// An adapter's chip.
#[derive(Debug)]
pub(super) struct Chip {
    kind: Kind,
    ids: Ids,
    /// DTR is bit 0, RTS bit 1; one each for two ports.
    lines: [u8; 2],
    /// The CH340's registers.
    registers: [u8; 256],
}

impl Chip {
    pub(super) fn new(kind: Kind, ids: Ids) -> Self {
        Self { kind, ids, lines: [0; 2], registers: [0; 256] }
    }

    /// Whether DTR is raised on the port with this answering endpoint.
    pub(super) fn dtr(&self, bulk_in: u8) -> bool {
        self.lines[usize::from(bulk_in == 4)] & 1 != 0
    }

    pub(super) fn control(&mut self, setup: Setup, out: &[u8]) -> Reaction {
        match (setup.kind, setup.request) {
            (0x80, 6) => return answered(descriptor(self.kind, &self.ids, setup.value)),
            // GET_STATUS, GET_CONFIGURATION
            (0x80..=0x82, 0) => return answered(Some(vec![0, 0])),
            (0x80, 8) => return answered(Some(vec![1])),
            // SET_CONFIGURATION, SET_INTERFACE, CLEAR_FEATURE
            (0, 9) | (1, 11) | (2, 1) => return answered(Some(Vec::new())),
            _ => {}
        }
        match self.kind {
            Kind::Acm | Kind::TwoAcm => self.acm(setup, out),
            Kind::Cp210x => self.cp210x(setup, out),
            Kind::Ch341 => self.ch341(setup),
            Kind::Ftdi => self.ftdi(setup),
        }
    }

    fn acm(&mut self, setup: Setup, out: &[u8]) -> Reaction {
        let port = usize::from(setup.index >= 2);
        match (setup.kind, setup.request) {
            (0x21, 0x20) => said(number(out).map(|baud| format!("baud {baud}"))),
            (0xa1, 0x21) => answered(Some(vec![0, 0xc2, 1, 0, 0, 0, 8])),
            (0x21, 0x22) => self.set_lines(port, low(setup.value)),
            (0x21, 0x23) => said(Some(format!("break {}", setup.value))),
            _ => answered(None),
        }
    }

    fn cp210x(&mut self, setup: Setup, out: &[u8]) -> Reaction {
        match (setup.kind, setup.request) {
            // The part: a CP2102.
            (0xc0, 0xff) if setup.value == 0x370b => answered(Some(vec![2])),
            (0x41, 0x1e) => said(number(out).map(|baud| format!("baud {baud}"))),
            (0x41, 0x07) => self.masked_lines(setup.value),
            (0x41, 0x05) => said(Some(format!("break {}", setup.value))),
            (0xc1, 0x1d) => answered(Some(115_200_u32.to_le_bytes().to_vec())),
            // CTS, DSR and carrier are there.
            (0xc1, 0x08) => answered(Some(vec![self.lines[0] | 0xb0])),
            (0xc1, 0x04) => answered(Some(vec![0, 8])),
            (0xc1, 0x10) => answered(Some(vec![0; 19])),
            (0xc1, 0x14) => answered(Some(vec![0; 16])),
            (0x41, _) => answered(Some(Vec::new())),
            _ => answered(None),
        }
    }

    fn ch341(&mut self, setup: Setup) -> Reaction {
        let [register, other] = setup.value.to_le_bytes();
        match (setup.kind, setup.request) {
            // The chip's version.
            (0xc0, 0x5f) => answered(Some(vec![0x31, 0])),
            (0x40, 0xa1) => answered(Some(Vec::new())),
            (0x40, 0x9a) => {
                let [value, its] = setup.index.to_le_bytes();
                self.registers[usize::from(register)] = value;
                self.registers[usize::from(other)] = its;
                said((setup.value == 0x1312).then(|| format!("divisor {:04x}", setup.index)))
            }
            // The modem's inputs, inverted.
            (0xc0, 0x95) if setup.value == 0x0706 => answered(Some(vec![0xf0, 0xee])),
            (0xc0, 0x95) => {
                answered(Some([register, other].map(|number| self.registers[usize::from(number)]).to_vec()))
            }
            // Bits 5 and 6, inverted.
            (0x40, 0xa4) => self.set_lines(0, low(!setup.value >> 5)),
            _ => answered(None),
        }
    }

    fn ftdi(&mut self, setup: Setup) -> Reaction {
        match (setup.kind, setup.request) {
            (0x40, 1) => self.masked_lines(setup.value),
            (0x40, 3) => said(Some(format!("divisor {:04x}", setup.value))),
            (0x40, 4) => said((setup.value & 0x4000 != 0).then(|| "break 1".to_owned())),
            (0xc0, 5) => answered(Some(vec![0xb1, 0x60])),
            // The latency timer, in ms.
            (0xc0, 0x0a) => answered(Some(vec![16])),
            (0xc0, 0x90) => answered(Some(vec![0, 0])),
            (0x40, _) => answered(Some(Vec::new())),
            _ => answered(None),
        }
    }

    /// CP210x and FTDI: the high byte says which lines are meant.
    fn masked_lines(&mut self, value: u16) -> Reaction {
        let [values, mask] = value.to_le_bytes();
        let lines = self.lines[0] & !mask | values & mask;
        self.set_lines(0, lines)
    }

    fn set_lines(&mut self, port: usize, lines: u8) -> Reaction {
        self.lines[port] = lines & 3;
        said(Some(format!("lines dtr={} rts={}", lines & 1, lines >> 1 & 1)))
    }
}

fn low(value: u16) -> u8 {
    value.to_le_bytes()[0]
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

fn answered(answer: Option<Vec<u8>>) -> Reaction {
    Reaction { answer, told: None }
}

fn said(told: Option<String>) -> Reaction {
    Reaction { answer: Some(Vec::new()), told }
}
