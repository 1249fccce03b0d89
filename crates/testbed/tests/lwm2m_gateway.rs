//! The client of a gateway itself: which objects it has, when it asks for what changes by itself, and how observers hear of it.

use std::sync::Arc;
use std::time::Duration;

use coap::Code;
use lwm2m::client::{
    AttachedDevice, Client, ClientConfig, ConnectivityFacts, DeviceFacts, Event, HostFacts, PointFacts, Refusal,
    ServerConfig, Traffic, coap_config,
};
use lwm2m::value::Value;
use testbed::dm_server::{CallId, ask};
use testbed::lwm2m_world::{ENDPOINT, World, account};

const SECOND: Duration = Duration::from_secs(1);
const FRESH: Duration = Duration::from_secs(10);

/// Registered at two servers; nobody looks yet.
fn gateway() -> World {
    let lasting =
        |name: &str, short_id| ServerConfig { lifetime: 864_000, flashing_object: true, ..account(name, short_id) };
    let accounts = vec![lasting("factory", 123), lasting("cloud", 234)];
    let config =
        ClientConfig { endpoint: ENDPOINT.into(), servers: accounts.clone().into(), coap: Arc::new(coap_config()) };
    let mut world = World::new(accounts, 1);
    world.client = Client::for_gateway(config, FRESH, 1);
    world
        .client
        .set_device(DeviceFacts { manufacturer: Some("Nuncio".to_owned()), ..DeviceFacts::default() }, world.now);
    world.client.set_points(points(None), world.now);
    world.register();
    world
}

fn points(load: Option<f64>) -> Vec<PointFacts> {
    let value = load.map(Value::Float);
    vec![PointFacts { object: 3320, instance: 0, value, unit: None, name: Some("CPU".to_owned()), writable: false }]
}

/// What the driver tells when it is asked.
fn tell(world: &mut World, load: f64) {
    let host = HostFacts { time: Some(1_700_000_000), storage_free: Some(400), ..HostFacts::default() };
    world.client.set_host(host, world.now);
    world.client.set_points(points(Some(load)), world.now);
    world.client.looked(Ok(()), world.now);
    world.settle();
}

fn looks(world: &World) -> usize {
    world.events.iter().filter(|event| matches!(event, Event::Look)).count()
}

fn board(name: &str) -> AttachedDevice {
    AttachedDevice {
        endpoint: name.to_owned(),
        board: "uno".to_owned(),
        link: "serial:/dev/ttyUSB0".to_owned(),
        present: true,
        version: String::new(),
    }
}

fn read(world: &mut World, path: &str) -> (Code, String) {
    let answer = world.ask(0, ask::read(path));
    (answer.code, String::from_utf8_lossy(&answer.payload).into_owned())
}

/// Asks, and gives the call while it waits.
fn begin(world: &mut World, path: &str) -> CallId {
    let call = world.call(0, ask::read(path));
    world.run_for(SECOND);
    call
}

#[test]
fn it_has_what_a_gateway_has_and_no_firmware_of_a_board() {
    let mut world = gateway();
    let objects = world.servers[0].registration(ENDPOINT).expect("registered").objects.clone();
    let entries: String = (0..6).map(|entry| format!("</2/{entry}>,")).collect();
    assert_eq!(objects, format!("</1/0>,{entries}</3/0>,</7/0>,</3320>;ver=1.1,</3320/0>,</26301/0>"));
    for path in ["/5/0/3", "/5", "/26300/0/0"] {
        assert_eq!(read(&mut world, path).0, Code::NOT_FOUND, "{path}");
    }
    assert_eq!(world.ask(0, ask::push(vec![1; 64])).code, Code::NOT_FOUND);
    assert_eq!(world.ask(0, ask::execute("/5/0/2", "")).code, Code::NOT_FOUND);
    let objects: Vec<String> = (0..6).map(|entry| read(&mut world, &format!("/2/{entry}/0")).1).collect();
    assert_eq!(objects, ["1", "1", "3", "7", "26301", "3320"], "each has its entry of access control");
    let wlan = ConnectivityFacts {
        bearer: 21,
        signal: Some(-60),
        quality: Some(55),
        addresses: vec!["192.0.2.7".to_owned()],
        routers: vec!["192.0.2.1".to_owned()],
    };
    tell(&mut world, 1.0);
    assert_eq!(read(&mut world, "/4/0/0").0, Code::NOT_FOUND);
    world.client.set_connectivity(Some(wlan), world.now);
    assert_eq!(read(&mut world, "/4/0/2").1, "-60");
    assert_eq!(read(&mut world, "/4/0/5/0").1, "192.0.2.1");
}

