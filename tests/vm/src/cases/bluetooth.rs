//! BLE devices over the real BlueZ.

use std::time::Duration;

use serde_json::Value;
use vm::{Advertised, Gateway, Lab, Machine, Peripheral, Radio};
use world::{eventually, holds};

const BOARDS: &str = r#"schema = 1

[board.pod]
name = "A pod"
ble = [{ name = "pod-*", service = "8d53dc1d-1db7-4cd3-868b-8a527460aa84" }]

[board.pod.facts]
version = ["gatt:2a26"]
serial_number = ["gatt:2a25"]

[board.beacon]
name = "A beacon"
ble = [{ manufacturer = "0059" }]
"#;

const SMP: &str = "8d53dc1d-1db7-4cd3-868b-8a527460aa84";
/// Scans that are short and soon, so that what goes is missed soon.
const QUICK: &str = "[ble]\nscan = \"3s\"\npause = \"500ms\"\npause_max = \"1s\"\ngone_after = 2\n";

/// Ten times what a value takes on its way to the server.
const PATIENCE: Duration = Duration::from_secs(60);

const POD: Peripheral<'_> = Peripheral {
    who: "pod",
    address: "F0:F1:F2:F3:F4:05",
    public: false,
    advertised: Advertised { name: Some("pod-5"), service: Some(SMP), maker: None },
    gatt: &[("180a", "2a26", "1.2.3"), ("180a", "2a25", "P-0005"), (SMP, "da2e7828-fbce-4e01-ae9e-261174997c48", "")],
};
const POD_NAME: &str = "ble-f0f1f2f3f405";
const BEACON: Peripheral<'_> = Peripheral {
    who: "beacon",
    address: "A4:11:22:33:44:55",
    public: true,
    advertised: Advertised { name: None, service: None, maker: Some(("0059", "0102")) },
    gatt: &[],
};
const BEACON_NAME: &str = "ble-a41122334455";

/// A machine whose adapter is in, and a gateway.
fn site(lab: &Lab) -> (Machine, Radio, Gateway<'_>) {
    let mut machine = lab.machine();
    let mut radio = Radio::open(&machine);
    radio.plug(&mut machine);
    let gateway = gateway(lab, &mut machine);
    (machine, radio, gateway)
}

fn gateway<'a>(lab: &'a Lab, machine: &mut Machine) -> Gateway<'a> {
    machine.file("/etc/nuncio/boards.d/site.toml", BOARDS);
    Gateway::start(machine, &lab.leshan, "", QUICK)
}

fn version(device: &Value) -> bool {
    device["version"]["text"] == "1.2.3"
}

pub(super) fn a_ble_device_is_registered_while_it_is_heard(lab: &Lab) {
    let (mut machine, mut radio, gateway) = site(lab);
    radio.appear(&POD);
    gateway.await_registered(&[POD_NAME]);
    gateway.await_device(&mut machine, "whose version is read", version);
    for (path, value) in [("3/0/3", "1.2.3"), ("3/0/2", "P-0005")] {
        eventually(&format!("{path} is {value}"), PATIENCE, || {
            (lab.leshan.read(POD_NAME, path).text() == value).then_some(())
        });
    }
    // It is let go of again.
    radio.await_told(0, "pod", "disconnected");
    radio.silence("pod");
    gateway.await_registered(&[]);
    radio.sound("pod");
    gateway.await_registered(&[POD_NAME]);
}

/// What a sensor measures, as the bytes are told: 0x0866 hundredths of a degree, and 95 %.
const SENSOR: Peripheral<'_> = Peripheral {
    who: "sensor",
    address: "F0:F1:F2:F3:F4:0A",
    public: false,
    advertised: Advertised { name: Some("bench"), service: Some("181a"), maker: None },
    gatt: &[("181a", "2a6e", "f\u{8}"), ("180f", "2a19", "_"), ("180a", "2a26", "4.0")],
};

