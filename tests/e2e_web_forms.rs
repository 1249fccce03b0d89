//! The page's forms, as a browser sends them: whose cookie they take, and what they do.
//!
//! Needs the peers avr and rest: `make peers`.

use std::time::Duration;

use world::{Curled, Daemon, Model, World, curl, eventually, firmata_image, free_tcp, world};

/// Generous: only a hang runs into it.
const LONG: Duration = Duration::from_secs(120);
/// All that a form orders.
const FORMS: [(&str, &str); 7] = [
    ("/devices/press-3/rollback", ""),
    ("/devices/press-3/cancel", ""),
    ("/devices/press-3/identify", ""),
    ("/devices/press-3/rename", "name=other"),
    ("/devices/press-3/forget", ""),
    ("/approve", "link=serial:/dev/ttyUSB0"),
    ("/brakes", "order=pull&board=arduino-uno"),
];

fn page(port: u16) -> String {
    format!("[web]\nenabled = true\nlisten = [\"127.0.0.1:{port}\"]\n")
}

/// Where the page is, once it answers.
fn base(port: u16) -> String {
    let base = format!("http://127.0.0.1:{port}");
    eventually("the page answers", LONG, || (curl(&[&format!("{base}/healthz")]).status == 200).then_some(()));
    base
}

fn cookie(daemon: &Daemon, name: &str, role: &str) -> String {
    format!("Cookie: nuncio={}", daemon.cli(&["token", "add", name, "--role", role]).line("nuncio."))
}

/// A form that our own page sent.
fn send(base: &str, cookie: &str, path: &str, form: &str) -> Curled {
    curl(&["-H", cookie, "-H", "Sec-Fetch-Site: same-origin", "-d", form, &format!("{base}{path}")])
}

fn with_a_device(world: &World) -> (Daemon, String) {
    let port = free_tcp();
    let device = ("press-3", "arduino-uno", "tcp:127.0.0.1:9", "probe = \"never\"");
    let daemon = world.daemon().device(device.0, device.1, device.2, device.3).toml(&page(port)).start();
    (daemon, base(port))
}

#[test]
fn forms_are_taken_of_operators_and_of_our_own_page_alone() {
    let world = world!();
    let (daemon, base) = with_a_device(&world);
    let (reads, orders) = (cookie(&daemon, "wall", "read-only"), cookie(&daemon, "desk", "operator"));
    for (path, form) in FORMS {
        let refused = send(&base, &reads, path, form);
        assert_eq!(refused.status, 403, "{path}: {refused:?}");
        assert!(refused.body.contains("may only read") && refused.head.contains("text/html"), "{path}: {refused:?}");
        for site in ["Sec-Fetch-Site: cross-site", "Origin: http://evil.example"] {
            let refused = curl(&["-H", &orders, "-H", site, "-d", form, &format!("{base}{path}")]);
            assert_eq!(refused.status, 403, "{path} from {site}: {refused:?}");
        }
        // Without a cookie, or with one that is worth nothing: to the login, and from there to a page.
        let nobody = send(&base, "Cookie: nuncio=nuncio.desk.x", path, form);
        let to = if path.starts_with("/devices/") { "/login?next=%2fdevices%2fpress-3" } else { "/login" };
        assert_eq!(nobody.status, 303, "{path}: {nobody:?}");
        assert!(nobody.head.contains(&format!("location: {to}\r\n")), "{path}: {nobody:?}");
    }
    let token = orders.replace("Cookie: nuncio=", "token=");
    for (path, form) in [("/login", token.as_str()), ("/logout", "")] {
        let refused = curl(&["-H", "Sec-Fetch-Site: cross-site", "-d", form, &format!("{base}{path}")]);
        assert_eq!(refused.status, 403, "{path}: {refused:?}");
        assert!(!refused.head.contains("set-cookie"), "{path}: {refused:?}");
        let taken = send(&base, "X: y", path, form);
        assert!(taken.status == 303 && taken.head.contains("set-cookie"), "{path}: {taken:?}");
    }
    assert_eq!(daemon.cli(&["devices", "--json"]).json()["devices"][0]["id"], "press-3", "something was done");
}

