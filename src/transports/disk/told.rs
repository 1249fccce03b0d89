//! What the text files on a board's disk say: `Key: value`, a line each. INFO_UF2.TXT is described with the UF2 format
//! (github.com/microsoft/uf2, "Files exposed by bootloaders"), DETAILS.TXT in DAPLink's documentation; the interfaces before
//! DAPLink name the board in the address that MBED.HTM leads to.

use std::collections::BTreeMap;

use crate::device::plain_text;

/// So much of a file is looked at, in bytes.
pub(super) const MAX_FILE: usize = 4096;
/// Most properties of one disk, the longest key and the longest value, in characters.
const MAX_PROPERTIES: usize = 64;
const MAX_KEY: usize = 64;
const MAX_VALUE: usize = 255;

/// Values by key, keys in small letters.
pub(super) type Told = BTreeMap<String, String>;

/// What INFO_UF2.TXT says; `None` where it is none. Its first line has no key: it is the `bootloader`.
pub(super) fn uf2(file: &[u8]) -> Option<Told> {
    let text = text(file)?;
    let mut told = pairs(&text);
    let first = text.lines().next()?.trim();
    if !first.is_empty() && pair(first).is_none() {
        told.insert("bootloader".to_owned(), plain_text(first, MAX_VALUE));
    }
    (told.contains_key("board-id") || told.contains_key("model")).then_some(told)
}

/// What DETAILS.TXT and MBED.HTM say; `None` where they are not DAPLink's. `code` is the one in MBED.HTM.
pub(super) fn daplink(details: Option<&[u8]>, shortcut: Option<&[u8]>) -> Option<Told> {
    let mut told = details.and_then(text).map(|text| pairs(&text)).unwrap_or_default();
    if let Some(code) = shortcut.and_then(text).as_deref().and_then(code) {
        told.insert("code".to_owned(), code);
    }
    (told.contains_key("unique id") || told.contains_key("code")).then_some(told)
}

/// The whole lines of a file, where it is text.
fn text(file: &[u8]) -> Option<String> {
    let whole = if file.len() < MAX_FILE { file } else { &file[..file.iter().rposition(|byte| *byte == b'\n')?] };
    (!whole.contains(&0)).then(|| String::from_utf8_lossy(whole).into_owned())
}

fn pairs(text: &str) -> Told {
    let mut told = Told::new();
    for (key, value) in text.lines().filter_map(pair) {
        if told.len() < MAX_PROPERTIES {
            told.entry(key).or_insert(value);
        }
    }
    told
}

/// `Key: value`; a line that begins with `#` is a remark.
fn pair(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once(':')?;
    let (key, value) = (key.trim(), value.trim());
    let right = !key.is_empty() && !key.starts_with('#') && key.chars().count() <= MAX_KEY && !value.is_empty();
    right.then(|| (plain_text(key, MAX_KEY).to_ascii_lowercase(), plain_text(value, MAX_VALUE)))
}

/// The hex digits behind `code=`.
fn code(text: &str) -> Option<String> {
    let (_, behind) = text.split_once("code=")?;
    let code: String = behind.chars().take_while(char::is_ascii_hexdigit).take(MAX_VALUE).collect();
    (code.len() >= 4).then_some(code)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_uf2_boot_loader_tells_model_board_and_its_own_version() {
        let file = b"UF2 Bootloader v9.9 XYZ\r\nModel: Some Board rev 2\r\nBoard-ID: SAMx-Some-v0\r\nDate: a:b\r\n";
        let told = uf2(file).expect("told");
        let pairs: Vec<(&str, &str)> = told.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("board-id", "SAMx-Some-v0"),
                ("bootloader", "UF2 Bootloader v9.9 XYZ"),
                ("date", "a:b"),
                ("model", "Some Board rev 2"),
            ]
        );
    }

    #[test]
    fn a_daplink_tells_who_it_is() {
        let file = b"# DAPLink Firmware - see https://example.org/\r\nUnique ID: 1234abcd\r\nHIC ID: 9796\r\n\
            Daplink Mode: Interface\r\nInterface Version: 0255\r\nURL: https://example.org/?id=1\r\n";
        let told = daplink(Some(file), None).expect("told");
        assert_eq!((told["unique id"].as_str(), told["interface version"].as_str()), ("1234abcd", "0255"));
        assert_eq!((told["url"].as_str(), told.len()), ("https://example.org/?id=1", 5));
        let old = daplink(Some(b"Version: 0226\r\n"), Some(b"replace(\"http://x/?code=1024abcd?v=1\")")).expect("told");
        assert_eq!((old["code"].as_str(), old["version"].as_str()), ("1024abcd", "0226"));
    }

    #[test]
    fn what_is_no_boards_file_tells_nothing() {
        for file in [&b""[..], b"\n\n", b"Holiday pictures", b"Model\0: x", b"Name: x\n", b"#Model: x", b"Model:\n"] {
            assert_eq!((uf2(file), daplink(Some(file), Some(file))), (None, None), "{file:?}");
        }
        assert_eq!(daplink(Some(b"Version: 0226\n"), Some(b"code=12")), None);
    }

    #[test]
    fn what_is_told_is_bounded_and_can_be_printed() {
        let told = uf2(b"Model: a\x1b[2Jb\xFF\nModel: second\n").expect("told");
        assert_eq!(told["model"], "a\u{fffd}[2Jb\u{fffd}");
        let mut many = b"Model: x\n".to_vec();
        (0..10_000).for_each(|number| many.extend(format!("k{number}: v\n").bytes()));
        many.truncate(MAX_FILE);
        assert_eq!(uf2(&many).expect("told").len(), MAX_PROPERTIES);
        let long = format!("Model: {}\n{}: x\n", "y".repeat(1000), "k".repeat(1000));
        let told = uf2(long.as_bytes()).expect("told");
        assert_eq!((told.len(), told["model"].chars().count()), (1, MAX_VALUE));
        // The last line may be half of one.
        let cut = [&b"Model: x\nBoard-ID: "[..], &[b'z'; MAX_FILE]].concat();
        assert_eq!(uf2(&cut[..MAX_FILE]).expect("told").len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(file in proptest::collection::vec(any::<u8>(), 0..400), text in ".*") {
            for file in [&file[..], text.as_bytes(), &[b"Model: ", &file[..]].concat()] {
                for told in [uf2(file), daplink(Some(file), Some(file))].into_iter().flatten() {
                    let plain = |text: &String| !text.contains(char::is_control);
                    prop_assert!(told.iter().all(|(key, value)| plain(key) && plain(value)));
                }
            }
        }
    }
}
