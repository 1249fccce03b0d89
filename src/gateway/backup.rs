//! `nuncio backup`: what a gateway consists of, put into one file beside the daemon, which goes on meanwhile.
//!
//! Blocking, and outside the event loop: it works whether a daemon runs or not.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::start::unix_now;
use crate::archive::{self, Holding, Item, Manifest, Passphrase, Source, Stop, Tree};
use crate::config::{self, Config};
use crate::control::BackupReport;
use crate::store::{CUT_OFF, DATABASE, Reader, StoreError};

/// Where files are held while they are read, in the state folder.
pub(super) const HOLDING: &str = "backup.tmp";
/// Where a backup is unpacked, in the state folder and in that of the configuration.
pub(super) const UNPACKING: &str = "restore.tmp";
/// What lies aside of an earlier restore.
pub(super) const ASIDE: &str = "before-restore-";
/// Of the state folder, what is of the moment only.
const PASSING: [&str; 7] = ["nuncio.lock", "jobs", "uploads", "hub-ports", HOLDING, UNPACKING, CUT_OFF];
/// The configuration file in a backup, however it is called.
pub(super) const FILE: &str = "nuncio.toml";
/// Beside it.
pub(super) const BOARDS: &str = "boards.d";
pub(super) const TOOLS: &str = "flash-tools";
/// Further files that the configuration names have a place of their own in a backup, and go beside it.
pub(super) const KEYS: &str = "keys";
pub(super) const CERTIFICATE: &str = "tls/certificate.pem";
pub(super) const KEY: &str = "tls/key.pem";
pub(super) const AUTHORITIES: &str = "ca";
/// Where systemd puts credentials.
const CREDENTIALS: &str = "/run/credentials";
/// Longest file of the configuration in bytes.
const MAX_TEXT: u64 = 64 << 20;
/// Most files of boards, tools or keys.
const MAX_TEXTS: usize = 4096;
/// So often a moment is looked for in which nothing changes ...
const ROUNDS: u32 = 10;
/// ... so far apart.
const PAUSE: Duration = Duration::from_millis(300);

/// Writes a backup.
///
/// # Errors
/// When something cannot be read or the file cannot be written; nothing is left of it then.
pub fn back_up(
    config: &Config,
    to: &Path,
    passphrase: Option<&Passphrase>,
    stop: &Stop,
) -> anyhow::Result<BackupReport> {
    let state = &config.gateway.state;
    if lies_in(to, state) {
        let (to, state) = (to.display(), state.display());
        bail!("{to} lies in the state folder {state}, all of which goes into the next backup: write it elsewhere");
    }
    if state.join(CUT_OFF).symlink_metadata().is_ok() {
        return Err(StoreError::HalfRestored(state.clone()).into());
    }
    let mut reader = Reader::open(state).context("the state cannot be read")?;
    if reader.is_none() && config.file().is_none() {
        bail!("there is nothing to keep: no database in {}, and no configuration file", state.display());
    }
    let (texts, named_only) = texts(config)?;
    let mut holding = state
        .is_dir()
        .then(|| Holding::new(&state.join(HOLDING)).context("is another backup under way?"))
        .transpose()?;
    // What was dropped there was meant for now: executed by a restore, it would be flashed again.
    let drop = config.builtin_server.drop.as_deref().and_then(|drop| drop.strip_prefix(state).ok());
    let drop = drop.filter(|drop| !drop.as_os_str().is_empty());
    let held = match &mut holding {
        Some(holding) => hold(holding, state, &|path| is_kept(path, drop), reader.as_mut(), stop)?,
        None => Held { items: Vec::new(), at_rest: true },
    };
    let items: Vec<Item> = held.items.into_iter().chain(texts).collect();
    let manifest = manifest(config, reader.as_ref(), named_only, held.at_rest)?;
    let manifest = archive::pack(to, manifest, &items, passphrase, stop)?;
    Ok(report(to, &manifest, passphrase.is_some()))
}

