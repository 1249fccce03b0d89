//! Secrets that are not written where they are used: `{ credential = "NAME" }` in a file of the site stands for the content
//! of a credential that the service manager hands to this process (systemd.exec(5), `LoadCredential=`), or of a file of the
//! folder `credentials` beside the configuration.
//!
//! Read when the file that names them is read, so a changed one counts from the next start on. Nothing is kept here, and no
//! error holds what was read.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Where the service manager puts what it hands to a process.
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// Those that it takes from a whole folder begin so: `LoadCredential=nuncio:FOLDER`.
const OF_A_FOLDER: &str = "nuncio_";
/// Where those of the running service lie for its user, who has no such variable in a shell.
const OF_THE_SERVICE: &str = "/run/credentials/nuncio.service";
/// The folder beside the configuration.
const BESIDE: &str = "credentials";
/// Longest credential, in bytes.
const MAX_SIZE: u64 = 64 << 10;
/// Longest name, in bytes.
const MAX_NAME: usize = 200;

/// Where credentials are looked for, in this order.
#[derive(Debug, Clone)]
pub(crate) struct Credentials {
    folders: Vec<PathBuf>,
}

impl Credentials {
    /// Those that were handed to this process; where none were, those of the running service, and those beside a configuration
    /// file, or beside a folder that lies beside it.
    pub(crate) fn beside(path: &Path) -> Self {
        if let Some(given) = std::env::var_os(DIRECTORY) {
            return Self { folders: vec![given.into()] };
        }
        let own = path.parent().map(|folder| folder.join(BESIDE));
        Self { folders: [PathBuf::from(OF_THE_SERVICE)].into_iter().chain(own).collect() }
    }

    /// A credential's text, without the line end behind it.
    ///
    /// # Errors
    /// What is wrong with the name or the credential, without its content.
    pub(crate) fn read(&self, name: &str) -> Result<String, String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(plain) || name.starts_with('.') {
            return Err("a credential's name is made of letters, digits, `.`, `_` and `-`".to_owned());
        }
        let mut wrong = None;
        for folder in &self.folders {
            for file in [folder.join(name), folder.join(format!("{OF_A_FOLDER}{name}"))] {
                match text_of(&file) {
                    Ok(text) => return Ok(text),
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => {
                        wrong.get_or_insert_with(|| {
                            format!("credential `{name}` cannot be read from {}: {error}", file.display())
                        });
                    }
                }
            }
        }
        Err(wrong.unwrap_or_else(|| format!("there is no credential `{name}` in {}", self.told())))
    }

    /// The folders, for people.
    fn told(&self) -> String {
        let folders: Vec<String> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        folders.join(" or ")
    }
}

fn text_of(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    fs::File::open(file)?.take(MAX_SIZE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SIZE {
        return Err(std::io::Error::other(format!("it has more than {MAX_SIZE} bytes")));
    }
    let end = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text).len());
    text.truncate(end.unwrap_or(text.len()));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, content) in files {
            fs::write(dir.path().join(name), content).expect("written");
        }
        dir
    }

    fn of(folders: &[&tempfile::TempDir]) -> Credentials {
        Credentials { folders: folders.iter().map(|dir| dir.path().to_owned()).collect() }
    }

    #[test]
    fn a_credential_is_a_file_under_either_name_without_its_line_end() {
        let (first, second) =
            (folder(&[("nuncio_a", b"one\n"), ("b", b" two \r\n")]), folder(&[("a", b"x"), ("c", b"\n\n")]));
        let all = of(&[&first, &second]);
        assert_eq!(all.read("a").as_deref(), Ok("one"));
        assert_eq!(all.read("b").as_deref(), Ok(" two "));
        assert_eq!(all.read("c").as_deref(), Ok("\n"));
    }

    #[test]
    fn what_is_missing_too_long_or_no_text_is_told_without_the_content() {
        let dir = folder(&[("long", &vec![b's'; 70_000]), ("bytes", b"s\xff\xfe")]);
        let error = |name: &str| of(&[&dir]).read(name).expect_err(name);
        assert!(error("gone").contains("there is no credential `gone`"), "{}", error("gone"));
        assert!(error("long").contains("more than 65536 bytes") && !error("long").contains("sss"), "{}", error("long"));
        assert!(error("bytes").contains("UTF-8"), "{}", error("bytes"));
        for name in ["", ".", "..", "../long", "a/b", "a\0b", ".hidden"] {
            assert!(error(name).contains("is made of letters"), "{name:?}");
        }
    }

    #[test]
    fn they_lie_beside_the_configuration_where_nobody_hands_them_over() {
        let found = Credentials::beside(Path::new("/etc/nuncio/nuncio.toml")).folders;
        assert_eq!(found.last().map(PathBuf::as_path), Some(Path::new("/etc/nuncio/credentials")));
    }
}
