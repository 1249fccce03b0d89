//! The cases, by the names under which `make test-vm` tells and chooses them: `subject::what_is_seen`.

mod asked;
mod bluetooth;
mod cycles;
mod disk;
mod hub;
mod package;
mod serial;

use std::time::Instant;

use vm::{Gateway, Lab, Machine, Ports};

pub(crate) use crate::say;

/// A case panics when it fails.
pub(crate) type Case = fn(&Lab);

macro_rules! cases {
    ($($module:ident: $($name:ident)*;)*) => { &[$($((concat!(stringify!($module), "::", stringify!($name)), $module::$name as Case),)*)*] };
}

/// In the order in which they run.
pub(crate) const ALL: &[(&str, Case)] = cases! {
    serial:
        a_board_is_registered_while_it_is_plugged
        twins_without_a_serial_number_are_told_apart_by_their_usb_path
        a_board_with_a_serial_number_keeps_its_name_in_another_port
        boards_that_share_a_serial_number_are_two_devices
        a_device_with_two_ttys_is_two_devices
        a_board_that_comes_back_as_its_bootloader_is_away_meanwhile
        a_boot_loader_that_is_called_is_found_under_another_name_in_the_same_socket
        a_driver_that_lets_go_takes_the_board_away
        a_configured_link_is_a_by_id_name_of_udev;
    asked:
        opening_for_a_question_is_seen_by_the_board
        a_board_pulled_out_in_the_middle_of_a_question_is_gone;
    disk:
        a_boards_disk_and_its_tty_are_one_device
        a_disk_that_is_pulled_out_while_it_is_mounted_is_gone;
    package:
        the_installed_service_opens_boards_that_come_after_it;
    hub:
        a_board_without_a_reset_line_is_restarted_by_its_port
        a_boot_loader_that_never_answers_is_tried_once_more_after_its_port_was_switched
        a_port_is_never_switched_where_the_site_does_not_want_it
        a_gateway_that_is_killed_while_a_port_is_off_switches_it_on_when_it_starts
        a_gateway_that_is_stopped_while_a_port_is_off_switches_it_on_before;
    cycles:
        thirty_cycles_of_four_boards
        a_loose_contact;
    bluetooth:
        a_ble_device_is_registered_while_it_is_heard
        what_a_sensor_measures_is_read_at_the_server
        only_what_the_site_knows_is_registered
        an_adapter_that_is_pulled_out_takes_its_devices_along
        bluetooth_comes_after_the_gateway
        an_adapter_that_is_switched_off_is_told
        a_bluetoothd_that_starts_anew_is_found_again;
};

/// An Uno with its own USB chip.
pub(crate) const UNO: &str = "2341:0043";
pub(crate) const CP2102: &str = "10c4:ea60";
pub(crate) const CH340: &str = "1a86:7523";
pub(crate) const FT232: &str = "0403:6001";

/// A site that knows which boards its USB adapters sit on. Without it they could be anything.
const BOARDS: &str = r#"schema = 1

[board.with-cp2102]
name = "A board with a CP2102"
match = [{ vid = "10c4", pid = "ea60", strength = "strong" }]

[board.with-ch340]
name = "A board with a CH340"
match = [{ vid = "1a86", pid = "7523", strength = "strong" }]

[board.with-ft232]
name = "A board with an FT232R"
match = [{ vid = "0403", pid = "6001", strength = "strong" }]

[board.two-ports]
name = "A board with two ports"
match = [{ vid = "1209", pid = "0002", strength = "strong" }]
"#;

/// A tool that opens the port which it is given, and proves nothing: how its run ends is called by this class.
pub(crate) fn stty(class: &str) -> String {
    format!(
        "schema = 1
[tool.stty]
program = [\"stty\"]
formats = {{ ihex = \"i\", elf = \"e\" }}
argv = [\"-F\", \"{{port.path}}\", \"57600\"]
timeouts = {{ stalled = \"20s\", total = \"40s\" }}
[[tool.stty.outcome]]
exit = 0
require = ['verified (?P<bytes>\\d+)']
result = \"ok\"
[[tool.stty.outcome]]
exit = 0
class = {class:?}
"
    )
}

/// Eleven bytes of no program, and the end.
pub(crate) const IMAGE: &str = ":0B0010006164647265737320676170A7\n:00000001FF\n";

/// A machine with its ports, and a gateway that knows all boards.
pub(crate) fn site<'a>(lab: &'a Lab, serial: &str, tables: &str) -> (Machine, Ports, Gateway<'a>) {
    let began = Instant::now();
    let mut machine = lab.machine();
    let restored = began.elapsed();
    let ports = Ports::open(&mut machine);
    let opened = began.elapsed();
    machine.file("/etc/nuncio/boards.d/site.toml", BOARDS);
    let gateway = Gateway::start(&mut machine, &lab.leshan, serial, tables);
    say(&format!("       machine {restored:.1?}, ports {opened:.1?}, gateway {:.1?}", began.elapsed()));
    (machine, ports, gateway)
}
