//! Tools that hang, flood, lie, die and leave children behind, as real processes under the executor.

mod misbehaving;

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nuncio::device::{
    BoardId, DeviceId, FlashJob, ImageFormat, ImageInfo, JobEvent, JobFailure, JobOutcome, JobStart, JobTask, Lease,
    Link, Phase, Sha256Digest, StagedImage, ToolOutput, UpdateId,
};
use nuncio::executors::{Executor, ExecutorSettings, JobHandle, Leftover, ToolChoice, Tools, sweep};
use tokio::sync::mpsc;

/// Far more than any of these runs takes.
const LONG: Duration = Duration::from_secs(60);

/// A folder with one tool, whose program is a shell script, one port and one image.
struct World {
    folder: tempfile::TempDir,
    executor: Executor,
    job: FlashJob,
    returned: Arc<AtomicBool>,
}

struct Run {
    handle: JobHandle,
    events: mpsc::Receiver<JobEvent>,
}

/// What came of a whole run.
struct Ended {
    start: Option<JobStart>,
    outcome: JobOutcome,
    progress: Vec<(Phase, u8)>,
    lines: Vec<String>,
    output: Option<ToolOutput>,
    took: Duration,
}

const TOOL: &str = r##"
schema = 1
[tool.flasher]
program = ["PROGRAM"]
install = "apt install flasher"
needs = ["speed"]
vars = { verb = "write", "secret.key" = "hush" }
formats = { raw = "r" }
argv = ["{verb}", "{port.path}", "--speed={speed}", "{image.path}", "{image.size}", "{image.format}", "v{image.version}", "{attempt}", "{secret.key}"]
optional = [{ when = { speed = "9600" }, argv = ["--slow"] }, { when = { verb = "read" }, argv = ["--never"] }]
timeouts = { stalled = "STALLED", total = "TOTAL" }
# What scripts do here, they do to files of the test.
sandbox = { on = false }
alive = ['^still here']
[[tool.flasher.progress]]
phase = "write"
regex = '^at (?P<percent>\d+)%'
[[tool.flasher.progress]]
phase = "verify"
start = '^verifying '
count = "#"
full = 10
[[tool.flasher.kill_on]]
text = 'will never end'
class = "no-sync"
[[tool.flasher.outcome]]
exit = 0
require = ['verified (?P<bytes>\d+) bytes']
result = "ok"
[[tool.flasher.outcome]]
text = 'chip is wrong'
class = "wrong-device"
"##;

impl World {
    fn new(script: &str) -> Self {
        Self::with_limits(script, "30s", "50s")
    }

    fn with_limits(script: &str, stalled: &str, total: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("a folder; with $HOME ").tempdir().expect("a folder");
        let program = folder.path().join("flasher.sh");
        write_program(&program, &format!("#!/bin/sh\n{script}\n"));
        let program = program.to_str().expect("text");
        Self::with_tool(folder, &TOOL.replace("PROGRAM", program).replace("STALLED", stalled).replace("TOTAL", total))
    }

    fn with_tool(folder: tempfile::TempDir, tool: &str) -> Self {
        let overlay = folder.path().join("flash-tools");
        std::fs::create_dir(&overlay).expect("made");
        std::fs::write(overlay.join("flasher.toml"), tool).expect("written");
        let table = BTreeMap::from([("bench".to_owned(), ToolChoice::Tool("flasher".to_owned()))]);
        let tools =
            Tools::load(Some(&overlay), &ExecutorSettings(table)).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let executor = Executor::new(Arc::new(tools), folder.path().join("jobs"));
        let job = job(folder.path());
        Self { folder, executor, job, returned: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self) -> Run {
        let returned = Arc::clone(&self.returned);
        let give_back = Box::new(move |_: &Link| returned.store(true, Ordering::SeqCst));
        let lease = Lease::new(self.job.link.clone(), "a test", give_back);
        let (tell, events) = mpsc::channel(4096);
        Run { handle: self.executor.start(self.job.clone(), lease, tell), events }
    }

    /// A run that is let loose at once.
    async fn run(&self) -> Ended {
        let mut run = self.start();
        run.handle.release();
        let ended = run.end().await;
        self.assert_clean(&ended, run.handle).await;
        ended
    }

    /// Nothing is left: no process, no folder, and the lease is back.
    async fn assert_clean(&self, ended: &Ended, handle: JobHandle) {
        let lease = handle.into_lease().await.expect("the lease comes back");
        assert_eq!(lease.link(), &self.job.link);
        if let Some(start) = &ended.start {
            assert_eq!(carriers(&start.marker), Vec::<String>::new(), "processes are left");
        }
        let jobs = std::fs::read_dir(self.path("jobs")).map_or(0, Iterator::count);
        assert_eq!(jobs, 0, "the private folder is left");
    }
}

impl Run {
    async fn next(&mut self) -> JobEvent {
        let next = tokio::time::timeout(LONG, self.events.recv()).await;
        next.expect("the run does not end").expect("`Ended` comes last")
    }

