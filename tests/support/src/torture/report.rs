//! What a run came to, counted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::case::{Case, Tool, Victim};
use super::truth::Outcome;

/// What must never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A server was told result 1, and the board did not hold the image.
    FalseSuccess,
    /// The board could not be flashed again.
    Lost,
    /// Something is left over: a process, a folder, a staged file, a lease.
    Leftover,
    /// Anything else that a server is told and is not so.
    Untruth,
    /// A case that could not be carried through.
    Broken,
}

/// One of them.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which.
    pub kind: Kind,
    /// What was seen.
    pub text: String,
}

impl Violation {
    pub(super) fn new(kind: Kind, text: String) -> Self {
        Self { kind, text }
    }
}

/// Kills of one victim under one tool.
#[derive(Debug, Clone, Default)]
struct Cell {
    kills: u32,
    /// At a moment that never came in this update: the kill came after it.
    late: u32,
    /// Nothing was there to be killed, and it was tried again.
    missed: u32,
    renamed: u32,
    /// Proven, and 3/0/3 is absent: the daemon has not asked the board since it was started.
    untold: u32,
    /// Came to rest as 5/0/3 and 5/0/5.
    rests: BTreeMap<String, u32>,
    truth: Vec<Duration>,
    /// The same beyond the time of an undisturbed update on that stand.
    beyond: Vec<Duration>,
    again: Vec<Duration>,
    retried: u32,
}

/// All cells, and what was violated.
#[derive(Debug, Clone)]
pub struct Report {
    /// The seed of the run.
    pub seed: u64,
    /// What must never be, with the case in which it was.
    pub violations: Vec<(Case, Violation)>,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// How long it took.
    pub took: Duration,
    cells: BTreeMap<(Tool, Victim), Cell>,
}

impl Report {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, violations: Vec::new(), stopped: false, took: Duration::ZERO, cells: BTreeMap::new() }
    }

    /// So many kills hit.
    pub fn kills(&self) -> u32 {
        self.cells.values().map(|cell| cell.kills).sum()
    }

    /// So many violations of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|(_, violation)| violation.kind == kind).count()
    }

    pub(super) fn missed(&mut self, case: &Case) {
        self.cell(case).missed += 1;
    }

    pub(super) fn add(&mut self, case: &Case, outcome: Outcome) {
        let cell = self.cell(case);
        cell.kills += 1;
        cell.late += u32::from(!outcome.strike.timely);
        cell.renamed += u32::from(outcome.renamed);
        cell.untold += u32::from(outcome.told.result == "1" && outcome.told.version.is_none());
        cell.retried += u32::from(outcome.tries > 1);
        *cell.rests.entry(format!("{},{}", outcome.told.state, outcome.told.result)).or_default() += 1;
        cell.truth.push(outcome.truth);
        cell.beyond.push(outcome.truth.saturating_sub(outcome.usual));
        cell.again.push(outcome.again);
        self.violate(case, outcome.violations);
    }

    pub(super) fn violate(&mut self, case: &Case, violations: Vec<Violation>) {
        self.violations.extend(violations.into_iter().map(|violation| (case.clone(), violation)));
    }

    fn cell(&mut self, case: &Case) -> &mut Cell {
        self.cells.entry((case.tool, case.victim)).or_default()
    }

    /// The table that `make torture` ends with.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "tool     victim  kills  late missed renamed untold  to truth s  beyond a flash s  flash again s  repeated  \
             rest as 5/0/3,5/0/5\n",
        );
        for ((tool, victim), cell) in &self.cells {
            let rests: Vec<String> = cell.rests.iter().map(|(rest, times)| format!("{rest} x{times}")).collect();
            let [truth, beyond, again] = [&cell.truth, &cell.beyond, &cell.again].map(|times| spread(times));
            let Cell { kills, late, missed, renamed, untold, retried, .. } = cell;
            let (tool, victim, rests) = (tool.name(), victim.name(), rests.join("  "));
            writeln!(
                text,
                "{tool:8} {victim:6} {kills:6} {late:5} {missed:6} {renamed:7} {untold:6}  {truth:>10}  {beyond:>16}  \
                 {again:>13}  {retried:8}  {rests}"
            )
            .expect("a String takes everything");
        }
        text.push_str("times: median, longest\n");
        write!(
            text,
            "{} kills in {:.0} s, seed {}: {} false successes, {} boards that cannot be flashed again, {} leftovers, \
             {} other untruths, {} cases not carried through{}",
            self.kills(),
            self.took.as_secs_f64(),
            self.seed,
            self.count(Kind::FalseSuccess),
            self.count(Kind::Lost),
            self.count(Kind::Leftover),
            self.count(Kind::Untruth),
            self.count(Kind::Broken),
            if self.stopped { "; stopped before the end" } else { "" }
        )
        .expect("a String takes everything");
        text
    }
}

/// `median, longest` in seconds.
fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    let seconds = |at: Option<&Duration>| at.map_or(0.0, Duration::as_secs_f64);
    format!("{:.1}, {:.1}", seconds(times.get(times.len() / 2)), seconds(times.last()))
}
