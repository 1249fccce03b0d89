use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const MAX: u64 = 1000;

struct Bench {
    folder: tempfile::TempDir,
    root: Root,
    taken: u32,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Root::open(&folder.path().join("drop")).expect("opened");
        root.make(&place()).expect("made");
        Self { folder, root, taken: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("drop/press-3").join(name)
    }

    fn lay(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("laid");
    }

    fn look(&mut self) -> Looked {
        self.look_at(place(), |_| {})
    }

    fn look_at(&mut self, place: Place, how: impl FnOnce(&mut Look)) -> Looked {
        self.taken += 1;
        let mut look = Look {
            place,
            targets: Ok(vec![target()]),
            growing: HashSet::new(),
            left: HashSet::new(),
            quiet: Duration::ZERO,
            max_size: MAX,
            id: format!("{:012x}", self.taken),
            now: 7,
        };
        how(&mut look);
        self.root.look(&look).expect("a readable folder")
    }

    /// What is refused, and that nothing is taken.
    fn refused(&mut self) -> Vec<(String, String)> {
        let looked = self.look();
        assert!(looked.taken.is_none(), "{looked:?}");
        looked.refused
    }

    fn result(&self, image: &str) -> String {
        fs::read_to_string(self.path(&format!("{image}.result"))).unwrap_or_default()
    }
}

fn place() -> Place {
    Place::Device("press-3".to_owned())
}

fn target() -> TargetRecord {
    TargetRecord { endpoint: "e".to_owned(), device: "press-3".to_owned(), stage: Stage::Waiting, over: None }
}

fn names_in(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).expect("a readable folder").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn an_image_goes_under_way_with_what_lies_beside_it_and_back_into_done() {
    let mut bench = Bench::new();
    for (name, bytes) in [("a.hex", "image"), ("a.hex.version", "1"), ("a.hex.sha256", "x"), ("b.hex.minisig", "of b")]
    {
        bench.lay(name, bytes);
    }
    let taken = bench.look().taken.expect("taken");
    assert_eq!((taken.record.size, taken.record.has_digest, taken.record.since), (5, true, 7));
    assert_eq!(taken.record.sha256.to_string(), "6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d");
    assert_eq!(names_in(&bench.path("")), ["b.hex.minisig"]);
    let under_way = bench.root.offer_path(&taken.id);
    assert_eq!(names_in(&under_way), ["a.hex", "a.hex.sha256", "a.hex.version", "offer.json"]);
    assert_eq!(bench.root.load(), [(taken.id.clone(), taken.record.clone())], "a restart finds it");
    bench.root.finish(&taken.id, &taken.record, true, "ok: it runs\n").expect("finished");
    assert_eq!(names_in(&bench.path("done")), ["a.hex", "a.hex.sha256", "a.hex.version"]);
    assert_eq!(bench.result("a.hex"), "ok: it runs\n");
    assert!(!under_way.exists() && bench.root.load().is_empty());
}

#[test]
fn the_oldest_of_a_folder_goes_first_and_the_others_wait_for_their_turn() {
    let mut bench = Bench::new();
    bench.lay("z.hex", "first");
    let old = File::options().write(true).open(bench.path("z.hex")).expect("a file");
    old.set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)).expect("old");
    bench.lay("a.hex", "second");
    let looked = bench.look();
    assert_eq!(looked.taken.expect("taken").record.image, "z.hex");
    assert!(looked.waiting && bench.path("a.hex").exists());
}

#[test]
fn what_is_not_complete_is_left_alone() {
    let mut bench = Bench::new();
    bench.lay("a.hex", "image");
    let growing = |look: &mut Look| look.growing.extend([OsString::from("a.hex")]);
    assert!(bench.look_at(place(), growing).taken.is_none());
    bench.lay("b.hex.part", "half");
    bench.lay(".c.hex.Xyz", "half");
    let beside = |look: &mut Look| look.growing.extend([OsString::from("a.hex.version")]);
    bench.lay("a.hex.version", "");
    let looked = bench.look_at(place(), |look| {
        beside(look);
        look.quiet = Duration::from_secs(2);
    });
    assert!(looked.taken.is_none() && looked.again == Some(Duration::from_secs(2)), "{looked:?}");
    let looked = bench.look_at(place(), |look| look.quiet = Duration::from_secs(3600));
    assert!(looked.taken.is_none() && looked.again.is_some_and(|again| again > Duration::from_secs(3000)));
    assert!(bench.look().taken.is_some());
    assert_eq!(names_in(&bench.path("")), [".c.hex.Xyz", "b.hex.part"]);
}