    async fn ready(&mut self) -> JobStart {
        match self.next().await {
            JobEvent::Ready(start) => start,
            other => panic!("expected Ready, not {other:?}"),
        }
    }

    /// Waits for a line.
    async fn line(&mut self, wanted: &str) {
        while self.next().await != JobEvent::Line(wanted.to_owned()) {}
    }

    async fn end(&mut self) -> Ended {
        let begin = Instant::now();
        let (mut start, mut progress, mut lines, mut output) = (None, Vec::new(), Vec::new(), None);
        let outcome = loop {
            match self.next().await {
                JobEvent::Ready(ready) => start = Some(ready),
                JobEvent::Progress { phase, percent } => progress.push((phase, percent)),
                JobEvent::Line(line) => lines.push(line),
                JobEvent::Output(printed) => output = Some(printed),
                JobEvent::Ended(outcome) => break outcome,
            }
        };
        assert!(self.events.recv().await.is_none(), "nothing follows `Ended`");
        Ended { start, outcome, progress, lines, output, took: begin.elapsed() }
    }
}

impl Ended {
    fn failure(&self) -> (JobFailure, &str) {
        match &self.outcome {
            JobOutcome::Failed { class, detail } => (*class, detail),
            good @ (JobOutcome::Verified { .. } | JobOutcome::Saved { .. }) => {
                panic!("expected a failure, not {good:?}")
            }
        }
    }

