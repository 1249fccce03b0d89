//! USB serial boards under the kernel's own drivers, which are only looked at: nothing is opened.

use vm::{Gateway, Lab, Ports};

use super::{CH340, CP2102, IMAGE, UNO, site, stty};

/// `idVendor:idProduct` of pid.codes' test range, which no board has.
const TWO_PORTS: &str = "1209:0002";

/// Nobody has opened the board since the mark.
fn untouched(ports: &mut Ports, mark: usize, board: &str) {
    let told = ports.told(mark, board);
    assert!(told.iter().all(|told| !told.what.starts_with("lines")), "somebody has opened {board}: {told:?}");
}

pub(super) fn a_board_is_registered_while_it_is_plugged(lab: &Lab) {
    let (_machine, mut ports, gateway) = site(lab, "", "");
    ports.plug("uno", "acm", UNO, Some("75435353"), 0);
    gateway.await_registered(&["usb-2341-0043-75435353"]);
    ports.unplug("uno");
    gateway.await_registered(&[]);
    untouched(&mut ports, 0, "uno");
}

pub(super) fn twins_without_a_serial_number_are_told_apart_by_their_usb_path(lab: &Lab) {
    let (mut machine, mut ports, gateway) = site(lab, "", "");
    ports.plug("left", "ch341", CH340, None, 2);
    gateway.await_registered(&["port-world-1-3"]);
    ports.plug("right", "ch341", CH340, None, 5);
    gateway.await_registered(&["port-world-1-3", "port-world-1-6"]);
    ports.unplug("left");
    gateway.await_registered(&["port-world-1-6"]);
    ports.unplug("right");
    gateway.await_registered(&[]);
    // In the other order: the kernel numbers their ttys the other way round.
    ports.plug("right", "ch341", CH340, None, 5);
    gateway.await_registered(&["port-world-1-6"]);
    ports.plug("left", "ch341", CH340, None, 2);
    gateway.await_registered(&["port-world-1-3", "port-world-1-6"]);
    let left = gateway.await_device(&mut machine, "in port 2", |device| device["endpoint"] == "port-world-1-3");
    assert_eq!(left["link"], "serial:/dev/ttyUSB1", "{left}");
}

pub(super) fn a_board_with_a_serial_number_keeps_its_name_in_another_port(lab: &Lab) {
    let (_machine, mut ports, gateway) = site(lab, "", "");
    for port in [0, 6, 3] {
        ports.plug("board", "cp210x", CP2102, Some("0a1b2c3d"), port);
        gateway.await_registered(&["usb-10c4-ea60-0a1b2c3d"]);
        ports.unplug("board");
        gateway.await_registered(&[]);
    }
    // Another one of its kind meanwhile in the port where it was.
    ports.plug("other", "cp210x", CP2102, Some("99887766"), 3);
    ports.plug("board", "cp210x", CP2102, Some("0a1b2c3d"), 4);
    gateway.await_registered(&["usb-10c4-ea60-0a1b2c3d", "usb-10c4-ea60-99887766"]);
}

pub(super) fn boards_that_share_a_serial_number_are_two_devices(lab: &Lab) {
    let (_machine, mut ports, gateway) = site(lab, "", "");
    ports.plug("first", "cp210x", CP2102, Some("0a1b2c3d"), 0);
    gateway.await_registered(&["usb-10c4-ea60-0a1b2c3d"]);
    ports.plug("second", "cp210x", CP2102, Some("0a1b2c3d"), 1);
    gateway.await_registered(&["port-world-1-2", "usb-10c4-ea60-0a1b2c3d"]);
    ports.unplug("second");
    gateway.await_registered(&["usb-10c4-ea60-0a1b2c3d"]);
}

pub(super) fn a_device_with_two_ttys_is_two_devices(lab: &Lab) {
    let (_machine, mut ports, gateway) = site(lab, "", "");
    for _ in 0..3 {
        ports.plug("both", "acm2", TWO_PORTS, Some("E6614103E7"), 0);
        gateway.await_registered(&["usb-1209-0002-E6614103E7", "usb-1209-0002-E6614103E7-if2"]);
        ports.unplug("both");
        gateway.await_registered(&[]);
    }
    ports.plug("nameless", "acm2", TWO_PORTS, None, 1);
    gateway.await_registered(&["port-world-1-2", "port-world-1-2-if2"]);
}

