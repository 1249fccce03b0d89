//! Read, Write, Execute, Discover, Write-Attributes and access rights, in virtual time.

use coap::{Code, Request, Response};
use lwm2m::client::{
    Access, DeviceFacts, FirmwareOrder, FirmwareRight, FirmwareView, Refusal, ServerConfig, SessionId,
};
use lwm2m::model::Version;
use testbed::dm_server::{DmEvent, ask};
use testbed::lwm2m_world::{World, account};

const TEXT: u16 = 0;
const CBOR: u16 = 60;
const SENML_JSON: u16 = 110;
const SENML_CBOR: u16 = 112;
const TLV: u16 = 11542;

fn world() -> World {
    let mut world = World::single(account("factory", 123));
    world.register();
    world.client.set_device(
        DeviceFacts {
            manufacturer: Some("Anjay".to_owned()),
            serial: Some("probe".to_owned()),
            ..DeviceFacts::default()
        },
        world.now,
    );
    world
}

fn text(response: &Response) -> String {
    String::from_utf8(response.payload.clone()).expect("text")
}

fn hex(response: &Response) -> String {
    response.payload.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn code(world: &mut World, request: Request) -> Code {
    world.ask(0, request).code
}

#[test]
fn ets_201_query_plain_text() {
    let mut world = world();
    for request in [ask::read("/1/0/1"), ask::read_as("/1/0/1", TEXT)] {
        let response = world.ask(0, request);
        assert_eq!(
            (response.code, response.content_format, text(&response)),
            (Code::CONTENT, Some(TEXT), "30".to_owned())
        );
    }
}

#[test]
fn the_old_number_of_a_format_is_answered_by_the_old_number() {
    let mut world = world();
    let response = world.ask(0, ask::read_as("/1/0/1", 1541));
    assert_eq!((response.content_format, text(&response)), (Some(1541), "30".to_owned()));
    let response = world.ask(0, ask::read_as("/1/0/1", 1542));
    assert_eq!((response.content_format, hex(&response)), (Some(1542), "c1011e".to_owned()));
    assert_eq!(code(&mut world, ask::write("/1/0/1", 1541, "31")), Code::CHANGED);
}

#[test]
fn ets_203_query_tlv() {
    let mut world = World::single(ServerConfig { lifetime: 86_400, ..account("factory", 1) });
    world.register();
    assert_eq!(hex(&world.ask(0, ask::read_as("/1/0/1", TLV))), "c40100015180");
    assert_eq!(hex(&world.ask(0, ask::read_as("/3/0/11", TLV))), "830b410000");
    let instance = world.ask(0, ask::read_as("/1/0", TLV));
    assert_eq!(hex(&instance), "c10001c40100015180c10200c10300c40500015180c10600c10755");
}

#[test]
fn ets_205_set_plain_text() {
    let mut world = world();
    for (path, value) in [("/1/0/1", "60"), ("/1/0/2", "3"), ("/1/0/3", "7"), ("/1/0/5", "100"), ("/1/0/6", "1")] {
        assert_eq!(code(&mut world, ask::write_text(path, value)), Code::CHANGED, "{path}");
        assert_eq!(text(&world.ask(0, ask::read(path))), value, "{path}");
    }
    assert_eq!(code(&mut world, ask::write_text("/1/0/7", "U")), Code::CHANGED);
}

#[test]
fn ets_211_query_cbor() {
    let mut world = World::single(ServerConfig { lifetime: 86_400, ..account("factory", 1) });
    world.register();
    assert_eq!(hex(&world.ask(0, ask::read_as("/1/0/1", CBOR))), "1a00015180");
}

#[test]
fn ets_212_set_cbor() {
    let mut world = world();
    assert_eq!(code(&mut world, ask::write("/1/0/1", CBOR, [0x18, 0x40])), Code::CHANGED);
    assert_eq!(text(&world.ask(0, ask::read("/1/0/1"))), "64");
}

#[test]
fn ets_215_set_tlv() {
    let mut world = world();
    let account =
        [0xc1, 0x01, 0x21, 0xc1, 0x02, 0x05, 0xc1, 0x03, 0x0a, 0xc1, 0x05, 0x14, 0xc1, 0x06, 0x01, 0xc1, 0x07, b'U'];
    assert_eq!(code(&mut world, ask::write("/1/0", TLV, account)), Code::CHANGED);
    let answer = world.ask(0, ask::read_as("/1/0", SENML_JSON));
    let expected = concat!(
        r#"[{"bn":"/1/0","n":"/0","v":123},{"n":"/1","v":33},{"n":"/2","v":5},{"n":"/3","v":10},"#,
        r#"{"n":"/5","v":20},{"n":"/6","vb":true},{"n":"/7","vs":"U"}]"#
    );
    assert_eq!(text(&answer), expected);
}

#[test]
fn ets_221_operations_on_the_security_object_are_refused() {
    let mut world = world();
    let requests = [
        ask::read("/0"),
        ask::read("/0/0"),
        ask::read("/0/0/0"),
        ask::write_text("/0/0/0", "coap://evil"),
        ask::execute("/0/0/0", ""),
        ask::discover("/0"),
        ask::write_attributes("/0/0", &["pmin=1"]),
        ask::observe("/0/0/0"),
        ask::create("/0", TLV, [0xc1, 0x00, 0x01]),
        ask::delete("/0/0"),
    ];
    for request in requests {
        assert_eq!(code(&mut world, request.clone()), Code::UNAUTHORIZED, "{request:?}");
    }
}

#[test]
fn ets_222_read_object() {
    let mut world = world();
    let response = world.ask(0, ask::read_as("/3", SENML_JSON));
    let expected = concat!(
        r#"[{"bn":"/3","n":"/0/0","vs":"Anjay"},{"n":"/0/2","vs":"probe"},"#,
        r#"{"n":"/0/11/0","v":0},{"n":"/0/16","vs":"U"}]"#
    );
    assert_eq!((response.code, text(&response)), (Code::CONTENT, expected.to_owned()));
    let response = world.ask(0, ask::read_as("/1", SENML_JSON));
    assert!(text(&response).starts_with(r#"[{"bn":"/1","n":"/0/0","v":123}"#), "{}", text(&response));
}

#[test]
fn ets_223_read_instance() {
    let mut world = world();
    let response = world.ask(0, ask::read_as("/5/0", SENML_JSON));
    let expected = concat!(
        r#"[{"bn":"/5/0","n":"/1","vs":""},{"n":"/3","v":0},{"n":"/5","v":0},{"n":"/6","vs":""},{"n":"/7","vs":""},"#,
        r#"{"n":"/8/0","v":2},{"n":"/8/1","v":3},{"n":"/9","v":2},{"n":"/11","v":1},{"n":"/12","v":0},{"n":"/13","v":0}]"#
    );
    assert_eq!(text(&response), expected);
}

#[test]
fn ets_224_read_resource() {
    let mut world = world();
    assert_eq!(text(&world.ask(0, ask::read("/3/0/0"))), "Anjay");
    assert_eq!(text(&world.ask(0, ask::read_as("/3/0/0", SENML_JSON))), r#"[{"bn":"/3/0/0","vs":"Anjay"}]"#);
    assert_eq!(text(&world.ask(0, ask::read("/5/0/6"))), "", "5/0/6 is there even when unknown");
    assert_eq!(text(&world.ask(0, ask::read("/5/0/7"))), "");
}

#[test]
fn ets_225_read_resource_instance() {
    let mut world = world();
    assert_eq!(text(&world.ask(0, ask::read("/5/0/8/1"))), "3");
    assert_eq!(text(&world.ask(0, ask::read("/2/0/2/123"))), "7");
    assert_eq!(code(&mut world, ask::read("/5/0/8/9")), Code::NOT_FOUND);
    assert_eq!(code(&mut world, ask::read("/1/0/1/0")), Code::NOT_FOUND);
}

#[test]
fn ets_226_write_partial_update() {
    let mut world = world();
    assert_eq!(code(&mut world, ask::write_text("/1/0/2", "9")), Code::CHANGED);
    assert_eq!(code(&mut world, ask::write_partial("/1/0", TLV, [0xc1, 0x03, 0x63])), Code::CHANGED);
    assert_eq!(text(&world.ask(0, ask::read("/1/0/2"))), "9", "what is not named stays");
    assert_eq!(text(&world.ask(0, ask::read("/1/0/3"))), "99");
}

#[test]
fn ets_227_write_replace() {
    let mut world = world();
    assert_eq!(code(&mut world, ask::write_text("/1/0/2", "9")), Code::CHANGED);
    assert_eq!(code(&mut world, ask::write("/1/0", TLV, [0xc1, 0x03, 0x63])), Code::CHANGED);
    assert_eq!(text(&world.ask(0, ask::read("/1/0/2"))), "0", "what is not named goes back to its default");
    assert_eq!(text(&world.ask(0, ask::read("/1/0/3"))), "99");
    assert_eq!(text(&world.ask(0, ask::read("/1/0/1"))), "30", "what is mandatory stays");
}

#[test]
fn a_refused_write_changes_nothing() {
    let mut world = world();
    let lifetime_and_bad_binding = [0xc1, 0x01, 0x63, 0xc1, 0x07, b'Q'];
    assert_eq!(code(&mut world, ask::write_partial("/1/0", TLV, lifetime_and_bad_binding)), Code::BAD_REQUEST);
    assert_eq!(text(&world.ask(0, ask::read("/1/0/1"))), "30");
}

#[test]
fn ets_231_query_senml_json() {
    let mut world = world();
    assert_eq!(text(&world.ask(0, ask::read_as("/3/0/11", SENML_JSON))), r#"[{"bn":"/3/0/11","n":"/0","v":0}]"#);
}

#[test]
fn ets_232_query_senml_cbor() {
    let mut world = World::single(ServerConfig { lifetime: 86_400, ..account("factory", 1) });
    world.register();
    assert_eq!(hex(&world.ask(0, ask::read_as("/1/0/1", SENML_CBOR))), "81a221662f312f302f31021a00015180");
}

#[test]
fn ets_233_set_senml_cbor() {
    let mut world = world();
    let lifetime = [&[0x81, 0xa2, 0x21, 0x66][..], b"/1/0/1", &[0x02, 0x18, 0x46]].concat();
    assert_eq!(code(&mut world, ask::write("/1/0/1", SENML_CBOR, lifetime)), Code::CHANGED);
    assert_eq!(text(&world.ask(0, ask::read("/1/0/1"))), "70");
}

#[test]
fn ets_234_set_senml_json() {
    let mut world = world();
    let leshan = r#"[{"bn":"/1/0/","n":"1","v":71}]"#;
    assert_eq!(code(&mut world, ask::write("/1/0/1", SENML_JSON, leshan)), Code::CHANGED);
    assert_eq!(text(&world.ask(0, ask::read("/1/0/1"))), "71");
}

#[test]
fn ets_237_read_object_without_content_type() {
    let mut world = world();
    assert_eq!(world.ask(0, ask::read("/3")).content_format, Some(SENML_CBOR));
    let mut world = World::single(ServerConfig { version: Version::V1_0, ..account("old", 1) });
    world.register();
    assert_eq!(world.ask(0, ask::read("/3")).content_format, Some(TLV));
    assert_eq!(world.ask(0, ask::read("/3/0/16")).content_format, Some(TEXT));
}

#[test]
fn ets_241_execute_reboot() {
    let mut world = world();
    let call = world.call(0, ask::execute("/3/0/4", ""));
    let (command, session, order) = world.next_command();
    assert_eq!((session, order), (SessionId(0), None));
    assert_eq!(world.answer_so_far(0, call), None);
    world.answer(command, Ok(()));
    assert_eq!(world.answer_to(0, call).code, Code::CHANGED);
}

#[test]
fn a_reboot_that_cannot_be_done_is_answered_5_00() {
    let mut world = world();
    let call = world.call(0, ask::execute("/3/0/4", "0"));
    let (command, ..) = world.next_command();
    world.answer(command, Err(Refusal::Failed));
    assert_eq!(world.answer_to(0, call).code, Code::INTERNAL_SERVER_ERROR);
}

#[test]
fn ets_256_write_operation_failure() {
    let mut world = world();
    assert_eq!(code(&mut world, ask::write_text("/3/0/0", "x")), Code::METHOD_NOT_ALLOWED);
    assert_eq!(code(&mut world, ask::write_text("/1/0/0", "5")), Code::METHOD_NOT_ALLOWED);
}

#[test]
fn ets_260_discover() {
    let mut world = world();
    let links = |world: &mut World, path: &str| text(&world.ask(0, ask::discover(path)));
    assert_eq!(links(&mut world, "/3"), "</3>,</3/0>,</3/0/0>,</3/0/2>,</3/0/4>,</3/0/11>,</3/0/16>");
    assert_eq!(links(&mut world, "/3/0"), "</3/0>,</3/0/0>,</3/0/2>,</3/0/4>,</3/0/11>;dim=1,</3/0/16>");
    assert_eq!(links(&mut world, "/3/0/11"), "</3/0/11>;dim=1,</3/0/11/0>");
    let resources: String = [0, 1, 2, 3, 5, 6, 7].map(|id| format!(",</5/0/{id}>")).concat();
    let rest: String = [9, 10, 11, 12, 13].map(|id| format!(",</5/0/{id}>")).concat();
    assert_eq!(links(&mut world, "/5"), format!("</5>;ver=1.1,</5/0>{resources},</5/0/8>{rest}"));
    assert_eq!(links(&mut world, "/5/0"), format!("</5/0>{resources},</5/0/8>;dim=2{rest}"));
    assert_eq!(links(&mut world, "/1/0/1"), "</1/0/1>");
    assert_eq!(world.ask(0, ask::discover("/3")).content_format, Some(40));
    assert_eq!(code(&mut world, ask::discover("/3/0/11/0")), Code::METHOD_NOT_ALLOWED);
    assert_eq!(code(&mut world, ask::discover("/3/0/9")), Code::NOT_FOUND);
}

#[test]
fn discover_shows_own_attributes_of_levels_and_effective_ones_of_a_resource() {
    let mut world = world();
    assert_eq!(code(&mut world, ask::write_attributes("/1/0", &["pmin=5", "pmax=60"])), Code::CHANGED);
    assert_eq!(code(&mut world, ask::write_attributes("/1/0/1", &["gt=10.5"])), Code::CHANGED);
    let links = |world: &mut World, path: &str| text(&world.ask(0, ask::discover(path)));
    assert!(links(&mut world, "/1/0").starts_with("</1/0>;pmin=5;pmax=60,</1/0/0>,</1/0/1>;gt=10.5,"));
    assert_eq!(links(&mut world, "/1/0/1"), "</1/0/1>;pmin=5;pmax=60;gt=10.5");
    assert!(links(&mut world, "/1").starts_with("</1>,</1/0>,</1/0/0>,</1/0/1>,"));
    assert_eq!(code(&mut world, ask::write_attributes("/1/0", &["pmin", "pmax"])), Code::CHANGED);
    assert_eq!(links(&mut world, "/1/0/1"), "</1/0/1>;gt=10.5");
}

#[test]
fn ets_261_write_attributes_on_a_multiple_resource() {
    let mut world = world();
    assert_eq!(code(&mut world, ask::write_attributes("/3/0/11", &["pmin=10", "pmax=200"])), Code::CHANGED);
    assert_eq!(text(&world.ask(0, ask::discover("/3/0/11"))), "</3/0/11>;dim=1;pmin=10;pmax=200,</3/0/11/0>");
}

#[test]
fn bad_attributes_are_refused_and_change_nothing() {
    let mut world = world();
    let bad: [&[&str]; 7] = [
        &["pmin=-1"],
        &["colour=red"],
        &["pmin=x"],
        &["lt=5", "gt=4"],
        &["lt=1", "gt=5", "st=2"],
        &["pmin=1", "pmin=2"],
        &["pmin=1", "x"],
    ];
    for query in bad {
        assert_eq!(code(&mut world, ask::write_attributes("/1/0/1", query)), Code::BAD_REQUEST, "{query:?}");
    }
    assert_eq!(code(&mut world, ask::write_attributes("/1/0", &["gt=1"])), Code::BAD_REQUEST);
    assert_eq!(code(&mut world, ask::write_attributes("/3/0/16", &["gt=1"])), Code::BAD_REQUEST);
    assert_eq!(code(&mut world, ask::write_attributes("/3/0/9", &["pmin=1"])), Code::NOT_FOUND);
    assert_eq!(code(&mut world, ask::write_attributes("/5/0/2", &["pmin=1"])), Code::METHOD_NOT_ALLOWED);
    assert_eq!(text(&world.ask(0, ask::discover("/1/0/1"))), "</1/0/1>");
}

#[test]
fn what_does_not_exist_is_4_04_and_what_cannot_be_done_4_05() {
    let mut world = world();
    for path in ["/99", "/99/0", "/3/9", "/3/0/99", "/3/0/3", "/1/7", "/2/99", "/dev0/3/0", "/.well-known/core"] {
        assert_eq!(code(&mut world, ask::read(path)), Code::NOT_FOUND, "{path}");
    }
    for path in ["/5/0/0", "/5/0/2", "/3/0/4", "/3/0/5"] {
        assert_eq!(code(&mut world, ask::read(path)), Code::METHOD_NOT_ALLOWED, "{path}");
    }
    for path in ["/3/0/5", "/3/0/12", "/3/0/0", "/1/0/1", "/5/0/0", "/5/0/1"] {
        assert_eq!(code(&mut world, ask::execute(path, "")), Code::METHOD_NOT_ALLOWED, "{path}");
    }
    assert_eq!(code(&mut world, ask::execute("/3/0/99", "")), Code::NOT_FOUND);
    assert_eq!(code(&mut world, ask::read("/")), Code::BAD_REQUEST);
    assert_eq!(code(&mut world, ask::read("/1/2/3/4/5")), Code::BAD_REQUEST);
    assert_eq!(code(&mut world, ask::write("/3", TLV, [0_u8; 0])), Code::METHOD_NOT_ALLOWED);
    for method in [Code::FETCH, Code::PATCH, Code::IPATCH] {
        assert_eq!(code(&mut world, Request::new(method).with_path("/3/0")), Code::METHOD_NOT_ALLOWED);
    }
}

#[test]
fn nothing_can_be_created_or_deleted() {
    let mut world = world();
    assert_eq!(code(&mut world, ask::create("/3", TLV, [0_u8; 0])), Code::METHOD_NOT_ALLOWED);
    assert_eq!(code(&mut world, ask::create("/5", TLV, [0_u8; 0])), Code::METHOD_NOT_ALLOWED);
    assert_eq!(code(&mut world, ask::create("/1", TLV, [0_u8; 0])), Code::UNAUTHORIZED);
    assert_eq!(code(&mut world, ask::delete("/3/0")), Code::METHOD_NOT_ALLOWED);
    assert_eq!(code(&mut world, ask::delete("/2/0")), Code::UNAUTHORIZED);
    assert_eq!(code(&mut world, ask::delete("/3/7")), Code::NOT_FOUND);
    assert_eq!(code(&mut world, ask::delete("/99/0")), Code::NOT_FOUND);
}

#[test]
fn formats_that_do_not_fit_are_4_06_and_4_15() {
    let mut world = world();
    for accept in [TEXT, 42, CBOR, 11543, 11544, 320, 9999] {
        assert_eq!(code(&mut world, ask::read_as("/3", accept)), Code::NOT_ACCEPTABLE, "{accept}");
    }
    assert_eq!(code(&mut world, ask::read_as("/3/0/0", 42)), Code::NOT_ACCEPTABLE);
    assert_eq!(code(&mut world, ask::write("/1/0/1", 9999, "1")), Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(code(&mut world, ask::write("/1/0/1", 11543, "{}")), Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(code(&mut world, ask::write("/1/0", TEXT, "1")), Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(code(&mut world, ask::execute("/3/0/4", "what?")), Code::BAD_REQUEST);
    let tlv_arguments = Request::new(Code::POST).with_path("/3/0/4").with_payload(TLV, "0");
    assert_eq!(code(&mut world, tlv_arguments), Code::BAD_REQUEST);
}

#[test]
fn values_that_are_no_good_are_4_00() {
    let mut world = world();
    for value in ["abc", "", "1.5", "-1", "4294967296", "99999999999999999999"] {
        assert_eq!(code(&mut world, ask::write_text("/1/0/1", value)), Code::BAD_REQUEST, "{value:?}");
    }
    assert_eq!(code(&mut world, ask::write_text("/1/0/6", "maybe")), Code::BAD_REQUEST);
    assert_eq!(code(&mut world, ask::write_text("/1/0/7", "T")), Code::BAD_REQUEST);
    assert_eq!(code(&mut world, ask::write("/1/0", TLV, [0xff, 0xff, 0xff])), Code::BAD_REQUEST);
    assert_eq!(code(&mut world, Request::new(Code::PUT).with_path("/1/0/1")), Code::BAD_REQUEST);
    assert_eq!(text(&world.ask(0, ask::read("/1/0/1"))), "30");
}

#[test]
fn two_servers_see_their_own_accounts_and_the_same_entries() {
    let mut world = World::pair();
    assert_eq!(text(&world.ask(0, ask::read("/1/0/0"))), "123");
    assert_eq!(text(&world.ask(1, ask::read("/1/1/0"))), "234");
    for (server, other) in [(0, "/1/1"), (1, "/1/0")] {
        let resource = format!("{other}/1");
        let requests = [ask::read(other), ask::read(&resource), ask::write_text(&resource, "5"), ask::discover(other)];
        for request in requests {
            assert_eq!(world.ask(server, request).code, Code::UNAUTHORIZED);
        }
        let whole = text(&world.ask(server, ask::read_as("/1", SENML_JSON)));
        assert!(!whole.contains(&format!("\"{}/", other.replace("/1/", "/"))), "{whole}");
    }
    let entries = |world: &mut World, server| text(&world.ask(server, ask::read_as("/2", SENML_JSON)));
    assert_eq!(entries(&mut world, 0), entries(&mut world, 1));
}

#[test]
fn the_entries_say_who_may_do_what_and_nobody_owns_them() {
    let reader = ServerConfig { access: Access::Read, firmware: FirmwareRight::None, ..account("cloud", 234) };
    let mut world = World::new(vec![account("factory", 123), reader], 1);
    world.register();
    let entry = |world: &mut World, id: u16| text(&world.ask(1, ask::read_as(&format!("/2/{id}"), SENML_JSON)));
    let expected = |id: u16, object: u16, instance: u16, acl: &str| {
        format!(
            r#"[{{"bn":"/2/{id}","n":"/0","v":{object}}},{{"n":"/1","v":{instance}}},{acl},{{"n":"/3","v":65535}}]"#
        )
    };
    assert_eq!(entry(&mut world, 0), expected(0, 1, 0, r#"{"n":"/2/123","v":7}"#));
    assert_eq!(entry(&mut world, 1), expected(1, 1, 1, r#"{"n":"/2/234","v":7}"#));
    assert_eq!(entry(&mut world, 2), expected(2, 3, 0, r#"{"n":"/2/123","v":7},{"n":"/2/234","v":1}"#));
    assert_eq!(entry(&mut world, 3), expected(3, 5, 0, r#"{"n":"/2/123","v":7},{"n":"/2/234","v":1}"#));
    assert_eq!(world.ask(0, ask::write_text("/2/3/3", "123")).code, Code::UNAUTHORIZED);
    assert_eq!(world.ask(0, ask::write_text("/2/3/2/234", "7")).code, Code::UNAUTHORIZED);
}

#[test]
fn a_server_that_may_only_read_reads_observes_and_discovers() {
    let reader = ServerConfig { access: Access::Read, firmware: FirmwareRight::None, ..account("cloud", 234) };
    let mut world = World::single(reader);
    world.register();
    assert_eq!(code(&mut world, ask::read("/5/0/3")), Code::CONTENT);
    assert_eq!(code(&mut world, ask::observe("/5/0/3")), Code::CONTENT);
    assert_eq!(code(&mut world, ask::discover("/5")), Code::CONTENT);
    assert_eq!(code(&mut world, ask::write_attributes("/5/0/3", &["pmin=1"])), Code::CHANGED);
    let refused = [
        ask::execute("/3/0/4", ""),
        ask::execute("/5/0/2", ""),
        ask::execute("/5/0/10", ""),
        ask::write_text("/5/0/1", "http://example.org/a.hex"),
        ask::write_text("/5/0/11", "0"),
        ask::write_text("/3/0/0", "x"),
        ask::push(vec![7; 10]),
        ask::push(vec![7; 5000]),
    ];
    for request in refused {
        assert_eq!(code(&mut world, request.clone()), Code::UNAUTHORIZED, "{:?}", request.path);
    }
    assert!(world.commands.is_empty());
    assert_eq!(code(&mut world, ask::write_text("/1/0/1", "60")), Code::CHANGED, "its own account is its own");
}

#[test]
fn the_firmware_object_in_version_1_0_has_no_cancel_and_no_late_results() {
    let old = ServerConfig { firmware_object_1_0: true, ..account("old", 1) };
    let mut world = World::new(vec![old, account("new", 2)], 1);
    world.register();
    world.client.set_firmware(FirmwareView { state: 2, result: 11, ..FirmwareView::default() }, world.now);
    assert_eq!(text(&world.ask(0, ask::read("/5/0/5"))), "0");
    assert_eq!(text(&world.ask(1, ask::read("/5/0/5"))), "11");
    world.client.set_firmware(FirmwareView { result: 9, ..FirmwareView::default() }, world.now);
    assert_eq!(text(&world.ask(0, ask::read("/5/0/5"))), "9");
    for id in 10..=13 {
        assert_eq!(world.ask(0, ask::read(&format!("/5/0/{id}"))).code, Code::NOT_FOUND);
    }
    assert_eq!(world.ask(0, ask::execute("/5/0/10", "")).code, Code::NOT_FOUND);
    let links = text(&world.ask(0, ask::discover("/5/0")));
    assert!(links.ends_with("</5/0/8>;dim=2,</5/0/9>"), "{links}");
}

#[test]
fn writes_and_executes_on_the_firmware_become_orders() {
    let mut world = world();
    let cases = [
        (
            ask::write_text("/5/0/1", "http://example.org/a.hex"),
            FirmwareOrder::WriteUri("http://example.org/a.hex".to_owned()),
        ),
        (ask::write("/5/0/1", TLV, [0xc0, 0x01]), FirmwareOrder::Reset),
        (ask::execute("/5/0/2", ""), FirmwareOrder::Execute),
        (Request::new(Code::POST).with_path("/5/0/2").with_payload(1541, "0"), FirmwareOrder::Execute),
        (ask::execute("/5/0/10", ""), FirmwareOrder::Cancel),
        (ask::write_text("/5/0/11", "2"), FirmwareOrder::SetSeverity(2)),
        (ask::write_text("/5/0/13", "3600"), FirmwareOrder::SetMaxDefer(3600)),
        (ask::write("/5/0/13", TLV, [0xc1, 0x0d, 0x05]), FirmwareOrder::SetMaxDefer(5)),
    ];
    for (request, expected) in cases {
        let call = world.call(0, request);
        let (command, session, order) = world.next_command();
        assert_eq!((session, order), (SessionId(0), Some(expected)));
        world.answer(command, Ok(()));
        assert_eq!(world.answer_to(0, call).code, Code::CHANGED);
    }
}

#[test]
fn an_empty_text_written_to_the_uri_is_a_reset() {
    let mut world = world();
    // CON PUT /5/0/1, Content-Format 0, no payload.
    let datagram = [0x41, 0x03, 0x77, 0x77, 0x01, 0xb1, b'5', 0x01, b'0', 0x01, b'1', 0x10];
    world.client.handle_datagram(SessionId(0), &datagram, world.now);
    assert_eq!(world.next_command().2, Some(FirmwareOrder::Reset));
}

#[test]
fn the_answer_to_an_order_decides_the_code() {
    let mut world = world();
    let cases = [
        (Refusal::NotAllowed, Code::UNAUTHORIZED),
        (Refusal::WrongState, Code::METHOD_NOT_ALLOWED),
        (Refusal::BadValue, Code::BAD_REQUEST),
        (Refusal::TooLarge, Code::REQUEST_ENTITY_TOO_LARGE),
        (Refusal::Incomplete, Code::REQUEST_ENTITY_INCOMPLETE),
        (Refusal::Failed, Code::INTERNAL_SERVER_ERROR),
    ];
    for (refusal, code) in cases {
        let call = world.call(0, ask::execute("/5/0/2", ""));
        let (command, ..) = world.next_command();
        world.answer(command, Err(refusal));
        assert_eq!(world.answer_to(0, call).code, code);
        world.answer(command, Ok(()));
    }
}

#[test]
fn a_bad_severity_is_4_00_only_where_right_and_state_allow_the_write() {
    let mut world = world();
    for (answer, code) in [(Ok(()), Code::BAD_REQUEST), (Err(Refusal::NotAllowed), Code::UNAUTHORIZED)] {
        let call = world.call(0, ask::write_text("/5/0/11", "7"));
        let (command, _, order) = world.next_command();
        assert_eq!(order, Some(FirmwareOrder::SetSeverity(1)), "handed up as the value that is there");
        world.answer(command, answer);
        assert_eq!(world.answer_to(0, call).code, code);
    }
}

#[test]
fn what_cannot_be_understood_is_4_00_but_4_05_where_the_state_forbids_the_write() {
    let mut world = world();
    let requests = [
        ask::write("/5/0/1", TEXT, [0xff, 0xfe]),
        ask::write("/5/0/0", TLV, [0xff, 0xff]),
        ask::write("/5/0", TLV, [0xff, 0xff]),
    ];
    for request in &requests {
        assert_eq!(code(&mut world, request.clone()), Code::BAD_REQUEST, "{:?}", request.path);
    }
    assert_eq!(code(&mut world, ask::execute("/5/0/2", "x")), Code::METHOD_NOT_ALLOWED);
    world.client.set_firmware(FirmwareView { state: 3, ..FirmwareView::default() }, world.now);
    for request in &requests[..2] {
        assert_eq!(code(&mut world, request.clone()), Code::METHOD_NOT_ALLOWED, "{:?}", request.path);
    }
    assert!(world.commands.is_empty());
}

#[test]
fn a_write_of_several_firmware_resources_is_obeyed_one_by_one_up_to_the_first_refusal() {
    let mut world = world();
    let severity_and_defer = [0xc1, 0x0b, 0x00, 0xc1, 0x0d, 0x05];
    let call = world.call(0, ask::write_partial("/5/0", TLV, severity_and_defer));
    let (command, _, order) = world.next_command();
    assert_eq!(order, Some(FirmwareOrder::SetSeverity(0)));
    world.answer(command, Ok(()));
    let (command, _, order) = world.next_command();
    assert_eq!(order, Some(FirmwareOrder::SetMaxDefer(5)));
    world.answer(command, Err(Refusal::NotAllowed));
    assert_eq!(world.answer_to(0, call).code, Code::UNAUTHORIZED);

    let call = world.call(0, ask::write_partial("/5/0", TLV, severity_and_defer));
    let (command, ..) = world.next_command();
    world.answer(command, Err(Refusal::WrongState));
    assert_eq!(world.answer_to(0, call).code, Code::METHOD_NOT_ALLOWED);
    assert!(world.commands.is_empty());
}

#[test]
fn a_command_that_nobody_answers_fails_after_30_seconds() {
    let mut world = world();
    let asked = world.now;
    let call = world.call(0, ask::execute("/3/0/4", ""));
    assert_eq!(world.answer_to(0, call).code, Code::INTERNAL_SERVER_ERROR);
    let took = (world.now - asked).as_secs_f64();
    assert!((29.0..35.0).contains(&took), "{took}");
    let (command, ..) = world.commands.remove(0);
    world.answer(command, Ok(()));
}

#[test]
fn an_open_command_delays_neither_this_server_nor_the_other() {
    let mut world = World::pair();
    let call = world.call(0, ask::execute("/3/0/4", ""));
    world.next_command();
    world.run_for(std::time::Duration::from_secs(1));
    let before = world.now;
    assert_eq!(world.ask(1, ask::read("/3/0/16")).code, Code::CONTENT);
    assert_eq!(world.ask(0, ask::read("/3/0/16")).code, Code::CONTENT);
    assert!((world.now - before).as_millis() < 500);
    assert_eq!(world.answer_so_far(0, call), None);
}

#[test]
fn commands_that_wait_are_bounded() {
    let mut world = world();
    let calls: Vec<_> = (0..12).map(|_| world.call(0, ask::execute("/3/0/4", "").non_confirmable())).collect();
    world.run_for(std::time::Duration::from_secs(5));
    assert_eq!(world.commands.len(), 8);
    let refused = calls.iter().filter_map(|call| world.answer_so_far(0, *call));
    assert_eq!(refused.map(|answer| answer.code).collect::<Vec<_>>(), [Code::INTERNAL_SERVER_ERROR; 4]);
    assert_eq!(world.count(0, |event| matches!(event, DmEvent::Failed { .. })), 0);
}
