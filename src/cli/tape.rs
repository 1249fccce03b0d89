//! `nuncio record` and `nuncio replay`.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use nuncio::config::{Config, Replay};
use nuncio::control::{Client, Ending, Lifecycle};
use nuncio::device::{TAPE_SCHEMA, TapeEvent, TapeLine};

use super::output::{print, print_aside};
use super::{code, devices, moment};

/// Longest tape, in bytes.
const MAX_TAPE: u64 = 256 << 20;
/// How long a played gateway may take to make up its mind after the last line.
const SETTLE: Duration = Duration::from_millis(1500);

/// Writes down what the daemon's transports see and say until Ctrl-C, or for a time.
pub(crate) async fn record(client: Client, file: &Path, duration: Option<Duration>) -> anyhow::Result<u8> {
    // Serial numbers and addresses are nobody else's business.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut tape = made.with_context(|| format!("cannot make {}", file.display()))?;
    let mut lines = client.record().await?;
    print_aside(&format!("Recording into {}; Ctrl-C ends it.", file.display()));
    let mut end = std::pin::pin!(async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    });
    let mut count = 0_u32;
    loop {
        tokio::select! {
            line = lines.next() => {
                let text = serde_json::to_string(&line?)?;
                writeln!(tape, "{text}").with_context(|| format!("cannot write {}", file.display()))?;
                count += 1;
            }
            () = &mut end => break,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    tape.sync_all()?;
    print(&format!("{count} lines in {}. `nuncio replay {}` plays them.", file.display(), file.display()));
    Ok(code::OK)
}

/// Reads a tape.
pub(crate) fn read(file: &Path) -> anyhow::Result<Vec<TapeLine>> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut lines = Vec::new();
    for (number, text) in BufReader::new(opened.take(MAX_TAPE)).lines().enumerate() {
        let place = || format!("{}:{}", file.display(), number + 1);
        let text = text.with_context(place)?;
        let line: TapeLine = serde_json::from_str(&text).with_context(|| format!("{}: no line of a tape", place()))?;
        match &line.event {
            TapeEvent::Began { schema, .. } if *schema != TAPE_SCHEMA => {
                bail!("{}: a tape of layout {schema}; this program plays layout {TAPE_SCHEMA}", place())
            }
            _ if number == 0 && !matches!(line.event, TapeEvent::Began { .. }) => {
                bail!("{}: not the beginning of a tape", place())
            }
            _ => lines.push(line),
        }
    }
    Ok(lines)
}

/// Plays a tape to a daemon of its own, without servers and with a state that is thrown away, and lists its devices.
pub(crate) fn replay<F, G>(mut config: Config, lines: Vec<TapeLine>, how: &How, gateway: G) -> anyhow::Result<u8>
where
    G: FnOnce(Config, Lifecycle) -> F,
    F: Future<Output = anyhow::Result<Ending>>,
{
    let last = lines.last().map_or(0, |line| line.at_ms);
    config.servers.clear();
    // As far as the recorded gateway went; nothing here can be disturbed.
    if let Some(TapeEvent::Began { questions, .. }) = lines.first().map(|line| &line.event) {
        config.serial.questions = *questions;
    }
    config.replay = Some(Replay { lines, at_once: how.at_once });
    let wait = if how.at_once { SETTLE } else { SETTLE + Duration::from_millis(last) };
    let log = how.log.clone().unwrap_or_else(|| "error".to_owned());
    moment::with_gateway(config, log, gateway, async |client| {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        devices::devices(client, how.json).await
    })
}

/// How a tape is played.
#[derive(Debug)]
pub(crate) struct How {
    pub(crate) at_once: bool,
    pub(crate) json: bool,
    pub(crate) log: Option<String>,
}
