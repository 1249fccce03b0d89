//! What a USB device says of itself: the descriptors of chapter 9 of the USB 2.0 specification, per kind of adapter.

/// Endpoint attributes.
const BULK: u8 = 2;
const INTERRUPT: u8 = 3;

/// A kind of USB serial adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// CDC-ACM, as the Uno's own USB chip speaks it.
    Acm,
    /// One USB device with two CDC-ACM functions: two ttys.
    TwoAcm,
    /// Silicon Labs' CP2102.
    Cp210x,
    /// WCH's CH340.
    Ch341,
    /// FTDI's FT232R.
    Ftdi,
}

impl Kind {
    /// By the name of the driver that takes it.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "acm" => Self::Acm,
            "acm2" => Self::TwoAcm,
            "cp210x" => Self::Cp210x,
            "ch341" => Self::Ch341,
            "ftdi" => Self::Ftdi,
            _ => return None,
        })
    }

    /// The bulk endpoint that answers what was written to this one.
    pub(super) fn answering(self, out: u8) -> u8 {
        match (self, out) {
            (Self::Ch341, _) => 2,
            (Self::TwoAcm, 5) => 4,
            _ => 1,
        }
    }

    /// Whether an IN endpoint carries bytes of the line, and not events of the chip.
    pub(super) fn is_bulk_in(self, endpoint: u8) -> bool {
        endpoint == self.answering(2) || endpoint == self.answering(5)
    }

    fn product(self) -> &'static str {
        match self {
            Self::Acm => "Board with its own USB",
            Self::TwoAcm => "Board with two ports",
            Self::Cp210x => "CP2102 USB to UART Bridge Controller",
            Self::Ch341 => "USB Serial",
            Self::Ftdi => "FT232R USB UART",
        }
    }
}

/// How a device is told from others.
#[derive(Debug, Clone)]
pub struct Ids {
    /// Vendor.
    pub vid: u16,
    /// Product.
    pub pid: u16,
    /// Serial number; cheap adapters have none.
    pub serial: Option<String>,
}

/// The answer to GET_DESCRIPTOR; `None` is a stall.
pub(super) fn descriptor(kind: Kind, ids: &Ids, which: u16) -> Option<Vec<u8>> {
    let [index, of] = which.to_le_bytes();
    match of {
        1 => Some(device(kind, ids)),
        2 => Some(configuration(kind)),
        3 => string(kind, ids, index),
        _ => None,
    }
}

fn device(kind: Kind, ids: &Ids) -> Vec<u8> {
    let class: [u8; 3] = match kind {
        Kind::Acm => [2, 0, 0],
        // Interface associations are told by this triple.
        Kind::TwoAcm => [0xef, 2, 1],
        _ => [0, 0, 0],
    };
    // Drivers take the chip's type from it: 6.00 is an FT232R.
    let release: u16 = match kind {
        Kind::Ftdi => 0x0600,
        Kind::Ch341 => 0x0264,
        _ => 0x0100,
    };
    let mut bytes = vec![18, 1, 0, 2];
    bytes.extend(class);
    bytes.push(64);
    bytes.extend([ids.vid, ids.pid, release].map(u16::to_le_bytes).concat());
    bytes.extend([1, 2, if ids.serial.is_some() { 3 } else { 0 }, 1]);
    bytes
}

fn configuration(kind: Kind) -> Vec<u8> {
    let (interfaces, body) = match kind {
        Kind::Acm => (2, acm(0, [3, 1, 2])),
        Kind::TwoAcm => (4, [association(0), acm(0, [3, 1, 2]), association(2), acm(2, [6, 4, 5])].concat()),
        Kind::Cp210x => {
            (1, [vec![9, 4, 0, 0, 2, 255, 0, 0, 2], endpoint(0x81, BULK, 64), endpoint(2, BULK, 64)].concat())
        }
        Kind::Ftdi => {
            (1, [vec![9, 4, 0, 0, 2, 255, 255, 255, 2], endpoint(0x81, BULK, 64), endpoint(2, BULK, 64)].concat())
        }
        Kind::Ch341 => {
            let endpoints = [endpoint(0x82, BULK, 32), endpoint(2, BULK, 32), endpoint(0x81, INTERRUPT, 8)].concat();
            (1, [vec![9, 4, 0, 0, 3, 255, 1, 2, 0], endpoints].concat())
        }
    };
    let length = u16::try_from(9 + body.len()).expect("a configuration of some dozen bytes").to_le_bytes();
    [vec![9, 2, length[0], length[1], interfaces, 1, 0, 0x80, 50], body].concat()
}

fn association(first: u8) -> Vec<u8> {
    vec![8, 11, first, 2, 2, 2, 1, 0]
}

/// A CDC-ACM function: the interface that controls it, and the one with its bytes; endpoints for events, in and out.
fn acm(first: u8, [events, bulk_in, bulk_out]: [u8; 3]) -> Vec<u8> {
    let data = first + 1;
    [
        vec![9, 4, first, 0, 1, 2, 2, 1, 0],
        vec![5, 0x24, 0, 0x10, 1],
        vec![5, 0x24, 1, 0, data],
        // It knows line codings, modem lines and breaks.
        vec![4, 0x24, 2, 6],
        vec![5, 0x24, 6, first, data],
        endpoint(0x80 | events, INTERRUPT, 16),
        vec![9, 4, data, 0, 2, 10, 0, 0, 0],
        endpoint(0x80 | bulk_in, BULK, 64),
        endpoint(bulk_out, BULK, 64),
    ]
    .concat()
}

fn endpoint(address: u8, attributes: u8, size: u8) -> Vec<u8> {
    vec![7, 5, address, attributes, size, 0, if attributes == INTERRUPT { 10 } else { 0 }]
}

fn string(kind: Kind, ids: &Ids, index: u8) -> Option<Vec<u8>> {
    let text = match index {
        // English.
        0 => return Some(vec![4, 3, 9, 4]),
        1 => "Nuncio's test world",
        2 => kind.product(),
        3 => ids.serial.as_deref()?,
        _ => return None,
    };
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let length = u8::try_from(units.len() + 2).ok()?;
    Some([vec![length, 3], units].concat())
}
