//! Payloads captured from Anjay 3.14 and Leshan: what they send is read, and where we choose the same form we write the
//! same bytes.

use lwm2m::format::{self, ContentFormat, DecodeError};
use lwm2m::link;
use lwm2m::model;
use lwm2m::path::Path;
use lwm2m::record::Record;
use lwm2m::value::{Kind, Value};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

/// The standard objects, Anjay's test object 33605 and the temperature sensor 3303.
fn kinds(path: Path) -> Option<Kind> {
    match (path.object()?, path.resource()?) {
        (33605, 0) => Some(Kind::Time),
        (33605, 5 | 10) => Some(Kind::Opaque),
        (33605, 13 | 17) => Some(Kind::Boolean),
        (33605, 14 | 18) => Some(Kind::Float),
        (33605, 15) => Some(Kind::String),
        (33605, 16) => Some(Kind::ObjectLink),
        (33605, 20) => Some(Kind::Unsigned),
        (33605, _) => Some(Kind::Integer),
        (3303, 5750) => Some(Kind::String),
        (3303, _) => Some(Kind::Float),
        _ => model::kind_at(path),
    }
}

fn path(text: &str) -> Path {
    text.parse().expect("a path")
}

fn record(at: &str, value: Value) -> Record {
    Record::new(path(at), value)
}

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn decode(format: ContentFormat, base: &str, bytes: &[u8]) -> Result<Vec<Record>, DecodeError> {
    format::decode(format, path(base), bytes, &kinds)
}

/// Both ways.
fn same(format: ContentFormat, base: &str, bytes: &[u8], records: &[Record]) {
    assert_eq!(decode(format, base, bytes).as_deref(), Ok(records), "{format:?} {base}");
    let written = format::encode(format, path(base), records).expect("writable");
    assert_eq!(written, bytes, "{format:?} {base}: {}", String::from_utf8_lossy(&written));
}

fn lifetime() -> Vec<Record> {
    vec![record("/1/1/1", Value::Integer(86400))]
}

fn server() -> Vec<Record> {
    [
        (0, Value::Integer(1)),
        (1, Value::Integer(86400)),
        (6, Value::Boolean(true)),
        (7, string("U")),
        (14, Value::Unsigned(0)),
        (16, Value::Boolean(true)),
        (17, Value::Unsigned(5)),
        (18, Value::Unsigned(60)),
        (19, Value::Unsigned(86400)),
        (20, Value::Unsigned(1)),
        (23, Value::Boolean(false)),
    ]
    .map(|(id, value)| Record::new([1, 1, id], value))
    .to_vec()
}

fn firmware() -> Vec<Record> {
    let mut records =
        vec![record("/5/0/1", string("")), record("/5/0/3", Value::Integer(0)), record("/5/0/5", Value::Integer(0))];
    records.extend((0..6).map(|id| Record::new([5, 0, 8, id], Value::Integer(i64::from(id)))));
    records.extend([
        record("/5/0/9", Value::Integer(2)),
        record("/5/0/11", Value::Integer(1)),
        record("/5/0/12", Value::Time(0)),
        record("/5/0/13", Value::Unsigned(0)),
    ]);
    records
}

fn test_object() -> Vec<Record> {
    [
        (0, Value::Time(0x6b00_2041)),
        (1, Value::Integer(0)),
        (5, Value::Opaque(Vec::new())),
        (6, Value::Integer(0)),
        (7, Value::Integer(1000)),
        (10, Value::Opaque(Vec::new())),
        (12, Value::Integer(0)),
        (13, Value::Boolean(false)),
        (14, Value::Float(0.0)),
        (15, string("")),
        (16, Value::ObjectLink(0, 0)),
        (17, Value::Boolean(true)),
        (18, Value::Float(0.0)),
        (19, Value::Integer(0)),
        (20, Value::Unsigned(0)),
    ]
    .map(|(id, value)| Record::new([33605, 1, id], value))
    .to_vec()
}

