//! The built-in server with clients that we did not write: Leshan's library (LwM2M 1.1) and lwm2m-node-lib (1.0).
//!
//! Needs the peers leshan and node: `make peers`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use world::{Daemon, ForeignClient, World, eventually, free_both, world};

/// Ten times what anything takes here.
const PATIENCE: Duration = Duration::from_secs(120);

fn gateway(world: &World) -> (Daemon, u16) {
    let port = free_both();
    (world.daemon().builtin(port, "").start(), port)
}

fn await_value(daemon: &Daemon, endpoint: &str, path: &str, wanted: &str) {
    eventually(&format!("{endpoint} tells {path} = {wanted}"), PATIENCE, || {
        (daemon.builtin_value(endpoint, path)? == wanted).then_some(())
    });
}

fn result(folder: &Path, image: &str) -> String {
    let file = folder.join(format!("{image}.result"));
    eventually(&format!("{} tells how it ended", file.display()), PATIENCE, || {
        fs::read_to_string(&file).ok().filter(|text| !text.starts_with("waiting"))
    })
}

#[test]
fn a_client_of_leshans_is_read_observed_and_updated() {
    let world = world!();
    let (daemon, port) = gateway(&world);
    let mut client = ForeignClient::leshan(port, "guest-1");
    await_value(&daemon, "guest-1", "/3/0/0", "Eclipse Leshan");
    await_value(&daemon, "guest-1", "/5/0/3", "0");
    let folder = world.home().join("state/drop/guest-1");
    fs::create_dir(&folder).expect("a folder for a guest");
    fs::write(folder.join("image.bin"), "2.0.1\nand the rest").expect("dropped");
    assert!(result(&folder, "image.bin").starts_with("ok: guest-1: it runs 2.0.1, proven\n"));
    client.await_line("fetched 18 bytes, SHA-256 ");
    let steps: Vec<String> =
        client.output().lines().filter_map(|line| line.strip_prefix("state ").map(str::to_owned)).collect();
    assert_eq!(steps, ["1 result 0", "2 result 0", "3 result 0", "0 result 1"]);
    await_value(&daemon, "guest-1", "/3/0/3", "2.0.1");
    fs::write(folder.join("bad.bin"), "bad").expect("dropped");
    let text = result(&folder, "bad.bin");
    assert!(text.starts_with("failed: guest-1: the update failed (5/0/5 = 8)\n"), "{text}");
    // It goes without a word: another one takes its place, as itself.
    client.kill();
    let _again = ForeignClient::leshan(port, "guest-1");
    await_value(&daemon, "guest-1", "/3/0/3", "0.9.0");
    let view = daemon.cli(&["builtin", "--json"]).json();
    let guests = view["clients"].as_array().into_iter().flatten().filter(|client| client["endpoint"] == "guest-1");
    assert_eq!(guests.count(), 1, "{view}");
}

#[test]
fn a_client_that_tells_resources_only_is_read_and_observed() {
    let world = world!();
    let (daemon, port) = gateway(&world);
    let mut client = ForeignClient::node(port, "guest-2");
    await_value(&daemon, "guest-2", "/3/0/0", "Telefonica");
    await_value(&daemon, "guest-2", "/5/0/3", "0");
    client.tell(r#"{"object":"/5/0","resource":"3","value":"1"}"#);
    await_value(&daemon, "guest-2", "/5/0/3", "1");
    client.tell(r#"{"unregister":true}"#);
    client.await_line("\"unregistered\"");
    eventually("it is gone", PATIENCE, || daemon.builtin_value("guest-2", "/3/0/0").is_none().then_some(()));
}
