//! What is refused, and as what: the caller turns these into response codes.

use lwm2m::format::{self, ContentFormat, DecodeError, EncodeError, MAX_RECORDS};
use lwm2m::model::kind_at;
use lwm2m::path::Path;
use lwm2m::record::Record;
use lwm2m::value::{Kind, Value};

const JSON: ContentFormat = ContentFormat::SenmlJson;
const CBOR: ContentFormat = ContentFormat::SenmlCbor;
const TLV: ContentFormat = ContentFormat::Tlv;

fn decode(format: ContentFormat, base: Path, bytes: &[u8]) -> Result<Vec<Record>, DecodeError> {
    format::decode(format, base, bytes, &kind_at)
}

fn malformed(format: ContentFormat, base: Path, bytes: &[u8]) {
    let result = decode(format, base, bytes);
    assert!(matches!(result, Err(DecodeError::Malformed(_))), "{format:?} {bytes:02x?}: {result:?}");
}

fn server() -> Path {
    Path::new([1, 1])
}

#[test]
fn unknown_resources_are_named() {
    let unknown = Err(DecodeError::UnknownResource(Path::new([1, 1, 99])));
    assert_eq!(decode(JSON, server(), br#"[{"n":"/1/1/99","v":1}]"#), unknown);
    assert_eq!(decode(TLV, server(), &[0xc1, 99, 1]), unknown);
    let executable = Path::new([5, 0, 2]);
    let refused = Err(DecodeError::UnknownResource(executable));
    assert_eq!(decode(TLV, executable, &[0xc1, 2, 1]), refused, "nothing can be written to an executable");
    assert_eq!(decode(ContentFormat::Text, executable, b"1"), refused);
}

#[test]
fn values_of_another_type_are_named() {
    let lifetime = Path::new([1, 1, 1]);
    let wrong = Err(DecodeError::WrongKind { path: lifetime, expected: Kind::Integer });
    assert_eq!(decode(JSON, server(), br#"[{"n":"/1/1/1","vs":"60"}]"#), wrong);
    assert_eq!(decode(JSON, server(), br#"[{"n":"/1/1/1","v":0.5}]"#), wrong);
    assert_eq!(
        decode(CBOR, lifetime, &[0x81, 0xa2, 0x21, 0x66, b'/', b'1', b'/', b'1', b'/', b'1', 0x04, 0xf5]),
        wrong
    );
    assert_eq!(decode(TLV, lifetime, &[0xc3, 1, 0, 0, 1]), wrong, "three bytes are no integer");
    assert_eq!(decode(TLV, lifetime, &[0xc0, 1]), wrong, "nor are none");
    assert_eq!(decode(ContentFormat::Cbor, lifetime, &[0x61, b'1']), wrong);
    for text in ["", " 1", "1 ", "0x10", "1.0", "9223372036854775808"] {
        assert_eq!(decode(ContentFormat::Text, lifetime, text.as_bytes()), wrong, "{text:?}");
    }
    let storing = Path::new([1, 1, 6]);
    let wrong = Err(DecodeError::WrongKind { path: storing, expected: Kind::Boolean });
    assert_eq!(decode(TLV, storing, &[0xc1, 6, 2]), wrong);
    assert_eq!(decode(ContentFormat::Text, storing, b"true"), wrong);
    let package = Path::new([5, 0, 0]);
    let wrong = Err(DecodeError::WrongKind { path: package, expected: Kind::Opaque });
    assert_eq!(decode(ContentFormat::Text, package, b"AP8"), wrong, "padding is asked for");
    let uri = Path::new([5, 0, 1]);
    let wrong = Err(DecodeError::WrongKind { path: uri, expected: Kind::String });
    assert_eq!(decode(ContentFormat::Text, uri, &[0xff]), wrong);
    assert_eq!(decode(TLV, uri, &[0xc1, 1, 0xff]), wrong);
}

#[test]
fn words_for_numbers_are_no_floats() {
    let kinds = |_: Path| Some(Kind::Float);
    for text in ["inf", "nan", "-infinity", "1e999", "", "."] {
        let base = Path::new([3303, 0, 5700]);
        assert!(format::decode(ContentFormat::Text, base, text.as_bytes(), &kinds).is_err(), "{text:?}");
    }
}

#[test]
fn what_lies_beside_the_request_is_named() {
    let outside = Err(DecodeError::OutsideBase(Path::new([1, 2, 1])));
    assert_eq!(decode(JSON, server(), br#"[{"n":"/1/2/1","v":1}]"#), outside);
    assert_eq!(decode(TLV, Path::new([1, 1, 1]), &[0xc1, 2, 1]), Err(DecodeError::OutsideBase(Path::new([1, 1, 2]))));
    assert_eq!(decode(TLV, server(), &[0x03, 2, 0xc1, 1, 1]), Err(DecodeError::OutsideBase(Path::new([1, 2]))));
    assert_eq!(
        decode(TLV, Path::new([3, 0, 6, 1]), &[0x41, 0, 1]),
        Err(DecodeError::OutsideBase(Path::new([3, 0, 6, 0])))
    );
}

#[test]
fn tlv_entries_stand_at_their_level() {
    malformed(TLV, Path::new([1]), &[0xc1, 1, 1]);
    malformed(TLV, server(), &[0x41, 1, 1]);
    malformed(TLV, server(), &[0x05, 1, 0x03, 1, 0xc1, 1, 1]);
    malformed(TLV, server(), &[0x83, 1, 0xc1, 1, 1]);
    malformed(TLV, server(), &[0x83, 1, 0x80, 1, 1]);
    assert_eq!(decode(TLV, Path::ROOT, &[0xc1, 1, 1]), Err(DecodeError::Unsupported));
    let instances = [Record::new([3, 0, 6, 0], Value::Integer(1)), Record::new([3, 0, 6, 1], Value::Integer(5))];
    let bare = [0x41, 0, 1, 0x41, 1, 5];
    assert_eq!(
        decode(TLV, Path::new([3, 0, 6]), &bare).unwrap(),
        instances,
        "resource instances without their resource"
    );
    let whole = [0x86, 6, 0x41, 0, 1, 0x41, 1, 5];
    assert_eq!(decode(TLV, Path::new([3, 0, 6]), &whole).unwrap(), instances);
    assert_eq!(decode(TLV, Path::new([3, 0, 6, 1]), &[0x41, 1, 5]).unwrap(), instances[1..]);
}

#[test]
fn tlv_that_ends_too_early_is_malformed() {
    let whole = [0xd0, 0, 0, 3, 1, 2, 3];
    let package = Path::new([5, 0, 0]);
    assert_eq!(decode(TLV, package, &whole).unwrap(), [Record::new(package, Value::Opaque(vec![1, 2, 3]))]);
    for length in 1..whole.len() {
        malformed(TLV, package, &whole[..length]);
    }
    malformed(TLV, package, &[0xd8, 0, 0xff, 0xff, 0xff, 1]);
}

#[test]
fn senml_json_that_is_none_is_malformed() {
    let texts = [
        "",
        "{}",
        "[",
        "[1]",
        "[{}]",
        r#"[{"n":"/1/1/1"}]"#,
        r#"[{"v":1}]"#,
        r#"[{"n":"/1/1/1","v":1}] x"#,
        r#"[{"n":"/1/1/1","v":1,"v":2}]"#,
        r#"[{"n":"/1/1/1","v":1,"vs":"1"}]"#,
        r#"[{"n":"/1/1/1","v":"1"}]"#,
        r#"[{"n":"/1/1/1","v":null}]"#,
        r#"[{"n":"/1/1/1","v":1e999}]"#,
        r#"[{"n":"1/1/1","v":1}]"#,
        r#"[{"n":"/1/1","v":1}]"#,
        r#"[{"n":"/1/1/01","v":1}]"#,
        r#"[{"n":"/1/1/1/1/1","v":1}]"#,
        r#"[{"n":"//1/1","v":1}]"#,
        r#"[{"n":"/1/1/1","v":1,"must_":1}]"#,
        r#"[{"n":"/1/1/1","bv":1,"v":1}]"#,
        r#"[{"n":"/5/0/0","vd":"+/8="}]"#,
    ];
    for text in texts {
        malformed(JSON, Path::ROOT, text.as_bytes());
    }
}

#[test]
fn labels_that_do_not_concern_us_are_read_over() {
    let expected = [Record::new([1, 1, 1], Value::Integer(60))];
    let text = br#"[{"bn":"/1/1/","bt":1.7e9,"bu":"s","bv":0,"bver":10,"n":"1","t":-5,"u":"s","s":3,"x":{"y":[1,{}]},"v":60}]"#;
    assert_eq!(decode(JSON, server(), text).unwrap(), expected);
    // bt, bv 0, an unknown label with a nested value of unknown length, an unknown text label, n, v as half precision
    let mut bytes = vec![0x9f, 0xbf, 0x22, 0x1a, 0, 0, 0, 1, 0x24, 0x00, 0x18, 0x63, 0xa1, 0x01, 0x9f, 0x01, 0xff];
    bytes
        .extend([0x61, b'x', 0xf6, 0x00, 0x66, b'/', b'1', b'/', b'1', b'/', b'1', 0x02, 0xf9, 0x53, 0x80, 0xff, 0xff]);
    assert_eq!(decode(CBOR, server(), &bytes).unwrap(), expected);
}

#[test]
fn senml_cbor_that_is_none_is_malformed() {
    let name = [0x00, 0x66, b'/', b'1', b'/', b'1', b'/', b'1'];
    let record = |count: u8, rest: &[u8]| [&[0x81, 0xa0 | count], &name[..], rest].concat();
    assert_eq!(decode(CBOR, server(), &record(2, &[0x02, 0x05])).unwrap().len(), 1);
    malformed(CBOR, server(), &[]);
    malformed(CBOR, server(), &[0xa0]);
    malformed(CBOR, server(), &[0x81]);
    malformed(CBOR, server(), &[0x81, 0x01]);
    malformed(CBOR, server(), &record(1, &[]));
    malformed(CBOR, server(), &record(2, &[0x02]));
    malformed(CBOR, server(), &record(2, &[0x02, 0xc4, 0x82, 0x01, 0x02]));
    malformed(CBOR, server(), &record(2, &[0x02, 0x05, 0x00]));
    malformed(CBOR, server(), &record(3, &[0x02, 0x05, 0x02, 0x06]));
    malformed(CBOR, server(), &record(3, &[0x02, 0x05, 0x24, 0x01]));
    malformed(CBOR, server(), &record(3, &[0x02, 0x05, 0x62, b'x', b'_', 0x01]));
    malformed(CBOR, server(), &[0x9f, 0xbf, 0x18, 0x63, 0xff, 0xff]);
}

#[test]
fn counts_and_lengths_are_bounded() {
    let many = |count: usize| format!("[{}]", vec![r#"{"n":"/1/1/1","v":1}"#; count].join(","));
    assert_eq!(decode(JSON, server(), many(MAX_RECORDS).as_bytes()).unwrap().len(), MAX_RECORDS);
    assert_eq!(decode(JSON, server(), many(MAX_RECORDS + 1).as_bytes()), Err(DecodeError::TooMuch));
    assert_eq!(decode(JSON, server(), many(MAX_RECORDS + 500).as_bytes()), Err(DecodeError::TooMuch));
    let name = format!(r#"[{{"bn":"/1/1/","n":"{}","v":1}}]"#, "1".repeat(60));
    assert_eq!(decode(JSON, server(), name.as_bytes()), Err(DecodeError::TooMuch));
    let mut cbor = vec![0x9f];
    cbor.extend([0xa1, 0x00, 0x61, b'/'].repeat(MAX_RECORDS + 1));
    cbor.push(0xff);
    assert_eq!(format::decode_paths(CBOR, &cbor), Err(DecodeError::TooMuch));
    let labels = [&[0x81, 0xbf][..], &[0x18, 0x63, 0x01].repeat(100), &[0xff]].concat();
    assert_eq!(decode(CBOR, server(), &labels), Err(DecodeError::TooMuch));
    assert_eq!(decode(TLV, server(), &[0xc1, 1, 1].repeat(MAX_RECORDS + 1)), Err(DecodeError::TooMuch));
    assert_eq!(decode(TLV, Path::new([1]), &[0x00, 1].repeat(4000)), Err(DecodeError::TooMuch), "empty instances too");
    let deep = format!(r#"[{{"x":{}1{}}}]"#, "[".repeat(20_000), "]".repeat(20_000));
    malformed(JSON, server(), deep.as_bytes());
    let deep = [&[0x81, 0xa1, 0x18, 0x63][..], &[0x81; 60_000], &[0x9f; 5_000]].concat();
    malformed(CBOR, server(), &deep);
}

#[test]
fn what_a_format_cannot_hold_is_not_written() {
    let two = [Record::new([1, 1, 1], Value::Integer(1)), Record::new([1, 1, 6], Value::Boolean(true))];
    for format in [ContentFormat::Text, ContentFormat::Opaque, ContentFormat::Cbor] {
        assert_eq!(format::encode(format, server(), &two), Err(EncodeError::NotSingle));
        assert_eq!(format::encode(format, Path::new([1, 1, 1]), &[]), Err(EncodeError::NotSingle));
    }
    let (base, instance) = (Path::new([3, 0, 6]), [Record::new([3, 0, 6, 0], Value::Integer(1))]);
    assert_eq!(
        format::encode(ContentFormat::Text, base, &instance),
        Err(EncodeError::NotSingle),
        "a multiple resource"
    );
    assert_eq!(format::encode(ContentFormat::Opaque, Path::new([1, 1, 1]), &two[..1]), Err(EncodeError::Unsupported));
    assert_eq!(format::encode(TLV, Path::ROOT, &two), Err(EncodeError::Unsupported));
    assert_eq!(format::encode(ContentFormat::Lwm2mCbor, server(), &two), Err(EncodeError::Unsupported));
    for format in [TLV, JSON, CBOR] {
        let beside = Err(EncodeError::OutsideBase(Path::new([1, 1, 6])));
        assert_eq!(format::encode(format, Path::new([1, 1, 1]), &two), beside);
        assert_eq!(format::encode(format, server(), &[]).map(|bytes| bytes.len() < 3), Ok(true));
    }
    let nan = [Record::new([3303, 0, 5700], Value::Float(f64::NAN))];
    assert_eq!(format::encode(JSON, Path::ROOT, &nan), Err(EncodeError::Unsupported));
    assert_eq!(format::encode(ContentFormat::Text, nan[0].path, &nan), Err(EncodeError::Unsupported));
    let mixed = [Record::new([3, 0, 6], Value::Integer(1)), Record::new([3, 0, 6, 0], Value::Integer(1))];
    assert_eq!(format::encode(TLV, Path::new([3, 0]), &mixed), Err(EncodeError::Mixed(Path::new([3, 0, 6]))));
    let huge = [Record::new([5, 0, 0], Value::Opaque(vec![0; 1 << 24]))];
    assert_eq!(format::encode(TLV, Path::new([5, 0, 0]), &huge), Err(EncodeError::TooLong(Path::new([5, 0, 0]))));
}

#[test]
fn numbers_of_formats_with_their_old_forms() {
    let number = |number| ContentFormat::from_number(number).map(ContentFormat::number);
    for current in [0, 40, 42, 60, 110, 112, 320, 322, 11542, 11543, 11544] {
        assert_eq!(number(current), Some(current));
    }
    assert_eq!([1541, 1542, 1543, 1544].map(number), [Some(0), Some(11542), Some(11543), Some(42)]);
    assert_eq!(number(50), None);
}

#[test]
fn unsigned_numbers_keep_their_top_bit_clear() {
    let kinds = |_: Path| Some(Kind::Unsigned);
    let path = Path::new([3303, 0, 1]);
    for (number, bytes) in
        [(200, vec![0xc2, 1, 0, 200]), (127, vec![0xc1, 1, 127]), (40_000, vec![0xc4, 1, 0, 0, 156, 64])]
    {
        let records = [Record::new(path, Value::Unsigned(number))];
        assert_eq!(format::encode(TLV, path, &records).unwrap(), bytes, "{number}");
        assert_eq!(format::decode(TLV, path, &bytes, &kinds).unwrap(), records);
    }
    let short = format::decode(TLV, path, &[0xc1, 1, 200], &kinds).unwrap();
    assert_eq!(short, [Record::new(path, Value::Unsigned(200))], "the shortest form is read as well");
}
