//! Whatever a server sends, the client neither panics nor stalls nor grows, and the other server is served.

use std::time::{Duration, Instant};

use coap::{Code, Request};
use lwm2m::client::{FirmwareView, SessionId};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use testbed::dm_server::ask;
use testbed::lwm2m_world::World;

fn any_request() -> impl Strategy<Value = Request> {
    let method = prop_oneof![4 => 1_u8..=4, 1 => 5_u8..=7].prop_map(Code);
    let segment = prop_oneof![8 => (0_u16..=12).prop_map(|id| id.to_string()), 1 => "[a-z0-9/.]{0,8}", 1 => Just("65535".to_owned())];
    let objects =
        prop_oneof![4 => prop::sample::select(vec!["1", "2", "3", "5"]).prop_map(str::to_owned), 1 => segment.clone()];
    let path = (objects, vec(segment, 0..5)).prop_map(|(object, rest)| [vec![object], rest].concat());
    let attribute = prop_oneof![
        4 => ("(pmin|pmax|gt|lt|st)", -5_i32..20).prop_map(|(name, value)| format!("{name}={value}")),
        1 => "[a-z=0-9.]{0,12}",
    ];
    let format = prop_oneof![
        4 => prop::sample::select(vec![0_u16, 40, 42, 60, 110, 112, 11542, 11543, 11544, 1541, 1542, 1543, 1544]),
        1 => any::<u16>(),
    ];
    let payload = prop_oneof![2 => vec(any::<u8>(), 0..40), 1 => "[0-9]{0,6}".prop_map(String::into_bytes), 1 => vec(any::<u8>(), 900..2500)];
    (
        method,
        path,
        vec(attribute, 0..3),
        option::of(format.clone()),
        option::of(format),
        option::of(0_u32..3),
        payload,
        any::<bool>(),
    )
        .prop_map(|(method, path, query, content_format, accept, observe, payload, confirmable)| Request {
            method,
            path,
            query,
            content_format,
            accept,
            observe,
            payload,
            confirmable,
        })
}

/// The codes that Leshan takes as answers to device management, 4.08 and 4.13 of block-wise transfer included.
fn is_listed(code: Code) -> bool {
    let listed = [
        Code::CONTENT,
        Code::CHANGED,
        Code::CONTINUE,
        Code::BAD_REQUEST,
        Code::UNAUTHORIZED,
        Code::NOT_FOUND,
        Code::METHOD_NOT_ALLOWED,
        Code::NOT_ACCEPTABLE,
        Code::REQUEST_ENTITY_INCOMPLETE,
        Code::REQUEST_ENTITY_TOO_LARGE,
        Code::UNSUPPORTED_CONTENT_FORMAT,
        Code::INTERNAL_SERVER_ERROR,
    ];
    listed.contains(&code)
}

fn other_server_is_served(world: &mut World) {
    let before = world.now;
    assert_eq!(world.ask(1, ask::read("/3/0/16")).payload, b"U");
    assert!(world.now - before < Duration::from_secs(1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_requests_are_answered_with_listed_codes(requests in vec(any_request(), 1..30)) {
        let mut world = World::pair();
        world.obey = true;
        for request in requests {
            if world.servers[0].registration("press-3").is_none() {
                world.register();
            }
            let shown = format!("{request:?}");
            if let Ok(call) = world.servers[0].call("press-3", request, world.now) {
                world.run_for(Duration::from_secs(40));
                if let Some(answer) = world.answer_so_far(0, call) {
                    prop_assert!(is_listed(answer.code), "{} to {shown}", answer.code);
                }
            }
        }
        world.client.set_firmware(FirmwareView { state: 1, ..FirmwareView::default() }, world.now);
        prop_assert!(world.status(0).observations <= 64);
        other_server_is_served(&mut world);
    }

    #[test]
    fn any_datagrams_are_survived(datagrams in vec(vec(any::<u8>(), 0..80), 1..100)) {
        let mut world = World::pair();
        world.obey = true;
        for datagram in datagrams {
            world.client.handle_datagram(SessionId(0), &datagram, world.now);
            world.settle();
        }
        world.run_for(Duration::from_secs(300));
        other_server_is_served(&mut world);
    }

    #[test]
    fn datagrams_that_look_like_coap_are_survived(
        heads in vec((0_u8..4, 0_u8..=8, any::<u8>(), any::<u16>(), vec(any::<u8>(), 0..60)), 1..60),
    ) {
        let mut world = World::pair();
        world.obey = true;
        for (kind, token, code, id, rest) in heads {
            let mut datagram = vec![0x40 | kind << 4 | token, code];
            datagram.extend(id.to_be_bytes());
            datagram.extend(rest);
            world.client.handle_datagram(SessionId(0), &datagram, world.now);
            world.settle();
        }
        world.run_for(Duration::from_secs(300));
        other_server_is_served(&mut world);
    }
}

#[test]
fn a_flood_of_requests_leaves_the_other_server_its_answer() {
    let mut world = World::pair();
    for round in 0..200_u32 {
        for number in 0..50_u16 {
            let id = (round as u16).wrapping_mul(50).wrapping_add(number).to_be_bytes();
            // CON GET /3/0 with Observe 0 and a token of its own.
            let datagram = [0x42, 0x01, id[0], id[1], id[0], id[1], 0x60, 0x51, b'3', 0x01, b'0'];
            world.client.handle_datagram(SessionId(0), &datagram, world.now);
        }
        world.settle();
    }
    assert!(world.status(0).observations <= 64);
    other_server_is_served(&mut world);
    world.run_for(Duration::from_secs(600));
    other_server_is_served(&mut world);
}

#[test]
fn a_stranger_index_is_ignored() {
    let mut world = World::pair();
    world.client.handle_datagram(SessionId(7), &[0x40, 0x01, 0, 1], world.now);
    world.client.start(SessionId(7), world.now);
    world.client.handle_unreachable(SessionId(7), world.now);
    world.client.update_now(SessionId(7), world.now);
    assert_eq!(world.client.status(SessionId(7)), None);
}

#[test]
fn asking_when_to_wake_up_is_cheap() {
    let mut world = World::pair();
    world.observe(0, "/5");
    let begin = Instant::now();
    for _ in 0..10_000 {
        std::hint::black_box(world.client.poll_timeout());
    }
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}
