//! The program as an operator and a script see it, asking a daemon: the real binary, the real socket, and a stand-in for
//! the gateway behind it.

mod backup;
mod builtin;
mod history;
mod plan;
mod schema;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nuncio::control::{
    BrakeReport, ControlRequest, DeviceList, DeviceStatus, Door, Failure, FailureCode, Feed, GatewayStatus, Identified,
    JoinOrder, JoinReport, LinkStatus, Listener, News, Outcome, Points, RegistrationState, RegistrationStatus,
    ReleasedBrake, ServerStatus, Status, TokenOrder, TokenReport, TokenStatus, UpdateStatus, Verdict, WayBackStatus,
    WhatWhy, Who, Why, WhyStep, WhyVerdict, serve,
};
use nuncio::device::{
    Access, BoardId, Brake, BrakeFailure, DeviceId, FirmwareState, GoodOrigin, Identity, JobFailure, JobOutcome, Link,
    Phase, PointValue, ReportedVersion, Requester, Role, Sha256Digest, ShownPoint, Sureness, ToolOutput, UpdateEvent,
    UpdateId, UpdateResult,
};
use serde_json::Value;
use tokio::sync::mpsc;

/// Generous: only a hang runs into it.
const LONG: Duration = Duration::from_secs(120);

/// A daemon in this process.
struct Daemon {
    dir: tempfile::TempDir,
    feed: Feed,
    _runtime: tokio::runtime::Runtime,
}