#[test]
fn what_waits_says_why_once_and_stays() {
    let mut bench = Bench::new();
    bench.lay("a.hex", "image");
    let nobody = |look: &mut Look| look.targets = Err("nobody is there".to_owned());
    assert!(bench.look_at(place(), nobody).waiting);
    assert_eq!(bench.result("a.hex"), "waiting: nobody is there\n");
    let written = fs::metadata(bench.path("a.hex.result")).and_then(|found| found.modified()).expect("there");
    assert!(bench.look_at(place(), nobody).waiting);
    assert_eq!(fs::metadata(bench.path("a.hex.result")).and_then(|found| found.modified()).expect("there"), written);
    bench.lay("b.hex.result", "failed: of an earlier one\n");
    assert!(bench.look().taken.is_some());
    assert!(!bench.path("a.hex.result").exists());
    bench.lay("a.hex", "image");
    bench.look_at(place(), nobody);
    fs::remove_file(bench.path("a.hex")).expect("taken away");
    bench.look();
    assert_eq!(names_in(&bench.path("")), ["b.hex.result"]);
}

#[test]
fn links_pipes_and_what_has_two_names_are_refused_and_nothing_they_lead_to_is_touched() {
    let mut bench = Bench::new();
    let secret = bench.folder.path().join("secret");
    fs::write(&secret, "secret").expect("written");
    symlink(&secret, bench.path("link.hex")).expect("linked");
    symlink("/dev/zero", bench.path("endless.hex")).expect("linked");
    fs::hard_link(&secret, bench.path("twin.hex")).expect("linked");
    let pipe = rustix::fs::mknodat(rustix::fs::CWD, bench.path("pipe.hex"), FileType::Fifo, 0o600.into(), 0);
    pipe.expect("a pipe");
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("socket.hex")).expect("a socket");
    fs::create_dir(bench.path("folder.hex")).expect("a folder");
    let mut refused = bench.refused();
    refused.sort();
    let told: Vec<(&str, &str)> = refused.iter().map(|(name, why)| (name.as_str(), &why[..14])).collect();
    let expected = [
        ("endless.hex", "it is a link, "),
        ("link.hex", "it is a link, "),
        ("pipe.hex", "it is a pipe a"),
        ("socket.hex", "it is no plain"),
        ("twin.hex", "it has another"),
    ];
    assert_eq!(told, expected);
    assert_eq!(fs::read_to_string(&secret).expect("still there"), "secret");
    assert!(bench.path("failed/link.hex").is_symlink() && bench.path("folder.hex").is_dir());
    assert!(bench.result("link.hex").starts_with("failed: it is a link"));
    assert!(bench.refused().is_empty(), "once");
}

#[test]
fn a_link_beside_an_image_is_refused_with_it() {
    let mut bench = Bench::new();
    bench.lay("a.hex", "image");
    symlink("/etc/shadow", bench.path("a.hex.version")).expect("linked");
    let refused = bench.refused();
    assert_eq!(refused, [("a.hex".to_owned(), "a.hex.version: it is a link, and links are not followed".to_owned())]);
    bench.lay("b.hex", "image");
    bench.lay("b.hex.sha256", vec![b'x'; 65 * 1024]);
    assert_eq!(bench.refused()[0].1, "b.hex.sha256: it is longer than 65536 bytes");
}

#[test]
fn sizes_and_names_have_bounds() {
    let mut bench = Bench::new();
    bench.lay("empty.hex", "");
    bench.lay("large.hex", vec![0; MAX as usize + 1]);
    bench.lay("fits.hex", vec![0; MAX as usize]);
    bench.lay(&format!("{}.hex", "n".repeat(200)), "x");
    bench.lay("new\nline.hex", "x");
    fs::write(bench.path("").join(OsStr::from_bytes(b"no\xfftext.hex")), "x").expect("laid");
    let looked = bench.look();
    assert_eq!(looked.taken.map(|taken| taken.record.image), Some("fits.hex".to_owned()));
    assert_eq!(looked.refused.len(), 5, "{:?}", looked.refused);
    assert!(
        looked
            .refused
            .iter()
            .any(|(_, why)| why == "its 1001 bytes are more than the 1000 that [download] max_size allows")
    );
    assert!(names_in(&bench.path("failed")).iter().all(|name| !name.contains('\n') && name.len() < 140));
}

