//! The REST API, as programs use it: curl asks, schemathesis asks everything, Prometheus' own parser reads the figures.
//!
//! Needs the peers avr, leshan and rest: `make peers`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use world::{
    Authority, Curled, Daemon, Scene, World, avr_image, curl, curling, eventually, free_tcp, parsed_metrics,
    schemathesis, world,
};

/// Generous: only a hang runs into it.
const LONG: Duration = Duration::from_secs(120);

/// A daemon with one board on a port that nobody answers behind, the page and the API; and where they are.
fn daemon(world: &World, more: &str) -> (Daemon, String) {
    let port = free_tcp();
    let web = format!("[web]\nenabled = true\nlisten = [\"127.0.0.1:{port}\"]\n{more}");
    let daemon = world.daemon().device("press-3", "arduino-uno", "tcp:127.0.0.1:9", "probe = \"never\"").toml(&web);
    let daemon = daemon.start();
    let base = format!("http://127.0.0.1:{port}");
    eventually("the page answers", LONG, || (curl(&[&format!("{base}/healthz")]).status == 200).then_some(()));
    (daemon, base)
}

fn token(daemon: &Daemon, name: &str, role: &str) -> String {
    let token = daemon.cli(&["token", "add", name, "--role", role]).line("nuncio.");
    format!("Authorization: Bearer {token}")
}

#[test]
fn an_update_over_rest_is_followed_and_proven_and_a_bad_image_says_why_not() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let port = free_tcp();
    let web = format!("[web]\nenabled = true\nlisten = [\"127.0.0.1:{port}\"]");
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.toml(&web));
    let auth = token(&scene.daemon, "ci", "operator");
    let api = format!("http://127.0.0.1:{port}/api/v1");
    let firmware = format!("{api}/devices/{}/firmware", scene.name);

    let mut events = curling(&["-H", &auth, &format!("{api}/events?device={}", scene.name)]);
    let told = BufReader::new(events.stdout.take().expect("piped"));
    // Followed before the update begins: the first comment or event would come too late to wait for.
    eventually("the follower is counted", LONG, || {
        let text = curl(&["-H", &auth, &format!("http://127.0.0.1:{port}/metrics")]).body;
        text.contains("nuncio_http_followers 1").then_some(())
    });
    let (image, form) = (avr_image("uno-1.3.0.hex"), |path: &std::path::Path| format!("image=@{}", path.display()));
    let planned = curl(&["-H", &auth, "-F", &form(&image), &format!("{api}/devices/{}/plan", scene.name)]);
    assert_eq!((planned.status, &planned.json()["verdict"]), (200, &json!("ready")), "{planned:?}");
    let accepted = curl(&["-H", &auth, "-F", &form(&image), "-F", "version=1.3.0", &firmware]);
    assert_eq!((accepted.status, &accepted.json()["device"]), (202, &json!(scene.name)), "{accepted:?}");
    let again = curl(&["-H", &auth, "-F", &form(&image), &firmware]);
    assert_eq!((again.status, &again.json()["code"]), (409, &json!("not-now")), "{again:?}");

    let (mut states, mut progressed) = (Vec::new(), 0);
    for line in told.lines() {
        let Some(data) = line.expect("text").strip_prefix("data: ").map(str::to_owned) else { continue };
        let news: Value = serde_json::from_str(&data).expect("JSON");
        assert_eq!(news["device"], scene.name, "only what is about this device");
        match (news["news"].as_str(), news["what"]["event"].as_str()) {
            (Some("firmware"), _) => states.push(news["state"].as_str().unwrap_or_default().to_owned()),
            (_, Some("tool-progressed")) => progressed += 1,
            (_, Some("proven")) => break,
            (_, Some("update-failed")) => panic!("{news}"),
            _ => {}
        }
    }
    events.kill().expect("killed");
    events.wait().expect("ended");
    states.dedup();
    assert!(
        states.starts_with(&["downloaded".to_owned(), "updating".to_owned()])
            || states.contains(&"updating".to_owned()),
        "{states:?}"
    );
    assert!(progressed > 5, "progress was told {progressed} times");
    assert!(board.holds(&image));
    scene.await_firmware(scene.factory(), "0", "1");

    let refused = curl(&["-H", &auth, "-F", &form(&avr_image("uno-wrong-checksum.hex")), &firmware]);
    assert_eq!((refused.status, &refused.json()["outcome"]), (200, &json!("failed")), "{refused:?}");
    assert!(refused.json()["reason"].as_str().is_some_and(|reason| reason.contains("checksum")), "{refused:?}");
    let back = curl(&["-H", &auth, "-X", "POST", &format!("{api}/devices/{}/rollback?wait=true", scene.name)]);
    assert_eq!((back.status, &back.json()["outcome"]), (200, &json!("proven")), "{back:?}");
    let history = curl(&["-H", &auth, &format!("{api}/devices/{}/history?limit=2", scene.name)]).json();
    assert_eq!(history["updates"].as_array().map(Vec::len), Some(2), "{history}");
    let newest = history["updates"][0]["update"].as_str().expect("an id").to_owned();
    let shown = curl(&["-H", &auth, &format!("{api}/updates/{newest}")]).json();
    assert_eq!(shown["attempts"][0]["tool"], "avrdude", "{shown}");
    let left = std::fs::read_dir(scene.world.dir().join("state/uploads")).map(Iterator::count);
    assert!(matches!(left, Ok(0)), "uploads are left: {left:?}");
}

