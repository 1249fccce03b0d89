//! `nuncio backup` and `nuncio restore`.

use std::path::{Path, PathBuf};

use clap::Args;
use nuncio::archive::{ArchiveError, Stop};
use nuncio::config::Config;
use nuncio::control::{BackupReport, RestoreReport};
use nuncio::gateway::{self, Taken, Wish};
use nuncio::store::StoreError;
use tokio::signal::unix::{SignalKind, signal};

use super::output::{print, print_aside, print_json};
use super::report::Fail;
use super::status::time;
use super::{code, passphrase};

/// `nuncio backup`.
#[derive(Debug, Args)]
pub(super) struct BackupWish {
    /// The file that is made; it must not be there yet
    file: PathBuf,
    /// Encrypt it with a passphrase: asked for, or from NUNCIO_PASSPHRASE
    #[arg(long)]
    encrypt: bool,
    /// File whose first line is the passphrase; encrypts
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Print JSON (docs/schema/backup-1.json)
    #[arg(long)]
    pub(super) json: bool,
}

/// `nuncio restore`.
#[derive(Debug, Args)]
pub(super) struct RestoreWish {
    /// The backup
    file: PathBuf,
    /// State folder that is filled, where it is another one than that of the gateway that was backed up
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Take the place of a gateway that is here; what is there is kept aside
    #[arg(long)]
    force: bool,
    /// Only read it from beginning to end and hold it against its digests
    #[arg(long, conflicts_with_all = ["force", "state"])]
    verify: bool,
    /// File whose first line is the passphrase; else it is asked for, or from NUNCIO_PASSPHRASE
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Print JSON (docs/schema/restore-1.json)
    #[arg(long)]
    pub(super) json: bool,
}

/// Writes a backup.
pub(super) async fn backup(config: Config, wish: BackupWish) -> anyhow::Result<u8> {
    let json = wish.json;
    let report = until_signalled(move |stop| {
        let sealed = wish.encrypt || wish.passphrase_file.is_some();
        let passphrase = sealed.then(|| passphrase::get(wish.passphrase_file.as_deref(), true)).transpose()?;
        gateway::back_up(&config, &wish.file, passphrase.as_ref(), stop)
    })
    .await?;
    if json {
        print_json("backup/1", &report)?;
    } else {
        print(&format!("{} is in {}.", contents(&report), report.file.display()));
        backed_up(&report);
    }
    Ok(code::OK)
}

fn backed_up(report: &BackupReport) {
    named(&report.named_only);
    if !report.at_rest {
        print_aside("The gateway was busy: what updates under way had got to may be some seconds apart in it.");
    }
    if !report.encrypted {
        print_aside(
            "It opens this gateway to whoever has it (keys, tokens' digests, the configuration): --encrypt seals it.",
        );
    }
}

/// Puts a backup in place, or looks at it.
pub(super) async fn restore(config: Option<&Path>, wish: RestoreWish) -> anyhow::Result<u8> {
    let json = wish.json;
    let config = config.map(Path::to_owned);
    let report = until_signalled(move |stop| {
        let RestoreWish { file, state, force, verify, passphrase_file, .. } = wish;
        let wish = Wish { file, config, state, force, only_verify: verify };
        gateway::restore(&wish, || passphrase::get(passphrase_file.as_deref(), false), stop)
    })
    .await?;
    if json {
        print_json("restore/1", &report)?;
    } else {
        restored(&report);
    }
    Ok(code::OK)
}

fn restored(report: &RestoreReport) {
    let contents = contents(&report.backup);
    if !report.restored {
        print(&format!("{contents}: all of it is as it was written."));
        return named(&report.backup.named_only);
    }
    print(&format!("{contents}: in {} and {}.", report.state.display(), report.config.display()));
    if !report.changed.is_empty() {
        print(&format!("Other than there, in the configuration: {}.", report.changed.join(", ")));
    }
    for aside in &report.aside {
        print(&format!("What was here before is in {}.", aside.display()));
    }
    report.notes.iter().for_each(|note| print_aside(note));
    named(&report.backup.named_only);
    print_aside(
        "What was done to boards since is not known here. Where the other gateway still runs, stop it for good before \
         this one starts: both are the same devices to the servers. Then: `nuncio check`, as the user that the daemon \
         runs as.",
    );
}

/// `pi of 2026-11-28 12:00:00, 14 files with 1048576 bytes, encrypted`.
fn contents(report: &BackupReport) -> String {
    let BackupReport { gateway, made, files, bytes, .. } = report;
    let sealed = if report.encrypted { ", encrypted" } else { "" };
    format!("Gateway {gateway} of {}, {files} files with {bytes} bytes{sealed}", time(*made))
}

fn named(only: &[PathBuf]) {
    if !only.is_empty() {
        let paths: Vec<String> = only.iter().map(|path| path.display().to_string()).collect();
        print_aside(&format!("Named in the configuration, and not in the backup: {}.", paths.join(", ")));
    }
}

/// Work that a signal ends, having cleaned up.
async fn until_signalled<T: Send + 'static>(
    work: impl FnOnce(&Stop) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let stop = Stop::default();
    let asked = stop.clone();
    let mut signals = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        signals.push(signal(kind)?);
    }
    let [mut interrupt, mut terminate, mut hangup]: [_; 3] =
        signals.try_into().map_err(|_| anyhow::anyhow!("three signals were listened for"))?;
    let mut work = std::pin::pin!(tokio::task::spawn_blocking(move || work(&asked)));
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome?,
            _ = interrupt.recv() => stop.set(),
            _ = terminate.recv() => stop.set(),
            _ = hangup.recv() => stop.set(),
        }
    };
    outcome.map_err(explained)
}

/// With its exit code and what to do.
fn explained(error: anyhow::Error) -> anyhow::Error {
    let message = format!("{error:#}");
    let (code, hint) = if let Some(ArchiveError::Stopped) = error.downcast_ref() {
        (code::CANCELLED, None)
    } else if let Some(StoreError::InUse { .. }) = error.downcast_ref() {
        (code::NOT_NOW, Some("stop the daemon first: systemctl stop nuncio"))
    } else if error.downcast_ref::<Taken>().is_some() {
        (code::FAILED, Some("--force takes its place; what is there is kept aside"))
    } else if message.contains("Permission denied") {
        (code::FAILED, Some("run it as root, or as the user that the daemon runs as"))
    } else {
        return error;
    };
    Fail { code, message, hint: hint.map(str::to_owned) }.into()
}
