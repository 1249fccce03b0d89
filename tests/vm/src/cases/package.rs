//! The installed package where it counts which devices a unit may open, and where udev has rules of ours: its service under a
//! kernel that has never seen a board.

use vm::{Gateway, Lab, Ports};

use super::{UNO, disk};

pub(super) fn the_installed_service_opens_boards_that_come_after_it(lab: &Lab) {
    let mut machine = lab.machine_with_package();
    // A unit may open what the kernel knew when it was started: the drivers have to be there before the first board.
    machine.must("grep -qw ttyACM /proc/devices && grep -qw ttyUSB /proc/devices");
    let gateway = Gateway::service(&mut machine, &lab.leshan, "questions = \"serial\"", "");
    assert_eq!(machine.must("systemctl show nuncio --value -p DevicePolicy").trim(), "closed");
    let mut ports = Ports::open(&mut machine);
    ports.plug_speaking("uno", "acm", UNO, Some("75435353"), 0, "ID board=uno fw=1.2.0");
    gateway.await_registered(&["usb-2341-0043-75435353"]);
    let device = gateway.await_device(&mut machine, "whose version is read", |device| !device["version"].is_null());
    assert_eq!(device["version"]["text"], "1.2.0", "{device}");
    ports.await_told(0, "uno", "lines dtr=1");
    // What is no serial port stays closed to it, whatever its file says.
    machine.must("chmod 0666 /dev/vda");
    let group = "/sys/fs/cgroup/system.slice/nuncio.service/cgroup.procs";
    let opened = machine.shell(&format!("echo $$ >{group} && exec head -c 1 /dev/vda"));
    assert!(opened.code != 0 && opened.output.contains("Operation not permitted"), "{opened:?}");
    let told = machine.must("udevadm info --query=property /dev/ttyACM0");
    assert!(told.contains("ID_MM_DEVICE_IGNORE=1") && told.contains("ID_MM_PORT_IGNORE=1"), "{told}");
    assert_eq!(machine.must("stat --format '%G %a' /dev/ttyACM0").trim(), "dialout 660");
    // What is mounted on the machine is mounted for the unit, too.
    disk::plug(&mut machine, "2e8a 0003 E0C9125B0D9B", "INFO_UF2TXT", disk::UF2);
    disk::mount(&mut machine);
    gateway.await_link(&mut machine, "discovered:disk/uf2/");
    ports.unplug("uno");
    gateway.await_device(&mut machine, "on a disk", |device| device["board"] == "rp2040-bootsel");
    let errors = machine.must("journalctl --unit nuncio --priority err --quiet --no-pager");
    assert_eq!(errors, "");
}
