//! `nuncio report`: all that a bug report needs in one file, without secrets, for people to look at before they send it. It
//! works also where the daemon does not run or the configuration is broken.

mod host;
mod redact;

use std::future::Future;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use nuncio::archive::{self, Item, Source, Stop};
use nuncio::config::{self, Config, ConfigError, DEFAULT_FILE};
use nuncio::control::{CheckItem, Client, ClientError};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use super::output::{document, print, print_aside, print_json, table};
use super::{check, code};

use redact::Redactor;

/// A daemon that does not answer within that is written down as one.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many updates are listed.
const UPDATES: u32 = 50;
/// So many devices and ports are asked why they are what they are.
const WHYS: usize = 32;
/// Longest file of the configuration that is taken, in bytes.
const MAX_TEXT: u64 = 4 << 20;
/// Most files of boards and tools.
const MAX_TEXTS: usize = 200;
/// Longest part in bytes.
const MAX_PART: usize = 32 << 20;
/// What the gateway keeps of its own as a secret, in the state folder: part of the URIs of images.
const OWN: &str = "builtin/secret";
/// Longest recording.
const MAX_RECORDING: Duration = Duration::from_secs(600);

/// `nuncio report`.
#[derive(Debug, Args)]
pub(super) struct BundleWish {
    /// The file that is made, e.g. report.tar.gz; it must not be there yet
    file: PathBuf,
    /// So many last lines of the log
    #[arg(long, value_name = "LINES", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(..=100_000))]
    log_lines: u32,
    /// Record what the transports see and say for so long, e.g. while a board is plugged in; 0s: not at all
    #[arg(long = "record", value_name = "TIME", default_value = "5s", value_parser = humantime::parse_duration)]
    recording: Duration,
    #[command(flatten)]
    pub(super) asking: super::Asking,
}

/// `docs/schema/report-1.json`.
#[derive(Debug, Serialize)]
struct BundleReport {
    file: PathBuf,
    parts: Vec<PartReport>,
    missing: Vec<MissingReport>,
    masked: usize,
}

#[derive(Debug, Serialize)]
struct PartReport {
    name: String,
    bytes: usize,
    what: &'static str,
}

#[derive(Debug, Serialize)]
struct MissingReport {
    what: &'static str,
    why: String,
}

/// Puts it together.
pub(super) async fn bundle(
    chosen: Option<&Path>,
    checks: fn(&Config) -> Vec<CheckItem>,
    wish: BundleWish,
) -> anyhow::Result<u8> {
    let json = wish.asking.json;
    if wish.file.symlink_metadata().is_ok() {
        return Err(archive::ArchiveError::Exists(wish.file).into());
    }
    let gathered = tokio::select! {
        gathered = gather(chosen, checks, &wish) => gathered?,
        _ = tokio::signal::ctrl_c() => return Err(archive::ArchiveError::Stopped.into()),
    };
    let report = gathered.write(&wish.file)?;
    if json {
        print_json("report/1", &report)?;
    } else {
        tell(&report);
    }
    Ok(code::OK)
}

fn tell(report: &BundleReport) {
    let rows = report.parts.iter().map(|part| [part.name.clone(), part.bytes.to_string(), part.what.to_owned()]);
    print(&table(["PART", "BYTES", "WHAT"], rows));
    for missing in &report.missing {
        print(&format!("Not in it: {} ({})", missing.what, missing.why));
    }
    let file = report.file.display();
    print(&format!("\n{file} is written; {} places in it are masked as secrets.", report.masked));
    print_aside(&format!(
        "Names, addresses, serial numbers and what boards and tools print are in it. Look at it before you send it:\n  \
         tar xzf {file}"
    ));
}

/// What is in a bundle.
struct Gathered {
    redactor: Redactor,
    parts: Vec<(PartReport, String)>,
    missing: Vec<MissingReport>,
}

