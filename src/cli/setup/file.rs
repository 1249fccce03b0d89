//! The configuration that is written; what somebody else wrote is left alone.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context, bail};
use nuncio::device::BoardId;
use sha2::{Digest, Sha256};

use super::PageFor;
use super::answers::{Answers, NamedBoard};

/// The first line of a file that was written here, followed by the digest of what follows that line.
const MARK: &str = "# Written by `nuncio setup`, which may write it again as long as nobody changes it: ";

/// What the package brings: it says nothing.
const BROUGHT: &str = include_str!("../../../packaging/nuncio.toml");

/// The boards that a file which was written here names.
///
/// # Errors
/// When what was written here is valid no more.
pub(super) fn named_before(target: &Path) -> anyhow::Result<Vec<NamedBoard>> {
    let Ok(text) = std::fs::read_to_string(target) else { return Ok(Vec::new()) };
    let before = nuncio::config::parse(target, Some(&text))?;
    let named = before
        .devices
        .into_iter()
        .filter_map(|one| Some(NamedBoard { name: one.name, board: BoardId::new(one.board?), link: one.link }));
    Ok(named.collect())
}

/// Whether the file may be written: it is not there, is the package's, or nobody has changed what was written here.
///
/// # Errors
/// When somebody's words are in it, or this user may not write there.
pub(super) fn may_be_written(target: &Path) -> anyhow::Result<()> {
    match std::fs::read_to_string(target) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", target.display())),
        Ok(text) if is_ours(&text) || text.trim().is_empty() || text == BROUGHT => {}
        Ok(_) => bail!(
            "{} is there, and somebody has written it: it stays as it is.\n\
             To set up anew, put it aside first: mv {0} {0}.old",
            target.display()
        ),
    }
    let folder = target.parent().unwrap_or_else(|| Path::new("/"));
    std::fs::create_dir_all(folder).with_context(|| hint(folder))?;
    let probe = folder.join(format!(".nuncio-setup-{}", std::process::id()));
    std::fs::File::create(&probe).with_context(|| hint(folder))?;
    std::fs::remove_file(&probe).with_context(|| hint(folder))
}

fn hint(folder: &Path) -> String {
    format!("cannot write in {}: try `sudo nuncio setup`", folder.display())
}

fn is_ours(text: &str) -> bool {
    let Some((first, rest)) = text.split_once('\n') else { return false };
    first.strip_prefix(MARK).is_some_and(|digest| digest == digest_of(rest))
}

