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
    let mut now = before.clone();
    // Paths below the state folder that nobody wrote down move with it: so it comes first.
    for step in [first, second] {
        let config = match config::parse(file, Some(&now)) {
            Ok(config) => config,
            Err(error) => {
                fitted.notes.push(format!("the configuration is not right for this version:\n{error}"));
                break;
            }
        };
        let wanted = step(&config, manifest, state, file);
        let values: Vec<_> = wanted.iter().map(|(section, key, value)| (*section, *key, value.clone())).collect();
        now =
            config::with_values(&now, &values).map_err(|error| anyhow!("the configuration in the backup: {error}"))?;
        fitted.changed.extend(values.iter().map(|(section, key, _)| format!("{section}.{key}")));
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

/// Name and state folder.
fn first(config: &Config, manifest: &Manifest, state: &Path, _: &Path) -> Values {
    let mut values = Values::new();
    if config.gateway.name != manifest.gateway {
        values.push(("gateway", "name", Setting::Text(manifest.gateway.clone())));
    }
    if config.gateway.state != state {
        values.push(("gateway", "state", path(state)));
    }
    values
}

/// All other paths.
fn second(config: &Config, manifest: &Manifest, state: &Path, file: &Path) -> Values {
    let mut values = Values::new();
    let folder = file.parent().unwrap_or(Path::new("/"));
    let has = |name: &str| manifest.of(Tree::Config).any(|(path, _)| path == Path::new(name));
    let moved = |old: &Path| Some(state.join(old.strip_prefix(&manifest.state).ok()?)).filter(|new| new != old);
    if let Some(socket) = moved(&config.gateway.socket) {
        values.push(("gateway", "socket", path(&socket)));
    }
    if let Some(socket) = config.web.socket.as_deref().and_then(moved) {
        values.push(("web", "socket", path(&socket)));
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
