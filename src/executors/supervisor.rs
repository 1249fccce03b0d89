//! Watching a tool that runs: its output, its port, its limits, and the order to stop.
//!
//! ```text
//! running --(tool ends by itself)---------------------------------------> drained --> outcome by the rules
//! running --(stop, stalled, limit, port gone, a line of kill_on)--> ending: SIGTERM, 2 s, SIGKILL --> drained --> why
//! ```
//! Driven by `job`; the thread of `process` reaps and tells the end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, warn};

use crate::device::{JobEvent, JobFailure, JobOutcome, Phase};

use super::command::Secrets;
use super::job::Order;
use super::outcome::{self, Exit, failed};
use super::port::Port;
use super::process::{End, Group, Saved};
use super::scanner::{Findings, Scanner, Stream};
use super::scratch;
use super::streams::{Output, Streams};
use super::tool::Tool;
use super::transcript::Transcript;

/// Between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
/// A process that is still there so long after SIGKILL waits for its device: worth a warning, each time.
const STUCK: Duration = Duration::from_secs(30);
/// How often the port and the limits are looked at.
const TICK: Duration = Duration::from_millis(250);
/// How often the job's folder is weighed.
const WEIGHED: Duration = Duration::from_secs(1);
/// Longest wait for what is left in the pipes once the process has ended.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// A pipe that is silent for so long after the end is taken as empty, though somebody may still hold it open.
const DRAIN_SILENCE: Duration = Duration::from_millis(100);
/// Bytes read at once.
const READ_SIZE: usize = 64 << 10;
/// Lines told in a second; the others only reach the rules.
const LINES_PER_SECOND: usize = 50;

/// What a run that was let loose consists of.
pub(super) struct Watched {
    pub(super) tool: Arc<Tool>,
    pub(super) port: Port,
    /// The job's own folder.
    pub(super) folder: PathBuf,
    pub(super) secrets: Secrets,
    pub(super) group: Arc<Group>,
    pub(super) streams: Streams,
    pub(super) end: oneshot::Receiver<End>,
    pub(super) orders: watch::Receiver<Order>,
    /// For the whole run.
    pub(super) limit: Duration,
    /// What the tool must verify; `None` when it reads the board.
    pub(super) flash_bytes: Option<u64>,
}

/// The watch over one run.
pub(super) struct Supervisor<'e> {
    tool: Arc<Tool>,
    port: Port,
    folder: PathBuf,
    /// When its size is looked at next.
    weighed: Instant,
    group: Arc<Group>,
    stdout: Output,
    stderr: Output,
    end: oneshot::Receiver<End>,
    orders: watch::Receiver<Order>,
    flash_bytes: Option<u64>,
    limit: Duration,
    scanner: Scanner,
    transcript: Transcript,
    started: Instant,
    /// When the tool last got on.
    alive: Instant,
    ending: Option<Ending>,
    teller: Teller<'e>,
}

/// Why and since when a run is being ended.
struct Ending {
    class: JobFailure,
    detail: String,
    /// A line of the tool itself asked for it: then even success would be none.
    by_line: bool,
    /// When the next, harder step is due.
    next: Instant,
    killed: bool,
}

impl<'e> Supervisor<'e> {
    /// Takes a run.
    ///
    /// # Errors
    /// When its pipes cannot be watched; gives back what ends it.
    pub(super) fn new(
        watched: Watched,
        events: &'e mpsc::Sender<JobEvent>,
    ) -> Result<Self, (Arc<Group>, oneshot::Receiver<End>, io::Error)> {
        let Watched { tool, port, folder, secrets, group, streams, end, orders, limit, flash_bytes } = watched;
        let Streams { stdout, stderr } = streams;
        let stdout = Output::new(Some(stdout), READ_SIZE);
        let outputs = stdout.and_then(|stdout| Ok((stdout, Output::new(stderr, READ_SIZE)?)));
        let (stdout, stderr) = match outputs {
            Ok(outputs) => outputs,
            Err(error) => return Err((group, end, error)),
        };
        let (scanner, now) = (Scanner::new(Arc::clone(&tool)), Instant::now());
        let teller = Teller { events, secrets, progress: None, second: now, lines: 0 };
        let (started, alive, ending) = (now, now, None);
        Ok(Self {
            tool,
            port,
            folder,
            weighed: now + WEIGHED,
            group,
            stdout,
            stderr,
            end,
            orders,
            flash_bytes,
            limit,
            scanner,
            transcript: Transcript::default(),
            started,
            alive,
            ending,
            teller,
        })
    }