impl Daemon {
    fn start(gateway: impl Fn(ControlRequest) + Send + 'static) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let socket = dir.path().join("s");
        let config = format!("[gateway]\nstate = \"{0}\"\nsocket = \"{0}/s\"\n", dir.path().display());
        std::fs::write(dir.path().join("nuncio.toml"), config).expect("written");
        std::fs::write(dir.path().join("a.hex"), ":00000001FF\n").expect("written");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let _inside = runtime.enter();
        let listener = Listener::bind(&socket).expect("a socket");
        let (requests, mut asked) = mpsc::channel(4);
        let feed = Feed::default();
        runtime.spawn(serve(listener, Door::new(requests), feed.clone()));
        runtime.spawn(async move {
            while let Some(request) = asked.recv().await {
                gateway(request);
            }
        });
        Self { dir, feed, _runtime: runtime }
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("a.hex")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nuncio"));
        command.arg("--config").arg(self.dir.path().join("nuncio.toml")).args(arguments).env_remove("RUST_LOG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("started")
    }

    /// Standard output of a command that must succeed.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The JSON documents of a command, one per line, each held against its schema.
    fn documents(&self, arguments: &[&str]) -> (Vec<Value>, i32) {
        let output = self.run(arguments);
        let text = String::from_utf8(output.stdout).expect("text");
        let parse = |line| {
            let document: Value = serde_json::from_str(line).expect("one document per line");
            schema::check(&document).unwrap_or_else(|error| panic!("{error}\nin {document:#}"));
            document
        };
        (text.lines().map(parse).collect(), output.status.code().expect("no signal"))
    }
}

fn registration(server: &str, short_id: u16, state: RegistrationState) -> RegistrationStatus {
    let registered = state == RegistrationState::Registered;
    RegistrationStatus {
        server: server.into(),
        short_id,
        state,
        registration_id: registered.then(|| "5a3f".into()),
        lifetime_s: 30,
        expires_in_s: registered.then_some(12),
        retry_in_s: (!registered).then_some(8),
        last_error: (!registered).then(|| "no answer within 93 s".into()),
    }
}

fn press() -> DeviceStatus {
    DeviceStatus {
        id: DeviceId::new("press-3"),
        endpoint: "urn:press-3".into(),
        identity: Identity::UsbSerial("2341-0043-75833353035351".into()),
        link: Link::Serial("/dev/ttyACM0".into()),
        board: BoardId::new("arduino-uno"),
        sureness: Sureness::UsbIds,
        present: true,
        access: Access::Usable,
        in_use_by: Some("update of press-3".into()),
        version: Some(ReportedVersion { text: "1.4.2".into(), source: "banner".into() }),
        not_updatable: None,
        quarantined: Some("proof: the board does not come back".into()),
        way_back: Some(WayBackStatus {
            version: Some("1.4.1".into()),
            sha256: Sha256Digest([9; 32]),
            size: 1234,
            origin: GoodOrigin::Proven,
            since: 1_700_000_000,
        }),
        registrations: vec![
            registration("factory", 123, RegistrationState::Registered),
            registration("backup", 234, RegistrationState::Waiting),
        ],
        update: UpdateStatus {
            state: FirmwareState::Updating,
            result: UpdateResult::Initial,
            id: Some(UpdateId(uuid::Uuid::from_u128(7))),
            requester: Some(Requester::Server { short_id: 123, name: "factory".into() }),
            phase: Some(Phase::Write),
            percent: Some(40),
            uri: Some("https://***@fw.example.org/a.hex".into()),
            image_sha256: Some(Sha256Digest([7; 32])),
            expected_version: Some("1.4.3".into()),
            changed: Some(1_700_000_000),
            message: None,
        },
    }
}

fn pump() -> DeviceStatus {
    DeviceStatus {
        id: DeviceId::new("pump"),
        endpoint: "pump".into(),
        identity: Identity::Configured("pump".into()),
        link: Link::Tcp { host: "10.0.0.7".into(), port: 4000 },
        board: BoardId::new("other"),
        sureness: Sureness::Configured,
        present: true,
        access: Access::Usable,
        in_use_by: None,
        version: None,
        not_updatable: Some("no tool for this board: sudo apt install avrdude".into()),
        quarantined: None,
        way_back: None,
        registrations: Vec::new(),
        update: UpdateStatus::default(),
    }
}

fn status(devices: Vec<DeviceStatus>) -> Status {
    let gateway = GatewayStatus {
        name: "workshop-pi".into(),
        version: "0.1.0".into(),
        pid: 4711,
        started: 1_700_000_000,
        state: "/var/lib/nuncio".into(),
        config: None,
        tasks: 12,
        notes: vec!["a damaged database was put aside".into()],
        endpoint: Some("gateway-workshop-pi".into()),
        registrations: Vec::new(),
    };
    let server = ServerStatus {
        name: "factory".into(),
        uri: "coap://dm.example.org".into(),
        short_id: 123,
        registered: 1,
        devices: 2,
        last_error: None,
    };
    Status { gateway, servers: vec![server], devices }
}

fn list() -> DeviceList {
    let busy = LinkStatus {
        link: Link::Serial("/dev/ttyUSB1".into()),
        access: Access::Busy { holder: "picocom (pid 17)".into(), remedy: "end it".into() },
        seen: Some("USB 1a86:7523".into()),
        note: None,
        approvable: false,
    };
    let closed = LinkStatus {
        link: Link::Serial("/dev/ttyUSB2".into()),
        access: Access::NotPermitted { permissions: "root:dialout 0660".into(), remedy: "join dialout".into() },
        seen: None,
        note: Some("not recognised".into()),
        approvable: false,
    };
    let denied = LinkStatus {
        link: Link::Serial("/dev/ttyACM3".into()),
        access: Access::Denied,
        seen: None,
        note: None,
        approvable: false,
    };
    DeviceList { devices: vec![press(), pump()], links: vec![busy, closed, denied] }
}

fn why() -> Why {
    let step = |what: &str, verdict, detail: &str| WhyStep { what: what.into(), verdict, detail: detail.into() };
    Why {
        subject: WhatWhy { device: Some(DeviceId::new("press-3")), link: Link::Serial("/dev/ttyACM0".into()) },
        board: Some(BoardId::new("arduino-uno")),
        identity: Some(Identity::UsbPath("1-1.4".into())),
        sureness: Some("certain".into()),
        steps: vec![
            step("USB ids", WhyVerdict::Matched, "2341:0043 is an Uno's own"),
            step("esp32", WhyVerdict::Excluded, "another USB id"),
            step("Firmata", WhyVerdict::Asked, "no answer"),
            step("bootloader", WhyVerdict::NotAsked, "[serial] questions = \"passive\""),
        ],
    }
}

fn verdict(outcome: Outcome, reason: Option<&str>) -> Verdict {
    Verdict {
        device: DeviceId::new("press-3"),
        update: Some(UpdateId(uuid::Uuid::from_u128(7))),
        outcome,
        version: Some(ReportedVersion { text: "1.4.3".into(), source: "banner".into() }),
        reason: reason.map(str::to_owned),
        took_ms: 3450,
    }
}

/// Every event there is, in the order in which they could come.
fn all_events() -> Vec<UpdateEvent> {
    let reason = || "because".to_owned();
    vec![
        UpdateEvent::DownloadProgressed { bytes: 1, total: None },
        UpdateEvent::ImageStaged { size: 13, sha256: Sha256Digest([7; 32]), version: Some("1.4.3".into()) },
        UpdateEvent::StagingFailed { reason: reason() },
        UpdateEvent::Deferred { reason: reason() },
        UpdateEvent::ToolStarted { tool: "t".into(), tool_version: None, argv: vec!["/usr/bin/t".into()] },
        UpdateEvent::ToolProgressed { phase: Phase::Write, percent: 0 },
        UpdateEvent::ToolProgressed { phase: Phase::Write, percent: 60 },
        UpdateEvent::ToolProgressed { phase: Phase::Verify, percent: 100 },
        UpdateEvent::ToolSaid { line: "hello".into() },
        UpdateEvent::ToolEnded { outcome: JobOutcome::Failed { class: JobFailure::NoSync, detail: reason() } },
        UpdateEvent::ToolEnded { outcome: JobOutcome::Verified { bytes: 13 } },
        UpdateEvent::ToolPrinted { output: ToolOutput { text: "hello".into(), printed: 6, took_ms: 20 } },
        UpdateEvent::ToolEnded { outcome: JobOutcome::Saved { size: 13, sha256: Sha256Digest([7; 32]) } },
        UpdateEvent::Retrying {
            attempt: 2,
            class: JobFailure::NoSync,
            reason: reason(),
            vars: [("baud".to_owned(), "57600".to_owned())].into(),
        },
        UpdateEvent::Saving,
        UpdateEvent::BoardSaved { sha256: Sha256Digest([7; 32]), version: None },
        UpdateEvent::NotSaved { reason: reason() },
        UpdateEvent::RollingBack { reason: reason(), version: Some("1.4.1".into()) },
        UpdateEvent::RolledBack { version: None },
        UpdateEvent::Quarantined { reason: reason() },
        UpdateEvent::Proving,
        UpdateEvent::Proven { version: None },
        UpdateEvent::UpdateFailed { reason: reason() },
        UpdateEvent::Dropped,
    ]
}

fn brakes() -> BrakeReport {
    let failure =
        BrakeFailure { device: DeviceId::new("press-3"), at: 1_700_000_000, reason: "it did not verify".into() };
    let board = BoardId::new("arduino-uno");
    let image = Some(Sha256Digest([7; 32]));
    let brake =
        Brake { board: board.clone(), image, on: true, by_hand: false, since: 5, count: 1, failures: vec![failure] };
    let by_hand = Brake { image: None, by_hand: true, failures: Vec::new(), ..brake.clone() };
    BrakeReport { brakes: vec![brake, by_hand], released: vec![ReleasedBrake { board, image: None }] }
}

fn join(order: &JoinOrder) -> Result<JoinReport, Failure> {
    let (word, device) = match order {
        JoinOrder::Approve { device } => (device, Some(DeviceId::new("mac-a4cf12ab34cd"))),
        JoinOrder::Forget { device, .. } => (device, None),
        JoinOrder::Rename { device, name } => (device, Some(DeviceId::new(name.as_str()))),
    };
    let endpoint = device.as_ref().map(|_| "mac-a4cf12ab34cd".to_owned());
    let report = JoinReport { device, endpoint, done: "Done.".to_owned() };
    if word == "nobody" { Err(Failure::no_such_device(word)) } else { Ok(report) }
}

fn points(word: &str) -> Result<Points, Failure> {
    let point = |object, value, unit: Option<&str>, writable| ShownPoint {
        key: format!("k/{object}"),
        object,
        instance: 0,
        value,
        unit: unit.map(str::to_owned),
        name: Some(format!("p {object}")),
        writable,
        scale: 0.5,
    };
    let values = vec![
        point(3303, Some(PointValue::Number(21.5)), Some("Cel"), false),
        point(3306, Some(PointValue::Flag(true)), None, true),
        point(3341, Some(PointValue::Text("\u{1b}[1mok".to_owned())), None, true),
        point(3300, None, None, false),
    ];
    let device = DeviceId::new("press-3");
    match word {
        "nobody" => Err(Failure::no_such_device(word)),
        "press-3" => Ok(Points { device, not_read: None, points: values }),
        _ => {
            Ok(Points { device, not_read: Some("somebody else has its link just now".to_owned()), points: Vec::new() })
        }
    }
}

#[test]
fn points_are_listed_with_their_values_and_units() {
    let daemon = Daemon::start(gateway);
    let told = daemon.says(&["points", "press-3"]);
    for words in ["OBJECT", "3303/0", "21.5", "Cel", "3306/0", "on", "writable", "\u{fffd}[1mok"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let none = daemon.says(&["points", "other"]);
    assert_eq!(none, "press-3: points are not read: somebody else has its link just now.\n");
    assert_eq!(daemon.documents(&["points", "press-3", "--json"]).1, 0);
    assert_eq!(daemon.documents(&["points", "other", "--json"]).1, 0);
}

fn who(word: &str) -> Result<Who, Failure> {
    let who = |link: &str, access| Who {
        link: link.to_owned(),
        device: Some(DeviceId::new("press-3")),
        holder: None,
        access,
    };
    match word {
        "nobody" => Err(Failure::no_such_device(word)),
        "press-3" => {
            Ok(Who { holder: Some("update of press-3".to_owned()), ..who("serial:/dev/ttyACM0", Access::Usable) })
        }
        _ => {
            let (holder, remedy) = ("picocom (pid 17)".to_owned(), "end it".to_owned());
            Ok(Who { device: None, ..who("serial:/dev/ttyUSB1", Access::Busy { holder, remedy }) })
        }
    }
}

#[test]
fn who_has_a_link_is_told_inside_and_outside_of_the_gateway() {
    let daemon = Daemon::start(gateway);
    let inside = daemon.says(&["who", "press-3"]);
    assert_eq!(inside, "serial:/dev/ttyACM0, which is press-3: held by the gateway, update of press-3.\n");
    let outside = daemon.says(&["who", "/dev/ttyUSB1"]);
    assert_eq!(outside, "serial:/dev/ttyUSB1: held by picocom (pid 17).\n  end it\n");
}

/// A gateway with two devices, one of which can be flashed.
fn gateway(request: ControlRequest) {
    match request {
        ControlRequest::Devices { reply } => drop(reply.send(Ok(list()))),
        // No command asks these.
        ControlRequest::Device { .. } | ControlRequest::Install { .. } | ControlRequest::Write { .. } => {}
        ControlRequest::Status { device: None, reply } => drop(reply.send(Ok(status(vec![press(), pump()])))),
        ControlRequest::Status { device: Some(word), reply } => {
            let found = press().answers_to(&word).then(|| status(vec![press()]));
            drop(reply.send(found.ok_or_else(|| Failure::no_such_device(&word))));
        }
        ControlRequest::Why { device, reply } => {
            let found = press().answers_to(&device).then(why);
            drop(reply.send(found.ok_or_else(|| Failure::no_such_device(&device))));
        }
        ControlRequest::Flash { device, events, verdict: end, .. } => {
            if device != "press-3" {
                let refused = Failure::new(FailureCode::NotNow, "pump cannot be updated: no tool for this board");
                return drop(end.send(Err(refused)));
            }
            all_events().into_iter().for_each(|event| events.try_send(event).expect("room"));
            drop(end.send(Ok(verdict(Outcome::Proven, None))));
        }
        ControlRequest::Join { order, reply } => drop(reply.send(join(&order))),
        ControlRequest::Record { lines } => drop(lines),
        ControlRequest::Identify { device, reply } => {
            let identified = Identified { device: DeviceId::new(device), by: "its light on pin 13 blinked".to_owned() };
            drop(reply.send(Ok(identified)));
        }
        ControlRequest::Points { device, reply } => drop(reply.send(points(&device))),
        ControlRequest::Who { device, reply } => drop(reply.send(who(&device))),
        ControlRequest::Brake { reply, .. } => drop(reply.send(Ok(brakes()))),
        ControlRequest::Rollback { verdict: end, .. } => drop(end.send(Ok(verdict(Outcome::Proven, None)))),
        ControlRequest::Cancel { reply, .. } => drop(reply.send(Ok(()))),
        ControlRequest::History { device, failed, limit, reply } => {
            drop(reply.send(history::list(device.as_deref(), failed, limit)));
        }
        ControlRequest::Show { update, reply } => drop(reply.send(history::show(&update))),
        ControlRequest::Plan { device, image, version, now, reply } => {
            drop(reply.send(plan::plan(&device, &image, version.as_deref(), now)));
        }
        ControlRequest::Builtin { reply } => drop(reply.send(Ok(builtin::view()))),
        ControlRequest::Reload { reply } => drop(reply.send(Ok(Vec::new()))),
        ControlRequest::Health { reply } => drop(reply.send(Ok(Vec::new()))),
        ControlRequest::Gateway { reply } => drop(reply.send(Ok(status(Vec::new()).gateway))),
        ControlRequest::Tokens { order, reply } => drop(reply.send(Ok(tokens(&order)))),
    }
}

/// One token that never expires; one more where it is ordered.
fn tokens(order: &TokenOrder) -> TokenReport {
    let phone = TokenStatus { name: "phone".to_owned(), role: Role::ReadOnly, since: 1_700_000_000, expires: None };
    let made = matches!(order, TokenOrder::Add { .. });
    let token = made.then(|| "nuncio.page-1.secret".to_owned());
    TokenReport { tokens: vec![phone], token, page: Some("http://127.0.0.1:8080".to_owned()) }
}

#[test]
fn tokens_are_listed_and_made_and_a_login_is_a_link() {
    let daemon = Daemon::start(gateway);
    let listed = daemon.says(&["token"]);
    assert!(listed.contains("phone") && listed.contains("read-only") && listed.contains("never"), "{listed}");
    assert_eq!(daemon.says(&["token", "add", "ci"]), "nuncio.page-1.secret\n");
    assert_eq!(daemon.says(&["login"]), "http://127.0.0.1:8080/login#nuncio.page-1.secret\n");
}

#[test]
fn what_happens_is_told_to_who_follows_in_documents_that_follow_their_schema() {
    let daemon = Daemon::start(gateway);
    let (device, update) = (DeviceId::new("press-3"), UpdateId(uuid::Uuid::from_u128(7)));
    let mut follower = daemon.command(&["events", "--json"]).stdout(Stdio::piped()).spawn().expect("started");
    while !daemon.feed.is_followed() {
        assert!(follower.try_wait().expect("waited").is_none(), "it ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    let updates = all_events().into_iter().map(|what| News::Update { device: device.clone(), update, what });
    let others = [
        News::DeviceJoined { device: device.clone(), board: BoardId::new("arduino-uno") },
        News::DeviceChanged { device: device.clone() },
        News::DeviceLeft { device: device.clone() },
        News::DeviceForgotten { device: device.clone(), endpoint: "usb-1".to_owned() },
        News::Registration { device: device.clone(), server: "factory".to_owned(), registered: true },
        News::Firmware { device: device.clone(), state: FirmwareState::Idle, result: UpdateResult::Success },
        News::PointsChanged { device: device.clone() },
        News::LinksChanged,
    ];
    let told: Vec<News> = others.into_iter().chain(updates).collect();
    told.iter().for_each(|news| daemon.feed.tell(news.clone()));
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follower.stdout.take().expect("piped")));
    for number in 1..=told.len() {
        let document: Value = serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON");
        schema::check(&document).unwrap_or_else(|error| panic!("{error}\nin {document:#}"));
        assert_eq!(document["number"], number);
    }
    follower.kill().expect("killed");
    follower.wait().expect("ended");
}

#[test]
fn every_json_output_follows_its_schema() {
    let daemon = Daemon::start(gateway);
    let image = daemon.image();
    let image = image.to_str().expect("text");
    for arguments in [
        &["devices", "--json"][..],
        &["status", "--json"],
        &["status", "press-3", "--json"],
        &["why", "press-3", "--json"],
        &["history", "--json"],
        &["history", "gone-since", "--failed", "--limit", "3", "--json"],
        &["show", "beef", "--json"],
        &["check", "--json"],
        &["brake", "--json"],
        &["brake", "release", "arduino-uno", "--json"],
        &["approve", "mdns:kitchen._esphomelib._tcp", "--json"],
        &["forget", "press-3", "--deny", "--json"],
        &["rename", "press-3", "press-4", "--json"],
        &["who", "press-3", "--json"],
        &["token", "--json"],
        &["token", "add", "ci", "--for", "90days", "--json"],
        &["login", "--json"],
        &["identify", "press-3", "--json"],
        &["who", "/dev/ttyUSB1", "--json"],
        &["builtin", "--json"],
    ] {
        let (documents, code) = daemon.documents(arguments);
        assert_eq!((documents.len(), code), (1, 0), "{arguments:?}");
    }
    let (lines, code) = daemon.documents(&["rollback", "press-3", "--json"]);
    assert_eq!((lines.len(), code), (1, 0));
    let (lines, code) = daemon.documents(&["flash", "press-3", image, "--json"]);
    assert_eq!((lines.len(), code), (all_events().len() + 1, 0));
    assert_eq!(lines.last().expect("a verdict")["verdict"]["outcome"], "proven");
}

#[test]
fn failures_have_their_exit_codes_in_json_too() {
    let daemon = Daemon::start(gateway);
    let image = daemon.image();
    let image = image.to_str().expect("text");
    let cases = [
        (&["status", "nobody", "--json"][..], 4),
        (&["why", "nobody", "--json"], 4),
        (&["flash", "pump", image, "--json"], 5),
        (&["history", "nobody", "--json"], 4),
        (&["show", "cafe", "--json"], 4),
        (&["approve", "nobody", "--json"], 4),
        (&["who", "nobody", "--json"], 4),
    ];
    for (arguments, expected) in cases {
        let (documents, code) = daemon.documents(arguments);
        assert_eq!(code, expected, "{arguments:?}");
        assert_eq!((&documents[0]["schema"], &documents[0]["exit_code"]), (&"error/1".into(), &expected.into()));
    }
    let (documents, code) = daemon.documents(&["devices", "--json", "--socket", "/nonexistent/s"]);
    assert_eq!((code, &documents[0]["exit_code"]), (3, &3.into()));
}

#[test]
fn tables_are_plain_text_one_line_per_device_when_piped() {
    let daemon = Daemon::start(gateway);
    let text = daemon.says(&["devices"]);
    assert!(!text.contains('\x1b'), "{text}");
    let press = text.lines().find(|line| line.contains("press-3")).expect("its line");
    let words: Vec<&str> = press.split_whitespace().collect();
    assert_eq!(words, ["press-3", "arduino-uno", "1.4.2", "serial:/dev/ttyACM0", "1/2", "updating", "40", "%"]);
    for part in
        ["not updatable", "busy: held by picocom (pid 17); end it", "root:dialout 0660", "denied by the configuration"]
    {
        assert!(text.contains(part), "`{part}` in\n{text}");
    }
}

#[test]
fn the_built_in_server_tells_clients_and_offers() {
    let text = Daemon::start(gateway).says(&["builtin"]);
    for part in [
        "at coap://127.0.0.1:5693; images are dropped into /var/lib/nuncio/drop.",
        "It does not work: UDP port 5693 is held by java (pid 17).",
    ] {
        assert!(text.contains(part), "`{part}` in\n{text}");
    }
    let line = |word: &str| {
        text.lines()
            .find(|line| line.trim_start().starts_with(word))
            .expect(word)
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(line("guest"), ["guest", "-", "1.4.2", "3", "0"]);
    assert_eq!(line("press-3/link.hex")[1..4], ["-", "over", "it"]);
    assert_eq!(text.lines().filter(|line| line.contains("by-board/arduino-uno/blinky.hex")).count(), 2);
}

#[test]
fn status_tells_registrations_versions_and_the_update() {
    let daemon = Daemon::start(gateway);
    let text = daemon.says(&["status", "press-3"]);
    for part in [
        "press-3 (arduino-uno at serial:/dev/ttyACM0)",
        "registered, id 5a3f, lifetime 30s, 12s left",
        "waiting, next try in 8s: no answer within 93 s",
        "1.4.2 (told by banner)",
        "updating (3), result initial (0), write 40 %, to version 1.4.3, asked by factory",
    ] {
        assert!(text.contains(part), "`{part}` in\n{text}");
    }
    let all = daemon.says(&["status"]);
    assert!(
        all.contains("Gateway workshop-pi") && all.contains("coap://dm.example.org") && all.contains("pump"),
        "{all}"
    );
}

#[test]
fn why_tells_what_was_not_asked() {
    let daemon = Daemon::start(gateway);
    let text = daemon.says(&["why", "/dev/ttyACM0"]);
    assert!(text.starts_with("press-3 at serial:/dev/ttyACM0 is taken for arduino-uno (certain).\n"), "{text}");
    assert!(text.lines().any(|line| line.trim_start().starts_with("not asked")), "{text}");
}

#[test]
fn a_flash_is_told_in_lines_when_piped_and_ends_with_the_verdict() {
    let daemon = Daemon::start(gateway);
    let output = daemon.run(&["flash", "press-3", daemon.image().to_str().expect("text")]);
    let (said, aside) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(said, "Proven: press-3 runs 1.4.3 (3.4 s).\n");
    assert!(aside.contains("writing 50 %\nverifying 100 %\n"), "{aside}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_flash_that_is_not_proven_fails() {
    let daemon = Daemon::start(|request| {
        if let ControlRequest::Flash { verdict: end, .. } = request {
            drop(end.send(Ok(verdict(Outcome::Failed, Some("prove: the board did not return; look at its cable")))));
        }
    });
    let output = daemon.run(&["flash", "press-3", daemon.image().to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("the board did not return"), "{output:?}");
}

#[test]
fn a_daemon_that_dies_during_a_flash_is_no_success() {
    let daemon = Daemon::start(drop);
    let output = daemon.run(&["flash", "press-3", daemon.image().to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

/// Starts a flash, sends Ctrl-C once it is under way, and tells how it ended.
fn interrupted(cancel: impl Fn() -> Result<(), Failure> + Send + 'static) -> Output {
    let (begun, under_way) = std::sync::mpsc::channel();
    let pending = std::sync::Mutex::new(None);
    let daemon = Daemon::start(move |request| match request {
        ControlRequest::Flash { verdict: end, events, .. } => {
            *pending.lock().expect("alone") = Some((end, events));
            begun.send(()).expect("the test waits");
        }
        ControlRequest::Cancel { reply, device } => {
            assert_eq!(device, "press-3");
            let answer = cancel();
            if let (Ok(()), Some((end, _))) = (&answer, pending.lock().expect("alone").take()) {
                drop(end.send(Ok(verdict(Outcome::Cancelled, None))));
            }
            drop(reply.send(answer));
        }
        other => panic!("{other:?}"),
    });
    let mut command = daemon.command(&["flash", "press-3", daemon.image().to_str().expect("text")]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
    under_way.recv_timeout(LONG).expect("the flash began");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("sent");
    child.wait_with_output().expect("ended")
}

#[test]
fn ctrl_c_cancels_while_nothing_was_flashed() {
    let output = interrupted(|| Ok(()));
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Cancelled: press-3 was not flashed."), "{output:?}");
}

#[test]
fn ctrl_c_leaves_a_running_flash_alone_and_says_so() {
    let output = interrupted(|| Err(Failure::new(FailureCode::NotNow, "it is being flashed")));
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("too late to cancel") && said.contains("nuncio status press-3"), "{said}");
}