#[test]
fn as_many_updates_wait_for_their_window_as_there_are_devices() {
    let world = world!();
    let port = free_tcp();
    let mut builder = world.daemon();
    let names: Vec<String> = (1..=5).map(|number| format!("press-{number}")).collect();
    let boards: Vec<_> = names.iter().map(|_| world.uno("uno-1.2.0.hex")).collect();
    for (name, board) in names.iter().zip(&boards) {
        builder = builder.device(name, "arduino-uno", &board.link(), "");
    }
    let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs() / 86_400 + 4;
    let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    let window = format!("{} 10:00-10:01", days[(today as usize + 3) % 7]);
    let text = format!("[update]\nwindow = [\"{window}\"]\n[web]\nenabled = true\nlisten = [\"127.0.0.1:{port}\"]");
    let daemon = builder.toml(&text).start();
    let (api, auth) = (format!("http://127.0.0.1:{port}/api/v1"), token(&daemon, "ci", "operator"));
    let image = format!("image=@{}", avr_image("uno-1.3.0.hex").display());
    for name in &names {
        daemon.await_device(name, "is here", |device| device.present().then_some(()));
        let accepted = curl(&["-H", &auth, "-F", &image, &format!("{api}/devices/{name}/firmware")]);
        assert_eq!(accepted.status, 202, "{name}: {accepted:?}");
    }
    let left = std::fs::read_dir(world.dir().join("state/uploads")).map(Iterator::count);
    assert!(matches!(left, Ok(0)), "uploads are kept while updates wait: {left:?}");
}

