//! Child processes: started from one thread, their output collected, ended with their value.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::wait::eventually;

/// How many lines of a failed test's processes are printed.
const SHOWN: usize = 120;

/// Ten times what a reader takes to be through with the output of a program that has ended, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody who is not root.
#[derive(Debug, Clone)]
pub struct User {
    /// User and group id.
    pub id: u32,
}

impl User {
    /// An id that owns nothing on this machine and is in no group.
    pub(crate) fn nobody_special() -> Self {
        assert!(rustix::process::geteuid().is_root(), "only root can run processes as another user");
        Self { id: 61_184 }
    }

    /// Gives a path to this user.
    pub(crate) fn own(&self, path: &Path) {
        std::os::unix::fs::chown(path, Some(self.id), Some(self.id)).expect("root may give files away");
    }
}

/// A running program. Dropped, it is killed with its whole process group, and its output is printed if the test is
/// failing.
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Arc<Lines>,
}

/// What a program has printed, both streams together, as it came.
#[derive(Default)]
struct Lines(Mutex<Vec<(Duration, String)>>);

impl Process {
    /// Starts a program in a process group of its own; `user` needs root.
    pub fn start(name: &str, command: &Command, user: Option<&User>) -> Self {
        let mut child = spawn(wrapped(command, user));
        let lines = Arc::new(Lines::default());
        let began = Instant::now();
        collect(&lines, began, child.stdout.take().expect("stdout is piped"));
        collect(&lines, began, child.stderr.take().expect("stderr is piped"));
        let stdin = child.stdin.take();
        Self { name: name.to_owned(), child, stdin, lines }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("a process that is told something has its input open");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("the process reads its input");
    }

    /// Closes its standard input.
    pub(crate) fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Everything that it has printed, once it has ended.
    pub(crate) fn all_output(&self) -> String {
        // The readers may still be at the last lines; each holds a share of them until it is through.
        eventually("the end of the output", PATIENCE, || (Arc::strong_count(&self.lines) == 1).then_some(()));
        self.output()
    }

    /// How many lines it has printed so far: a place to wait from.
    pub fn mark(&self) -> usize {
        self.lines.lock().len()
    }

    /// The first line after `mark` that `wanted` likes; panics when there is none in time or the process ends.
    pub fn line_after<T>(&mut self, mark: usize, within: Duration, wanted: impl Fn(&str) -> Option<T>) -> T {
        let what = format!("a line of {}", self.name);
        eventually(&what, within, || {
            let ended = self.try_wait();
            let found = self.lines.lock().iter().skip(mark).find_map(|(_, line)| wanted(line));
            assert!(found.is_some() || ended.is_none(), "{} ended with {ended:?}:\n{}", self.name, self.output());
            found
        })
    }

    /// Waits for a line with these words after `mark`, and gives the mark behind it.
    pub(crate) fn await_words(&mut self, mark: usize, within: Duration, words: &str) -> usize {
        let lines = Arc::clone(&self.lines);
        self.line_after(mark, within, |line| line.contains(words).then_some(()));
        let found = lines.lock().iter().skip(mark).position(|(_, line)| line.contains(words));
        mark + 1 + found.expect("it was just there")
    }

    /// Everything it has printed.
    pub fn output(&self) -> String {
        let lines = self.lines.lock();
        lines.iter().map(|(_, line)| format!("{line}\n")).collect()
    }

    /// What it has printed and still prints, to be read without the process.
    pub(crate) fn printed(&self) -> Printed {
        Printed { lines: Arc::clone(&self.lines), read: self.mark() }
    }

    /// Sends a signal to the process itself, not to its group.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("our own child takes signals");
    }

    /// It stops where it is, with all its threads.
    pub(crate) fn freeze(&self) {
        freeze(self.pid());
    }

    /// Whether it has ended.
    pub fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be waited for")
    }

    /// Waits for its end.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        eventually(&what, within, || self.try_wait())
    }

    /// SIGKILL to the whole group, and waits.
    pub fn kill(&mut self) {
        if self.try_wait().is_none() {
            // A group that is just gone is as good.
            kill_process_group(self.pid(), Signal::KILL).ok();
            self.child.wait().expect("our own child can be waited for");
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn print(&self) {
        let lines = self.lines.lock();
        let skipped = lines.len().saturating_sub(SHOWN);
        let mut text = format!("---- {} ({} lines, last {SHOWN}):\n", self.name, lines.len());
        for (at, line) in lines.iter().skip(skipped) {
            text.push_str(&format!("{:8.3} {line}\n", at.as_secs_f64()));
        }
        say(&text);
    }
}

/// What a program prints, as it comes: outlives the process, and may be read from another thread.
#[derive(Clone)]
pub(crate) struct Printed {
    lines: Arc<Lines>,
    read: usize,
}

impl Printed {
    /// The lines that have come since this was asked last.
    pub(crate) fn fresh(&mut self) -> Vec<String> {
        let lines = self.lines.lock();
        let fresh = lines.iter().skip(self.read).map(|(_, line)| line.clone()).collect();
        self.read = lines.len();
        fresh
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            self.print();
        }
    }
}