async fn gather(
    chosen: Option<&Path>,
    checks: fn(&Config) -> Vec<CheckItem>,
    wish: &BundleWish,
) -> anyhow::Result<Gathered> {
    let loaded = config::load(chosen);
    let file = chosen.unwrap_or(Path::new(DEFAULT_FILE));
    let texts = texts(file);
    let own = loaded.as_ref().ok().and_then(|config| read(&config.gateway.state.join(OWN)).ok());
    let redactor =
        Redactor::new(texts.iter().filter_map(|(_, text)| text.as_deref().ok()), own.map(|own| own.trim().to_owned()))?;
    let mut gathered = Gathered { redactor, parts: Vec::new(), missing: Vec::new() };
    gathered.text("system.txt", "version, system, kernel, user", &host::system());
    gathered.check(&loaded, checks);
    for (path, text) in texts {
        match text {
            Ok(text) => {
                let masked = gathered.redactor.toml(&text);
                gathered.add(format!("config/{path}"), "configuration, without its secrets and comments", masked);
            }
            Err(error) => gathered.lacks("a file of the configuration", format!("{path}: {error}")),
        }
    }
    let state = loaded.as_ref().map(|config| config.gateway.state.clone());
    match state {
        Ok(state) => gathered.text("state.txt", "names and sizes in the state folder", &host::state(&state)),
        Err(_) => gathered.lacks("the state folder", "the configuration does not say where it is"),
    }
    gathered.text("ports.txt", "ports and USB devices", &host::ports());
    gathered.text("modules.txt", "kernel modules for ports", &host::modules());
    gathered.said("log.txt", "the last lines of the daemon's log", host::log(wish.log_lines).await);
    gathered.said("kernel.txt", "what the kernel said of ports", host::kernel_log().await);
    gathered.said("unit.txt", "how systemd sees the daemon", host::unit().await);
    match wish.asking.socket.clone().map_or_else(|| config::socket(chosen), Ok) {
        Ok(socket) => gathered.daemon(&Client::new(socket), wish.recording.min(MAX_RECORDING)).await,
        Err(error) => gathered.lacks("the daemon", format!("where is its socket? {error}")),
    }
    Ok(gathered)
}

/// The configuration, and boards and tools beside it.
fn texts(file: &Path) -> Vec<(String, std::io::Result<String>)> {
    let mut texts = vec![("nuncio.toml".to_owned(), read(file))];
    for folder in ["boards.d", "flash-tools"] {
        let beside = file.parent().unwrap_or(Path::new("/")).join(folder);
        let entries = std::fs::read_dir(beside).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "toml"));
        files.sort();
        for file in files.iter().take(MAX_TEXTS) {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            texts.push((format!("{folder}/{name}"), read(file)));
        }
    }
    texts
}