/// Whether a file that is about to be made would lie in a folder, whatever links lead there.
fn lies_in(file: &Path, folder: &Path) -> bool {
    let place = std::path::absolute(file).ok().and_then(|file| file.parent()?.canonicalize().ok());
    place.zip(folder.canonicalize().ok()).is_some_and(|(place, folder)| place.starts_with(folder))
}

/// What a manifest tells of a backup.
pub(super) fn report(file: &Path, manifest: &Manifest, encrypted: bool) -> BackupReport {
    BackupReport {
        file: file.to_owned(),
        encrypted,
        gateway: manifest.gateway.clone(),
        program: manifest.program.clone(),
        made: manifest.made,
        layout: manifest.schema,
        at_rest: manifest.at_rest,
        files: manifest.files.len(),
        bytes: manifest.bytes(),
        state: manifest.state.clone(),
        config: manifest.config.clone(),
        named_only: manifest.named_only.clone(),
    }
}

fn manifest(
    config: &Config,
    reader: Option<&Reader>,
    named_only: Vec<PathBuf>,
    at_rest: bool,
) -> anyhow::Result<Manifest> {
    Ok(Manifest {
        kind: String::new(),
        form: 0,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        gateway: config.gateway.name.clone(),
        made: unix_now(),
        schema: reader.map(Reader::schema).transpose()?,
        config: config.file().map(std::path::absolute).transpose()?,
        state: config.gateway.state.clone(),
        named_only,
        at_rest,
        files: Vec::new(),
    })
}

/// The state as it is at one moment.
struct Held {
    items: Vec<Item>,
    at_rest: bool,
}

fn hold(
    holding: &mut Holding,
    state: &Path,
    is_kept: &dyn Fn(&Path) -> bool,
    mut reader: Option<&mut Reader>,
    stop: &Stop,
) -> anyhow::Result<Held> {
    let moment = |reader: Option<&Reader>| -> anyhow::Result<_> {
        let files = archive::listing(state, is_kept)?;
        Ok((reader.map(Reader::moment).transpose()?, files))
    };
    for round in 1.. {
        stop.check()?;
        holding.clear()?;
        let before = moment(reader.as_deref())?;
        let items = holding.hold(state, Tree::State.as_str(), is_kept)?;
        let copy = holding.path(DATABASE);
        if let Some(reader) = &mut reader {
            let asked = stop.clone();
            let copied = reader.copy_to(&copy, move || asked.is_set());
            stop.check()?;
            copied?;
        }
        let at_rest = moment(reader.as_deref())? == before;
        match items {
            Some(mut items) if at_rest || round >= ROUNDS => {
                if reader.is_some() {
                    let from = Source::File { length: copy.metadata()?.len(), path: copy };
                    let path = format!("{}/{DATABASE}", Tree::State.as_str());
                    items.insert(0, Item { path, from, mode: 0o600 });
                }
                return Ok(Held { items, at_rest });
            }
            None if round >= ROUNDS * 2 => break,
            _ => std::thread::sleep(PAUSE),
        }
    }
    bail!("the state folder changes all the time: files go before they can be read")
}

/// What of the state folder goes into a backup, besides the database; `drop` is the drop folder in there.
fn is_kept(path: &Path, drop: Option<&Path>) -> bool {
    let Some(first) = path.components().next().and_then(|first| first.as_os_str().to_str()) else { return false };
    let passing = PASSING.contains(&first) || first.starts_with(ASIDE) || first.starts_with(DATABASE);
    // What is written anew has this ending until it is whole.
    !passing && drop.is_none_or(|drop| !path.starts_with(drop)) && path.extension().is_none_or(|ending| ending != "new")
}

