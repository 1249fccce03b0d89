//! The configuration of a backup, made to fit this machine: paths into the folders of there lead into those of here, and the
//! gateway keeps its name.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};

use super::super::backup::{CERTIFICATE, KEY, KEYS, authority_name};
use crate::archive::{Manifest, Tree};
use crate::config::{self, Config, Setting};

/// What was changed.
#[derive(Debug, Default)]
pub(super) struct Fitted {
    pub(super) changed: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Changes the unpacked file `text`, which will be called `file`.
pub(super) fn fit(manifest: &Manifest, text: &Path, state: &Path, file: &Path) -> anyhow::Result<Fitted> {
    let before = match std::fs::read_to_string(text) {
        Ok(before) => before,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context("the configuration in the backup"),
    };
    let mut fitted = Fitted::default();
    let failed = |error| anyhow!("the configuration in the backup: {error}");
    let mut now = before.clone();
    if manifest.state != state {
        (now, fitted.changed) = config::with_folder_moved(&now, &manifest.state, state).map_err(failed)?;
    }
    let note = |error| format!("the configuration is not right for this version:\n{error}");
    // Credentials stay behind, and may not be here yet.
    match config::parse_leniently(file, Some(&now)) {
        Ok((config, wrong)) => {
            fitted.notes.extend(wrong.map(note));
            let wanted = wanted(&config, manifest, state, file);
            now = config::with_values(&now, &wanted).map_err(failed)?;
            fitted.changed.extend(wanted.iter().map(|(section, key, _)| format!("{section}.{key}")));
        }
        Err(error) => fitted.notes.push(note(error)),
    }
    if now != before {
        let mut options = std::fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o640).open(text);
        let write = opened.and_then(|mut file| {
            std::io::Write::write_all(&mut file, now.as_bytes())?;
            file.sync_all()
        });
        write.context("the configuration cannot be written")?;
    }
    Ok(fitted)
}

type Values = Vec<(&'static str, &'static str, Setting)>;

fn path(path: &Path) -> Setting {
    Setting::Text(path.to_string_lossy().into_owned())
}

/// The name that the gateway had, the state folder, and where what was named elsewhere lies now.
fn wanted(config: &Config, manifest: &Manifest, state: &Path, file: &Path) -> Values {
    let mut values = Values::new();
    let folder = file.parent().unwrap_or(Path::new("/"));
    let has = |name: &str| manifest.of(Tree::Config).any(|(path, _)| path == Path::new(name));
    if config.gateway.name != manifest.gateway {
        values.push(("gateway", "name", Setting::Text(manifest.gateway.clone())));
    }
    if config.gateway.state != state {
        values.push(("gateway", "state", path(state)));
    }
    let keys = folder.join(KEYS);
    if config.update.keys != keys && manifest.of(Tree::Config).any(|(path, _)| path.starts_with(KEYS)) {
        values.push(("update", "keys", path(&keys)));
    }
    for (key, name, old) in [("certificate", CERTIFICATE, &config.web.certificate), ("key", KEY, &config.web.key)] {
        let new = folder.join(name);
        if has(name) && old.as_ref() != Some(&new) {
            values.push(("web", key, path(&new)));
        }
    }
    let authorities: Vec<PathBuf> = config
        .download
        .ca
        .iter()
        .enumerate()
        .map(|(number, old)| {
            let name = authority_name(number, old);
            if has(&name) { folder.join(name) } else { old.clone() }
        })
        .collect();
    if authorities != config.download.ca {
        let list = authorities.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        values.push(("download", "ca", Setting::List(list)));
    }
    values
}
