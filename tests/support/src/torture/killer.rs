//! Watches an update for the moment of a case, and kills.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::case::{Case, Moment, Victim};
use super::signs::Seen;
use super::stand::{Broken, Orders, Stand};
use crate::process::{Printed, children};

/// How often the moment is looked for.
const LOOK: Duration = Duration::from_millis(1);
/// A tool whose folder is there is forked within this.
const COMING: Duration = Duration::from_secs(1);
/// An update that has ended shows its last signs within this.
const TAIL: Duration = Duration::from_secs(2);
/// A moment that has not come by then does not come.
const LIMIT: Duration = Duration::from_secs(90);

/// Looks at an update from all sides.
pub(super) struct Watcher {
    log: Printed,
    board: Printed,
    mark: usize,
    state: PathBuf,
    seen: Seen,
}

impl Watcher {
    pub(super) fn new(stand: &mut Stand) -> Self {
        let state = stand.state_folder();
        let mut seen = Seen::default();
        seen.look(&state);
        let log = stand.scene.daemon.process().printed();
        Self { log, board: stand.chip.printed(), mark: stand.watches[0].events.mark(), state, seen }
    }

    pub(super) fn look(&mut self, stand: &Stand) -> &Seen {
        self.seen.log.extend(self.log.fresh());
        self.seen.board.extend(self.board.fresh());
        self.seen.told = stand.watches[0].events.values_since(self.mark, "/5/0/3");
        self.seen.look(&self.state);
        &self.seen
    }
}

/// A kill that has happened, or did not.
#[derive(Debug, Clone)]
pub(super) struct Strike {
    /// From the update's order on.
    pub(super) after: Duration,
    /// Whether the moment was seen; else it came when the update had ended.
    pub(super) timely: bool,
    /// Whether there was anything to kill.
    pub(super) hit: bool,
}

/// Waits for the moment and kills.
pub(super) fn strike(stand: &mut Stand, case: &Case, orders: &Orders) -> Result<Strike, Broken> {
    let (began, mut watcher) = (Instant::now(), Watcher::new(stand));
    let mut clock = Clock { began, tool: None, ended: None };
    let timely = loop {
        stand.breathe(LOOK)?;
        let usual = stand.usual;
        let seen = watcher.look(stand);
        clock.note(seen);
        let come = match (case.moment, case.victim) {
            (Moment::Step(step), _) => seen.has(step),
            (Moment::Part(part), Victim::Tool) => clock.tool_for() >= Some(usual.tool.mul_f64(part)),
            (Moment::Part(part), _) => began.elapsed() >= usual.update.mul_f64(part) || seen.is_over(),
        };
        if come || clock.is_over() {
            break come;
        }
    };
    let hit = kill(stand, case.victim, orders);
    Ok(Strike { after: began.elapsed(), timely, hit })
}

/// What has passed of an update.
struct Clock {
    began: Instant,
    tool: Option<Instant>,
    ended: Option<Instant>,
}

impl Clock {
    fn note(&mut self, seen: &Seen) {
        self.tool = self.tool.or_else(|| seen.tool_came.then(Instant::now));
        self.ended = self.ended.or_else(|| seen.is_over().then(Instant::now));
    }

    fn tool_for(&self) -> Option<Duration> {
        self.tool.map(|since| since.elapsed())
    }

    fn is_over(&self) -> bool {
        self.ended.is_some_and(|at| at.elapsed() >= TAIL) || self.began.elapsed() >= LIMIT
    }
}

fn kill(stand: &mut Stand, victim: Victim, orders: &Orders) -> bool {
    match victim {
        Victim::Daemon => {
            orders.give_up();
            stand.scene.daemon.crash();
            stand.earlier.push_str(&stand.scene.daemon.log());
            stand.earlier.push_str("---- killed\n");
            stand.watches.iter_mut().for_each(super::watch::Watch::forget);
            true
        }
        Victim::Tool => {
            let (daemon, began) = (stand.scene.daemon.process().id(), Instant::now());
            let mut hit = false;
            // Its folder comes a little before it does.
            while !hit && began.elapsed() < COMING {
                // One that has just ended by itself is no victim.
                let killed = |tool: &Pid| kill_process(*tool, Signal::KILL).is_ok();
                hit = children(daemon).iter().filter(|tool| killed(tool)).count() > 0;
            }
            hit
        }
        Victim::Link => {
            stand.chip.unplug();
            true
        }
    }
}
