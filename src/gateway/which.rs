//! Which device is which: who has its link, and what makes it visible.

use tokio::sync::{mpsc, oneshot};

use super::Gateway;
use crate::control::{Answer, Failure, FailureCode, Identified, Who};
use crate::device::{Access, DeviceId, DeviceInfo, Exclusive, FirmwareState, PointOrder, PointOut};

impl Gateway {
    pub(super) fn who(&self, word: &str) -> Result<Who, Failure> {
        if let Some(who) = self.who_has_adapter(word).or_else(|| self.who_has_hub(word)) {
            return Ok(who);
        }
        let link = self.find(word).map(|info| info.link.clone()).or_else(|| self.find_link(word));
        let link = link.ok_or_else(|| self.unknown(word))?;
        let (report, device) =
            self.registry.links().find(|(report, _)| report.link == link).ok_or_else(|| self.unknown(word))?;
        let (holder, access) = (self.leases.holder(&link), report.access.clone());
        Ok(Who { holder, device: device.cloned(), access, link: link.to_string() })
    }

    fn who_has_adapter(&self, word: &str) -> Option<Who> {
        let (name, holder) = self.ble.adapter().filter(|(name, _)| name == word)?;
        Some(Who { link: format!("adapter {name}"), device: None, holder, access: Access::Usable })
    }

    /// A hub is held by the update of a device that must have it for itself.
    fn who_has_hub(&self, word: &str) -> Option<Who> {
        let path = word.strip_prefix("usb:")?;
        let on_it = |info: &&DeviceInfo| self.registry.hub(&info.id).is_some_and(|hub| *hub == *path);
        let mut devices = self.registry.devices().filter(on_it).peekable();
        devices.peek()?;
        let takes_all = |info: &&DeviceInfo| {
            let exclusive = self.registry.profile(&info.id).is_some_and(|profile| profile.exclusive == Exclusive::Hub);
            exclusive && self.ledger.view(&info.id).state == FirmwareState::Updating
        };
        let device = devices.find(takes_all).map(|info| info.id.clone());
        let holder = device.as_ref().map(|device| format!("update of {device}"));
        Some(Who { link: format!("hub {word}"), device, holder, access: Access::Usable })
    }

    /// Makes it visible which board a device is. Its update, a question to it or another such wish comes first.
    pub(super) fn identify(&self, word: &str, reply: Answer<Identified>) {
        if let Some(info) = self.find(word).filter(|info| self.registry.point_out(&info.id).is_none())
            && let Some(orders) = self.orders(&info.id)
        {
            return by_its_watch(info.id.clone(), orders, reply);
        }
        let found = self.find(word).ok_or_else(|| self.unknown(word)).and_then(|info| {
            let no_way = || {
                let text = format!("{}: nothing is known of it that could blink", info.id);
                Failure::new(FailureCode::NotNow, text)
                    .with_hint("a board file says so by `light` or `reboot` (config/boards.d/README.md)")
            };
            let how = self.registry.point_out(&info.id).ok_or_else(no_way)?;
            Ok((info.id.clone(), how, info.link.clone()))
        });
        let (device, how, link) = match found {
            Ok(found) => found,
            Err(failure) => return drop(reply.send(Err(failure))),
        };
        let (serial, leases) = (self.serial.clone(), self.leases.clone());
        tokio::spawn(async move {
            let lease = match leases.preempt(&link, "making it blink").await {
                Ok(lease) => lease,
                Err(held) => return drop(reply.send(Err(Failure::new(FailureCode::NotNow, held.to_string())))),
            };
            let (lease, outcome) = serial.point_out(lease, how).await;
            drop(lease);
            let by = match how {
                PointOut::Firmata { pin, .. } => format!("its light on pin {pin} blinked, by Firmata"),
                PointOut::Restart(_) => "it was restarted three times: its boot loader's light blinked".to_owned(),
            };
            let answer = outcome.map(|()| Identified { device, by });
            drop(reply.send(answer.map_err(|error| Failure::new(FailureCode::Failed, error.to_string()))));
        });
    }
}

/// Who is connected to the device anyway makes it visible.
fn by_its_watch(device: DeviceId, orders: mpsc::Sender<PointOrder>, reply: Answer<Identified>) {
    tokio::spawn(async move {
        let (done, outcome) = oneshot::channel();
        let asked = orders.send(PointOrder::PointOut { reply: done }).await;
        let outcome = match asked {
            Ok(()) => outcome.await.unwrap_or_else(|_| Err("the connection to it ended".to_owned())),
            Err(_) => Err("it is not connected to just now".to_owned()),
        };
        let answer = outcome.map(|by| Identified { device, by });
        drop(reply.send(answer.map_err(|error| Failure::new(FailureCode::Failed, error))));
    });
}
