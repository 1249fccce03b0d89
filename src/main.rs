//! The program: arguments in, exit code out.
//!
//! Here the daemon's inside is plugged into the command line; everything else is in `cli`.

mod cli;

use std::process::ExitCode;

use anyhow::bail;
use nuncio::config::Config;
use nuncio::control::{CheckItem, Lifecycle};

fn main() -> ExitCode {
    cli::main(gateway, checks)
}

/// The gateway's event loop is wired in here.
async fn gateway(_config: Config, _lifecycle: Lifecycle) -> anyhow::Result<()> {
    bail!("the gateway is not wired in yet")
}

/// What boards, tools and transports have to say to `nuncio check`.
fn checks(_config: &Config) -> Vec<CheckItem> {
    Vec::new()
}
