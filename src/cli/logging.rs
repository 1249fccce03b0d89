//! The log of `nuncio run`: standard error, in the journal's own form when systemd reads it.

use std::io::{IsTerminal, Write};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, anyhow};
use nuncio::control::LogControl;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

/// Starts the log. The filter is `--log`, else `RUST_LOG`, else `[gateway] log`; only the last may change later.
pub(super) fn start(option: Option<String>, configured: &str) -> anyhow::Result<LogControl> {
    let fixed = option.or_else(|| std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty()));
    let filter = parse(fixed.as_deref().unwrap_or(configured)).map_err(|error| anyhow!(error)).context("log filter")?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = if journal_reads() {
        fmt::layer().with_ansi(false).with_level(false).without_time().with_writer(JournalWriter).boxed()
    } else {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        fmt::layer().with_ansi(colours).with_writer(std::io::stderr).boxed()
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().context("cannot start the log")?;
    if fixed.is_some() {
        return Ok(LogControl::fixed());
    }
    Ok(LogControl::new(move |filter| handle.reload(parse(filter)?).map_err(|error| error.to_string())))
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(filter).map_err(|error| format!("`{filter}` is no log filter: {error}"))
}

/// Whether standard error is the journal's: systemd names the stream in `JOURNAL_STREAM` as `DEVICE:INODE`, and a child
/// that inherited the variable but not the stream must not be fooled.
fn journal_reads() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    let stream = std::fs::metadata("/proc/self/fd/2");
    stream.is_ok_and(|stream| named == format!("{}:{}", stream.dev(), stream.ino()))
}

/// Puts the priority before each line, as `sd-daemon(3)` has it.
struct JournalWriter;

impl<'a> MakeWriter<'a> for JournalWriter {
    type Writer = Prefixed<std::io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Prefixed { priority: 6, to: std::io::stderr() }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        Prefixed { priority: priority(*meta.level()), to: std::io::stderr() }
    }
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// A writer that is given whole events.
struct Prefixed<W> {
    priority: u8,
    to: W,
}

impl<W: Write> Write for Prefixed<W> {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let mut out = Vec::with_capacity(event.len() + 4);
        for line in event.split_inclusive(|&byte| byte == b'\n') {
            write!(out, "<{}>", self.priority)?;
            out.extend_from_slice(line);
        }
        self.to.write_all(&out)?;
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_an_event_carries_its_priority() {
        let mut writer = Prefixed { priority: priority(Level::WARN), to: Vec::new() };
        writer.write_all(b"one\ntwo\n").expect("memory");
        assert_eq!(writer.to, b"<4>one\n<4>two\n");
    }
}
