//! Archives as they are written, and as somebody might have made them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

use super::*;
use crate::device::Sha256Digest;

fn manifest() -> Manifest {
    Manifest {
        kind: "nuncio-backup".into(),
        form: 1,
        program: "0.1.0".into(),
        gateway: "pi".into(),
        made: 1_700_000_000,
        schema: Some(6),
        config: None,
        state: "/var/lib/nuncio".into(),
        named_only: Vec::new(),
        at_rest: true,
        files: Vec::new(),
    }
}

fn item(path: &str, bytes: &[u8]) -> Item {
    Item { path: path.to_owned(), from: Source::Bytes(bytes.to_vec()), mode: 0o640 }
}

fn digest(bytes: &[u8]) -> Sha256Digest {
    use sha2::Digest as _;
    Sha256Digest(sha2::Sha256::digest(bytes).into())
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned()).expect("not empty")
}

/// A folder with a place for the archive and two for what comes out of it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        for folder in ["state", "config"] {
            fs::create_dir(place.0.path().join(folder)).expect("made");
        }
        place
    }

    fn archive(&self) -> PathBuf {
        self.0.path().join("a.nuncio")
    }

    fn pack(&self, items: &[Item], sealed: Option<&Passphrase>) -> Manifest {
        pack(&self.archive(), manifest(), items, sealed, &Stop::default()).expect("packed")
    }

    fn unpack(&self) -> Result<Manifest, ArchiveError> {
        self.unpack_with(None)
    }

    fn unpack_with(&self, sealed: Option<&str>) -> Result<Manifest, ArchiveError> {
        let folders = Folders { state: self.0.path().join("state"), config: self.0.path().join("config") };
        let sealed = || Ok(passphrase(sealed.expect("nobody should ask")));
        unpack(&self.archive(), sealed, |_| Ok(Some(folders)), &Stop::default())
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.0.path().join(path)).expect("it came out")
    }

    /// Writes an archive by hand: a manifest as text, and entries.
    fn forge(&self, manifest: &str, entries: &[(Header, &[u8])]) {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        tar.append(&header("manifest.json", manifest.len() as u64, EntryType::Regular), manifest.as_bytes())
            .expect("memory");
        for (header, bytes) in entries {
            tar.append(header, *bytes).expect("memory");
        }
        let bytes = tar.into_inner().and_then(GzEncoder::finish).expect("memory");
        fs::write(self.archive(), bytes).expect("written");
    }

    /// Everything below the folder, but the archive.
    fn left(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut waiting = vec![self.0.path().to_owned()];
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(folder).expect("readable") {
                let path = entry.expect("readable").path();
                if path.is_dir() && !path.is_symlink() {
                    waiting.push(path);
                } else if path != self.archive() {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

fn header(name: &str, size: u64, kind: EntryType) -> Header {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(size);
    header.set_mode(0o644);
    header.set_entry_type(kind);
    header.set_cksum();
    header
}

/// A manifest with these files, as text.
fn told(files: &[(&str, &[u8])]) -> String {
    let entry = |(path, bytes): &(&str, &[u8])| Entry {
        path: (*path).to_owned(),
        size: bytes.len() as u64,
        sha256: digest(bytes),
        mode: 0o644,
    };
    serde_json::to_string(&Manifest { files: files.iter().map(entry).collect(), ..manifest() }).expect("JSON")
}

fn plain(name: &str, bytes: &[u8]) -> Header {
    header(name, bytes.len() as u64, EntryType::Regular)
}

/// A member of an archive: its header, and what it holds.
type Member<'a> = (Header, &'a [u8]);

#[test]
fn what_goes_in_comes_out_sealed_or_not() {
    for sealed in [None, Some("correct horse")] {
        let place = Place::new();
        let long = format!("state/staging/good/{}.json", "%c3%bc".repeat(30));
        let big: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let items = [item("state/nuncio.db", &big), item("config/boards.d/a.toml", b"a"), item(&long, b"")];
        let written = place.pack(&items, sealed.map(passphrase).as_ref());
        let read = place.unpack_with(sealed).expect("unpacked");
        assert_eq!(read, written);
        assert_eq!(read.bytes(), big.len() as u64 + 1);
        assert!(place.read("state/nuncio.db") == big && place.read("config/boards.d/a.toml") == b"a");
        assert!(place.read(&long).is_empty());
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&place.archive()), mode(&place.0.path().join("state/nuncio.db"))), (0o600, 0o640));
        let bytes = fs::read(place.archive()).expect("there");
        assert_eq!(bytes.starts_with(b"age-encryption.org/v1\n-> scrypt "), sealed.is_some());
    }
}

