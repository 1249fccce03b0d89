//! Which ports there are, under which names, and who holds them.

mod serial_support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nuncio::device::{Access, Link, LinkReport, Question, QuestionFailed};
use nuncio::transports::{Event, SerialSettings, serial};
use rustix::fs::inotify;
use rustix::process::{Pid, Signal};
use serial_support::{PATIENCE, board, lease, next, pty, settings};
use tokio::sync::mpsc;

fn report(event: Event) -> LinkReport {
    match event {
        Event::Appeared(report) | Event::Changed(report) => report,
        other @ (Event::Vanished(_) | Event::Trouble { .. }) => panic!("{other:?}"),
    }
}

fn watch(folder: &Path) -> Vec<String> {
    vec![format!("{}/tty*", folder.display())]
}

/// A process that nobody here is the parent of, with a port open; it dies with this value.
struct Stranger(Pid);

impl Stranger {
    fn new(port: &Path, lock: bool) -> Self {
        let lock = if lock { "flock -n 9;" } else { "" };
        let script = format!("exec 9<>\"$0\"; {lock} sleep 100 >/dev/null 2>&1 & echo $!");
        let output = Command::new("sh").args(["-c", &script]).arg(port).output().expect("a shell");
        let pid: i32 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a process id");
        Self(Pid::from_raw(pid).expect("not zero"))
    }

    fn name(&self) -> String {
        format!("sleep (pid {})", self.0.as_raw_nonzero())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        rustix::process::kill_process(self.0, Signal::KILL).expect("it lives");
    }
}

#[tokio::test]
async fn a_symlink_and_its_target_are_one_port_and_the_configured_name_wins() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_master, path) = pty();
    let (plain, configured) = (folder.path().join("ttyA"), folder.path().join("press-3"));
    symlink(&path, &plain).expect("linked");
    symlink(&plain, &configured).expect("linked");
    let mut watched = watch(folder.path());
    watched.push(path.display().to_string());
    let (sender, mut events) = mpsc::channel(8);
    serial::spawn(&settings(&watched, &[]), vec![configured.clone()], sender).expect("patterns");
    let found = report(next(&mut events).await);
    assert_eq!(found.link, Link::Serial(configured));
    assert_eq!(found.aliases, [path, plain]);
    assert_eq!((found.access, found.evidence), (Access::Usable, Vec::new()));
}

#[tokio::test]
async fn ports_come_change_and_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_one, first) = pty();
    let (_other, second) = pty();
    let name = folder.path().join("ttyA");
    fs::write(folder.path().join("tty-no-device"), "").expect("written");
    let (sender, mut events) = mpsc::channel(8);
    let handle = serial::spawn(&settings(&watch(folder.path()), &[]), Vec::new(), sender).expect("patterns");
    symlink(&first, &name).expect("linked");
    assert!(matches!(next(&mut events).await, Event::Appeared(report) if report.aliases == [first]));
    // Replaced in one step, as boards that are replugged do with their link.
    symlink(&second, folder.path().join("new")).expect("linked");
    fs::rename(folder.path().join("new"), &name).expect("renamed");
    assert!(matches!(next(&mut events).await, Event::Changed(report) if report.aliases == [second]));
    fs::remove_file(&name).expect("removed");
    handle.rescan();
    assert_eq!(next(&mut events).await, Event::Vanished(Link::Serial(name)));
}

#[tokio::test]
async fn a_port_is_noticed_when_its_name_is_made_long_before_the_next_poll() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_master, path) = pty();
    let (sender, mut events) = mpsc::channel(8);
    let patterns = [format!("{}/serial/by-path/*", folder.path().display())];
    let rarely = SerialSettings { poll: Duration::from_secs(3600), ..settings(&patterns, &[]) };
    let _transport = serial::spawn(&rarely, Vec::new(), sender).expect("patterns");
    // As udev does with the first port of a machine: folder and link in one go.
    let links = folder.path().join("serial/by-path");
    fs::create_dir_all(&links).expect("made");
    let name = links.join("usb-0:2");
    symlink(&path, &name).expect("linked");
    assert!(matches!(next(&mut events).await, Event::Appeared(report) if report.link == Link::Serial(name.clone())));
    fs::remove_file(&name).expect("removed");
    assert_eq!(next(&mut events).await, Event::Vanished(Link::Serial(name)));
}