impl Lines {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Duration, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a program to its end and gives its status and what it printed, standard error after standard output.
pub(crate) fn run(name: &str, command: &Command, within: Duration) -> (ExitStatus, String) {
    run_as(name, command, None, within)
}

/// The same as somebody else.
pub(crate) fn run_as(name: &str, command: &Command, user: Option<&User>, within: Duration) -> (ExitStatus, String) {
    let mut process = Process::start(name, command, user);
    process.stdin = None;
    let status = process.wait(within);
    (status, process.all_output())
}

/// The flash tools that run now: processes with this port as an argument of its own.
pub fn processes_naming(port: &Path) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let arguments = all.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok());
    let port = port.to_str().expect("a path of ours");
    // The board itself names it, too: as what `--link` or `--pty` is to be.
    let is_board = |line: &str| line.contains("\0--link\0") || line.contains("\0--pty\0");
    let names = |line: &String| line.split('\0').any(|word| word == port) && !is_board(line);
    arguments.filter(names).map(|line| line.replace('\0', " ")).collect()
}

/// Stops a process where it is, and returns once it stands still or is gone.
pub(crate) fn freeze(process: Pid) {
    // One that is gone is as good.
    kill_process(process, Signal::STOP).ok();
    let tasks = format!("/proc/{}/task", process.as_raw_nonzero());
    eventually("a process stands still", PATIENCE, || {
        let threads = std::fs::read_dir(&tasks).into_iter().flatten().flatten();
        let mut states = threads.filter_map(|thread| state_of(&thread.path()));
        states.all(|(state, _)| matches!(state, 'T' | 'Z' | 'X')).then_some(())
    });
}

/// The living children of a process: a daemon's tools.
pub(crate) fn children(parent: u32) -> Vec<Pid> {
    let all = std::fs::read_dir("/proc").expect("/proc is there").flatten();
    let ours = all.filter(|entry| parent_of(&entry.path()) == Some(parent));
    let id = |name: &str| Pid::from_raw(name.parse().ok()?);
    ours.filter_map(|entry| id(entry.file_name().to_str()?)).collect()
}

/// The parent of a process that is not dead.
fn parent_of(process: &Path) -> Option<u32> {
    state_of(process).filter(|(state, _)| !matches!(state, 'Z' | 'X')).map(|(_, parent)| parent)
}

/// State and parent of a process or thread: `PID (NAME) STATE PPID ...`.
fn state_of(process: &Path) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// Prints to standard error, where cargo shows it for a failed test.
#[expect(clippy::print_stderr, reason = "a failed test shows what its processes said")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}

fn collect(lines: &Arc<Lines>, began: Instant, stream: impl Read + Send + 'static) {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            lines.lock().push((began.elapsed(), text));
            line.clear();
        }
    });
}

/// The same command through `setpriv`, so that it dies with this process and may run as somebody else.
fn wrapped(command: &Command, user: Option<&User>) -> Command {
    // By its path: the command may have a PATH of its own.
    let mut outer = Command::new(crate::cache::program("avr", "setpriv"));
    outer.args(["--pdeathsig", "KILL"]);
    if let Some(user) = user {
        let id = user.id.to_string();
        outer.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    }
    outer.arg("--").arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        outer.current_dir(dir);
    }
    outer.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    outer
}

/// A parent-death signal follows the thread that spawned the child, and a test's thread ends with its test: so one
/// thread that lives as long as this process spawns everything.
fn spawn(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                // A test that is gone needs no child.
                reply.send(command.spawn()).ok();
            }
        });
        Mutex::new(orders)
    });
    let program = format!("{command:?}");
    let (reply, child) = mpsc::channel();
    spawner.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply)).expect("the spawner lives for ever");
    child.recv().expect("the spawner answers").unwrap_or_else(|error| panic!("cannot start {program}: {error}"))
}
