//! The walls round a flash tool, tried by one that is up to no good: a shell script that tries each of them and prints what it
//! could do.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nuncio::device::{
    BoardId, DeviceId, FlashJob, ImageFormat, ImageInfo, JobEvent, JobOutcome, JobTask, Lease, Link, Sha256Digest,
    StagedImage, UpdateId,
};
use nuncio::executors::{Executor, ExecutorSettings, Tools, sandbox_lacks};
use tokio::sync::mpsc;

/// Ten times what a script here takes.
const LONG: Duration = Duration::from_secs(60);

/// A gateway's state in a folder of its own, and a tool beside it.
struct Den {
    folder: tempfile::TempDir,
}

impl Den {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("state/staging")).expect("made");
        std::fs::write(folder.path().join("state/nuncio.db"), "secret").expect("made");
        std::fs::write(folder.path().join("state/staging/image"), "0123456789").expect("made");
        std::fs::write(folder.path().join("beside"), "beside").expect("made");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a script as a tool and gives what it printed; `sandbox` is that line of its file.
    async fn run(&self, script: &str, sandbox: &str, port: &Path) -> (String, JobOutcome) {
        let (program, tools) = (self.path("tool.sh"), self.path("flash-tools"));
        std::fs::write(&program, format!("#!/bin/sh\n{script}\necho verified 10 bytes\n")).expect("made");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
        std::fs::create_dir_all(&tools).expect("made");
        let text = format!(
            "schema = 1\n[tool.t]\nprogram = [{program:?}]\nformats = {{ raw = \"\" }}\n\
             argv = [\"{{port.path}}\", \"{{image.path}}\"]\n{sandbox}\n\
             timeouts = {{ stalled = \"40s\", total = \"50s\" }}\n\
             outcome = [{{ exit = 0, require = ['verified (?P<bytes>\\d+) bytes'], result = \"ok\" }}]\n"
        );
        std::fs::write(tools.join("t.toml"), text).expect("made");
        let settings: ExecutorSettings = toml::from_str("b = \"t\"").expect("a table");
        let tools = Tools::load(Some(&tools), &settings).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let executor = Executor::new(Arc::new(tools), self.path("state/jobs"));
        let (events, mut told) = mpsc::channel(64);
        let job = self.job(port);
        let lease = Lease::new(job.link.clone(), "the test", Box::new(|_| ()));
        let handle = executor.start(job, lease, events);
        let (mut printed, mut outcome) = (String::new(), None);
        while let Some(event) = tokio::time::timeout(LONG, told.recv()).await.expect("in time") {
            match event {
                JobEvent::Ready(_) => handle.release(),
                JobEvent::Output(output) => printed = output.text,
                JobEvent::Ended(ended) => outcome = Some(ended),
                JobEvent::Progress { .. } | JobEvent::Line(_) => {}
            }
        }
        (printed, outcome.expect("it ended"))
    }

    fn job(&self, port: &Path) -> FlashJob {
        let info =
            ImageInfo { format: ImageFormat::Raw, flash_bytes: 10, ranges: Vec::new(), version: None, project: None };
        let (path, sha256) = (self.path("state/staging/image"), Sha256Digest([0; 32]));
        FlashJob {
            task: JobTask::Flash,
            update: UpdateId(uuid::Uuid::now_v7()),
            device: DeviceId::new("d"),
            board: BoardId::new("b"),
            vars: BTreeMap::new(),
            link: Link::Serial(port.to_owned()),
            image: StagedImage { path, size: 10, sha256, version: None, info, signed_by: None },
            attempt: 1,
            board_size: 10,
            timeout: LONG,
        }
    }
}

/// A pty: its far end, which must stay open, and its name.
fn pty() -> (std::os::fd::OwnedFd, PathBuf) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("named");
    (master, PathBuf::from(name.to_str().expect("text")))
}

/// Says `could NAME` when a command succeeds, `NAME no` when it does not.
fn attempt(name: &str, command: &str) -> String {
    format!("if ( {command} ) >/dev/null 2>&1; then echo could {name}; else echo {name} no; fi\n")
}

