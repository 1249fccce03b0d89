//! What servers may watch of a flash beside object 5: phase, percent, reason, the tool's last lines. Put together from an
//! update's events; it decides nothing, and what it tells is passed on only while nobody is kept waiting by it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::device::{DeviceId, FlashingPhase, FlashingView, JournalEntry, JournalStep, Phase, UpdateEvent};

/// So many of the tool's last lines are shown ...
const LINES: usize = 8;
/// ... each cut to so many bytes: with the line feeds they fit into the resource's 1024.
const LINE: usize = 120;
/// Longest reason, in bytes, and longest name of a tool.
const REASON: usize = 255;
const NAME: usize = 63;
/// A line that the tool prints is passed on at most so often; whatever else happens takes the lines with it.
const LINES_EVERY: Duration = Duration::from_millis(250);

/// All devices' flashes.
#[derive(Debug, Default)]
pub(super) struct Flashings(HashMap<DeviceId, Flashing>);

#[derive(Debug, Default)]
struct Flashing {
    view: FlashingView,
    lines: VecDeque<String>,
    /// When lines were passed on last.
    told: Option<Instant>,
}

impl Flashings {
    /// What is shown of a device; `None` when nothing was ever done to it.
    pub(super) fn view(&self, device: &DeviceId) -> Option<FlashingView> {
        self.0.get(device).map(|flashing| flashing.view.clone())
    }

    /// The journal names the image.
    pub(super) fn journal(&mut self, entry: &JournalEntry) -> Option<FlashingView> {
        let JournalStep::Staged { image } = &entry.step else { return None };
        let flashing = self.0.entry(entry.device.clone()).or_default();
        let format = image.info.format.as_str();
        (flashing.view.format != format).then(|| {
            flashing.view.format = format.to_owned();
            flashing.view.clone()
        })
    }

    /// Something happened; what servers are to be shown now, unless it is too much to tell.
    pub(super) fn note(&mut self, device: &DeviceId, event: &UpdateEvent, now: Instant) -> Option<FlashingView> {
        let flashing = self.0.entry(device.clone()).or_default();
        if let UpdateEvent::ToolSaid { line } = event {
            flashing.print(line);
            if flashing.told.is_some_and(|told| now < told + LINES_EVERY) {
                return None;
            }
        } else if !flashing.step(event) {
            return None;
        }
        flashing.told = Some(now);
        flashing.view.log = flashing.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        Some(flashing.view.clone())
    }
}

impl Flashing {
    fn print(&mut self, line: &str) {
        if self.lines.len() == LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(cut(line, LINE));
    }

    /// Whether there is anything to show of it.
    fn step(&mut self, event: &UpdateEvent) -> bool {
        use FlashingPhase as To;
        match event {
            UpdateEvent::DownloadProgressed { bytes, total } => {
                let share = total.filter(|&total| total > 0).map(|total| bytes.saturating_mul(100) / total);
                self.at(To::Downloading, share.map_or(0, |share| u8::try_from(share).unwrap_or(100).min(100)), "");
            }
            UpdateEvent::ImageStaged { .. } => self.at(To::Staged, 100, ""),
            UpdateEvent::Deferred { reason } => self.at(To::Waiting, 0, reason),
            UpdateEvent::Saving => self.at(To::Saving, 0, ""),
            UpdateEvent::ToolStarted { tool, .. } => {
                self.lines.clear();
                self.view.tool = cut(tool, NAME);
                let phase = if self.keeps_its_phase() { self.view.phase } else { To::Preparing };
                self.at(phase, 0, "");
            }
            UpdateEvent::ToolProgressed { phase, percent } => {
                let phase = if self.keeps_its_phase() { self.view.phase } else { doing(*phase) };
                self.at(phase, *percent, "");
            }
            UpdateEvent::Retrying { reason, .. } => self.at(To::Retrying, 0, reason),
            UpdateEvent::RollingBack { reason, .. } => self.at(To::Restoring, 0, reason),
            UpdateEvent::Proving => self.at(To::Proving, 0, ""),
            UpdateEvent::Proven { .. } => self.at(To::Idle, 0, ""),
            UpdateEvent::StagingFailed { reason }
            | UpdateEvent::UpdateFailed { reason }
            | UpdateEvent::Quarantined { reason } => self.at(To::Failed, self.view.percent, reason),
            UpdateEvent::Dropped => self.at(To::Idle, 0, ""),
            // The next run of the tool is a flash again.
            UpdateEvent::BoardSaved { .. } | UpdateEvent::NotSaved { .. } => self.at(To::Preparing, 0, ""),
            // What came of it follows; the last lines are shown now.
            UpdateEvent::ToolEnded { .. } => {}
            _ => return false,
        }
        true
    }

    /// A run of the tool that is not the flash itself goes by its purpose.
    fn keeps_its_phase(&self) -> bool {
        matches!(self.view.phase, FlashingPhase::Saving | FlashingPhase::Restoring)
    }

    fn at(&mut self, phase: FlashingPhase, percent: u8, reason: &str) {
        self.view.phase = phase;
        self.view.percent = percent.min(100);
        self.view.reason = cut(reason, REASON);
    }
}

fn doing(phase: Phase) -> FlashingPhase {
    match phase {
        Phase::Prepare => FlashingPhase::Preparing,
        Phase::Write => FlashingPhase::Writing,
        Phase::Verify => FlashingPhase::Verifying,
    }
}

fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: impl Into<String>) -> UpdateEvent {
        UpdateEvent::ToolSaid { line: line.into() }
    }

    #[test]
    fn a_flood_of_lines_is_passed_on_now_and_then_and_stays_within_its_length() {
        let (mut flashings, device, start) = (Flashings::default(), DeviceId::new("d"), Instant::now());
        let mut told = 0;
        for number in 0..10_000_u64 {
            let now = start + Duration::from_millis(number / 10);
            told += usize::from(flashings.note(&device, &said("ü".repeat(300)), now).is_some());
        }
        assert_eq!(told, 4, "a second of it");
        let end = UpdateEvent::UpdateFailed { reason: "ß".repeat(300) };
        let view = flashings.note(&device, &end, start).expect("an end is told");
        assert_eq!((view.phase, view.log.lines().count()), (FlashingPhase::Failed, LINES));
        assert!(view.log.len() <= 1024 && view.reason.len() <= REASON, "{view:?}");
    }

    #[test]
    fn an_update_goes_from_phase_to_phase() {
        let (mut flashings, device, now) = (Flashings::default(), DeviceId::new("d"), Instant::now());
        let tool = UpdateEvent::ToolStarted { tool: "t".into(), tool_version: None, argv: Vec::new() };
        let writes = UpdateEvent::ToolProgressed { phase: Phase::Write, percent: 40 };
        let saved = UpdateEvent::NotSaved { reason: "it cannot".into() };
        let back = UpdateEvent::RollingBack { reason: "no".into(), version: None };
        let events = [
            UpdateEvent::Saving,
            tool.clone(),
            writes.clone(),
            saved,
            tool.clone(),
            writes.clone(),
            back,
            tool,
            writes,
        ];
        let phases = events.map(|event| flashings.note(&device, &event, now).expect("shown").phase.as_str());
        let expected =
            ["saving", "saving", "saving", "preparing", "preparing", "writing", "restoring", "restoring", "restoring"];
        assert_eq!(phases, expected);
    }
}
