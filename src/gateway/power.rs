//! The USB port of a device switched off and on: for an update that has nothing else left, and as the restart of boards that have no
//! other.

use std::time::Duration;

use tokio::sync::oneshot;
use tracing::info;

use super::{Event, Gateway};
use crate::device::{DeviceId, Link};

/// So long a device may take to be back at least, whatever its board's file says.
const BACK_WITHIN: Duration = Duration::from_secs(10);

impl Gateway {
    /// Whether an update of a device may end with it.
    pub(super) fn may_power_cycle(&self, device: &DeviceId) -> bool {
        let serial = self.registry.device(device).is_some_and(|info| matches!(info.link, Link::Serial(_)));
        serial && self.registry.socket(device).is_some_and(|socket| self.hubs.is_last_resort(socket))
    }

    /// The socket of a device that hangs there alone.
    fn socket_of(&self, device: &DeviceId) -> Result<String, String> {
        let socket = self.registry.socket(device).ok_or("the device does not hang on a USB port")?;
        match self.registry.shares_socket(device) {
            Some(why) => Err(why),
            None => Ok(socket.to_owned()),
        }
    }

    /// For an update, which has the device's lease and awaits it.
    pub(super) fn power_cycle(&self, device: &DeviceId, reply: oneshot::Sender<Result<(), String>>) {
        let socket = match self.socket_of(device) {
            Ok(socket) => socket,
            Err(why) => return drop(reply.send(Err(why))),
        };
        let (hubs, serial) = (self.hubs.clone(), self.serial.clone());
        tokio::spawn(async move {
            let switched = hubs.cycle(&socket).await;
            serial.rescan();
            // An update that waits no more has said so.
            let _ = reply.send(switched.map_err(|error| error.to_string()));
        });
    }

    /// For a server's Reboot. The device stays registered while it is away.
    pub(super) fn reboot_by_power(
        &mut self,
        device: &DeviceId,
        server: &str,
        reply: oneshot::Sender<Result<(), String>>,
    ) {
        let refuse = |reply: oneshot::Sender<_>, why: String| drop(reply.send(Err(why)));
        let socket = match self.socket_of(device) {
            Ok(socket) => socket,
            Err(why) => return refuse(reply, why),
        };
        let Some(link) = self.registry.device(device).map(|info| info.link.clone()) else {
            return refuse(reply, "the device is gone".to_owned());
        };
        if !self.restarting.insert(device.clone()) {
            return refuse(reply, "it is being restarted".to_owned());
        }
        info!(%device, server, socket, "restarting by its USB port");
        self.registry.hold(device);
        let expected = self.registry.profile(device).map(|profile| profile.expect_return).unwrap_or_default();
        let (hubs, serial, leases) = (self.hubs.clone(), self.serial.clone(), self.leases.clone());
        let (events, device) = (self.events.clone(), device.clone());
        tokio::spawn(async move {
            match leases.preempt(&link, &format!("reboot of {device}")).await {
                Ok(lease) => {
                    let switched = hubs.cycle(&socket).await.map_err(|error| error.to_string());
                    serial.rescan();
                    drop(lease);
                    let back = switched.is_ok();
                    let _ = reply.send(switched);
                    if back {
                        tokio::time::sleep(expected.max(BACK_WITHIN)).await;
                    }
                }
                Err(held) => refuse(reply, held.to_string()),
            }
            // The loop may have ended meanwhile.
            let _ = events.send(Event::Waited(device)).await;
        });
    }
}
