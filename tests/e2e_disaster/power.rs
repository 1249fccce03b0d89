//! The power goes: daemon, tool and board stop at the same moment, and what was on the disk then is what is found.

use std::fs;
use std::time::Duration;

use world::{Behaviour, Scene, Version, Victim, eventually, world};

const NEW: Version = Version::ALL[1];
const PATIENCE: Duration = Duration::from_secs(120);

fn scene() -> (Scene, Victim) {
    let world = world!();
    let victim = Victim::new(&world);
    let scene = Scene::new(world, "arduino-uno", &victim.board.link());
    (scene, victim)
}

/// The power goes when the log has these words; then the flash is finished by itself, and proven. Gives what the board
/// held when it went.
fn is_finished_after_a_cut_at(words: &[&str]) -> Option<Version> {
    let (mut scene, mut victim) = scene();
    scene.begin_until(NEW, words);
    scene.cut_power(&mut victim);
    let held = victim.held();
    scene.daemon.run();
    let told = scene.tells_the_truth(&victim);
    assert!(told.is_success() && victim.held() == Some(NEW), "{told:?}, {:?}", victim.held());
    scene.can_be_flashed_again(&victim);
    held
}

#[test]
fn while_the_image_comes_in_the_rest_of_it_is_fetched() {
    let (mut scene, mut victim) = scene();
    let bytes = fs::read(NEW.image()).expect("an image of ours");
    let uri = scene.files.put_as("held.hex", bytes, Behaviour::HoldAtHalf);
    assert_eq!(scene.factory().write_uri(&scene.name, &format!("{uri}#version={}", NEW.0)).code, 204);
    eventually("half of it is there", PATIENCE, || (!scene.files.requests().is_empty()).then_some(()));
    scene.await_firmware(scene.factory(), "1", "0");
    scene.cut_power(&mut victim);
    scene.files.let_go();
    scene.daemon.run();
    let told = scene.tells_the_truth(&victim);
    assert_eq!((told.state.as_str(), victim.held()), ("2", Some(NEW.other())), "{told:?}");
    scene.execute(scene.factory());
    assert!(scene.tells_the_truth(&victim).is_success());
    assert_eq!(victim.held(), Some(NEW));
    scene.can_be_flashed_again(&victim);
}

#[test]
fn while_the_image_is_staged_it_still_is() {
    let (mut scene, mut victim) = scene();
    scene.offer(scene.factory(), &NEW.image(), "");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.cut_power(&mut victim);
    scene.daemon.run();
    let told = scene.tells_the_truth(&victim);
    assert_eq!((told.state.as_str(), told.result.as_str()), ("2", "0"));
    scene.execute(scene.factory());
    assert!(scene.tells_the_truth(&victim).is_success());
    assert_eq!(victim.held(), Some(NEW));
}

#[test]
fn while_the_board_is_read_before_its_first_flash_it_is_flashed_all_the_same() {
    assert_eq!(is_finished_after_a_cut_at(&["flashing begins"]), Some(NEW.other()));
}

#[test]
fn in_the_middle_of_writing_the_flash_is_finished() {
    assert_eq!(is_finished_after_a_cut_at(&["phase: Write, percent: 4"]), None, "half of each");
}

#[test]
fn while_the_tool_verifies_the_flash_is_finished() {
    assert_eq!(is_finished_after_a_cut_at(&["phase: Write", "phase: Verify, percent: 4"]), Some(NEW));
}

#[test]
fn before_the_board_has_told_its_version_it_is_asked_again() {
    assert_eq!(is_finished_after_a_cut_at(&["to=\"asking\""]), Some(NEW));
}

#[test]
fn after_the_proof_it_stays_proven() {
    assert_eq!(is_finished_after_a_cut_at(&["the update is proven"]), Some(NEW));
}
