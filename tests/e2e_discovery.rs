//! Devices that programs of others find: Arduino's own, and scripts that do it wrong.
//!
//! Needs the peer discovery: `make peers`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use world::{Daemon, World, dummy_discovery, eventually, holds, world};

/// Ten times what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

const BOARDS: &str = r#"schema = 1
[board.dummy]
name = "Dummy"
discovered = [{ protocol = "dummy", properties = { pid = "0x0041", vid = "0x????" } }]
[board.dummy.facts]
serial_number = ["property:mac"]
[board.lamp]
name = "Lamp"
discovered = [{ protocol = "network", properties = { board = "esp32*" } }]
[board.lamp.facts]
mac = ['property:hostname ~ ^esp32-([0-9a-f]{12})']
"#;

fn daemon(world: &World, program: &Path) -> Daemon {
    world.file("config/boards.d/own.toml", BOARDS);
    world.daemon().toml(&format!("[[discovery]]\nname = \"found\"\nprogram = [{program:?}]")).start()
}

/// A program that answers as it should, and then does this.
fn script(world: &World, then: &str) -> PathBuf {
    let text = format!(
        r#"#!/bin/sh
read hello; echo "$hello" >>{home}/heard
echo '{{"eventType":"hello","message":"OK","protocolVersion":1}}'
read start; echo "$start" >>{home}/heard
echo '{{"eventType":"start_sync","message":"OK"}}'
{then}
"#,
        home = world.home().display()
    );
    let path = world.file("discovery.sh", text);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode is set");
    path
}

fn add(address: &str, protocol: &str, board: &str) -> String {
    format!(
        r#"{{"eventType":"add","port":{{"address":"{address}","label":"L","protocol":"{protocol}","properties":{{"board":"{board}","hostname":"esp32-a1b2c3d4e5f6.local"}}}}}}"#
    )
}

fn lists(daemon: &Daemon, text: &str) -> bool {
    daemon.cli(&["devices"]).output.contains(text)
}

#[test]
fn what_a_discovery_of_arduinos_finds_is_registered_and_leaves_with_it() {
    let world = world!();
    let daemon = daemon(&world, &dummy_discovery());
    eventually("the first device", PATIENCE, || lists(&daemon, "discovered:found/dummy/1").then_some(()));
    // The third goes again as soon as it has come; others go on coming.
    eventually("the fourth device", PATIENCE, || lists(&daemon, "discovered:found/dummy/4").then_some(()));
    eventually("the third is gone", PATIENCE, || (!lists(&daemon, "discovered:found/dummy/3")).then_some(()));
    let why = daemon.cli(&["why", "discovered:found/dummy/1"]).output;
    assert!(why.contains("dummy, pid=0x0041, vid=0x????") && why.contains("mac=384782"), "{why}");
}

#[test]
fn a_device_is_known_by_its_properties_and_serial_ports_are_nobodys_business() {
    let world = world!();
    let events = [
        add("10.0.0.7", "network", "esp32c3"),
        add("/dev/ttyACM9", "serial", "esp32c3"),
        add("10.0.0.8", "network", "uno"),
        add("10.0.0.9\\u001b[2J", "network", "esp32"),
    ];
    let program = script(&world, &format!("cat <<'EOF'\n{}\nEOF\nread quit; sleep 1000", events.join("\n")));
    let daemon = daemon(&world, &program);
    let link = "discovered:found/network/10.0.0.7";
    let why = || Some(daemon.cli(&["why", link]).output).filter(|why| why.contains("lamp"));
    let why = eventually("the lamp", PATIENCE, why);
    assert!(why.contains("mac-a1b2c3d4e5f6") && why.contains("network, board=esp32*"), "{why}");
    let listed = daemon.cli(&["devices"]).output;
    assert!(!listed.contains("ttyACM9") && !listed.contains("10.0.0.9") && !listed.contains('\u{1b}'), "{listed}");
    let other = daemon.cli(&["why", "discovered:found/network/10.0.0.8"]).output;
    assert!(other.contains("no board file names") && other.contains("board=uno"), "{other}");
    let heard = std::fs::read_to_string(world.home().join("heard")).expect("it was spoken to");
    assert!(heard.starts_with("HELLO 1 \"nuncio ") && heard.contains("\nSTART_SYNC\n"), "{heard}");
}

#[test]
fn a_program_that_ends_or_talks_nonsense_is_told_of_and_started_again() {
    let flood =
        "while :; do printf '{\"eventType\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'; done";
    for (then, reason) in [
        ("exit 3", "ended (exit status: 3)"),
        ("echo PANIC; sleep 1000", "prints something that is no JSON object"),
        (flood, "more than 65536 bytes"),
        (
            r#"echo '{"eventType":"start_sync","error":true,"message":"no \u001bradio"}'; sleep 1000"#,
            "no \u{fffd}radio",
        ),
    ] {
        let world = world!();
        let program = script(&world, &format!("echo '{}'\n{then}", add("10.0.0.7", "network", "esp32")));
        let daemon = daemon(&world, &program);
        let status = || Some(daemon.cli(&["status"]).output).filter(|output| output.contains(reason));
        let status = eventually(reason, PATIENCE, status);
        assert!(status.contains("the discovery `found`") && !status.contains('\u{1b}'), "{status}");
        let starts =
            || std::fs::read_to_string(world.home().join("heard")).unwrap_or_default().matches("HELLO").count();
        eventually("it is started again", PATIENCE, || (starts() >= 2).then_some(()));
    }
}

#[test]
fn a_program_ends_with_the_gateway_and_with_it_what_it_has_started() {
    let world = world!();
    let program = script(&world, "sleep 7531 &\nsleep 7532");
    let mut daemon = daemon(&world, &program);
    let running = || {
        let all = std::fs::read_dir("/proc").expect("there").flatten();
        let lines = all.filter_map(|one| std::fs::read_to_string(one.path().join("cmdline")).ok());
        lines.filter(|line| line.starts_with("sleep\u{0}753")).count()
    };
    eventually("both run", PATIENCE, || (running() == 2).then_some(()));
    daemon.stop(PATIENCE);
    eventually("both have ended", PATIENCE, || (running() == 0).then_some(()));
    holds("they stay so", Duration::from_secs(1), || running() == 0);
}

#[test]
fn a_program_that_is_not_there_harms_nobody() {
    let world = world!();
    let daemon = daemon(&world, Path::new("/nonexistent/discovery"));
    let status = || Some(daemon.cli(&["status"]).output).filter(|output| output.contains("cannot be started"));
    eventually("status tells", PATIENCE, status);
}
