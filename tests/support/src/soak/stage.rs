//! Where a soak plays: networks with devices, two Leshans, a broker, a board, and the daemon with every room open.

use std::fs;
use std::time::Duration;

use super::plan::Plan;
use super::record::Record;
use crate::cache::program;
use crate::{Daemon, Gateway, Lan, Leshan, Machine, Process, SimBoard, World, free_both};

/// Devices on the network are announced by so many machines, each of which can lose its power.
const MACHINES: usize = 4;
/// Seconds; long enough that renewals are no load, short enough that each client has many.
const LIFETIME: &str = "lifetime = \"5m\"";
const BROKER: u16 = 1883;

pub(super) struct Stage {
    pub(super) daemon: Daemon,
    pub(super) servers: [&'static Leshan; 2],
    pub(super) machines: Vec<Machine>,
    pub(super) board: SimBoard,
    /// The board's name and endpoint name.
    pub(super) board_name: String,
    _broker: Process,
    _gateway: Gateway,
    _lan: Lan,
    pub(super) world: World,
}

impl Stage {
    /// Everything but the daemon runs; `ports` are the links of devices that hang on serial ports.
    pub(super) fn build(plan: &Plan, record: &Record, ports: usize) -> Self {
        let mut world = World::new(&plan.nuncio);
        world.seed = plan.seed;
        let (one, other) = Leshan::pair();
        let lan = Lan::new(&world);
        let gateway = lan.gateway();
        let machines = (0..MACHINES).map(|number| lan.machine(&format!("floor-{number}"))).collect();
        let broker = broker(&world, &gateway);
        let board = world.uno("uno-1.2.0-4k.hex");
        let board_name = world.name("uno");
        let mut daemon = world
            .daemon()
            .server("factory", &gateway.uri(one), 123, LIFETIME)
            .server("cloud", &gateway.uri(other), 234, &format!("{LIFETIME}\nfirmware_object = \"1.0\""))
            .device(&board_name, "arduino-uno", &board.link(), "");
        for number in 0..ports {
            let link = format!("serial:{}", world.home().join(format!("port-{number}")).display());
            daemon = daemon.device(&port_name(&world, number), "arduino-nano", &link, "");
        }
        let daemon = daemon
            .lan(&gateway, "announce = true")
            .builtin(free_both(), "")
            .toml("[web]\nenabled = true\nlisten = [\"127.0.0.1:8080\"]")
            .toml(&format!("[mqtt]\nenabled = true\nbroker = \"mqtt://127.0.0.1:{BROKER}\""))
            .toml(
                "[[hook]]\nname = \"bell\"\non = [\"device-joined\", \"device-left\", \"update-proven\", \"update-failed\"]\n\
                 program = [\"/bin/true\"]",
            )
            .prepare();
        // As users have it.
        daemon.edit_config(|text| text.replace("log = \"debug\"", "log = \"info\"").replace("poll = \"200ms\"\n", ""));
        record.write("nuncio.toml", &fs::read_to_string(daemon.config()).expect("our own configuration"));
        Self {
            daemon,
            servers: [one, other],
            machines,
            board,
            board_name,
            _broker: broker,
            _gateway: gateway,
            _lan: lan,
            world,
        }
    }
}

/// The name of the device on this port.
pub(super) fn port_name(world: &World, number: usize) -> String {
    world.name(&format!("port-{number}"))
}

/// Mosquitto on the gateway's own loopback.
fn broker(world: &World, gateway: &Gateway) -> Process {
    let config =
        world.file("mosquitto.conf", format!("user root\nlistener {BROKER} 127.0.0.1\nallow_anonymous true\n"));
    let mut command = std::process::Command::new(program("mqtt", "mosquitto"));
    command.arg("-c").arg(config);
    let mut broker = gateway.start_program("mosquitto", &command);
    broker.line_after(0, Duration::from_secs(60), |line| line.contains(" running").then_some(()));
    broker
}
