//! What was last told of each device and link: the gateway's memory for answers, decided elsewhere.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::control::UpdateStatus;
use crate::device::{Access, DeviceId, DeviceInfo, FirmwareView, Link, LinkReport, Requester, UpdateEvent, UpdateId};

/// Those who follow one device's update, at most.
const FOLLOWERS_MAX: usize = 16;

/// Who follows a device's update: gets each event with the update it belongs to.
pub(super) type Follower = mpsc::Sender<(UpdateId, UpdateEvent)>;

/// One device as last told.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) info: DeviceInfo,
    pub(super) present: bool,
    pub(super) view: FirmwareView,
    pub(super) update: UpdateStatus,
    followers: Vec<Follower>,
}

/// Everything as last told.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    devices: BTreeMap<DeviceId, Entry>,
    links: BTreeMap<Link, LinkReport>,
}

impl Snapshot {
    /// A device is there, or something of it changed.
    pub(super) fn set_device(&mut self, info: DeviceInfo) {
        match self.devices.get_mut(&info.id) {
            Some(entry) => {
                entry.info = info;
                entry.present = true;
            }
            None => {
                let id = info.id.clone();
                let entry = Entry {
                    info,
                    present: true,
                    view: FirmwareView::default(),
                    update: UpdateStatus::default(),
                    followers: Vec::new(),
                };
                self.devices.insert(id, entry);
            }
        }
    }

    /// A device is gone.
    pub(super) fn remove_device(&mut self, device: &DeviceId) -> Option<Entry> {
        self.devices.remove(device)
    }

    pub(super) fn set_link(&mut self, report: LinkReport) {
        self.links.insert(report.link.clone(), report);
    }

    pub(super) fn remove_link(&mut self, link: &Link) {
        self.links.remove(link);
        for entry in self.devices.values_mut().filter(|entry| entry.info.link == *link) {
            entry.present = false;
        }
    }

    pub(super) fn device(&self, device: &DeviceId) -> Option<&Entry> {
        self.devices.get(device)
    }

    pub(super) fn device_mut(&mut self, device: &DeviceId) -> Option<&mut Entry> {
        self.devices.get_mut(device)
    }

    pub(super) fn devices(&self) -> impl Iterator<Item = &Entry> {
        self.devices.values()
    }

    pub(super) fn links(&self) -> impl Iterator<Item = &LinkReport> {
        self.links.values()
    }

    /// Whether the device's link may be used, as its transport last saw it.
    pub(super) fn access(&self, link: &Link) -> Access {
        self.links.get(link).map_or(Access::Usable, |report| report.access.clone())
    }

    /// The device that an operator's word means: its name, its endpoint name, or its link.
    pub(super) fn find(&self, word: &str) -> Option<&Entry> {
        self.devices.values().find(|entry| {
            let path = entry.info.link.serial_path().and_then(|path| path.to_str());
            entry.info.id.as_str() == word
                || entry.info.endpoint == word
                || path == Some(word)
                || entry.info.link.to_string() == word
        })
    }

    /// The link that an operator's word means.
    pub(super) fn find_link(&self, word: &str) -> Option<&LinkReport> {
        self.links.values().find(|report| {
            report.link.serial_path().and_then(|path| path.to_str()) == Some(word) || report.link.to_string() == word
        })
    }
}

impl Entry {
    /// Lets somebody follow this device's updates; the oldest follower makes room.
    pub(super) fn follow(&mut self, follower: Follower) {
        self.followers.retain(|other| !other.is_closed());
        if self.followers.len() == FOLLOWERS_MAX {
            self.followers.remove(0);
        }
        self.followers.push(follower);
    }

    /// What servers read from now on.
    pub(super) fn set_view(&mut self, view: FirmwareView, requester: Option<Requester>) {
        self.update.state = view.state;
        self.update.result = view.result;
        self.update.changed = (view.last_change != 0).then_some(view.last_change);
        self.update.requester = requester;
        self.view = view;
    }

    /// A fact about the update: remembered, and told to all who follow.
    pub(super) fn note(&mut self, update: UpdateId, event: &UpdateEvent) {
        if self.update.id != Some(update) {
            let (state, result) = (self.update.state, self.update.result);
            let changed = self.update.changed;
            let requester = self.update.requester.take();
            self.update = UpdateStatus { id: Some(update), state, result, changed, requester, ..UpdateStatus::default() };
        }
        match event {
            UpdateEvent::DownloadProgressed { bytes, total } => {
                let share = total.filter(|&total| total > 0).map(|total| bytes.saturating_mul(100) / total);
                self.update.percent = share.and_then(|share| u8::try_from(share).ok());
            }
            UpdateEvent::ImageStaged { sha256, version, .. } => {
                self.update.image_sha256 = Some(*sha256);
                self.update.expected_version.clone_from(version);
                self.progress(None, None, None);
            }
            UpdateEvent::StagingFailed { reason }
            | UpdateEvent::Deferred { reason }
            | UpdateEvent::UpdateFailed { reason } => self.progress(None, None, Some(reason.clone())),
            UpdateEvent::ToolProgressed { phase, percent } => {
                self.update.phase = Some(*phase);
                self.update.percent = Some(*percent);
            }
            UpdateEvent::ToolStarted { .. }
            | UpdateEvent::ToolEnded { .. }
            | UpdateEvent::Proving
            | UpdateEvent::Proven { .. }
            | UpdateEvent::Dropped => self.progress(None, None, None),
            UpdateEvent::ToolSaid { .. } => {}
        }
        // A follower that does not keep up loses progress, never the end: it asks for the status then.
        self.followers.retain(|follower| {
            !matches!(follower.try_send((update, event.clone())), Err(mpsc::error::TrySendError::Closed(_)))
        });
    }

    fn progress(&mut self, phase: Option<crate::device::Phase>, percent: Option<u8>, message: Option<String>) {
        self.update.phase = phase;
        self.update.percent = percent;
        self.update.message = message;
    }
}
