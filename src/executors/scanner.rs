//! Reads what a tool prints, byte by byte as it comes: how far it is, whether it still gets on, what its rules look for.
//!
//! Pure and bounded: it keeps one unfinished line per stream, the first line that each pattern matched, and the last few
//! lines. It neither reads pipes nor knows a clock; `job` drives it, `outcome` judges what it has seen.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::device::{JobFailure, Phase};

use super::line::{ESCAPE, clean, without_escapes};
use super::patterns::PatternId;
use super::tool::{Progress, ProgressKind, Tool};

/// Longest line that patterns see, in bytes; a longer one is taken as several.
const MAX_LINE: usize = 4096;
/// Larger blocks of output are first searched as a whole.
const LARGE_BLOCK: usize = 2048;
/// How many last lines are kept, and told of one block at most.
const LAST_LINES: usize = 16;

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout = 0,
    Stderr = 1,
}

/// What a piece of output told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// The tool got on: its stall limit starts anew.
    pub(super) alive: bool,
    /// How far it is, where that has changed.
    pub(super) progress: Option<(Phase, u8)>,
    /// Cleaned lines, at most [`LAST_LINES`], progress left out.
    pub(super) lines: Vec<String>,
    /// The run shall end now, and why.
    pub(super) end: Option<(JobFailure, String)>,
}

/// The reader of one run's output.
#[derive(Debug)]
pub(super) struct Scanner {
    tool: Arc<Tool>,
    partial: [Partial; 2],
    phase: Phase,
    percent: u8,
    /// The phases that were seen.
    written: bool,
    verified: bool,
    last_progress: Vec<u8>,
    seen: Vec<Option<String>>,
    counted: Vec<u64>,
    last: VecDeque<String>,
}

/// What a line told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    /// How far the tool is; it is nothing for people.
    Progress,
    /// Something that counts each time.
    Something,
    /// Nothing that the same line would tell again.
    Once,
}

/// A line whose end has not come yet.
#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    /// Which progress entry counts in this line, from where on, and how many it has counted.
    counting: Option<(usize, usize, usize)>,
}

impl Scanner {
    /// For one run of a tool.
    pub(super) fn new(tool: Arc<Tool>) -> Self {
        let patterns = tool.patterns.len();
        Self {
            tool,
            partial: [Partial::default(), Partial::default()],
            phase: Phase::Prepare,
            percent: 0,
            written: false,
            verified: false,
            last_progress: Vec::new(),
            seen: vec![None; patterns],
            counted: vec![0; patterns],
            last: VecDeque::new(),
        }
    }

    /// Takes bytes as they were read.
    pub(super) fn handle_output(&mut self, stream: Stream, bytes: &[u8]) -> Findings {
        let mut findings = Findings::default();
        let before = (self.phase, self.percent);
        match bytes.iter().rposition(|&byte| is_end(byte)) {
            None => self.extend_partial(stream, bytes, &mut findings),
            Some(end) => {
                let mut block = std::mem::take(&mut self.partial[stream as usize]).bytes;
                block.extend_from_slice(&bytes[..=end]);
                self.block(&block, &mut findings);
                self.extend_partial(stream, &bytes[end + 1..], &mut findings);
            }
        }
        self.tell_progress(before, &mut findings);
        findings
    }

