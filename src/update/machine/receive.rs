//! An image comes in: download, push or copy, the look into it, and the journal before anybody is told.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::core::Core;
use super::io::{Input, Now, Output, Ticket};
use super::state::{Held, State, Update};
use crate::device::{GoodImage, JournalStep, StagedImage, UpdateEvent};
use crate::update::download::{Progress, Resume};
use crate::update::table::{Refusal, Refused, Standing};
use crate::update::uri::ImageUri;

/// How often the journal learns how far a download is.
const JOURNAL_EVERY: Duration = Duration::from_secs(5);

/// A download is under way.
#[derive(Debug)]
pub(super) struct Downloading {
    pub(super) update: Update,
    pub(super) ticket: Ticket,
    /// When the journal learnt last how far it is; `None` until it knows an ETag.
    journalled: Option<Instant>,
}

/// A push is under way.
#[derive(Debug)]
pub(super) struct Pushing {
    pub(super) update: Update,
    pub(super) ticket: Ticket,
    /// Given up then, unless bytes come.
    pub(super) silent_at: Instant,
}

/// The bytes are there and looked into.
#[derive(Debug)]
pub(super) struct Checking {
    pub(super) update: Update,
    pub(super) ticket: Ticket,
    /// They were pushed, so their owner may begin again.
    pub(super) pushed: bool,
}

/// The image fits; the journal is being written.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) held: Held,
    pub(super) ticket: Ticket,
}

/// Begins a download, or takes one up that a crash cut off.
pub(super) fn download(update: Update, uri: ImageUri, resume: Option<Resume>, core: &mut Core, now: Now) -> State {
    let ticket = core.ticket();
    if resume.is_none() {
        journal_begin(&update, core, now);
    }
    core.out.push(Output::Download { ticket, update: update.id, uri: Box::new(uri), resume });
    State::Downloading(Box::new(Downloading { update, ticket, journalled: None }))
}

/// Begins a push.
pub(super) fn push(update: Update, core: &mut Core, now: Now) -> State {
    let ticket = core.ticket();
    journal_begin(&update, core, now);
    let silent_at = now.instant + core.rules.settings.push_timeout;
    State::Pushing(Box::new(Pushing { update, ticket, silent_at }))
}

/// Copies a local file.
pub(super) fn copy(update: Update, path: PathBuf, version: Option<String>, core: &mut Core, now: Now) -> State {
    let ticket = core.ticket();
    journal_begin(&update, core, now);
    core.out.push(Output::Copy { ticket, update: update.id, path, version });
    State::Checking(Box::new(Checking { update, ticket, pushed: false }))
}

/// Stages one of the device's good images again.
pub(super) fn restage(update: Update, good: GoodImage, core: &mut Core, now: Now) -> State {
    let ticket = core.ticket();
    journal_begin(&update, core, now);
    core.out.push(Output::Restage { ticket, update: update.id, good: Box::new(good) });
    State::Checking(Box::new(Checking { update, ticket, pushed: false }))
}

/// A crash before anything can be resumed is then seen, and told as result 4.
fn journal_begin(update: &Update, core: &mut Core, now: Now) {
    let step = JournalStep::Downloading { part: PathBuf::new(), synced: 0, etag: None };
    let entry = core.entry(update, step, Standing::Receiving, now);
    core.out.push(Output::Journal { ticket: None, entry });
}

impl Downloading {
    pub(super) fn handle(mut self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::DownloadProgressed { ticket, progress, part } if ticket == self.ticket => {
                self.progressed(progress, part, core, now);
                State::Downloading(self)
            }
            Input::Received { ticket, result } if ticket == self.ticket => received(self.update, result, core, now),
            _ => State::Downloading(self),
        }
    }

    fn progressed(&mut self, progress: Progress, part: PathBuf, core: &mut Core, now: Now) {
        let due = |at: Instant| now.instant.saturating_duration_since(at) >= JOURNAL_EVERY;
        if progress.etag.is_some() && self.journalled.is_none_or(due) {
            self.journalled = Some(now.instant);
            let step = JournalStep::Downloading { part, synced: progress.synced, etag: progress.etag };
            let entry = core.entry(&self.update, step, Standing::Receiving, now);
            core.out.push(Output::Journal { ticket: None, entry });
        }
        let event = UpdateEvent::DownloadProgressed { bytes: progress.bytes, total: progress.total };
        core.event(self.update.id, event);
    }
}

impl Pushing {
    pub(super) fn handle(mut self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Pushed { ticket, bytes, at } if ticket == self.ticket => {
                self.silent_at = at + core.rules.settings.push_timeout;
                core.event(self.update.id, UpdateEvent::DownloadProgressed { bytes, total: None });
                State::Pushing(self)
            }
            Input::PushEnded { ticket, result: Ok(()) } if ticket == self.ticket => self.complete(core),
            Input::PushEnded { ticket, result: Err(refused) } if ticket == self.ticket => {
                State::Idle(core.refuse(&self.update, refused, now))
            }
            _ => State::Pushing(self),
        }
    }

    pub(super) fn handle_timeout(&self, core: &mut Core, now: Now) -> State {
        let patience = humantime::format_duration(core.rules.settings.push_timeout);
        let reason = format!("the push from {} was silent for {patience}", self.update.owner);
        State::Idle(core.refuse(&self.update, Refused::new(Refusal::ConnectionLost, reason), now))
    }

    fn complete(self, core: &mut Core) -> State {
        let ticket = core.ticket();
        core.out.push(Output::Check { ticket, update: self.update.id });
        State::Checking(Box::new(Checking { update: self.update, ticket, pushed: true }))
    }
}

impl Checking {
    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Received { ticket, result } if ticket == self.ticket => received(self.update, result, core, now),
            _ => State::Checking(self),
        }
    }
}

fn received(update: Update, result: Result<StagedImage, Refused>, core: &mut Core, now: Now) -> State {
    let image = match result {
        Ok(image) => image,
        Err(refused) => return State::Idle(core.refuse(&update, refused, now)),
    };
    core.change_view(|view| {
        view.package_name = image.info.project.clone().unwrap_or_default();
        view.package_version = image.version.clone().unwrap_or_default();
    });
    let ticket = core.ticket();
    let step = JournalStep::Staged { image: image.clone() };
    let entry = core.entry(&update, step, Standing::Staged { failed: false }, now);
    core.out.push(Output::Journal { ticket: Some(ticket), entry });
    let held = Held::new(update, image, now.instant);
    State::Recording(Box::new(Recording { held, ticket }))
}

impl Recording {
    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Journalled { ticket, result: Ok(()) } if ticket == self.ticket => self.staged(core),
            Input::Journalled { ticket, result: Err(reason) } if ticket == self.ticket => {
                let reason = format!("the journal cannot be written: {reason}");
                State::Idle(core.refuse(&self.held.update, Refused::new(Refusal::NoRoom, reason), now))
            }
            _ => State::Recording(self),
        }
    }

    fn staged(self: Box<Self>, core: &mut Core) -> State {
        let image = &self.held.image;
        let (size, sha256, version) = (image.size, image.sha256, image.version.clone());
        core.event(self.held.update.id, UpdateEvent::ImageStaged { size, sha256, version });
        State::Staged(Box::new(self.held))
    }
}