    fn assert_failed(&self, class: JobFailure, words: &str) {
        let (told, detail) = self.failure();
        assert_eq!(told, class, "{detail}");
        assert!(detail.contains(words), "{detail}");
    }
}

fn job(folder: &Path) -> FlashJob {
    let (port, image) = (folder.join("tty port"), folder.join("image file.bin"));
    std::fs::write(&port, "").expect("made");
    std::fs::write(&image, "0123456789").expect("made");
    let info =
        ImageInfo { format: ImageFormat::Raw, flash_bytes: 10, ranges: Vec::new(), version: None, project: None };
    FlashJob {
        task: JobTask::Flash,
        update: UpdateId(uuid::Uuid::now_v7()),
        device: DeviceId::new("press-3"),
        board: BoardId::new("bench"),
        vars: BTreeMap::from([("speed".to_owned(), "9600".to_owned())]),
        link: Link::Serial(port),
        image: StagedImage {
            path: image,
            size: 10,
            sha256: Sha256Digest([0; 32]),
            version: Some("1.2 beta".to_owned()),
            info,
            signed_by: None,
        },
        attempt: 2,
        board_size: 32_256,
        timeout: LONG,
    }
}

/// Writes a program from another process: a child that another test forks meanwhile would keep it open, and busy.
fn write_program(path: &Path, text: &str) {
    let mut copy = Command::new("sh").args(["-c", "cat >\"$0\""]).arg(path).stdin(Stdio::piped()).spawn().expect("sh");
    copy.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    assert!(copy.wait().expect("waited").success());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("permitted");
}

/// Processes alive whose environment carries a marker.
fn carriers(marker: &str) -> Vec<String> {
    let wanted = format!("NUNCIO_JOB={marker}");
    let carries = |folder: &Path| {
        let environment = std::fs::read(folder.join("environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    processes.filter(|folder| carries(folder)).map(|folder| folder.display().to_string()).collect()
}

#[tokio::test]
async fn a_verified_flash_tells_its_start_its_progress_and_its_end() {
    let script = r##"
echo "at 50%"; echo "at 100%"; printf 'verifying '; for i in 1 2 3 4 5 6 7 8 9 10; do printf '#'; done; echo
echo "verified 10 bytes"
"##;
    let world = World::new(script);
    let ended = world.run().await;
    assert_eq!(ended.outcome, JobOutcome::Verified { bytes: 10 });
    assert_eq!(ended.lines, ["verified 10 bytes"]);
    assert_eq!(ended.progress.last(), Some(&(Phase::Verify, 100)));
    let start = ended.start.expect("it was ready");
    assert_eq!((start.tool.as_str(), start.tool_version), ("flasher", None));
    assert!(start.pid > 0 && start.start_time > 0 && !start.marker.is_empty());
}

#[tokio::test]
async fn each_template_is_one_argument_and_the_environment_is_small_and_private() {
    let world = World::new(
        r#"for a in "$@"; do echo "<$a>"; done; echo letters ${#9}; env | sort | sed 's/^/env /'; echo "cwd $(pwd)"; cat; ls -A"#,
    );
    let ended = world.run().await;
    let (port, image) = (world.path("tty port"), world.path("image file.bin"));
    let mut expected = vec!["<write>".to_owned(), format!("<{}>", port.display()), "<--speed=9600>".to_owned()];
    expected.extend([format!("<{}>", image.display())]);
    // The secret reaches the tool: the script counts its letters.
    expected.extend(["<10>", "<r>", "<v1.2 beta>", "<2>", "<***>", "<--slow>"].map(str::to_owned));
    assert!(ended.lines.contains(&"letters 4".to_owned()), "{:?}", ended.lines);
    assert_eq!(ended.lines[..10], expected);
    let argv = ended.start.as_ref().expect("it was ready").argv[1..].join("|");
    let kept: Vec<&str> = expected.iter().map(|argument| argument.trim_matches(['<', '>'])).collect();
    assert_eq!(argv, kept.join("|"));
    let environment: Vec<&str> =
        ended.lines.iter().filter_map(|line| line.strip_prefix("env ")?.split('=').next()).collect();
    assert_eq!(environment, ["HOME", "LANG", "NO_COLOR", "NUNCIO_JOB", "PATH", "PWD", "TERM", "TMPDIR"]);
    let folder = ended.lines.last().and_then(|line| line.strip_prefix("cwd ")).expect("its folder, which is empty");
    assert!(Path::new(folder).starts_with(world.path("jobs")), "{folder}");
    assert!(ended.lines.contains(&format!("env HOME={folder}")));
}

#[tokio::test]
async fn the_program_begins_only_when_it_is_let_loose() {
    let world = World::new("echo begun; echo verified 10 bytes");
    let mut run = world.start();
    let start = run.ready().await;
    let told = std::fs::read_to_string(format!("/proc/{}/cmdline", start.pid)).expect("the process exists");
    assert!(!told.contains("flasher.sh"), "{told}");
    tokio::time::timeout(Duration::from_millis(200), run.events.recv()).await.expect_err("it waits");
    run.handle.release();
    assert_eq!(run.end().await.outcome, JobOutcome::Verified { bytes: 10 });
}

#[tokio::test]
async fn a_run_that_is_dropped_or_stopped_at_the_gate_never_begins() {
    let world = World::new("touch \"$2.ran\"");
    for stop in [true, false] {
        let Run { handle, mut events } = world.start();
        assert!(matches!(events.recv().await, Some(JobEvent::Ready(_))));
        if stop {
            handle.stop();
            handle.release();
        }
        drop(handle);
        let Some(JobEvent::Ended(outcome)) = events.recv().await else { panic!("it ends") };
        assert!(matches!(outcome, JobOutcome::Failed { class: JobFailure::Interrupted, .. }), "{outcome:?}");
        assert!(!world.path("tty port.ran").exists());
        while events.recv().await.is_some() {}
    }
    tokio::time::timeout(LONG, async {
        while !world.returned.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("a lease that nobody takes gives itself back");
}

#[tokio::test]
async fn a_run_at_its_gate_holds_up_no_other() {
    let world = World::new("echo verified 10 bytes");
    let mut waiting = world.start();
    waiting.ready().await;
    assert_eq!(world.start_and_release().await, JobOutcome::Verified { bytes: 10 });
    waiting.handle.release();
    assert_eq!(waiting.end().await.outcome, JobOutcome::Verified { bytes: 10 });
}

impl World {
    async fn start_and_release(&self) -> JobOutcome {
        let mut run = self.start();
        run.handle.release();
        run.end().await.outcome
    }
}

#[tokio::test]
async fn a_silent_hang_is_stalled() {
    let ended = World::with_limits("echo first words; exec sleep 1000", "1s", "50s").run().await;
    ended.assert_failed(JobFailure::Stalled, "no progress for 1s while connecting; last line: first words");
    assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
}

#[tokio::test]
async fn a_noisy_hang_is_stalled() {
    let ended =
        World::with_limits("echo 'at 60%'; while :; do echo 'at 60%'; echo waiting; sleep 0.05; done", "1s", "50s")
            .run()
            .await;
    ended.assert_failed(JobFailure::Stalled, "no progress for 1s while writing; last line: waiting");
}

#[tokio::test]
async fn what_still_gets_on_is_not_stalled_but_has_its_total_limit() {
    let ended = World::with_limits("while :; do echo still here; sleep 0.1; done", "1s", "3s").run().await;
    ended.assert_failed(JobFailure::TimedOut, "not done within 3s");
}

#[tokio::test]
async fn the_jobs_own_limit_holds_where_it_is_shorter() {
    let mut world = World::new("exec sleep 1000");
    world.job.timeout = Duration::from_secs(1);
    world.run().await.assert_failed(JobFailure::TimedOut, "not done within 1s");
}

#[tokio::test]
async fn a_flood_is_read_in_bounded_memory_and_its_end_still_counts() {
    let world = World::new(
        "yes 'nothing of interest' | head -c 100000000; yes x | tr -d '\\n' | head -c 20000000; echo; echo verified 10 bytes",
    );
    let memory = resident_kib();
    let ended = world.run().await;
    assert_eq!(ended.outcome, JobOutcome::Verified { bytes: 10 });
    assert!(ended.lines.len() <= 50 * (ended.took.as_secs() as usize + 2), "{} lines", ended.lines.len());
    assert!(resident_kib() < memory + 30_000, "{} KiB before, {} after", memory, resident_kib());
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn exit_status_0_alone_proves_nothing() {
    World::new("exit 0").run().await.assert_failed(JobFailure::Unverified, "exit status 0 without a completed verify");
    World::new("echo verified 9 bytes")
        .run()
        .await
        .assert_failed(JobFailure::Unverified, "verified 9 bytes, and the image has 10");
    World::new("echo verified 10 bytes; echo verified 10 bytes")
        .run()
        .await
        .assert_failed(JobFailure::Unverified, "20 bytes");
    World::new("echo verified 10 bytes; exit 3").run().await.assert_failed(JobFailure::ToolFailed, "exit status 3");
    World::new("echo verified 99999999999999999999 bytes").run().await.assert_failed(JobFailure::Unverified, "0 bytes");
}

#[tokio::test]
async fn rules_decide_by_text_and_the_detail_is_one_clean_line() {
    let ended = World::new("printf '\\033[31mERROR:\\tchip is wrong\\033[0m\\r\\nbye\\n' >&2; exit 1").run().await;
    assert_eq!(ended.failure(), (JobFailure::WrongDevice, "ERROR: chip is wrong"));
}

#[tokio::test]
async fn a_line_of_the_tool_can_end_it_early() {
    let ended = World::new("echo this will never end; exec sleep 1000").run().await;
    assert_eq!(ended.failure(), (JobFailure::NoSync, "this will never end"));
    assert!(ended.took < Duration::from_secs(20));
}

#[tokio::test]
async fn children_that_are_left_behind_are_ended() {
    let script = "sleep 1000 & sleep 1001 </dev/null >/dev/null 2>&1 & setsid sleep 1002 & (trap '' TERM; sleep 1003) & echo verified 10 bytes";
    assert_eq!(World::new(script).run().await.outcome, JobOutcome::Verified { bytes: 10 });
}

#[tokio::test]
async fn a_tool_that_ignores_sigterm_is_killed() {
    let world = World::new("trap '' TERM HUP INT; echo ready; while :; do sleep 0.1; done");
    let mut run = world.start();
    run.handle.release();
    run.line("ready").await;
    run.handle.stop();
    let ended = run.end().await;
    ended.assert_failed(JobFailure::Interrupted, "stopped by the gateway");
    assert!(ended.took >= Duration::from_secs(2), "it has its grace: {:?}", ended.took);
    world.assert_clean(&ended, run.handle).await;
}

#[tokio::test]
async fn stop_reaches_the_whole_group() {
    let world = World::new("sh -c 'echo ready; sleep 1000; echo never' ; echo never");
    let mut run = world.start();
    run.handle.release();
    run.line("ready").await;
    run.handle.stop();
    let ended = run.end().await;
    ended.assert_failed(JobFailure::Interrupted, "stopped by the gateway");
    assert!(ended.lines.is_empty() && ended.took < Duration::from_secs(20));
    world.assert_clean(&ended, run.handle).await;
}

#[tokio::test]
async fn a_tool_that_dies_by_a_signal_was_interrupted() {
    World::new("kill -SEGV $$")
        .run()
        .await
        .assert_failed(JobFailure::Interrupted, "SIGSEGV, which the gateway did not send");
}

#[tokio::test]
async fn a_handle_dropped_after_the_release_lets_the_flash_finish() {
    let world = World::new("sleep 0.3; echo verified 10 bytes");
    let Run { handle, mut events } = world.start();
    handle.release();
    drop(handle);
    while let Some(event) = events.recv().await {
        if let JobEvent::Ended(outcome) = event {
            assert_eq!(outcome, JobOutcome::Verified { bytes: 10 });
        }
    }
}

#[tokio::test]
async fn nobody_listening_holds_nothing_up() {
    let world = World::new("yes 'at 1%' | head -n 20000; echo verified 10 bytes");
    let Run { handle, events } = world.start();
    handle.release();
    drop(events);
    let lease = tokio::time::timeout(LONG, handle.into_lease()).await.expect("it ends");
    assert!(lease.is_some());
}

#[tokio::test]
async fn a_port_that_goes_away_ends_the_run() {
    let world = World::new("echo ready; exec sleep 1000");
    let mut run = world.start();
    run.handle.release();
    run.line("ready").await;
    std::fs::remove_file(world.path("tty port")).expect("unplugged");
    let ended = run.end().await;
    ended.assert_failed(JobFailure::PortLost, "tty port went away while connecting");
    world.assert_clean(&ended, run.handle).await;
}

#[tokio::test]
async fn a_tool_that_fails_because_its_port_went_away_has_lost_it() {
    let ended = World::new("rm \"$2\"; echo no such file; exit 1").run().await;
    let (class, detail) = ended.failure();
    assert_eq!(class, JobFailure::PortLost, "{detail}");
    // Whoever looks at the port may see it go before the tool ends.
    assert!(detail.contains("last line: no such file") || detail.contains("went away"), "{detail}");
}

#[tokio::test]
async fn a_port_that_cannot_be_used_is_told_before_anything_starts() {
    let world = World::new("echo verified 10 bytes");
    let port = std::fs::File::open(world.path("tty port")).expect("opened");
    port.try_lock().expect("locked");
    let ended = world.run().await;
    ended.assert_failed(JobFailure::PortUnavailable, &format!("(pid {}): end it and try again", std::process::id()));
    assert!(ended.start.is_none());
    drop(port);
    assert_eq!(world.run().await.outcome, JobOutcome::Verified { bytes: 10 }, "free again");
    std::fs::remove_file(world.path("tty port")).expect("removed");
    world.run().await.assert_failed(JobFailure::PortUnavailable, "is not there: plug the board in");
}

#[tokio::test]
async fn a_program_that_cannot_run_is_told_with_the_remedy() {
    let world = World::new("");
    let program = world.path("flasher.sh");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o644)).expect("forbidden");
    world.run().await.assert_failed(JobFailure::NotStarted, "flasher.sh is not executable: apt install flasher");
    std::fs::remove_file(&program).expect("removed");
    world.run().await.assert_failed(JobFailure::NotStarted, "not found: apt install flasher");
    write_program(&program, "#!/no/such/interpreter\n");
    world.run().await.assert_failed(JobFailure::NotStarted, "cannot start the tool: No such file or directory");
}

#[tokio::test]
async fn a_job_that_makes_no_command_is_refused() {
    let mut world = World::new("echo verified 10 bytes");
    let job = world.job.clone();
    world.job.vars.clear();
    world.run().await.assert_failed(JobFailure::NotStarted, "variable `speed` has no value");
    world.job = FlashJob { board: BoardId::new("other"), ..job.clone() };
    world.run().await.assert_failed(JobFailure::NotStarted, "names no tool for raw images of board `other`");
    world.job = job.clone();
    world.job.image.info.format = ImageFormat::Elf;
    world.run().await.assert_failed(JobFailure::NotStarted, "the tool takes no elf images");
    world.job = FlashJob { link: "tcp:127.0.0.1:9".parse().expect("a link"), ..job };
    world.run().await.assert_failed(JobFailure::NotStarted, "needs a serial port");
}

#[tokio::test]
async fn the_version_chooses_the_arguments_and_too_old_is_refused() {
    let tool = |min: &str| {
        let query = format!("version = {{ argv = [\"--version\"], regex = 'v([0-9.]+)', min = \"{min}\" }}\n");
        let below = "[tool.flasher.argv_below]\n\"5.0\" = [\"old_spelling\"]\n\"3.0\" = [\"oldest\"]\n";
        let (head, tail) = TOOL.split_once("[[tool.flasher.progress]]").expect("two parts");
        let head = head.replace("STALLED", "30s").replace("TOTAL", "50s");
        format!("{}{below}[[tool.flasher.progress]]{tail}", head.replace("needs =", &format!("{query}needs =")))
    };
    for (min, version, words) in
        [("1.0", "4.12.0", "<old_spelling>"), ("1.0", "5.0", "<write>"), ("1.0", "1.1", "<oldest>")]
    {
        let world = versioned(&tool(min), version);
        let ended = world.run().await;
        assert_eq!(ended.lines[0], words);
        assert_eq!(ended.start.and_then(|start| start.tool_version).as_deref(), Some(version));
    }
    let ended = versioned(&tool("4.8"), "4.7").run().await;
    ended.assert_failed(JobFailure::NotStarted, "is version 4.7, and at least 4.8 is needed: apt install flasher");
}

fn versioned(tool: &str, version: &str) -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("flasher.sh");
    let script = format!("#!/bin/sh\n[ \"$1\" = --version ] && echo flasher v{version} && exit\necho \"<$1>\"\n");
    write_program(&program, &script);
    let tool = tool.replace("PROGRAM", program.to_str().expect("text"));
    World::with_tool(folder, &tool)
}

/// Set for the process that plays the gateway which is killed: the folder where it notes its job.
const DOOMED: &str = "EXECUTORS_PROCESS_DOOMED";

#[tokio::test]
async fn a_killed_gateway_takes_its_tool_along_and_the_next_one_sweeps_the_rest() {
    if let Some(folder) = std::env::var_os(DOOMED) {
        return be_the_doomed_gateway(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let name = "a_killed_gateway_takes_its_tool_along_and_the_next_one_sweeps_the_rest";
    let mut gateway = Command::new(std::env::current_exe().expect("this test"));
    gateway.args([name, "--exact"]).env(DOOMED, folder.path()).stdout(Stdio::null());
    let mut gateway = gateway.spawn().expect("started");
    let noted = folder.path().join("noted");
    wait_until(|| noted.exists()).await;
    let start: JobStart = serde_json::from_slice(&std::fs::read(&noted).expect("read")).expect("a start");
    assert_eq!(carriers(&start.marker).len(), 3, "the tool, its child, and one that left the group");
    gateway.kill().expect("killed");
    gateway.wait().expect("reaped");
    let tool = format!("/proc/{}", start.pid);
    wait_until(|| !carriers(&start.marker).contains(&tool)).await;
    let swept = tokio::task::spawn_blocking(move || sweep(&[Leftover::from(&start)])).await.expect("swept");
    assert_eq!(swept.len(), 2, "{swept:?}");
    assert!(swept.iter().all(|process| process.starts_with("sleep (pid ")), "{swept:?}");
}

async fn be_the_doomed_gateway(folder: &Path) {
    let world = World::new("sleep 1000 & setsid sleep 1001 & sleep 0.2; echo ready; wait");
    let mut run = world.start();
    let start = run.ready().await;
    run.handle.release();
    run.line("ready").await;
    let noted = folder.join("noting");
    std::fs::write(&noted, serde_json::to_vec(&start).expect("text")).expect("written");
    std::fs::rename(noted, folder.join("noted")).expect("noted");
    run.end().await;
}

async fn wait_until(condition: impl Fn() -> bool) {
    tokio::time::timeout(LONG, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("it comes true");
}
