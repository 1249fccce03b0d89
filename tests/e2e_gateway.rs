//! The gateway as an endpoint of its own at its servers, among them one that knows its own object's definition, those that do not, and
//! lwm2m-node-lib.
//!
//! Needs the peers avr, disaster, leshan and node, and root: `make peers`.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use world::{
    Daemon, DaemonBuilder, Leshan, Model, NodeServer, World, eventually, firmata_image, holds, repository, world,
};

/// Ten times what anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);
/// What was sampled is good for so long.
const FRESH_FOR: Duration = Duration::from_secs(10);

fn at_both(world: &World) -> DaemonBuilder<'_> {
    let (a, b) = Leshan::pair();
    let lifetime = "lifetime = \"30s\"";
    world.daemon().server("factory", &a.uri(), 123, lifetime).server("cloud", &b.uri(), 234, lifetime)
}

fn number(server: &Leshan, endpoint: &str, path: &str) -> f64 {
    let answer = server.read(endpoint, path);
    assert_eq!(answer.code, 205, "{path}: {answer:?}");
    answer.text().parse().unwrap_or_else(|_| panic!("{path}: {answer:?}"))
}

/// A number of the kernel's, in its own unit.
fn kernel(file: &str, name: &str) -> f64 {
    let text = fs::read_to_string(file).expect("the kernel tells");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {file}"));
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

fn objects(server: &Leshan, endpoint: &str) -> Vec<String> {
    let client = server.await_client(endpoint);
    let links = client["objectLinks"].as_array().cloned().unwrap_or_default();
    links.iter().filter_map(|link| Some(link["url"].as_str()?.to_owned())).collect()
}

/// The values of a list of object 26301, by number.
fn list(server: &Leshan, endpoint: &str, resource: u16) -> Vec<String> {
    let answer = server.read(endpoint, &format!("26301/0/{resource}"));
    assert_eq!(answer.code, 205, "{answer:?}");
    let values = answer.body["content"]["values"].as_object().cloned().unwrap_or_default();
    values.values().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).collect()
}

fn with_definition(world: &World) -> Leshan {
    let definition = fs::read(repository().join("docs/26301.xml")).expect("ours");
    let file = world.file("models/26301.xml", definition);
    Leshan::with_models("leshan with our model", file.parent().expect("a folder"))
}

#[test]
fn the_gateway_registers_and_tells_which_machine_it_is() {
    let world = world!();
    let daemon = at_both(&world).start();
    let (own, (a, b)) = (world.own_endpoint(), Leshan::pair());
    for server in [a, b] {
        let links = objects(server, &own);
        for there in ["/3/0", "/7/0", "/3320/0", "/3300/0", "/26301/0"] {
            assert!(links.iter().any(|link| link == there), "{there}: {links:?}");
        }
        assert!(!links.iter().any(|link| link.starts_with("/5") || link.starts_with("/26300")), "{links:?}");
        for (path, text) in [
            ("3/0/0", "Nuncio"),
            ("3/0/17", "gateway"),
            ("3/0/3", env!("CARGO_PKG_VERSION")),
            ("3/0/19", env!("CARGO_PKG_VERSION")),
        ] {
            assert_eq!(server.read(&own, path).text(), text, "{path}");
        }
        let errors = server.read(&own, "3/0/11");
        assert_eq!(errors.body["content"]["values"], json!({ "0": 0 }), "{errors:?}");
        for absent in ["3/0/9", "3/0/20", "5/0/3", "26300/0/2"] {
            assert_eq!(server.read(&own, absent).code, 404, "{absent}");
        }
    }
    let status = daemon.cli(&["status", "--json"]).json();
    assert_eq!(status["gateway"]["endpoint"], own);
    assert_eq!(status["gateway"]["registrations"][1]["server"], "cloud");
    assert_eq!(status["gateway"]["registrations"][1]["state"], "registered");
    assert_eq!((&status["devices"], &status["servers"][0]["devices"]), (&json!([]), &json!(0)), "it is no device");
}

