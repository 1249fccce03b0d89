//! The model tables against the OMA registry's own XML (copies in `tests/oma`).

use lwm2m::model::{
    self, ACCESS_CONTROL, ATTACHED_DEVICES, BOARD_FLASHING, CONNECTIVITY, DEVICE, FIRMWARE_UPDATE, FIRMWARE_UPDATE_1_0,
    IPSO, ObjectModel, Operations, Range, ResourceModel, SECURITY, SERVER, STATISTICS, Version,
};
use lwm2m::path::Path;
use lwm2m::value::{Kind, Value};

/// The text between the first `<tag>` and its end.
fn element<'x>(xml: &'x str, tag: &str) -> &'x str {
    let open = format!("<{tag}>");
    let start = xml.find(&open).unwrap_or_else(|| panic!("no {open}")) + open.len();
    let length = xml[start..].find(&format!("</{tag}>")).expect("an end tag");
    xml[start..start + length].trim()
}

fn optional_element<'x>(xml: &'x str, tag: &str) -> Option<&'x str> {
    xml.contains(&format!("<{tag}>")).then(|| element(xml, tag))
}

fn check(model: &ObjectModel, xml: &str) {
    let head = &xml[..xml.find("<Resources>").expect("resources")];
    assert_eq!(model.id.to_string(), element(head, "ObjectID"));
    assert_eq!(model.name, element(head, "Name"));
    assert_eq!(model.version.to_string(), optional_element(head, "ObjectVersion").unwrap_or("1.0"));
    assert_eq!(model.multiple, element(head, "MultipleInstances") == "Multiple");
    assert_eq!(model.mandatory, element(head, "Mandatory") == "Mandatory");
    let items: Vec<&str> = xml.split("<Item ID=\"").skip(1).collect();
    assert_eq!(model.resources.len(), items.len());
    for (resource, item) in model.resources.iter().zip(items) {
        check_resource(resource, item);
    }
}

fn check_resource(resource: &ResourceModel, item: &str) {
    let id = item.split('"').next().expect("an id");
    assert_eq!(resource.id.to_string(), id);
    let name = element(item, "Name").split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(resource.name, name, "{id}");
    let letters: String =
        [("R", resource.operations.read), ("W", resource.operations.write), ("E", resource.operations.execute)]
            .into_iter()
            .filter_map(|(letter, has)| has.then_some(letter))
            .collect();
    assert_eq!(letters, optional_element(item, "Operations").unwrap_or_default(), "{name}");
    assert_eq!(resource.multiple, element(item, "MultipleInstances") == "Multiple", "{name}");
    assert_eq!(resource.mandatory, element(item, "Mandatory") == "Mandatory", "{name}");
    assert_eq!(resource.kind, kind(optional_element(item, "Type").unwrap_or_default()), "{name}");
    if let Some(bounds) = optional_element(item, "RangeEnumeration").and_then(bounds) {
        let expected = match resource.kind {
            Some(Kind::String | Kind::Opaque) => Range::Length(bounds.0 as usize, bounds.1 as usize),
            _ => Range::Between(bounds.0, bounds.1),
        };
        assert_eq!(resource.range, expected, "{name}");
    }
}

fn kind(text: &str) -> Option<Kind> {
    Some(match text {
        "" => return None,
        "String" => Kind::String,
        "Integer" => Kind::Integer,
        "Unsigned Integer" => Kind::Unsigned,
        "Float" => Kind::Float,
        "Boolean" => Kind::Boolean,
        "Opaque" => Kind::Opaque,
        "Time" => Kind::Time,
        "Objlnk" => Kind::ObjectLink,
        _ => panic!("type {text}"),
    })
}

/// `0..255`, `0..255 bytes` or `6`; other texts are prose.
fn bounds(text: &str) -> Option<(i64, i64)> {
    let text = text.trim_end_matches(" bytes");
    let (low, high) = text.split_once("..").unwrap_or((text, text));
    Some((low.parse().ok()?, high.parse().ok()?))
}

#[test]
fn every_table_agrees_with_its_xml() {
    check(&SECURITY, include_str!("oma/0-1_1.xml"));
    check(&SERVER, include_str!("oma/1-1_1.xml"));
    check(&ACCESS_CONTROL, include_str!("oma/2-1_0.xml"));
    check(&DEVICE, include_str!("oma/3-1_1.xml"));
    check(&CONNECTIVITY, include_str!("oma/4-1_0.xml"));
    check(&FIRMWARE_UPDATE, include_str!("oma/5-1_1.xml"));
    check(&FIRMWARE_UPDATE_1_0, include_str!("oma/5-1_0.xml"));
    check(&STATISTICS, include_str!("oma/7-1_0.xml"));
    check(&BOARD_FLASHING, include_str!("../../../docs/26300.xml"));
    check(&ATTACHED_DEVICES, include_str!("../../../docs/26301.xml"));
    for model in IPSO {
        let file = format!(
            "{}/tests/oma/{}-{}_{}.xml",
            env!("CARGO_MANIFEST_DIR"),
            model.id,
            model.version.major,
            model.version.minor
        );
        check(model, &std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}")));
    }
}

