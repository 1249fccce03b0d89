//! The crew: stands that work side by side through the cases of a plan.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::case::{Case, Plan, Tool};
use super::report::{Kind, Report, Violation};
use super::stand::{Broken, Stand};
use super::truth::{self, Outcome};
use crate::process::say;

/// A kill that found nothing to kill is tried so often.
const ATTEMPTS: u32 = 5;
/// So many lines of a daemon's log are shown when something is violated.
const SHOWN: usize = 60;

/// What the stands share.
struct Crew<'a> {
    nuncio: &'a Path,
    cases: Mutex<VecDeque<Case>>,
    all: usize,
    report: Mutex<Report>,
    /// Counts the worlds that were built.
    worlds: AtomicU32,
    stop: &'a Arc<AtomicBool>,
}

/// Runs a plan to its end, or until `stop` is set; tells each kill on standard error. `nuncio` is the binary's path.
pub fn run(nuncio: &Path, plan: &Plan, stop: &Arc<AtomicBool>) -> Report {
    let (began, cases) = (Instant::now(), VecDeque::from(plan.cases()));
    say(&format!("torture: {} kills, {} at a time, NUNCIO_SEED={}", cases.len(), plan.at_once, plan.seed));
    let crew = Crew {
        nuncio,
        all: cases.len(),
        cases: Mutex::new(cases),
        report: Mutex::new(Report::new(plan.seed)),
        worlds: AtomicU32::new(0),
        stop,
    };
    thread::scope(|scope| {
        for place in 0..plan.at_once {
            let crew = &crew;
            scope.spawn(move || crew.work(Tool::ALL[place % 2]));
        }
    });
    let mut report = crew.report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.took = began.elapsed();
    report.stopped = stop.load(Ordering::Relaxed);
    report
}

impl Crew<'_> {
    /// Works at cases of one tool as long as there are any, then of the other.
    fn work(&self, tool: Tool) {
        let mut stand: Option<Stand> = None;
        while let Some(case) = self.next(stand.as_ref().map_or(tool, |stand| stand.tool)) {
            stand = stand.filter(|stand| stand.tool == case.tool);
            let done = catch_unwind(AssertUnwindSafe(|| self.attempt(&mut stand, &case)));
            let broken = match done {
                Ok(Ok(())) => continue,
                Ok(Err(Broken::Stopped)) => return,
                Ok(Err(Broken::Late(what))) => what,
                Err(panic) => said(panic.as_ref()),
            };
            self.violated(&case, stand.take().as_mut(), vec![Violation::new(Kind::Broken, broken)]);
        }
    }

    fn next(&self, tool: Tool) -> Option<Case> {
        let mut cases = self.cases.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let fitting = cases.iter().position(|case| case.tool == tool).unwrap_or(0);
        cases.remove(fitting)
    }

    fn attempt(&self, stand: &mut Option<Stand>, case: &Case) -> Result<(), Broken> {
        let mut now = case.clone();
        for attempt in 1..=ATTEMPTS {
            if stand.is_none() {
                let number = self.worlds.fetch_add(1, Ordering::Relaxed);
                *stand = Some(Stand::build(self.nuncio, case.tool, number, self.stop)?);
            }
            let ready = stand.as_mut().expect("it was just built");
            let outcome = truth::run(ready, &now)?;
            let (hit, sound) = (outcome.strike.hit, outcome.violations.is_empty());
            self.tell(&now, outcome, ready);
            if !sound {
                *stand = None;
            }
            if hit {
                return Ok(());
            }
            now = case.again(attempt);
        }
        Err(Broken::Late(format!("nothing to kill in {ATTEMPTS} updates")))
    }

    fn tell(&self, case: &Case, outcome: Outcome, stand: &mut Stand) {
        let violations = outcome.violations.clone();
        let mut report = self.report();
        let (strike, told) = (&outcome.strike, &outcome.told);
        let line = format!(
            "{case}: after {:.2} s of {:.2} s{}; {},{} {} in {:.1} s; flashed again in {:.1} s{}{}",
            strike.after.as_secs_f64(),
            outcome.usual.as_secs_f64(),
            if strike.timely { "" } else { " (too late)" },
            told.state,
            told.result,
            told.version.as_deref().unwrap_or("-"),
            outcome.truth.as_secs_f64(),
            outcome.again.as_secs_f64(),
            if outcome.why.is_empty() { "" } else { "; " },
            outcome.why,
        );
        if outcome.strike.hit {
            report.add(case, outcome);
        } else {
            report.missed(case);
            report.violate(case, outcome.violations);
        }
        say(&format!("{:4}/{} {line}", report.kills(), self.all));
        drop(report);
        if !violations.is_empty() {
            self.show(case, Some(stand), &violations);
        }
    }

    fn violated(&self, case: &Case, stand: Option<&mut Stand>, violations: Vec<Violation>) {
        self.show(case, stand, &violations);
        self.report().violate(case, violations);
    }

    /// Loud, with what is needed to see why.
    fn show(&self, case: &Case, stand: Option<&mut Stand>, violations: &[Violation]) {
        let mut text = format!("==== VIOLATED {case}\n");
        for violation in violations {
            text.push_str(&format!("     {:?}: {}\n", violation.kind, violation.text));
        }
        if let Some(stand) = stand {
            let log = truth::write_down(stand, case);
            text.push_str(&format!("{}\n     all of it: {}\n", truth::tail(&log, SHOWN), log.display()));
        }
        let seed = self.report().seed;
        let (tool, victim) = (case.tool.name(), case.victim.name());
        text.push_str(&format!(
            "     again: NUNCIO_SEED={seed} TORTURE=\"tool={tool} victim={victim} case={}\" make torture\n",
            case.number
        ));
        say(&text);
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a panic said.
fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}
