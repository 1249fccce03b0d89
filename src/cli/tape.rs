//! `nuncio record` and `nuncio replay`.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use nuncio::config::{Config, Replay};
use nuncio::control::{Client, Ending, Lifecycle, LifecycleOrder};
use nuncio::device::{TAPE_SCHEMA, TapeEvent, TapeLine};
use tokio::sync::{mpsc, oneshot};

use super::output::{print, print_aside};
use super::{code, devices, logging};

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
    let folder = Folder::new()?;
    let last = lines.last().map_or(0, |line| line.at_ms);
    config.gateway.state = folder.0.join("state");
    config.gateway.socket = folder.0.join("control.sock");
    config.servers.clear();
    // As far as the recorded gateway went; nothing here can be disturbed.
    if let Some(TapeEvent::Began { questions, .. }) = lines.first().map(|line| &line.event) {
        config.serial.questions = *questions;
    }
    config.replay = Some(Replay { lines, at_once: how.at_once });
    let filter = how.log.clone().unwrap_or_else(|| "error".to_owned());
    let log = logging::start(Some(filter), &config.gateway.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let wait = if how.at_once { SETTLE } else { SETTLE + Duration::from_millis(last) };
    let client = Client::new(config.gateway.socket.clone());
    let outcome = runtime.block_on(async {
        let (orders, taken) = mpsc::channel(4);
        let (ready, is_ready) = oneshot::channel();
        let mut running = std::pin::pin!(gateway(config, Lifecycle { orders: taken, ready, log }));
        let watching = async {
            is_ready.await.context("the gateway did not start")?;
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            let told = devices::devices(client, how.json).await;
            let _ = orders.send(LifecycleOrder::Stop).await;
            told
        };
        let mut watching = std::pin::pin!(watching);
        tokio::select! {
            ended = &mut running => ended.map(|_| code::FAILED),
            told = &mut watching => {
                running.await?;
                told
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// How a tape is played.
#[derive(Debug)]
pub(crate) struct How {
    pub(crate) at_once: bool,
    pub(crate) json: bool,
    pub(crate) log: Option<String>,
}

/// A folder for one replay; it goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("nuncio-replay-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Whatever is left of it is in the system's own folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