    /// The streams have ended: what was not ended by a line's end is a line, too.
    pub(super) fn finish(&mut self) -> Findings {
        let mut findings = Findings::default();
        let before = (self.phase, self.percent);
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.partial[stream as usize]).bytes;
            self.block(&rest, &mut findings);
        }
        self.tell_progress(before, &mut findings);
        findings
    }

    /// The first line that a pattern matched, cleaned.
    pub(super) fn seen(&self, pattern: PatternId) -> Option<&str> {
        self.seen[pattern].as_deref()
    }

    /// The sum of a pattern's group `bytes` over all lines.
    pub(super) fn counted(&self, pattern: PatternId) -> u64 {
        self.counted[pattern]
    }

    /// The last line that said something.
    pub(super) fn last_line(&self) -> Option<&str> {
        self.last.back().map(String::as_str)
    }

    /// What the tool is doing.
    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    fn tell_progress(&self, before: (Phase, u8), findings: &mut Findings) {
        let now = (self.phase, self.percent);
        findings.progress = (now != before).then_some(now);
    }

    fn extend_partial(&mut self, stream: Stream, bytes: &[u8], findings: &mut Findings) {
        let partial = &mut self.partial[stream as usize];
        partial.bytes.extend_from_slice(bytes);
        if partial.bytes.len() > MAX_LINE {
            let long = std::mem::take(partial).bytes;
            return self.block(&long, findings);
        }
        if !bytes.is_empty() {
            self.count_partial(stream, findings);
        }
    }

    /// Whole lines. Most output matches nothing: one search over all of it tells, so that a flood costs little.
    fn block(&mut self, block: &[u8], findings: &mut Findings) {
        let stripped = if block.contains(&ESCAPE) { Some(without_escapes(block)) } else { None };
        let block = stripped.as_deref().unwrap_or(block);
        if block.len() >= LARGE_BLOCK && !self.tool.patterns.occur_in(block) {
            let lines = block.rsplit(|&byte| is_end(byte)).filter(|line| !line.is_empty()).take(LAST_LINES);
            let mut last: Vec<&[u8]> = lines.map(|line| &line[..line.len().min(MAX_LINE)]).collect();
            last.reverse();
            return self.keep(&last, findings);
        }
        let (mut said, mut before) = (Vec::new(), None);
        for line in block.split(|&byte| is_end(byte)).flat_map(|line| line.chunks(MAX_LINE)) {
            if before == Some(line) {
                said.push(line);
                continue;
            }
            let told = self.line(line, findings);
            if told != Told::Progress {
                said.push(line);
            }
            before = (told == Told::Once).then_some(line);
        }
        self.keep(&said, findings);
    }

    fn line(&mut self, line: &[u8], findings: &mut Findings) -> Told {
        let matching: Vec<PatternId> = self.tool.patterns.matching(line).collect();
        let tool = Arc::clone(&self.tool);
        for &pattern in &matching {
            self.note(pattern, line);
            findings.alive |= tool.alive.contains(&pattern);
        }
        let shown = self.progress_of(&tool, &matching, line, findings);
        self.trigger(&tool, &matching, line, findings);
        let counts = |&pattern: &PatternId| tool.patterns.get(pattern).captures_len() > 1;
        match (shown, matching.iter().any(counts)) {
            (true, _) => Told::Progress,
            (false, true) => Told::Something,
            (false, false) => Told::Once,
        }
    }

    /// Remembers that a pattern matched, and what its group `bytes` counts.
    fn note(&mut self, pattern: PatternId, line: &[u8]) {
        let regex = self.tool.patterns.get(pattern);
        if regex.captures_len() > 1 {
            let bytes = regex.captures(line).and_then(|groups| number(groups.name("bytes")?.as_bytes()));
            self.counted[pattern] = self.counted[pattern].saturating_add(bytes.unwrap_or(0));
        }
        if self.seen[pattern].is_none() {
            self.seen[pattern] = Some(clean(line));
        }
    }

    fn trigger(&self, tool: &Tool, matching: &[PatternId], line: &[u8], findings: &mut Findings) {
        let due = |after: Option<Phase>| match after {
            Some(Phase::Write) => self.written || self.verified,
            Some(Phase::Verify) => self.verified,
            Some(Phase::Prepare) | None => true,
        };
        let trigger = tool.kill_on.iter().find(|trigger| matching.contains(&trigger.text) && due(trigger.after));
        if let (Some(trigger), None) = (trigger, &findings.end) {
            findings.end = Some((trigger.class, clean(line)));
        }
    }

    /// Whether a line shows progress and nothing else.
    fn progress_of(&mut self, tool: &Tool, matching: &[PatternId], line: &[u8], findings: &mut Findings) -> bool {
        let mut shown = false;
        for (index, progress) in tool.progress.iter().enumerate() {
            match progress.kind {
                ProgressKind::Line { pattern } if matching.contains(&pattern) => {
                    self.line_progress(progress.phase, pattern, line, findings);
                    shown = true;
                }
                ProgressKind::Count { start, .. } if matching.contains(&start) => {
                    let from = tool.patterns.get(start).find(line).map_or(0, |found| found.end());
                    self.count(index, line, from, findings);
                    shown = true;
                }
                ProgressKind::Line { .. } | ProgressKind::Count { .. } => {}
            }
        }
        shown
    }

    fn line_progress(&mut self, phase: Phase, pattern: PatternId, line: &[u8], findings: &mut Findings) {
        let Some(groups) = self.tool.patterns.get(pattern).captures(line) else { return };
        // The same text again is no progress, whatever the rest of the line counts (a clock, a spinner).
        let text = groups.get(0).map_or(&b""[..], |found| found.as_bytes());
        findings.alive |= text != self.last_progress;
        let percent = groups.name("percent").and_then(|percent| number(percent.as_bytes())).unwrap_or(0);
        text.clone_into(&mut self.last_progress);
        self.enter(phase, percent.min(100));
    }

    /// Counts in the unfinished line of a stream.
    fn count_partial(&mut self, stream: Stream, findings: &mut Findings) {
        let tool = Arc::clone(&self.tool);
        let mut partial = std::mem::take(&mut self.partial[stream as usize]);
        if partial.counting.is_none() {
            let begun = tool.progress.iter().enumerate().find_map(|(index, progress)| match progress.kind {
                ProgressKind::Count { start, .. } => {
                    Some((index, tool.patterns.get(start).find(&partial.bytes)?.end(), 0))
                }
                ProgressKind::Line { .. } => None,
            });
            partial.counting = begun;
            findings.alive |= begun.is_some();
        }
        if let Some((index, from, before)) = partial.counting {
            let counted = self.count(index, &partial.bytes, from, findings);
            findings.alive |= counted > before;
            partial.counting = Some((index, from, counted));
        }
        self.partial[stream as usize] = partial;
    }

    fn count(&mut self, index: usize, line: &[u8], from: usize, findings: &mut Findings) -> usize {
        let tool = Arc::clone(&self.tool);
        let Progress { phase, kind: ProgressKind::Count { byte, full, .. } } = tool.progress[index] else { return 0 };
        let counted = line[from..].iter().filter(|&&it| it == byte).count();
        let percent = (counted as u64).saturating_mul(100) / u64::from(full.max(1));
        let before = (self.phase, self.percent);
        self.enter(phase, percent.min(100));
        findings.alive |= (self.phase, self.percent) != before;
        counted
    }

    fn enter(&mut self, phase: Phase, percent: u64) {
        self.written |= phase == Phase::Write;
        self.verified |= phase == Phase::Verify;
        self.phase = phase;
        self.percent = u8::try_from(percent).unwrap_or(100);
    }

    /// Lines for people: only those are cleaned that are told or kept.
    fn keep(&mut self, lines: &[&[u8]], findings: &mut Findings) {
        let says = |line: &&[u8]| Some(clean(line)).filter(|line| !line.is_empty());
        let room = LAST_LINES.saturating_sub(findings.lines.len());
        findings.lines.extend(lines.iter().filter_map(says).take(room));
        let mut last: Vec<String> = lines.iter().rev().filter_map(says).take(LAST_LINES).collect();
        last.reverse();
        let over = (self.last.len() + last.len()).saturating_sub(LAST_LINES);
        self.last.drain(..over);
        self.last.extend(last);
    }
}

fn is_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
