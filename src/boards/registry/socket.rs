//! The USB sockets that devices hang on: whether one may be switched off for the sake of one of them.

use super::Registry;
use crate::boards::identify;
use crate::device::{Access, DeviceId, UsbIds};

impl Registry {
    /// The USB socket that a device hangs on, e.g. `1-2.3`; also while it is away for an update.
    pub fn socket(&self, id: &DeviceId) -> Option<&str> {
        self.devices.get(id)?.usb.as_ref().map(|usb| usb.path.as_str())
    }

    /// Why a device's socket is not to be switched off: another device is one with it, somebody works with a further port of it, or
    /// its port is not to be touched.
    pub fn shares_socket(&self, id: &DeviceId) -> Option<String> {
        let device = self.devices.get(id)?;
        let socket = &device.usb.as_ref()?.path;
        let here = |usb: Option<&UsbIds>| usb.is_some_and(|usb| usb.path == *socket);
        let mut others = self.devices.iter().filter(|(other, device)| *other != id && here(device.usb.as_ref()));
        if let Some((other, _)) = others.next() {
            return Some(format!("it is one USB device with {other}"));
        }
        let mut links = self.links.values().filter(|seen| here(identify::usb(&seen.report)));
        links.find_map(|seen| match (&seen.report.access, seen.report.link == device.info.link) {
            (Access::Busy { holder, .. }, false) => {
                Some(format!("{holder} has {}, which is of the same USB device", seen.report.link))
            }
            (Access::Denied, _) => Some(format!("`[serial] deny` forbids {}", seen.report.link)),
            _ => None,
        })
    }

    /// Whether a device is only to be restarted by a flash (`never_reset`).
    pub fn is_spared(&self, id: &DeviceId) -> bool {
        let seen = self.devices.get(id).and_then(|device| self.links.get(&device.info.link));
        seen.is_some_and(|seen| self.spared(seen).is_some())
    }
}
