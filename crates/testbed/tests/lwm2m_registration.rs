//! Register, Update and De-register, in virtual time.

use std::time::Duration;

use coap::Code;
use lwm2m::client::{Event, RegistrationState, SessionId};
use lwm2m::model::Version;
use testbed::dm_server::{DmEvent, ask};
use testbed::lwm2m_world::{ENDPOINT, World, account};

const MINUTE: Duration = Duration::from_secs(60);

fn is_registered(event: &DmEvent) -> bool {
    matches!(event, DmEvent::Registered(_))
}

fn is_update(event: &DmEvent) -> bool {
    matches!(event, DmEvent::Updated(_))
}

fn is_expiry(event: &DmEvent) -> bool {
    matches!(event, DmEvent::Expired(_))
}

fn sockets_asked(world: &World) -> usize {
    world.events.iter().filter(|event| matches!(event, Event::NeedSocket { .. })).count()
}

#[test]
fn ets_101_initial_registration() {
    let mut world = World::single(account("factory", 123));
    world.register();
    let registration = world.servers[0].registration(ENDPOINT).expect("registered").clone();
    assert_eq!(registration.query, ["lwm2m=1.1", "ep=press-3", "lt=30", "b=U"]);
    assert_eq!(registration.objects, "</1/0>,</2/0>,</2/1>,</2/2>,</3/0>,</5>;ver=1.1,</5/0>");
    let location = format!("/{}", registration.location.join("/"));
    assert!(world.events.contains(&Event::Registered { session: SessionId(0), location: location.clone() }));
    let status = world.status(0);
    assert_eq!((status.state, status.location), (RegistrationState::Registered, Some(location)));
    assert_eq!((status.lifetime, status.last_error), (30, None));
    assert!(status.registered_until.is_some_and(|until| until > world.now));
}

#[test]
fn under_lwm2m_1_0_the_firmware_object_is_1_0_and_unstated() {
    let mut world = World::single(lwm2m::client::ServerConfig { version: Version::V1_0, ..account("old", 1) });
    world.register();
    let registration = world.servers[0].registration(ENDPOINT).expect("registered");
    assert_eq!(registration.query, ["lwm2m=1.0", "ep=press-3", "lt=30", "b=U"]);
    assert_eq!(registration.objects, "</1/0>,</2/0>,</2/1>,</2/2>,</3/0>,</5/0>");
}

#[test]
fn each_server_sees_its_own_account_only_and_its_own_version_of_object_5() {
    let plain = lwm2m::client::ServerConfig { firmware_object_1_0: true, ..account("cloud", 234) };
    let mut world = World::new(vec![account("factory", 123), plain], 1);
    world.register();
    let objects =
        |world: &World, server: usize| world.servers[server].registration(ENDPOINT).map(|r| r.objects.clone());
    let entries = "</2/0>,</2/1>,</2/2>,</2/3>";
    assert_eq!(objects(&world, 0), Some(format!("</1/0>,{entries},</3/0>,</5>;ver=1.1,</5/0>")));
    assert_eq!(objects(&world, 1), Some(format!("</1/1>,{entries},</3/0>,</5/0>")));
}

#[test]
fn the_path_and_query_of_the_server_uri_go_first() {
    let mut world = World::single(lwm2m::client::ServerConfig {
        base_query: vec!["tenant=7".to_owned()],
        ..account("factory", 123)
    });
    world.register();
    let registration = world.servers[0].registration(ENDPOINT).expect("registered");
    assert_eq!(registration.query, ["tenant=7", "lwm2m=1.1", "ep=press-3", "lt=30", "b=U"]);
}

