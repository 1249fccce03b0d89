//! A pushed image (5/0/0): parts come in, are unwrapped, and go out as commands; none is kept.
//!
//! The endpoint below sees to the order of the blocks; this holds only where in the wrapping the stream is.

use coap::{Code, ExchangeId, Incoming, Part};

use super::FirmwareOrder;
use super::commands::Order;
use crate::format::tlv::OpaqueStream;
use crate::format::{self, ContentFormat, DecodeError};
use crate::path::Path;
use crate::value::{Kind, Value};

const PACKAGE: Path = Path::new([5, 0, 0]);

/// A push under way.
#[derive(Debug)]
pub(super) struct Push {
    /// The request that it began with; tells it from one that began anew.
    pub(super) begun_by: ExchangeId,
    wrapping: Wrapping,
    /// Bytes of the body taken so far.
    taken: u64,
    /// Bytes of the image handed out so far.
    handed_out: u64,
}

#[derive(Debug)]
enum Wrapping {
    None,
    Tlv(OpaqueStream),
}

/// Takes one part, and gives the order that it amounts to.
///
/// # Errors
/// The code to answer: 4.00 for what can't be unwrapped, 4.08 for a part out of line, 4.15 for a format that can't be streamed.
pub(super) fn take(push: &mut Option<Box<Push>>, request: &Incoming, part: Part) -> Result<Order, Code> {
    if part.first {
        *push = None;
        match begin(request, part)? {
            Start::Whole(image) => return Ok(Order::firmware(whole_order(image))),
            Start::Stream(wrapping) => {
                *push = Some(Box::new(Push { begun_by: request.exchange, wrapping, taken: 0, handed_out: 0 }));
            }
        }
    }
    let under_way = push.as_mut().filter(|push| push.taken == part.offset).ok_or(Code::REQUEST_ENTITY_INCOMPLETE)?;
    let order = under_way.take(&request.payload, part);
    if order.is_err() || !part.more {
        *push = None;
    }
    order.map(Order::firmware)
}

/// The order that a whole image amounts to: one NUL byte asks to forget what is there.
pub(super) fn whole_order(payload: Vec<u8>) -> FirmwareOrder {
    let size = Some(length(&payload));
    match payload.as_slice() {
        [0] => FirmwareOrder::Reset,
        _ => FirmwareOrder::Push { payload, first: true, more: false, offset: 0, size },
    }
}

enum Start {
    Whole(Vec<u8>),
    Stream(Wrapping),
}

fn begin(request: &Incoming, part: Part) -> Result<Start, Code> {
    let format = request.content_format.and_then(ContentFormat::from_number);
    match format.ok_or(Code::UNSUPPORTED_CONTENT_FORMAT)? {
        ContentFormat::Opaque => Ok(Start::Stream(Wrapping::None)),
        ContentFormat::Tlv => Ok(Start::Stream(Wrapping::Tlv(OpaqueStream::new(PACKAGE)))),
        _ if part.more => Err(Code::UNSUPPORTED_CONTENT_FORMAT),
        format => unwrap_whole(format, &request.payload).map(Start::Whole),
    }
}

fn unwrap_whole(format: ContentFormat, payload: &[u8]) -> Result<Vec<u8>, Code> {
    let kinds = |path: Path| (path == PACKAGE).then_some(Kind::Opaque);
    let records = format::decode(format, PACKAGE, payload, &kinds).map_err(|error| match error {
        DecodeError::Unsupported => Code::UNSUPPORTED_CONTENT_FORMAT,
        _ => Code::BAD_REQUEST,
    })?;
    match records.into_iter().next().map(|record| record.value) {
        Some(Value::Opaque(image)) => Ok(image),
        _ => Err(Code::BAD_REQUEST),
    }
}

impl Push {
    fn take(&mut self, body: &[u8], part: Part) -> Result<FirmwareOrder, Code> {
        let (payload, size) = match &mut self.wrapping {
            Wrapping::None => (body, part.size),
            Wrapping::Tlv(stream) => {
                let payload = stream.push(body).map_err(|_| Code::BAD_REQUEST)?;
                if !part.more {
                    stream.finish().map_err(|_| Code::BAD_REQUEST)?;
                }
                (payload, stream.total().and_then(|total| u64::try_from(total).ok()))
            }
        };
        let (offset, first) = (self.handed_out, part.first);
        self.taken += length(body);
        self.handed_out += length(payload);
        Ok(match (payload, first, part.more) {
            ([0], true, false) => FirmwareOrder::Reset,
            _ => FirmwareOrder::Push { payload: payload.to_vec(), first, more: part.more, offset, size },
        })
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
