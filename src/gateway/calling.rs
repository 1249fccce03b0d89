//! Calling a boot loader that is a USB device of its own: the program's port goes, another one comes in the same socket.
//!
//! Driven by `effects` before each run of a tool on such a board, with the lease of the program's port. Arduino's tools wait ten
//! seconds for the new port, then one more to see that it stays, and fall back on the old one where nothing went.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::Event;
use crate::device::{DeviceId, Lease, Link};
use crate::leases;
use crate::transports::serial;

/// How long the program's port, and then the boot loader's, is waited for.
const WITHIN: Duration = Duration::from_secs(10);
/// A board whose port has not gone by then was not moved: it may be in its boot loader already.
const GOES_WITHIN: Duration = Duration::from_secs(3);
/// So long a port must stay: some come and go once more at first, and a boot loader whose tool is through is about to go.
const STAYS: Duration = Duration::from_secs(1);
/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);

/// What it takes to call a boot loader.
pub(super) struct Caller {
    serial: serial::Handle,
    leases: leases::Table,
    events: mpsc::Sender<Event>,
}

/// A boot loader that is there.
pub(super) struct Called {
    /// Its link's.
    pub(super) lease: Lease,
    /// The one of the link that the update knows, where that is another.
    pub(super) kept: Option<Lease>,
}

/// A port that is there: its link and its node, which is a new file each time that it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct There {
    link: Link,
    node: (u64, u64, u64),
    /// The USB product id, where it is a USB device.
    product: Option<u16>,
}

impl There {
    fn stays(&self) -> bool {
        node(&self.link) == Some(self.node)
    }

    /// Whether this is the same USB device that has been restarted, and nothing else.
    fn is_again(&self, before: &Self) -> bool {
        self.product.is_some() && self.product == before.product
    }
}

impl Caller {
    pub(super) fn new(serial: &serial::Handle, leases: &leases::Table, events: &mpsc::Sender<Event>) -> Self {
        Self { serial: serial.clone(), leases: leases.clone(), events: events.clone() }
    }

    /// Calls the boot loader of a device whose link is leased.
    ///
    /// # Errors
    /// Why it is not there, with the lease.
    pub(super) async fn call(&self, device: &DeviceId, lease: Lease) -> Result<Called, (Lease, String)> {
        let Some(before) = self.await_steady(device).await else {
            return Err((lease, format!("the board is not there within {}", humantime::format_duration(WITHIN))));
        };
        let Called { lease, kept } = self.leased(device, &before.link, lease, None).await?;
        let (lease, touched) = self.serial.touch_1200(lease).await;
        if let Err(error) = touched {
            let detail = format!("its boot loader cannot be called: {error}");
            return Err((kept.unwrap_or(lease), detail));
        }
        let (original, other) = match kept {
            Some(kept) => (kept, Some(lease)),
            None => (lease, None),
        };
        match self.loader(device, &before).await {
            Ok(now) => {
                info!(%device, link = %now.link, "its boot loader is there");
                self.leased(device, &now.link, original, other).await
            }
            Err(detail) => Err((original, detail)),
        }
    }

    /// The port under which the boot loader is there.
    async fn loader(&self, device: &DeviceId, before: &There) -> Result<There, String> {
        let began = Instant::now();
        while let Some(left) = WITHIN.checked_sub(began.elapsed()) {
            let stays = before.stays();
            if stays && began.elapsed() >= GOES_WITHIN {
                debug!(%device, "its port has not gone: it is taken as it is");
                return Ok(before.clone());
            }
            if stays {
                sleep(LOOK).await;
                continue;
            }
            let Some(now) = self.await_port(device, left, |now| now != before).await else { break };
            sleep(STAYS).await;
            match now.stays() {
                true if now.is_again(before) => {
                    return Err("the board restarted, and its boot loader did not come".to_owned());
                }
                true => return Ok(now),
                false => {}
            }
        }
        Err(format!("its port went, and its boot loader did not come within {}", humantime::format_duration(WITHIN)))
    }

    /// The lease of a link, beside the one that the update gave.
    async fn leased(
        &self,
        device: &DeviceId,
        link: &Link,
        original: Lease,
        other: Option<Lease>,
    ) -> Result<Called, (Lease, String)> {
        if original.link() == link {
            return Ok(Called { lease: original, kept: None });
        }
        if let Some(lease) = other.filter(|other| other.link() == link) {
            return Ok(Called { lease, kept: Some(original) });
        }
        match self.leases.preempt(link, &format!("update of {device}")).await {
            Ok(lease) => Ok(Called { lease, kept: Some(original) }),
            Err(held) => Err((original, held.to_string())),
        }
    }

    /// Waits until a device is there, and stays.
    async fn await_steady(&self, device: &DeviceId) -> Option<There> {
        let began = Instant::now();
        while let Some(left) = WITHIN.checked_sub(began.elapsed()) {
            let there = self.await_port(device, left, |_| true).await?;
            sleep(STAYS).await;
            if there.stays() {
                return Some(there);
            }
        }
        None
    }

    /// Waits until a device is there over a port that will do.
    async fn await_port(&self, device: &DeviceId, within: Duration, will_do: impl Fn(&There) -> bool) -> Option<There> {
        let until = Instant::now() + within;
        loop {
            let there = self.there(device).await.filter(|there| will_do(there));
            if there.is_some() || Instant::now() >= until {
                return there;
            }
            sleep(LOOK).await;
        }
    }

    async fn there(&self, device: &DeviceId) -> Option<There> {
        let (reply, answer) = oneshot::channel();
        self.events.send(Event::Where { device: device.clone(), reply }).await.ok()?;
        let (link, product) = answer.await.ok()??;
        let node = node(&link)?;
        Some(There { link, node, product })
    }
}

/// One look at a node of `/dev`, which is in memory.
fn node(link: &Link) -> Option<(u64, u64, u64)> {
    let found = fs::metadata(link.serial_path()?).ok()?;
    Some((found.dev(), found.ino(), found.rdev()))
}
