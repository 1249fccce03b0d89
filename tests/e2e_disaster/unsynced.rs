//! The power goes, and what was written without being synced is lost, kept or cut short as chance has it: the next start
//! finds enough to tell what is so, and to finish what was begun.

use std::iter;

use world::{Changes, Disk, Loss, Scene, Version, Victim, world};

use crate::samples;

const OLD: Version = Version::ALL[0];
const NEW: Version = Version::ALL[1];
/// Instants of a start and a download at which the power goes.
const INSTANTS: usize = 8;
/// Times that chance says what of a moment's changes is lost, unless `NUNCIO_SAMPLES` says otherwise.
const LOSSES: u64 = 3;

fn scene() -> (Scene, Victim, Disk) {
    let world = world!();
    let (victim, disk) = (Victim::new(&world), Disk::traced(&world));
    let scene = Scene::with(world, "arduino-uno", &victim.board.link(), |daemon| daemon.disk(&disk));
    (scene, victim, disk)
}

/// The power goes when the log has these words, several times from the same moment, losing all or some of what was not
/// synced; the flash is finished by itself each time.
fn is_finished_after_a_cut_at(words: &[&str]) {
    let (mut scene, mut victim, disk) = scene();
    scene.begin_until(NEW, words);
    let tools = scene.daemon.freeze();
    let changes = Changes::read(disk.trace(), &scene.state());
    scene.daemon.crash_with(&tools);
    let flash = victim.board.flash();
    let seed = scene.world.seed();
    let some = (0..samples().unwrap_or(LOSSES)).map(|step| Loss::Some(seed.wrapping_add(step)));
    for loss in iter::once(Loss::Everything).chain(some) {
        changes.rebuild(changes.count(), &loss);
        victim.board.restore(&flash);
        scene.daemon.run();
        let told = scene.tells_the_truth(&victim);
        assert!(told.is_success() && victim.held() == Some(NEW), "{loss:?}: {told:?}, {:?}", victim.held());
        scene.daemon.crash();
    }
    scene.daemon.run();
    scene.can_be_flashed_again(&victim);
}

#[test]
fn when_the_tool_begins() {
    is_finished_after_a_cut_at(&["from=\"saving\"", "flashing begins"]);
}

#[test]
fn in_the_middle_of_writing() {
    is_finished_after_a_cut_at(&["phase: Write, percent: 4"]);
}

#[test]
fn when_the_tool_has_ended() {
    is_finished_after_a_cut_at(&["from=\"saving\"", "tool verified the image"]);
}

#[test]
fn when_it_is_proven() {
    is_finished_after_a_cut_at(&["the update is proven"]);
}

#[test]
fn at_any_instant_of_the_first_start_and_of_a_download() {
    let (mut scene, victim, disk) = scene();
    scene.offer(scene.factory(), &NEW.image(), "");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.daemon.crash();
    let changes = Changes::read(disk.trace(), &scene.state());
    let mut chance = scene.world.seed();
    for step in 1..=INSTANTS {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let part = changes.count() / INSTANTS;
        let instant = (part * step).saturating_sub(usize::try_from(chance >> 40).expect("small") % part);
        changes.rebuild(instant, &Loss::Some(chance));
        scene.daemon.run();
        let told = scene.tells_the_truth(&victim);
        assert!(!told.is_success() && victim.held() == Some(OLD), "{told:?} at {instant}");
        scene.daemon.crash();
    }
    scene.daemon.run();
    scene.can_be_flashed_again(&victim);
}
