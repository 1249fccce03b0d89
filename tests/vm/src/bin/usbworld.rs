//! Runs in the guest: plugs and unplugs USB boards as the test outside says, and tells what the kernel's drivers do to them.
//!
//! Over a virtio port, a line each. In: `plug NAME KIND VID PID SERIAL PORT BANNER` (`-` for no serial number, the banner is
//! the rest of the line and may be empty), `unplug NAME`, `say NAME TEXT`. Out: `SECONDS NAME WHAT`, where WHAT is `plugged`,
//! `lines dtr=1 rts=0`, `baud 115200`, `received HEX`, `gone`, or `error TEXT`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use vm::usb::{Board, Ids, Kind, Order};

fn main() {
    let path = std::env::args().nth(1).expect("the port's path");
    let port = OpenOptions::new().read(true).write(true).open(path).expect("a virtio port that is ours");
    let teller =
        Teller { port: Arc::new(Mutex::new(port.try_clone().expect("a second handle"))), began: Instant::now() };
    teller.tell("world", "ready");
    let mut boards: BTreeMap<String, (Kind, Board)> = BTreeMap::new();
    for line in BufReader::new(port).lines().map_while(Result::ok) {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let [verb, name, rest] = [0, 1, 2].map(|at| words.get(at).copied().unwrap_or_default());
        let outcome = match verb {
            "plug" => plug(&teller, name, rest).map(|board| _ = boards.insert(name.to_owned(), board)),
            "unplug" => boards.remove(name).map(|(_, board)| board.unplug()).ok_or_else(|| "not plugged".to_owned()),
            "say" => boards
                .get(name)
                .ok_or_else(|| "not plugged".to_owned())
                .and_then(|(kind, board)| board.say(*kind, &format!("{rest}\r\n")).map_err(|error| error.to_string())),
            _ => Err(format!("no such order: {line}")),
        };
        if let Err(error) = outcome {
            teller.tell(name, &format!("error {error}"));
        }
    }
}

fn plug(teller: &Teller, name: &str, order: &str) -> Result<(Kind, Board), String> {
    let words: Vec<&str> = order.splitn(6, ' ').collect();
    let [kind, vid, pid, serial, port, banner] = words.try_into().map_err(|_| format!("not an order: {order}"))?;
    let hex = |text: &str| u16::from_str_radix(text, 16).map_err(|error| format!("{text}: {error}"));
    let kind = Kind::named(kind).ok_or_else(|| format!("no such kind: {kind}"))?;
    let order = Order {
        kind,
        ids: Ids { vid: hex(vid)?, pid: hex(pid)?, serial: (serial != "-").then(|| serial.to_owned()) },
        port: port.parse().map_err(|error| format!("{port}: {error}"))?,
        banner: (!banner.is_empty()).then(|| banner.to_owned()),
    };
    let (mine, named) = (teller.clone(), name.to_owned());
    let board = Board::plug(&order, move |what| mine.tell(&named, what)).map_err(|error| error.to_string())?;
    teller.tell(name, "plugged");
    Ok((kind, board))
}

/// Tells the test outside.
#[derive(Clone)]
struct Teller {
    port: Arc<Mutex<File>>,
    began: Instant,
}

impl Teller {
    fn tell(&self, name: &str, what: &str) {
        let line = format!("{:.3} {name} {what}\n", self.began.elapsed().as_secs_f64());
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        port.write_all(line.as_bytes()).expect("the test outside listens");
    }
}
