//! Keeping what a device can go back to, and staging it again.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::Manager;
use super::answers::Outcome;
use crate::device::{
    DeviceId, GoodImage, GoodOrigin, Goods, ImageRules, ReportedVersion, Sha256Digest, StagedImage, UpdateId,
};
use crate::update::machine::{Input, Ticket};
use crate::update::saved;
use crate::update::staging::{Staging, Stored, digest_of, remove};
use crate::update::table::{Refusal, Refused};

impl Manager {
    /// An image that the device is known to hold again.
    pub(super) fn keep_good(&self, device: &DeviceId, good: GoodImage) {
        let (staging, device) = (self.staging.clone(), device.clone());
        self.await_outcome(async move {
            let owned = device.clone();
            let kept = spawn_blocking(move || keep(&staging, &owned, good)).await.ok().flatten();
            kept.map_or(Outcome::Nothing, |goods| Outcome::Input(device, Input::GoodsAre(Arc::new(goods))))
        });
    }

    /// What the tool read from the board before the first flash.
    pub(super) fn keep_saved(
        &self,
        device: &DeviceId,
        (ticket, update): (Ticket, UpdateId),
        version: Option<ReportedVersion>,
        at: i64,
    ) {
        let Some(slot) = self.slots.get(device) else { return };
        let (staging, profile, device) = (self.staging.clone(), Arc::clone(slot.machine.profile()), device.clone());
        self.await_outcome(async move {
            let owned = device.clone();
            let kept = spawn_blocking(move || save(&staging, &owned, update, &profile.image, version, at)).await;
            let kept = kept.unwrap_or_else(|_| Err("keeping it broke down".to_owned()));
            Outcome::Saved { device, ticket, kept }
        });
    }

    /// Stages a good image again; it was checked when it was kept, so only its digest is looked at.
    pub(super) fn restage(&self, device: &DeviceId, ticket: Ticket, update: UpdateId, good: GoodImage) {
        let (staging, device) = (self.staging.clone(), device.clone());
        self.await_outcome(async move {
            let staged = spawn_blocking(move || stage(&staging, update, good.image)).await;
            let broken = |_| Err(Refused::new(Refusal::Damaged, "staging the good image again broke down"));
            Outcome::Checked { device, update, ticket, result: staged.unwrap_or_else(broken) }
        });
    }
}

/// Keeps an image; what went wrong is told in the log, since the update is over all the same. Blocking.
pub(super) fn keep(staging: &Staging, device: &DeviceId, good: GoodImage) -> Option<Goods> {
    let told = |error: &std::io::Error| {
        tracing::warn!(%device, %error, "the image that proved itself could not be kept: there is no way back to it");
    };
    staging.keep_good(device, good).inspect_err(told).ok()
}

fn save(
    staging: &Staging,
    device: &DeviceId,
    update: UpdateId,
    rules: &ImageRules,
    version: Option<ReportedVersion>,
    at: i64,
) -> Result<(Sha256Digest, Goods), String> {
    let path = staging.saved_path(update);
    let kept = keep_trimmed(staging, device, &path, rules, version, at);
    remove(&path);
    kept
}

fn keep_trimmed(
    staging: &Staging,
    device: &DeviceId,
    path: &std::path::Path,
    rules: &ImageRules,
    version: Option<ReportedVersion>,
    at: i64,
) -> Result<(Sha256Digest, Goods), String> {
    let failed = |error: std::io::Error| format!("it cannot be kept: {error}");
    let info = saved::trim(path, rules)?;
    let sha256 = digest_of(path).map_err(failed)?;
    let size = std::fs::metadata(path).map_err(failed)?.len();
    let version = version.map(|version| version.text).or_else(|| info.version.clone());
    let image = StagedImage { path: path.to_owned(), size, sha256, version, info, signed_by: None };
    let goods = staging.keep_good(device, GoodImage { image, origin: GoodOrigin::Saved, at }).map_err(failed)?;
    Ok((sha256, goods))
}

fn stage(staging: &Staging, update: UpdateId, image: StagedImage) -> Result<StagedImage, Refused> {
    let damaged =
        |why: String| Refused::new(Refusal::Damaged, format!("the last good image is not what it was: {why}"));
    let found = digest_of(&image.path).map_err(|error| damaged(error.to_string()))?;
    if found != image.sha256 {
        return Err(damaged(format!("its SHA-256 is {found}")));
    }
    let stored = Stored { path: image.path.clone(), size: image.size, sha256: image.sha256 };
    let stored = staging.share(&stored, update)?;
    Ok(StagedImage { path: stored.path, ..image })
}
