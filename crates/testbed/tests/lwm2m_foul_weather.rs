//! Client and server over a network that loses 30 %, doubles 10 % and reorders. Each failure names its seed.

use std::time::Duration;

use coap::Code;
use lwm2m::client::{DeviceFacts, Event, FirmwareOrder, FirmwareView, ServerConfig};
use testbed::dm_server::{DmEvent, ask};
use testbed::lwm2m_world::{ENDPOINT, World, account};
use testbed::network::{Weather, for_each_seed};

const SEEDS: u64 = 40;
const MINUTE: Duration = Duration::from_secs(60);

fn foul(seed: u64) -> World {
    let lasting = |name: &str, id: u16| ServerConfig { lifetime: 3600, ..account(name, id) };
    let mut world = World::new(vec![lasting("factory", 123), lasting("cloud", 234)], seed);
    *world.network.weather_mut() = Weather::foul();
    world
}

fn each_seed(scenario: impl Fn(&mut World)) {
    for_each_seed(SEEDS, |seed| scenario(&mut foul(seed)));
}

/// Asks until an answer gets through: four retransmissions may all be lost.
fn ask_on(world: &mut World, server: usize, request: &coap::Request) -> coap::Response {
    for _ in 0..10 {
        let call = world.call(server, request.clone());
        let mut over = false;
        world.run_until(5 * MINUTE, |world| {
            over = world.dm_events.iter().any(|(by, event)| match event {
                DmEvent::Answered { call: known, .. } | DmEvent::Failed { call: known, .. } => {
                    (*by, *known) == (server, call)
                }
                _ => false,
            });
            over
        });
        if let Some(answer) = world.answer_so_far(server, call) {
            return answer;
        }
    }
    panic!("ten questions without an answer");
}

#[test]
fn registration_gets_through_and_lasts() {
    each_seed(|world| {
        world.register();
        world.run_for(5 * Duration::from_secs(3600));
        for server in 0..2 {
            assert!(world.servers[server].registration(ENDPOINT).is_some());
        }
        let failures = world.events.iter().filter(|event| matches!(event, Event::RegistrationFailed { .. })).count();
        assert!(failures <= 4, "{failures} failures");
        world.client.shut_down(world.now);
        assert!(world.run_until(MINUTE, |world| world.events.contains(&Event::ShutDown)));
    });
}

#[test]
fn reads_get_through_small_and_in_blocks() {
    each_seed(|world| {
        world.register();
        let long = "x".repeat(4000);
        world.client.set_device(DeviceFacts { model: Some(long.clone()), ..DeviceFacts::default() }, world.now);
        let answer = ask_on(world, 0, &ask::read("/3/0/1"));
        assert_eq!((answer.code, answer.payload), (Code::CONTENT, long.into_bytes()));
        assert_eq!(ask_on(world, 1, &ask::read("/3/0/16")).payload, b"U");
    });
}

#[test]
fn a_push_gets_through_and_every_byte_is_handed_out_once() {
    each_seed(|world| {
        world.register();
        world.obey = true;
        let image: Vec<u8> = (0..20_000_u32).map(|index| (index % 241) as u8).collect();
        let code = ask_on(world, 0, &ask::push(image.clone())).code;
        assert_eq!(code, Code::CHANGED);
        let mut got = Vec::new();
        for (_, order) in &world.obeyed {
            let Some(FirmwareOrder::Push { payload, first, offset, .. }) = order else { panic!("{order:?}") };
            if *first {
                got.clear();
            }
            assert_eq!(*offset, got.len() as u64);
            got.extend_from_slice(payload);
        }
        assert!(got == image);
    });
}

#[test]
fn every_state_of_an_update_arrives_in_order_where_changes_leave_time_for_it() {
    each_seed(|world| {
        world.register();
        let mut calls = Vec::new();
        for server in 0..2 {
            let answer = ask_on(world, server, &ask::observe("/5/0/3"));
            assert!(answer.observe.is_some());
            let call = world.dm_events.iter().rev().find_map(|(by, event)| match event {
                DmEvent::Answered { call, .. } if *by == server => Some(*call),
                _ => None,
            });
            calls.push(call.expect("just answered"));
        }
        for state in [1, 2, 3, 0] {
            world.client.set_firmware(FirmwareView { state, ..FirmwareView::default() }, world.now);
            world.run_for(5 * MINUTE);
        }
        // What was lost for good is told once more when an Update gets through.
        for server in 0..2 {
            world.client.update_now(lwm2m::client::SessionId(server), world.now);
        }
        world.run_for(5 * MINUTE);
        for (server, call) in calls.into_iter().enumerate() {
            let mut told = world.notified(server, call);
            told.dedup();
            assert!(in_order(&told), "{told:?}");
            assert_eq!(told.last().map(String::as_str), Some("0"));
        }
    });
}

/// Whether what arrived is a part of 1, 2, 3, 0 in this order: a CON may be lost five times over.
fn in_order(told: &[String]) -> bool {
    let mut expected = ["1", "2", "3", "0"].iter();
    told.iter().all(|state| expected.any(|known| known == state))
}

#[test]
fn answers_to_commands_survive_the_weather() {
    each_seed(|world| {
        world.register();
        world.obey = true;
        assert_eq!(ask_on(world, 0, &ask::execute("/3/0/4", "")).code, Code::CHANGED);
        assert!(world.obeyed.iter().all(|(_, order)| order.is_none()));
    });
}