#[tokio::test]
async fn a_tool_writes_its_own_folder_and_its_port_and_reads_all_but_the_gateways_state() {
    assert!(sandbox_lacks().iter().all(|lack| !lack.contains("no Landlock")), "{:?}", sandbox_lacks());
    let (den, (_far, port), (_other_far, other)) = (Den::new(), pty(), pty());
    let root = den.folder.path().display();
    let script = [
        attempt("write-own", "echo x > mine && cat mine"),
        attempt("write-temporary", "echo x > \"$TMPDIR/mine\""),
        attempt("read-image", "cat \"$2\""),
        attempt("read-system", "cat /etc/passwd && cat /proc/self/status"),
        attempt("write-port", "echo x > \"$1\""),
        attempt("set-port", "stty -F \"$1\" 9600"),
        attempt("write-null", "echo x > /dev/null"),
        attempt("read-beside", &format!("cat {root}/beside")),
        attempt("READ-STATE", &format!("cat {root}/state/nuncio.db")),
        attempt("WRITE-IMAGE", "echo x >> \"$2\""),
        attempt("WRITE-BESIDE", &format!("echo x > {root}/beside")),
        attempt("MAKE-BESIDE", &format!("mkdir {root}/made")),
        attempt("REMOVE-BESIDE", &format!("rm {root}/beside")),
        attempt("WRITE-TMP", "echo x > /tmp/nuncio-sandbox-test"),
        attempt("WRITE-ETC", "echo x > /etc/nuncio-sandbox-test"),
        attempt("WRITE-OTHER-PORT", &format!("echo x > {}", other.display())),
        attempt("READ-OTHER-PORT", &format!("exec 3< {}", other.display())),
        attempt("MAKE-DEVICE", "mknod node c 1 3"),
        attempt("SET-OTHER-PORT", &format!("stty -F {} 9600", other.display())),
    ]
    .concat();
    let (printed, outcome) = den.run(&script, "", &port).await;
    assert_eq!(outcome, JobOutcome::Verified { bytes: 10 }, "{printed}");
    for line in printed.lines().filter(|line| line.starts_with("could") || line.ends_with(" no")) {
        let allowed = line.chars().all(|c| !c.is_ascii_uppercase());
        assert_eq!(line.starts_with("could"), allowed, "{printed}");
    }
    assert_eq!(printed.matches("could ").count(), 8, "{printed}");
    assert_eq!(printed.matches(" no\n").count(), 11, "{printed}");
}

#[tokio::test]
async fn a_tool_has_no_network_no_privileges_to_gain_and_limits() {
    let (den, (_far, port)) = (Den::new(), pty());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("bound").port();
    let connect = format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{address}'");
    let script = [
        attempt("CONNECT", &connect),
        "grep NoNewPrivs /proc/self/status\n".to_owned(),
        "echo core $(ulimit -c) open $(ulimit -n)\n".to_owned(),
        attempt("WRITE-A-LOT", "head -c 2000000 /dev/zero > large"),
    ]
    .concat();
    let (printed, outcome) = den.run(&script, "sandbox = { max_file = 1000000 }", &port).await;
    assert_eq!(outcome, JobOutcome::Verified { bytes: 10 }, "{printed}");
    assert!(printed.contains("CONNECT no") && printed.contains("WRITE-A-LOT no"), "{printed}");
    assert!(printed.contains("NoNewPrivs:\t1") && printed.contains("core 0 open 256"), "{printed}");
    let (printed, _) = den.run(&attempt("connect", &connect), "sandbox = { network = true }", &port).await;
    assert!(printed.contains("could connect"), "{printed}");
}

#[tokio::test]
async fn a_tools_file_asks_for_more_by_name() {
    let (den, (_far, port)) = (Den::new(), pty());
    let write = attempt("write-beside", &format!("echo x > {}", den.path("beside").display()));
    let line = format!("sandbox = {{ write = [{:?}] }}", den.path("beside"));
    assert!(den.run(&write, &line, &port).await.0.contains("could write-beside"));
    assert!(den.run(&write, "sandbox = { on = false }", &port).await.0.contains("could write-beside"));
    assert!(den.run(&write, "", &port).await.0.contains("write-beside no"));
}

/// Set for the process that runs a test again as an unprivileged user: a program that is root's and sets the user id.
const SETUID: &str = "EXECUTORS_SANDBOX_SETUID";

