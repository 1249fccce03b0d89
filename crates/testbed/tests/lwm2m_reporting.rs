//! Observe, notify and cancel, in virtual time.

use std::time::Duration;

use coap::Code;
use lwm2m::client::{DeviceFacts, FirmwareView, ServerConfig, SessionId};
use testbed::dm_server::{DmEvent, ask};
use testbed::lwm2m_world::{World, account};

const SECOND: Duration = Duration::from_secs(1);

fn world() -> World {
    let mut world = World::single(ServerConfig { lifetime: 86_400, ..account("factory", 123) });
    world.register();
    world
}

fn firmware(world: &mut World, state: u8) {
    let view = FirmwareView { state, last_change: i64::from(state), ..FirmwareView::default() };
    world.client.set_firmware(view, world.now);
}

fn is_confirmable(datagram: &[u8]) -> bool {
    datagram[0] & 0x30 == 0
}

/// Whether a datagram carries 2.05, but no acknowledgement.
fn is_notification(datagram: &[u8]) -> bool {
    datagram[1] == Code::CONTENT.0 && datagram[0] & 0x30 != 0x20
}

#[test]
fn ets_301_observe_and_notify() {
    let mut world = world();
    assert_eq!(world.ask(0, ask::write_attributes("/1/0/5", &["pmin=5", "pmax=15"])).code, Code::CHANGED);
    let (call, first) = world.observe(0, "/1/0/5");
    assert_eq!((first.code, first.payload.as_slice()), (Code::CONTENT, &b"86400"[..]));
    assert!(first.observe.is_some());
    world.run_for(14 * SECOND);
    assert_eq!(world.notified(0, call), [""; 0]);
    world.run_for(2 * SECOND);
    assert_eq!(world.notified(0, call), ["86400"], "pmax repeats");
    world.ask(0, ask::write_text("/1/0/5", "100"));
    world.run_for(SECOND);
    assert_eq!(world.notified(0, call).len(), 1, "pmin holds back");
    world.ask(0, ask::write_text("/1/0/5", "200"));
    world.run_for(5 * SECOND);
    assert_eq!(world.notified(0, call), ["86400", "200"], "two changes within pmin are one");
}

#[test]
fn ets_302_cancel_by_reset() {
    let mut world = world();
    let (call, _) = world.observe(0, "/5/0/3");
    world.servers[0].forget(call, world.now);
    firmware(&mut world, 1);
    world.run_for(SECOND);
    assert_eq!(world.status(0).observations, 0);
}

#[test]
fn ets_303_cancel_by_observe_1() {
    let mut world = world();
    let (call, _) = world.observe(0, "/5/0/3");
    let answer = world.ask(0, ask::cancel("/5/0/3"));
    assert_eq!((answer.code, answer.observe), (Code::CONTENT, None));
    assert_eq!(world.status(0).observations, 0);
    firmware(&mut world, 1);
    world.run_for(SECOND);
    assert_eq!(world.notified(0, call), [""; 0]);
}

#[test]
fn every_state_of_an_update_is_told_in_order_to_both_servers() {
    let mut world = World::pair();
    let calls = [world.observe(0, "/5/0/3").0, world.observe(1, "/5/0/3").0];
    for state in [1, 2, 3, 0] {
        firmware(&mut world, state);
    }
    world.run_for(SECOND);
    for (server, call) in calls.into_iter().enumerate() {
        assert_eq!(world.notified(server, call), ["1", "2", "3", "0"]);
    }
}

#[test]
fn instance_and_object_are_observed_too() {
    let mut world = world();
    let (instance, _) = world.observe(0, "/5/0");
    let (object, _) = world.observe(0, "/5");
    firmware(&mut world, 1);
    firmware(&mut world, 2);
    world.run_for(SECOND);
    assert_eq!(world.notified(0, instance).len(), 2);
    assert_eq!(world.notified(0, object).len(), 2);
}

#[test]
fn what_did_not_change_is_not_told() {
    let mut world = world();
    let (state, _) = world.observe(0, "/5/0/3");
    let (device, _) = world.observe(0, "/3/0/16");
    let view = FirmwareView { uri: "http://example.org".to_owned(), ..FirmwareView::default() };
    world.client.set_firmware(view, world.now);
    let facts = DeviceFacts { model: Some("x".to_owned()), ..DeviceFacts::default() };
    world.client.set_device(facts, world.now);
    world.run_for(SECOND);
    assert_eq!((world.notified(0, state).len(), world.notified(0, device).len()), (0, 0));
}