    /// Watches until the end.
    pub(super) async fn run(mut self) -> JobOutcome {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ordered = true;
        let end = loop {
            tokio::select! {
                read = self.stdout.read(), if self.stdout.is_open() => self.handle_output(Stream::Stdout, read),
                read = self.stderr.read(), if self.stderr.is_open() => self.handle_output(Stream::Stderr, read),
                changed = self.orders.changed(), if ordered => {
                    ordered = changed.is_ok();
                    self.handle_order();
                }
                _ = tick.tick() => self.handle_tick(Instant::now()),
                end = &mut self.end => break end,
            }
        };
        self.drain().await;
        let findings = self.scanner.finish();
        self.handle_findings(findings);
        self.teller.tell_last();
        let mut output = std::mem::take(&mut self.transcript).finish(self.started.elapsed());
        let secrets = self.teller.secrets.clone();
        output.text = secrets.hidden(output.text);
        // Whoever does not listen any more needs no evidence.
        let _ = self.teller.events.send(JobEvent::Output(output)).await;
        match end.map(|end| self.outcome(&end)) {
            Ok(JobOutcome::Failed { class, detail }) => failed(class, secrets.hidden(detail)),
            Ok(outcome) => outcome,
            Err(_) => failed(JobFailure::NotStarted, "the thread of the tool is gone"),
        }
    }

