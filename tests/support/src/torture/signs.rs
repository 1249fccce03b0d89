//! The observable steps of a flash, and how each is seen from outside.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::case::{Tool, Victim};

/// How a step is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// The daemon logs that its update moves to this state.
    Enters(&'static str),
    /// The daemon logs a line with these words.
    Says(&'static str),
    /// The daemon logs at least this progress of a phase.
    Progress(&'static str, u8),
    /// The board prints a line with these words.
    Board(&'static str),
    /// A server is notified of this 5/0/3.
    Told(&'static str),
    /// The tool's process is made: its folder appears.
    ToolComes,
    /// The tool has ended: its folder goes.
    ToolGoes,
    /// The journal grows for the n-th time since the update was ordered.
    Journal(u8),
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step(Sign);

impl Step {
    /// Those at which a victim can be killed: a tool only while it runs.
    pub(super) fn all(tool: Tool, victim: Victim) -> Vec<Self> {
        let mut signs = vec![Sign::ToolComes, Sign::Enters("flashing")];
        signs.extend(match tool {
            Tool::Avrdude => vec![Sign::Board("reset (open)"), Sign::Says("AVR device initialized")],
            Tool::Esptool => vec![Sign::Board("start loader"), Sign::Says("Stub"), Sign::Says("Compressed")],
        });
        // The image of a chip is one block: its tool tells no tenths.
        let tenths = if tool == Tool::Avrdude { 10 } else { 1 };
        signs.extend((0..tenths).map(|tenth| Sign::Progress("Write", (10 - tenth) * 10)).rev());
        signs.extend((0..tenths).map(|tenth| Sign::Progress("Verify", (10 - tenth) * 10)).rev().take(tenths.into()));
        if tool == Tool::Esptool {
            signs.retain(|sign| *sign != Sign::Progress("Verify", 100));
            signs.push(Sign::Says("Hash of data verified"));
        }
        if victim != Victim::Tool {
            signs.extend(["downloading", "recording", "staged", "leasing", "preparing"].map(Sign::Enters));
            signs.extend(["returning", "asking", "idle"].map(Sign::Enters));
            signs.extend(["1", "2", "3", "0"].map(Sign::Told));
            signs.extend((1..=8).map(Sign::Journal));
            signs.extend([Sign::ToolGoes, Sign::Says("tool verified the image"), Sign::Says("is proven")]);
        }
        signs.into_iter().map(Self).collect()
    }

    /// As reports and `TORTURE="step=..."` name it.
    pub(super) fn name(self) -> String {
        let mut name = String::new();
        match self.0 {
            Sign::Enters(state) => write!(name, "enters-{state}"),
            Sign::Says(words) => write!(name, "says-{}", words.replace(' ', "-")),
            Sign::Progress(phase, percent) => write!(name, "{}-{percent}%", phase.to_lowercase()),
            Sign::Board(words) => write!(name, "board-{}", words.replace(' ', "-")),
            Sign::Told(state) => write!(name, "told-{state}"),
            Sign::ToolComes => write!(name, "tool-comes"),
            Sign::ToolGoes => write!(name, "tool-goes"),
            Sign::Journal(nth) => write!(name, "journal-{nth}"),
        }
        .expect("a String takes everything");
        name
    }
}

/// What was seen since the update was ordered.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) log: Vec<String>,
    pub(super) board: Vec<String>,
    /// 5/0/3 as notified to a server.
    pub(super) told: Vec<String>,
    pub(super) tool_came: bool,
    pub(super) tool_went: bool,
    journalled: u8,
    journal: Option<(u64, SystemTime)>,
}

impl Seen {
    /// Looks at the state folder: the jobs in it, and the database's journal.
    pub(super) fn look(&mut self, state: &Path) {
        let jobs = fs::read_dir(state.join("jobs")).is_ok_and(|mut jobs| jobs.next().is_some());
        self.tool_went |= self.tool_came && !jobs;
        self.tool_came |= jobs;
        let journal = journal(state);
        if self.journal.is_some() && self.journal != journal {
            self.journalled = self.journalled.saturating_add(1);
        }
        self.journal = journal.or(self.journal);
    }

    /// Whether a step was seen.
    pub(super) fn has(&self, step: Step) -> bool {
        match step.0 {
            Sign::Enters(state) => self.logged(&format!("to=\"{state}\"")),
            Sign::Says(words) => self.logged(words),
            Sign::Progress(phase, percent) => self.log.iter().any(|line| progress(line, phase) >= Some(percent)),
            Sign::Board(words) => self.board.iter().any(|line| line.contains(words)),
            Sign::Told(state) => self.told.iter().any(|told| told == state),
            Sign::ToolComes => self.tool_came,
            Sign::ToolGoes => self.tool_went,
            Sign::Journal(nth) => self.journalled >= nth,
        }
    }

    /// Whether the update has ended, well or not.
    pub(super) fn is_over(&self) -> bool {
        ["the update is proven", "the update failed", "no image was staged"].iter().any(|words| self.logged(words))
    }

    /// Whether the daemon has logged these words.
    fn logged(&self, words: &str) -> bool {
        self.log.iter().any(|line| line.contains(words))
    }
}

/// The percentage that a line tells of a phase: `ToolProgressed { phase: Write, percent: 40 }`.
fn progress(line: &str, phase: &str) -> Option<u8> {
    let (_, rest) = line.split_once(&format!("phase: {phase}, percent: "))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

fn journal(state: &Path) -> Option<(u64, SystemTime)> {
    let about = fs::metadata(state.join("nuncio.db-wal")).ok()?;
    Some((about.len(), about.modified().ok()?))
}
