//! What devices are watched for their points, and when.

use super::{Decision, Questions, Registry};
use crate::boards::identify;
use crate::device::{Access, Bearer, Connectivity, DeviceId, Link, Point, ServiceSeen, ShownPoint, Watch};

impl Registry {
    /// How a device is to be watched just now, with the service that it is reached by; `None` where its board has no points,
    /// where it may not be opened, while it is being updated, and while it is being asked.
    pub fn watch(&self, id: &DeviceId) -> Option<(Watch, Option<ServiceSeen>)> {
        let device = self.devices.get(id).filter(|device| device.present && !device.held)?;
        let seen = self.links.get(&device.info.link).filter(|seen| seen.asking.is_none() && !seen.waiting)?;
        let watch = self.catalogue.get(&device.info.board)?.points.watch()?;
        let service = identify::service(&seen.report).cloned();
        let may = match (&watch, &device.info.link) {
            // Opening the port may restart the board.
            (Watch::Firmata { .. }, Link::Serial(_)) => self.allowed(seen) >= Questions::Serial,
            (Watch::Gatt { .. }, Link::Ble(_)) => self.media.ble,
            (Watch::Esphome, Link::Service(_)) => self.media.hosts && service.is_some(),
            _ => false,
        };
        (may && seen.report.access == Access::Usable).then_some((watch, service))
    }

    /// Why a device is not watched, for people.
    pub fn why_not_watched(&self, id: &DeviceId) -> String {
        let device = self.devices.get(id);
        let watch = device.and_then(|device| self.catalogue.get(&device.info.board)?.points.watch());
        let seen = device.and_then(|device| self.links.get(&device.info.link));
        match watch {
            Some(Watch::Firmata { .. }) if seen.is_some_and(|seen| self.spared(seen).is_some()) => {
                "`never_reset` keeps its port shut"
            }
            None => "its board file names no points (config/boards.d/README.md)",
            Some(Watch::Firmata { .. }) if self.questions < Questions::Serial => {
                "`[serial] questions = \"serial\"` allows it: opening the port may restart the board"
            }
            Some(Watch::Gatt { .. }) if !self.media.ble => "`[ble] ask` forbids it",
            Some(Watch::Esphome) if !self.media.hosts => "`[mdns] ask` forbids it",
            Some(_) => "its link is not there, is in use, or is none that its points can be read over",
        }
        .to_owned()
    }

    /// What servers are shown of a device's points.
    pub fn shown(&self, id: &DeviceId, points: &[Point]) -> Vec<ShownPoint> {
        self.devices.get(id).map(|device| self.catalogue.shown(&device.info.board, points)).unwrap_or_default()
    }

    /// A device tells how strongly it receives its WiFi, in dBm.
    pub fn set_signal(&mut self, id: &DeviceId, dbm: i16) -> Vec<Decision> {
        let Some(device) = self.devices.get_mut(id) else { return Vec::new() };
        let wlan = |connectivity: &&mut Connectivity| connectivity.bearer == Bearer::Wlan;
        let Some(connectivity) = device.info.connectivity.as_mut().filter(wlan) else { return Vec::new() };
        if connectivity.signal.replace(dbm) == Some(dbm) {
            return Vec::new();
        }
        vec![Decision::DeviceChanged(device.info.clone())]
    }

    /// The device on a link.
    pub fn on_link(&self, link: &Link) -> Option<&DeviceId> {
        self.links.get(link)?.device.as_ref()
    }
}