#[test]
fn ets_102_registration_update_comes_in_time_and_says_nothing_new() {
    let mut world = World::single(account("factory", 123));
    world.register();
    world.run_for(10 * Duration::from_secs(30));
    assert_eq!(world.count(0, is_expiry), 0);
    assert_eq!(world.count(0, is_registered), 1);
    let updates = world.count(0, is_update);
    assert!((19..=22).contains(&updates), "one Update in half a lifetime, not {updates} in ten");
    let registration = world.servers[0].registration(ENDPOINT).expect("registered");
    assert_eq!((registration.lifetime, registration.query.len()), (30, 4));
}

#[test]
fn a_long_lifetime_is_used_up_to_the_time_that_an_update_may_take() {
    let mut world = World::single(lwm2m::client::ServerConfig { lifetime: 86_400, ..account("factory", 123) });
    world.register();
    world.run_for(Duration::from_secs(86_400 * 94 / 100));
    assert_eq!(world.count(0, is_update), 0);
    world.run_for(Duration::from_secs(86_400 * 6 / 100 - 92));
    assert_eq!(world.count(0, is_update), 1);
}

#[test]
fn a_lifetime_of_0_needs_no_update() {
    let mut world = World::single(lwm2m::client::ServerConfig { lifetime: 0, ..account("factory", 123) });
    world.register();
    world.run_for(Duration::from_secs(7 * 86_400));
    assert_eq!((world.count(0, is_update), world.count(0, is_registered)), (0, 1));
    assert_eq!(world.status(0).registered_until, None);
}

#[test]
fn ets_103_deregistration_on_shut_down() {
    let mut world = World::pair();
    world.client.shut_down(world.now);
    assert!(world.run_until(Duration::from_secs(5), |world| world.events.contains(&Event::ShutDown)));
    for server in 0..2 {
        assert!(world.servers[server].registration(ENDPOINT).is_none());
        assert_eq!(world.count(server, |event| matches!(event, DmEvent::Deregistered(_))), 1);
        assert!(world.events.contains(&Event::Deregistered { session: SessionId(server) }));
    }
    assert_eq!(world.client.poll_timeout(), None);
}

#[test]
fn a_dead_server_does_not_hold_up_the_shut_down() {
    let mut world = World::pair();
    world.dead[1] = true;
    world.client.shut_down(world.now);
    assert!(world.run_until(Duration::from_secs(5), |world| world.events.contains(&Event::ShutDown)));
    assert!(world.servers[0].registration(ENDPOINT).is_none());
}

#[test]
fn shutting_down_while_a_dead_server_is_asked_takes_no_longer_than_a_deregistration() {
    let mut world = World::single(account("factory", 123));
    world.dead[0] = true;
    world.run_for(Duration::from_secs(1));
    world.client.shut_down(world.now);
    assert!(world.run_until(Duration::from_secs(5), |world| world.events.contains(&Event::ShutDown)));
}

#[test]
fn a_registration_that_was_under_way_at_the_shut_down_is_ended_again() {
    let mut world = World::single(account("factory", 123));
    world.client.start(SessionId(0), world.now);
    world.client.shut_down(world.now);
    assert!(world.run_until(Duration::from_secs(5), |world| world.events.contains(&Event::ShutDown)));
    assert_eq!(world.count(0, is_registered), 1);
    assert!(world.servers[0].registration(ENDPOINT).is_none());
}

#[test]
fn ets_104_registration_update_trigger() {
    let mut world = World::single(account("factory", 123));
    world.register();
    assert_eq!(world.ask(0, ask::execute("/1/0/8", "")).code, Code::CHANGED);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.count(0, is_update), 1);
}

#[test]
fn many_triggers_at_once_make_few_updates() {
    let mut world = World::single(account("factory", 123));
    world.register();
    for _ in 0..8 {
        world.call(0, ask::execute("/1/0/8", ""));
    }
    world.client.update_now(SessionId(0), world.now);
    world.client.update_now(SessionId(0), world.now);
    world.run_for(Duration::from_secs(1));
    assert!((1..=9).contains(&world.count(0, is_update)), "{}", world.count(0, is_update));
}