#[test]
fn nothing_is_asked_for_while_nobody_looks() {
    let mut world = gateway();
    world.run_for(Duration::from_secs(864_000));
    assert_eq!(read(&mut world, "/3/0/0").1, "Nuncio", "that does not change by itself");
    assert_eq!(read(&mut world, "/26301/0/0").1, "0");
    let (call, _) = world.observe(0, "/3/0/11");
    world.run_for(3600 * SECOND);
    assert_eq!((looks(&world), world.notified(0, call).len()), (0, 0));
}

#[test]
fn a_read_waits_for_what_it_looks_at_and_the_next_ones_take_that() {
    let mut world = gateway();
    let (first, second) = (begin(&mut world, "/3320/0/5700"), begin(&mut world, "/3/0/13"));
    assert_eq!(looks(&world), 1, "two that look at once are one question");
    assert_eq!(world.answer_so_far(0, first), None);
    tell(&mut world, 12.5);
    assert_eq!(world.answer_to(0, first).payload, b"12.5");
    assert_eq!(world.answer_to(0, second).payload, b"1700000000");
    assert_eq!(read(&mut world, "/3320/0/5700").1, "12.5");
    assert_eq!(looks(&world), 1);
    world.run_for(FRESH);
    let call = begin(&mut world, "/3320/0/5700");
    assert_eq!(looks(&world), 2, "what was told is old");
    tell(&mut world, 50.0);
    assert_eq!(world.answer_to(0, call).payload, b"50");
}

#[test]
fn a_look_that_fails_is_told_as_that_and_does_not_stick() {
    let mut world = gateway();
    let call = begin(&mut world, "/3320/0/5700");
    world.client.looked(Err(Refusal::Failed), world.now);
    assert_eq!(world.answer_to(0, call).code, Code::INTERNAL_SERVER_ERROR);
    let late = begin(&mut world, "/3320/0/5700");
    assert_eq!(world.answer_to(0, late).code, Code::INTERNAL_SERVER_ERROR, "nobody answered in time");
    let call = begin(&mut world, "/3320/0/5700");
    tell(&mut world, 1.0);
    assert_eq!(world.answer_to(0, call).payload, b"1");
}

#[test]
fn while_it_is_observed_it_is_asked_for_at_one_pace_and_no_longer() {
    let mut world = gateway();
    let call = world.call(0, ask::observe("/3320/0/5700"));
    world.run_for(SECOND);
    tell(&mut world, 1.0);
    world.answer_to(0, call);
    for round in 2..5_u8 {
        assert!(world.run_until(2 * FRESH, |world| looks(world) == usize::from(round)), "asked again");
        world.run_for(60 * SECOND);
        assert_eq!(looks(&world), usize::from(round), "and not while it waits");
        tell(&mut world, f64::from(round));
    }
    world.run_for(SECOND);
    assert_eq!(world.notified(0, call), ["2", "3", "4"]);
    world.ask(0, ask::cancel("/3320/0/5700"));
    let before = looks(&world);
    world.run_for(3600 * SECOND);
    assert_eq!(looks(&world), before);
}

