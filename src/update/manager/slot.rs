//! What the manager keeps per device: little while it is idle.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::device::{Lease, Sha256Digest, UpdateId};
use crate::update::machine::Machine;
use crate::update::staging::PartFile;
use crate::update::staging::push::PushLine;
use crate::update::uri::ImageUri;

/// One device.
pub(super) struct Slot {
    pub(super) machine: Machine,
    /// What the gateway was told last of what it can go back to.
    pub(super) way_back: Option<Box<Sha256Digest>>,
    /// When its machine is due, as the table of timers has it.
    pub(super) due: Option<Instant>,
    /// What is under way outside the machine; nothing while the device is idle.
    pub(super) work: Option<Box<Work>>,
}

impl Slot {
    pub(super) fn new(machine: Machine) -> Self {
        Self { machine, way_back: None, due: None, work: None }
    }

    pub(super) fn work(&mut self) -> &mut Work {
        self.work.get_or_insert_default()
    }

    /// Whether a tool was started and has not ended.
    pub(super) fn has_tool(&self) -> bool {
        self.work.as_ref().is_some_and(|work| work.tool.is_some())
    }

    /// Gives memory back once nothing is under way.
    pub(super) fn tidy(&mut self) {
        if self.work.as_ref().is_some_and(|work| work.is_over()) {
            self.work = None;
        }
    }
}

/// What belongs to an update and is not the machine's business.
#[derive(Default)]
pub(super) struct Work {
    /// The lease, while neither a tool nor a question has it.
    pub(super) lease: Option<Lease>,
    pub(super) download: Option<(UpdateId, Box<ImageUri>)>,
    pub(super) push: Option<Push>,
    pub(super) pushed: Option<PartFile>,
    pub(super) tool: Option<Tool>,
}

/// A push under way.
pub(super) struct Push {
    pub(super) update: UpdateId,
    pub(super) line: Arc<PushLine>,
    /// Bytes that the machine knows of.
    pub(super) told: u64,
}

/// A tool that was started.
pub(super) struct Tool {
    pub(super) release: Option<oneshot::Sender<()>>,
    pub(super) stop: CancellationToken,
}

impl Work {
    fn is_over(&self) -> bool {
        self.lease.is_none()
            && self.download.is_none()
            && self.push.is_none()
            && self.pushed.is_none()
            && self.tool.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_device_costs_less_than_500_bytes() {
        assert!(size_of::<Slot>() < 400, "{}", size_of::<Slot>());
    }
}
