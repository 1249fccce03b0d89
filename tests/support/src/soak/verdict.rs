//! What a run came to, from its folder alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::record::{Event, LOG, PLAN, SAMPLES};
use super::run::{TOGETHER, WARM};
use super::sample::Sample;
use super::trouble::{self, Trouble};

/// Memory at the end may be so much more than it was when the daemon was warm.
const GROWTH: f64 = 0.05;
/// A device has a socket for each of three servers.
const SOCKETS: f64 = 3.0;
/// Descriptors that come and go with connections, and with devices that have left and are not missed yet.
const FDS: f64 = 12.0;
/// Threads for blocking work come and go.
const THREADS: f64 = 8.0;
/// The state folder grows by what the history keeps of each update, and by pages that the database has not filled yet.
const STATE: f64 = 512.0 * 1024.0;
const STATE_EACH: f64 = 16.0 * 1024.0;
/// Such a part of the updates that the time allowed must have begun: one waits for the one before it.
const UPDATES: f64 = 0.9;

/// The verdict on a folder.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// For people.
    pub text: String,
    /// What was not held.
    pub broken: Vec<String>,
}

/// A figure as it was when the daemon was warm, and as it was at the end.
struct Pair {
    warm: f64,
    end: f64,
}

impl Pair {
    /// Medians of the samples that are taken together.
    fn of(samples: &[Sample], warm: f64, value: impl Fn(&Sample) -> f64) -> Self {
        let began = samples.first().map_or(0.0, |sample| sample.at);
        let end = samples.last().map_or(0.0, |sample| sample.at - began);
        let until = |limit: f64| {
            let within = samples.iter().filter(|sample| {
                let at = sample.at - began;
                at <= limit + 1.0 && at >= limit - TOGETHER.as_secs_f64() + 1.0
            });
            let mut values: Vec<f64> = within.map(&value).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        Self { warm: until(warm), end: until(end) }
    }

    fn grown(&self) -> f64 {
        self.end - self.warm
    }
}

impl Verdict {
    /// Judges what a run has left; one that goes on, as if it ended now.
    pub fn of(folder: &Path) -> Self {
        let (samples, events) = (Sample::all(&folder.join(SAMPLES)), Event::all(folder));
        let log = fs::read_to_string(folder.join(LOG)).unwrap_or_default();
        let plan = fs::read_to_string(folder.join(PLAN)).unwrap_or_default();
        let mut verdict = Self { text: String::new(), broken: Vec::new() };
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
            verdict.broken.push("there are no samples".to_owned());
            return verdict;
        };
        let asked = plan.lines().find_map(|line| line.strip_prefix("length=")?.parse::<f64>().ok());
        let length = last.at - first.at;
        let warm = WARM.as_secs_f64();
        // A try is shorter than warming up takes, and shows only that everything works.
        let is_try = length < 2.0 * warm;
        let warm = if is_try { length / 2.0 } else { warm };
        verdict.say(&plan.replace('\n', "  "));
        verdict.say(&format!("ran {:.1} min; compared with after {:.1} min", length / 60.0, warm / 60.0));
        if asked.is_none_or(|asked| length < asked - 1.0) {
            verdict.broken.push(format!("it ended after {:.1} min", length / 60.0));
        }
        verdict.held(&samples, warm, is_try);
        verdict.happened(&events, last, length);
        verdict.logged(&trouble::all(&log, &events));
        verdict
    }

    fn say(&mut self, line: &str) {
        writeln!(self.text, "{line}").expect("a String takes everything");
    }

    fn bound(&mut self, holds: bool, line: &str) {
        self.say(&format!("{} {line}", if holds { "ok    " } else { "BROKEN" }));
        if !holds {
            self.broken.push(line.to_owned());
        }
    }

