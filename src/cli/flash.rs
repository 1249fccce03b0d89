//! `nuncio flash` and `nuncio rollback`.

mod progress;

use std::path::{Path, PathBuf};
use std::pin::pin;

use anyhow::Context;
use nuncio::control::{Client, ClientError, FailureCode, FlashItem, FlashStream, Outcome, Verdict};

use super::report::Fail;
use super::{code, output};
use progress::Progress;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What is to be flashed, checked as far as it can be from here.
#[derive(Debug)]
pub(crate) struct Order {
    pub(super) device: String,
    pub(super) image: PathBuf,
    pub(super) version: Option<String>,
    pub(super) now: bool,
}

impl Order {
    /// The daemon runs elsewhere: it needs an absolute path.
    pub(crate) fn new(device: String, image: &Path, version: Option<String>, now: bool) -> anyhow::Result<Self> {
        let usage = |message: String| Fail { code: code::USAGE, message, hint: None };
        let found = image.canonicalize().map_err(|error| usage(format!("{}: {error}", image.display())))?;
        if !found.is_file() {
            return Err(usage(format!("{}: not a file", image.display())).into());
        }
        if version.as_deref() == Some("") {
            return Err(usage("the expected version is empty".to_owned()).into());
        }
        Ok(Self { device, image: found, version, now })
    }
}

pub(crate) async fn flash(client: Client, order: Order, json: bool) -> anyhow::Result<u8> {
    let interrupts = interrupts()?;
    let handed = client.hand(&order.image).await?;
    let stream = client.flash(&order.device, handed.path(), order.version.as_deref(), order.now).await?;
    watch(client, stream, interrupts, order.device, json).await
}

/// `nuncio rollback`: the same, with the image that the daemon has kept.
pub(crate) async fn rollback(client: Client, device: String, json: bool) -> anyhow::Result<u8> {
    let interrupts = interrupts()?;
    let stream = client.rollback(&device).await?;
    watch(client, stream, interrupts, device, json).await
}

/// Listening before anything begins: from here on Ctrl-C is a wish, not the end.
fn interrupts() -> anyhow::Result<Signal> {
    signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")
}

async fn watch(
    client: Client,
    stream: FlashStream,
    interrupts: Signal,
    device: String,
    json: bool,
) -> anyhow::Result<u8> {
    let progress = Progress::new(&device, json);
    let mut watch = Watch { stream, interrupts, client, device, progress, cancelled: false };
    let outcome = watch.until_the_end().await;
    watch.progress.clear();
    match outcome? {
        Some(verdict) => conclude(&verdict, watch.cancelled, json),
        None => {
            let device = &watch.device;
            output::print_aside(&format!("The daemon goes on; `nuncio status {device}` tells how it went."));
            Ok(code::DETACHED)
        }
    }
}

/// A flash that somebody watches.
struct Watch {
    stream: FlashStream,
    interrupts: Signal,
    client: Client,
    device: String,
    progress: Progress,
    /// Ctrl-C came, and the daemon cancels.
    cancelled: bool,
}

impl Watch {
    /// The verdict; `None` when Ctrl-C came and the daemon goes on.
    async fn until_the_end(&mut self) -> anyhow::Result<Option<Verdict>> {
        loop {
            match self.next().await {
                Some(item) => match item? {
                    FlashItem::Event(event) => self.progress.tell(&event)?,
                    FlashItem::Verdict(verdict) => return Ok(Some(verdict)),
                },
                None => return Ok(None),
            }
        }
    }

    async fn next(&mut self) -> Option<Result<FlashItem, ClientError>> {
        // One future until it is through: dropped half-way, it would lose what it has read of a line.
        let mut item = pin!(self.stream.next());
        loop {
            tokio::select! {
                item = &mut item => return Some(item),
                Some(()) = self.interrupts.recv() => {
                    if self.cancelled || !cancel(&self.client, &self.device).await {
                        return None;
                    }
                    self.cancelled = true;
                }
            }
        }
    }
}

/// Whether the daemon cancels.
async fn cancel(client: &Client, device: &str) -> bool {
    match client.cancel(device).await {
        Ok(()) => return true,
        Err(ClientError::Refused(failure)) if failure.code == FailureCode::NotNow => {
            output::print_aside("It is too late to cancel.");
        }
        Err(error) => output::print_aside(&format!("The daemon could not be told to cancel: {error}.")),
    }
    false
}

fn conclude(verdict: &Verdict, cancelled: bool, json: bool) -> anyhow::Result<u8> {
    if json {
        output::print_json("flash/1", &serde_json::json!({ "verdict": verdict })).context("the verdict")?;
    } else {
        output::print(&sentence(verdict));
    }
    Ok(match verdict.outcome {
        Outcome::Proven => code::OK,
        Outcome::Cancelled if cancelled => code::CANCELLED,
        Outcome::Cancelled | Outcome::Failed => code::FAILED,
    })
}

fn sentence(verdict: &Verdict) -> String {
    let seconds = format!("{}.{} s", verdict.took_ms / 1000, verdict.took_ms % 1000 / 100);
    let reason = verdict.reason.as_deref().unwrap_or("no reason was given");
    let now = verdict.version.as_ref();
    match verdict.outcome {
        Outcome::Proven => match now {
            Some(version) => format!("Proven: {} runs {} ({seconds}).", verdict.device, version.text),
            None => format!("Proven: {} holds exactly the image ({seconds}).", verdict.device),
        },
        Outcome::Failed => format!("Failed: {}: {reason}", verdict.device),
        Outcome::Cancelled => format!("Cancelled: {} was not flashed.", verdict.device),
    }
}
