//! Hooks: what happens to real boards is posted to a web server that we did not write, and calls programs.
//!
//! Needs the peers avr and mqtt: `make peers`.

#[path = "cli_daemon/schema.rs"]
mod schema;

use std::time::{Duration, Instant};

use serde_json::Value;
use world::{Authority, Daemon, SimBoard, WebhookServer, World, avr_image, eventually, holds, world};

/// Ten times what a flash takes.
const PATIENCE: Duration = Duration::from_secs(240);

fn press(world: &World, hooks: &str) -> (Daemon, SimBoard) {
    let board = world.uno("uno-1.2.0.hex");
    let daemon = world.daemon().toml(hooks).device("press", "arduino-uno", &board.link(), "").start();
    daemon.await_device("press", "is there", |device| device.present().then_some(()));
    (daemon, board)
}

fn flash(daemon: &Daemon, image: &str) -> Option<i32> {
    daemon.flash("press", &avr_image(image)).code
}

fn notes(daemon: &Daemon) -> String {
    daemon.cli(&["status", "--json"]).json()["gateway"]["notes"].to_string()
}

#[test]
fn a_web_server_is_told_in_order_signed_and_by_the_schema() {
    let world = world!();
    let mut server = WebhookServer::start("open sesame");
    let secret = world.file("secret", "open sesame\n");
    let on = r#"on = ["device-joined", "image-staged", "tool-started", "update-proven", "update-failed"]"#;
    let hook = |name: &str, path: &str, with: &str| {
        format!("[[hook]]\nname = {name:?}\n{on}\nurl = {:?}\n{with}\n", server.url(path))
    };
    let hooks = hook("signed", "signed", &format!("secret_file = {secret:?}")) + &hook("plain", "down-2", "");
    let (daemon, board) = press(&world, &hooks);
    assert_eq!(flash(&daemon, "uno-1.3.0.hex"), Some(0));
    let proven = server.await_post("signed", |post| post["event"] == "update-proven");
    assert_eq!((&proven["body"]["version"], &proven["body"]["device"]), (&"1.3.0".into(), &"press".into()));
    let posts = server.posts("signed");
    let events: Vec<&str> = posts.iter().filter_map(|post| post["event"].as_str()).collect();
    // The board's own image is read first.
    assert_eq!(events, ["device-joined", "image-staged", "tool-started", "tool-started", "update-proven"]);
    let mut before = 0;
    for post in &posts {
        assert!(post["signed"] == true && post["type"] == "application/json", "{post}");
        assert_eq!(post["event"], post["body"]["event"]);
        schema::check(&post["body"]).unwrap_or_else(|error| panic!("{error}\n{post:#}"));
        let number = post["body"]["number"].as_u64().expect("a number");
        assert!(number > before, "{posts:#?}");
        before = number;
    }
    // The other server was down at first, and got all of it in order all the same; nobody signed it.
    server.await_post("down-2", |post| post["event"] == "update-proven");
    let posts = server.posts("down-2");
    let mut arrived: Vec<&str> = posts.iter().filter_map(|post| post["event"].as_str()).collect();
    assert!(posts.iter().all(|post| post["signed"] == false));
    assert_eq!(arrived.drain(..2).collect::<Vec<_>>(), ["device-joined"; 2], "tried again");
    assert_eq!(arrived, events);

    board.order("mute on");
    assert_ne!(flash(&daemon, "uno-1.2.0.hex"), Some(0));
    let failed = server.await_post("signed", |post| post["event"] == "update-failed");
    assert!(failed["body"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{failed}");
    assert_eq!(notes(&daemon), "[]");
}

#[test]
fn redirects_are_not_followed_and_what_is_refused_is_told_once() {
    let world = world!();
    let server = WebhookServer::start("");
    let hook = |name: &str, path: &str| {
        let url = server.url(path);
        format!("[[hook]]\nname = {name:?}\non = [\"image-staged\", \"update-proven\"]\nurl = {url:?}\nretries = 0\n")
    };
    let nobody = "[[hook]]\nname = \"nobody\"\non = [\"image-staged\"]\nurl = \"http://127.0.0.1:9/token-of-mine\"\nretries = 1\n";
    let (daemon, _board) = press(&world, &(hook("away", "redirect") + &hook("closed", "refused") + nobody));
    assert_eq!(flash(&daemon, "uno-1.3.0.hex"), Some(0));
    for note in ["redirects are not followed", "403 Forbidden", "hook nobody: ", "after 2 tries"] {
        eventually(note, PATIENCE, || notes(&daemon).contains(note).then_some(()));
    }
    eventually("both events came", PATIENCE, || (server.posts("refused").len() == 2).then_some(()));
    holds("nobody is sent elsewhere", Duration::from_secs(2), || server.posts("elsewhere").is_empty());
    assert_eq!(server.posts("redirect").len(), 2);
    let log = daemon.log();
    assert_eq!(log.lines().filter(|line| line.contains("WARN") && line.contains("403 Forbidden")).count(), 1, "{log}");
    assert!(!(log.clone() + &notes(&daemon)).contains("token-of-mine"), "a URL may be a secret: {log}");
}

#[test]
fn a_server_of_an_own_authority_is_trusted_where_that_is_said() {
    let world = world!();
    let authority = Authority::new(&world, "own");
    let mut server = WebhookServer::with_tls(&authority);
    let hook = |name: &str, with: &str| {
        let url = server.url(name);
        format!("[[hook]]\nname = {name:?}\non = [\"device-joined\"]\nurl = {url:?}\nretries = 0\n{with}\n")
    };
    let hooks = hook("strange", "") + &hook("trusted", &format!("ca = [{:?}]", authority.certificate()));
    let (daemon, _board) = press(&world, &hooks);
    server.await_post("trusted", |post| post["event"] == "device-joined");
    let note = "hook strange: error sending request";
    eventually(note, PATIENCE, || {
        (notes(&daemon).contains(note) && notes(&daemon).contains("certificate")).then_some(())
    });
    assert!(server.posts("strange").is_empty());
}

#[test]
fn a_server_that_never_answers_holds_up_nothing() {
    let world = world!();
    let server = WebhookServer::start("");
    let url = server.url("silent");
    let hook = format!("[[hook]]\nname = \"slow\"\non = [\"update-proven\"]\nurl = {url:?}\ntimeout = \"10m\"\n");
    let (mut daemon, board) = press(&world, &hook);
    for image in ["uno-1.3.0.hex", "uno-1.2.0.hex", "uno-1.3.0.hex"] {
        assert_eq!(flash(&daemon, image), Some(0));
        assert!(board.holds(&avr_image(image)));
    }
    assert_eq!(server.posts("silent").len(), 1, "one after the other");
    let begun = Instant::now();
    assert_eq!(daemon.stop(PATIENCE), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(60), "a stop does not wait for it: {:?}", begun.elapsed());
}

#[test]
fn a_program_is_called_with_the_event_and_what_it_says_is_logged() {
    let world = world!();
    let (heard, after) = (world.dir().join("heard"), world.dir().join("after"));
    let script = world.script(
        "tell.sh",
        &format!(
            "#!/bin/sh\ncat >> {0}; echo >> {0}\necho \"$NUNCIO_EVENT of $NUNCIO_DEVICE: $NUNCIO_VERSION, $1\"\n\
             test -z \"$CREDENTIALS_DIRECTORY$NUNCIO_CACHE\" || exit 3\n[ \"$NUNCIO_EVENT\" != image-staged ] || exit 4\n",
            heard.display()
        ),
    );
    let last = world.script("last.sh", &format!("#!/bin/sh\nsleep 1; touch {}\n", after.display()));
    let hooks = format!(
        "[[hook]]\nname = \"tell\"\non = [\"image-staged\", \"update-proven\"]\nprogram = [{script:?}, \"$(id) 'a b'\"]\n\
         [[hook]]\nname = \"last\"\non = [\"update-proven\"]\nprogram = [{last:?}]\n"
    );
    let (mut daemon, _board) = press(&world, &hooks);
    assert_eq!(flash(&daemon, "uno-1.3.0.hex"), Some(0));
    // What has happened is handed on before the gateway ends.
    assert_eq!(daemon.stop(PATIENCE), Some(0));
    assert!(after.exists());
    let heard = std::fs::read_to_string(heard).expect("it was called");
    let events: Vec<Value> = heard.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    events.iter().for_each(|event| schema::check(event).unwrap_or_else(|error| panic!("{error}\n{event:#}")));
    assert_eq!(events.iter().map(|event| &event["event"]).collect::<Vec<_>>(), ["image-staged", "update-proven"]);
    let log = daemon.log();
    assert!(log.contains("hook tell: it ended with exit status: 4"), "{log}");
    assert!(log.contains("update-proven of press: 1.3.0, $(id) 'a b'"), "no shell: {log}");
}

#[test]
fn a_program_whose_time_is_over_is_ended_with_all_its_children() {
    let world = world!();
    let ids = world.dir().join("ids");
    let script = world.script(
        "hang.sh",
        &format!("#!/bin/sh\nsleep 601 &\necho $! $$ > {0}.new; mv {0}.new {0}\nwait\n", ids.display()),
    );
    let hook =
        format!("[[hook]]\nname = \"hang\"\non = [\"device-joined\"]\nprogram = [{script:?}]\ntimeout = \"2s\"\n");
    let (daemon, _board) = press(&world, &hook);
    let ids = eventually("it was called", PATIENCE, || std::fs::read_to_string(&ids).ok());
    for id in ids.split_whitespace() {
        let state = format!("/proc/{id}/cmdline");
        eventually(&format!("{id} is gone"), PATIENCE, || {
            std::fs::read(&state).map_or(true, |line| line.is_empty()).then_some(())
        });
    }
    eventually("that is told", PATIENCE, || notes(&daemon).contains("hook hang: it was ended after 2s").then_some(()));
}

#[test]
fn check_finds_a_hook_that_cannot_work() {
    let world = world!();
    let script = world.file("no-program", "#!/bin/sh\n");
    let hooks = format!(
        "[[hook]]\nname = \"bell\"\non = [\"quarantined\"]\nprogram = [{script:?}]\n\
         [[hook]]\nname = \"chat\"\non = [\"quarantined\"]\nurl = \"http://127.0.0.1:9/\"\nsecret_file = \"nowhere\"\n\
         [mqtt]\nenabled = true\nbroker = \"mqtt://broker.example\"\nusername = \"a\"\npassword = \"b\"\n"
    );
    let daemon = world.daemon().toml(&hooks).prepare();
    let checked = daemon.cli(&["check", "--json"]);
    let items = checked.json()["items"].as_array().cloned().expect("items");
    let item =
        |what: &str| items.iter().find(|item| item["what"] == what).unwrap_or_else(|| panic!("{what}: {items:#?}"));
    assert_eq!(item("hook bell")["state"], "error");
    assert!(item("hook chat")["detail"].as_str().is_some_and(|detail| detail.contains("LoadCredential")));
    let broker = item("MQTT broker");
    assert!(broker["state"] == "warning" && broker["detail"].to_string().contains("in the clear"), "{broker}");
    assert_ne!(checked.code, Some(0));
}
