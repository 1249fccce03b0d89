//! Payloads of SenmlCbor: read, written, read again; and as lists of paths.
#![no_main]

use fuzz::round_trip;
use libfuzzer_sys::fuzz_target;
use lwm2m::format::ContentFormat;
use lwm2m::format::senml_cbor::{decode_paths, encode_paths};

fuzz_target!(|data: &[u8]| {
    round_trip(ContentFormat::SenmlCbor, data);
    let Ok(paths) = decode_paths(data.get(1..).unwrap_or_default()) else { return };
    assert_eq!(decode_paths(&encode_paths(&paths)), Ok(paths));
});