#[test]
fn every_answer_says_that_nothing_but_our_own_script_runs() {
    let world = world!();
    let (daemon, base) = with_a_device(&world);
    let reads = cookie(&daemon, "wall", "read-only");
    let policy = "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                  connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'\r\n";
    for path in ["/", "/login", "/devices/press-3", "/gateway", "/nothing", "/assets/nuncio.js", "/api/v1/devices"] {
        let answer = curl(&["-H", &reads, &format!("{base}{path}")]);
        assert_eq!(answer.status, if path == "/nothing" { 404 } else { 200 }, "{path}: {answer:?}");
        for line in [policy, "x-content-type-options: nosniff\r\n", "x-frame-options: deny\r\n"] {
            assert!(answer.head.contains(line), "{path} without {line}: {}", answer.head);
        }
    }
}

#[test]
fn the_gateways_page_tells_how_its_machine_fares() {
    let world = world!();
    let (daemon, base) = with_a_device(&world);
    let reads = cookie(&daemon, "wall", "read-only");
    let page = curl(&["-H", &reads, &format!("{base}/gateway")]).body;
    for told in ["CPU load", "memory in use", "disk in use"] {
        let value = page.split(told).nth(1).and_then(|rest| rest.split("</div>").next()).unwrap_or_default();
        assert!(value.contains(" %"), "{told}: {page}");
    }
    let points = curl(&["-H", &reads, &format!("{base}/api/v1/gateway/health")]).json();
    let cpu = points.as_array().expect("a list").iter().find(|point| point["key"] == "cpu").expect("its load");
    assert_eq!((&cpu["object"], cpu["value"]["number"].is_number()), (&serde_json::json!(3320), true), "{points}");
}

#[test]
fn a_board_is_let_in_named_and_forgotten_and_an_image_held_back_by_forms() {
    let world = world!();
    let port = free_tcp();
    let board = world.board(Model::Uno).with(&firmata_image()).start();
    let watched = format!("questions = \"serial\"\nwatch = [{:?}]", board.port());
    let daemon = world.daemon().serial(&watched).toml("[join]\npolicy = \"approve\"").toml(&page(port)).start();
    let base = base(port);
    let orders = cookie(&daemon, "desk", "operator");
    let shown = |path: &str| curl(&["-H", &orders, &format!("{base}{path}")]).body;
    let link = format!("serial:{}", board.port().display());
    eventually("it waits", LONG, || {
        let list = shown("/");
        (list.contains("nuncio approve") && list.contains("Let it join") && list.contains(&link)).then_some(())
    });
    let goes_to = |answer: Curled, path: &str| {
        assert!(answer.status == 303 && answer.head.contains(&format!("location: {path}\r\n")), "{answer:?}");
    };
    goes_to(send(&base, &orders, "/approve", &format!("link={link}")), "/");
    eventually("the board is known", LONG, || daemon.device_at(board.port()));
    let name = daemon.cli(&["devices", "--json"]).json()["devices"][0]["id"].as_str().expect("a name").to_owned();

    goes_to(send(&base, &orders, &format!("/devices/{name}/rename"), "name=bench-1"), "/devices/bench-1");
    eventually("its new name", LONG, || shown("/").contains("bench-1").then_some(()));
    // By what it is recognised, and where its version comes from.
    let list = shown("/");
    assert!(list.contains("by its ") && list.contains("as it told: firmata"), "{list}");
    let refused = send(&base, &orders, "/devices/bench-1/rollback", "");
    assert!(refused.status == 409 && refused.body.contains("nothing to go back to"), "{refused:?}");
    let blinked = send(&base, &orders, "/devices/bench-1/identify", "");
    assert!(
        blinked.status == 303 || blinked.status == 409 && blinked.body.contains("That did not work"),
        "{blinked:?}"
    );

    goes_to(send(&base, &orders, "/brakes", "order=pull&board=arduino-uno"), "/gateway");
    assert!(shown("/gateway").contains("by hand") && daemon.cli(&["brake"]).output.contains("arduino-uno"));
    goes_to(send(&base, &orders, "/brakes", "order=release&what=arduino-uno"), "/gateway");
    assert!(!shown("/gateway").contains("by hand"), "{}", shown("/gateway"));
    assert_eq!(send(&base, &orders, "/brakes", "order=burn").status, 400);

    goes_to(send(&base, &orders, "/devices/bench-1/forget", "deny=on"), "/");
    eventually("it is gone", LONG, || (!shown("/").contains("/devices/bench-1")).then_some(()));
    assert_eq!(send(&base, &orders, "/devices/bench-1/cancel", "").status, 404);
}