    fn handle_output(&mut self, stream: Stream, read: usize) {
        let output = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        };
        self.transcript.take(&output.buffer[..read]);
        let findings = self.scanner.handle_output(stream, &output.buffer[..read]);
        self.handle_findings(findings);
    }

    fn handle_findings(&mut self, findings: Findings) {
        if findings.alive {
            self.alive = Instant::now();
        }
        self.teller.tell(findings.progress, findings.lines);
        if let Some((class, detail)) = findings.end {
            self.begin_ending(class, detail, true);
        }
    }

    fn handle_order(&mut self) {
        if *self.orders.borrow_and_update() == Order::Stop {
            self.begin_ending(JobFailure::Interrupted, "stopped by the gateway".to_owned(), false);
        }
    }

    fn handle_tick(&mut self, now: Instant) {
        self.teller.tell(None, Vec::new());
        if let Some(ending) = &mut self.ending {
            return ending.harder(&self.group, now);
        }
        let (stalled, limit) = (self.tool.stalled, self.limit);
        if self.port.is_lost() {
            let detail = format!("{} went away while {}", self.port.path().display(), self.doing());
            self.begin_ending(JobFailure::PortLost, detail, false);
        } else if self.is_too_heavy(now) {
            let most = self.tool.sandbox.max_folder;
            let detail = format!("more than {most} bytes, or too many files, in its folder while {}", self.doing());
            self.begin_ending(JobFailure::LimitExceeded, detail, false);
        } else if now.duration_since(self.started) >= limit {
            let detail = format!("not done within {} while {}{}", short(limit), self.doing(), self.last_words());
            self.begin_ending(JobFailure::TimedOut, detail, false);
        } else if now.duration_since(self.alive) >= stalled {
            let detail = format!("no progress for {} while {}{}", short(stalled), self.doing(), self.last_words());
            self.begin_ending(JobFailure::Stalled, detail, false);
        }
    }

    fn is_too_heavy(&mut self, now: Instant) -> bool {
        if now < self.weighed || !self.tool.sandbox.on {
            return false;
        }
        self.weighed = now + WEIGHED;
        scratch::exceeds(&self.folder, self.tool.sandbox.max_folder)
    }

    fn begin_ending(&mut self, class: JobFailure, detail: String, by_line: bool) {
        if self.ending.is_none() {
            debug!(?class, detail, "ending the tool");
            self.group.signal(Signal::TERM);
            self.ending = Some(Ending { class, detail, by_line, next: Instant::now() + GRACE, killed: false });
        }
    }

    /// Everything that could write is dead: what is in the pipes is all that will come.
    async fn drain(&mut self) {
        let deadline = Instant::now() + DRAIN_LIMIT;
        for stream in [Stream::Stdout, Stream::Stderr] {
            loop {
                let output = match stream {
                    Stream::Stdout => &mut self.stdout,
                    Stream::Stderr => &mut self.stderr,
                };
                if !output.is_open() || Instant::now() >= deadline {
                    break;
                }
                match tokio::time::timeout(DRAIN_SILENCE, output.read()).await {
                    Ok(read) => self.handle_output(stream, read),
                    Err(_) => break,
                }
            }
        }
    }

    fn outcome(self, end: &End) -> JobOutcome {
        let told = match end {
            End::Ended(exit, saved) => self.judge(*exit, saved.as_ref()),
            End::NotStarted(error) => failed(JobFailure::NotStarted, format!("cannot start the tool: {error}")),
            End::HeldBack => failed(JobFailure::NotStarted, "the tool was held back"),
        };
        let last_words = self.last_words();
        match self.ending {
            // What the tool said of it comes when the run is being ended already.
            Some(Ending { class: JobFailure::PortLost, detail, by_line: false, .. }) if is_failure(&told) => {
                failed(JobFailure::PortLost, format!("{detail}{last_words}"))
            }
            // It was done before it heard that it should end.
            Some(Ending { by_line: false, .. }) if !is_failure(&told) => told,
            Some(Ending { class, detail, .. }) => failed(class, detail),
            None => told,
        }
    }

    fn judge(&self, exit: Exit, saved: Option<&Saved>) -> JobOutcome {
        let decided = match self.flash_bytes {
            Some(flash_bytes) => outcome::decide(&self.tool, &self.scanner, exit, flash_bytes),
            None => outcome::decide_backup(&self.tool, &self.scanner, exit, saved),
        };
        match decided {
            JobOutcome::Failed { detail, .. } if self.port.is_lost() => {
                let port = self.port.path().display();
                failed(JobFailure::PortLost, format!("{port} went away while {}: {detail}", self.doing()))
            }
            outcome => outcome,
        }
    }

    fn doing(&self) -> &'static str {
        match self.scanner.phase() {
            Phase::Prepare => "connecting",
            Phase::Write => "writing",
            Phase::Verify => "verifying",
        }
    }

    fn last_words(&self) -> String {
        self.scanner.last_line().map_or_else(String::new, |line| format!("; last line: {line}"))
    }
}

fn is_failure(outcome: &JobOutcome) -> bool {
    matches!(outcome, JobOutcome::Failed { .. })
}

impl Ending {
    fn harder(&mut self, group: &Group, now: Instant) {
        if now >= self.next {
            if self.killed {
                warn!("a tool was killed and is still there: it waits for its device");
            }
            group.signal(Signal::KILL);
            self.killed = true;
            self.next = now + STUCK;
        }
    }
}

/// Tells what is new without ever waiting for who listens.
struct Teller<'e> {
    events: &'e mpsc::Sender<JobEvent>,
    secrets: Secrets,
    /// The newest progress that found no room yet.
    progress: Option<(Phase, u8)>,
    second: Instant,
    lines: usize,
}

impl Teller<'_> {
    fn tell(&mut self, progress: Option<(Phase, u8)>, lines: Vec<String>) {
        self.progress = progress.or(self.progress);
        self.tell_last();
        if self.second.elapsed() >= Duration::from_secs(1) {
            (self.second, self.lines) = (Instant::now(), 0);
        }
        let room = LINES_PER_SECOND.saturating_sub(self.lines);
        for line in lines.into_iter().take(room) {
            self.lines += 1;
            let _ = self.events.try_send(JobEvent::Line(self.secrets.hidden(line)));
        }
    }

    fn tell_last(&mut self) {
        let Some((phase, percent)) = self.progress else { return };
        if !matches!(self.events.try_send(JobEvent::Progress { phase, percent }), Err(TrySendError::Full(_))) {
            self.progress = None;
        }
    }
}

fn short(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}
