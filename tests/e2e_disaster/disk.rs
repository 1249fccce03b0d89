//! The disk fails at each change that an update makes on it, in turn: full, broken, or a write that is cut in half. No
//! success is told that is none; once the disk is sound again and the daemon was started anew, all is well.

use std::time::{Duration, Instant};

use world::{Disk, Fault, Scene, Version, Victim, world};

use crate::samples;

/// An update that a disk has brought to a stop is given so long to end.
const LIMIT: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// So many looks without a change, and nothing is under way.
const CALM: u32 = 40;
/// Changes that fail in each test, unless `NUNCIO_SAMPLES` says otherwise: an update makes some 150.
const SAMPLES: u64 = 6;

struct Bench {
    scene: Scene,
    victim: Victim,
    disk: Disk,
}

impl Bench {
    /// A board that was flashed before, so that every update makes the same changes.
    fn new() -> Self {
        let world = world!();
        let (victim, disk) = (Victim::new(&world), Disk::new(&world));
        let scene = Scene::with(world, "arduino-uno", &victim.board.link(), |daemon| daemon.disk(&disk));
        let bench = Self { scene, victim, disk };
        bench.scene.update(bench.scene.factory(), &Version::ALL[1].image(), Version::ALL[1].0);
        bench.scene.tells_the_truth(&bench.victim);
        bench
    }

    fn next(&self) -> Version {
        self.victim.held().map_or(Version::ALL[1], Version::other)
    }

    /// How many changes an update makes.
    fn measure(&mut self) -> u64 {
        let before = self.disk.changes();
        let next = self.next();
        self.scene.update(self.scene.factory(), &next.image(), next.0);
        self.scene.tells_the_truth(&self.victim);
        self.disk.changes() - before
    }

    /// One update whose n-th change fails; whether it came to that change.
    fn fail(&mut self, nth: u64, fault: Fault, once: bool) -> bool {
        let next = self.next();
        let failed = self.disk.failed();
        self.disk.fail(nth, fault, once);
        let ends = self.update(next);
        // Whatever it came to: a success is one.
        if ends.as_ref().is_some_and(|ends| ends == &("0".to_owned(), "1".to_owned())) {
            assert_eq!(self.victim.held(), Some(next), "a false success with change {nth} failing as {fault:?}");
        }
        let came = self.disk.failed() > failed;
        // Every other time what could not be written never is.
        if nth.is_multiple_of(2) {
            self.scene.daemon.crash();
            self.disk.heal();
        } else {
            self.disk.heal();
            self.scene.daemon.stop(PATIENCE);
        }
        self.scene.daemon.run();
        self.scene.tells_the_truth(&self.victim);
        came
    }

    /// Orders an update as far as the daemon lets it come, and gives the state and result at its end.
    fn update(&mut self, version: Version) -> Option<(String, String)> {
        let (server, name) = (self.scene.factory(), self.scene.name.clone());
        if self.scene.firmware(server).0 == "2" {
            assert_eq!(server.write_uri(&name, "").code, 204, "what is staged can be dropped");
        }
        let uri = self.scene.files.put("image.hex", std::fs::read(version.image()).expect("an image of ours"));
        if server.write_uri(&name, &format!("{uri}#version={}", version.0)).code != 204 {
            return None;
        }
        let (began, mut executed, mut calm) = (Instant::now(), false, 0);
        let mut last = self.scene.firmware(server);
        while began.elapsed() < LIMIT {
            std::thread::sleep(LOOK);
            let told = self.scene.firmware(server);
            calm = if told == last { calm + 1 } else { 0 };
            last = told;
            match (last.0.as_str(), last.1.as_str()) {
                ("2", "0") if !executed => {
                    executed = true;
                    server.execute(&name, "5/0/2");
                }
                // A server reads no change between Execute and the lease.
                ("0" | "2", "0") if calm < CALM => {}
                ("0" | "2", result) if result != "11" => return Some(last),
                _ => {}
            }
        }
        panic!("the update does not end: {last:?}")
    }
}

/// Some changes of an update, evenly from a random one on, each failing in its own update.
fn some_changes_fail(fault: Fault, once: bool) {
    let mut bench = Bench::new();
    let changes = bench.measure();
    assert!(changes > 10, "{changes}");
    let first = bench.scene.world.seed() % changes;
    let samples = samples().unwrap_or(SAMPLES);
    let changes = (0..samples).map(|step| 1 + (first + step * changes / samples) % changes);
    let came = changes.filter(|nth| bench.fail(*nth, fault, once)).count();
    // An update makes a few changes more or less, as the moments are.
    assert!(came as u64 >= samples - samples.div_ceil(6), "{came}");
    bench.scene.can_be_flashed_again(&bench.victim);
}

#[test]
fn full_from_some_change_on() {
    some_changes_fail(Fault::Full, false);
}

#[test]
fn full_at_one_change_only() {
    some_changes_fail(Fault::Full, true);
}

#[test]
fn broken_from_some_change_on() {
    some_changes_fail(Fault::Broken, false);
}

#[test]
fn broken_at_one_change_only() {
    some_changes_fail(Fault::Broken, true);
}

#[test]
fn a_write_is_cut_in_half() {
    some_changes_fail(Fault::Half, true);
}

#[test]
fn really_full_while_an_image_is_staged() {
    let world = world!();
    let victim = Victim::new(&world);
    let mut scene = Scene::with(world, "arduino-uno", &victim.board.link(), |daemon| daemon.small_disk("2m"));
    scene.offer(scene.factory(), &Version::ALL[1].image(), "");
    scene.await_firmware(scene.factory(), "2", "0");
    // The disk is the daemon's alone; this is the way to it.
    let disk = format!("/proc/{}/root{}", scene.daemon.process().id(), scene.state().display());
    let fill = std::path::Path::new(&disk).join("fill");
    let error = std::fs::write(&fill, vec![0; 4 << 20]).expect_err("it is smaller");
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(scene.factory().execute(&scene.name, "5/0/2").code, 204);
    std::thread::sleep(LOOK);
    let told = scene.await_rest();
    assert!(!told.is_success() || victim.held() == Some(Version::ALL[1]), "{told:?}");
    std::fs::remove_file(fill).expect("our own file");
    if told.state == "2" {
        scene.execute(scene.factory());
        scene.await_firmware(scene.cloud(), "0", "1");
    }
    assert_eq!(victim.held(), Some(Version::ALL[1]));
    scene.update(scene.cloud(), &Version::ALL[0].image(), Version::ALL[0].0);
}