#[test]
fn firmware_is_told_confirmably_and_all_else_is_not_but_once_a_day() {
    let mut world = world();
    world.observe(0, "/5/0/3");
    let (call, _) = world.observe(0, "/3/0/11");
    world.sent.clear();
    firmware(&mut world, 1);
    world.run_for(SECOND);
    let kinds = |world: &World| {
        let notifications = world.sent.iter().filter(|(_, datagram)| is_notification(datagram));
        notifications.map(|(_, datagram)| is_confirmable(datagram)).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&world), [true]);
    for (code, confirmable) in [(1, false), (2, false), (3, true), (4, false)] {
        world.sent.clear();
        if confirmable {
            world.run_for(Duration::from_secs(86_400));
            world.sent.clear();
        }
        world.client.set_device(DeviceFacts { error_codes: vec![code], ..DeviceFacts::default() }, world.now);
        world.run_for(SECOND);
        assert_eq!(kinds(&world), [confirmable], "error {code}");
    }
    assert_eq!(world.notified(0, call).len(), 4);
}

/// A server such as lwm2m-node-lib takes confirmable notifications and never says so.
#[test]
fn a_server_that_never_acknowledges_still_sees_every_state_in_order() {
    let mut world = world();
    let (call, _) = world.observe(0, "/5/0/3");
    world.sent.clear();
    world.dead[0] = true;
    for state in [1, 2, 3, 0] {
        firmware(&mut world, state);
    }
    world.run_for(Duration::from_millis(6_500));
    let mut told: Vec<u8> = Vec::new();
    for (_, datagram) in world.sent.iter().filter(|(_, datagram)| is_notification(datagram)) {
        let value = *datagram.last().expect("a payload");
        if told.last() != Some(&value) {
            told.push(value);
        }
    }
    assert_eq!(told, b"1230");
    assert_eq!(world.status(0).observations, 1, "silence does not end an observation");
    world.dead[0] = false;
    world.run_for(120 * SECOND);
    firmware(&mut world, 1);
    world.run_for(SECOND);
    assert_eq!(world.notified(0, call).last().map(String::as_str), Some("1"));
}

#[test]
fn a_server_that_was_away_is_told_the_newest_state_once_an_update_gets_through() {
    let mut world = world();
    let (call, _) = world.observe(0, "/5/0/3");
    world.dead[0] = true;
    firmware(&mut world, 3);
    world.run_for(200 * SECOND);
    world.dead[0] = false;
    world.run_for(200 * SECOND);
    assert_eq!(world.notified(0, call), [""; 0]);
    for _ in 0..3 {
        world.client.update_now(SessionId(0), world.now);
        world.run_for(10 * SECOND);
    }
    assert_eq!(world.notified(0, call), ["3"], "once, not with every Update");
}

