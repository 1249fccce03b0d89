//! One soak, from its first device to its last sample.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::crowd::{self, Board, Crowd};
use super::plan::Plan;
use super::record::{LOG, PLAN, Record, SAMPLES, now};
use super::sample::{Sample, Tally};
use super::stage::Stage;
use super::updates::Updates;
use super::visitors::Visitors;
use crate::process::say;

const EACH: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(200);
/// Memory is compared with what it was by then.
pub(super) const WARM: Duration = Duration::from_secs(600);
/// So long before that it counts already: several samples are taken together.
pub(super) const TOGETHER: Duration = Duration::from_secs(150);
/// Many times what the daemon takes to stop.
const STOP: Duration = Duration::from_secs(60);

/// What all threads of a run share.
pub(super) struct Shared {
    pub(super) record: Record,
    tally: Mutex<Tally>,
    began: Instant,
    length: Duration,
    over: AtomicBool,
    stop: Arc<AtomicBool>,
}

impl Shared {
    pub(super) fn tally(&self, change: impl FnOnce(&mut Tally)) {
        change(&mut self.tally.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn tallied(&self) -> Tally {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed)
    }

    /// A pause; false when the soak is over.
    pub(super) fn pause(&self, length: Duration) -> bool {
        let end = Instant::now() + length;
        while !self.is_over() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(LOOK));
        }
        false
    }

    /// Whether memory is looked at for comparison at some time in between.
    pub(super) fn is_compared(&self, from: Instant, to: Instant) -> bool {
        // A try is not.
        if self.length < 2 * WARM {
            return false;
        }
        let (from, to) = (from.duration_since(self.began), to.duration_since(self.began));
        let meets = |end: Duration| from <= end && to >= end.saturating_sub(TOGETHER);
        meets(WARM) || meets(self.length)
    }
}

/// Runs a plan to its end, or until `stop` is set, and leaves its folder. Tells how it goes on standard error once a minute.
pub fn run(plan: &Plan, stop: &Arc<AtomicBool>) {
    let record = Record::begin(&plan.folder);
    let Plan { nuncio, folder, length, devices, seed } = plan;
    say(&format!("soak: {} min, {devices} devices, SEED={seed}, {}", length.as_secs() / 60, folder.display()));
    let mut stage = Stage::build(plan, &record, crowd::ports(*devices));
    stage.daemon.run();
    record.write(
        PLAN,
        &format!(
            "nuncio={}\nlength={}\ndevices={devices}\nseed={seed}\nbegan={:.3}\n",
            nuncio.display(),
            length.as_secs(),
            now()
        ),
    );
    let shared = Shared {
        record,
        tally: Mutex::default(),
        began: Instant::now(),
        length: *length,
        over: AtomicBool::new(false),
        stop: Arc::clone(stop),
    };
    let (board, state) = (Board::default(), stage.world.home().join("state"));
    let (pid, log) = (stage.daemon.process().id(), stage.daemon.process().printed());
    let machines = std::mem::take(&mut stage.machines);
    let crowd = Crowd::new(&shared, &board, &stage.world, machines, *devices);
    let name = stage.board_name.clone();
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let written = scope.spawn(|| write_down(log, &shared, &ended));
        {
            let updates = Updates {
                shared: &shared,
                servers: stage.servers,
                board: &stage.board,
                name: &name,
                drop: state.join("drop").join(&name),
            };
            let visitors = Visitors {
                shared: &shared,
                board: &board,
                daemon: &stage.daemon,
                servers: stage.servers,
                socket: state.join("http.sock"),
            };
            let (shared, visitors) = (&shared, &visitors);
            thread::scope(|scope| {
                scope.spawn(move || guarded(shared, "crowd", || crowd.live()));
                scope.spawn(move || guarded(shared, "updates", || updates.live()));
                scope.spawn(move || guarded(shared, "program", || visitors.program()));
                scope.spawn(move || guarded(shared, "page", || visitors.page()));
                scope.spawn(move || guarded(shared, "operator", || visitors.operator()));
                watch(shared, pid, &state);
            });
        }
        if stop.load(Ordering::Relaxed) {
            shared.record.event("stopped", "", "by Ctrl-C");
        }
        guarded(&shared, "end", || {
            let code = stage.daemon.stop(STOP);
            shared.record.event("ended", "nuncio", &format!("{code:?}"));
        });
        ended.store(true, Ordering::Relaxed);
        written.join().expect("writing down does not panic");
    });
}

/// A part of the world that breaks is written down: the others go on.
fn guarded(shared: &Shared, what: &str, run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default();
        shared.record.event("broken", what, &text);
    }
}

/// Samples until the time is over or the daemon is gone.
fn watch(shared: &Shared, pid: u32, state: &std::path::Path) {
    let mut file = shared.record.file(SAMPLES);
    Sample::write_head(&mut file);
    let mut number = 0_u32;
    loop {
        let Some(sample) = Sample::take(pid, state, shared.tallied()) else {
            shared.record.event("gone", "nuncio", "it has ended");
            break;
        };
        sample.write(&mut file);
        if number.is_multiple_of(2) {
            let Tally { present, came, went, begun, proven, failed } = sample.tally;
            shared.record.event("load", "machine", &super::updates::load());
            say(&format!(
                "{:4} min: RSS {:.2} MB, {} fds, {} threads, state {} KiB; {present} here, {came} came, {went} went; updates \
                 {begun} begun, {proven} proven, {failed} failed",
                number / 2,
                sample.rss / 1024.0,
                sample.fds,
                sample.threads,
                sample.state / 1024
            ));
        }
        if shared.began.elapsed() >= shared.length {
            break;
        }
        number += 1;
        if !shared.pause((EACH * number).saturating_sub(shared.began.elapsed())) {
            break;
        }
    }
    shared.over.store(true, Ordering::Relaxed);
}

/// The daemon's log, as it comes.
fn write_down(mut log: crate::process::Printed, shared: &Shared, ended: &AtomicBool) {
    let mut file = shared.record.file(LOG);
    loop {
        // Asked before: what came until the end is still read.
        let last = ended.load(Ordering::Relaxed);
        for line in log.fresh() {
            writeln!(file, "{line}").expect("a writable folder");
        }
        if last {
            return;
        }
        thread::sleep(LOOK);
    }
}
