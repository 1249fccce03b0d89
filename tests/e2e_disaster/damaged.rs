//! The database is damaged while a flash is under way: it is put aside and a fresh one begun, loudly; what the servers
//! read is so, the tool is gone, and the board can be flashed again.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use world::{Scene, Version, Victim, processes_naming, world};

const NEW: Version = Version::ALL[1];
/// A page of the database.
const PAGE: u64 = 4096;

fn write_at(file: &Path, at: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(file).expect("the daemon has made this file");
    file.write_all_at(bytes, at).expect("a writable file");
}

fn cut_to(file: &Path, length: u64) {
    OpenOptions::new().write(true).open(file).and_then(|file| file.set_len(length)).expect("a writable file");
}

fn damaged_ones(state: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state).expect("the state folder").flatten().map(|entry| entry.path());
    let name = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".db.damaged-"));
    entries.filter(name).collect()
}

/// Kills the daemon in the middle of a flash, spoils the database, and starts it again; gives the scene after that.
fn after(spoil: impl FnOnce(&Path)) -> (Scene, Victim) {
    let world = world!();
    let victim = Victim::new(&world);
    let mut scene = Scene::new(world, "arduino-uno", &victim.board.link());
    // So that the main file holds something, not the write-ahead log alone.
    scene.update(scene.factory(), &NEW.image(), NEW.0);
    assert_eq!(scene.daemon.stop(std::time::Duration::from_secs(60)), Some(0));
    scene.daemon.run();
    scene.await_rest();
    scene.begin_until(NEW.other(), &["phase: Write, percent: 4"]);
    scene.daemon.crash();
    spoil(&scene.state().join("nuncio.db"));
    scene.daemon.run();
    (scene, victim)
}

/// It begins anew: the old one is kept, people are told, servers are told no more than what is so.
fn begins_afresh(spoil: impl FnOnce(&Path)) {
    let (mut scene, victim) = after(spoil);
    assert_eq!(processes_naming(victim.board.port()), [] as [String; 0], "the tool that was left is ended");
    let log = scene.daemon.log();
    let told = log.lines().find(|line| line.contains("the database is damaged")).unwrap_or_else(|| panic!("{log}"));
    assert!(told.contains("ERROR"), "{told}");
    let status = scene.daemon.cli(&["status"]).output;
    assert!(status.contains("Note: the database was damaged and put aside"), "{status}");
    assert!(!damaged_ones(&scene.state()).is_empty(), "it is kept");
    let told = scene.tells_the_truth(&victim);
    assert_eq!((told.state.as_str(), told.result.as_str()), ("0", "0"), "nothing is known of any update");
    scene.can_be_flashed_again(&victim);
}

fn without_log(database: &Path) {
    fs::remove_file(database.with_extension("db-wal")).expect("its log");
}

/// What is left of it is used, and what was lost is not made up.
fn tells_the_truth_after(spoil: impl FnOnce(&Path)) {
    let (mut scene, victim) = after(spoil);
    scene.tells_the_truth(&victim);
    scene.can_be_flashed_again(&victim);
}

#[test]
fn its_head_is_overwritten() {
    begins_afresh(|database| {
        write_at(database, 0, &[0xa5; 512]);
        without_log(database);
    });
}

#[test]
fn its_head_is_overwritten_and_its_log_is_left() {
    tells_the_truth_after(|database| write_at(database, 0, &[0xa5; 512]));
}

#[test]
fn its_middle_is_overwritten() {
    begins_afresh(|database| {
        let pages = fs::metadata(database).expect("the database").len() / PAGE;
        assert!(pages > 4, "{pages} pages");
        for page in 1..pages {
            write_at(database, page * PAGE, &[0x5a; PAGE as usize]);
        }
        without_log(database);
    });
}

#[test]
fn it_is_cut_off_and_its_log_with_the_open_update_is_lost() {
    begins_afresh(|database| {
        cut_to(database, PAGE + 100);
        without_log(database);
    });
}

#[test]
fn it_is_cut_off_and_its_log_is_left() {
    tells_the_truth_after(|database| cut_to(database, 3 * PAGE));
}

#[test]
fn its_log_is_lost_and_with_it_the_open_update() {
    tells_the_truth_after(without_log);
}

#[test]
fn its_log_is_torn() {
    tells_the_truth_after(|database| {
        let log = database.with_extension("db-wal");
        cut_to(&log, fs::metadata(&log).expect("its log").len() - 1000);
    });
}

#[test]
fn its_log_is_overwritten() {
    tells_the_truth_after(|database| {
        let log = database.with_extension("db-wal");
        write_at(&log, fs::metadata(&log).expect("its log").len() / 2, &[0xa5; 3000]);
    });
}

#[test]
fn it_is_empty_and_its_log_is_gone() {
    tells_the_truth_after(|database| {
        cut_to(database, 0);
        without_log(database);
    });
}