#[test]
fn what_belongs_to_nobody_is_refused_where_it_lies() {
    let mut bench = Bench::new();
    fs::write(bench.folder.path().join("drop/a.hex"), "x").expect("laid");
    fs::write(bench.folder.path().join("drop/by-board/b.hex"), "x").expect("laid");
    for (at, name) in [(Place::Root, "a.hex"), (Place::Boards, "b.hex")] {
        let looked = bench.look_at(at, |look| look.targets = Err(String::new()));
        assert_eq!(looked.refused.len(), 1);
        assert_eq!(looked.refused[0].0, name);
    }
    assert!(bench.folder.path().join("drop/failed/a.hex").exists());
    let places = bench.root.places(100);
    assert_eq!(places, [Place::Root, Place::Boards, place()]);
    assert_eq!(bench.root.places(2).len(), 2);
}

#[test]
fn reserved_folders_that_are_links_are_not_followed() {
    let mut bench = Bench::new();
    let outside = bench.folder.path().join("outside");
    fs::create_dir(&outside).expect("a folder");
    symlink(&outside, bench.path("failed")).expect("linked");
    symlink(&outside, bench.path("done")).expect("linked");
    bench.lay("empty.hex", "");
    let looked = bench.look();
    assert_eq!((looked.refused.len(), looked.left.len()), (1, 1), "it stays where it is, and is left alone");
    assert!(bench.path("empty.hex").exists());
    bench.lay("a.hex", "image");
    let left = looked.left;
    let taken = bench.look_at(place(), |look| look.left.extend(left)).taken.expect("taken");
    bench.root.finish(&taken.id, &taken.record, true, "ok\n").expect("elsewhere");
    assert!(names_in(&outside).is_empty() && bench.folder.path().join("drop/done/a.hex").exists());
    fs::remove_dir_all(bench.path("")).expect("gone");
    symlink(&outside, bench.folder.path().join("drop/press-3")).expect("linked");
    assert!(
        bench
            .root
            .look(&Look {
                place: place(),
                targets: Ok(Vec::new()),
                growing: HashSet::new(),
                left: HashSet::new(),
                quiet: Duration::ZERO,
                max_size: MAX,
                id: "x".to_owned(),
                now: 0,
            })
            .is_err()
    );
}

#[test]
fn done_failed_and_results_are_kept_up_to_a_number() {
    let mut bench = Bench::new();
    for turn in 0..KEPT + 5 {
        bench.lay("a.hex", format!("{turn}"));
        bench.lay("a.hex.version", "1");
        let taken = bench.look().taken.expect("taken");
        bench.root.finish(&taken.id, &taken.record, true, "ok\n").expect("finished");
    }
    assert_eq!(names_in(&bench.path("done")).len(), 2 * KEPT);
    for number in 0..RESULTS + 5 {
        bench.lay(&format!("{number}.hex"), "");
    }
    bench.refused();
    let results = names_in(&bench.path("")).iter().filter(|name| name.ends_with(".result")).count();
    assert!(results <= RESULTS, "{results}");
    assert_eq!(names_in(&bench.path("failed")).len(), KEPT);
}

#[test]
fn what_was_about_to_be_taken_up_is_left_where_it_was_laid_and_nonsense_is_left_alone() {
    let mut bench = Bench::new();
    bench.lay("a.hex", "image");
    let taken = bench.look().taken.expect("taken");
    // As if the rename had not come.
    fs::rename(bench.root.offer_path(&taken.id).join("a.hex"), bench.path("a.hex")).expect("moved back");
    assert!(bench.root.load().is_empty() && !bench.root.offer_path(&taken.id).exists());
    for (name, text) in [("n1", "{"), ("n2", "[]"), ("n3", "{\"image\":\"../../../etc/passwd\"}")] {
        fs::create_dir(bench.root.offer_path(name)).expect("a folder");
        fs::write(bench.root.offer_path(name).join("offer.json"), text).expect("written");
    }
    assert!(bench.root.load().is_empty());
    assert!(bench.root.offer_path("n3").exists());
}

