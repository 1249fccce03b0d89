//! Boards that come and go all the time.

use vm::{Lab, Ports};

use super::{CH340, CP2102, FT232, UNO, site};

const CYCLES: u32 = 30;

/// A board, how it is plugged, and its endpoint name.
struct Board {
    name: &'static str,
    kind: &'static str,
    ids: &'static str,
    serial: Option<&'static str>,
    port: u8,
    endpoint: &'static str,
}

const BOARDS: [Board; 4] = [
    Board { name: "uno", kind: "acm", ids: UNO, serial: Some("75435353"), port: 0, endpoint: "usb-2341-0043-75435353" },
    Board {
        name: "cp",
        kind: "cp210x",
        ids: CP2102,
        serial: Some("0a1b2c3d"),
        port: 1,
        endpoint: "usb-10c4-ea60-0a1b2c3d",
    },
    Board { name: "ch", kind: "ch341", ids: CH340, serial: None, port: 2, endpoint: "port-world-1-3" },
    Board {
        name: "ft",
        kind: "ftdi",
        ids: FT232,
        serial: Some("A10KZP45"),
        port: 3,
        endpoint: "usb-0403-6001-A10KZP45",
    },
];

impl Board {
    fn plug(&self, ports: &mut Ports) {
        ports.plug(self.name, self.kind, self.ids, self.serial, self.port);
    }
}

pub(super) fn thirty_cycles_of_four_boards(lab: &Lab) {
    let (mut machine, mut ports, gateway) = site(lab, "", "");
    let seed =
        std::env::var("NUNCIO_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    super::say(&format!("       NUNCIO_SEED={seed}"));
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut plugged = [false; BOARDS.len()];
    let mut early = None;
    for cycle in 1..=CYCLES {
        // Some boards change sides, in any order, some of them twice: nobody waits for the gateway in between.
        let counted = cycle == 5 || cycle == CYCLES;
        let mut moves: Vec<usize> = (0..chance.usize(1..=6)).map(|_| chance.usize(..BOARDS.len())).collect();
        if counted {
            moves = (0..BOARDS.len()).filter(|at| !plugged[*at]).collect();
        }
        for at in moves {
            if plugged[at] {
                ports.unplug(BOARDS[at].name);
            } else {
                BOARDS[at].plug(&mut ports);
            }
            plugged[at] = !plugged[at];
        }
        let there: Vec<&str> = (0..BOARDS.len()).filter(|at| plugged[*at]).map(|at| BOARDS[at].endpoint).collect();
        gateway.await_registered(&there);
        if counted {
            match early {
                None => early = Some(gateway.settled(&mut machine)),
                Some(early) => gateway.await_holding(&mut machine, early),
            }
        }
    }
    for board in &BOARDS {
        ports.unplug(board.name);
    }
    gateway.await_registered(&[]);
}

pub(super) fn a_loose_contact(lab: &Lab) {
    let (mut machine, mut ports, gateway) = site(lab, "", "");
    let [uno, ..] = &BOARDS;
    for _ in 0..25 {
        uno.plug(&mut ports);
        // Before, while and after the kernel has made a tty of it.
        std::thread::sleep(std::time::Duration::from_millis(fastrand::u64(..700)));
        ports.unplug(uno.name);
    }
    gateway.await_registered(&[]);
    uno.plug(&mut ports);
    gateway.await_registered(&[uno.endpoint]);
    // Once, and not as somebody else.
    let devices = gateway.json(&mut machine, "devices");
    assert_eq!(devices["devices"].as_array().map(Vec::len), Some(1), "{devices}");
}
