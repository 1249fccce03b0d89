//! The life of one run: made ready, held until the journal is on disk, let loose, watched, ended, judged.
//!
//! One task per job, beside the thread of `process`. What it sees goes to `scanner`, what came of it is decided by
//! `outcome`. Whatever happens, the last event is `Ended`, after which nothing of the run is left and the lease comes
//! back.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument, debug, info_span};

use crate::device::{FlashJob, JobEvent, JobFailure, JobOutcome, JobStart, JobTask, Lease};
use crate::procfs::{self, Process};

use super::backup;
use super::command::{self, Arguments, Secrets};
use super::gate;
use super::outcome::failed;
use super::plan;
use super::port::Port;

use super::process::{self, Call, End, Group, Held};
use super::program::Program;
use super::scratch::Scratch;
use super::supervisor::{Supervisor, Watched};
use super::tool::Tool;
use super::tools::Tools;
use super::walls::{self, Touched};

/// Longest wait for the journal; a tool that was not let loose by then never starts.
const GATE_LIMIT: Duration = Duration::from_secs(60);

/// The file in a job's folder that a tool may write.
pub(super) const OUT: &str = "out";

/// A run as its owner holds it. Dropped before [`release`](Self::release), the tool never starts; dropped later, the
/// run goes on and the lease gives itself back at its end.
#[derive(Debug)]
pub struct JobHandle {
    orders: watch::Sender<Order>,
    lease: Option<oneshot::Receiver<Lease>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Hold,
    Release,
    Stop,
}

impl JobHandle {
    /// The journal is on disk: the program may begin.
    pub fn release(&self) {
        self.orders.send_if_modified(|order| {
            let held = *order == Order::Hold;
            if held {
                *order = Order::Release;
            }
            held
        });
    }

    /// Ends the run: SIGTERM to the group, SIGKILL after two seconds. The outcome is still told.
    pub fn stop(&self) {
        self.orders.send_replace(Order::Stop);
    }

    /// The lease, once the run is over and nothing of it is left. To be taken once.
    pub fn take_lease(&mut self) -> Option<oneshot::Receiver<Lease>> {
        self.lease.take()
    }

    /// Waits for the end and gives the lease back; `None` when it was taken, or the runtime shut down.
    pub async fn into_lease(mut self) -> Option<Lease> {
        self.lease.take()?.await.ok()
    }
}

/// Starts a run. Must be called within a tokio runtime.
pub(super) fn start(
    tools: Arc<Tools>,
    scratch: PathBuf,
    job: FlashJob,
    lease: Lease,
    events: mpsc::Sender<JobEvent>,
) -> JobHandle {
    let (orders, received) = watch::channel(Order::Hold);
    let (give_back, lease_back) = oneshot::channel();
    let span = info_span!("job", device = %job.device, update = %job.update, attempt = job.attempt);
    let run = async move {
        let outcome = run(tools, scratch, job, &events, received).await;
        debug!(?outcome, "run is over");
        // Nobody need listen any more; a lease that nobody takes gives itself back.
        let _ = events.send(JobEvent::Ended(outcome)).await;
        let _ = give_back.send(lease);
    };
    tokio::spawn(run.instrument(span));
    JobHandle { orders, lease: Some(lease_back) }
}

/// Everything that was found out before the fork.
struct Prepared {
    tool: Arc<Tool>,
    program: Program,
    /// As it may be kept: without secrets.
    argv: Vec<String>,
    port: Port,
    /// The job's own.
    folder: PathBuf,
    secrets: Secrets,
    held: Held,
}

async fn run(
    tools: Arc<Tools>,
    scratch: PathBuf,
    job: FlashJob,
    events: &mpsc::Sender<JobEvent>,
    mut orders: watch::Receiver<Order>,
) -> JobOutcome {
    let limit = job.timeout;
    let flash_bytes = matches!(job.task, JobTask::Flash).then_some(job.image.info.flash_bytes);
    let marker = format!("{}.{}", uuid::Uuid::now_v7(), procfs::boot_id());
    let (prepared, mut end) = match begin(tools, scratch, job, marker.clone()).await {
        Ok(begun) => begun,
        Err(outcome) => return outcome,
    };
    let Prepared { tool, program, argv, port, folder, secrets, held } = prepared;
    let Held { gate, streams, group, .. } = held;
    let (mut gate, pid) = match announced(gate, &mut end).await {
        Ok(announced) => announced,
        Err(outcome) => return outcome,
    };
    group.announce(pid);
    let _ = events.send(JobEvent::Ready(job_start(&tool, &program, argv, pid, marker))).await;
    if let Err(outcome) = wait_for_the_word(&mut orders).await {
        return give_up(&group, end, outcome).await;
    }
    if gate.write_all(&[gate::GO]).await.is_err() {
        debug!("the tool is gone already");
    }
    drop(gate);
    let limit = tool.total.min(limit);
    let watched = Watched { tool, port, folder, secrets, group, streams, end, orders, limit, flash_bytes };
    match Supervisor::new(watched, events) {
        Ok(supervisor) => supervisor.run().await,
        Err((group, end, error)) => {
            let outcome = failed(JobFailure::NotStarted, format!("cannot read its output: {error}"));
            give_up(&group, end, outcome).await
        }
    }
}

/// Ends a process that was not watched, and waits until nothing of it is left. That its gate closes would do, but copies
/// of our end may live in children that are forked meanwhile.
async fn give_up(group: &Group, end: oneshot::Receiver<End>, outcome: JobOutcome) -> JobOutcome {
    group.signal(Signal::KILL);
    let _ = end.await;
    outcome
}

