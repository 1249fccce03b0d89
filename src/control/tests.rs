//! Client and server over a real socket, with a stand-in for the gateway between them.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::device::{DeviceId, Phase, UpdateId};

/// Generous: only a hang runs into it.
const LONG: Duration = Duration::from_secs(60);

struct Daemon {
    dir: tempfile::TempDir,
    serving: tokio::task::JoinHandle<()>,
}

impl Daemon {
    /// Answers as `gateway` says; a request that it gives back `None` for is dropped unanswered.
    fn start(gateway: impl Fn(ControlRequest) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let (requests, mut asked) = mpsc::channel(4);
        let listener = Listener::bind(&dir.path().join("s")).expect("a socket");
        tokio::spawn(async move {
            while let Some(request) = asked.recv().await {
                gateway(request);
            }
        });
        Self { dir, serving: tokio::spawn(serve(listener, Door::new(requests), Feed::default())) }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn client(&self) -> Client {
        Client::new(self.socket())
    }

    /// What the daemon says to raw bytes before it hangs up.
    async fn says_to(&self, bytes: Vec<u8>) -> String {
        let socket = self.socket();
        let talk = move || {
            let mut stream = UnixStream::connect(socket).expect("connected");
            // The daemon may hang up before it has read all of it.
            drop(stream.write_all(&bytes));
            drop(stream.shutdown(std::net::Shutdown::Write));
            let mut said = Vec::new();
            drop(stream.read_to_end(&mut said));
            String::from_utf8(said).expect("text")
        };
        tokio::time::timeout(LONG, tokio::task::spawn_blocking(talk)).await.expect("in time").expect("no panic")
    }
}

#[tokio::test]
async fn an_image_that_the_daemon_cannot_read_is_handed_over_beside_the_socket() {
    let daemon = Daemon::start(silent);
    let image = daemon.dir.path().join("a.hex");
    std::fs::write(&image, "image").expect("written");
    let handed = daemon.client().hand(&image).await.expect("answered");
    assert_eq!(handed.path(), image, "it can be read where it lies");
    // A daemon of another user, or with a `/tmp` of its own, finds nothing there: as here.
    let gone = daemon.dir.path().join("gone.hex");
    let error = daemon.client().hand(&gone).await.expect_err("nothing to copy");
    assert!(matches!(error, ClientError::NotHanded { .. }), "{error}");
    let folder = daemon.dir.path().join("s.images");
    assert_eq!(std::fs::read_dir(&folder).expect("there").count(), 0, "what was begun is removed");
    let mode = std::fs::metadata(&folder).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o770);
}

fn silent(_: ControlRequest) {}

fn nothing(request: ControlRequest) {
    if let ControlRequest::Devices { reply } = request {
        drop(reply.send(Ok(DeviceList { devices: Vec::new(), links: Vec::new() })));
    }
}

fn verdict(device: &str) -> Verdict {
    Verdict {
        device: DeviceId::new(device),
        update: Some(UpdateId(uuid::Uuid::from_u128(7))),
        outcome: Outcome::Proven,
        version: None,
        reason: None,
        took_ms: 1234,
    }
}

#[tokio::test]
async fn a_question_gets_its_answer() {
    let daemon = Daemon::start(nothing);
    assert!(daemon.client().devices().await.expect("answered").devices.is_empty());
}

#[tokio::test]
async fn a_refusal_arrives_with_its_hint() {
    let daemon = Daemon::start(|request| {
        if let ControlRequest::Why { device, reply } = request {
            drop(reply.send(Err(Failure::no_such_device(&device))));
        }
    });
    let error = daemon.client().why("press-9").await.expect_err("refused");
    assert_eq!(error.to_string(), "there is no device `press-9`");
    assert_eq!(error.hint().as_deref(), Some("`nuncio devices` lists them"));
}

#[tokio::test]
async fn a_gateway_that_drops_a_request_is_stopping() {
    let daemon = Daemon::start(silent);
    let error = daemon.client().status(None).await.expect_err("refused");
    assert!(matches!(error, ClientError::Refused(Failure { code: FailureCode::Stopping, .. })), "{error:?}");
}

#[tokio::test]
async fn a_flash_is_told_in_order_and_ends_with_its_verdict() {
    let daemon = Daemon::start(|request| {
        let ControlRequest::Flash { device, image, version, events, verdict: end, .. } = request else { return };
        assert_eq!((image.as_path(), version.as_deref()), (Path::new("/a.hex"), Some("2.0")));
        for percent in [0, 50, 100] {
            events.try_send(UpdateEvent::ToolProgressed { phase: Phase::Write, percent }).expect("room");
        }
        drop(end.send(Ok(verdict(&device))));
    });
    let mut flash = daemon.client().flash("press-3", Path::new("/a.hex"), Some("2.0"), false).await.expect("begun");
    for expected in [0, 50, 100] {
        let FlashItem::Event(UpdateEvent::ToolProgressed { percent, .. }) = flash.next().await.expect("an item") else {
            panic!("expected progress")
        };
        assert_eq!(percent, expected);
    }
    assert_eq!(flash.next().await.expect("the end"), FlashItem::Verdict(verdict("press-3")));
    assert!(matches!(flash.next().await, Err(ClientError::HungUp)));
}

