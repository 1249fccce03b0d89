//! How a flash is shown while it goes on: a bar on a terminal, lines otherwise, JSON for programs.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use nuncio::device::{JobOutcome, Phase, UpdateEvent};

use crate::cli::output;

/// Without a terminal, progress is told every so many per cent.
const STEP: u8 = 25;

/// The display.
pub(super) enum Progress {
    /// A bar on standard error.
    Bar(ProgressBar),
    /// A line whenever something changes.
    Lines { said: Option<(Phase, u8)> },
    /// Each event as one line of JSON.
    Json,
}

impl Progress {
    pub(super) fn new(device: &str, json: bool) -> Self {
        if json {
            return Self::Json;
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines { said: None };
        }
        let bar = ProgressBar::new(100);
        let template = "{prefix} {msg:24} [{bar:30}] {percent:>3} % {elapsed}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(device.to_owned());
        bar.set_message("asking");
        bar.enable_steady_tick(std::time::Duration::from_millis(250));
        Self::Bar(bar)
    }

    /// Shows an event.
    pub(super) fn tell(&mut self, event: &UpdateEvent) -> anyhow::Result<()> {
        match self {
            Self::Json => output::print_json("flash/1", &serde_json::json!({ "event": event }))?,
            Self::Bar(bar) => on_bar(bar, event),
            Self::Lines { said } => in_lines(said, event),
        }
        Ok(())
    }

    /// Leaves the terminal free for the last word.
    pub(super) fn clear(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn on_bar(bar: &ProgressBar, event: &UpdateEvent) {
    match event {
        UpdateEvent::ToolProgressed { phase, percent } => {
            bar.set_message(doing(*phase));
            bar.set_position(u64::from(*percent));
        }
        UpdateEvent::DownloadProgressed { bytes, total: Some(total) } if *total > 0 => {
            bar.set_message("staging");
            bar.set_position(bytes.saturating_mul(100) / total);
        }
        UpdateEvent::ToolSaid { .. } | UpdateEvent::DownloadProgressed { .. } => {}
        UpdateEvent::Proving => {
            bar.set_message("proving");
            bar.set_position(100);
        }
        other => {
            if let Some(line) = sentence(other) {
                bar.suspend(|| output::print_aside(&line));
            }
        }
    }
}

fn in_lines(said: &mut Option<(Phase, u8)>, event: &UpdateEvent) {
    if let UpdateEvent::ToolProgressed { phase, percent } = event {
        let now = (*phase, percent - percent % STEP);
        if *said != Some(now) {
            *said = Some(now);
            output::print_aside(&format!("{} {} %", doing(*phase), now.1));
        }
    } else if let Some(line) = sentence(event) {
        output::print_aside(&line);
    }
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "preparing",
        Phase::Write => "writing",
        Phase::Verify => "verifying",
    }
}

/// What is worth a line; the verdict says the rest.
fn sentence(event: &UpdateEvent) -> Option<String> {
    match event {
        UpdateEvent::ImageStaged { size, sha256, version } => {
            let version = version.as_ref().map_or_else(String::new, |version| format!(", version {version}"));
            let digest = sha256.to_string();
            Some(format!("image checked: {size} bytes, sha256 {}...{version}", &digest[..12]))
        }
        UpdateEvent::Deferred { reason } => Some(format!("waiting: {reason}")),
        UpdateEvent::ToolStarted { tool, tool_version, .. } => {
            let version = tool_version.as_ref().map_or_else(String::new, |version| format!(" {version}"));
            Some(format!("flashing with {tool}{version}"))
        }
        UpdateEvent::ToolEnded { outcome: JobOutcome::Verified { bytes } } => Some(format!("{bytes} bytes verified")),
        UpdateEvent::ToolEnded { outcome: JobOutcome::Saved { size, .. } } => Some(format!("{size} bytes saved")),
        UpdateEvent::ToolEnded { outcome: JobOutcome::Failed { detail, .. } } => Some(format!("tool: {detail}")),
        UpdateEvent::Saving => Some("reading the board first, to have a way back".to_owned()),
        UpdateEvent::BoardSaved { version, .. } => {
            let version = version.as_ref().map_or_else(String::new, |version| format!(", version {version},"));
            Some(format!("what the board held{version} is kept"))
        }
        UpdateEvent::NotSaved { reason } => Some(format!("no way back: what the board held is not kept: {reason}")),
        UpdateEvent::Retrying { attempt, reason, vars, .. } => {
            let vars: Vec<String> = vars.iter().map(|(name, value)| format!("{name} = {value}")).collect();
            let with = if vars.is_empty() { String::new() } else { format!(" with {}", vars.join(", ")) };
            Some(format!("run {attempt} follows{with}: {reason}"))
        }
        UpdateEvent::RollingBack { reason, .. } => Some(format!("putting the last good image back: {reason}")),
        UpdateEvent::RolledBack { version } => {
            let version = version.as_ref().map_or_else(String::new, |version| format!(": it tells {}", version.text));
            Some(format!("the last good image is back{version}"))
        }
        UpdateEvent::Quarantined { reason } => Some(format!("the board is in quarantine: {reason}")),
        UpdateEvent::Proving => Some("waiting for the board and its version".to_owned()),
        UpdateEvent::StagingFailed { .. }
        | UpdateEvent::UpdateFailed { .. }
        | UpdateEvent::Proven { .. }
        | UpdateEvent::Dropped
        | UpdateEvent::ToolSaid { .. }
        | UpdateEvent::ToolPrinted { .. }
        | UpdateEvent::ToolProgressed { .. }
        | UpdateEvent::DownloadProgressed { .. } => None,
    }
}