/// Starts the thread that owns the process, and takes what it prepared.
async fn begin(
    tools: Arc<Tools>,
    scratch: PathBuf,
    job: FlashJob,
    marker: String,
) -> Result<(Prepared, oneshot::Receiver<End>), JobOutcome> {
    let (tell_prepared, prepared) = oneshot::channel();
    let (tell_end, end) = oneshot::channel();
    let own = move || {
        let prepared = prepare(&tools, &scratch, &job, &marker);
        let (command, scratch, mut prepared) = match prepared {
            Ok(prepared) => prepared,
            Err(outcome) => return drop(tell_prepared.send(Err(outcome))),
        };
        let group = Arc::clone(&prepared.held.group);
        let cgroup = prepared.held.cgroup.take();
        if tell_prepared.send(Ok(prepared)).is_ok() {
            let mut end = process::run(command, &group, cgroup, &marker);
            if let (End::Ended(_, saved), JobTask::Backup { to }) = (&mut end, &job.task) {
                *saved = Some(backup::take(&scratch.path().join(OUT), to));
            }
            drop(scratch);
            let _ = tell_end.send(end);
        }
    };
    let thread = std::thread::Builder::new().name("tool".to_owned()).spawn(own);
    thread.map_err(|error| failed(JobFailure::NotStarted, format!("cannot start a thread: {error}")))?;
    let lost = |_| failed(JobFailure::NotStarted, "the thread of the tool is gone");
    Ok((prepared.await.map_err(lost)??, end))
}

/// Everything before the fork; the port comes last, since opening it may reset the board.
fn prepare(
    tools: &Tools,
    scratch: &Path,
    job: &FlashJob,
    marker: &str,
) -> Result<(Command, Scratch, Prepared), JobOutcome> {
    let not_started = |detail: String| failed(JobFailure::NotStarted, detail);
    let (tool, program) = plan::choose(tools, job).map_err(not_started)?;
    let above = scratch.parent().unwrap_or(scratch);
    let scratch = Scratch::new(scratch, marker, &job.device)
        .map_err(|error| not_started(format!("cannot make its folder: {error}")))?;
    let out = scratch.path().join(OUT);
    let arguments = command::arguments(tool, program.version.as_ref(), job, &out);
    let arguments = arguments.map_err(|error| not_started(format!("tool `{}`: {error}", tool.name())))?;
    let (argv, stdio, folder) = (&arguments.given, tool.stdio, scratch.path());
    let prepared = process::prepare(&Call { program: &program.path, argv, stdio, folder, marker });
    let (mut command, held) = prepared.map_err(|error| not_started(format!("cannot prepare the tool: {error}")))?;
    let path = job.link.serial_path().ok_or_else(|| not_started(format!("{} is no serial port", job.link)))?;
    let touched = Touched { folder: scratch.path(), image: &job.image.path, port: path, state: above };
    walls::raise(&mut command, &tool.sandbox, &touched)
        .map_err(|error| not_started(format!("cannot make its sandbox: {error}")))?;
    let port = Port::check(path).map_err(|error| failed(JobFailure::PortUnavailable, error.to_string()))?;
    let (tool, folder) = (Arc::clone(tool), scratch.path().to_owned());
    let Arguments { shown: argv, secrets, .. } = arguments;
    Ok((command, scratch, Prepared { tool, program, argv, port, folder, secrets, held }))
}

/// Waits until the child exists and waits at its gate.
async fn announced(
    gate: std::os::unix::net::UnixStream,
    end: &mut oneshot::Receiver<End>,
) -> Result<(UnixStream, Pid), JobOutcome> {
    let not_started = |error: std::io::Error| failed(JobFailure::NotStarted, format!("cannot start the tool: {error}"));
    gate.set_nonblocking(true).map_err(not_started)?;
    let mut gate = UnixStream::from_std(gate).map_err(not_started)?;
    let mut id = [0; 4];
    tokio::select! {
        read = gate.read_exact(&mut id) => { read.map_err(not_started)?; }
        ended = end => return Err(match ended {
            Ok(End::NotStarted(error)) => not_started(error),
            _ => failed(JobFailure::NotStarted, "the tool ended before it began"),
        }),
    }
    let pid = Pid::from_raw(i32::from_ne_bytes(id));
    Ok((gate, pid.ok_or_else(|| failed(JobFailure::NotStarted, "the tool told no process id"))?))
}

fn job_start(tool: &Tool, program: &Program, argv: Vec<String>, pid: Pid, marker: String) -> JobStart {
    let pid = pid.as_raw_nonzero().get().unsigned_abs();
    JobStart {
        tool: tool.name().to_owned(),
        program: program.path.clone(),
        tool_version: program.version.as_ref().map(ToString::to_string),
        argv: std::iter::once(program.path.display().to_string()).chain(argv).collect(),
        pid,
        start_time: Process::read(pid).map_or(0, |process| process.start_time),
        marker,
    }
}

async fn wait_for_the_word(orders: &mut watch::Receiver<Order>) -> Result<(), JobOutcome> {
    let stopped = || failed(JobFailure::Interrupted, "stopped before the tool began");
    let word = tokio::time::timeout(GATE_LIMIT, orders.wait_for(|order| *order != Order::Hold)).await;
    match word {
        Ok(Ok(order)) if *order == Order::Release => Ok(()),
        Ok(_) => Err(stopped()),
        Err(_) => Err(failed(JobFailure::NotStarted, "the journal was not written within a minute")),
    }
}
