//! The power of USB ports: a board by the kernel's own USB gadget, on the root hub of its dummy controller, which switches its ports.

use std::time::Duration;

use vm::{Gateway, Lab, Machine};

use super::{IMAGE, stty};

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

[board.bare.flash]
expect_return = "60s"
timeout = "60s"
way_back = "previous-image"
retries = { max = 2, backoff = "1s", on = ["no-sync"] }

[board.bare.flash.image]
formats = ["ihex"]
max_size = 32768
"#;

const BOARD: &str = "usb-1209-0001-75435353";

/// A machine with that board in it, and a gateway that may switch its port, or may not.
fn site<'a>(lab: &'a Lab, power: &str) -> (Machine, Gateway<'a>, Port) {
    let mut machine = lab.machine();
    machine.file("/tmp/gadget.sh", GADGET);
    machine.file("/etc/nuncio/boards.d/site.toml", BOARDS);
    machine.file("/etc/nuncio/flash-tools/stty.toml", &stty("no-sync"));
    machine.file("/root/image.hex", IMAGE);
    let power = format!("hub_power = \"{power}\"");
    let gateway = Gateway::start(&mut machine, &lab.leshan, &power, "[executors]\nbare = \"stty\"");
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

    /// Runs a command in the moment when it is off, which lasts three seconds. `$p` is the daemon's process there.
    fn when_off(&self, machine: &mut Machine, command: &str) {
        let find = "p=$(systemctl show -P MainPID nuncio)";
        machine.must(&format!("{find}; until read -r s <{} && [ $s = 1 ]; do sleep 0.1; done; {command}", self.0));
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
}

pub(super) fn a_boot_loader_that_never_answers_is_tried_once_more_after_its_port_was_switched(lab: &Lab) {
    let (mut machine, gateway, port) = site(lab, "last-resort");
    let before = tty(&mut machine);
    let flash = machine.shell_within("nuncio flash usb-1209-0001-75435353 /root/image.hex", Duration::from_secs(200));
    assert_eq!(flash.code, 1, "{}", flash.output);
    assert!(
        flash.output.contains("run 3 follows") && flash.output.contains("its USB port is switched off and on first")
    );
    assert!(!flash.output.contains("run 4 follows"), "{}", flash.output);
    assert!(!port.is_off(&mut machine));
    assert_ne!(tty(&mut machine), before, "its tty went and came");
    let log = gateway.log(&mut machine);
    let at = |words: &str| log.find(words).unwrap_or_else(|| panic!("{words}: {log}"));
    assert!(at("its USB port is switched off socket") < at("its USB port is switched on again"));
    assert_eq!(log.matches("its USB port is switched off socket").count(), 1);
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
    port.when_off(&mut machine, "kill -KILL $p");
    asked.join().expect("Leshan gives up");
    machine.must("! test -e /dev/ttyACM0");
    std::thread::sleep(Duration::from_secs(5));
    assert!(port.is_off(&mut machine), "nobody has switched it on");
    machine.must("systemctl reset-failed nuncio || true");
    gateway.run(&mut machine);
    gateway.await_line(&mut machine, "switched on a USB port that an earlier gateway left off");
    assert!(!port.is_off(&mut machine));
    gateway.await_device(&mut machine, "is back", |device| device["endpoint"] == BOARD && device["present"] == true);
    assert_eq!(machine.must("ls /var/lib/nuncio/hub-ports").trim(), "");
}

pub(super) fn a_gateway_that_is_stopped_while_a_port_is_off_switches_it_on_before(lab: &Lab) {
    let (mut machine, _gateway, port) = site(lab, "last-resort");
    let url = format!("/api/clients/{BOARD}/3/0/4?timeout=5");
    let http = lab.leshan.http_port();
    let asked = std::thread::spawn(move || world::request(http, "POST", &url, "text/plain", &[]));
    port.when_off(&mut machine, "systemctl stop nuncio");
    asked.join().expect("Leshan gives up");
    assert!(!port.is_off(&mut machine));
    assert_eq!(machine.must("ls /var/lib/nuncio/hub-ports").trim(), "");
}