#[test]
fn at_most_eight_notifications_wait_and_the_last_state_is_never_lost() {
    let mut world = world();
    let (call, _) = world.observe(0, "/5/0/12");
    world.dead[0] = true;
    for second in 1..=50 {
        let view = FirmwareView { last_change: second, ..FirmwareView::default() };
        world.client.set_firmware(view, world.now);
        world.settle();
    }
    world.dead[0] = false;
    world.run_for(60 * SECOND);
    let told = world.notified(0, call);
    assert!(told.len() <= 9, "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("50"));
}

#[test]
fn thresholds_and_steps_filter_what_is_told() {
    let mut world = world();
    world.ask(0, ask::write_text("/1/0/5", "10"));
    let (call, _) = world.observe(0, "/1/0/5");
    let set = |world: &mut World, value: &str| {
        world.ask(0, ask::write_text("/1/0/5", value));
        world.run_for(SECOND);
    };
    world.ask(0, ask::write_attributes("/1/0/5", &["gt=20", "lt=5"]));
    set(&mut world, "15");
    set(&mut world, "21");
    set(&mut world, "30");
    set(&mut world, "19");
    set(&mut world, "4");
    assert_eq!(world.notified(0, call), ["21", "19", "4"], "crossing either way counts");
    world.ask(0, ask::write_attributes("/1/0/5", &["gt", "lt", "st=10"]));
    set(&mut world, "10");
    set(&mut world, "14");
    set(&mut world, "5");
    assert_eq!(world.notified(0, call), ["21", "19", "4", "14"], "the step counts from the last one told");
}

#[test]
fn the_default_periods_of_the_account_count_where_no_attribute_is() {
    let mut world = world();
    world.ask(0, ask::write_text("/1/0/3", "10"));
    let (call, _) = world.observe(0, "/3/0/16");
    world.run_for(25 * SECOND);
    assert_eq!(world.notified(0, call), ["U", "U"]);
    world.ask(0, ask::write_attributes("/3/0/16", &["pmax=0"]));
    world.run_for(60 * SECOND);
    assert_eq!(world.notified(0, call).len(), 2, "pmax=0 is none");
}

#[test]
fn a_pmax_below_pmin_is_ignored() {
    let mut world = world();
    world.ask(0, ask::write_attributes("/3/0/16", &["pmin=30", "pmax=5"]));
    let (call, _) = world.observe(0, "/3/0/16");
    world.run_for(120 * SECOND);
    assert_eq!(world.notified(0, call), [""; 0]);
}

#[test]
fn a_path_that_goes_ends_its_observation_with_4_04() {
    let mut world = world();
    let facts = DeviceFacts { firmware_version: Some("1.0".to_owned()), ..DeviceFacts::default() };
    world.client.set_device(facts, world.now);
    world.observe(0, "/3/0/3");
    world.client.set_device(DeviceFacts::default(), world.now);
    world.run_for(SECOND);
    let gone =
        |event: &DmEvent| matches!(event, DmEvent::Notified { response, .. } if response.code == Code::NOT_FOUND);
    assert_eq!((world.count(0, gone), world.status(0).observations), (1, 0));
}

#[test]
fn what_cannot_be_read_cannot_be_observed() {
    let mut world = world();
    for (path, code) in
        [("/5/0/2", Code::METHOD_NOT_ALLOWED), ("/3/0/3", Code::NOT_FOUND), ("/0/0/0", Code::UNAUTHORIZED)]
    {
        let answer = world.ask(0, ask::observe(path));
        assert_eq!((answer.code, answer.observe), (code, None));
    }
    assert_eq!(world.status(0).observations, 0);
}

#[test]
fn observations_are_bounded_and_beyond_the_bound_the_answer_says_so() {
    let mut world = world();
    for _ in 0..64 {
        assert!(world.observe(0, "/3/0/16").1.observe.is_some());
    }
    let beyond = world.observe(0, "/3/0/11").1;
    assert_eq!((beyond.code, beyond.observe), (Code::CONTENT, None));
    assert!(world.observe(0, "/3/0/16").1.observe.is_some(), "one of the same path makes room");
    assert_eq!(world.status(0).observations, 64);
}

#[test]
fn attributes_are_bounded() {
    let mut world = World::new((0..70).map(|id| account("many", id + 1)).collect(), 1);
    world.register();
    let codes: Vec<Code> =
        (0..70).map(|id| world.ask(0, ask::write_attributes(&format!("/2/{id}"), &["pmin=1"])).code).collect();
    assert!(codes[..64].iter().all(|code| *code == Code::CHANGED));
    assert!(codes[64..].iter().all(|code| *code == Code::INTERNAL_SERVER_ERROR));
    assert_eq!(world.ask(0, ask::write_attributes("/2/0", &["pmin=9"])).code, Code::CHANGED);
}

#[test]
fn an_observation_of_one_server_is_none_of_the_others_business() {
    let mut world = World::pair();
    let (call, _) = world.observe(0, "/5/0/3");
    world.ask(1, ask::write_attributes("/5/0/3", &["pmin=100"]));
    world.ask(1, ask::cancel("/5/0/3"));
    firmware(&mut world, 1);
    world.run_for(SECOND);
    assert_eq!(world.notified(0, call), ["1"]);
    assert_eq!(world.count(1, |event| matches!(event, DmEvent::Notified { .. })), 0);
}
