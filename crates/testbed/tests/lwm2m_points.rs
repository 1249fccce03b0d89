//! Points of a device as IPSO objects: registered, read, observed, and written where object, device and right allow it.

use std::time::Duration;

use coap::Code;
use lwm2m::client::{Access, Event, PointFacts, Refusal, ServerConfig, SessionId};
use lwm2m::value::Value;
use testbed::dm_server::ask;
use testbed::lwm2m_world::{ENDPOINT, World, account};

const SECOND: Duration = Duration::from_secs(1);

fn point(object: u16, instance: u16, value: impl Into<Option<Value>>, writable: bool) -> PointFacts {
    let unit = (object == 3303).then(|| "Cel".to_owned());
    PointFacts { object, instance, value: value.into(), unit, name: Some(format!("p{instance}")), writable }
}

fn greenhouse(celsius: f64, lamp: bool) -> Vec<PointFacts> {
    vec![
        point(3306, 0, Value::Boolean(lamp), true),
        point(3303, 0, Value::Float(celsius), false),
        point(3303, 1, None, false),
    ]
}

fn registered() -> World {
    let lasting = |name: &str, short_id| ServerConfig { lifetime: 86_400, ..account(name, short_id) };
    let readers = ServerConfig { access: Access::Read, ..lasting("cloud", 234) };
    let mut world = World::new(vec![lasting("factory", 123), readers], 1);
    world.register();
    world
}

fn objects(world: &World, server: usize) -> String {
    world.servers[server].registration(ENDPOINT).expect("registered").objects.clone()
}

fn read(world: &mut World, server: usize, path: &str) -> (Code, String) {
    let answer = world.ask(server, ask::read(path));
    (answer.code, String::from_utf8_lossy(&answer.payload).into_owned())
}

#[test]
fn servers_that_know_the_device_are_told_of_its_points_by_an_update() {
    let mut world = registered();
    let before = objects(&world, 0);
    assert!(!before.contains("3303"), "{before}");
    world.client.set_points(greenhouse(21.5, false), world.now);
    world.run_for(SECOND);
    let entries: String = (0..7).map(|entry| format!("</2/{entry}>,")).collect();
    for server in 0..2 {
        let own = format!("</1/{server}>");
        let points = "</3303>;ver=1.1,</3303/0>,</3303/1>,</3306>;ver=1.1,</3306/0>";
        assert_eq!(objects(&world, server), format!("{own},{entries}</3/0>,</5>;ver=1.1,</5/0>,{points}"));
    }
    assert_eq!(world.servers[0].registration(ENDPOINT).expect("registered").lifetime, 86_400);
    world.client.set_points(Vec::new(), world.now);
    world.run_for(SECOND);
    assert_eq!(objects(&world, 0), before);
}

#[test]
fn points_known_before_are_registered_at_once_and_values_alone_cost_no_update() {
    let mut world = World::single(account("factory", 123));
    world.client.set_points(greenhouse(1.0, false), world.now);
    world.register();
    assert!(objects(&world, 0).contains("</3306/0>"));
    world.client.set_points(greenhouse(2.0, true), world.now);
    world.run_for(SECOND);
    assert_eq!(world.events.iter().filter(|event| matches!(event, Event::Updated { .. })).count(), 0);
}

#[test]
fn values_are_read_and_observed_and_what_is_not_known_is_not_there() {
    let mut world = registered();
    world.client.set_points(greenhouse(21.5, false), world.now);
    assert_eq!(read(&mut world, 0, "/3303/0/5700"), (Code::CONTENT, "21.5".into()));
    assert_eq!(read(&mut world, 1, "/3303/0/5701"), (Code::CONTENT, "Cel".into()));
    assert_eq!(read(&mut world, 0, "/3303/1/5750"), (Code::CONTENT, "p1".into()));
    assert_eq!(read(&mut world, 0, "/3303/1/5700").0, Code::NOT_FOUND);
    assert_eq!(read(&mut world, 0, "/3306/0/5701").0, Code::NOT_FOUND, "an object without units");
    assert_eq!(read(&mut world, 0, "/3306/1/5850").0, Code::NOT_FOUND);
    assert_eq!(read(&mut world, 0, "/3303/0").0, Code::CONTENT);
    assert_eq!(read(&mut world, 0, "/2/4/0").1, "3303");
    let (call, first) = world.observe(0, "/3303/0/5700");
    assert_eq!(first.code, Code::CONTENT);
    world.client.set_points(greenhouse(22.0, true), world.now);
    world.run_for(SECOND);
    assert_eq!(world.notified(0, call), ["22"]);
}

#[test]
fn a_value_is_written_by_who_may_to_what_takes_it() {
    let mut world = registered();
    world.client.set_points(greenhouse(21.5, false), world.now);
    for (server, path, text, code) in [
        (1, "/3306/0/5850", "1", Code::UNAUTHORIZED),
        (0, "/3303/0/5700", "1", Code::METHOD_NOT_ALLOWED),
        (0, "/3306/0/5750", "x", Code::METHOD_NOT_ALLOWED),
        (0, "/3306/0/5850", "on", Code::BAD_REQUEST),
        (0, "/3306/1/5850", "1", Code::NOT_FOUND),
    ] {
        assert_eq!(world.ask(server, ask::write_text(path, text)).code, code, "{path}");
    }
    for (answer, code) in [(Ok(()), Code::CHANGED), (Err(Refusal::Failed), Code::INTERNAL_SERVER_ERROR)] {
        let call = world.call(0, ask::write_text("/3306/0/5850", "1"));
        world.run_for(SECOND);
        let position = world.events.iter().position(|event| matches!(event, Event::Point { .. })).expect("asked");
        let Event::Point { command, session, object, instance, value } = world.events.remove(position) else {
            panic!("a point");
        };
        assert_eq!((session, object, instance, value), (SessionId(0), 3306, 0, Value::Boolean(true)));
        world.client.answer(command, answer, world.now);
        assert_eq!(world.answer_to(0, call).code, code);
    }
}

#[test]
fn a_value_can_be_written_before_one_was_told() {
    let mut world = registered();
    world.client.set_points(vec![point(3306, 0, None, true)], world.now);
    assert_eq!(read(&mut world, 0, "/3306/0/5850").0, Code::NOT_FOUND);
    assert_eq!(world.ask(0, ask::write_text("/3306/0/5852", "1")).code, Code::METHOD_NOT_ALLOWED);
    let call = world.call(0, ask::write_text("/3306/0/5850", "1"));
    world.run_for(SECOND);
    let Some(Event::Point { command, .. }) = world.events.pop() else { panic!("a point") };
    world.client.answer(command, Ok(()), world.now);
    assert_eq!(world.answer_to(0, call).code, Code::CHANGED);
}

#[test]
fn what_is_no_ipso_object_is_shown_to_nobody() {
    let mut world = registered();
    let odd = [3, 5, 26_300, 3199, 65_535].map(|object| point(object, 0, Value::Float(1.0), true));
    world.client.set_points(odd.to_vec(), world.now);
    world.run_for(SECOND);
    assert!(!objects(&world, 0).contains("3199"));
    assert_eq!(read(&mut world, 0, "/65535/0/5700").0, Code::NOT_FOUND);
}
