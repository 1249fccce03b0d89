//! What a board notices when it is asked: the modem lines and the speed, as the kernel's drivers pass them on.

use std::time::Duration;

use vm::{Lab, Told};
use world::holds;

use super::{CP2102, UNO, site};

const SERIAL: &str = "questions = \"serial\"";

fn words(told: &[Told], of: &str) -> Vec<String> {
    told.iter().filter(|told| told.what.starts_with(of)).map(|told| told.what.clone()).collect()
}

pub(super) fn opening_for_a_question_is_seen_by_the_board(lab: &Lab) {
    let (mut machine, mut ports, gateway) = site(lab, SERIAL, "");
    ports.plug_speaking("uno", "acm", UNO, Some("75435353"), 0, "ID board=uno fw=1.2.0");
    gateway.await_registered(&["usb-2341-0043-75435353"]);
    let device = gateway.await_device(&mut machine, "whose version is read", |device| !device["version"].is_null());
    assert_eq!(device["version"]["text"], "1.2.0", "{device}");
    let told = ports.told(0, "uno");
    // The kernel raises both lines; then the board is reset on purpose, since it tells its version at a start only.
    let reset = ["1 rts=1", "0 rts=1", "0 rts=0", "1 rts=0", "1 rts=1"].map(|lines| format!("lines dtr={lines}"));
    assert_eq!(words(&told, "lines"), reset, "{told:?}");
    // 9600 is what a tty begins with; the board hears nothing else in between, its own words by an echo least of all.
    assert_eq!(words(&told, "baud"), ["baud 9600", "baud 115200"], "{told:?}");
    assert_eq!(words(&told, "received"), Vec::<String>::new(), "{told:?}");
    let mark = ports.mark();
    holds("closed, the lines stay up: nothing is reset by it", Duration::from_secs(5), || {
        ports.told(mark, "uno").is_empty()
    });
    // The next who opens it is no edge either.
    machine.must("exec 3<>/dev/ttyACM0; sleep 1; exec 3>&-");
    let told = ports.told(mark, "uno");
    assert!(words(&told, "lines").iter().all(|lines| *lines == "lines dtr=1 rts=1"), "{told:?}");
}

pub(super) fn a_board_pulled_out_in_the_middle_of_a_question_is_gone(lab: &Lab) {
    let (mut machine, mut ports, gateway) = site(lab, SERIAL, "");
    ports.plug("silent", "acm", UNO, Some("75435353"), 0);
    // Open, and waiting for an answer that never comes.
    ports.await_told(0, "silent", "baud");
    ports.unplug("silent");
    ports.plug_speaking("other", "cp210x", CP2102, Some("0a1b2c3d"), 0, "");
    gateway.await_registered(&["usb-10c4-ea60-0a1b2c3d"]);
    let before = gateway.settled(&mut machine);
    for _ in 0..5 {
        let mark = ports.mark();
        ports.plug("silent", "acm", UNO, Some("75435353"), 1);
        ports.await_told(mark, "silent", "baud");
        ports.unplug("silent");
    }
    gateway.await_registered(&["usb-10c4-ea60-0a1b2c3d"]);
    gateway.await_holding(&mut machine, before);
}
