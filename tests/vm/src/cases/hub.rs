//! The power of USB ports: a board by the kernel's own USB gadget, on the root hub of its dummy controller, which switches its ports.

use std::time::{Duration, Instant};

use vm::{Gateway, Lab, Machine};

/// Far more than a port takes to be switched and its board to be back.
const PATIENCE: Duration = Duration::from_secs(120);

/// A script that makes a board with an id of pid.codes' test range, and plugs it in.
const GADGET: &str = r#"
set -e
g=/sys/kernel/config/usb_gadget/board
modprobe -a dummy_hcd libcomposite
mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
mkdir -p $g/strings/0x409 $g/configs/c.1 $g/functions/acm.0
echo 0x1209 >$g/idVendor
echo 0x0001 >$g/idProduct
echo 75435353 >$g/strings/0x409/serialnumber
ln -s $g/functions/acm.0 $g/configs/c.1/
echo dummy_udc.0 >$g/UDC
"#;

/// Boards that are restarted in no other way.
const BOARDS: &str = r#"schema = 1

[board.bare]
name = "A board without a reset line"
match = [{ vid = "1209", pid = "0001", strength = "strong" }]
"#;

const BOARD: &str = "usb-1209-0001-75435353";
/// What the gadget's controller has seen since it was plugged in: the supply of its port, and its address.
const STATE: &str = "cat /sys/class/udc/dummy_udc.0/state";

/// A machine with that board in it, and a gateway that may switch its port, or may not.
fn site<'a>(lab: &'a Lab, power: &str) -> (Machine, Gateway<'a>, Port) {
    let mut machine = lab.machine();
    machine.file("/tmp/gadget.sh", GADGET);
    machine.file("/etc/nuncio/boards.d/site.toml", BOARDS);
    let gateway = Gateway::start(&mut machine, &lab.leshan, &format!("hub_power = \"{power}\""), "");
    machine.must("sh /tmp/gadget.sh");
    gateway.await_registered(&[BOARD]);
    let port = Port::of_board(&mut machine);
    (machine, gateway, port)
}

/// The switch of the port that the board hangs on.
struct Port(String);

impl Port {
    fn of_board(machine: &mut Machine) -> Self {
        let found = machine.must("dirname $(grep -l 75435353 /sys/bus/usb/devices/*/serial)");
        let switch = format!("{}/port/disable", found.trim());
        // The link goes with the board.
        Self(machine.must(&format!("readlink -f {switch}")).trim().to_owned())
    }

    fn is_off(&self, machine: &mut Machine) -> bool {
        machine.must(&format!("cat {}", self.0)).trim() == "1"
    }

    fn await_off(&self, machine: &mut Machine, off: bool) {
        let began = Instant::now();
        while self.is_off(machine) != off {
            assert!(began.elapsed() < PATIENCE, "{} is not {}", self.0, u8::from(off));
        }
    }
}

/// Which of all ttys that there were it is: each has a new one when it is enumerated.
fn tty(machine: &mut Machine) -> String {
    machine
        .must("for i in $(seq 200); do test -c /dev/ttyACM0 && break; sleep 0.1; done; stat -c %i.%W.%Z /dev/ttyACM0")
}

pub(super) fn a_board_without_a_reset_line_is_restarted_by_its_port(lab: &Lab) {
    let (mut machine, gateway, port) = site(lab, "last-resort");
    let (before, registration) = (tty(&mut machine), lab.leshan.registration(BOARD));
    machine.must("dmesg -C");
    assert_eq!(machine.must(STATE).trim(), "configured");
    let answer = lab.leshan.execute(BOARD, "3/0/4");
    assert_eq!(answer.code, 204, "{answer:?}");
    assert!(!port.is_off(&mut machine));
    assert_ne!(tty(&mut machine), before, "its tty went and came");
    let said = machine.must("dmesg");
    assert!(said.contains("USB disconnect") && said.contains("cdc_acm"), "{said}");
    gateway.await_line(&mut machine, "restarting by its USB port");
    gateway.await_registered(&[BOARD]);
    assert_eq!(lab.leshan.registration(BOARD), registration, "servers notice nothing");
    assert_eq!(machine.must("ls /var/lib/nuncio/hub-ports").trim(), "");
    assert!(machine.must("nuncio check || true").contains("USB ports can be switched"));
}

pub(super) fn a_port_is_never_switched_where_the_site_does_not_want_it(lab: &Lab) {
    let (mut machine, gateway, _) = site(lab, "never");
    let before = tty(&mut machine);
    let answer = lab.leshan.execute(BOARD, "3/0/4");
    assert_eq!(answer.code, 500, "{answer:?}");
    assert_eq!(tty(&mut machine), before);
    gateway.await_line(&mut machine, "has no way to be restarted from here");
}

pub(super) fn a_gateway_that_is_killed_while_a_port_is_off_switches_it_on_when_it_starts(lab: &Lab) {
    let (mut machine, gateway, port) = site(lab, "last-resort");
    let url = format!("/api/clients/{BOARD}/3/0/4?timeout=5");
    let http = lab.leshan.http_port();
    let asked = std::thread::spawn(move || world::request(http, "POST", &url, "text/plain", &[]));
    port.await_off(&mut machine, true);
    machine.must("systemctl kill --signal=SIGKILL nuncio");
    asked.join().expect("Leshan gives up");
    assert_eq!(machine.must(STATE).trim(), "not attached", "the board has no supply");
    std::thread::sleep(Duration::from_secs(5));
    assert!(port.is_off(&mut machine), "nobody has switched it on");
    machine.must("systemctl reset-failed nuncio || true");
    gateway.run(&mut machine);
    gateway.await_line(&mut machine, "switched on a USB port that an earlier gateway left off");
    port.await_off(&mut machine, false);
    gateway.await_device(&mut machine, "is back", |device| device["endpoint"] == BOARD && device["present"] == true);
    assert_eq!(machine.must("ls /var/lib/nuncio/hub-ports").trim(), "");
}

pub(super) fn a_gateway_that_is_stopped_while_a_port_is_off_switches_it_on_before(lab: &Lab) {
    let (mut machine, gateway, port) = site(lab, "last-resort");
    let url = format!("/api/clients/{BOARD}/3/0/4?timeout=5");
    let http = lab.leshan.http_port();
    let asked = std::thread::spawn(move || world::request(http, "POST", &url, "text/plain", &[]));
    port.await_off(&mut machine, true);
    gateway.stop(&mut machine);
    asked.join().expect("Leshan gives up");
    assert!(!port.is_off(&mut machine));
    assert_eq!(machine.must("ls /var/lib/nuncio/hub-ports").trim(), "");
}