#[test]
fn what_it_measures_is_what_the_kernel_tells() {
    let world = world!();
    let zone = world.file("thermal/thermal_zone0/type", "cpu-thermal\n").parent().expect("a folder").to_owned();
    fs::write(zone.join("temp"), "48312\n").expect("ours");
    let mut daemon = at_both(&world).thermal(zone.parent().expect("a folder")).start();
    let (own, (server, _)) = (world.own_endpoint(), Leshan::pair());
    server.await_client(&own);
    let near = |path: &str, expected: f64, within: f64| {
        let told = number(server, &own, path);
        assert!((told - expected).abs() <= within, "{path}: {told}, and the kernel tells {expected}");
    };
    let load = number(server, &own, "3320/0/5700");
    assert!((0.0..=100.0).contains(&load), "{load}");
    let (total, free) = (kernel("/proc/meminfo", "MemTotal:"), kernel("/proc/meminfo", "MemAvailable:"));
    near("3320/1/5700", 100.0 * (1.0 - free / total), 20.0);
    near("3300/1/5700", kernel("/proc/uptime", ""), 60.0);
    let status = format!("/proc/{}/status", daemon.process().id());
    near("3300/2/5700", kernel(&status, "VmRSS:") * 1024.0, 40e6);
    let disk = rustix::fs::statvfs(world.home().join("state")).expect("a folder");
    let kilobytes = |blocks: u64| (blocks * disk.f_frsize) as f64 / 1000.0;
    near("3/0/21", kilobytes(disk.f_blocks), 1.0);
    near("3/0/10", kilobytes(disk.f_bavail), kilobytes(disk.f_blocks) / 5.0);
    assert_eq!(number(server, &own, "3303/0/5700"), 48.3);
    assert_eq!(server.read(&own, "3303/0/5701").text(), "Cel");
    assert_eq!(server.read(&own, "3303/0/5750").text(), "cpu-thermal");
    assert_eq!(server.write(&own, "3303/0/5700", 1.0).code, 405);
    let time = server.read(&own, "3/0/13").text();
    let year = jiff::Timestamp::now().strftime("%Y-").to_string();
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
    let is_now = |told: i64| seconds.abs_diff(told.unsigned_abs()) < 120_000 && told > 0;
    assert!(time.starts_with(&year) || time.parse().is_ok_and(|told: i64| is_now(told / 1000)), "{time}");
    fs::write(zone.join("temp"), "51000\n").expect("ours");
    eventually("what was measured is measured again", PATIENCE, || {
        (number(server, &own, "3303/0/5700") == 51.0).then_some(())
    });
}

#[test]
fn traffic_is_counted_and_counted_anew_when_a_server_says_so() {
    let world = world!();
    let _daemon = at_both(&world).start();
    let (own, (server, other)) = (world.own_endpoint(), Leshan::pair());
    server.await_client(&own);
    eventually("kilobytes are counted", PATIENCE, || {
        server.read(&own, "3/0");
        (number(server, &own, "7/0/2") >= 2.0 && number(other, &own, "7/0/3") >= 2.0).then_some(())
    });
    assert!((29.0..1500.0).contains(&number(server, &own, "7/0/5")));
    assert_eq!(server.execute(&own, "7/0/6").code, 204);
    assert_eq!(number(other, &own, "7/0/2"), 0.0);
    assert_eq!(server.execute(&own, "7/0/7").code, 204);
    let sent = number(server, &own, "7/0/2");
    (0..20).for_each(|_| drop(server.read(&own, "3/0")));
    assert_eq!(number(server, &own, "7/0/2"), sent, "it was stopped");
    assert_eq!(server.write(&own, "7/0/8", 3600).code, 204);
    assert_eq!(number(server, &own, "7/0/8"), 3600.0);
}