/// The configuration with all that lies beside it or is named in it, and what is only named.
fn texts(config: &Config) -> anyhow::Result<(Vec<Item>, Vec<PathBuf>)> {
    let mut texts = Texts::default();
    if let (Some(file), Some(text)) = (config.file(), config.text()) {
        let mode = file.metadata().map_or(0o640, |found| found.mode());
        texts.taken.insert(std::path::absolute(file)?);
        texts.push(FILE, text.as_bytes().to_vec(), mode);
    }
    texts.folder(&config.boards_dir, BOARDS)?;
    texts.folder(&config.tools_dir, TOOLS)?;
    texts.folder(&config.update.keys, KEYS)?;
    if let (Some(certificate), Some(key)) = (&config.web.certificate, &config.web.key)
        && !is_credential(certificate)
        && !is_credential(key)
    {
        texts.file(certificate, CERTIFICATE)?;
        texts.file(key, KEY)?;
    }
    for (number, authority) in config.download.ca.iter().enumerate() {
        texts.file(authority, &authority_name(number, authority))?;
    }
    let named = config.text().map(|text| config::paths_in(Path::new(FILE), text)).transpose()?.unwrap_or_default();
    let only = named.into_iter().filter(|path| !texts.taken.contains(path) && path.is_file());
    let named_only = only.chain(credentials(config)?).collect();
    Ok((texts.items, named_only))
}

/// Where the credentials that the configuration names are looked for, beside it.
fn credentials(config: &Config) -> anyhow::Result<Vec<PathBuf>> {
    let (Some(file), Some(text)) = (config.file(), config.text()) else { return Ok(Vec::new()) };
    let folder = std::path::absolute(file)?.with_file_name("credentials");
    Ok(config::credentials_in(file, text)?.into_iter().map(|name| folder.join(name)).collect())
}

/// The place of a certificate authority.
pub(super) fn authority_name(number: usize, file: &Path) -> String {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("authority.pem");
    format!("{AUTHORITIES}/{number}-{name}")
}

fn is_credential(path: &Path) -> bool {
    let own = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    path.starts_with(CREDENTIALS) || own.is_some_and(|folder| path.starts_with(folder))
}

#[derive(Default)]
struct Texts {
    items: Vec<Item>,
    taken: BTreeSet<PathBuf>,
}

impl Texts {
    fn push(&mut self, path: &str, bytes: Vec<u8>, mode: u32) {
        let path = format!("{}/{path}", Tree::Config.as_str());
        self.items.push(Item { path, from: Source::Bytes(bytes), mode: mode & 0o777 });
    }

    fn file(&mut self, file: &Path, path: &str) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        let mut read = || -> std::io::Result<(usize, u32)> {
            let opened = std::fs::File::open(file)?;
            let mode = opened.metadata()?.mode();
            Ok((opened.take(MAX_TEXT + 1).read_to_end(&mut bytes)?, mode))
        };
        let (length, mode) = read().with_context(|| format!("cannot read {}", file.display()))?;
        if length as u64 > MAX_TEXT {
            bail!("{} is too long: more than {MAX_TEXT} bytes", file.display());
        }
        self.taken.insert(file.to_owned());
        self.push(path, bytes, mode);
        Ok(())
    }

    /// The files of a folder, without what editors and package managers leave there.
    fn folder(&mut self, folder: &Path, name: &str) -> anyhow::Result<()> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", folder.display())),
        };
        let is_text = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "toml" || ending == "pub");
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_text).collect();
        if files.len() > MAX_TEXTS {
            bail!("{} holds {} files, more than {MAX_TEXTS}", folder.display(), files.len());
        }
        files.sort();
        for file in files {
            let Some(text) = file.file_name().and_then(|name| name.to_str()) else { continue };
            self.file(&file, &format!("{name}/{text}"))?;
        }
        Ok(())
    }
}

/// Whether a folder of the state holds anything that a restore would take the place of.
pub(super) fn is_state(name: &str) -> bool {
    let ours = [HOLDING, UNPACKING, CUT_OFF, "nuncio.lock"];
    !ours.contains(&name) && !name.starts_with(ASIDE)
}
