//! `nuncio check`: the rendering, and what the configuration, the state folder and the ports have to say. Boards, tools
//! and transports add their items from outside.

mod fix;
mod host;
mod thieves;

use nuncio::config::{Config, ConfigError};
use nuncio::control::{CheckItem, CheckState};
use serde::Serialize;

use super::code;
use super::output::{print, print_json, word};

/// `docs/schema/check-1.json`.
#[derive(Debug, Serialize)]
pub(super) struct CheckDocument {
    pub(super) items: Vec<CheckItem>,
    errors: usize,
    warnings: usize,
}

pub(super) fn check(
    loaded: &Result<Config, ConfigError>,
    more: fn(&Config) -> Vec<CheckItem>,
    wish: &Wish,
) -> anyhow::Result<u8> {
    let found = document(loaded, more);
    if wish.json {
        print_json("check/1", &found)?;
    } else {
        print(&rendered(&found));
    }
    let found = if wish.fix && fix::fix(&found.items, wish.yes)? {
        // What was mended counts, not what was wrong before.
        let after = document(loaded, more);
        print(&format!("\nAfterwards:\n{}", rendered(&after)));
        after
    } else {
        found
    };
    Ok(match found.errors {
        _ if loaded.is_err() => code::USAGE,
        0 => code::OK,
        _ => code::FAILED,
    })
}

/// What is wanted besides looking.
#[derive(Debug, clap::Args)]
pub(super) struct Wish {
    /// Print JSON (docs/schema/check-1.json)
    #[arg(long, conflicts_with = "fix")]
    pub(super) json: bool,
    /// Mend what can be mended from here, each thing after asking
    #[arg(long)]
    fix: bool,
    /// Do not ask
    #[arg(long, requires = "fix")]
    yes: bool,
}

/// All that was found.
pub(super) fn document(
    loaded: &Result<Config, ConfigError>,
    more: impl FnOnce(&Config) -> Vec<CheckItem>,
) -> CheckDocument {
    let items = match loaded {
        Ok(config) => about(config).into_iter().chain(more(config)).collect(),
        Err(error) => of_config_error(error),
    };
    let count = |state| items.iter().filter(|item: &&CheckItem| item.state == state).count();
    CheckDocument { errors: count(CheckState::Error), warnings: count(CheckState::Warning), items }
}

fn about(config: &Config) -> Vec<CheckItem> {
    let mut items = vec![of_file(config), of_servers(config)];
    items.push(host::state_folder(config));
    items.extend(host::certificates(config));
    items.extend(host::ports(config));
    items.extend(thieves::items());
    items
}

fn of_file(config: &Config) -> CheckItem {
    match config.file() {
        Some(file) => CheckItem::new("configuration", CheckState::Ok, "valid").from_file(file.display().to_string()),
        None => {
            let detail = format!("there is no {}: the built-in defaults hold", nuncio::config::DEFAULT_FILE);
            CheckItem::new("configuration", CheckState::Ok, detail)
        }
    }
}

fn of_servers(config: &Config) -> CheckItem {
    if config.servers.is_empty() {
        return CheckItem::new("servers", CheckState::Warning, "none is configured: no device registers anywhere")
            .with_hint(
                "add a [[server]] with name, uri and short_id; or the built-in one: [builtin_server] enabled = true",
            );
    }
    let named = config.servers.iter().take(4).map(|server| format!("{} ({})", server.name, server.uri));
    let mut detail = named.collect::<Vec<_>>().join(", ");
    if config.servers.len() > 4 {
        detail.push_str(&format!(" and {} more", config.servers.len() - 4));
    }
    CheckItem::new("servers", CheckState::Ok, detail)
}

fn of_config_error(error: &ConfigError) -> Vec<CheckItem> {
    let mut items: Vec<_> = error.errors.iter().map(|one| CheckItem::of_file_error("configuration", one)).collect();
    if error.more > 0 {
        items.push(CheckItem::new("configuration", CheckState::Error, format!("and {} more errors", error.more)));
    }
    items
}

fn rendered(document: &CheckDocument) -> String {
    let mut lines: Vec<String> = document.items.iter().map(item).collect();
    let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    lines.push(match (document.errors, document.warnings) {
        (0, 0) => "All is well.".to_owned(),
        (errors, warnings) => format!("{}, {}.", plural(errors, "error"), plural(warnings, "warning")),
    });
    lines.join("\n")
}

/// `STATE  WHAT: DETAIL (FILE)`, further lines and the hint below it. A drawing stands on its own.
fn item(item: &CheckItem) -> String {
    let state = word(&item.state);
    let file = item.file.as_ref().map_or_else(String::new, |file| match file.strip_prefix("(built in)") {
        Some(name) => format!(" (built in:{name})"),
        None => format!(" ({file})"),
    });
    let text = if item.detail.contains('\n') {
        format!("{state:8} {}:\n{}\n", item.what, item.detail)
    } else {
        format!("{state:8} {}: {}{file}", item.what, item.detail)
    };
    let text = item.hint.as_ref().map_or(text.clone(), |hint| format!("{text}\n         hint: {hint}"));
    match item.cure {
        Some(_) => format!("{text}\n         `sudo nuncio check --fix` can mend it"),
        None => text,
    }
}
