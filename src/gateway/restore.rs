//! `nuncio restore`: a gateway out of a backup, on this machine or another one. The servers notice nothing: devices keep their
//! names, tokens open what they opened, and there is a way back.
//!
//! Blocking, and outside the event loop; the state folder is held meanwhile, so that no daemon starts on half of it. All is
//! unpacked and looked at beside its place before anything is moved, and what was there before stays, aside.

mod fit;
mod place;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::backup::{self, FILE};
use crate::archive::{self, Manifest, Passphrase, Stop, Tree};
use crate::config::{self, DEFAULT_FILE};
use crate::control::RestoreReport;
use crate::store::{self, DATABASE};
use crate::update::taken_up_from_backup;

use place::Target;

/// Something is in its place.
#[derive(Debug, thiserror::Error)]
#[error("there is a gateway already: {0}")]
pub struct Taken(String);

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The backup.
    pub file: PathBuf,
    /// The configuration file that is made; `None`: the usual one.
    pub config: Option<PathBuf>,
    /// The state folder that is filled; `None`: that of the configuration here.
    pub state: Option<PathBuf>,
    /// Put aside what is there.
    pub force: bool,
    /// Only look at it.
    pub only_verify: bool,
}

/// Puts a backup in place, or only looks at it.
///
/// # Errors
/// When it is not what it says, does not belong here, or something is in its place. Nothing was changed then.
pub fn restore(
    wish: &Wish,
    passphrase: impl FnOnce() -> anyhow::Result<Passphrase>,
    stop: &Stop,
) -> anyhow::Result<RestoreReport> {
    let file = wish.config.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let file = std::path::absolute(file)?;
    let mut sealed = false;
    let mut target = None;
    let manifest = archive::unpack(
        &wish.file,
        || {
            sealed = true;
            passphrase()
        },
        |manifest| {
            known(manifest)?;
            if wish.only_verify {
                return Ok(None);
            }
            let state = state(wish, &file, manifest)?;
            let made = Target::prepare(&state, &file, manifest, wish.force)?;
            let folders = made.folders();
            target = Some(made);
            anyhow::Ok(Some(folders))
        },
        stop,
    )?;
    let mut report = RestoreReport {
        backup: backup::report(&wish.file, &manifest, sealed),
        restored: false,
        state: target.as_ref().map_or_else(|| manifest.state.clone(), |target| target.state().to_owned()),
        config: file,
        changed: Vec::new(),
        aside: Vec::new(),
        notes: Vec::new(),
    };
    let Some(target) = target else { return Ok(report) };
    let folders = target.folders();
    if manifest.of(Tree::State).any(|(path, _)| path == Path::new(DATABASE)) {
        let layout = store::adopt(&folders.state.join(DATABASE), taken_up_from_backup)?;
        if manifest.schema != Some(layout) {
            bail!("the database has layout {layout}, and not the one that the manifest says");
        }
    }
    let fitted = fit::fit(&manifest, &folders.config.join(FILE), target.state(), &report.config)?;
    (report.changed, report.notes) = (fitted.changed, fitted.notes);
    stop.check()?;
    report.aside = target.commit()?;
    report.restored = true;
    Ok(report)
}

/// A database that this program does not know would keep its daemon from starting.
fn known(manifest: &Manifest) -> anyhow::Result<()> {
    let newest = store::schema();
    match manifest.schema {
        Some(layout) if layout > newest => bail!(
            "the backup is of nuncio {}, whose database has layout {layout}; this program knows {newest}: install that version first",
            manifest.program.escape_debug()
        ),
        _ => Ok(()),
    }
}

/// Where the state goes: never where the backup alone says.
fn state(wish: &Wish, file: &Path, manifest: &Manifest) -> anyhow::Result<PathBuf> {
    if let Some(state) = &wish.state {
        return Ok(std::path::absolute(state)?);
    }
    let text = match std::fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let without = "the configuration that is here; --state DIR does without";
    let (here, wrong) = config::parse_leniently(file, text.as_deref()).context(without)?;
    wrong.map_or(Ok(()), Err).context(without)?;
    let here = here.gateway.state;
    if here != manifest.state {
        let there = manifest.state.display();
        bail!(
            "the gateway had its state in {there}, and here it is in {}: say where it goes by --state DIR",
            here.display()
        );
    }
    Ok(here)
}