#[tokio::test]
async fn closing_a_port_leaves_its_modem_lines_up() {
    let path = serial_support::talker(b"hello\n");
    let (transport, _events) = serial_support::transport();
    let (_lease, outcome) = transport.ask(lease(path.clone()), Question::Stk500 { baud: 9600 }).await;
    outcome.expect("asked");
    let port = fs::File::open(&path).expect("opened again");
    let modes = rustix::termios::tcgetattr(&port).expect("a tty").control_modes;
    assert!(!modes.contains(rustix::termios::ControlModes::HUPCL), "{modes:?}");
}

#[tokio::test]
async fn a_port_that_a_stranger_has_open_is_busy_and_named_and_then_usable() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_master, path) = pty();
    symlink(&path, folder.path().join("ttyA")).expect("linked");
    let (sender, mut events) = mpsc::channel(8);
    serial::spawn(&settings(&watch(folder.path()), &[]), Vec::new(), sender).expect("patterns");
    assert_eq!(report(next(&mut events).await).access, Access::Usable, "we hold the master end: that is the board");
    let stranger = Stranger::new(&path, false);
    match report(next(&mut events).await).access {
        Access::Busy { holder, remedy } => {
            assert_eq!(holder, stranger.name());
            assert!(remedy.contains("fuser -v"), "{remedy}");
        }
        other => panic!("{other:?}"),
    }
    drop(stranger);
    assert_eq!(report(next(&mut events).await).access, Access::Usable);
}

#[tokio::test]
async fn a_question_over_a_locked_port_says_who_has_it_and_the_port_is_listed_so() {
    let path = board(|_| Vec::new());
    let (sender, mut events) = mpsc::channel(8);
    let watched = [path.display().to_string()];
    let handle = serial::spawn(&settings(&watched, &[]), Vec::new(), sender).expect("patterns");
    next(&mut events).await;
    let stranger = Stranger::new(&path, true);
    let (_, answer) = handle.ask(lease(&path), Question::Stk500 { baud: 115_200 }).await;
    assert_eq!(answer, Err(QuestionFailed::Busy(stranger.name())));
    let access = report(next(&mut events).await).access;
    assert!(matches!(&access, Access::Busy { holder, .. } if *holder == stranger.name()), "{access:?}");
}

#[tokio::test]
async fn a_denied_port_is_listed_and_never_opened_whatever_it_is_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_master, path) = pty();
    let name = folder.path().join("ttyA");
    symlink(&path, &name).expect("linked");
    let opened = inotify::init(inotify::CreateFlags::NONBLOCK).expect("inotify");
    inotify::add_watch(&opened, &path, inotify::WatchFlags::OPEN).expect("watched");
    for deny in [path.display().to_string(), name.display().to_string(), format!("{}/*", folder.path().display())] {
        let (sender, mut events) = mpsc::channel(8);
        let handle = serial::spawn(&settings(&watch(folder.path()), &[deny]), vec![name.clone()], sender);
        let handle = handle.expect("patterns");
        assert_eq!(report(next(&mut events).await).access, Access::Denied);
        for path in [&name, &path] {
            let (_, answer) = handle.ask(lease(path), Question::Stk500 { baud: 115_200 }).await;
            assert!(matches!(&answer, Err(QuestionFailed::Failed(why)) if why.contains("deny")), "{answer:?}");
        }
    }
    let mut buffer = [std::mem::MaybeUninit::uninit(); 512];
    assert!(inotify::Reader::new(&opened, &mut buffer).next().is_err(), "somebody opened the port");
}

