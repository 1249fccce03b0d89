//! One `nuncio flash`: stage, execute, follow, tell how it ended. The same orders, checks, journal and proof as for a
//! server's update; only the requester differs.

use std::time::Instant;

use tokio::sync::mpsc;

use crate::control::{Failure, FailureCode, Outcome, Verdict};
use crate::device::{
    DeviceId, FirmwareOrder, FirmwareReply, FirmwareRight, ReportedVersion, Requester, UpdateEvent, UpdateId,
};
use crate::update;

/// What a flash needs of the gateway.
pub(super) struct Session {
    /// The device.
    pub(super) device: DeviceId,
    /// What has the image staged.
    pub(super) stage: FirmwareOrder,
    /// Begins also outside the maintenance window.
    pub(super) now: bool,
    /// The device's last update before this one: its late events are not ours.
    pub(super) before: Option<UpdateId>,
    /// What happens at the device.
    pub(super) happening: mpsc::Receiver<(UpdateId, UpdateEvent)>,
    /// Where the operator reads it; nobody may be there any more.
    pub(super) events: mpsc::Sender<UpdateEvent>,
    /// The way to the update.
    pub(super) update: update::Handle,
}

impl Session {
    /// Runs to the end.
    ///
    /// # Errors
    /// When an order is refused: another update is under way, or the gateway stops.
    pub(super) async fn run(mut self) -> Result<Verdict, Failure> {
        let (begin, mut staged_once) = (Instant::now(), false);
        self.order(self.stage.clone(), self.in_the_way()).await?;
        while let Some((update, event)) = self.happening.recv().await {
            if Some(update) == self.before || self.makes_room(&event, staged_once) {
                continue;
            }
            let staged = matches!(event, UpdateEvent::ImageStaged { .. });
            staged_once |= staged;
            let end = ending(&event);
            // The operator may have left; the update goes on all the same.
            let _ = self.events.try_send(event);
            if let Some((outcome, version, reason)) = end {
                let took_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
                return Ok(Verdict { device: self.device, update: Some(update), outcome, version, reason, took_ms });
            }
            if staged {
                let execute = if self.now { FirmwareOrder::ExecuteNow } else { FirmwareOrder::Execute };
                self.order(execute, "the staged image was taken away meanwhile").await?;
            }
        }
        Err(Failure::new(FailureCode::Stopping, "the daemon is stopping")
            .with_hint("the journal has the update: `nuncio status` tells more once the daemon is back"))
    }

    /// What is staged is dropped before the good image takes its place: that is no end.
    fn makes_room(&self, event: &UpdateEvent, staged: bool) -> bool {
        self.stage == FirmwareOrder::Rollback && !staged && matches!(event, UpdateEvent::Dropped)
    }

    fn in_the_way(&self) -> &'static str {
        match self.stage {
            FirmwareOrder::Rollback => {
                "it is being flashed, or there is nothing to go back to: no image has proven itself here yet, \
                 or its board's file says `rollback = \"never\"`"
            }
            _ => "another update of this device is staged or under way",
        }
    }

    async fn order(&self, order: FirmwareOrder, in_the_way: &str) -> Result<(), Failure> {
        match self.update.order(self.device.clone(), Requester::Local, FirmwareRight::Any, order).await {
            FirmwareReply::Done | FirmwareReply::Writer(_) => Ok(()),
            FirmwareReply::WrongState | FirmwareReply::NotAllowed | FirmwareReply::BadValue => {
                let hint = format!("`nuncio status {}` shows what is under way", self.device);
                Err(Failure::new(FailureCode::NotNow, in_the_way).with_hint(hint))
            }
        }
    }
}

type Ending = (Outcome, Option<ReportedVersion>, Option<String>);

/// What an event ends the update with, if it does.
fn ending(event: &UpdateEvent) -> Option<Ending> {
    match event {
        UpdateEvent::Proven { version } => Some((Outcome::Proven, version.clone(), None)),
        UpdateEvent::StagingFailed { reason } | UpdateEvent::UpdateFailed { reason } => {
            Some((Outcome::Failed, None, Some(reason.clone())))
        }
        UpdateEvent::Dropped => Some((Outcome::Cancelled, None, Some("given up on request".to_owned()))),
        _ => None,
    }
}
