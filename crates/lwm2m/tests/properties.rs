//! Whatever is written is read back, by every codec; whatever comes in, nothing panics.

use lwm2m::attributes::{AttributeChange, Attributes};
use lwm2m::format::tlv::OpaqueStream;
use lwm2m::format::{self, ContentFormat};
use lwm2m::link::{self, Link, LinkValue};
use lwm2m::path::Path;
use lwm2m::record::Record;
use lwm2m::value::{Kind, Value};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

/// The resource id says the type, so that every payload has types.
fn kinds(path: Path) -> Option<Kind> {
    Some(match path.resource()? % 10 {
        0 => Kind::String,
        1 => Kind::Integer,
        2 => Kind::Unsigned,
        3 => Kind::Float,
        4 => Kind::Boolean,
        5 => Kind::Opaque,
        6 => Kind::Time,
        7 => Kind::ObjectLink,
        8 => Kind::CoreLink,
        _ => return None,
    })
}

fn value(kind: u16) -> BoxedStrategy<Value> {
    match kind {
        0 => "\\PC{0,12}".prop_map(Value::String).boxed(),
        1 => any::<i64>().prop_map(Value::Integer).boxed(),
        2 => any::<u64>().prop_map(Value::Unsigned).boxed(),
        3 => float().prop_map(Value::Float).boxed(),
        4 => any::<bool>().prop_map(Value::Boolean).boxed(),
        5 => vec(any::<u8>(), 0..300).prop_map(Value::Opaque).boxed(),
        6 => prop_oneof![any::<i64>(), -70000i64..70000].prop_map(Value::Time).boxed(),
        7 => any::<(u16, u16)>().prop_map(|(object, instance)| Value::ObjectLink(object, instance)).boxed(),
        _ => "</[0-9]{1,3}>".prop_map(Value::CoreLink).boxed(),
    }
}

fn float() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NORMAL, SUBNORMAL, ZERO};
    prop_oneof![
        NORMAL | SUBNORMAL | ZERO,
        any::<i16>().prop_map(f64::from),
        any::<f32>().prop_filter("finite", |single| single.is_finite()).prop_map(f64::from)
    ]
}

/// A resource id and its value, single or multiple.
fn resource() -> impl Strategy<Value = (u16, Vec<(Option<u16>, Value)>)> {
    (0u16..9, 0u16..60).prop_flat_map(|(kind, tens)| {
        let single = value(kind).prop_map(|value| vec![(None, value)]);
        let multiple = btree_map(any::<u16>(), value(kind), 1..4)
            .prop_map(|values| values.into_iter().map(|(id, value)| (Some(id), value)).collect());
        (Just(tens * 10 + kind), prop_oneof![2 => single, 1 => multiple])
    })
}

/// Records of one object, in the order of their paths.
fn records() -> impl Strategy<Value = (u16, Vec<Record>)> {
    let instances = btree_map(any::<u16>(), vec(resource(), 1..6), 1..4);
    (any::<u16>(), instances).prop_map(|(object, instances)| {
        let mut records = Vec::new();
        for (instance, resources) in instances {
            let resources: std::collections::BTreeMap<_, _> = resources.into_iter().collect();
            for (resource, values) in resources {
                let at = Path::new([object, instance, resource]);
                let path = |id: Option<u16>| id.map_or(at, |id| at.child(id).expect("a fourth level"));
                records.extend(values.into_iter().map(|(id, value)| Record { path: path(id), value }));
            }
        }
        (object, records)
    })
}

fn survives(format: ContentFormat, base: Path, records: &[Record]) -> Result<(), TestCaseError> {
    let bytes = format::encode(format, base, records).expect("writable");
    prop_assert_eq!(format::decode(format, base, &bytes, &kinds).expect("readable"), records);
    Ok(())
}