#[test]
fn who_may_and_who_may_not() {
    let world = world!();
    let (daemon, base) = daemon(&world, "");
    let (api, socket) = (format!("{base}/api/v1"), world.dir().join("state/http.sock"));
    let socket = socket.to_str().expect("text");
    let (reads, orders) = (token(&daemon, "wall", "read-only"), token(&daemon, "ci", "operator"));
    let short = daemon.cli(&["token", "add", "short", "--for", "1s"]).line("nuncio.");
    let devices = format!("{api}/devices");
    let is = |answer: Curled, status: u16, code: &str| {
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{answer:?}");
    };

    is(curl(&[&devices]), 401, "unauthorized");
    assert!(curl(&[&devices]).head.contains("www-authenticate: bearer"), "how to");
    is(curl(&["-H", "Authorization: Bearer nuncio.ci.wrong", &devices]), 401, "unauthorized");
    is(curl(&["-H", "Authorization: Basic eDp5", &devices]), 401, "unauthorized");
    assert_eq!(curl(&["-H", &reads, &devices]).json()["devices"][0]["id"], "press-3");
    let rollback = format!("{api}/devices/press-3/rollback");
    is(curl(&["-H", &reads, "-X", "POST", &rollback]), 403, "forbidden");
    is(curl(&["-H", &orders, "-X", "POST", &rollback]), 409, "not-now");
    // In the name of somebody whose browser has the cookie, by a form of another site.
    let cookie = orders.replace("Authorization: Bearer ", "Cookie: nuncio=");
    for site in ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: http://127.0.0.1:1"] {
        is(curl(&["-H", &cookie, "-H", site, "-X", "POST", &rollback]), 403, "forbidden");
    }
    is(curl(&["-H", &cookie, "-H", "Sec-Fetch-Site: same-origin", "-X", "POST", &rollback]), 409, "not-now");
    // On the machine the socket's permissions decide.
    is(curl(&["--unix-socket", socket, "-X", "POST", "http://nuncio/api/v1/devices/press-3/rollback"]), 409, "not-now");

    let short = format!("Authorization: Bearer {short}");
    eventually("its time is over", LONG, || (curl(&["-H", &short, &devices]).status == 401).then_some(()));
    let mut follower = curling(&["-H", &orders, &format!("{api}/events")]);
    eventually("the follower is counted", LONG, || {
        let text = curl(&["-H", &reads, &format!("{base}/metrics")]).body;
        text.contains("nuncio_http_followers 1").then_some(())
    });
    assert_eq!(daemon.cli(&["token", "revoke", "ci"]).code, Some(0));
    // It ends by itself, and not because curl's patience is over.
    assert_eq!(follower.wait().expect("ended").code(), Some(0));
    is(curl(&["-H", &orders, &devices]), 401, "unauthorized");
    assert!(!daemon.cli(&["token", "--json"]).output.contains("short"), "what is over is not listed");

    // What is kept of a token is no secret, also on the disk.
    let secret = reads.rsplit_once('.').expect("a secret").1.to_owned();
    for file in ["nuncio.db", "nuncio.db-wal"] {
        let bytes = std::fs::read(world.dir().join("state").join(file)).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{file} holds the secret");
    }
}

#[test]
fn wrong_tokens_make_a_peer_wait_and_so_does_asking_without_end() {
    let world = world!();
    let (daemon, base) = daemon(&world, "");
    let auth = token(&daemon, "wall", "read-only");
    let devices = format!("{base}/api/v1/devices");
    assert_eq!(curl(&["-H", &auth, &devices]).status, 200);
    // On a busy machine a guess may take as long as the next one takes to be allowed.
    let begin = Instant::now();
    let mut guesses: Vec<u16> = Vec::new();
    while guesses.last() != Some(&429) && begin.elapsed() < LONG {
        guesses.push(curl(&["-H", "Authorization: Bearer nuncio.wall.x", &devices]).status);
    }
    let wrong = guesses.len() as u64 - 1;
    assert!(
        guesses.ends_with(&[401, 429]) && (10..=11 + begin.elapsed().as_secs() / 6).contains(&wrong),
        "{guesses:?}"
    );
    assert!(curl(&["-H", "Authorization: Bearer nuncio.wall.x", &devices]).head.contains("retry-after"), "until when");
    // As many at once as one likes are no more than one after another.
    let begin = Instant::now();
    let guess = || {
        let wrong = "Authorization: Bearer nuncio.wall.x";
        curl(&["--interface", "127.0.0.3", "-H", wrong, &devices]).status
    };
    let at_once: Vec<u16> = std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..30).map(|_| scope.spawn(guess)).collect();
        guesses.into_iter().map(|guess| guess.join().expect("no panic")).collect()
    });
    let looked_at = at_once.iter().filter(|status| **status == 401).count() as u64;
    assert!(looked_at <= 11 + begin.elapsed().as_secs() / 6, "{at_once:?}");
    assert!(at_once.iter().all(|status| [401, 429].contains(status)), "{at_once:?}");
    // At the same address somebody has been found right before.
    assert_eq!(curl(&["-H", &auth, &devices]).status, 200, "who is right waits for who is wrong");
    let begin = Instant::now();
    let mut connection = TcpStream::connect(base.trim_start_matches("http://")).expect("connected");
    let mut limited = false;
    let mut seen = Vec::new();
    connection.set_read_timeout(Some(LONG)).expect("set");
    while !limited && begin.elapsed() < LONG {
        connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        let mut piece = [0; 4096];
        let length = connection.read(&mut piece).expect("answered");
        seen.extend_from_slice(&piece[..length]);
        limited = String::from_utf8_lossy(&seen).contains("429 Too Many");
        seen.drain(..seen.len().saturating_sub(64));
    }
    assert!(limited, "as many requests as one likes");
    eventually("it may ask again", LONG, || {
        (curl(&["-H", &auth, &format!("{base}/healthz")]).status == 200).then_some(())
    });
}

