//! What is asked: the server, who sees the page, and the board on each port that does not tell.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, bail};
use nuncio::control::DeviceList;
use nuncio::device::{Access, BoardId, Link};
use url::Url;

use super::super::output::print;
use super::PageFor;

/// So many ports are asked about.
const MAX_ASKED: usize = 8;
/// So often a question is put again.
const MAX_TRIES: usize = 5;

/// What was answered.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answers {
    /// The server's URI; `None`: the built-in one.
    pub(super) server: Option<String>,
    pub(super) page: PageFor,
    pub(super) boards: Vec<NamedBoard>,
    /// Whether a board is here that will be a device.
    pub(super) with_device: bool,
}

/// A board that somebody named.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NamedBoard {
    pub(super) name: String,
    pub(super) board: BoardId,
    pub(super) link: Link,
}

impl Answers {
    /// Asks what the options leave open. `named` are the boards that an earlier setup was told of.
    pub(super) fn ask(
        server: Option<Option<String>>,
        page: Option<PageFor>,
        named: Vec<NamedBoard>,
        list: &DeviceList,
        known: &[(BoardId, String)],
    ) -> anyhow::Result<Self> {
        let boards = ask_boards(named, list, known)?;
        let server = match server {
            Some(server) => server.map(|uri| right_uri(&uri).map_err(anyhow::Error::msg)).transpose()?,
            None => ask_server()?,
        };
        let page = page.map_or_else(ask_page, Ok)?;
        let with_device = !boards.is_empty() || !list.devices.is_empty();
        Ok(Self { server, page, boards, with_device })
    }
}

fn ask_server() -> anyhow::Result<Option<String>> {
    let question = "At which Device Management server shall the devices register?\n  coap://HOST[:PORT], or Enter for the one \
                    that is built in: ";
    ask(question, Some("--server URI or --builtin"), |answer| match answer {
        "" => Ok(None),
        uri => right_uri(uri).map(Some),
    })
}

fn right_uri(text: &str) -> Result<String, String> {
    let uri = Url::parse(text).map_err(|error| format!("`{text}` is no URI ({error}): coap://HOST[:PORT]"))?;
    match (uri.scheme(), uri.host_str()) {
        ("coap", Some(host)) if !host.is_empty() => Ok(text.to_owned()),
        ("coaps", _) => Err("DTLS (coaps) is not there yet: coap:// on a network that you trust".to_owned()),
        _ => Err(format!("`{text}` is no address of a server: coap://HOST[:PORT]")),
    }
}

fn ask_page() -> anyhow::Result<PageFor> {
    // Without a screen the browser is on another machine.
    let usual = match ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some()) {
        true => PageFor::Local,
        false => PageFor::Network,
    };
    let number = if usual == PageFor::Local { 1 } else { 2 };
    let question = format!(
        "Who shall see the page?\n  1 browsers on this machine\n  2 browsers on the network, over https and with a token\n  \
         3 nobody\n  Enter for {number}: "
    );
    ask(&question, Some("--page local|network|off"), |answer| match answer {
        "" => Ok(usual),
        "1" => Ok(PageFor::Local),
        "2" => Ok(PageFor::Network),
        "3" => Ok(PageFor::Off),
        other => Err(format!("`{other}` is none of 1, 2 and 3")),
    })
}

/// Which board is on each port that can be used and does not tell.
fn ask_boards(
    named: Vec<NamedBoard>,
    list: &DeviceList,
    known: &[(BoardId, String)],
) -> anyhow::Result<Vec<NamedBoard>> {
    let mut boards = named;
    let told: Vec<Link> = boards.iter().map(|board| board.link.clone()).collect();
    let unknown = list.links.iter().filter(|link| {
        let is_told = || told.contains(&link.link) || told.contains(&lasting(&link.link));
        link.access == Access::Usable && link.link.serial_path().is_some() && !is_told()
    });
    for (number, link) in unknown.take(MAX_ASKED).enumerate() {
        if number == 0 {
            let names: Vec<String> = known.iter().map(|(id, name)| format!("  {id:24} {name}")).collect();
            print(&format!("Boards that can be flashed by a port:\n{}", names.join("\n")));
        }
        let seen = link.seen.as_deref().map(|seen| format!(" ({seen})")).unwrap_or_default();
        let question = format!("Which of them is on {}{seen}? Enter to leave it out: ", link.link);
        let answer = ask(&question, None, |answer| match answer {
            "" => Ok(None),
            word => match known.iter().find(|(id, _)| id.as_str() == word) {
                Some((id, _)) => Ok(Some(id.clone())),
                None => Err(format!("there is no board `{word}` in the list")),
            },
        })?;
        let Some(board) = answer else { continue };
        // One more than there are boards has a number that is free.
        let mut names = (1..=boards.len() + 1).map(|number| format!("{board}-{number}"));
        let name = names.find(|name| boards.iter().all(|one| one.name != *name));
        let Some(name) = name else { continue };
        boards.push(NamedBoard { name, link: lasting(&link.link), board });
    }
    Ok(boards)
}

/// The name that a port keeps when others are plugged in before it: by its socket.
fn lasting(link: &Link) -> Link {
    let Some(path) = link.serial_path() else { return link.clone() };
    let same = |candidate: &Path| std::fs::canonicalize(candidate).is_ok_and(|target| target == path);
    let names = std::fs::read_dir("/dev/serial/by-path").into_iter().flatten().flatten();
    let found = names.map(|name| name.path()).find(|candidate| same(candidate));
    found.map_or_else(|| link.clone(), Link::Serial)
}

/// Puts a question until there is an answer that fits; `option` answers it on the command line. Where there is none, nobody is
/// needed: no answer is the empty one.
fn ask<T>(question: &str, option: Option<&str>, fits: impl Fn(&str) -> Result<T, String>) -> anyhow::Result<T> {
    for _ in 0..MAX_TRIES {
        let mut out = std::io::stdout().lock();
        out.write_all(question.as_bytes()).and_then(|()| out.flush())?;
        drop(out);
        let mut line = String::new();
        let length = std::io::stdin().lock().read_line(&mut line).context("no answer can be read")?;
        if length == 0 {
            print("");
            let Some(option) = option else { return fits("").map_err(anyhow::Error::msg) };
            bail!("nobody answers here: give {option} on the command line");
        }
        match fits(line.trim()) {
            Ok(answer) => return Ok(answer),
            Err(wrong) => print(&format!("  {wrong}")),
        }
    }
    bail!("no answer that fits came")
}
