//! What only the gateway knows: a key by which the server tells the gateway's own clients from others on this machine, new with
//! each start, and the path below which images are served, which a download that a crash cut off must find again.

use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The folder below the state folder.
const FOLDER: &str = "builtin";
/// The file in it.
const FILE: &str = "secret";
/// Bytes of chance in each.
const LENGTH: usize = 12;

/// Both.
#[derive(Clone)]
pub(super) struct Secrets {
    key: String,
    /// Letters and digits.
    pub(super) path: String,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// Reads the one that stays, or makes it, and makes the other one.
    pub(super) fn of(state: &Path) -> io::Result<Self> {
        let folder = state.join(FOLDER);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let file = folder.join(FILE);
        let path = match kept(&file)? {
            Some(path) => path,
            None => made(&file)?,
        };
        Ok(Self { key: chance()?, path })
    }

    /// As the argument of a query.
    pub(super) fn key(&self) -> String {
        format!("gateway={}", self.key)
    }
}

/// What an earlier start wrote; something else than that counts for nothing.
fn kept(file: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => {
            let good = text.len() == 2 * LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            Ok(good.then_some(text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

fn made(file: &Path) -> io::Result<String> {
    let secret = chance()?;
    let fresh = file.with_extension("new");
    let mut written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    written.write_all(secret.as_bytes())?;
    written.sync_all()?;
    fs::rename(&fresh, file)?;
    Ok(secret)
}

/// What nobody can guess, in hexadecimal.
pub(super) fn chance() -> io::Result<String> {
    let mut bytes = [0; LENGTH];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stays_and_the_other_is_new_each_time() {
        let state = tempfile::tempdir().expect("a folder");
        let (first, second) = (Secrets::of(state.path()).expect("made"), Secrets::of(state.path()).expect("read"));
        assert_eq!(first.path, second.path);
        assert_ne!(first.key, second.key);
        fs::write(state.path().join("builtin/secret"), b"\xff\xfe/../..").expect("written");
        assert_ne!(Secrets::of(state.path()).expect("made anew").path, first.path);
    }
}