#[test]
fn what_is_large_slow_or_malformed_is_cut_and_the_rest_goes_on() {
    let world = world!();
    let port = free_tcp();
    let web = format!("[web]\nenabled = true\nlisten = [\"127.0.0.1:{port}\"]");
    let device = ("press-3", "arduino-uno", "tcp:127.0.0.1:9", "probe = \"never\"");
    let daemon = world.daemon().device(device.0, device.1, device.2, device.3).download("max_size = 20000").toml(&web);
    let daemon = daemon.start();
    let (api, auth) = (format!("http://127.0.0.1:{port}/api/v1"), token(&daemon, "ci", "operator"));
    let firmware = format!("{api}/devices/press-3/firmware");
    let large = world.file("large.hex", vec![b':'; 20_001]);
    let form = |path: &std::path::Path| format!("image=@{}", path.display());
    let is = |answer: Curled, status: u16| assert_eq!(answer.status, status, "{answer:?}");
    is(curl(&["-H", &auth, "-F", &form(&large), &firmware]), 413);
    is(curl(&["-H", &auth, "-F", "signature=x", &firmware]), 400);
    is(curl(&["-H", &auth, "-F", "nonsense=x", &firmware]), 400);
    let small = form(&world.file("small.hex", ":00000001FF\n"));
    is(curl(&["-H", &auth, "-F", &small, "-F", &small, &firmware]), 400);
    let field = format!("version={}", "1".repeat(200));
    let mut many = vec!["-H", &auth, "-F", &small];
    many.extend((0..400).flat_map(|_| ["-F", field.as_str()]));
    many.push(&firmware);
    is(curl(&many), 413);
    is(curl(&["-H", &auth, "-d", "x=y", &firmware]), 400);
    is(
        curl(&[
            "-H",
            &auth,
            "-H",
            "Content-Type: multipart/form-data; boundary=x",
            "--data-binary",
            "--x\r\nrubbish",
            &firmware,
        ]),
        400,
    );
    is(curl(&["-H", &auth, "-H", "Content-Type: application/json", "-d", "{", &format!("{api}/brakes")]), 400);
    let body = format!("{{\"order\":\"pull\",\"board\":\"{}\"}}", "x".repeat(70_000));
    is(curl(&["-H", &auth, "-H", "Content-Type: application/json", "-d", &body, &format!("{api}/brakes")]), 413);
    daemon.edit_config(|text| {
        text.replace("[web]\n", "[web]\ncertificate = \"/nowhere/c.pem\"\nkey = \"/nowhere/k.pem\"\n")
    });
    let reloaded = curl(&["-H", &auth, "-X", "POST", &format!("{api}/reload")]);
    assert_eq!((reloaded.status, reloaded.json()), (200, json!(["[web]"])), "{reloaded:?}");
    let form = format!("token={}", "x".repeat(17_000));
    is(curl(&["-d", &form, &format!("http://127.0.0.1:{port}/login")]), 413);
    is(curl(&["-H", &auth, &format!("{api}/devices/nobody")]), 404);
    is(curl(&["-H", &auth, &format!("{api}/nothing")]), 404);
    is(curl(&["-H", &auth, "-X", "PUT", &format!("{api}/devices")]), 405);
    is(curl(&["-H", &auth, &format!("{api}/history?limit=many")]), 400);
    is(curl(&["-H", &auth, &format!("{api}/history?limti=3")]), 400);

    // Bytes that trickle, in the head and in the body.
    let mut head = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    head.write_all(b"GET / HTTP/1.1\r\nX: ").expect("sent");
    let mut body = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    let begun = format!(
        "POST /api/v1/devices/press-3/firmware HTTP/1.1\r\nHost: x\r\n{auth}\r\nContent-Type: multipart/form-data; boundary=x\r\n\
         Content-Length: 10000\r\n\r\n--x\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.hex\"\r\n\r\n:00"
    );
    body.write_all(begun.as_bytes()).expect("sent");
    for slow in [&mut head, &mut body] {
        slow.set_read_timeout(Some(LONG)).expect("set");
    }
    let mut answer = String::new();
    body.read_to_string(&mut answer).expect("cut by the gateway, not by this test");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let mut nothing = Vec::new();
    head.read_to_end(&mut nothing).expect("cut by the gateway, not by this test");
    is(curl(&["-H", &auth, &format!("{api}/devices")]), 200);
}

