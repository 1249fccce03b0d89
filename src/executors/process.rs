//! One subprocess from fork to the last of its children: a thread of its own starts it, waits for it and clears up.
//!
//! The thread lives longer than the process: the kernel's parent-death signal follows the thread that forked, so a
//! thread that ended early would kill the tool. Having one per job, instead of one for all, lets a job that waits at its
//! gate hold up no other. Driven by `job`; blocking here, channels outwards.

use std::io;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tracing::warn;

use crate::device::Sha256Digest;

use super::cgroup::Cgroup;
use super::environment;
use super::gate;
use super::outcome::Exit;
use super::proc;
use super::streams::{Stdio, Streams};

/// How long what the tool left running may take to die of SIGKILL before it is given up, with a warning.
const CLEAR_UP_LIMIT: Duration = Duration::from_secs(5);

/// A process that was asked for. It exists once it has announced itself at `gate`.
pub(super) struct Held {
    /// Four bytes come out, the process id; [`gate::GO`] goes in.
    pub(super) gate: UnixStream,
    pub(super) streams: Streams,
    /// For signals to the process and its group.
    pub(super) group: Arc<Group>,
    /// Of the job, where there is one; goes to [`run`].
    pub(super) cgroup: Option<Cgroup>,
}

/// A file that was read from a board, by length and digest; or why there is none.
pub(super) type Saved = Result<(u64, Sha256Digest), String>;

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    /// The program never began.
    NotStarted(io::Error),
    /// The gate was never opened.
    HeldBack,
    /// It ran; nothing of it is left. Of a backup, what came of it.
    Ended(Exit, Option<Saved>),
}

/// A process group that may be signalled only as long as its leader was not reaped: afterwards the id can be anybody's.
#[derive(Debug, Default)]
pub(super) struct Group(Mutex<Leader>);

#[derive(Debug, Default, Clone, Copy)]
enum Leader {
    #[default]
    Unknown,
    Running(Pid),
    Reaped,
}

impl Group {
    /// The leader has told its id.
    pub(super) fn announce(&self, pid: Pid) {
        let mut leader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*leader, Leader::Unknown) {
            *leader = Leader::Running(pid);
        }
    }

    /// Signals every process of the group; nothing happens once the leader was reaped.
    pub(super) fn signal(&self, signal: Signal) {
        if let Leader::Running(pid) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = rustix::process::kill_process_group(pid, signal);
            if signal == Signal::KILL {
                // It may have left its own group.
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }

    /// Kills the group while its leader, dead but not reaped, still keeps the id; then reaps.
    fn finish(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let mut leader = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = rustix::process::kill_process_group(Pid::from_child(child), Signal::KILL);
        *leader = Leader::Reaped;
        child.wait()
    }
}

/// A program and its place.
pub(super) struct Call<'a> {
    pub(super) program: &'a Path,
    pub(super) argv: &'a [String],
    /// Where it prints to.
    pub(super) stdio: Stdio,
    /// The job's private folder.
    pub(super) folder: &'a Path,
    /// Names the job in its environment.
    pub(super) marker: &'a str,
}

/// A command that is ready to be forked, and our ends of its streams.
pub(super) fn prepare(call: &Call<'_>) -> io::Result<(Command, Held)> {
    let (gate, child_end) = UnixStream::pair()?;
    let mut command = Command::new(call.program);
    command.args(call.argv).env_clear().envs(environment::of_job(call.folder, call.marker)).current_dir(call.folder);
    let streams = call.stdio.give(&mut command)?;
    command.process_group(0);
    let cgroup = Cgroup::new(call.marker);
    if let Some(cgroup) = &cgroup {
        cgroup.enter(&mut command)?;
    }
    gate::hold(&mut command, child_end, &gate);
    Ok((command, Held { gate, streams, group: Arc::default(), cgroup }))
}

/// Forks, waits at the gate and then for the end; when this returns nothing of the process is left. Blocking for the
/// whole run.
pub(super) fn run(mut command: Command, group: &Group, cgroup: Option<Cgroup>, marker: &str) -> End {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if gate::was_held_back(&error) => return End::HeldBack,
        Err(error) => return End::NotStarted(error),
    };
    // Our copies of the child's ends close, so that its streams end when it does.
    drop(command);
    group.announce(Pid::from_child(&child));
    let id = WaitId::Pid(Pid::from_child(&child));
    let waited = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(id.clone(), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
    });
    if let Err(error) = waited {
        warn!(%error, pid = child.id(), "cannot wait for a tool: it is killed");
    }
    let leader = child.id();
    let status = group.finish(&mut child);
    clear_up(leader, cgroup, marker);
    match status {
        Ok(status) => End::Ended(exit_of(status), None),
        Err(error) => End::NotStarted(error),
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    status.code().map_or_else(|| Exit::Signal(status.signal().unwrap_or(0)), Exit::Code)
}