#[tokio::test]
async fn a_client_that_leaves_a_flash_frees_its_place() {
    let (gone, mut heard) = mpsc::channel(1);
    let daemon = Daemon::start(move |request| {
        let ControlRequest::Flash { events, verdict, .. } = request else { return };
        let gone = gone.clone();
        tokio::spawn(async move {
            events.closed().await;
            drop(verdict);
            gone.send(()).await.expect("the test waits");
        });
    });
    let flash = daemon.client().flash("press-3", Path::new("/a.hex"), None, false).await.expect("begun");
    drop(flash);
    tokio::time::timeout(LONG, heard.recv()).await.expect("in time").expect("it was noticed");
}

#[tokio::test]
async fn garbage_is_refused_and_harms_nobody() {
    let daemon = Daemon::start(nothing);
    for garbage in [b"hello\n".to_vec(), vec![0xff; 100].into_iter().chain(*b"\n").collect(), b"{}\n".to_vec()] {
        let said = daemon.says_to(garbage).await;
        assert!(said.contains(r#""code":"bad-request""#), "{said}");
    }
    let said = daemon.says_to(br#"{"protocol":2,"request":"devices"}"#.iter().copied().chain(*b"\n").collect()).await;
    assert!(said.contains(r#""code":"wrong-protocol""#), "{said}");
    let said =
        daemon.says_to(b"{\"protocol\":1,\"request\":\"flash\",\"device\":\"d\",\"image\":\"a.hex\"}\n".to_vec()).await;
    assert!(said.contains("must be absolute"), "{said}");
    assert_eq!(daemon.says_to(b"no end of line".to_vec()).await, "");
    daemon.client().devices().await.expect("still there");
}

#[tokio::test]
async fn an_oversize_request_is_refused_without_being_kept() {
    let daemon = Daemon::start(nothing);
    daemon.says_to(vec![b'x'; 4 << 20]).await;
    let limit = usize::try_from(wire::MAX_REQUEST).expect("small");
    let said = daemon.says_to(vec![b'x'; limit + 1]).await;
    assert!(said.contains("the request is too long"), "{said}");
    daemon.client().devices().await.expect("still there");
}

#[tokio::test]
async fn too_many_clients_are_turned_away_until_one_leaves() {
    let daemon = Daemon::start(nothing);
    let mut idle: Vec<_> = (0..64).map(|_| UnixStream::connect(daemon.socket()).expect("connected")).collect();
    let refused = loop {
        // The idle ones are accepted one after the other.
        match daemon.client().devices().await {
            Err(ClientError::Refused(failure)) => break failure,
            Err(other) => panic!("{other:?}"),
            Ok(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(refused.code, FailureCode::Overloaded);
    idle.clear();
    let back = async { while daemon.client().devices().await.is_err() {} };
    tokio::time::timeout(LONG, back).await.expect("there is room again");
}

#[tokio::test]
async fn the_socket_is_for_user_and_group_and_goes_with_the_daemon() {
    let daemon = Daemon::start(nothing);
    let mode = std::fs::metadata(daemon.socket()).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let names = std::fs::read_dir(daemon.dir.path()).expect("the folder").count();
    assert_eq!(names, 2, "nothing else is left in the folder but the one for images");
    daemon.serving.abort();
    while !daemon.serving.is_finished() {
        tokio::task::yield_now().await;
    }
    assert_eq!(std::fs::read_dir(daemon.dir.path()).expect("the folder").count(), 0);
    let error = daemon.client().devices().await.expect_err("nobody there");
    assert!(matches!(error, ClientError::NotRunning { .. }), "{error:?}");
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced_but_a_living_daemons_is_not() {
    let daemon = Daemon::start(nothing);
    assert!(matches!(Listener::bind(&daemon.socket()), Err(BindError::InUse(_))));
    let dead = daemon.dir.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).expect("bound"));
    Listener::bind(&dead).expect("replaced");
    let file = daemon.dir.path().join("file");
    std::fs::write(&file, "precious").expect("written");
    assert!(matches!(Listener::bind(&file), Err(BindError::NoSocket(_))));
    assert_eq!(std::fs::read(&file).expect("kept"), b"precious");
}
