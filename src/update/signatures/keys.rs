//! The public keys of a site: every `*.pub` of one folder, as minisign(1) writes them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use minisign_verify::PublicKey;

use crate::device::FileError;

/// Most keys of a site.
const MAX_KEYS: usize = 256;
/// Longest key file in bytes.
const MAX_KEY: u64 = 4096;
/// What a key's first line begins with.
const COMMENT: &str = "untrusted comment:";
/// What to do about a file that is no key.
const HINT: &str =
    "expected are two lines as `minisign -G` writes them to minisign.pub; a secret key has no business here";

/// A public key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) key: PublicKey,
}

/// Reads every `*.pub` of a folder, in the order of their names; a folder that is not there holds no key.
///
/// # Errors
/// Everything that is wrong in the folder and its files.
pub(super) fn load(folder: &Path) -> Result<Vec<Key>, Vec<FileError>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(vec![unusable(folder, format!("cannot read the folder of [update] keys: {error}"))]),
    };
    let is_key = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pub");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_key).collect();
    paths.sort();
    if paths.len() > MAX_KEYS {
        return Err(vec![unusable(folder, format!("{} keys, and more than {MAX_KEYS} there may not be", paths.len()))]);
    }
    let (mut keys, mut errors) = (Vec::new(), Vec::new());
    for path in paths {
        match read(&path).and_then(|text| decode(&path, &text)) {
            Ok(key) => keys.push(key),
            Err(error) => errors.push(*error),
        }
    }
    if errors.is_empty() { Ok(keys) } else { Err(errors) }
}

fn unusable(path: &Path, message: String) -> FileError {
    FileError::whole(path, message)
}

fn read(path: &Path) -> Result<String, Box<FileError>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_KEY).read_to_end(&mut bytes));
    read.map_err(|error| Box::new(unusable(path, format!("cannot read it: {error}"))))?;
    String::from_utf8(bytes).map_err(|_| Box::new(unusable(path, "it is no text".to_owned()).with_hint(HINT)))
}

fn decode(path: &Path, text: &str) -> Result<Key, Box<FileError>> {
    let wrong = |line: usize, message: String| {
        let start = text.lines().take(line).map(|line| line.len() + 1).sum::<usize>().min(text.len());
        let length = text.lines().nth(line).map_or(0, str::len);
        Box::new(FileError::at(path, text, start..start + length, "", message).with_hint(HINT))
    };
    if !text.starts_with(COMMENT) {
        return Err(wrong(0, format!("no public key of minisign: the first line does not begin with `{COMMENT}`")));
    }
    let broken = |why: String| wrong(1, format!("no public key of minisign: {why}"));
    let key = PublicKey::decode(text.trim_end()).map_err(|error| broken(error.to_string()))?;
    let id = id(text).ok_or_else(|| broken("it names no key".to_owned()))?;
    Ok(Key { id, key })
}

/// The id that stands in the second line of keys and signatures: 8 bytes after the 2 of the algorithm, the lowest first
/// (minisign(1), "file format"), told as `minisign -G` does: without leading zeros.
pub(super) fn id(text: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.lines().nth(1)?.trim()).ok()?;
    let id = bytes.get(2..10)?.try_into().ok()?;
    Some(format!("{:X}", u64::from_le_bytes(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_key_is_told_with_file_and_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let cases: [(&str, &[u8], usize, &str); 5] = [
            ("a.pub", b"no key", 1, "first line does not begin with `untrusted comment:`"),
            ("b.pub", b"", 1, "first line"),
            ("c.pub", b"untrusted comment: minisign public key\nRWQ", 2, "no public key of minisign: "),
            ("d.pub", b"untrusted comment: minisign public key\n", 2, "no public key of minisign: "),
            ("e.pub", b"\xff\xfe", 0, "it is no text"),
        ];
        for (name, bytes, _, _) in cases {
            std::fs::write(folder.path().join(name), bytes).expect("written");
        }
        std::fs::create_dir(folder.path().join("f.pub")).expect("made");
        std::fs::write(folder.path().join("readme.txt"), "no key either").expect("written");
        let errors = load(folder.path()).expect_err("none is a key");
        assert_eq!(errors.len(), cases.len() + 1, "all are told at once");
        for ((name, _, line, words), error) in cases.iter().zip(&errors) {
            assert_eq!((error.file.as_path(), error.line), (folder.path().join(name).as_path(), *line), "{error}");
            assert!(error.message.contains(words), "{error}");
            assert!(error.to_string().contains("minisign -G"), "{error}");
        }
        assert!(errors[5].message.contains("cannot read it"), "{}", errors[5]);
    }

    #[test]
    fn a_folder_that_is_not_there_holds_no_key_and_one_that_is_none_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(load(&folder.path().join("nowhere")).is_ok_and(|keys| keys.is_empty()));
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert_eq!(load(&file).expect_err("no folder")[0].file, file);
    }
}