#[tokio::test]
async fn what_is_no_pattern_is_refused() {
    let wrong = settings(&["ttyUSB*".to_owned()], &[]);
    assert_eq!(serial::check(&wrong).expect_err("relative").0, "watch");
    assert!(serial::spawn(&wrong, Vec::new(), mpsc::channel(1).0).is_err());
    let wrong = settings(&[], &["/dev/tty[".to_owned()]);
    assert_eq!(serial::check(&wrong).expect_err("a bracket").0, "deny");
}

/// Run as an ordinary user by the test below, or by one; a port that its mode keeps everybody out of.
const INNER: &str = "NUNCIO_TEST_LOCKED_PORT";

#[tokio::test]
async fn a_port_that_is_not_permitted_is_listed_with_owner_mode_and_remedy() {
    if let Some(port) = std::env::var_os(INNER) {
        let port = PathBuf::from(port);
        let (sender, mut events) = mpsc::channel(8);
        let watched = [port.display().to_string()];
        let handle = serial::spawn(&settings(&watched, &[]), Vec::new(), sender).expect("patterns");
        let access = report(next(&mut events).await).access;
        let Access::NotPermitted { permissions, remedy } = &access else { panic!("{access:?}") };
        assert!(permissions.ends_with(" 0060") && remedy.contains("sudo usermod -aG "), "{permissions}: {remedy}");
        let (_, answer) = handle.ask(lease(&port), Question::Stk500 { baud: 115_200 }).await;
        assert_eq!(answer, Err(QuestionFailed::NotPermitted));
        return;
    }
    let (_master, port) = pty();
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&port, Some(0), Some(20)).expect("given to another group");
    }
    fs::set_permissions(&port, std::os::unix::fs::PermissionsExt::from_mode(0o060)).expect("permitted");
    // Root may everything, so an ordinary user tries, from a place that it may enter.
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permitted");
    let program = folder.path().join("test");
    fs::copy(std::env::current_exe().expect("this program"), &program).expect("copied");
    let mut command = if root {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command
    } else {
        Command::new(&program)
    };
    command.args(["--exact", "a_port_that_is_not_permitted_is_listed_with_owner_mode_and_remedy"]).env(INNER, &port);
    let output = command.current_dir("/").output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[tokio::test]
async fn tcp_links_are_there_while_they_answer() {
    use nuncio::transports::{TcpSettings, tcp};
    let settings = TcpSettings { probe: Duration::from_millis(100), timeout: Duration::from_secs(5) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let link = |host: &str| Link::Tcp { host: host.to_owned(), port };
    let target = |host: &str, never_probe| tcp::Target { link: link(host), never_probe };
    let (sender, mut events) = mpsc::channel(8);
    tcp::spawn(&settings, vec![target("127.0.0.1", false), target("192.0.2.1", true)], sender);
    let mut seen = vec![report(next(&mut events).await).link, report(next(&mut events).await).link];
    seen.sort();
    assert_eq!(seen, [link("127.0.0.1"), link("192.0.2.1")]);
    drop(listener);
    assert_eq!(next(&mut events).await, Event::Vanished(link("127.0.0.1")));
    let _again = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
    assert!(matches!(next(&mut events).await, Event::Appeared(report) if report.link == link("127.0.0.1")));
}

#[tokio::test]
async fn a_thousand_tcp_links_are_found_at_once() {
    use nuncio::transports::{TcpSettings, tcp};
    let settings = TcpSettings { probe: Duration::from_secs(30), timeout: Duration::from_secs(5) };
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let hosts = (0..1000).map(|n| format!("127.1.{}.{}", n / 250, n % 250 + 1));
    let targets = hosts.map(|host| tcp::Target { link: Link::Tcp { host, port }, never_probe: false }).collect();
    let (sender, mut events) = mpsc::channel(8);
    tcp::spawn(&settings, targets, sender);
    let all = async {
        for _ in 0..1000 {
            report(next(&mut events).await);
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("in time");
}