fn digest_of(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file, commented.
pub(super) fn text(answers: &Answers) -> String {
    let parts = [HEAD.to_owned(), server(answers), page(answers.page), devices(&answers.boards)];
    let body = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n");
    let body = format!("{body}\n");
    format!("{MARK}{}\n{body}", digest_of(&body))
}

const HEAD: &str = "\
# What is different here from the defaults. `man nuncio.toml` lists every key, `nuncio check` says what is wrong in this file,
# and `systemctl restart nuncio` has it read again. A reload is enough for boards, flash tools, keys and the log's level.";

fn server(answers: &Answers) -> String {
    match &answers.server {
        Some(uri) => format!(
            "# The Device Management server that every device registers at. Further ones are further [[server]] entries, with names and\n\
             # short ids of their own.\n\
             [[server]]\nname = \"server\"\nuri = {}\nshort_id = 123",
            quoted(uri)
        ),
        None => "\
# The server that is built in: an image that is laid into its drop folder, or dropped on the page, is flashed. A server of your
# own is a [[server]] entry with name, uri and short_id; both work side by side.
[builtin_server]
enabled = true"
            .to_owned(),
    }
}

fn page(page: PageFor) -> String {
    let listen = match page {
        PageFor::Off => return String::new(),
        PageFor::Local => "[\"127.0.0.1:8080\"]",
        PageFor::Network => "[\"127.0.0.1:8080\", \"0.0.0.0:8443\"]",
    };
    format!(
        "# The page and the REST API. Everybody needs a token: `nuncio login` prints a link, `nuncio token add` makes one to keep.\n\
         # At addresses that other machines reach https is spoken, with a certificate that is made once.\n\
         [web]\nenabled = true\nlisten = {listen}"
    )
}

fn devices(boards: &[NamedBoard]) -> String {
    let one = |board: &NamedBoard| {
        let NamedBoard { name, board, link } = board;
        format!(
            "[[device]]\nname = {}\nboard = {}\nlink = {}",
            quoted(name),
            quoted(board.as_str()),
            quoted(&link.to_string())
        )
    };
    let entries: Vec<String> = boards.iter().map(one).collect();
    if entries.is_empty() {
        return String::new();
    }
    format!("# Boards that cannot be told by their USB ids, by the socket that they hang on.\n{}", entries.join("\n\n"))
}

fn quoted(text: &str) -> String {
    // A basic string of TOML takes JSON's escapes, and more.
    serde_json::to_string(text).unwrap_or_default()
}

/// The whole, or nothing.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(target: &Path, text: &str) -> anyhow::Result<()> {
    let part = target.with_extension(format!("new-{}", std::process::id()));
    let written = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&part)?;
        // The service's user reads it, whatever the umask of who is setting up.
        file.set_permissions(std::fs::Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, target)
    };
    written().with_context(|| format!("cannot write {}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers() -> Answers {
        let link = "serial:/dev/ttyUSB0".parse().expect("a link");
        let board = NamedBoard { name: "arduino-nano-1".to_owned(), board: BoardId::new("arduino-nano"), link };
        let server = Some("coap://dm.example.org:5683".to_owned());
        Answers { server, page: PageFor::Network, boards: vec![board], with_device: true }
    }

    #[test]
    fn what_is_written_is_a_valid_configuration_that_says_what_was_answered() {
        let config = nuncio::config::parse(Path::new("nuncio.toml"), Some(&text(&answers()))).expect("valid");
        assert_eq!(config.servers[0].uri, "coap://dm.example.org:5683");
        assert_eq!(config.devices[0].link.to_string(), "serial:/dev/ttyUSB0");
        assert!(config.web.enabled);
        let dir = tempfile::tempdir().expect("a folder");
        let target = dir.path().join("nuncio.toml");
        assert_eq!(named_before(&target).expect("nothing"), []);
        write(&target, &text(&answers())).expect("written");
        assert_eq!(std::fs::metadata(&target).expect("there").permissions().mode() & 0o777, 0o644);
        assert_eq!(named_before(&target).expect("valid"), answers().boards, "a second setup keeps them");
        let other = Answers { server: None, page: PageFor::Off, boards: Vec::new(), with_device: false };
        let config = nuncio::config::parse(Path::new("nuncio.toml"), Some(&text(&other))).expect("valid");
        assert!(config.devices.is_empty() && !config.web.enabled);
    }

    #[test]
    fn only_what_nobody_has_changed_is_written_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let target = dir.path().join("etc/nuncio.toml");
        may_be_written(&target).expect("nothing is there");
        write(&target, &text(&answers())).expect("written");
        may_be_written(&target).expect("it is ours");
        std::fs::write(&target, format!("{}\n[[server]]\n", text(&answers()))).expect("changed");
        let refused = may_be_written(&target).expect_err("somebody changed it").to_string();
        assert!(refused.contains("stays as it is"), "{refused}");
        std::fs::write(&target, BROUGHT).expect("written");
        may_be_written(&target).expect("it is the package's");
        std::fs::write(&target, "# [[server]]\n# uri = \"coap://put.aside.example\"\n").expect("written");
        may_be_written(&target).expect_err("somebody has put it aside in comments");
        std::fs::write(&target, "[gateway]\n").expect("written");
        may_be_written(&target).expect_err("it says something");
        assert_eq!(
            std::fs::read_dir(target.parent().expect("a folder")).expect("read").count(),
            1,
            "something is left"
        );
    }
}
