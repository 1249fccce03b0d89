//! `nuncio token` and `nuncio login`.

use std::time::Duration;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use nuncio::control::{Client, TokenOrder, TokenReport};
use nuncio::device::Role;

use super::code;
use super::output::{print, print_aside, print_json, table};
use super::status::time;

/// What a token is good for, as it is typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RoleName {
    /// Look
    ReadOnly,
    /// Look, and order: flash, roll back, approve, rename
    Operator,
}

impl RoleName {
    fn role(self) -> Role {
        match self {
            Self::ReadOnly => Role::ReadOnly,
            Self::Operator => Role::Operator,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// List those that are good for something
    List,
    /// Make one, and print it: it is kept nowhere
    Add {
        /// Its name: lower-case letters, digits, `-` and `_`
        name: String,
        /// What it is good for
        #[arg(long, value_name = "ROLE", default_value = "read-only")]
        role: RoleName,
        /// For so long, e.g. 90days; for ever without it
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        lifetime: Option<Duration>,
    },
    /// Make one worthless, at once
    Revoke {
        /// Its name
        name: String,
    },
}

pub(super) async fn token(client: Client, command: Option<TokenCommand>, json: bool) -> anyhow::Result<u8> {
    let order = match command.unwrap_or(TokenCommand::List) {
        TokenCommand::List => TokenOrder::List,
        TokenCommand::Add { name, role, lifetime } => {
            let lifetime_s = lifetime.map(|lifetime| lifetime.as_secs());
            TokenOrder::Add { name: Some(name), role: role.role(), lifetime_s }
        }
        TokenCommand::Revoke { name } => TokenOrder::Revoke { name },
    };
    let report = client.tokens(order).await?;
    if json {
        print_json("token/1", &report)?;
    } else if let Some(token) = &report.token {
        print(token);
        print_aside("Keep it: it is not shown again. Send it as `Authorization: Bearer TOKEN`.");
    } else {
        list(&report);
    }
    Ok(code::OK)
}

fn list(report: &TokenReport) {
    if report.tokens.is_empty() {
        return print("There is no token. `nuncio token add NAME` makes one, `nuncio login` a link to the page.");
    }
    let rows = report.tokens.iter().map(|token| {
        let expires = token.expires.map_or_else(|| "never".to_owned(), time);
        [token.name.clone(), token.role.as_str().to_owned(), time(token.since), expires]
    });
    print(&table(["NAME", "ROLE", "SINCE", "EXPIRES"], rows));
}

pub(super) async fn login(client: Client, role: RoleName, lifetime: Duration, json: bool) -> anyhow::Result<u8> {
    let order = TokenOrder::Add { name: None, role: role.role(), lifetime_s: Some(lifetime.as_secs()) };
    let report = client.tokens(order).await?;
    if json {
        print_json("token/1", &report)?;
        return Ok(code::OK);
    }
    let Some(token) = report.token else { bail!("the daemon made no token") };
    match report.page {
        // Behind `#` it stays in the browser: it is in no log, and no proxy sees it.
        Some(page) => print(&format!("{page}/login#{token}")),
        None => {
            print(&token);
            print_aside("The page is nowhere to be seen: [web] enabled = true and an address in `listen` show it.");
        }
    }
    Ok(code::OK)
}