#[test]
fn a_peer_that_holds_connections_shuts_nobody_out() {
    let world = world!();
    let (_daemon, base) = daemon(&world, "");
    let address = base.trim_start_matches("http://");
    let begun = "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nt";
    let mut held: Vec<TcpStream> = Vec::new();
    for _ in 0..140 {
        let mut connection = TcpStream::connect(address).expect("connected");
        connection.set_read_timeout(Some(LONG)).expect("set");
        // One too many is closed at once.
        let _ = connection.write_all(begun.as_bytes());
        held.push(connection);
    }
    // Another address of this machine is another peer.
    let url = format!("{base}/healthz");
    let other = curl(&["--interface", "127.0.0.2", "--max-time", "5", &url]);
    assert_eq!(other.status, 200, "{other:?}");
    let mut answers: Vec<String> = Vec::new();
    for connection in &mut held {
        let mut answer = Vec::new();
        // Reset or closed where it was one too many.
        let _ = connection.read_to_end(&mut answer);
        answers.push(String::from_utf8_lossy(&answer).into_owned());
    }
    let late = answers.iter().filter(|answer| answer.starts_with("HTTP/1.1 408")).count();
    assert_eq!((late, answers.iter().filter(|answer| answer.is_empty()).count()), (32, 108), "{answers:?}");
    assert_eq!(curl(&[&url]).status, 200, "it may again");
}

#[test]
fn other_machines_speak_tls_and_a_taken_port_is_named_with_its_holder_and_taken_later() {
    let world = world!();
    let (inner, outer) = (free_tcp(), free_tcp());
    let also = free_tcp();
    let [taken, longer] = [inner, also].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("free"));
    let listen = format!("\"127.0.0.1:{inner}\", \"127.0.0.1:{also}\", \"0.0.0.0:{outer}\"");
    let web = format!("[web]\nenabled = true\nlisten = [{listen}]");
    let daemon = world.daemon().toml(&web).start();
    let auth = token(&daemon, "wall", "read-only");
    let over = |scheme: &str, more: &[&str]| {
        let url = format!("{scheme}://localhost:{outer}/api/v1/gateway");
        curl(&[&["-H", &auth, &url][..], more].concat())
    };
    let pem = world.dir().join("state/tls/certificate.pem");
    let answer = over("https", &["--cacert", pem.to_str().expect("text")]);
    assert_eq!((answer.status, &answer.json()["name"]), (200, &json!("world")), "{answer:?}");
    assert_eq!(over("http", &[]).status, 0, "it answers without TLS");
    assert_eq!(over("https", &[]).status, 0, "curl trusts a certificate that nobody signed");

    let notes = || daemon.cli(&["status", "--json"]).json()["gateway"]["notes"].to_string();
    let holder = format!("(pid {})", std::process::id());
    eventually("the holder is named", LONG, || (notes().matches(&holder).count() == 2).then_some(()));
    drop(taken);
    let url = format!("http://127.0.0.1:{inner}/healthz");
    eventually("it is there by itself", LONG, || (curl(&[&url]).status == 200).then_some(()));
    let other = format!("127.0.0.1:{also}");
    assert!(notes().contains(&other) && !notes().contains(&format!("127.0.0.1:{inner}")), "{}", notes());
    drop(longer);
    eventually("nothing wants looking at", LONG, || (notes() == "[]").then_some(()));
}