#[test]
fn boards_are_listed_as_they_come_and_go() {
    let world = world!();
    let (press, mill) = (world.uno("uno-1.2.0.hex"), world.uno("uno-1.3.0.hex"));
    let names = [world.name("press"), world.name("mill")];
    let knowing = with_definition(&world);
    let daemon = at_both(&world)
        .server("knowing", &knowing.uri(), 345, "lifetime = \"30s\"")
        .device(&names[0], "arduino-uno", &press.link(), "")
        .device(&names[1], "arduino-uno", &mill.link(), "")
        .start();
    let own = world.own_endpoint();
    let (blind, _) = Leshan::pair();
    names.iter().for_each(|name| drop(knowing.await_client(name)));
    let mut endpoints = list(&knowing, &own, 1);
    endpoints.sort();
    let mut both = names.clone();
    both.sort();
    assert_eq!(endpoints, both);
    assert_eq!(list(&knowing, &own, 2), ["arduino-uno"; 2]);
    assert_eq!(list(&knowing, &own, 4), ["true"; 2]);
    assert!(list(&knowing, &own, 3).contains(&press.link()), "{:?}", list(&knowing, &own, 3));
    assert_eq!(number(blind, &own, "26301/0/0"), 2.0, "it is read without its definition, too");

    let events = knowing.events(&own);
    for path in ["26301/0/0", "26301/0/1"] {
        let answer = knowing.observe(&own, path);
        assert_eq!(answer.code, 205, "{answer:?}");
    }
    let told = |count: &str, within| events.await_values("/26301/0/0", &[count], within);
    press.unplug();
    told("1", PATIENCE);
    assert_eq!(list(&knowing, &own, 1), [names[1].clone()]);
    mill.unplug();
    told("0", PATIENCE);
    assert_eq!(list(&knowing, &own, 1), Vec::<String>::new());
    press.plug();
    told("1", PATIENCE);
    eventually("the list is told with it, after it was empty", PATIENCE, || {
        let all = events.all();
        let last = all.iter().rev().find(|(_, data)| data["res"] == "/26301/0/1")?;
        last.1.to_string().contains(&names[0]).then_some(())
    });
    assert_eq!(list(&knowing, &own, 1), [names[0].clone()]);
    knowing.await_client(&names[0]);
    assert!(daemon.device(&names[0]).is_some());
}

#[test]
fn a_reload_and_another_name_for_a_board_leave_it_standing() {
    let world = world!();
    let board = world.board(Model::Uno).with(&firmata_image()).start();
    let mut daemon = at_both(&world).serial(&format!("watch = [{:?}]\nquestions = \"serial\"", board.port())).start();
    let (own, (server, _)) = (world.own_endpoint(), Leshan::pair());
    let registration = server.registration(&own);
    let port = daemon.await_why(board.port(), "is a device", |why| why["subject"]["device"].is_string());
    let device = port["subject"]["device"].as_str().expect("a name").to_owned();
    let endpoints = eventually("the board is listed", PATIENCE, || {
        Some(list(server, &own, 1)).filter(|endpoints| !endpoints.is_empty())
    });
    assert_eq!(daemon.cli(&["rename", &device, "lathe"]).code, Some(0));
    eventually("it is listed under its endpoint name still", PATIENCE, || {
        (list(server, &own, 1) == endpoints).then_some(())
    });
    daemon.edit_config(|text| text.replace(&own, "another"));
    daemon.process().signal(rustix::process::Signal::HUP);
    eventually("it was read again", PATIENCE, || daemon.log().contains("which takes a restart").then_some(()));
    eventually("it was read again", PATIENCE, || daemon.log().contains("were read again").then_some(()));
    holds("the registration stands", Duration::from_secs(3), || server.registration(&own) == registration);
    assert_eq!(list(server, &own, 1), endpoints);
    assert!(server.client("another").is_none());
}

#[test]
fn the_node_library_reads_the_gateway() {
    let world = world!();
    let mut node = NodeServer::start();
    let daemon = world.daemon().server("node", &node.uri(), 101, "lifetime = \"30s\"\nversion = \"1.0\"").start();
    let own = world.own_endpoint();
    let links = node.await_registration(&own).to_string();
    assert!(links.contains("26301/0") && !links.contains("5/0"), "{links}");
    assert_eq!(node.read(&own, "/3/0/0"), Ok("Nuncio".to_owned()));
    assert_eq!(node.read(&own, "/26301/0/0"), Ok("0".to_owned()));
    let load: f64 = node.read(&own, "/3320/0/5700").expect("a load").parse().expect("a number");
    assert!((0.0..=100.0).contains(&load), "{load}");
    node.ask("observe", &own, "/3300/1/5700", &Value::Null).expect("it observes");
    eventually("the uptime is told again and again", PATIENCE, || {
        (node.values("/3300/1/5700").len() >= 2).then_some(())
    });
    drop(daemon);
}

/// How often the daemon has looked at its machine.
fn looks(trace: &Path) -> usize {
    let text = fs::read_to_string(trace).unwrap_or_default();
    text.lines().filter(|line| line.contains("/proc/loadavg")).count()
}

