//! The guest's Bluetooth as seen from outside: an adapter that BlueZ takes for a real one, and devices within its reach.

use serde_json::{Value, json};
use world::eventually;

use crate::machine::{BOOT, Machine};
use crate::told::{Tellings, Told};

/// The adapter and the devices. There is no adapter until [`plug`](Self::plug).
///
/// Of a device is told: `there`, `connected`, `read UUID`, `disconnected`, `silent`, `dropped`.
pub struct Radio {
    tellings: Tellings,
}

/// What a device advertises; all together has 31 bytes at most, of which three are taken, and two for each part.
#[derive(Debug, Clone, Copy, Default)]
pub struct Advertised<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// A service that it has: four hex digits, or a UUID in full.
    pub service: Option<&'a str>,
    /// Its maker's data: company identifier (four hex digits) and the data in hex.
    pub maker: Option<(&'a str, &'a str)>,
}

/// A device within reach.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peripheral<'a> {
    /// What the test calls it.
    pub who: &'a str,
    /// Its address, e.g. `F0:F1:F2:F3:F4:05`.
    pub address: &'a str,
    /// Whether that is a public one; else it is a random one, whose kind the first digit tells.
    pub public: bool,
    /// What it advertises, ten times a second.
    pub advertised: Advertised<'a>,
    /// What can be read over a connection: service, characteristic, text.
    pub gatt: &'a [(&'a str, &'a str, &'a str)],
}

impl Radio {
    /// Connects to what plays the devices: it is in the machine from its boot on.
    pub fn open(machine: &Machine) -> Self {
        Self { tellings: Tellings::open(&machine.socket("radio")) }
    }

    /// Plugs the adapter in and starts bluetoothd; returns once BlueZ has powered it.
    pub fn plug(&mut self, machine: &mut Machine) {
        self.tellings.do_now(r#"{"do":"plug"}"#, "adapter", "plugged");
        machine.must("systemctl start bluetooth");
        eventually("BlueZ powers the adapter", BOOT, || {
            machine.shell("bluetoothctl show").output.contains("Powered: yes").then_some(())
        });
    }

    /// Pulls the adapter out.
    pub fn unplug(&mut self) {
        self.tellings.do_now(r#"{"do":"unplug"}"#, "adapter", "unplugged");
    }

    /// A device comes within reach.
    pub fn appear(&mut self, device: &Peripheral<'_>) {
        let mut order = advertised(device.advertised);
        for (service, characteristic, text) in device.gatt {
            order["gatt"][service][characteristic] = (*text).into();
        }
        order["address"] = device.address.into();
        order["public"] = device.public.into();
        self.tell_device("appear", device.who, order, "there");
    }

    /// A device advertises something else from now on.
    pub fn say(&mut self, who: &str, what: Advertised<'_>) {
        self.tell_device("say", who, advertised(what), "there");
    }

    /// Nothing is heard of a device any more; a connection breaks off after 4 s.
    pub fn silence(&mut self, who: &str) {
        self.tell_device("silence", who, json!({}), "silent");
    }

    /// It is heard again.
    pub fn sound(&mut self, who: &str) {
        self.tell_device("sound", who, json!({}), "there");
    }

    /// A device ends its connections.
    pub fn drop_connections(&mut self, who: &str) {
        self.tell_device("drop", who, json!({}), "dropped");
    }

    /// So many strangers advertise once a second each, and do nothing else.
    pub fn crowd(&mut self, count: u32) {
        self.tellings.do_now(&json!({ "do": "crowd", "count": count }).to_string(), "crowd", &count.to_string());
    }

    /// A place to look on from.
    pub fn mark(&mut self) -> usize {
        self.tellings.mark()
    }

    /// What was told of a device since a mark.
    pub fn told(&mut self, mark: usize, who: &str) -> Vec<Told> {
        self.tellings.since(mark, who)
    }

    /// Waits until something is told of a device, after a mark.
    pub fn await_told(&mut self, mark: usize, who: &str, what: &str) {
        self.tellings.wait(mark, who, what, |told| told == what);
    }

    fn tell_device(&mut self, what: &str, who: &str, mut order: Value, done: &str) {
        order["do"] = what.into();
        order["who"] = who.into();
        self.tellings.do_now(&order.to_string(), who, done);
    }
}

fn advertised(what: Advertised<'_>) -> Value {
    let mut order = json!({});
    if let Some(name) = what.name {
        order["name"] = name.into();
    }
    if let Some(service) = what.service {
        order["services"] = json!([service]);
    }
    if let Some((company, data)) = what.maker {
        order["maker"] = json!([company, data]);
    }
    order
}