    fn held(&mut self, samples: &[Sample], warm: f64, is_try: bool) {
        let rss = Pair::of(samples, warm, |sample| sample.rss);
        let grown = rss.grown() / rss.warm;
        let line = format!(
            "RSS {:.2} MB warm, {:.2} MB at the end: {:+.1} % (at most {:+.0} %)",
            rss.warm / 1024.0,
            rss.end / 1024.0,
            grown * 100.0,
            GROWTH * 100.0
        );
        if is_try {
            self.say(&format!("(try) {line}"));
        } else {
            self.bound(grown <= GROWTH, &line);
        }
        let anon = Pair::of(samples, warm, |sample| sample.anon);
        let peak = samples.last().map_or(0.0, |sample| sample.peak);
        self.say(&format!(
            "       of it anonymous {:.2} -> {:.2} MB; at the most {:.2} MB",
            anon.warm / 1024.0,
            anon.end / 1024.0,
            peak / 1024.0
        ));
        let fds = Pair::of(samples, warm, |sample| sample.fds as f64);
        let beyond = Pair::of(samples, warm, |sample| sample.fds as f64 - SOCKETS * sample.tally.present as f64);
        // In a try a whole machine may have just lost its power, and its devices still have their sockets.
        self.bound(
            is_try || beyond.grown() <= FDS,
            &format!(
                "descriptors {} -> {}; beyond those of the devices that are here {} -> {} (at most {FDS} more)",
                fds.warm, fds.end, beyond.warm, beyond.end
            ),
        );
        let threads = Pair::of(samples, warm, |sample| sample.threads as f64);
        let line = format!("threads {} -> {} (at most {THREADS} more)", threads.warm, threads.end);
        self.bound(threads.grown() <= THREADS, &line);
        let state = Pair::of(samples, warm, |sample| sample.state as f64);
        let updates = Pair::of(samples, warm, |sample| sample.tally.begun as f64).grown();
        let most = STATE + STATE_EACH * updates;
        self.bound(
            state.grown() <= most,
            &format!(
                "state folder {:.0} -> {:.0} KiB with {updates} updates in between (at most {:.0} KiB more)",
                state.warm / 1024.0,
                state.end / 1024.0,
                most / 1024.0
            ),
        );
        let (first, last) = (samples.first(), samples.last());
        if let (Some(first), Some(last)) = (first, last) {
            let used = (last.cpu - first.cpu) / (last.at - first.at).max(1.0);
            self.say(&format!("       processor: {:.2} % of a core in the mean", used * 100.0));
        }
    }

    fn happened(&mut self, events: &[Event], last: &Sample, length: f64) {
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        events.iter().for_each(|event| *counts.entry(&event.kind).or_default() += 1);
        let count = |kind: &str| counts.get(kind).copied().unwrap_or_default();
        self.say(&format!(
            "       devices: {} came, {} went with a goodbye or were unplugged, {} lost in {} outages, {} back after them, {} told \
             of another version; {} here at the end",
            count("came"),
            count("went"),
            count("lost"),
            count("outage"),
            count("back"),
            count("changed"),
            last.tally.present
        ));
        let (begun, proven, failed) = (count("begun"), count("proven"), count("failed"));
        let due = (length / 60.0 * UPDATES).floor() as u64;
        self.bound(
            failed == 0 && begun >= due && begun - proven <= 1,
            &format!("updates: {begun} begun, {proven} proven, {failed} failed (at least {due} begun, all proven)"),
        );
        for (kind, what) in [
            ("untrue", "at a server's list, not as it is"),
            ("unanswered", "questions without an answer"),
            ("gone", "ends of the daemon"),
            ("broken", "breakdowns of the world itself"),
            ("stopped", "interruptions"),
        ] {
            self.bound(count(kind) == 0, &format!("{} {what}", count(kind)));
        }
        let told = |kind: &&Event| matches!(&*kind.kind, "failed" | "untrue" | "unanswered" | "gone" | "broken");
        for Event { at, kind, subject, detail } in events.iter().filter(told).take(20) {
            self.say(&format!("         {at:.0} {kind} {subject} {detail}"));
        }
        if let Some(ended) = events.iter().rfind(|event| event.kind == "ended") {
            self.bound(ended.detail == "Some(0)", &format!("the daemon ended with {}", ended.detail));
        }
    }

