//! What an update would be, for an operator who asks before: the image is looked at where it lies, nothing is staged.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::answers::Outcome;
use super::{Manager, checks, now};
use crate::device::{DeviceId, Requester, StagedImage};
use crate::update::machine::Forecast;
use crate::update::table::{Refusal, Refused};

/// An update that nobody has ordered yet.
#[derive(Debug)]
pub struct Intent {
    /// Of this device.
    pub device: DeviceId,
    /// With this image.
    pub image: PathBuf,
    /// Which is to bring this version, where that is known.
    pub version: Option<String>,
    /// Also outside the maintenance window.
    pub urgent: bool,
}

/// The answer; `None` for a device that is unknown.
pub(super) type Answer = oneshot::Sender<Option<Forecast>>;

impl Manager {
    pub(super) fn look_ahead(&self, intent: Intent, reply: Answer) {
        let Some(slot) = self.slots.get(&intent.device) else { return drop(reply.send(None)) };
        let (profile, cap) = (Arc::clone(slot.machine.profile()), self.downloads.downloader.max_size());
        let (checks, signatures) = (Arc::clone(&self.checks), Arc::clone(&self.signatures));
        self.await_outcome(async move {
            let _permit = checks.acquire_owned().await;
            let (path, version) = (intent.image.clone(), intent.version.clone());
            let look = move || checks::look(&path, version, cap, &profile.image, &signatures);
            let looked = spawn_blocking(look).await;
            let image = looked.unwrap_or_else(|_| Err(Refused::new(Refusal::Damaged, "the image check broke down")));
            Outcome::LookedAt { intent, image, reply }
        });
    }

    pub(super) fn foretell(&mut self, intent: &Intent, image: Result<StagedImage, Refused>, reply: Answer) {
        let Some(slot) = self.slots.get(&intent.device) else { return drop(reply.send(None)) };
        let now = now();
        let mut forecast = slot.machine.forecast(image, now.instant);
        if let Ok(image) = &forecast.image {
            let ask = self.ask_of(&intent.device, Requester::Local, image.sha256, intent.urgent);
            forecast.held_up = ask.and_then(|ask| self.schedule.would_hold(&ask, now.unix));
        }
        // An operator who has left needs no answer.
        let _ = reply.send(Some(forecast));
    }
}