pub(super) fn a_board_that_comes_back_as_its_bootloader_is_away_meanwhile(lab: &Lab) {
    let (mut machine, mut ports, gateway) = site(lab, "", "");
    for _ in 0..2 {
        ports.plug("program", "acm", UNO, Some("75435353"), 0);
        gateway.await_registered(&["usb-2341-0043-75435353"]);
        ports.unplug("program");
        // Ids that no board of the site claims.
        ports.plug("bootloader", "acm", "2341:0fff", Some("75435353"), 0);
        gateway.await_registered(&[]);
        gateway.await_link(&mut machine, "serial:/dev/ttyACM0");
        ports.unplug("bootloader");
    }
}

pub(super) fn a_boot_loader_that_is_called_is_found_under_another_name_in_the_same_socket(lab: &Lab) {
    let mut machine = lab.machine();
    let mut ports = Ports::open(&mut machine);
    machine.file("/etc/nuncio/flash-tools/stty.toml", &stty("unverified"));
    machine.file("/root/image.hex", IMAGE);
    let tables = "[executors]\narduino-leonardo = \"stty\"";
    let gateway = Gateway::start(&mut machine, &lab.leshan, "", tables);
    ports.plug("program", "acm", "2341:8036", None, 0);
    gateway.await_registered(&["port-world-1-1"]);
    let mark = ports.mark();
    machine.must("systemd-run --quiet --unit=flash /usr/local/bin/nuncio flash port-world-1-1 /root/image.hex");
    ports.await_told(mark, "program", "baud 1200");
    ports.await_told(mark, "program", "lines dtr=0");
    ports.unplug("program");
    // Takes the name that the program had.
    ports.plug("other", "acm", UNO, Some("75435353"), 4);
    gateway.await_registered(&["port-world-1-1", "usb-2341-0043-75435353"]);
    ports.plug("loader", "acm", "2341:0036", None, 0);
    let mark = ports.mark();
    gateway.await_line(&mut machine, "its boot loader is there device=port-world-1-1 link=serial:/dev/ttyACM1");
    ports.await_told(mark, "loader", "baud 57600");
    untouched(&mut ports, 0, "other");
    ports.unplug("loader");
    ports.plug("program", "acm", "2341:8036", None, 0);
    gateway.await_line(&mut machine, "the device under update is back link=serial:/dev/ttyACM1");
}

pub(super) fn a_driver_that_lets_go_takes_the_board_away(lab: &Lab) {
    let (mut machine, mut ports, gateway) = site(lab, "", "");
    ports.plug("uno", "acm", UNO, Some("75435353"), 0);
    gateway.await_registered(&["usb-2341-0043-75435353"]);
    // The device stays on the bus; only its tty goes.
    machine.must("echo 1-1:1.0 >/sys/bus/usb/drivers/cdc_acm/unbind");
    gateway.await_registered(&[]);
    machine.must("echo 1-1:1.0 >/sys/bus/usb/drivers/cdc_acm/bind");
    gateway.await_registered(&["usb-2341-0043-75435353"]);
    // An administrator forbids the device.
    machine.must("echo 0 >/sys/bus/usb/devices/1-1/authorized");
    gateway.await_registered(&[]);
    machine.must("echo 1 >/sys/bus/usb/devices/1-1/authorized");
    gateway.await_registered(&["usb-2341-0043-75435353"]);
}

pub(super) fn a_configured_link_is_a_by_id_name_of_udev(lab: &Lab) {
    let link = "serial:/dev/serial/by-id/usb-Nuncio_s_test_world_Board_with_its_own_USB_75435353-if00";
    let entry =
        format!("\n[[device]]\nname = \"press\"\nboard = \"arduino-uno\"\nlink = \"{link}\"\nendpoint = \"press\"\n");
    let (mut machine, mut ports, gateway) = site(lab, "", &entry);
    ports.plug("uno", "acm", UNO, Some("75435353"), 0);
    gateway.await_registered(&["press"]);
    ports.unplug("uno");
    gateway.await_registered(&[]);
    // In another port, after another board: another tty, the same name.
    ports.plug("other", "acm", UNO, Some("11223344"), 0);
    gateway.await_registered(&["usb-2341-0043-11223344"]);
    ports.plug("uno", "acm", UNO, Some("75435353"), 4);
    gateway.await_registered(&["press", "usb-2341-0043-11223344"]);
    let press = gateway.await_device(&mut machine, "that is configured", |device| device["endpoint"] == "press");
    assert_eq!(press["link"], link, "{press}");
}