#[test]
fn nothing_is_measured_while_nobody_looks() {
    let world = world!();
    let trace = world.dir().join("trace");
    let _daemon = at_both(&world).traced(&trace, "openat").start();
    let (own, (server, other)) = (world.own_endpoint(), Leshan::pair());
    server.registration(&own);
    other.registration(&own);
    eventually("it has looked which machine it is", PATIENCE, || (looks(&trace) > 0).then_some(()));
    // What it looked at because it was registered may still be under way.
    std::thread::sleep(Duration::from_secs(2));
    let before = looks(&trace);
    assert!(before <= 3, "{before}");
    holds("nothing is measured", 2 * FRESH_FOR, || looks(&trace) == before);
    number(server, &own, "3320/0/5700");
    number(other, &own, "3300/0/5700");
    assert_eq!(looks(&trace), before + 1, "what was measured for one server is good for the other");
    // Told now and then though it may stay the same, as on a machine that is busy all the time: a cancelled observation ends with
    // the first notification that the server does not want.
    assert_eq!(server.attributes(&own, "3320/0/5700", "pmin=1&pmax=5").code, 204);
    server.observe(&own, "3320/0/5700");
    eventually("it is measured again while it is observed", PATIENCE, || (looks(&trace) >= before + 3).then_some(()));
    assert_eq!(server.cancel(&own, "3320/0/5700").map(|answer| answer.status), Some(200));
    eventually("and no more when nobody does", PATIENCE, || {
        let before = looks(&trace);
        std::thread::sleep(2 * FRESH_FOR);
        (looks(&trace) == before).then_some(())
    });
}

fn started(daemon: &Daemon) -> Value {
    daemon.cli(&["status", "--json"]).json()["gateway"].clone()
}

#[test]
fn a_reboot_begins_the_program_anew_in_the_same_process() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let name = world.name("press");
    let mut daemon = at_both(&world).device(&name, "arduino-uno", &board.link(), "").start();
    let (own, (server, other)) = (world.own_endpoint(), Leshan::pair());
    let (before, device) = (server.registration(&own), other.registration(&name));
    let (gateway, pid) = (started(&daemon), daemon.process().id());
    let open =
        |daemon: &mut Daemon| fs::read_dir(format!("/proc/{}/fd", daemon.process().id())).expect("it runs").count();
    let files = open(&mut daemon);
    eventually("it takes a reboot once it is settled", PATIENCE, || {
        std::thread::sleep(Duration::from_secs(1));
        let code = server.execute(&own, "3/0/4").code;
        assert!(matches!(code, 204 | 500), "{code}");
        (code == 204).then_some(())
    });
    eventually("it registers anew everywhere", PATIENCE, || {
        let new = |server: &Leshan, name: &str, old: &str| {
            server.client(name).is_some_and(|client| client["registrationId"] != old)
        };
        (new(server, &own, &before) && new(other, &name, &device)).then_some(())
    });
    assert_eq!(server.read(&own, "3/0/0").text(), "Nuncio");
    let again = started(&daemon);
    assert_eq!((&again["pid"], daemon.process().id()), (&gateway["pid"], pid));
    assert!(again["started"].as_i64() > gateway["started"].as_i64(), "{again}");
    assert!(open(&mut daemon) <= files + 2, "nothing is left open by the one before");
    assert_eq!(server.execute(&own, "3/0/4").code, 500, "not again at once");
    assert_eq!(daemon.stop(PATIENCE), Some(0));
    assert!(server.client(&own).is_none() && other.client(&name).is_none(), "it leaves as it would have before");
}

#[test]
fn it_is_called_as_the_configuration_says_or_is_not_there() {
    let world = world!();
    let (server, _) = Leshan::pair();
    let board = world.uno("uno-1.2.0.hex");
    let name = world.name("press");
    let of = |own: &str| {
        let daemon = world.daemon().server("factory", &server.uri(), 123, "").own_endpoint(own);
        daemon.device(&name, "arduino-uno", &board.link(), "").start()
    };
    let other = world.name("hall-7");
    let daemon = of(&other);
    assert_eq!(server.read(&other, "3/0/0").text(), "Nuncio");
    drop(daemon);
    let daemon = of("");
    daemon.await_registered(&name, "factory");
    assert!(started(&daemon)["endpoint"].is_null());
    let own = format!("gateway-{}", started(&daemon)["name"].as_str().expect("a name"));
    holds("only its device is there", Duration::from_secs(3), || server.client(&own).is_none());
    drop(daemon);
    let daemon = world.daemon().own_endpoint(&name).device(&name, "arduino-uno", &board.link(), "").prepare();
    let told = daemon.cli(&["check"]);
    assert!(told.code != Some(0) && told.output.contains("is the gateway itself"), "{}", told.output);
}