#[test]
fn an_archive_is_whole_under_its_name_or_not_there() {
    let place = Place::new();
    let there = item("state/a", b"x");
    place.pack(std::slice::from_ref(&there), None);
    let again = pack(&place.archive(), manifest(), std::slice::from_ref(&there), None, &Stop::default());
    assert!(matches!(again, Err(ArchiveError::Exists(_))), "{again:?}");
    fs::remove_file(place.archive()).expect("removed");
    let stop = Stop::default();
    stop.set();
    let stopped = pack(&place.archive(), manifest(), &[there], None, &stop);
    assert!(matches!(stopped, Err(ArchiveError::Stopped)), "{stopped:?}");
    let gone = Source::File { path: place.0.path().join("gone"), length: 1 };
    let gone = Item { path: "state/gone".into(), from: gone, mode: 0o600 };
    pack(&place.archive(), manifest(), &[gone], None, &Stop::default()).expect_err("there is no such file");
    assert!(place.left().is_empty() && !place.archive().exists(), "{:?}", place.left());
}

#[test]
fn a_file_that_grows_is_as_long_as_it_was_and_one_that_shrank_is_told() {
    let place = Place::new();
    let file = place.0.path().join("part");
    fs::write(&file, b"12345678").expect("written");
    let of =
        |length| Item { path: "state/a.part".into(), from: Source::File { path: file.clone(), length }, mode: 0o600 };
    place.pack(&[of(4)], None);
    place.unpack().expect("unpacked");
    assert_eq!(place.read("state/a.part"), b"1234");
    let other = place.0.path().join("other");
    let error = pack(&other, manifest(), &[of(9)], None, &Stop::default()).expect_err("it is shorter");
    assert!(matches!(error, ArchiveError::Io { .. }) && !other.exists(), "{error:?}");
}

#[test]
fn a_wrong_passphrase_and_a_seal_that_costs_too_much_are_told() {
    let place = Place::new();
    place.pack(&[item("state/a", b"x")], Some(&passphrase("right")));
    let wrong = place.unpack_with(Some("wrong"));
    assert!(matches!(wrong, Err(ArchiveError::WrongPassphrase)), "{wrong:?}");
    let bytes = fs::read(place.archive()).expect("there");
    let text = String::from_utf8_lossy(&bytes[..80]).into_owned();
    let line = text.lines().nth(1).expect("the stanza");
    assert!(line.ends_with(" 17"), "{line}");
    let at = bytes.windows(line.len()).position(|window| window == line.as_bytes()).expect("it is there");
    let mut costly = bytes.clone();
    costly[at + line.len() - 2..at + line.len()].copy_from_slice(b"30");
    fs::write(place.archive(), costly).expect("written");
    let refused = place.unpack_with(Some("right"));
    assert!(matches!(refused, Err(ArchiveError::TooMuchWork { required: 30, .. })), "{refused:?}");
}

#[test]
fn nothing_leads_out_of_the_two_folders() {
    let bad = [
        "state/../../evil",
        "/etc/evil",
        "state//evil",
        "state/./evil",
        "etc/evil",
        "state",
        "state/",
        "../state/evil",
        "state/a\\..\\evil",
        "state/a\nb",
        "state/a/b/c/d/e/f/g/h/i",
        "config/..",
        "",
        "state/\u{0}",
    ];
    for path in bad {
        let place = Place::new();
        place.forge(&told(&[(path, b"x")]), &[(plain("state/a", b"x"), b"x")]);
        let refused = place.unpack();
        assert!(matches!(refused, Err(ArchiveError::NotOne { .. })), "{path:?}: {refused:?}");
        assert!(place.left().is_empty(), "{path:?}: {:?}", place.left());
    }
}

