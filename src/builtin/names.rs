//! What files and folders in the drop folder are called, and which of them are none of ours.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use sha2::{Digest, Sha256};

/// Folder of the folders of board types.
pub(super) const BY_BOARD: &str = "by-board";
/// Where images go that arrived, and that did not.
pub(super) const DONE: &str = "done";
pub(super) const FAILED: &str = "failed";
/// Where images are while they are offered.
pub(super) const UNDER_WAY: &str = "under-way";
/// What is written beside an image.
pub(super) const RESULT: &str = ".result";
/// Files beside an image that count: its digest, its version, its signature.
pub(super) const SIDECARS: [&str; 3] = [".sha256", ".version", ".minisig"];
const RESERVED: [&str; 4] = [BY_BOARD, DONE, FAILED, UNDER_WAY];
/// What programs call files that they have not finished: browsers, rsync, WinSCP, editors.
const UNFINISHED: [&str; 8] = [".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".swp", "~"];
/// Longest name of an image, in bytes of a URI: 5/0/1 holds 255, of which the rest takes up to 140.
const MAX_IMAGE: usize = 110;
/// Longest name that is shown as it is.
const MAX_SHOWN: usize = 120;

/// What a name in a folder is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind<'n> {
    /// An image.
    Image(&'n str),
    /// A file beside the image of this name.
    Sidecar(&'n str),
    /// Ours, hidden, or not finished yet: to be left alone.
    Ignored,
    /// No name that an image may have.
    Bad(&'static str),
}

/// Sorts a name.
pub(super) fn kind(name: &OsStr) -> Kind<'_> {
    let bytes = name.as_bytes();
    let ends = |ending: &&str| bytes.ends_with(ending.as_bytes());
    let reserved = RESERVED.iter().any(|reserved| name == *reserved);
    if reserved || bytes.starts_with(b".") || UNFINISHED.iter().any(&ends) || ends(&RESULT) {
        return Kind::Ignored;
    }
    let Some(name) = name.to_str() else { return Kind::Bad("its name is not UTF-8") };
    if let Some(image) = SIDECARS.iter().find_map(|ending| name.strip_suffix(ending)) {
        return Kind::Sidecar(image);
    }
    if name.chars().any(char::is_control) {
        return Kind::Bad("its name has control characters");
    }
    if url_length(name) > MAX_IMAGE {
        return Kind::Bad("its name is too long: a device is told it in a URI");
    }
    Kind::Image(name)
}

/// How long a name is in a URI, at most.
fn url_length(name: &str) -> usize {
    name.bytes().map(|byte| if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) { 1 } else { 3 }).sum()
}

/// The name of the folder of a device or a board: the name itself, but for what a path or this folder needs for itself.
pub(super) fn folder(name: &str) -> String {
    let mut folder = String::with_capacity(name.len());
    let reserved = RESERVED.contains(&name);
    for (at, letter) in name.char_indices() {
        let bad = matches!(letter, '/' | '%') || letter.is_control() || (at == 0 && (letter == '.' || reserved));
        match bad {
            true => letter.to_string().bytes().for_each(|byte| folder.push_str(&format!("%{byte:02X}"))),
            false => folder.push(letter),
        }
    }
    folder
}

/// A name that may be told and written: itself where it is harmless, else made so, with a mark of what it was.
pub(super) fn shown(name: &OsStr) -> String {
    let harmless =
        |text: &&str| text.len() <= MAX_SHOWN && !text.chars().any(|letter| letter.is_control() || letter == '/');
    if let Some(name) = name.to_str().filter(harmless) {
        return name.to_owned();
    }
    let mark =
        Sha256::digest(name.as_bytes()).iter().take(4).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    let safe = |letter: char| if letter.is_ascii_alphanumeric() || "-._ ".contains(letter) { letter } else { '_' };
    let text: String = name.to_string_lossy().chars().take(40).map(safe).collect();
    format!("{text}~{mark}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_sorted() {
        for (name, wanted) in [
            ("blinky.hex", Kind::Image("blinky.hex")),
            ("my image (2).bin", Kind::Image("my image (2).bin")),
            ("blinky.hex.sha256", Kind::Sidecar("blinky.hex")),
            ("blinky.hex.minisig", Kind::Sidecar("blinky.hex")),
            ("blinky.hex.result", Kind::Ignored),
            (".blinky.hex.Xy12", Kind::Ignored),
            ("blinky.hex.filepart", Kind::Ignored),
            ("blinky.hex~", Kind::Ignored),
            ("done", Kind::Ignored),
            ("a\nb.hex", Kind::Bad("its name has control characters")),
        ] {
            assert_eq!(kind(OsStr::new(name)), wanted, "{name:?}");
        }
        assert!(matches!(kind(OsStr::from_bytes(b"a\xff.hex")), Kind::Bad(_)));
        assert!(matches!(kind(OsStr::new(&"x".repeat(111))), Kind::Bad(_)));
        assert!(matches!(kind(OsStr::new(&"ü".repeat(20))), Kind::Bad(_)));
    }

    #[test]
    fn folders_are_called_like_their_devices() {
        for (name, wanted) in [
            ("press-3", "press-3"),
            ("urn:dev:mac:00", "urn:dev:mac:00"),
            ("Halle 2", "Halle 2"),
            ("../etc", "%2E./etc".replace('/', "%2F").as_str()),
            ("a/b%", "a%2Fb%25"),
            ("by-board", "%62y-board"),
            ("done", "%64one"),
        ] {
            assert_eq!(folder(name), wanted);
        }
    }

    proptest! {
        #[test]
        fn no_name_leads_out_of_its_folder(name in ".{1,80}") {
            let folder = folder(&name);
            prop_assert!(!folder.contains('/') && !folder.starts_with('.') && !RESERVED.contains(&folder.as_str()));
        }

        #[test]
        fn folders_of_two_names_are_two(one in ".{1,20}", other in ".{1,20}") {
            prop_assert_eq!(one == other, folder(&one) == folder(&other));
        }

        #[test]
        fn whatever_is_shown_can_be_a_file_and_a_line(bytes in prop::collection::vec(any::<u8>(), 1..255)) {
            let shown = shown(OsStr::from_bytes(&bytes));
            prop_assert!(shown.len() <= MAX_SHOWN && !shown.contains('/') && !shown.chars().any(char::is_control));
        }
    }
}
