//! The log of `nuncio run`: standard error, in the journal's own form when systemd reads it. No event is longer than a bound,
//! whatever a device or server told.

use std::io::{IsTerminal, Write};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, anyhow};
use nuncio::control::LogControl;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

/// Longest event in bytes. journald takes lines of 48 KiB unless told otherwise, and splits longer ones.
const MAX_EVENT: usize = 16 * 1024;

/// Starts the log. The filter is `--log`, else `RUST_LOG`, else `[gateway] log`; only the last may change later.
pub(super) fn start(option: Option<String>, configured: &str) -> anyhow::Result<LogControl> {
    let fixed = option.or_else(|| std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty()));
    let filter = parse(fixed.as_deref().unwrap_or(configured)).map_err(|error| anyhow!(error)).context("log filter")?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = if journal_reads() {
        fmt::layer().with_ansi(false).with_level(false).without_time().with_writer(Writers { journal: true }).boxed()
    } else {
        let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        fmt::layer().with_ansi(colours).with_writer(Writers { journal: false }).boxed()
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

/// Makes what events are written through.
struct Writers {
    /// Puts the priority before each line, as `sd-daemon(3)` has it.
    journal: bool,
}

impl<'a> MakeWriter<'a> for Writers {
    type Writer = Events<std::io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Events { priority: self.journal.then_some(6), to: std::io::stderr() }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Self::Writer {
        Events { priority: self.journal.then(|| priority(*meta.level())), to: std::io::stderr() }
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
struct Events<W> {
    priority: Option<u8>,
    to: W,
}

impl<W: Write> Write for Events<W> {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let event_length = event.len();
        let (event, more) = bounded(event);
        let mut out = Vec::with_capacity(event.len() + more.len() + 4);
        for line in event.split_inclusive(|&byte| byte == b'\n') {
            if let Some(priority) = self.priority {
                write!(out, "<{priority}>")?;
            }
            out.extend_from_slice(line);
        }
        out.extend_from_slice(more.as_bytes());
        self.to.write_all(&out)?;
        Ok(event_length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// As much of an event as is written, and what is said of the rest.
fn bounded(event: &[u8]) -> (&[u8], String) {
    if event.len() <= MAX_EVENT {
        return (event, String::new());
    }
    // Not within a character.
    let end = (0..=MAX_EVENT).rev().find(|at| event[*at] & 0xc0 != 0x80).unwrap_or(0);
    (&event[..end], format!(" ... and {} bytes more\n", event.len() - end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(priority: Option<u8>, event: &[u8]) -> Vec<u8> {
        let mut writer = Events { priority, to: Vec::new() };
        writer.write_all(event).expect("memory");
        writer.to
    }

    #[test]
    fn every_line_of_an_event_carries_its_priority() {
        assert_eq!(written(Some(priority(Level::WARN)), b"one\ntwo\n"), b"<4>one\n<4>two\n");
        assert_eq!(written(None, b"one\ntwo\n"), b"one\ntwo\n");
    }

    #[test]
    fn a_long_event_is_cut_between_two_characters_and_says_so() {
        let long = format!("{}\n", "a\u{fc}".repeat(MAX_EVENT));
        let text = String::from_utf8(written(Some(6), long.as_bytes())).expect("whole characters");
        assert!(text.len() < MAX_EVENT + 40 && text.starts_with("<6>a"), "{}", text.len());
        let end = format!(" ... and {} bytes more\n", long.len() - (text.rfind(" ... and").expect("it says so") - 3));
        assert!(text.ends_with(&end), "{}", &text[text.len() - 60..]);
        let short = "b".repeat(MAX_EVENT);
        assert_eq!(written(None, short.as_bytes()), short.as_bytes());
    }
}
