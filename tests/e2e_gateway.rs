//! The gateway as an endpoint of its own at its servers, among them one that knows its own objects' definitions, one that does not, and
//! lwm2m-node-lib.
//!
//! Needs the peers avr, leshan and node: `make peers`.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use world::{Leshan, World, world};

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

#[test]
fn the_gateway_registers_and_tells_which_machine_it_is() {
    let world = world!();
    let (a, b) = Leshan::pair();
    let daemon = world
        .daemon()
        .server("factory", &a.uri(), 123, "lifetime = \"30s\"")
        .server("cloud", &b.uri(), 234, "lifetime = \"30s\"")
        .start();
    let own = world.own_endpoint();
    for server in [a, b] {
        let links = objects(server, &own);
        for there in ["/3/0", "/7/0", "/3320/0", "/3300/0", "/26301/0"] {
            assert!(links.iter().any(|link| link == there), "{there}: {links:?}");
        }
        assert!(!links.iter().any(|link| link.starts_with("/5") || link.starts_with("/26300")), "{links:?}");
        assert_eq!(server.read(&own, "3/0/0").text(), "Nuncio");
        assert_eq!(server.read(&own, "3/0/17").text(), "gateway");
        for version in ["3/0/3", "3/0/19"] {
            assert_eq!(server.read(&own, version).text(), env!("CARGO_PKG_VERSION"));
        }
        assert_eq!(server.read(&own, "3/0/9").code, 404, "there is no battery");
        assert_eq!(server.read(&own, "5/0/3").code, 404);
    }
    drop(daemon);
}