    fn logged(&mut self, troubles: &[Trouble]) {
        let uncaused: u64 = troubles.iter().map(|trouble| trouble.uncaused).sum();
        self.bound(uncaused == 0, &format!("{uncaused} warnings and errors that nobody caused"));
        for Trouble { level, message, caused, uncaused, why, example } in troubles {
            let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
            self.say(&format!("         {level} {message}: {caused} caused{why}, {uncaused} not"));
            if *uncaused > 0 {
                self.say(&format!("             {example}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::super::record::EVENTS;
    use super::super::sample::Tally;
    use super::*;

    const BEGAN: f64 = 1_796_064_000.0;

    struct Run {
        minutes: u32,
        /// RSS in KiB by minute.
        rss: fn(u32) -> f64,
        state_each: u64,
        more: &'static str,
        log: &'static str,
    }

    const QUIET: Run = Run { minutes: 120, rss: |_| 40_000.0, state_each: 4096, more: "", log: "" };

    fn broken(run: &Run) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join(PLAN), "length=7200\ndevices=200\n").expect("a file");
        let mut file = File::create(dir.path().join(SAMPLES)).expect("a file");
        Sample::write_head(&mut file);
        let mut events = String::new();
        for minute in 0..=run.minutes {
            let done = u64::from(minute);
            let tally = Tally { present: 150, came: 200, went: 50, begun: done, proven: done, failed: 0 };
            let at = BEGAN + f64::from(minute) * 60.0;
            let sample = Sample {
                at,
                rss: (run.rss)(minute),
                fds: 500,
                threads: 9,
                state: 1_000_000 + done * run.state_each,
                tally,
                ..Sample::default()
            };
            sample.write(&mut file);
            events += &format!("{at}\tbegun\tuno\t{minute}\n{}\tproven\tuno\t{minute}\n", at + 9.0);
        }
        events += &format!("{}\tended\tnuncio\tSome(0)\n{}", BEGAN + 7230.0, run.more);
        fs::write(dir.path().join(EVENTS), events).expect("a file");
        fs::write(dir.path().join(LOG), run.log).expect("a file");
        Verdict::of(dir.path()).broken
    }

    #[test]
    fn a_quiet_run_is_sound_also_where_it_grew_before_it_was_warm() {
        assert_eq!(broken(&QUIET), Vec::<String>::new());
        let grown = Run { rss: |minute| 38_000.0 + 400.0 * f64::from(minute.min(10)), ..QUIET };
        assert_eq!(broken(&grown), Vec::<String>::new());
    }

    #[test]
    fn each_bound_is_one() {
        let only = |run: &Run, words: &str| {
            let broken = broken(run);
            assert!(broken.len() == 1 && broken[0].contains(words), "{words}: {broken:?}");
        };
        only(&Run { rss: |minute| 40_000.0 + 25.0 * f64::from(minute), ..QUIET }, "RSS");
        only(&Run { state_each: 64 << 10, ..QUIET }, "state folder");
        only(&Run { minutes: 100, ..QUIET }, "ended after 100.0 min");
        only(&Run { more: "1796064900\tuntrue\tmac-02\tgone, and registered\n", ..QUIET }, "1 at a server's list");
        only(&Run { more: "1796064900\tfailed\tuno\t2: no\n", ..QUIET }, "updates");
        only(&Run { more: "1796064900\tended\tnuncio\tNone\n", ..QUIET }, "the daemon ended with None");
        only(&Run { log: "2026-11-30T18:42:00.000000Z ERROR nuncio: it fails\n", ..QUIET }, "1 warnings and errors");
    }
}
