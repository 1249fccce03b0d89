//! Object 26300: shown to the servers that may see it, told without flooding them, and in nobody's way.

use std::time::Duration;

use coap::Code;
use lwm2m::client::{FirmwareView, FlashingView, ServerConfig};
use testbed::dm_server::ask;
use testbed::lwm2m_world::{ENDPOINT, World, account};

const SECOND: Duration = Duration::from_secs(1);

fn shown(name: &str, short_id: u16) -> ServerConfig {
    ServerConfig { flashing_object: true, lifetime: 86_400, ..account(name, short_id) }
}

fn flashing(world: &mut World, phase: &str, percent: u8) {
    let view = FlashingView {
        board: "some-board".into(),
        phase: phase.into(),
        percent,
        log: format!("line {percent}"),
        ..FlashingView::default()
    };
    world.client.set_flashing(view, world.now);
}

fn read(world: &mut World, server: usize, path: &str) -> (Code, String) {
    let answer = world.ask(server, ask::read(path));
    (answer.code, String::from_utf8_lossy(&answer.payload).into_owned())
}

#[test]
fn it_is_there_for_the_servers_that_are_shown_it_and_for_no_other() {
    let plain = ServerConfig { lifetime: 86_400, ..account("cloud", 234) };
    let mut world = World::new(vec![shown("factory", 123), plain], 1);
    world.register();
    let objects = |server: usize| world.servers[server].registration(ENDPOINT).expect("registered").objects.clone();
    let entries = "</2/0>,</2/1>,</2/2>,</2/3>,</2/4>";
    assert_eq!(objects(0), format!("</1/0>,{entries},</3/0>,</5>;ver=1.1,</5/0>,</26300/0>"));
    assert_eq!(objects(1), format!("</1/1>,{entries},</3/0>,</5>;ver=1.1,</5/0>"));
    flashing(&mut world, "writing", 40);
    assert_eq!(read(&mut world, 0, "/26300/0/2"), (Code::CONTENT, "writing".into()));
    assert_eq!(read(&mut world, 0, "/26300/0/3"), (Code::CONTENT, "40".into()));
    assert_eq!(read(&mut world, 0, "/26300/0/1"), (Code::CONTENT, String::new()), "nothing to say is told as that");
    assert_eq!(read(&mut world, 1, "/26300/0/3").0, Code::NOT_FOUND);
    assert_eq!([read(&mut world, 0, "/2/4/0").1, read(&mut world, 0, "/2/4/2/123").1], ["26300", "1"]);
    assert_eq!(read(&mut world, 0, "/2/4/2/234").0, Code::NOT_FOUND);
}

#[test]
fn nobody_can_write_or_execute_it() {
    let mut world = World::single(shown("factory", 123));
    world.register();
    for resource in 0..7 {
        let path = format!("/26300/0/{resource}");
        assert_eq!(world.ask(0, ask::write_text(&path, "x")).code, Code::UNAUTHORIZED, "{path}");
        assert_eq!(world.ask(0, ask::execute(&path, "")).code, Code::UNAUTHORIZED, "{path}");
    }
}

#[test]
fn percent_and_lines_are_told_once_a_second_and_each_phase_at_once() {
    let mut world = World::single(shown("factory", 123));
    world.register();
    let [phase, percent, log] = ["/26300/0/2", "/26300/0/3", "/26300/0/6"].map(|path| world.observe(0, path).0);
    for (phase, from) in [("preparing", 0), ("writing", 0), ("verifying", 50)] {
        for percent in from..from + 50 {
            flashing(&mut world, phase, percent);
            world.run_for(Duration::from_millis(20));
        }
    }
    flashing(&mut world, "idle", 100);
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.notified(0, phase), ["preparing", "writing", "verifying", "idle"], "none waits for another");
    world.run_for(2 * SECOND);
    let told = world.notified(0, percent);
    assert!((3..=5).contains(&told.len()) && told.last().is_some_and(|last| last == "100"), "three seconds: {told:?}");
    let told = world.notified(0, log);
    assert!((3..=5).contains(&told.len()) && told.last().is_some_and(|last| last == "line 100"), "{told:?}");
}

#[test]
fn a_server_cannot_ask_for_a_flood_but_for_less() {
    let mut world = World::single(shown("factory", 123));
    world.register();
    assert_eq!(world.ask(0, ask::write_attributes("/26300/0/3", &["pmin=0"])).code, Code::CHANGED);
    let (call, _) = world.observe(0, "/26300/0/3");
    let tell = |world: &mut World| {
        for percent in 0..100 {
            flashing(world, "writing", percent);
            world.run_for(Duration::from_millis(50));
        }
        world.run_for(10 * SECOND);
        world.notified(0, call).len()
    };
    let told = tell(&mut world);
    assert!((4..=7).contains(&told), "{told} in five seconds");
    assert_eq!(world.ask(0, ask::write_attributes("/26300/0/3", &["pmin=5"])).code, Code::CHANGED);
    let further = tell(&mut world) - told;
    assert!((1..=2).contains(&further), "{further} in five seconds, with pmin = 5");
}

#[test]
fn the_states_of_an_update_keep_their_order_and_lose_none_beside_it() {
    let mut world = World::single(shown("factory", 123));
    world.register();
    let (whole, _) = world.observe(0, "/26300/0");
    let (state, _) = world.observe(0, "/5/0/3");
    for number in [1, 2, 3, 0] {
        for percent in 0..100 {
            flashing(&mut world, "writing", percent);
        }
        world.client.set_firmware(FirmwareView { state: number, ..FirmwareView::default() }, world.now);
    }
    world.run_for(SECOND);
    assert_eq!(world.notified(0, state), ["1", "2", "3", "0"]);
    world.run_for(2 * SECOND);
    assert!((1..=3).contains(&world.notified(0, whole).len()));
}