#[test]
fn the_list_of_what_hangs_on_it_is_read_and_observed_also_while_it_is_empty() {
    let mut world = gateway();
    assert_eq!(world.ask(0, ask::read("/26301/0/1")).code, Code::CONTENT);
    let (names, _) = world.observe(0, "/26301/0/1");
    let (count, first) = world.observe(1, "/26301/0/0");
    assert_eq!(first.payload, b"0");
    world.client.set_attached(7, Some(board("usb-1")), world.now);
    world.client.set_attached(2, Some(board("usb-2")), world.now);
    world.run_for(5 * SECOND);
    assert_eq!(world.notified(1, count), ["2"], "once a second at most");
    assert_eq!(read(&mut world, "/26301/0/1/7"), (Code::CONTENT, "usb-1".to_owned()));
    assert_eq!(read(&mut world, "/26301/0/4/2").1, "1");
    assert_eq!(read(&mut world, "/26301/0/1/3").0, Code::NOT_FOUND);
    assert_eq!(world.ask(0, ask::write_text("/26301/0/1/2", "x")).code, Code::UNAUTHORIZED);
    let updates = |world: &World| world.events.iter().filter(|event| matches!(event, Event::Updated { .. })).count();
    assert_eq!(updates(&world), 0, "what is listed in a registration stays as it is");
    world.client.set_attached(7, None, world.now);
    world.client.set_attached(2, None, world.now);
    world.run_for(5 * SECOND);
    assert_eq!(world.notified(1, count), ["2", "1", "0"]);
    assert_eq!(world.notified(0, names).len(), 3, "the observation outlives the last device");
    world.client.set_attached(0, Some(board("usb-3")), world.now);
    world.run_for(5 * SECOND);
    assert!(world.notified(0, names)[3].contains("usb-3"));
}

#[test]
fn what_is_sent_and_received_is_collected_as_servers_order() {
    let mut world = gateway();
    let told = |world: &mut World, traffic: Traffic| world.client.count(traffic, world.now);
    let count = |world: &mut World, sent: u64| {
        told(world, Traffic { sent, received: 2 * sent, messages: sent / 100 });
    };
    let all = |world: &mut World| ["/7/0/2", "/7/0/3", "/7/0/5"].map(|path| read(world, path).1);
    told(&mut world, Traffic { sent: 3000, received: 1999, messages: 10 });
    assert_eq!(all(&mut world), ["3", "1", "499"], "what is not whole is not told");
    count(&mut world, 10_000);
    assert_eq!(read(&mut world, "/7/0/2").1, "10");
    assert_eq!(read(&mut world, "/7/0/3").1, "20");
    assert_eq!(read(&mut world, "/7/0/5").1, "300");
    assert_eq!(read(&mut world, "/7/0/0").0, Code::NOT_FOUND, "there is no SMS");
    assert_eq!(looks(&world), 0);
    for (value, code) in [("60", Code::CHANGED), ("-1", Code::BAD_REQUEST), ("4294967296", Code::BAD_REQUEST)] {
        assert_eq!(world.ask(0, ask::write_text("/7/0/8", value)).code, code, "{value}");
    }
    assert_eq!(read(&mut world, "/7/0/8").1, "60");
    world.run_for(120 * SECOND);
    count(&mut world, 11_000);
    assert_eq!(read(&mut world, "/7/0/2").1, "11", "a period counts from the next Start on");
    count(&mut world, 10_000);
    assert_eq!(world.ask(1, ask::execute("/7/0/6", "")).code, Code::CHANGED);
    assert_eq!(all(&mut world), ["0", "0", "0"]);
    count(&mut world, 15_000);
    assert_eq!(read(&mut world, "/7/0/2").1, "5");
    world.run_for(120 * SECOND);
    count(&mut world, 99_000);
    assert_eq!(read(&mut world, "/7/0/2").1, "5", "its period was over before");
    assert_eq!(world.ask(0, ask::write_text("/7/0/8", "0")).code, Code::CHANGED);
    assert_eq!(world.ask(0, ask::execute("/7/0/6", "")).code, Code::CHANGED);
    count(&mut world, 100_000);
    assert_eq!(world.ask(0, ask::execute("/7/0/7", "")).code, Code::CHANGED);
    count(&mut world, 200_000);
    assert_eq!(all(&mut world), ["1", "2", "300"], "it was stopped before");
}