#[test]
fn ets_105_discarded_register_update_is_answered_by_a_new_registration() {
    let mut world = World::single(account("factory", 123));
    world.register();
    let before = world.status(0).location;
    world.servers[0].forget_everything();
    world.run_for(Duration::from_secs(20));
    assert_eq!(world.count(0, is_registered), 2);
    assert_ne!(world.status(0).location, before);
    assert_eq!(sockets_asked(&world), 1, "4.04 comes from a server that is there: no new socket");
}

#[test]
fn ets_107_extending_the_lifetime() {
    let mut world = World::single(account("factory", 123));
    world.register();
    assert_eq!(world.ask(0, ask::write_text("/1/0/1", "500")).code, Code::CHANGED);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.servers[0].registration(ENDPOINT).map(|registration| registration.lifetime), Some(500));
    assert_eq!(world.ask(0, ask::read("/1/0/1")).payload, b"500");
    assert_eq!(world.status(0).lifetime, 500);
    world.run_for(Duration::from_secs(375));
    assert_eq!(world.count(0, is_update), 1, "the next Update follows the new lifetime");
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.count(0, is_update), 2);
}

#[test]
fn writing_the_same_lifetime_again_sends_no_update() {
    let mut world = World::single(account("factory", 123));
    world.register();
    assert_eq!(world.ask(0, ask::write_text("/1/0/1", "30")).code, Code::CHANGED);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.count(0, is_update), 0);
}

#[test]
fn a_disabled_server_is_left_in_peace_and_registered_with_later() {
    let mut world = World::pair();
    assert_eq!(world.ask(0, ask::write_text("/1/0/5", "120")).code, Code::CHANGED);
    assert_eq!(world.ask(0, ask::execute("/1/0/4", "")).code, Code::CHANGED);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.count(0, |event| matches!(event, DmEvent::Deregistered(_))), 1);
    assert_eq!(world.status(0).state, RegistrationState::Disabled);
    world.run_for(Duration::from_secs(115));
    assert_eq!(world.count(0, is_registered), 1);
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.count(0, is_registered), 2);
    assert_eq!(world.count(1, is_expiry), 0);
}

#[test]
fn a_version_that_the_server_refuses_is_lowered() {
    let mut world = World::single(lwm2m::client::ServerConfig { version: Version::V1_2, ..account("old", 1) });
    world.servers[0].admission.versions = vec![Version::V1_0];
    world.register();
    assert_eq!(world.servers[0].registration(ENDPOINT).map(|r| r.version), Some(Version::V1_0));
    assert_eq!(world.status(0).version, Version::V1_0);
    let failed = |event: &Event| matches!(event, Event::RegistrationFailed { .. });
    assert!(!world.events.iter().any(failed));
}

#[test]
fn a_server_that_refuses_every_version_is_asked_again_later() {
    let mut world = World::single(account("odd", 1));
    world.servers[0].admission.versions = vec![Version { major: 7, minor: 0 }];
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.status(0).last_error.as_deref(), Some("4.12"));
    assert_eq!(world.status(0).state, RegistrationState::Waiting);
}

#[test]
fn a_refused_registration_is_tried_again_for_ever_but_ever_more_seldom() {
    let mut world = World::single(account("factory", 123));
    world.servers[0].admission.refuse_register = Some(Code::FORBIDDEN);
    world.run_for(Duration::from_secs(3600));
    let waits: Vec<u64> = (world.events.iter())
        .filter_map(|event| match event {
            Event::RegistrationFailed { retry_in, reason, .. } => {
                assert_eq!(reason, "4.03");
                Some(retry_in.as_secs())
            }
            _ => None,
        })
        .collect();
    for (wait, most) in waits.iter().zip([10, 20, 40, 80, 160, 300, 300, 300]) {
        assert!((most * 3 / 4..=most).contains(wait), "{waits:?}");
    }
    assert!((12..=20).contains(&waits.len()), "{waits:?}");
    assert_eq!(sockets_asked(&world), waits.len() + usize::from(world.status(0).state != RegistrationState::Waiting));
    world.servers[0].admission.refuse_register = None;
    world.register();
    assert_eq!(world.status(0).last_error, None);
}