/// `GET /3`; the clock differs between the captures.
fn device(time: i64, voltage: i64, link: u16) -> Vec<Record> {
    vec![
        record("/3/0/0", string("Anjay")),
        record("/3/0/1", string("demo-client")),
        record("/3/0/2", string("probe")),
        record("/3/0/3", string("3.14.0")),
        record("/3/0/6/0", Value::Integer(0)),
        record("/3/0/7/0", Value::Integer(voltage)),
        record("/3/0/8/0", Value::Integer(10)),
        record("/3/0/9", Value::Integer(0)),
        record("/3/0/10", Value::Integer(0)),
        record("/3/0/11/0", Value::Integer(0)),
        record("/3/0/13", Value::Time(time)),
        record("/3/0/14", string("+01:00")),
        record("/3/0/15", string("Europe/Warsaw")),
        record("/3/0/16", string("UQ")),
        record("/3/0/17", string("")),
        record("/3/0/18", string("")),
        record("/3/0/19", string("")),
        record("/3/0/20", Value::Integer(0)),
        record("/3/0/21", Value::Integer(0)),
        record("/3/0/22/0", Value::ObjectLink(link, 0)),
    ]
}

#[test]
fn ets_201_query_plain_text() {
    same(ContentFormat::Text, "/1/1/1", b"86400", &lifetime());
    same(ContentFormat::Text, "/3/0/13", b"1795170369", &[record("/3/0/13", Value::Time(0x6b00_2041))]);
    same(ContentFormat::Text, "/5/0/5", b"9", &[record("/5/0/5", Value::Integer(9))]);
    let temperature = record("/3303/0/5700", Value::Float(34.489_999_999_999_995));
    same(ContentFormat::Text, "/3303/0/5700", b"34.489999999999995", &[temperature]);
    let colder = decode(ContentFormat::Text, "/3303/0/5700", b"-25.100000000000001").unwrap();
    assert_eq!(colder, [record("/3303/0/5700", Value::Float(-25.1))]);
}

#[test]
fn ets_205_set_plain_text() {
    assert_eq!(
        decode(ContentFormat::Text, "/1/1/1", b"abc"),
        Err(DecodeError::WrongKind { path: path("/1/1/1"), expected: Kind::Integer })
    );
    let uri = b"http://127.0.0.1/fw.bin";
    same(ContentFormat::Text, "/5/0/1", uri, &[record("/5/0/1", string("http://127.0.0.1/fw.bin"))]);
    same(ContentFormat::Text, "/5/0/0", b"AP8=", &[record("/5/0/0", Value::Opaque(vec![0, 0xff]))]);
    same(ContentFormat::Text, "/33605/1/16", b"3:0", &[record("/33605/1/16", Value::ObjectLink(3, 0))]);
    same(ContentFormat::Text, "/1/1/6", b"1", &[record("/1/1/6", Value::Boolean(true))]);
}

#[test]
fn ets_211_query_cbor() {
    same(ContentFormat::Cbor, "/1/1/1", &hex("1a00015180"), &lifetime());
}

#[test]
fn opaque_bytes_are_themselves() {
    same(ContentFormat::Opaque, "/5/0/0", &[0, 1, 0xff], &[record("/5/0/0", Value::Opaque(vec![0, 1, 0xff]))]);
    same(ContentFormat::Opaque, "/5/0/0", &[], &[record("/5/0/0", Value::Opaque(vec![]))]);
    assert_eq!(decode(ContentFormat::Opaque, "/5/0/1", b"x"), Err(DecodeError::Unsupported));
}

#[test]
fn ets_203_query_tlv() {
    same(ContentFormat::Tlv, "/1/1/1", &hex("c40100015180"), &lifetime());
    let body = "c10001c40100015180c10601c10755c10e00c11001c11105c1123cc41300015180c11401c11700";
    same(ContentFormat::Tlv, "/1/1", &hex(body), &server());
    same(ContentFormat::Tlv, "/3/0/6", &hex("8306410000"), &[record("/3/0/6/0", Value::Integer(0))]);
    let body = "c001c10300c10500880812410000410101410202410303410404410505c10902c10b01c10c00c10d00";
    same(ContentFormat::Tlv, "/5/0", &hex(body), &firmware());
}