proptest! {
    #[test]
    fn records_survive_formats_of_many(records in records()) {
        let (object, records) = records;
        let first = records[0].path;
        for depth in 1..=4 {
            let base = first.truncated(depth);
            let below: Vec<Record> = records.iter().filter(|record| record.path.starts_with(base)).cloned().collect();
            for format in [ContentFormat::Tlv, ContentFormat::SenmlJson, ContentFormat::SenmlCbor] {
                survives(format, base, &below)?;
            }
        }
        survives(ContentFormat::SenmlCbor, Path::ROOT, &records)?;
        survives(ContentFormat::SenmlEtchJson, Path::ROOT, &records)?;
        survives(ContentFormat::Tlv, Path::new([object]), &records)?;
    }

    #[test]
    fn values_survive_formats_of_one(value in (0u16..9).prop_flat_map(|kind| (Just(kind), value(kind))), instance: Option<u16>) {
        let (kind, value) = value;
        let base = Path::new([3303, 0, kind]);
        let base = instance.map_or(base, |id| base.child(id).expect("a fourth level"));
        let records = [Record { path: base, value }];
        survives(ContentFormat::Text, base, &records)?;
        survives(ContentFormat::Cbor, base, &records)?;
        if kind == 5 {
            survives(ContentFormat::Opaque, base, &records)?;
        }
    }

    #[test]
    fn paths_survive_composite_requests(levels in vec(vec(any::<u16>(), 0..=4), 0..20)) {
        let path = |levels: &Vec<u16>| levels.iter().fold(Path::ROOT, |path, id| path.child(*id).expect("four levels"));
        let paths: Vec<Path> = levels.iter().map(path).collect();
        for path in &paths {
            prop_assert_eq!(&path.to_string().parse::<Path>().expect("a path"), path);
        }
        let bytes = format::senml_cbor::encode_paths(&paths);
        prop_assert_eq!(&format::decode_paths(ContentFormat::SenmlCbor, &bytes).expect("paths"), &paths);
        let bytes = format::senml_json::encode_paths(&paths);
        prop_assert_eq!(&format::decode_paths(ContentFormat::SenmlJson, &bytes).expect("paths"), &paths);
    }

    #[test]
    fn any_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), base in vec(0u16..9, 0..=4)) {
        never_panics(&bytes, &base);
    }

    #[test]
    fn damaged_payloads_never_panic(records in records(), at: prop::sample::Index, byte: u8, keep: prop::sample::Index) {
        let (object, records) = records;
        for format in [ContentFormat::Tlv, ContentFormat::SenmlJson, ContentFormat::SenmlCbor] {
            let mut bytes = format::encode(format, Path::new([object]), &records).expect("writable");
            let position = at.index(bytes.len());
            bytes[position] = byte;
            bytes.truncate(keep.index(bytes.len()) + 1);
            never_panics(&bytes, &[object]);
        }
    }

    #[test]
    fn structured_cbor_never_panics(bytes in vec(prop::sample::select(vec![
        0x00u8, 0x02, 0x03, 0x04, 0x08, 0x18, 0x1b, 0x20, 0x21, 0x22, 0x24, 0x40, 0x5f, 0x60, 0x61, 0x2f, 0x62, 0x7f, 0x80, 0x81, 0x82, 0x9b, 0x9f,
        0xa0, 0xa1, 0xa2, 0xbb, 0xbf, 0xc0, 0xd8, 0xf4, 0xf5, 0xf6, 0xf9, 0xfa, 0xfb, 0xff,
    ]), 0..60)) {
        never_panics(&bytes, &[1, 1]);
    }

    #[test]
    fn an_opaque_write_survives_the_stream_in_any_parts(
        image in vec(any::<u8>(), 0..2000),
        resource: u16,
        instance: u16,
        wrapped: bool,
        cuts in vec(1usize..200, 1..50),
    ) {
        let path = Path::new([5, instance, resource]);
        let record = Record::new(path, Value::Opaque(image.clone()));
        let base = if wrapped { path.truncated(1) } else { path };
        let bytes = format::tlv::encode(base, &[record]).expect("writable");
        let mut stream = OpaqueStream::new(path);
        let (mut rest, mut seen) = (bytes.as_slice(), Vec::new());
        for cut in cuts.iter().cycle() {
            let (part, after) = rest.split_at(rest.len().min(*cut));
            seen.extend_from_slice(stream.push(part).expect("payload"));
            rest = after;
            if rest.is_empty() {
                break;
            }
            prop_assert!(stream.finish().is_err(), "not before the end");
        }
        prop_assert_eq!(stream.finish(), Ok(()));
        prop_assert_eq!(stream.total(), Some(image.len()));
        prop_assert_eq!(seen, image);
    }

    #[test]
    fn links_survive(links in vec(any_link(), 0..20)) {
        prop_assert_eq!(link::parse(&link::write(&links)).expect("links"), links);
    }

    #[test]
    fn any_text_as_links_never_panics(text in "\\PC*", punctuated in "[<>/;,=\"\\\\a0 é]{0,60}") {
        let _ = link::parse(&text);
        if let Ok(links) = link::parse(&punctuated) {
            prop_assert_eq!(link::parse(&link::write(&links)).expect("what was read can be written"), links);
        }
    }

    #[test]
    fn any_query_never_panics(query in vec("(pmin|pmax|gt|lt|st|x)=?[0-9.e+-]{0,6}|\\PC{0,10}", 0..8)) {
        if let Ok(change) = AttributeChange::from_query(&query) {
            let _ = change.apply(Attributes::NONE, Path::new([3303, 0, 5700]), Some(Kind::Float));
        }
    }
}

fn any_link() -> impl Strategy<Value = Link> {
    let value = prop_oneof![
        Just(LinkValue::Flag),
        "[a-zA-Z0-9./:<>=-]{1,10}".prop_map(LinkValue::Token),
        "\\PC{0,12}".prop_map(LinkValue::Quoted),
    ];
    let attributes = vec(("[a-z]{1,6}", value), 0..5);
    ("/[a-z0-9/.]{0,12}", attributes).prop_map(|(target, attributes)| Link {
        target,
        attributes: attributes.into_iter().map(|(name, value)| (name.into(), value)).collect(),
    })
}

fn never_panics(bytes: &[u8], base: &[u16]) {
    let base = base.iter().fold(Path::ROOT, |path, id| path.child(*id).expect("four levels"));
    for number in [0, 40, 42, 60, 110, 112, 320, 322, 11542, 11543, 11544] {
        let format = ContentFormat::from_number(number).expect("a known number");
        let _ = format::decode(format, base, bytes, &kinds);
        let _ = format::decode_paths(format, bytes);
    }
    let mut stream = OpaqueStream::new(base);
    let _ = stream.push(bytes);
    let _ = stream.push(bytes);
    let _ = stream.finish();
}
