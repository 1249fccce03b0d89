//! Pushed images, in virtual time: parts come out unwrapped, in order, and never whole.

use coap::{Code, Request};
use lwm2m::client::{FirmwareOrder, FirmwareView, Refusal};
use testbed::dm_server::ask;
use testbed::lwm2m_world::{World, account};

const OPAQUE: u16 = 42;
const TLV: u16 = 11542;

fn image(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

/// TLV of resource 0 with a length field of three, two or one bytes, as Leshan writes it.
fn wrapped(image: &[u8]) -> Vec<u8> {
    let length = (image.len() as u32).to_be_bytes();
    let header = match image.len() {
        65_536.. => vec![0xd8, 0, length[1], length[2], length[3]],
        256.. => vec![0xd0, 0, length[2], length[3]],
        8.. => vec![0xc8, 0, length[3]],
        short => vec![0xc0 | short as u8, 0],
    };
    [header, image.to_vec()].concat()
}

fn world() -> World {
    let mut world = World::single(account("factory", 123));
    world.register();
    world
}

/// The image that the orders amount to, and how many orders there were.
fn received(world: &World) -> (Vec<u8>, usize) {
    let mut image = Vec::new();
    for (count, (_, order)) in world.obeyed.iter().enumerate() {
        let Some(FirmwareOrder::Push { payload, first, more, offset, .. }) = order else { panic!("{order:?}") };
        assert_eq!(*first, count == 0);
        assert_eq!(*more, count + 1 < world.obeyed.len());
        assert_eq!(*offset, image.len() as u64);
        image.extend_from_slice(payload);
    }
    (image, world.obeyed.len())
}

#[test]
fn a_pushed_image_comes_out_part_by_part() {
    for (format, wrap) in [(OPAQUE, false), (1544, false), (TLV, true), (1542, true)] {
        let mut world = world();
        world.obey = true;
        let image = image(300_000);
        let body = if wrap { wrapped(&image) } else { image.clone() };
        let answer = world.ask(0, ask::write("/5/0/0", format, body));
        assert_eq!(answer.code, Code::CHANGED, "{format}");
        let (got, parts) = received(&world);
        assert!(got == image, "{format}: the image differs");
        assert_eq!(parts, 300_000_usize.div_ceil(1024), "{format}");
    }
}

#[test]
fn the_size_of_a_wrapped_image_is_known_from_its_first_part() {
    let mut world = world();
    world.call(0, ask::write("/5/0/0", TLV, wrapped(&image(5000))));
    let (_, _, order) = world.next_command();
    let Some(FirmwareOrder::Push { payload, first: true, more: true, offset: 0, size }) = order else {
        panic!("{order:?}")
    };
    assert_eq!((payload, size), (image(1020), Some(5000)));
}

#[test]
fn a_small_image_in_one_message_is_one_order() {
    for (format, body) in [(OPAQUE, image(100)), (TLV, wrapped(&image(100)))] {
        let mut world = world();
        let call = world.call(0, ask::write("/5/0/0", format, body));
        let (command, _, order) = world.next_command();
        let whole = FirmwareOrder::Push { payload: image(100), first: true, more: false, offset: 0, size: Some(100) };
        match order {
            Some(FirmwareOrder::Push { size: None, .. }) => assert_eq!(format, OPAQUE, "TLV tells its size"),
            order => assert_eq!(order, Some(whole)),
        }
        world.answer(command, Ok(()));
        assert_eq!(world.answer_to(0, call).code, Code::CHANGED);
    }
}

#[test]
fn other_formats_carry_a_small_image_but_cannot_be_streamed() {
    let mut world = world();
    world.obey = true;
    let senml = r#"[{"bn":"/5/0/0","vd":"AQID"}]"#;
    assert_eq!(world.ask(0, ask::write("/5/0/0", 110, senml)).code, Code::CHANGED);
    assert_eq!(received(&world).0, [1, 2, 3]);
    let long = format!(r#"[{{"bn":"/5/0/0","vd":"{}"}}]"#, "A".repeat(4000));
    assert_eq!(world.ask(0, ask::write("/5/0/0", 110, long)).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(world.ask(0, ask::write("/5/0/0", 9999, image(10))).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(world.obeyed.len(), 1);
}

#[test]
fn a_single_nul_byte_is_a_reset_however_it_is_wrapped() {
    for (format, body) in [(OPAQUE, vec![0]), (TLV, vec![0xc1, 0, 0]), (1542, vec![0xc1, 0, 0])] {
        let mut world = world();
        world.obey = true;
        assert_eq!(world.ask(0, ask::write("/5/0/0", format, body)).code, Code::CHANGED);
        assert_eq!(world.obeyed.last().and_then(|(_, order)| order.clone()), Some(FirmwareOrder::Reset));
    }
}

#[test]
fn a_push_through_the_instance_is_taken_too() {
    let mut world = world();
    world.obey = true;
    assert_eq!(world.ask(0, ask::write_partial("/5/0", TLV, wrapped(&image(3000)))).code, Code::CHANGED);
    assert!(received(&world).0 == image(3000));
}

#[test]
fn the_answer_to_a_part_ends_the_push_when_it_is_a_refusal() {
    for (refusal, code) in [
        (Refusal::NotAllowed, Code::UNAUTHORIZED),
        (Refusal::WrongState, Code::METHOD_NOT_ALLOWED),
        (Refusal::BadValue, Code::BAD_REQUEST),
        (Refusal::TooLarge, Code::REQUEST_ENTITY_TOO_LARGE),
    ] {
        let mut world = world();
        let call = world.call(0, ask::push(image(10_000)));
        let (first, ..) = world.next_command();
        world.answer(first, Ok(()));
        let (second, ..) = world.next_command();
        world.answer(second, Err(refusal));
        assert_eq!(world.answer_to(0, call).code, code);
        world.run_for(std::time::Duration::from_secs(10));
        assert!(world.commands.is_empty());
    }
}

#[test]
fn a_push_begins_again_at_block_0() {
    let mut world = world();
    let first = world.call(0, ask::push(image(10_000)));
    let (command, ..) = world.next_command();
    world.answer(command, Ok(()));
    world.next_command();
    world.servers[0].forget(first, world.now);
    world.obey = true;
    let answer = world.ask(0, ask::push(image(4000)));
    assert_eq!(answer.code, Code::CHANGED);
    assert!(received(&world).0 == image(4000));
}

#[test]
fn a_wrapping_that_promises_more_or_less_than_comes_is_4_00() {
    let mut world = world();
    world.obey = true;
    let mut short = wrapped(&image(3000));
    short.truncate(2500);
    assert_eq!(world.ask(0, ask::write("/5/0/0", TLV, short)).code, Code::BAD_REQUEST);
    let finished = |order: &Option<FirmwareOrder>| matches!(order, Some(FirmwareOrder::Push { more: false, .. }));
    assert!(!world.obeyed.iter().any(|(_, order)| finished(order)), "a truncated image is never finished");
    let long = [wrapped(&image(3000)), vec![1, 2, 3]].concat();
    assert_eq!(world.ask(0, ask::write("/5/0/0", TLV, long)).code, Code::BAD_REQUEST);
    assert!(!world.obeyed.iter().any(|(_, order)| finished(order)));
}

#[test]
fn two_servers_may_push_at_once_and_each_order_says_whose_it_is() {
    let mut world = World::pair();
    world.obey = true;
    let calls = [0, 1].map(|server| world.call(server, ask::push(image(5000 + server))));
    for (server, call) in calls.into_iter().enumerate() {
        assert_eq!(world.answer_to(server, call).code, Code::CHANGED);
    }
    for server in 0..2 {
        let of = |(session, order): &(lwm2m::client::SessionId, Option<FirmwareOrder>)| match order {
            Some(FirmwareOrder::Push { payload, .. }) if session.0 == server => payload.clone(),
            _ => Vec::new(),
        };
        let got: Vec<u8> = world.obeyed.iter().flat_map(of).collect();
        assert!(got == image(5000 + server));
    }
}

#[test]
fn a_whole_update_is_seen_by_both_servers_whoever_asked() {
    let mut world = World::pair();
    let observers = [world.observe(0, "/5/0/3").0, world.observe(1, "/5/0/3").0];
    let results = [world.observe(0, "/5/0/5").0, world.observe(1, "/5/0/5").0];
    let show = |world: &mut World, state: u8, result: u8| {
        world.client.set_firmware(FirmwareView { state, result, ..FirmwareView::default() }, world.now);
        world.settle();
    };
    let push = world.call(1, ask::push(image(2000)));
    let (command, ..) = world.next_command();
    show(&mut world, 1, 0);
    world.answer(command, Ok(()));
    let (command, ..) = world.next_command();
    world.answer(command, Ok(()));
    show(&mut world, 2, 0);
    assert_eq!(world.answer_to(1, push).code, Code::CHANGED);
    let execute = world.call(1, ask::execute("/5/0/2", ""));
    let (command, ..) = world.next_command();
    world.answer(command, Ok(()));
    show(&mut world, 3, 0);
    assert_eq!(world.answer_to(1, execute).code, Code::CHANGED);
    show(&mut world, 0, 1);
    world.run_for(std::time::Duration::from_secs(1));
    for server in 0..2 {
        assert_eq!(world.notified(server, observers[server]), ["1", "2", "3", "0"]);
        assert_eq!(world.notified(server, results[server]), ["1"]);
    }
}

#[test]
fn a_uri_of_any_length_is_handed_up_and_the_answer_decides() {
    for (answer, code) in [
        (Err(Refusal::NotAllowed), Code::UNAUTHORIZED),
        (Err(Refusal::WrongState), Code::METHOD_NOT_ALLOWED),
        (Err(Refusal::BadValue), Code::BAD_REQUEST),
        (Ok(()), Code::CHANGED),
    ] {
        let mut world = world();
        let uri = format!("http://dm.example/{}", "x".repeat(400));
        let write = world.call(0, ask::write("/5/0/1", 0, uri.clone().into_bytes()));
        let (command, _, order) = world.next_command();
        assert_eq!(order, Some(FirmwareOrder::WriteUri(uri)));
        world.answer(command, answer);
        assert_eq!(world.answer_to(0, write).code, code);
    }
}

#[test]
fn reading_the_package_or_writing_attributes_to_it_is_4_05() {
    let mut world = world();
    assert_eq!(world.ask(0, ask::read("/5/0/0")).code, Code::METHOD_NOT_ALLOWED);
    assert_eq!(world.ask(0, ask::write_attributes("/5/0/0", &["pmin=1"])).code, Code::METHOD_NOT_ALLOWED);
    assert_eq!(world.ask(0, Request::new(Code::PUT).with_path("/5/0/0")).code, Code::BAD_REQUEST);
    assert_eq!(world.ask(0, ask::execute("/5/0/0", "")).code, Code::METHOD_NOT_ALLOWED);
}