pub(super) fn what_a_sensor_measures_is_read_at_the_server(lab: &Lab) {
    let (machine, mut radio, gateway) = site(lab);
    radio.appear(&SENSOR);
    let name = "ble-f0f1f2f3f40a";
    gateway.await_registered(&[name]);
    for (path, value) in [("3303/0/5700", "21.5"), ("3303/0/5701", "Cel"), ("3320/0/5700", "95.0"), ("3/0/3", "4.0")] {
        eventually(&format!("{path} is {value}"), PATIENCE, || {
            (lab.leshan.read(name, path).text() == value).then_some(())
        });
    }
    assert_eq!(lab.leshan.read(name, "3304/0/5700").code, 404, "it measures no humidity");
    drop(machine);
}

pub(super) fn only_what_the_site_knows_is_registered(lab: &Lab) {
    let (mut machine, mut radio, gateway) = site(lab);
    radio.appear(&BEACON);
    // The right name without the service, and an address that changes every few minutes.
    let named = Advertised { name: Some("pod-6"), ..Advertised::default() };
    radio.appear(&Peripheral { who: "named", address: "F0:F1:F2:F3:F4:06", advertised: named, ..POD });
    radio.appear(&Peripheral { who: "rotating", address: "70:F1:F2:F3:F4:07", ..POD });
    gateway.await_registered(&[BEACON_NAME]);
    for link in ["F0:F1:F2:F3:F4:06", "70:F1:F2:F3:F4:07"] {
        gateway.await_line(&mut machine, &format!("appeared link=ble:{link}"));
    }
    holds("nobody else is registered", Duration::from_secs(10), || gateway.registered() == [BEACON_NAME]);
    for who in ["named", "rotating", "beacon"] {
        let told = radio.told(0, who);
        assert!(told.iter().all(|told| told.what != "connected"), "{who} was connected to: {told:?}");
    }
}

pub(super) fn an_adapter_that_is_pulled_out_takes_its_devices_along(lab: &Lab) {
    let (mut machine, mut radio, gateway) = site(lab);
    radio.appear(&POD);
    radio.appear(&BEACON);
    gateway.await_registered(&[POD_NAME, BEACON_NAME]);
    gateway.await_device(&mut machine, "whose version is read", version);
    let before = gateway.settled(&mut machine);
    for _ in 0..3 {
        radio.unplug();
        gateway.await_registered(&[]);
        radio.plug(&mut machine);
        gateway.await_registered(&[POD_NAME, BEACON_NAME]);
    }
    gateway.await_device(&mut machine, "whose version is read", version);
    gateway.await_holding(&mut machine, before);
}

pub(super) fn bluetooth_comes_after_the_gateway(lab: &Lab) {
    let mut machine = lab.machine();
    let mut radio = Radio::open(&machine);
    let gateway = gateway(lab, &mut machine);
    radio.appear(&POD);
    // It looks every 15 s, first without a bluetoothd, then for one without an adapter.
    let before = gateway.settled(&mut machine);
    machine.must("systemctl start bluetooth");
    std::thread::sleep(Duration::from_secs(50));
    assert_eq!(gateway.holds(&mut machine), before, "looking for Bluetooth costs nothing");
    radio.plug(&mut machine);
    gateway.await_registered(&[POD_NAME]);
}

pub(super) fn an_adapter_that_is_switched_off_is_told(lab: &Lab) {
    let (mut machine, mut radio, gateway) = site(lab);
    radio.appear(&POD);
    gateway.await_registered(&[POD_NAME]);
    machine.must("bluetoothctl power off");
    gateway.await_registered(&[]);
    gateway.await_line(&mut machine, "bluetoothctl power on");
    machine.must("bluetoothctl power on");
    gateway.await_registered(&[POD_NAME]);
}

pub(super) fn a_bluetoothd_that_starts_anew_is_found_again(lab: &Lab) {
    let (mut machine, mut radio, gateway) = site(lab);
    radio.appear(&POD);
    gateway.await_registered(&[POD_NAME]);
    gateway.await_device(&mut machine, "whose version is read", version);
    machine.must("systemctl restart bluetooth");
    gateway.await_line(&mut machine, "Bluetooth is gone, and its devices with it");
    eventually("BlueZ powers the adapter", PATIENCE * 3, || {
        machine.shell("bluetoothctl show").output.contains("Powered: yes").then_some(())
    });
    gateway.await_registered(&[POD_NAME]);
    gateway.await_device(&mut machine, "whose version is read again", version);
}