#[test]
fn ets_237_read_object_without_accept_under_1_0() {
    let body = "080075c500416e6a6179c8010b64656d6f2d636c69656e74c50270726f6265c603332e31342e30830641000084
        0742007ccc830841000ac10900c10a00830b410000c40d6b00205ac60e2b30313a3030c80f0d4575726f70652f576172736177c2105551c011
        c012c013c11400c115008616440083460000";
    same(ContentFormat::Tlv, "/3", &hex(body), &device(0x6b00_205a, 0x7ccc, 33606));
}

#[test]
fn tlv_of_every_kind_is_read() {
    let body =
        "c4006b002041c1010080038004c005c10600c20703e8c00a800bc10c00c10d00c40e00000000c00fc41000000000c11101c412000000
        00c11300c114008016";
    assert_eq!(decode(ContentFormat::Tlv, "/33605/1", &hex(body)).unwrap(), test_object());
    // Multiple resources without instances (8003, 8004, 800b, 8016) have no record, so they are not written.
    let without = hex(body);
    let written = format::encode(ContentFormat::Tlv, path("/33605/1"), &test_object()).unwrap();
    assert_eq!(written.len(), without.len() - 8);
    let body = "e415e100000000e815e208404ef70a3d70a3d8e816440840413eb851eb851ee816760853656e736f722030";
    let sensor = [
        record("/3303/0/5601", Value::Float(0.0)),
        record("/3303/0/5602", Value::Float(61.930_000_000_000_01)),
        record("/3303/0/5700", Value::Float(34.489_999_999_999_995)),
        record("/3303/0/5750", string("Sensor 0")),
    ];
    same(ContentFormat::Tlv, "/3303/0", &hex(body), &sensor);
}

#[test]
fn ets_215_set_tlv_with_the_empty_resources_of_a_leshan_bootstrap() {
    let mut body = hex("c8001e");
    body.extend_from_slice(b"coaps://lwm2m.example.org:5684");
    body.extend(hex("c10101c10203c003c004c005c10603c007c008c009c10a6fc10b01c10c00"));
    let records = decode(ContentFormat::Tlv, "/0/0", &body).unwrap();
    assert_eq!(records.len(), 13);
    assert_eq!(records[0], record("/0/0/0", string("coaps://lwm2m.example.org:5684")));
    assert_eq!(records[3], record("/0/0/3", Value::Opaque(vec![])));
    assert_eq!(records[9], record("/0/0/9", string("")));
    assert_eq!(records[10], record("/0/0/10", Value::Integer(111)));
    assert_eq!(format::encode(ContentFormat::Tlv, path("/0/0"), &records).unwrap(), body);
    let mut wrapped = hex("08003f");
    wrapped.extend(&body);
    assert_eq!(wrapped.len(), 3 + 0x3f);
    assert_eq!(decode(ContentFormat::Tlv, "/0/0", &wrapped).unwrap(), records, "the instance may stand round it");
    assert_eq!(decode(ContentFormat::Tlv, "/0", &wrapped).unwrap(), records);
}

