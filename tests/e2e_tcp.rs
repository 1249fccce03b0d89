//! Devices behind `tcp:` links: there while something answers a connect, or taken as there.

use std::net::TcpListener;
use std::time::Duration;

use world::{Daemon, World, free_tcp, holds, world};

fn daemon(world: &World, port: u16, extra: &str) -> Daemon {
    let link = format!("tcp:127.0.0.1:{port}");
    let probing = "[tcp]\nprobe = \"200ms\"\ntimeout = \"2s\"";
    world.daemon().toml(probing).device("press-3", "arduino-uno", &link, extra).start()
}

#[test]
fn a_tcp_device_comes_with_its_listener_and_goes_with_it() {
    let (world, port) = (world!(), free_tcp());
    let daemon = daemon(&world, port, "");
    let absent = || daemon.device("press-3").is_none_or(|device| !device.present());
    holds("nobody listens, for some tries", Duration::from_secs(1), absent);
    for _ in 0..2 {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("our own port");
        daemon.await_device("press-3", "is there", |device| device.present().then_some(()));
        drop(listener);
        world::eventually("it is gone", Duration::from_secs(60), || absent().then_some(()));
    }
}

#[test]
fn a_tcp_device_that_may_not_be_probed_is_there_and_never_connected_to() {
    let (world, port) = (world!(), free_tcp());
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("our own port");
    listener.set_nonblocking(true).expect("a listener");
    let daemon = daemon(&world, port, "probe = \"never\"");
    daemon.await_device("press-3", "is there", |device| device.present().then_some(()));
    holds("nobody connects, for some tries", Duration::from_secs(2), || listener.accept().is_err());
}