/// The elements of a document, in order, as `tag` and `/tag`.
fn tags(xml: &str) -> Vec<&str> {
    let outside = xml.split("<![CDATA[").flat_map(|part| part.split("]]>").last());
    let opened = outside.flat_map(|text| text.split('<').skip(1)).filter(|tag| !tag.starts_with(['?', '!']));
    opened.map(|tag| tag.split(['>', ' ', '\n']).next().unwrap_or_default()).collect()
}

#[test]
fn our_own_xml_is_made_like_those_of_the_registry() {
    for own in [include_str!("../../../docs/26300.xml"), include_str!("../../../docs/26301.xml")] {
        is_made_like_one_of_the_registry(own);
    }
}

fn is_made_like_one_of_the_registry(own: &'static str) {
    let registrys = include_str!("oma/5-1_1.xml");
    let head = |xml: &'static str| tags(&xml[..xml.find("<Item").expect("an item")]);
    assert_eq!(head(own), head(registrys));
    let item =
        |xml: &'static str| tags(&xml[xml.find("<Item").expect("an item")..xml.find("</Item>").expect("its end")]);
    for part in own.split("<Item").skip(1) {
        let end = part.find("</Item>").expect("its end");
        assert_eq!([&["Item"], tags(&part[..end])[..].as_ref()].concat(), item(registrys), "{part}");
    }
    let tail = |xml: &'static str| tags(&xml[xml.find("</Resources>").expect("an end")..]);
    assert_eq!(tail(own), tail(registrys));
}

#[test]
fn resources_are_found_by_path() {
    assert_eq!(model::kind_at(Path::new([5, 0, 0])), Some(Kind::Opaque));
    assert_eq!(model::kind_at(Path::new([3, 0, 6, 1])), Some(Kind::Integer));
    assert_eq!(model::kind_at(Path::new([5, 0, 2])), None, "an executable has no value");
    assert_eq!(model::kind_at(Path::new([5, 0, 4])), None, "removed before 1.0");
    assert_eq!(model::kind_at(Path::new([5, 0])), None);
    assert_eq!(model::kind_at(Path::new([6, 0, 0])), None);
    assert_eq!(FIRMWARE_UPDATE.resource(2).expect("Update").operations, Operations::EXECUTE);
    assert_eq!(FIRMWARE_UPDATE_1_0.resource(10), None);
}

#[test]
fn values_are_held_against_kind_and_range() {
    let severity = FIRMWARE_UPDATE.resource(11).expect("Severity");
    assert!(severity.accepts(&Value::Integer(2)));
    assert!(!severity.accepts(&Value::Integer(3)));
    assert!(!severity.accepts(&Value::Integer(-1)));
    assert!(!severity.accepts(&Value::Unsigned(1)), "another kind");
    let uri = FIRMWARE_UPDATE.resource(1).expect("Package URI");
    assert!(uri.accepts(&Value::String("x".repeat(255))));
    assert!(!uri.accepts(&Value::String("x".repeat(256))));
    let alert = SERVER.resource(11).expect("alert code");
    assert!(alert.accepts(&Value::Unsigned(255)));
    assert!(!alert.accepts(&Value::Unsigned(u64::MAX)));
    assert!(!FIRMWARE_UPDATE.resource(2).expect("Update").accepts(&Value::Opaque(Vec::new())));
}

#[test]
fn unstated_versions_follow_the_lwm2m_version() {
    let defaults = |lwm2m| [0, 1, 2, 3, 4, 5, 6, 3303].map(|id| model::default_version(id, lwm2m).minor);
    assert_eq!(defaults(Version::V1_0), [0; 8]);
    assert_eq!(defaults(Version::V1_1), [1, 1, 0, 1, 2, 0, 0, 0]);
    assert_eq!(defaults(Version::V1_2), [2, 2, 1, 2, 3, 1, 0, 0]);
}

#[test]
fn versions_are_two_numbers() {
    assert_eq!("1.1".parse(), Ok(Version::V1_1));
    assert_eq!(Version::V1_2.to_string(), "1.2");
    assert!(Version::V1_0 < Version::V1_1);
    for text in ["", "1", "1.", ".1", "1.1.1", "+1.0", "1.256", " 1.0"] {
        assert!(text.parse::<Version>().is_err(), "{text:?}");
    }
}