/// Ends what left the group, and waits until what was killed in it is gone.
fn clear_up(leader: u32, cgroup: Option<Cgroup>, marker: &str) {
    drop(cgroup);
    let ended = proc::end_all(|process| process.group == leader || proc::carries(process, marker), CLEAR_UP_LIMIT);
    for process in &ended.killed {
        tracing::debug!(process = %process.told(), "ended what a tool had left running");
    }
    for process in &ended.left {
        warn!(process = %process.told(), "left over from a tool, and it cannot be ended");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn held(script: &str) -> (Held, std::thread::JoinHandle<End>, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let argv = ["-c".to_owned(), script.to_owned()];
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let marker = format!("process-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (program, marker) = (Path::new("/bin/sh"), marker.as_str());
        let call = Call { program, argv: &argv, stdio: Stdio::Pipe, folder: folder.path(), marker };
        let (command, mut held) = prepare(&call).expect("prepared");
        let (group, cgroup, marker) = (Arc::clone(&held.group), held.cgroup.take(), marker.to_owned());
        let thread = std::thread::spawn(move || run(command, &group, cgroup, &marker));
        (held, thread, folder)
    }

    fn announced(held: &mut Held) -> Pid {
        let mut id = [0; 4];
        held.gate.read_exact(&mut id).expect("announced");
        Pid::from_raw(i32::from_ne_bytes(id)).expect("an id")
    }

    #[test]
    fn a_child_waits_at_the_gate_and_execs_at_the_word() {
        let (mut held, thread, _folder) = held("echo $NUNCIO_JOB; exit 7");
        let pid = announced(&mut held);
        let command = std::fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).expect("it exists");
        assert!(!command.contains("NUNCIO_JOB"), "the program has not begun: {command}");
        assert_eq!(rustix::process::getpgid(Some(pid)), Ok(pid), "it leads its own group");
        held.gate.write_all(&[gate::GO]).expect("let through");
        assert!(matches!(thread.join().expect("no panic"), End::Ended(Exit::Code(7), None)));
        let mut output = String::new();
        std::fs::File::from(held.streams.stdout).read_to_string(&mut output).expect("read");
        assert!(output.starts_with("process-test-"), "{output}");
    }

    #[test]
    fn a_child_whose_gate_closes_never_execs() {
        let (mut held, thread, folder) = held("touch ran");
        announced(&mut held);
        drop(held);
        assert!(matches!(thread.join().expect("no panic"), End::HeldBack));
        assert!(!folder.path().join("ran").exists());
    }

    #[test]
    fn a_child_that_is_killed_at_the_gate_never_execs() {
        let (mut held, thread, folder) = held("touch ran");
        let pid = announced(&mut held);
        held.group.announce(pid);
        held.group.signal(Signal::KILL);
        let end = thread.join().expect("no panic");
        assert!(matches!(end, End::Ended(Exit::Signal(9), None) | End::NotStarted(_)), "{end:?}");
        assert!(!folder.path().join("ran").exists());
    }

    #[test]
    fn a_child_at_its_gate_keeps_no_other_port_open() {
        let other =
            rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::CLOEXEC).expect("a pty");
        let (mut held, thread, _folder) = held("exit 0");
        let pid = announced(&mut held).as_raw_nonzero();
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it exists").flatten();
        let open: Vec<_> = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
        assert!(open.len() > 3 && open.iter().all(|target| !target.ends_with("ptmx")), "{open:?}");
        drop(other);
        held.gate.write_all(&[gate::GO]).expect("let through");
        assert!(matches!(thread.join().expect("no panic"), End::Ended(Exit::Code(0), None)));
    }

    #[test]
    fn a_program_that_cannot_be_executed_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("broken");
        std::fs::write(&program, "no program").expect("written");
        let call =
            Call { program: &program, argv: &[], stdio: Stdio::Pipe, folder: folder.path(), marker: "broken-test" };
        let (command, mut held) = prepare(&call).expect("prepared");
        let (group, cgroup) = (Arc::clone(&held.group), held.cgroup.take());
        let thread = std::thread::spawn(move || run(command, &group, cgroup, "broken-test"));
        announced(&mut held);
        held.gate.write_all(&[gate::GO]).expect("let through");
        let End::NotStarted(error) = thread.join().expect("no panic") else { panic!("it cannot run") };
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }
}
