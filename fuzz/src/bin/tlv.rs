//! Payloads of Tlv: read, written, read again; and as a stream in pieces.
#![no_main]

use fuzz::round_trip;
use libfuzzer_sys::fuzz_target;
use lwm2m::format::ContentFormat;
use lwm2m::format::tlv::OpaqueStream;
use lwm2m::path::Path;

fuzz_target!(|data: &[u8]| {
    round_trip(ContentFormat::Tlv, data);
    stream(data);
});

/// A streamed Write of 5/0/0: in pieces as long as the first byte says, the same bytes come out as in one piece.
fn stream(data: &[u8]) {
    let Some((&size, payload)) = data.split_first() else { return };
    let whole = unwrap(payload, payload.len().max(1));
    let parts = unwrap(payload, usize::from(size).max(1));
    assert_eq!(whole, parts, "the same whatever the pieces");
}

fn unwrap(payload: &[u8], piece: usize) -> Option<Vec<u8>> {
    let mut stream = OpaqueStream::new(Path::new([5, 0, 0]));
    let mut bytes = Vec::new();
    for part in payload.chunks(piece) {
        bytes.extend_from_slice(stream.push(part).ok()?);
    }
    stream.finish().ok()?;
    Some(bytes)
}
