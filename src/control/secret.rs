//! Secrets of the configuration: told to nobody, and better kept in files.

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Where systemd puts what `LoadCredential=` names.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Longest secret in a file, in bytes.
const MAX: u64 = 4096;

/// A password or a key. Neither logs nor `Debug` show it.
#[derive(Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// What it is.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads one from the first line of a file: an absolute path, or the name of one of the service's credentials
    /// (`LoadCredential=` in its unit). Blocking.
    ///
    /// # Errors
    /// When there is none, in words.
    pub fn read(file: &Path) -> Result<Self, String> {
        let path = path_of(file, std::env::var_os(CREDENTIALS).map(PathBuf::from))?;
        let text = read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        match text.lines().next().map(str::trim_end) {
            Some(secret) if !secret.is_empty() => Ok(Self(secret.to_owned())),
            _ => Err(format!("{} is empty", path.display())),
        }
    }
}

fn path_of(file: &Path, credentials: Option<PathBuf>) -> Result<PathBuf, String> {
    match credentials {
        _ if file.is_absolute() => Ok(file.to_owned()),
        Some(folder) => Ok(folder.join(file)),
        None => Err(format!("the service has no credential `{}` (LoadCredential= in its unit)", file.display())),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX {
        return Err(io::Error::other(format!("it is longer than {MAX} bytes")));
    }
    Ok(text)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_the_first_line_of_a_file_and_never_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("password");
        std::fs::write(&file, "open sesame \nand a remark\n").expect("written");
        let secret = Secret::read(&file).expect("read");
        assert_eq!(secret.reveal(), "open sesame");
        assert_eq!(format!("{secret:?}"), "***");
        std::fs::write(&file, "\n").expect("written");
        assert!(Secret::read(&file).is_err());
        std::fs::write(&file, "x".repeat(5000)).expect("written");
        assert!(Secret::read(&file).expect_err("too long").contains("4096"));
    }

    #[test]
    fn a_name_is_one_of_the_services_credentials() {
        let folder = Some(PathBuf::from("/run/credentials/nuncio"));
        assert_eq!(path_of(Path::new("mqtt"), folder), Ok("/run/credentials/nuncio/mqtt".into()));
        assert!(path_of(Path::new("mqtt"), None).expect_err("none").contains("LoadCredential"));
        assert_eq!(path_of(Path::new("/etc/p"), None), Ok("/etc/p".into()));
    }
}
