//! The gateway's own endpoint: which machine it is, what hangs on it, how it fares when a server looks, and its restart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::info;

use super::{Event, Gateway};
use crate::control::Answer;
use crate::device::{Attached, DeviceId, DeviceInfo, HostSample, OwnInfo, ShownPoint};
use crate::host::Host;

/// A gateway that restarted just now is not restarted again: a server could keep it from its work for the others.
const SETTLED: Duration = Duration::from_secs(10);

/// So long the answer to a reboot has to reach its server, before that is left.
const ANSWERED: Duration = Duration::from_secs(1);

/// What belongs to the endpoint.
#[derive(Debug)]
pub(super) struct Own {
    host: Arc<Mutex<Host>>,
    info: OwnInfo,
    numbers: Numbers,
    begun: Instant,
}

impl Own {
    /// Looks which machine this is; also what is known before anybody looks. Blocking.
    pub(super) fn look(endpoint: String, state: &Path) -> (Self, HostSample) {
        let mut host = Host::new(Path::new("/"), state);
        let machine = host.machine();
        let info = OwnInfo {
            endpoint,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: machine.model,
            serial_number: machine.serial_number,
            hardware_version: machine.hardware_version,
            troubled: false,
        };
        let outline = host.outline();
        let own = Self { host: Arc::new(Mutex::new(host)), info, numbers: Numbers::default(), begun: Instant::now() };
        (own, outline)
    }

    /// What stays.
    pub(super) fn info(&self) -> &OwnInfo {
        &self.info
    }
}

/// The numbers under which devices are listed: one that is free again is the next one's.
#[derive(Debug, Default)]
struct Numbers {
    given: BTreeMap<DeviceId, u16>,
    free: BTreeSet<u16>,
}

impl Numbers {
    /// The number that a device has, or gets; `None` when all are given.
    fn of(&mut self, device: &DeviceId) -> Option<u16> {
        if let Some(number) = self.given.get(device) {
            return Some(*number);
        }
        let fresh = || u16::try_from(self.given.len()).ok().filter(|number| *number < u16::MAX);
        let number = self.free.first().copied().or_else(fresh)?;
        self.free.remove(&number);
        self.given.insert(device.clone(), number);
        Some(number)
    }

    fn release(&mut self, device: &DeviceId) -> Option<u16> {
        let number = self.given.remove(device)?;
        self.free.insert(number);
        Some(number)
    }
}

impl Gateway {
    /// A server looks: the machine is asked by a thread that may wait.
    pub(super) fn look_at_host(&self, reply: oneshot::Sender<HostSample>) {
        let Some(own) = &self.own else { return };
        let host = Arc::clone(&own.host);
        tokio::task::spawn_blocking(move || {
            let sample = host.lock().unwrap_or_else(PoisonError::into_inner).sample();
            // A client that has ended needs no answer.
            let _ = reply.send(sample);
        });
    }

    /// An operator looks, likewise; where there is no endpoint a machine is looked at for this once.
    pub(super) fn tell_health(&self, reply: Answer<Vec<ShownPoint>>) {
        let (known, state) = (self.own.as_ref().map(|own| Arc::clone(&own.host)), self.config.gateway.state.clone());
        tokio::task::spawn_blocking(move || {
            let host = known.unwrap_or_else(|| Arc::new(Mutex::new(Host::new(Path::new("/"), &state))));
            let sample = host.lock().unwrap_or_else(PoisonError::into_inner).sample();
            // Whoever asked may have left.
            drop(reply.send(Ok(sample.points)));
        });
    }

    /// 3/0/4 of the gateway: the program ends as it would by a signal, flashes first, and begins anew.
    pub(super) fn reboot_own(&self, server: &str, reply: oneshot::Sender<Result<(), String>>) {
        let since = self.own.as_ref().map(|own| own.begun.elapsed());
        if since.is_none_or(|since| since < SETTLED) {
            return drop(reply.send(Err(format!("the gateway has started less than {} s ago", SETTLED.as_secs()))));
        }
        info!(server, "restarting the gateway: a running flash is finished first");
        drop(reply.send(Ok(())));
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(ANSWERED).await;
            // The loop may have ended meanwhile.
            let _ = events.send(Event::Restart).await;
        });
    }

    /// The answer is with the server.
    pub(super) fn restart(&mut self) {
        self.restarts = true;
        self.stop(None);
    }

    /// A device is here, or is another than before.
    pub(super) async fn list(&mut self, info: &DeviceInfo) {
        let attached = Attached::of(info, self.registry.present(&info.id));
        let number = self.own.as_mut().and_then(|own| own.numbers.of(&info.id));
        if let Some(number) = number {
            self.proxy.set_attached(number, Some(attached)).await;
        }
    }

    /// A device is gone.
    pub(super) async fn unlist(&mut self, device: &DeviceId) {
        let number = self.own.as_mut().and_then(|own| own.numbers.release(device));
        if let Some(number) = number {
            self.proxy.set_attached(number, None).await;
        }
    }

    /// Something keeps a room from its work, or does no more.
    pub(super) async fn tell_own_trouble(&mut self) {
        let troubled = !self.obstacles.is_empty();
        if let Some(own) = self.own.as_mut().filter(|own| own.info.troubled != troubled) {
            own.info.troubled = troubled;
            self.proxy.set_own(own.info.clone()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_keeps_its_number_and_a_free_one_is_given_again() {
        let mut numbers = Numbers::default();
        let [a, b, c] = ["a", "b", "c"].map(DeviceId::new);
        assert_eq!([numbers.of(&a), numbers.of(&b), numbers.of(&a)], [Some(0), Some(1), Some(0)]);
        assert_eq!((numbers.release(&a), numbers.release(&a)), (Some(0), None));
        assert_eq!([numbers.of(&c), numbers.of(&a)], [Some(0), Some(2)]);
    }

    #[test]
    fn when_all_numbers_are_given_the_next_device_is_not_listed() {
        let mut numbers = Numbers::default();
        for device in 0..u32::from(u16::MAX) {
            assert!(numbers.of(&DeviceId::new(device.to_string())).is_some());
        }
        assert_eq!(numbers.of(&DeviceId::new("one more")), None);
        assert_eq!(numbers.release(&DeviceId::new("7")), Some(7));
        assert_eq!(numbers.of(&DeviceId::new("one more")), Some(7));
    }
}
