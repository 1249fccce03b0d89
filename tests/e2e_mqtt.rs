//! Home Assistant by MQTT: what a real broker keeps of a real gateway, as a client hears it that we did not write.
//!
//! Needs the peers avr, leshan and mqtt: `make peers`.

use world::{DaemonBuilder, Mosquitto, world};

fn mqtt<'w>(daemon: DaemonBuilder<'w>, broker: &Mosquitto, extra: &str) -> DaemonBuilder<'w> {
    daemon.toml(&format!("[mqtt]\nenabled = true\nbroker = {:?}\n{extra}", broker.uri()))
}

#[test]
fn one_device_has_an_update_entity() {
    let world = world!();
    let broker = world.mosquitto("broker").start();
    let board = world.uno("uno-1.2.0.hex");
    let daemon = mqtt(world.daemon(), &broker, "").serial("questions = \"serial\"");
    let _daemon = daemon.device("press-3", "arduino-uno", &board.link(), "").start();
    let config = broker
        .await_kept("homeassistant/device/nuncio--world--press-3/config", "is there", |message| Some(message.json()));
    assert_eq!(config["device"]["name"], "press-3");
    assert_eq!(config["components"]["update"]["platform"], "update");
    let state = config["components"]["update"]["state_topic"].as_str().expect("a topic").to_owned();
    broker.await_kept(&state, "the version that the board told", |message| {
        let state = message.json();
        (state["installed_version"] == "1.2.0" && state["latest_version"] == "1.2.0").then_some(())
    });
    broker.await_kept("nuncio/world/press-3/availability", "online", |message| {
        (message.payload == "online").then_some(())
    });
}
