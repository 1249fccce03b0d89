//! USB serial boards under the kernel's own drivers.

use vm::{Gateway, Lab, Ports};

/// An Uno with its own USB chip.
const UNO: &str = "2341:0043";

pub(super) fn a_board_is_registered_while_it_is_plugged(lab: &Lab) {
    let mut machine = lab.machine();
    let mut ports = Ports::open(&mut machine);
    let gateway = Gateway::start(&mut machine, &lab.leshan, "", "");
    gateway.await_registered(&[]);
    ports.plug("uno", "acm", UNO, Some("75435353"), 0);
    gateway.await_registered(&["usb-2341-0043-75435353"]);
    let mark = ports.mark();
    ports.unplug("uno");
    gateway.await_registered(&[]);
    assert!(ports.told(mark, "uno").iter().all(|told| !told.what.starts_with("lines")), "nobody has opened it");
}