fn read(file: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(MAX_TEXT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Gathered {
    fn add(&mut self, name: String, what: &'static str, mut text: String) {
        if text.len() > MAX_PART {
            let end = (0..=MAX_PART).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
        }
        self.parts.push((PartReport { name, bytes: text.len(), what }, text));
    }

    fn lacks(&mut self, what: &'static str, why: impl AsRef<str>) {
        let why = self.redactor.drawn(why.as_ref());
        self.missing.push(MissingReport { what, why });
    }

    /// Text of others.
    fn text(&mut self, name: &str, what: &'static str, text: &str) {
        let text = self.redactor.text(text);
        self.add(name.to_owned(), what, text);
    }

    fn said(&mut self, name: &str, what: &'static str, said: Result<String, String>) {
        match said {
            Ok(text) => self.text(name, what, &text),
            Err(why) => self.lacks(what, why),
        }
    }

    fn json<T: Serialize>(&mut self, name: &str, what: &'static str, schema: &'static str, content: &T) {
        let text = document(schema, content, false).map_err(|error| error.to_string());
        let value = text.and_then(|text| serde_json::from_str::<Value>(&text).map_err(|error| error.to_string()));
        match value.map(|value| format!("{:#}\n", self.redactor.json(value))) {
            Ok(text) => self.add(name.to_owned(), what, text),
            Err(why) => self.lacks(what, why),
        }
    }

    fn check(&mut self, loaded: &Result<Config, ConfigError>, checks: fn(&Config) -> Vec<CheckItem>) {
        let mut found = check::document(loaded, checks);
        for item in &mut found.items {
            item.detail = self.redactor.drawn(&item.detail);
        }
        self.json("check.json", "what `nuncio check` finds", "check/1", &found);
    }

    async fn daemon(&mut self, client: &Client, recording: Duration) {
        match answer(client.status(None)).await {
            Ok(status) => self.json("status.json", "gateway, servers, devices, updates", "status/1", &status),
            // Nothing of what follows is to be had then.
            Err(why) => return self.lacks("what the daemon knows", why),
        }
        match answer(client.devices()).await {
            Ok(list) => {
                self.json("devices.json", "devices, and ports that are none", "devices/1", &list);
                let devices = list.devices.iter().map(|device| device.id.to_string());
                let subjects = devices.chain(list.links.iter().map(|link| link.link.to_string()));
                self.whys(client, subjects.take(WHYS).collect()).await;
            }
            Err(why) => self.lacks("the devices", why),
        }
        match answer(client.history(None, false, Some(UPDATES))).await {
            Ok(history) => self.json("history.json", "the last 50 updates", "history/1", &history),
            Err(why) => self.lacks("the history", why),
        }
        self.last_failure(client).await;
        if !recording.is_zero() {
            match tape(client, recording).await {
                Ok(lines) => {
                    let told = lines.into_iter().map(|line| format!("{}\n", self.redactor.json(line))).collect();
                    self.add("transports.tape".to_owned(), "what the transports saw and said meanwhile", told);
                }
                Err(why) => self.lacks("a recording", why),
            }
        }
    }

    async fn whys(&mut self, client: &Client, subjects: Vec<String>) {
        let mut whys = Vec::new();
        for subject in subjects {
            match answer(client.why(&subject)).await {
                Ok(why) => whys.push(serde_json::to_value(why).unwrap_or_default()),
                Err(why) => self.lacks("why one of them is what it is", format!("{subject}: {why}")),
            }
        }
        let told = format!("{:#}\n", self.redactor.json(Value::Array(whys)));
        self.add("why.json".to_owned(), "why they are taken for what they are", told);
    }

    async fn last_failure(&mut self, client: &Client) {
        let failed = answer(client.history(None, true, Some(1))).await;
        let Some(row) = failed.ok().and_then(|history| history.updates.into_iter().next()) else {
            return self.lacks("the last update that failed", "none is on record");
        };
        match answer(client.update(&row.update.to_string())).await {
            Ok(update) => self.json("failed-update.json", "the last update that failed, whole", "show/1", &update),
            Err(why) => self.lacks("the last update that failed", why),
        }
    }

    fn write(self, file: &Path) -> anyhow::Result<BundleReport> {
        let masked = self.redactor.masked();
        let made = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let made = i64::try_from(made).unwrap_or_default();
        let readme = self.readme();
        let what = "what this is";
        let first = (PartReport { name: "README.txt".to_owned(), bytes: readme.len(), what }, readme);
        let all: Vec<_> = std::iter::once(first).chain(self.parts).collect();
        let item = |(part, text): &(PartReport, String)| Item {
            path: part.name.clone(),
            from: Source::Bytes(text.clone().into_bytes()),
            mode: 0o600,
        };
        let items: Vec<Item> = all.iter().map(item).collect();
        let folder = format!("nuncio-report-{made}");
        archive::bundle(file, &folder, made, &items, &Stop::default()).context("the report cannot be written")?;
        let parts = all.into_iter().map(|(part, _)| part).collect();
        Ok(BundleReport { file: file.to_owned(), parts, missing: self.missing, masked })
    }

    fn readme(&self) -> String {
        let mut text = format!(
            "A report of nuncio {}.\n\nValues of keys that sound like secrets, credentials in URIs and what looks like a \
             key are masked as ***. Names,\naddresses, serial numbers and what boards and tools print are not: look at it \
             before you send it.\n\n",
            env!("CARGO_PKG_VERSION")
        );
        for (part, _) in &self.parts {
            text.push_str(&format!("{:24} {}\n", part.name, part.what));
        }
        for missing in &self.missing {
            text.push_str(&format!("not in it: {}: {}\n", missing.what, missing.why));
        }
        text
    }
}

async fn answer<T>(question: impl Future<Output = Result<T, ClientError>>) -> Result<T, String> {
    match timeout(PATIENCE, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("{:#}", anyhow::Error::new(error))),
        Err(_) => Err("the daemon does not answer".to_owned()),
    }
}

/// What comes within this time.
async fn tape(client: &Client, recording: Duration) -> Result<Vec<Value>, String> {
    let mut lines = answer(client.record()).await?;
    let mut told = Vec::new();
    let all = async {
        loop {
            let line = lines.next().await.map_err(|error| error.to_string())?;
            told.push(serde_json::to_value(line).unwrap_or_default());
        }
    };
    match timeout(recording, all).await {
        Ok(Err(error)) => {
            let error: String = error;
            if told.is_empty() { Err(error) } else { Ok(told) }
        }
        Ok(Ok(())) | Err(_) => Ok(told),
    }
}