#[test]
fn what_lies_beside_an_image_goes_back_to_it_when_a_crash_came_between() {
    let mut bench = Bench::new();
    for (name, bytes) in [("a.hex", "image"), ("a.hex.version", "1"), ("a.hex.sha256", "x")] {
        bench.lay(name, bytes);
    }
    let taken = bench.look().taken.expect("taken");
    let under_way = bench.root.offer_path(&taken.id);
    // Files beside an image are moved first; somebody has laid a newer one there since.
    fs::rename(under_way.join("a.hex"), bench.path("a.hex")).expect("moved back");
    bench.lay("a.hex.version", "2");
    assert!(bench.root.load().is_empty() && !under_way.exists());
    assert_eq!(names_in(&bench.path("")), ["a.hex", "a.hex.sha256", "a.hex.version"]);
    assert_eq!(fs::read_to_string(bench.path("a.hex.version")).expect("there"), "2");
    assert!(bench.look().taken.is_some_and(|taken| taken.record.has_digest), "with its digest");
}

#[test]
fn the_folder_of_a_device_that_is_forgotten_goes_when_it_is_empty() {
    let bench = Bench::new();
    bench.lay("a.hex.result", "ok\n");
    bench.root.remove(&place()).expect_err("it tells somebody something");
    assert!(bench.path("a.hex.result").exists());
    fs::remove_file(bench.path("a.hex.result")).expect("read");
    bench.root.remove(&place()).expect("removed");
    assert_eq!(bench.root.places(100), [Place::Root, Place::Boards]);
    symlink(bench.folder.path(), bench.folder.path().join("drop/press-3")).expect("linked");
    bench.root.remove(&place()).expect_err("a link is no folder");
}

#[test]
fn what_was_moved_and_not_yet_looked_at_is_looked_at_by_the_next_start() {
    let mut bench = Bench::new();
    bench.lay("a.hex", "image");
    let taken = bench.look().taken.expect("taken");
    // As if the start before had ended while it read the image.
    let half = Record { size: 0, sha256: Sha256Digest([0; 32]), ..taken.record.clone() };
    bench.root.save(&taken.id, &half).expect("noted");
    assert_eq!(bench.root.load(), [(taken.id.clone(), taken.record.clone())]);
    let noted = fs::read(bench.root.offer_path(&taken.id).join(RECORD)).expect("noted");
    assert_eq!(serde_json::from_slice::<Record>(&noted).expect("JSON"), taken.record);
}

#[test]
fn folders_are_for_a_group_and_under_way_is_for_the_gateway_alone() {
    let bench = Bench::new();
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o7777;
    let drop = bench.folder.path().join("drop");
    assert_eq!((mode(&drop), mode(&drop.join("press-3"))), (SHARED, SHARED));
    assert_eq!(mode(&drop.join("under-way")), PRIVATE);
    fs::set_permissions(&drop, fs::Permissions::from_mode(0o755)).expect("ours");
    Root::open(&drop).expect("opened again");
    assert_eq!(mode(&drop), 0o755, "what somebody has set stays");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_laid_there_a_look_ends_and_nothing_leaves_the_folder(
        names in prop::collection::vec(prop::collection::vec(any::<u8>().prop_filter("a name", |byte| *byte != 0 && *byte != b'/'), 1..60), 1..8),
    ) {
        let mut bench = Bench::new();
        let outside = names_in(bench.folder.path());
        for name in &names {
            // Dots are folders, and long ones are no names.
            let _ = fs::write(bench.path("").join(OsStr::from_bytes(name)), "x");
        }
        for _ in 0..names.len() + 1 {
            let looked = bench.look();
            if let Some(taken) = looked.taken {
                bench.root.finish(&taken.id, &taken.record, false, "failed\n").expect("finished");
            }
        }
        prop_assert_eq!(names_in(bench.folder.path()), outside);
        prop_assert!(names_in(&bench.folder.path().join("drop/under-way")).is_empty());
    }
}
