//! The wall clock jumps by a day, as when a gateway without a battery hears of the time: updates are proven, registrations
//! stay, nothing is over too early.

use std::time::{Duration, SystemTime};

use serde_json::Value;
use world::{Scene, Version, Victim, WallClock, eventually, world};

const NEW: Version = Version::ALL[1];
const PATIENCE: Duration = Duration::from_secs(120);
const DAY: i64 = 24 * 3600;

fn scene() -> (Scene, Victim, WallClock) {
    let world = world!();
    let (victim, clock) = (Victim::new(&world), WallClock::new(&world));
    let scene = Scene::with(world, "arduino-uno", &victim.board.link(), |daemon| daemon.clock(&clock));
    (scene, victim, clock)
}

fn true_time() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_secs()).expect("before the end of time")
}

/// The newest update, as people read it.
fn newest(scene: &Scene) -> Value {
    eventually("the update is over", PATIENCE, || {
        let list = scene.daemon.cli(&["history", &scene.name, "--json"]).json();
        Some(list["updates"][0].clone()).filter(|update| update["ended"].is_i64())
    })
}

/// It was this far off when the update ended; what lasted is measured by another clock.
fn is_sane(update: &Value, began_off: i64, ended_off: i64) {
    let number = |key: &str| update[key].as_i64().unwrap_or_else(|| panic!("{key}: {update}"));
    let off = |key: &str| number(key) - true_time();
    assert_eq!(update["outcome"], "proven", "{update}");
    assert!((off("began") - began_off).abs() < 600, "{update}");
    assert!(number("ended") >= number("began") && (off("ended") - ended_off).abs() < 600, "{update}");
    assert!((100..600_000).contains(&number("took_ms")), "{update}");
}

/// The clock jumps so in the middle of an update, and nobody but the history sees it.
fn jumps_in_the_middle(offset: &str, ended_off: i64) {
    let (mut scene, victim, clock) = scene();
    let streams = [scene.factory(), scene.cloud()].map(|server| server.events(&scene.name));
    let registrations = [scene.factory(), scene.cloud()].map(|server| server.registration(&scene.name));
    scene.begin_until(NEW, &["phase: Write, percent: 4"]);
    clock.set(offset);
    assert!(scene.tells_the_truth(&victim).is_success());
    assert_eq!(victim.held(), Some(NEW));
    is_sane(&newest(&scene), 0, ended_off);
    // Lifetime is 30 seconds: each server hears of the device in time.
    for stream in &streams {
        let before = stream.count("UPDATED");
        eventually("the registration is renewed", PATIENCE, || (stream.count("UPDATED") > before).then_some(()));
        assert_eq!((stream.count("DEREGISTRATION"), stream.count("REGISTRATION")), (0, 0), "{:?}", stream.all());
    }
    assert_eq!([scene.factory(), scene.cloud()].map(|server| server.registration(&scene.name)), registrations);
    scene.can_be_flashed_again(&victim);
}

#[test]
fn ahead_in_the_middle_of_a_flash() {
    jumps_in_the_middle("+1d", DAY);
}

#[test]
fn back_in_the_middle_of_a_flash() {
    // It ends no earlier than it began.
    jumps_in_the_middle("-1d", 0);
}

#[test]
fn between_staging_and_flash_either_way() {
    let (scene, victim, clock) = scene();
    let mut next = NEW;
    for (offset, off) in [("+1d", DAY), ("-1d", -DAY)] {
        clock.set("+0");
        scene.offer(scene.factory(), &next.image(), &format!("#version={}", next.0));
        scene.await_firmware(scene.factory(), "2", "0");
        clock.set(offset);
        // It has not lain for a day.
        assert_eq!(scene.firmware(scene.cloud()), ("2".to_owned(), "0".to_owned()));
        scene.execute(scene.factory());
        assert!(scene.tells_the_truth(&victim).is_success());
        assert_eq!(victim.held(), Some(next));
        is_sane(&newest(&scene), 0, off.max(0));
        next = next.other();
    }
}

#[test]
fn over_a_power_cut_in_the_middle_of_a_flash() {
    let (mut scene, mut victim, clock) = scene();
    for offset in ["-1d", "+1d"] {
        let next = victim.held().map_or(NEW, Version::other);
        clock.set("+0");
        scene.begin_until(next, &["phase: Write, percent: 4"]);
        scene.cut_power(&mut victim);
        clock.set(offset);
        scene.daemon.run();
        assert!(scene.tells_the_truth(&victim).is_success());
        assert_eq!(victim.held(), Some(next));
    }
    scene.can_be_flashed_again(&victim);
}