#[test]
fn ets_231_query_senml_json() {
    let json = ContentFormat::SenmlJson;
    same(json, "/1/1/1", br#"[{"bn":"/1/1/1","v":86400}]"#, &lifetime());
    let body = br#"[{"bn":"/1/1","n":"/0","v":1},{"n":"/1","v":86400},{"n":"/6","vb":true},{"n":"/7","vs":"U"},{"n":"/14","v":0},{"n":"/16","vb":true},{"n":"/17","v":5},{"n":"/18","v":60},{"n":"/19","v":86400},{"n":"/20","v":1},{"n":"/23","vb":false}]"#;
    same(json, "/1/1", body, &server());
    same(json, "/3/0/6", br#"[{"bn":"/3/0/6","n":"/0","v":0}]"#, &[record("/3/0/6/0", Value::Integer(0))]);
    let body = br#"[{"bn":"/5/0","n":"/1","vs":""},{"n":"/3","v":0},{"n":"/5","v":0},{"n":"/8/0","v":0},{"n":"/8/1","v":1},{"n":"/8/2","v":2},{"n":"/8/3","v":3},{"n":"/8/4","v":4},{"n":"/8/5","v":5},{"n":"/9","v":2},{"n":"/11","v":1},{"n":"/12","v":0},{"n":"/13","v":0}]"#;
    same(json, "/5/0", body, &firmware());
    // We write the floats of /14 and /18 as 0.0.
    let body = br#"[{"bn":"/33605/1","n":"/0","v":1795170369},{"n":"/1","v":0},{"n":"/5","vd":""},{"n":"/6","v":0},{"n":"/7","v":1000},{"n":"/10","vd":""},{"n":"/12","v":0},{"n":"/13","vb":false},{"n":"/14","v":0},{"n":"/15","vs":""},{"n":"/16","vlo":"0:0"},{"n":"/17","vb":true},{"n":"/18","v":0},{"n":"/19","v":0},{"n":"/20","v":0}]"#;
    assert_eq!(decode(json, "/33605/1", body).unwrap(), test_object());
    let ours = String::from_utf8(body.to_vec()).unwrap().replace("4\",\"v\":0}", "4\",\"v\":0.0}");
    let ours = ours.replace("8\",\"v\":0}", "8\",\"v\":0.0}");
    same(json, "/33605/1", ours.as_bytes(), &test_object());
}

#[test]
fn ets_232_query_senml_cbor() {
    let cbor = ContentFormat::SenmlCbor;
    same(cbor, "/1/1/1", &hex("81a221662f312f312f31021a00015180"), &lifetime());
    let body =
        "8ba321642f312f3100622f300201a200622f31021a00015180a200622f3604f5a200622f37036155a200632f31340200a200632f3136
        04f5a200632f31370205a200632f313802183ca200632f3139021a00015180a200632f32300201a200632f323304f4";
    same(cbor, "/1/1", &hex(body), &server());
    same(cbor, "/3/0/6", &hex("81a321662f332f302f3600622f300200"), &[record("/3/0/6/0", Value::Integer(0))]);
    let body = "8da321642f352f3000622f310360a200622f330200a200622f350200a200642f382f300200a200642f382f310201a200642f382f3202
        02a200642f382f330203a200642f382f340204a200642f382f350205a200622f390202a200632f31310201a200632f31320200a200632f313302
        00";
    same(cbor, "/5/0", &hex(body), &firmware());
    let body = "8fa321682f33333630352f3100622f30021a6b002041a200622f310200a200622f350840a200622f360200a200622f37021903e8a200
        632f31300840a200632f31320200a200632f313304f4a200632f313402fa00000000a200632f31350360a200632f313663766c6f63303a30a200
        632f313704f5a200632f313802fa00000000a200632f31390200a200632f32300200";
    same(cbor, "/33605/1", &hex(body), &test_object());
}

#[test]
fn ets_222_read_object_senml_cbor() {
    let body = "94a321622f3300642f302f300365416e6a6179a200642f302f31036b64656d6f2d636c69656e74a200642f302f32036570726f6265a2
        00642f302f330366332e31342e30a200662f302f362f300200a200662f302f372f3002197c74a200662f302f382f30020aa200642f302f390200
        a200652f302f31300200a200672f302f31312f300200a200652f302f3133021a6b002041a200652f302f313403662b30313a3030a200652f302f
        3135036d4575726f70652f576172736177a200652f302f313603625551a200652f302f31370360a200652f302f31380360a200652f302f313903
        60a200652f302f32300200a200652f302f32310200a200672f302f32322f3063766c6f6733333630363a30";
    same(ContentFormat::SenmlCbor, "/3", &hex(body), &device(0x6b00_2041, 0x7c74, 33606));
}

#[test]
fn ets_229_read_composite() {
    let request = hex("82a100662f332f302f30a100662f312f312f31");
    let paths = [path("/3/0/0"), path("/1/1/1")];
    assert_eq!(format::decode_paths(ContentFormat::SenmlCbor, &request).unwrap(), paths);
    assert_eq!(format::senml_cbor::encode_paths(&paths), request);
    let request = br#"[{"n":"/3/0/0"},{"n":"/1/1/1"}]"#;
    assert_eq!(format::decode_paths(ContentFormat::SenmlJson, request).unwrap(), paths);
    assert_eq!(format::senml_json::encode_paths(&paths), request);
    let answer = [record("/3/0/0", string("Anjay")), record("/1/1/1", Value::Integer(86400))];
    let body = br#"[{"n":"/3/0/0","vs":"Anjay"},{"n":"/1/1/1","v":86400}]"#;
    same(ContentFormat::SenmlJson, "/", body, &answer);
}

#[test]
fn ets_235_read_composite_on_the_root() {
    let body = br#"[{"n":"/"}]"#;
    assert_eq!(format::decode_paths(ContentFormat::SenmlJson, body).unwrap(), [Path::ROOT]);
    assert_eq!(format::decode_paths(ContentFormat::SenmlEtchCbor, &hex("81a100612f")).unwrap(), [Path::ROOT]);
}

#[test]
fn ets_281_partially_successful_read_composite() {
    let body = br#"[{"bn":"/3/0","n":"/0","vs":"Anjay"}]"#;
    assert_eq!(decode(ContentFormat::SenmlJson, "/", body).unwrap(), [record("/3/0/0", string("Anjay"))]);
    same(ContentFormat::SenmlJson, "/", b"[]", &[]);
    same(ContentFormat::SenmlCbor, "/", &hex("80"), &[]);
}

#[test]
fn ets_280_successful_read_composite_of_an_instance() {
    let body = "8fa200662f332f302f300365416e6a6179a200662f312f312f31021a00015180a200662f352f302f310374636f61703a2f2f3132372e
        302e302e313a312f78a200662f352f302f330201a200662f352f302f350200a200682f352f302f382f300200a200682f352f302f382f310201a2
        00682f352f302f382f320202a200682f352f302f382f330203a200682f352f302f382f340204a200682f352f302f382f350205a200662f352f30
        2f390202a200672f352f302f31310201a200672f352f302f3132021a6b002041a200672f352f302f31330200";
    let mut records = vec![record("/3/0/0", string("Anjay")), record("/1/1/1", Value::Integer(86400))];
    records.extend(firmware());
    records[2].value = string("coap://127.0.0.1:1/x");
    records[3].value = Value::Integer(1);
    records[13].value = Value::Time(0x6b00_2041);
    same(ContentFormat::SenmlCbor, "/", &hex(body), &records);
}

#[test]
fn base_times_of_composite_notifications_and_of_send_are_read_over() {
    let cbor = ContentFormat::SenmlCbor;
    let body = hex("82a300662f312f312f3122fb41dac008108e0606021a00012fd1a200672f332f302f3133021a6b002042");
    let expected = [record("/1/1/1", Value::Integer(77777)), record("/3/0/13", Value::Time(0x6b00_2042))];
    assert_eq!(decode(cbor, "/", &body).unwrap(), expected);
    let body = hex("82a300662f312f312f3122fb41dac00811ce062a021a00015b38a200672f332f302f3133021a6b002047");
    let expected = [record("/1/1/1", Value::Integer(88888)), record("/3/0/13", Value::Time(0x6b00_2047))];
    assert_eq!(decode(cbor, "/", &body).unwrap(), expected);
    let expected = [record("/3/0/0", string("Anjay")), record("/1/1/1", Value::Integer(86400))];
    let body = hex("82a300662f332f302f3022fb41dac008234002220365416e6a6179a200662f312f312f31021a00015180");
    assert_eq!(decode(cbor, "/", &body).unwrap(), expected);
    let body = hex("82a300662f332f302f3022fb41dac0082ba0825a0365416e6a6179a200662f312f312f31021a00015180");
    assert_eq!(decode(cbor, "/", &body).unwrap(), expected);
}

#[test]
fn names_with_a_gateway_prefix_are_no_paths_here() {
    let body =
        "84a3216c2f646576302f333330332f3000652f3536303102fa00000000a200652f3536303202fb404ef70a3d70a3d8a200652f353730
        3002fb40413eb851eb851ea200652f35373530036853656e736f722030";
    let refused = decode(ContentFormat::SenmlCbor, "/", &hex(body));
    assert_eq!(refused, Err(DecodeError::Malformed("a SenML name is no path")));
}

#[test]
fn leshans_names_are_put_together_too() {
    let body = br#"[{"bn":"/1/1/","n":"1","v":86400},{"n":"6","vb":true},{"bn":"/5/0/","n":"3","v":0}]"#;
    let expected = [
        record("/1/1/1", Value::Integer(86400)),
        record("/1/1/6", Value::Boolean(true)),
        record("/5/0/3", Value::Integer(0)),
    ];
    assert_eq!(decode(ContentFormat::SenmlJson, "/", body).unwrap(), expected, "the base name holds until the next");
    assert_eq!(decode(ContentFormat::SenmlJson, "/1/1/1", br#"[{"bn":"/1/1/1/","v":1}]"#).unwrap().len(), 1);
    let link = br#"[{"bn":"/33605/1/","n":"16","vs":"3:0"}]"#;
    let expected = [record("/33605/1/16", Value::ObjectLink(3, 0))];
    assert_eq!(decode(ContentFormat::SenmlJson, "/33605/1", link).unwrap(), expected);
}

#[test]
fn registration_payloads_are_read_and_written() {
    let bodies = [
        "</1/1>,</2>,</3/0>,</4/0>,</5/0>,</6/0>,</7/0>,</9/0>,</9/1>,</10>;ver=1.1,</10/0>,</11>,</16>,</19>,</20/0>",
        r#"</1/1>,</2>,</3/0>,</9/1>,</10>;ver="1.1",</10/0>,</11>,</33605>,</33606/0>"#,
        "</20/0>,</25>;ver=2.0,</25/0>,</25/1>,</3303/0>",
        r#"</>;rt="oma.lwm2m";ct="60 110 112 11542 11543",</1/0>,</3/0>"#,
        r#"</>;rt="oma.lwm2m";ct=110,</1>;ver=1.1,</1/0>,</2/0>"#,
        r#"</lwm2m>;rt="oma.lwm2m",</lwm2m/3/0>"#,
    ];
    for body in bodies {
        assert_eq!(link::write(&link::parse(body).unwrap()), body);
    }
}

#[test]
fn ets_260_discover_payloads_are_read_and_written() {
    let bodies = [
        "</5>,</5/0>,</5/0/0>,</5/0/1>,</5/0/2>,</5/0/3>,</5/0/5>,</5/0/8>,</5/0/9>,</5/0/10>,</5/0/11>,</5/0/12>,</5/0/13>",
        "</5/0>,</5/0/0>,</5/0/3>,</5/0/5>,</5/0/8>;dim=6,</5/0/9>,</5/0/10>,</5/0/11>,</5/0/12>,</5/0/13>",
        "</3/0/6>;dim=1,</3/0/6/0>",
        "</1/1/1>",
        "</3/0>;pmin=5;pmax=60,</3/0/0>,</3/0/6>;dim=1,</3/0/7>;dim=1,</3/0/22>;dim=1",
        "</3/0/13>;pmin=5;pmax=60",
        r#"</>;lwm2m=1.1,</0>,</0/1>;uri="coap://127.0.0.1:5683",</0/2>;ssid=11;uri="coap://127.0.0.1:5683",</1/42>;ssid=11"#,
    ];
    for body in bodies {
        assert_eq!(link::write(&link::parse(body).unwrap()), body);
    }
}