/// Runs one test of this file again as the user nobody, without groups and capabilities; in there, gives the program.
fn as_nobody(name: &str) -> Option<PathBuf> {
    if let Some(program) = std::env::var_os(SETUID) {
        return Some(program.into());
    }
    assert!(rustix::process::geteuid().is_root(), "only root can become somebody else: run this test as root");
    let folder = tempfile::tempdir().expect("a folder");
    let (test, program) = (folder.path().join("test"), folder.path().join("id"));
    std::fs::copy(std::env::current_exe().expect("this test"), &test).expect("copied");
    std::fs::copy("/usr/bin/id", &program).expect("copied");
    for (path, mode) in [(folder.path(), 0o755), (&test, 0o755), (&program, 0o4755)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
    }
    let mut again = Command::new("setpriv");
    again.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all"]).arg(&test);
    again.args([name, "--exact", "--nocapture"]).current_dir("/").env(SETUID, &program);
    // The copies are still open for writing in a child that another test forks just then, until that runs its program.
    let output = (0..500)
        .find_map(|_| {
            let output = again.output().expect("setpriv (util-linux)");
            let is_busy = String::from_utf8_lossy(&output.stderr).contains("Text file busy");
            std::thread::sleep(Duration::from_millis(if is_busy { 20 } else { 0 }));
            (!is_busy).then_some(output)
        })
        .expect("nobody writes to them any more");
    let (told, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.contains("1 passed"), "{told}\n{complained}");
    None
}

#[tokio::test]
async fn without_root_tcp_is_closed_by_landlock_alone_and_check_says_that_udp_is_open() {
    let name = "without_root_tcp_is_closed_by_landlock_alone_and_check_says_that_udp_is_open";
    if as_nobody(name).is_none() {
        return;
    }
    let lacks = sandbox_lacks();
    let known = |words: &str| lacks.iter().any(|lack| lack.contains(words));
    assert!(!known("Landlock") && known("UDP stays open"), "{lacks:?}");
    let (den, (_far, port)) = (Den::new(), pty());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("bound").port();
    let script = [
        attempt("CONNECT", &format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{address}'")),
        attempt("LISTEN", "perl -MIO::Socket::INET -e 'IO::Socket::INET->new(Listen => 1, LocalAddr => q(127.0.0.1), LocalPort => 0) or exit 1'"),
        attempt("send", &format!("bash -c 'exec 3<>/dev/udp/127.0.0.1/{address} && echo x >&3'")),
        format!("test \"$(readlink /proc/self/ns/net)\" = '{}' && echo same network\n", own_network()),
    ]
    .concat();
    let (printed, outcome) = den.run(&script, "", &port).await;
    assert_eq!(outcome, JobOutcome::Verified { bytes: 10 }, "{printed}");
    for line in ["CONNECT no", "LISTEN no", "could send", "same network"] {
        assert!(printed.contains(line), "{line}: {printed}");
    }
    let (printed, _) = den.run(&script, "sandbox = { network = true }", &port).await;
    assert!(printed.contains("could CONNECT") && printed.contains("could LISTEN"), "the attempts are real: {printed}");
}

fn own_network() -> String {
    std::fs::read_link("/proc/self/ns/net").expect("/proc").display().to_string()
}

#[tokio::test]
async fn a_program_that_sets_the_user_id_gains_nothing_for_a_tool() {
    let Some(program) = as_nobody("a_program_that_sets_the_user_id_gains_nothing_for_a_tool") else { return };
    let own = Command::new(&program).arg("-u").output().expect("it runs");
    assert_eq!(own.stdout, b"0\n", "outside it makes root of nobody: no nosuid here, no container that forbids it");
    let (den, (_far, port)) = (Den::new(), pty());
    let script = format!("echo user $({} -u)\n{}", program.display(), attempt("READ-SHADOW", "cat /etc/shadow"));
    let (printed, outcome) = den.run(&script, "", &port).await;
    assert_eq!(outcome, JobOutcome::Verified { bytes: 10 }, "{printed}");
    assert!(printed.contains("user 65534\n") && printed.contains("READ-SHADOW no"), "{printed}");
    let (printed, _) = den.run(&script, "sandbox = { on = false }", &port).await;
    assert!(printed.contains("user 0\n"), "it is the sandbox that forbids it: {printed}");
}