#[test]
fn an_unreachable_server_costs_one_try_and_the_other_server_never_notices() {
    let mut world = World::new(vec![account("gone", 1), account("there", 2)], 3);
    world.dead[0] = true;
    world.run_for(Duration::from_millis(5));
    world.client.handle_unreachable(SessionId(0), world.now);
    world.settle();
    assert_eq!(world.status(0).state, RegistrationState::Waiting);
    assert_eq!(world.status(0).last_error.as_deref(), Some("unreachable"));
    world.run_for(10 * MINUTE);
    assert_eq!((world.count(1, is_registered), world.count(1, is_expiry)), (1, 0));
    assert_eq!(world.ask(1, ask::read("/3/0/16")).payload, b"U");
}

#[test]
fn a_server_that_was_gone_for_ten_lifetimes_gets_the_device_back_and_the_other_never_notices() {
    let short = |name: &str, id: u16| lwm2m::client::ServerConfig {
        lifetime: 5,
        retry: Duration::from_secs(2),
        ..account(name, id)
    };
    let mut world = World::new(vec![short("factory", 123), short("cloud", 234)], 1);
    world.register();
    world.dead[0] = true;
    world.run_for(Duration::from_secs(50));
    assert!(world.servers[0].registration(ENDPOINT).is_none());
    world.dead[0] = false;
    assert!(world.run_until(Duration::from_secs(120), |world| world.servers[0].registration(ENDPOINT).is_some()));
    assert_eq!((world.count(1, is_registered), world.count(1, is_expiry)), (1, 0));
}

#[test]
fn one_lost_update_is_sent_again_and_does_not_end_the_registration() {
    let mut world = World::single(account("factory", 123));
    world.register();
    world.run_for(Duration::from_secs(14));
    world.dead[0] = true;
    world.run_for(Duration::from_secs(3));
    world.dead[0] = false;
    world.run_for(Duration::from_secs(10));
    assert_eq!((world.count(0, is_expiry), world.count(0, is_registered)), (0, 1));
    assert!(world.count(0, is_update) >= 1);
}

#[test]
fn an_update_that_is_never_answered_ends_in_a_registration_over_a_new_socket() {
    let mut world = World::single(account("factory", 123));
    world.register();
    world.dead[0] = true;
    world.run_for(Duration::from_secs(40));
    assert_eq!(sockets_asked(&world), 2);
    assert_eq!(world.status(0).state, RegistrationState::Registering);
}

#[test]
fn a_location_of_one_segment_is_replayed_as_it_came() {
    let mut world = World::single(account("node", 7));
    world.servers[0].admission.one_segment_location = true;
    world.register();
    world.client.update_now(SessionId(0), world.now);
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.count(0, is_update), world.count(0, is_registered)), (1, 1));
    assert!(world.status(0).location.is_some_and(|location| location.starts_with("/rd/")));
}

#[test]
fn a_new_registration_drops_the_observations_and_keeps_the_attributes() {
    let mut world = World::single(account("factory", 123));
    world.register();
    assert_eq!(world.ask(0, ask::write_attributes("/3/0", &["pmin=5"])).code, Code::CHANGED);
    world.observe(0, "/5/0/3");
    assert_eq!(world.status(0).observations, 1);
    world.servers[0].forget_everything();
    world.run_for(Duration::from_secs(20));
    assert_eq!((world.count(0, is_registered), world.status(0).observations), (2, 0));
    let links = String::from_utf8(world.ask(0, ask::discover("/3/0")).payload).expect("text");
    assert!(links.starts_with("</3/0>;pmin=5,"), "{links}");
}