#[test]
fn ones_own_certificate_may_be_missing_for_a_while_and_is_taken_when_it_is_renewed() {
    let world = world!();
    let (inner, outer) = (free_tcp(), free_tcp());
    let [certificate, key] = ["own.pem", "own.key"].map(|name| world.dir().join(name));
    let listen = format!("\"127.0.0.1:{inner}\", \"0.0.0.0:{outer}\"");
    let files = format!("certificate = {certificate:?}\nkey = {key:?}");
    let daemon = world.daemon().toml(&format!("[web]\nenabled = true\nlisten = [{listen}]\n{files}")).start();
    let notes = || daemon.cli(&["status", "--json"]).json()["gateway"]["notes"].to_string();
    eventually("what is missing is told", LONG, || notes().contains("own.pem").then_some(()));
    let inside = format!("http://127.0.0.1:{inner}/healthz");
    eventually("this machine is served", LONG, || (curl(&[&inside]).status == 200).then_some(()));
    let outside = format!("https://localhost:{outer}/healthz");
    for name in ["first", "renewed"] {
        let authority = Authority::new(&world, name);
        let (fresh, its_key) = authority.server();
        std::fs::copy(its_key, &key).expect("copied");
        std::fs::copy(fresh, &certificate).expect("copied");
        let trusted = authority.certificate();
        let trusted = trusted.to_str().expect("text");
        eventually(name, LONG, || (curl(&["--cacert", trusted, &outside]).status == 200).then_some(()));
    }
    eventually("nothing wants looking at", LONG, || (notes() == "[]").then_some(()));
}

#[test]
fn figures_are_read_by_prometheus_own_parser_and_their_labels_are_bounded() {
    let world = world!();
    let (daemon, base) = daemon(&world, "");
    let auth = token(&daemon, "wall", "read-only");
    let answer = curl(&["-H", &auth, &format!("{base}/metrics")]);
    assert!(answer.head.contains("application/openmetrics-text"), "{}", answer.head);
    let samples = parsed_metrics(&world.file("metrics.txt", &answer.body));
    let value = |name: &str, labels: Value| {
        let found = samples.as_array().expect("a list").iter().find(|sample| sample[0] == name && sample[1] == labels);
        found.unwrap_or_else(|| panic!("no {name} {labels} in {samples}"))[2].as_f64().expect("a number")
    };
    assert_eq!(value("nuncio_devices", json!({ "presence": "present" })), 1.0);
    assert_eq!(value("nuncio_firmware_state", json!({ "state": "idle" })), 1.0);
    assert_eq!(value("nuncio_updates_total", json!({ "outcome": "proven" })), 0.0);
    assert_eq!(value("nuncio_build_info", json!({ "version": env!("CARGO_PKG_VERSION") })), 1.0);
    assert!(value("process_resident_memory_bytes", json!({})) > 1e6);
    assert!(!answer.body.contains("press-3"), "a device is a label:\n{}", answer.body);
}

#[test]
fn schemathesis_finds_no_answer_that_the_description_does_not_have() {
    let world = world!();
    let (daemon, _) = daemon(&world, "");
    // Over the socket there is no limit on how often one may ask; schemathesis speaks only TCP.
    let (port, socket) = (free_tcp(), world.dir().join("state/http.sock"));
    let through = Through::start(port, &socket);
    let report = Command::new(schemathesis())
        .args(["run", &format!("http://127.0.0.1:{port}/api/v1/openapi.json"), "--max-examples", "20", "--seed", "6"])
        .args(["--phases", "examples,coverage,fuzzing", "--exclude-path-regex", "/(events|reload)$", "--no-color"])
        .args([
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        ])
        .current_dir(world.dir())
        .output()
        .expect("schemathesis starts");
    drop(through);
    let text = String::from_utf8_lossy(&report.stdout);
    assert!(report.status.success(), "{text}\n{}", String::from_utf8_lossy(&report.stderr));
    assert!(daemon.log().lines().all(|line| !line.contains("panicked")), "{}", daemon.log());
}

/// socat between a port and a socket.
struct Through(std::process::Child);

impl Through {
    fn start(port: u16, socket: &std::path::Path) -> Self {
        let listen = format!("TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr");
        let connect = format!("UNIX-CONNECT:{}", socket.display());
        let through = Self(Command::new("socat").args([listen, connect]).spawn().expect("socat starts"));
        let url = format!("http://127.0.0.1:{port}/healthz");
        eventually("socat listens", LONG, || (curl(&[&url]).status == 200).then_some(()));
        through
    }
}

impl Drop for Through {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }
}
