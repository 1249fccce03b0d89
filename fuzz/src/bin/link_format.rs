//! CoRE link format: what can be read is written and read again as the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lwm2m::link::{parse, write};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(links) = parse(text) else { return };
    let written = write(&links);
    assert_eq!(parse(&written).as_ref(), Ok(&links), "{text:?} became {written:?}");
});
