//! What was last told of each device's update: the gateway's memory for answers. It decides nothing.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::control::{UpdateStatus, WayBackStatus};
use crate::device::{DeviceId, FirmwareView, JournalEntry, JournalStep, Phase, UpdateEvent, UpdateId, masked_uri};

/// Those who follow one device's update, at most; the oldest makes room.
const FOLLOWERS_MAX: usize = 16;

/// Places in a follower's queue that only news may take.
const ROOM_FOR_NEWS: usize = 32;

/// Who follows a device's update: gets each event with the update it belongs to.
pub(super) type Follower = mpsc::Sender<(UpdateId, UpdateEvent)>;

/// All devices' updates as last told.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<DeviceId, Entry>,
}

/// One device's update as last told.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// What servers read.
    pub(super) view: FirmwareView,
    /// What operators read.
    pub(super) status: UpdateStatus,
    /// What it can go back to.
    pub(super) way_back: Option<WayBackStatus>,
    followers: Vec<Follower>,
}

impl Ledger {
    /// What the journal has of updates that an earlier run left: which image, of whose.
    pub(super) fn recalled(open: &[JournalEntry]) -> Self {
        let mut ledger = Self::default();
        for entry in open {
            let (JournalStep::Staged { image }
            | JournalStep::Flashing { image, .. }
            | JournalStep::Proving { image, .. }) = &entry.step
            else {
                continue;
            };
            let recalled = ledger.entry(&entry.device);
            recalled.set_journal(entry, masked_uri(&entry.uri));
            recalled.status.image_sha256 = Some(image.sha256);
            recalled.status.expected_version.clone_from(&image.version);
        }
        ledger
    }

    /// A device's entry; empty for one that nothing was told of.
    pub(super) fn entry(&mut self, device: &DeviceId) -> &mut Entry {
        self.entries.entry(device.clone()).or_default()
    }

    /// What operators read of a device's update.
    pub(super) fn status(&self, device: &DeviceId) -> UpdateStatus {
        self.entries.get(device).map(|entry| entry.status.clone()).unwrap_or_default()
    }

    /// What a device can go back to.
    pub(super) fn way_back(&self, device: &DeviceId) -> Option<WayBackStatus> {
        self.entries.get(device)?.way_back.clone()
    }

    /// What servers read of a device's update.
    pub(super) fn view(&self, device: &DeviceId) -> FirmwareView {
        self.entries.get(device).map(|entry| entry.view.clone()).unwrap_or_default()
    }
}

impl Entry {
    /// Servers read this from now on.
    pub(super) fn set_view(&mut self, view: FirmwareView) {
        self.status.state = view.state;
        self.status.result = view.result;
        self.status.changed = (view.last_change != 0).then_some(view.last_change);
        self.view = view;
    }

    /// What the journal says of who asked, and from where; `uri` has its login masked.
    pub(super) fn set_journal(&mut self, entry: &JournalEntry, uri: String) {
        self.begin(entry.update);
        self.status.requester = Some(entry.requester.clone());
        self.status.uri = (!uri.is_empty()).then_some(uri);
    }

    /// Lets somebody follow this device's updates.
    pub(super) fn follow(&mut self, follower: Follower) {
        self.followers.retain(|other| !other.is_closed());
        if self.followers.len() == FOLLOWERS_MAX {
            self.followers.remove(0);
        }
        self.followers.push(follower);
    }

    /// A fact about an update: remembered, and told to all who follow. One who does not keep up loses progress, never
    /// the news: there are few of those in an update.
    pub(super) fn note(&mut self, update: UpdateId, event: &UpdateEvent) {
        self.begin(update);
        match event {
            UpdateEvent::DownloadProgressed { bytes, total } => {
                let share = total.filter(|&total| total > 0).map(|total| bytes.saturating_mul(100) / total);
                self.status.percent = share.and_then(|share| u8::try_from(share).ok());
            }
            UpdateEvent::ImageStaged { sha256, version, .. } => {
                self.status.image_sha256 = Some(*sha256);
                self.status.expected_version.clone_from(version);
                self.at(None, None);
            }
            UpdateEvent::StagingFailed { reason }
            | UpdateEvent::Deferred { reason }
            | UpdateEvent::UpdateFailed { reason }
            | UpdateEvent::NotSaved { reason }
            | UpdateEvent::RollingBack { reason, .. } => self.at(None, Some(reason.clone())),
            UpdateEvent::Retrying { attempt, reason, .. } => {
                self.at(None, Some(format!("run {attempt} follows: {reason}")));
            }
            UpdateEvent::ToolProgressed { phase, percent } => self.at(Some((*phase, *percent)), None),
            UpdateEvent::ToolStarted { .. }
            | UpdateEvent::ToolEnded { .. }
            | UpdateEvent::Saving
            | UpdateEvent::BoardSaved { .. }
            | UpdateEvent::Proving
            | UpdateEvent::Proven { .. }
            | UpdateEvent::Dropped => self.at(None, None),
            UpdateEvent::ToolSaid { .. }
            | UpdateEvent::ToolPrinted { .. }
            | UpdateEvent::RolledBack { .. }
            | UpdateEvent::Quarantined { .. } => {}
        }
        let chatter = is_chatter(event);
        self.followers.retain(|follower| {
            if chatter && follower.capacity() <= ROOM_FOR_NEWS {
                return true;
            }
            !matches!(follower.try_send((update, event.clone())), Err(mpsc::error::TrySendError::Closed(_)))
        });
    }

    fn begin(&mut self, update: UpdateId) {
        if self.status.id != Some(update) {
            let UpdateStatus { state, result, changed, .. } = self.status;
            self.status = UpdateStatus { state, result, changed, id: Some(update), ..UpdateStatus::default() };
        }
    }

    fn at(&mut self, progress: Option<(Phase, u8)>, message: Option<String>) {
        self.status.phase = progress.map(|(phase, _)| phase);
        self.status.percent = progress.map(|(_, percent)| percent);
        self.status.message = message;
    }
}

/// What a follower can do without.
fn is_chatter(event: &UpdateEvent) -> bool {
    matches!(
        event,
        UpdateEvent::DownloadProgressed { .. }
            | UpdateEvent::ToolProgressed { .. }
            | UpdateEvent::ToolSaid { .. }
            | UpdateEvent::ToolPrinted { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_that_does_not_read_still_gets_the_end() {
        let mut entry = Entry::default();
        let (follower, mut happening) = mpsc::channel(64);
        entry.follow(follower);
        let update = UpdateId(uuid::Uuid::from_u128(1));
        for _ in 0..1_000 {
            entry.note(update, &UpdateEvent::ToolSaid { line: "chatter".to_owned() });
        }
        entry.note(update, &UpdateEvent::UpdateFailed { reason: "flash: no".to_owned() });
        let mut last = None;
        while let Ok((_, event)) = happening.try_recv() {
            last = Some(event);
        }
        assert_eq!(last, Some(UpdateEvent::UpdateFailed { reason: "flash: no".to_owned() }));
        assert_eq!(entry.status.message.as_deref(), Some("flash: no"));
    }
}