#[test]
fn entries_are_files_and_those_of_the_manifest() {
    let content: &[u8] = b"x";
    let manifest = told(&[("state/a", content), ("state/b", content)]);
    let a = || (plain("state/a", content), content);
    let b = || (plain("state/b", content), content);
    let mut link = header("state/b", 0, EntryType::Symlink);
    link.as_mut_bytes()[157..168].copy_from_slice(b"/etc/passwd");
    link.set_cksum();
    let mut hard = link.clone();
    hard.set_entry_type(EntryType::Link);
    hard.set_cksum();
    let long = b"state/../../../../tmp/evil".as_slice();
    let more: [(&str, Vec<Member<'_>>); 10] = [
        ("one is missing", vec![a()]),
        ("one too many", vec![a(), b(), (plain("state/c", content), content)]),
        ("another order", vec![b(), a()]),
        ("another length", vec![a(), (plain("state/b", b"xy"), b"xy")]),
        ("other bytes", vec![a(), (plain("state/b", b"y"), b"y")]),
        ("a symlink", vec![a(), (link, b"")]),
        ("a hard link", vec![a(), (hard, b"")]),
        ("a device", vec![a(), (header("state/b", 0, EntryType::Char), b"")]),
        ("a long name", vec![a(), (header("././@LongLink", long.len() as u64, EntryType::GNULongName), long), b()]),
        ("an extension", vec![a(), (header("x", 14, EntryType::XHeader), b"14 path=/evil\n"), b()]),
    ];
    for (what, entries) in more {
        let place = Place::new();
        place.forge(&manifest, &entries);
        let refused = place.unpack().expect_err(what);
        assert!(matches!(refused, ArchiveError::NotOne { .. } | ArchiveError::Damaged { .. }), "{what}: {refused:?}");
        let allowed = ["state/a", "state/b"].map(|path| place.0.path().join(path));
        assert!(place.left().iter().all(|path| allowed.contains(path) && !path.is_symlink()), "{what}");
    }
    let place = Place::new();
    place.forge(&manifest, &[a(), b()]);
    place.unpack().expect("as it should be");
}

#[test]
fn a_manifest_keeps_to_its_bounds() {
    let file = |path: &str, size: u64| Entry { path: path.into(), size, sha256: digest(b""), mode: 0o644 };
    let with = |files: Vec<Entry>| serde_json::to_string(&Manifest { files, ..manifest() }).expect("JSON");
    let bad = [
        with(vec![file("state/a", 0), file("state/a", 0)]),
        with(vec![file("state/a", 0), file("state/a/b", 0)]),
        with(vec![file("state/a/b/c", 0), file("state/a.b", 0), file("state/a/b", 0)]),
        with(vec![file("state/a", u64::MAX)]),
        with((0..100_001).map(|number| file(&format!("state/{number}"), 0)).collect()),
        "{}".to_owned(),
        "[".repeat(100_000),
        with(Vec::new()).replace("nuncio-backup", "something"),
    ];
    for manifest in bad {
        let place = Place::new();
        place.forge(&manifest, &[]);
        let refused = place.unpack();
        let start: String = manifest.chars().take(80).collect();
        assert!(matches!(refused, Err(ArchiveError::NotOne { .. })), "{start}: {refused:?}");
    }
    let place = Place::new();
    place.forge(&with(Vec::new()).replace("\"form\":1", "\"form\":2").replace("\"gateway\"", "\"host\""), &[]);
    assert!(matches!(place.unpack(), Err(ArchiveError::Newer { found: 2, known: 1, .. })), "told before all else");
}

#[test]
fn a_manifest_without_end_fills_no_memory() {
    let place = Place::new();
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(header("manifest.json", 1 << 32, EntryType::Regular).as_bytes()).expect("memory");
    gz.write_all(&[b' '; 4096]).expect("memory");
    fs::write(place.archive(), gz.finish().expect("memory")).expect("written");
    assert!(matches!(place.unpack(), Err(ArchiveError::TooMuch { .. })));
}

#[test]
fn what_is_cut_off_changed_or_followed_by_more_is_never_taken_for_whole() {
    for sealed in [None, Some("right")] {
        let place = Place::new();
        let content: Vec<u8> = (0..2_000_u32).flat_map(u32::to_le_bytes).collect();
        place.pack(&[item("state/a", &content), item("state/b", b"x")], sealed.map(passphrase).as_ref());
        let whole = fs::read(place.archive()).expect("there");
        // A seal takes its time: fewer of them.
        let step = if sealed.is_some() { whole.len() / 3 } else { 7 };
        let mut seed = fastrand::Rng::with_seed(7);
        let cut = (0..whole.len()).step_by(step).map(|at| whole[..at].to_vec());
        // The first ten bytes of gzip tell a time and a system, which mean nothing here.
        let bits = (10..whole.len()).step_by(step).map(|at| {
            let mut changed = whole.clone();
            changed[at] ^= 1 << seed.u8(..8);
            changed
        });
        let more = [[&*whole, b"more"].concat(), [&*whole, &*whole].concat()];
        for (number, bytes) in cut.chain(bits).chain(more).enumerate() {
            let place = Place::new();
            fs::write(place.archive(), bytes).expect("written");
            let told = place.unpack_with(Some("right"));
            assert!(told.is_err(), "{number}, sealed: {}", sealed.is_some());
        }
    }
}

#[test]
fn what_is_held_stays_while_others_replace_and_remove_it() {
    let place = Place::new();
    let state = place.0.path().join("state");
    fs::create_dir(state.join("deep")).expect("made");
    fs::write(state.join("deep/a"), b"first").expect("written");
    fs::write(state.join("left-out"), b"x").expect("written");
    symlink("/etc/passwd", state.join("link")).expect("made");
    let wanted = |path: &Path| path != Path::new("left-out");
    let before = listing(&state, &wanted).expect("listed");
    let mut holding = Holding::new(&place.0.path().join("holding")).expect("made");
    let items = holding.hold(&state, "state", &wanted).expect("held").expect("all of it");
    fs::write(state.join("deep/a.new"), b"second").expect("written");
    fs::rename(state.join("deep/a.new"), state.join("deep/a")).expect("replaced");
    assert_ne!(listing(&state, &wanted).expect("listed"), before, "it is another file");
    let written = place.pack(&items, None);
    assert_eq!(written.files.iter().map(|file| &*file.path).collect::<Vec<_>>(), ["state/deep/a"]);
    assert_eq!(written.files[0].sha256, digest(b"first"));
    Holding::new(&place.0.path().join("holding")).expect_err("one at a time");
    fs::write(holding.path("left"), b"x").expect("written");
    drop(holding);
    assert!(!place.0.path().join("holding").exists());
    // One that was killed leaves its folder behind.
    fs::create_dir_all(place.0.path().join("holding/a")).expect("made");
    let again = Holding::new(&place.0.path().join("holding")).expect("taken over");
    assert_eq!(fs::read_dir(again.folder()).expect("there").count(), 0);
}

#[test]
fn a_bundle_lies_below_one_folder() {
    let place = Place::new();
    bundle(&place.archive(), "report", 0, &[item("a.txt", b"one"), item("b/c.txt", b"two")], &Stop::default())
        .expect("written");
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(place.archive()).expect("there")));
    let names =
        tar.entries().expect("a tar").map(|entry| entry.expect("an entry").path().expect("a path").into_owned());
    assert_eq!(names.collect::<Vec<_>>(), ["report/a.txt", "report/b/c.txt"].map(PathBuf::from));
}

#[test]
fn a_folder_that_somebody_else_made_is_not_taken_for_ours() {
    let place = Place::new();
    let [linked, foreign] = ["linked", "foreign"].map(|name| place.0.path().join(name));
    symlink(place.0.path().join("state"), &linked).expect("linked");
    Holding::new(&linked).expect_err("a link");
    fs::create_dir(&foreign).expect("made");
    fs::write(foreign.join("theirs"), "x").expect("written");
    let user = rustix::process::geteuid();
    // Who is not root gives nothing away; to him it is his own.
    let other = if user.is_root() { 65534 } else { user.as_raw() };
    std::os::unix::fs::chown(&foreign, Some(other), None).expect("given away");
    let holding = Holding::new(&foreign).expect("made");
    assert_eq!(fs::metadata(holding.folder()).expect("there").uid(), user.as_raw());
    assert!(!foreign.join("theirs").exists());
}
