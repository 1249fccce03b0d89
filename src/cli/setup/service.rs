//! The service manager, as far as a setup needs it.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

/// Where systemd says that it runs (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";
/// The service of the package.
const UNIT: &str = "nuncio.service";

/// Whether there is somebody to start it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    /// It runs with the new configuration, or is about to.
    Yes,
    /// systemd does not run here, or does not know of it.
    NoService,
}

/// Has the service start at every boot, and now (again).
///
/// # Errors
/// When it cannot be started.
pub(super) async fn restart() -> anyhow::Result<Started> {
    if !Path::new(BOOTED).exists() || !systemctl(&["cat", UNIT]).await?.0 {
        return Ok(Started::NoService);
    }
    for order in [["enable", UNIT], ["restart", UNIT]] {
        let (done, said) = systemctl(&order).await?;
        if !done {
            bail!("`systemctl {}` failed: {}\nmore: journalctl -u nuncio", order.join(" "), said.trim());
        }
    }
    Ok(Started::Yes)
}

/// Whether it went well, and what it said.
async fn systemctl(arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let mut command = Command::new("systemctl");
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().await.context("cannot run systemctl")?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
}
