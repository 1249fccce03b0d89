//! The folder that a run leaves: `events.tsv`, `samples.csv`, `daemon.log`, `plan.txt`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What happened, one a line: seconds since 1970, kind, subject, detail.
pub(super) const EVENTS: &str = "events.tsv";
/// What the daemon held.
pub(super) const SAMPLES: &str = "samples.csv";
/// All that it logged.
pub(super) const LOG: &str = "daemon.log";
/// What was asked for: `key=value` lines.
pub(super) const PLAN: &str = "plan.txt";

/// The folder, while a run fills it.
pub(super) struct Record {
    folder: PathBuf,
    events: Mutex<File>,
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

impl Record {
    pub(super) fn begin(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder for what is written down");
        let events = Mutex::new(File::create(folder.join(EVENTS)).expect("a writable folder"));
        Self { folder: folder.to_owned(), events }
    }

    pub(super) fn file(&self, name: &str) -> File {
        File::create(self.folder.join(name)).expect("a writable folder")
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("a writable folder");
    }

    pub(super) fn event(&self, kind: &str, subject: &str, detail: &str) {
        let detail = detail.replace(['\n', '\t'], " ");
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(events, "{:.3}\t{kind}\t{subject}\t{detail}", now()).expect("a writable folder");
    }
}

/// One event, read again.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) at: f64,
    pub(super) kind: String,
    pub(super) subject: String,
    pub(super) detail: String,
}

impl Event {
    pub(super) fn all(folder: &Path) -> Vec<Self> {
        let text = fs::read_to_string(folder.join(EVENTS)).unwrap_or_default();
        text.lines().filter_map(Self::read).collect()
    }

    fn read(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, '\t').map(str::to_owned);
        let at = parts.next()?.parse().ok()?;
        Some(Self { at, kind: parts.next()?, subject: parts.next()?, detail: parts.next()? })
    }
}
