//! The states, each with just the data that is valid in it, and the flat dispatch to the one function per state.

use std::time::Instant;

use super::core::Core;
use super::flash::{Flashing, Preparing, Stopping};
use super::io::{Input, Now, Ticket};
use super::power::Powering;
use super::proof::{Asking, Reclaiming, Returning, Settling};
use super::receive::{Checking, Downloading, Pushing, Recording};
use super::retry::{Pausing, Tries};
use super::saving::Saving;
use super::wait::{Deferred, Leasing, Rechecking};
use crate::device::{ReportedVersion, Requester, Restoring, StagedImage, UpdateId};
use crate::update::table::{Ending, Standing};

/// What belongs to one update from its first byte to its end.
#[derive(Debug, Clone)]
pub(super) struct Update {
    pub(super) id: UpdateId,
    /// Who staged it, or took it over.
    pub(super) owner: Requester,
    /// As written; empty for a push or a file.
    pub(super) uri: String,
    /// What the device told before.
    pub(super) before: Option<ReportedVersion>,
}

/// A staged image.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) update: Update,
    pub(super) image: StagedImage,
    /// Flashes begun so far.
    pub(super) attempt: u32,
    /// One of them, or its proof, failed.
    pub(super) failed: bool,
    /// Since when it lies here untouched.
    pub(super) since: Instant,
    /// False after a restart, until the file was read again.
    pub(super) checked: bool,
    /// Set while a flash that was cut off, by a crash or by the link's going, is taken up: give up then.
    pub(super) recovering: Option<Instant>,
    /// Set while the last good image is put back in place of this one.
    pub(super) restoring: Option<Box<Restoring>>,
    /// Runs of the tool since the last Execute.
    pub(super) tries: Tries,
    /// What the board holds could not be read: it is not tried again.
    pub(super) unsaved: bool,
    /// Begins also outside the maintenance window.
    pub(super) urgent: bool,
}

impl Held {
    /// As it comes into staging.
    pub(super) fn new(update: Update, image: StagedImage, since: Instant) -> Self {
        Self {
            update,
            image,
            attempt: 0,
            failed: false,
            since,
            checked: true,
            recovering: None,
            restoring: None,
            tries: Tries::default(),
            unsaved: false,
            urgent: false,
        }
    }

    /// What the tool is to write, and the board to tell.
    pub(super) fn wanted(&self) -> &StagedImage {
        self.restoring.as_ref().map_or(&self.image, |restoring| &restoring.good.image)
    }

    pub(super) fn at_rest(&self) -> Standing {
        match self.recovering {
            Some(_) => Standing::Updating,
            None => Standing::Staged { failed: self.failed },
        }
    }
}

/// Where the update of a device is.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing is staged.
    Idle(Ending),
    /// A download is under way, its check included.
    Downloading(Box<Downloading>),
    /// A push is under way.
    Pushing(Box<Pushing>),
    /// The bytes are there and looked into.
    Checking(Box<Checking>),
    /// The image fits; the journal is being written.
    Recording(Box<Recording>),
    /// Waits for Execute.
    Staged(Box<Held>),
    /// After a restart: the staged file is read again.
    Rechecking(Box<Rechecking>),
    /// Execute was accepted: the lease is asked for.
    Leasing(Box<Leasing>),
    /// It is held by somebody else.
    Deferred(Box<Deferred>),
    /// The tool is made ready, and the journal written.
    Preparing(Box<Preparing>),
    /// The tool runs.
    Flashing(Box<Flashing>),
    /// The tool was told to end.
    Stopping(Box<Stopping>),
    /// What the board held is trimmed to an image and kept.
    Saving(Box<Saving>),
    /// The tool failed and will be run again.
    Pausing(Box<Pausing>),
    /// The board's USB port is switched off and on.
    Powering(Box<Powering>),
    /// The board is awaited.
    Returning(Box<Returning>),
    /// The new program runs for a while before it is asked.
    Settling(Box<Settling>),
    /// The board came back under another name: its lease is asked for.
    Reclaiming(Box<Reclaiming>),
    /// The board is asked for its version.
    Asking(Box<Asking>),
}

impl State {
    /// One function per state gives the next.
    pub(super) fn handle(self, input: Input, core: &mut Core, now: Now) -> Self {
        match self {
            Self::Idle(ending) => Self::Idle(ending),
            Self::Downloading(state) => state.handle(input, core, now),
            Self::Pushing(state) => state.handle(input, core, now),
            Self::Checking(state) => state.handle(input, core, now),
            Self::Recording(state) => state.handle(input, core, now),
            Self::Staged(held) => Self::Staged(held),
            Self::Rechecking(state) => state.handle(input, core, now),
            Self::Leasing(state) => state.handle(input, core, now),
            Self::Deferred(state) => state.handle(&input, core, now),
            Self::Preparing(state) => state.handle(input, core, now),
            Self::Flashing(state) => state.handle(input, core, now),
            Self::Stopping(state) => state.handle(input, core, now),
            Self::Saving(state) => state.handle(input, core, now),
            Self::Pausing(state) => state.handle(input, core, now),
            Self::Powering(state) => state.handle(input, core, now),
            Self::Returning(state) => state.handle(input, core, now),
            Self::Settling(state) => state.handle(&input, core, now),
            Self::Reclaiming(state) => state.handle(input, core, now),
            Self::Asking(state) => state.handle(input, core, now),
        }
    }

    pub(super) fn handle_timeout(self, core: &mut Core, now: Now) -> Self {
        match self {
            Self::Pushing(state) => state.handle_timeout(core, now),
            Self::Leasing(state) => state.handle_timeout(core, now),
            Self::Deferred(state) => state.handle_timeout(core, now),
            Self::Preparing(state) => state.handle_timeout(core),
            Self::Flashing(state) => state.handle_timeout(core),
            Self::Stopping(state) => state.handle_timeout(core, now),
            Self::Saving(state) => state.handle_timeout(core, now),
            Self::Pausing(state) => state.handle_timeout(core, now),
            Self::Powering(state) => state.handle_timeout(core, now),
            Self::Returning(state) => state.handle_timeout(core, now),
            Self::Settling(state) => state.handle_timeout(core, now),
            Self::Reclaiming(state) => state.handle_timeout(core, now),
            Self::Asking(state) => state.handle_timeout(core, now),
            state => state,
        }
    }

    pub(super) fn timeout(&self) -> Option<Instant> {
        match self {
            Self::Pushing(state) => Some(state.silent_at),
            Self::Leasing(state) => Some(state.overdue),
            Self::Deferred(state) => Some(state.retry_at),
            Self::Preparing(state) => Some(state.overdue),
            Self::Flashing(state) => Some(state.overdue),
            Self::Stopping(state) => Some(state.overdue),
            Self::Saving(state) => Some(state.overdue),
            Self::Pausing(state) => Some(state.until),
            Self::Powering(state) => Some(state.overdue),
            Self::Returning(state) => Some(state.until),
            Self::Settling(state) => Some(state.until),
            Self::Reclaiming(state) => Some(state.overdue),
            Self::Asking(state) => Some(state.overdue),
            Self::Idle(_)
            | Self::Downloading(_)
            | Self::Checking(_)
            | Self::Recording(_)
            | Self::Staged(_)
            | Self::Rechecking(_) => None,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        match self {
            Self::Idle(ending) => Standing::Idle(*ending),
            Self::Downloading(_) | Self::Pushing(_) | Self::Checking(_) | Self::Recording(_) => Standing::Receiving,
            Self::Staged(held) => held.at_rest(),
            Self::Rechecking(state) => state.standing(),
            Self::Leasing(state) => state.standing(),
            Self::Deferred(state) => state.standing(),
            Self::Preparing(_)
            | Self::Flashing(_)
            | Self::Stopping(_)
            | Self::Saving(_)
            | Self::Pausing(_)
            | Self::Powering(_)
            | Self::Returning(_)
            | Self::Settling(_)
            | Self::Reclaiming(_)
            | Self::Asking(_) => Standing::Updating,
        }
    }

    /// Whether a lease is held, or out with a tool or a question.
    pub(super) fn keeps_lease(&self) -> bool {
        matches!(
            self,
            Self::Preparing(_)
                | Self::Flashing(_)
                | Self::Stopping(_)
                | Self::Saving(_)
                | Self::Pausing(_)
                | Self::Powering(_)
                | Self::Returning(_)
                | Self::Settling(_)
                | Self::Reclaiming(_)
                | Self::Asking(_)
        )
    }

    pub(super) fn expects(&self, ticket: Ticket) -> bool {
        match self {
            Self::Idle(_) | Self::Staged(_) | Self::Deferred(_) | Self::Settling(_) => false,
            Self::Downloading(state) => state.ticket == ticket,
            Self::Pushing(state) => state.ticket == ticket,
            Self::Checking(state) => state.ticket == ticket,
            Self::Recording(state) => state.ticket == ticket,
            Self::Rechecking(state) => state.ticket == ticket,
            Self::Leasing(state) => state.ticket == ticket,
            Self::Preparing(state) => state.run.is(ticket),
            Self::Flashing(state) => state.run.is(ticket),
            Self::Stopping(state) => state.run.is(ticket),
            Self::Saving(state) => state.ticket == ticket,
            Self::Pausing(state) => state.awaiting == Some(ticket),
            Self::Powering(state) => state.ticket == ticket,
            Self::Returning(state) => state.ticket == ticket,
            Self::Reclaiming(state) => state.ticket == ticket,
            Self::Asking(state) => state.ticket == ticket,
        }
    }

    pub(super) fn update(&self) -> Option<&Update> {
        match self {
            Self::Idle(_) => None,
            Self::Downloading(state) => Some(&state.update),
            Self::Pushing(state) => Some(&state.update),
            Self::Checking(state) => Some(&state.update),
            _ => self.held().map(|held| &held.update),
        }
    }

    pub(super) fn held(&self) -> Option<&Held> {
        match self {
            Self::Idle(_) | Self::Downloading(_) | Self::Pushing(_) | Self::Checking(_) => None,
            Self::Recording(state) => Some(&state.held),
            Self::Staged(held) => Some(held),
            Self::Rechecking(state) => Some(&state.held),
            Self::Leasing(state) => Some(&state.held),
            Self::Deferred(state) => Some(&state.held),
            Self::Preparing(state) => Some(&state.held),
            Self::Flashing(state) => Some(&state.held),
            Self::Stopping(state) => Some(&state.held),
            Self::Saving(state) => Some(&state.held),
            Self::Pausing(state) => Some(&state.held),
            Self::Powering(state) => Some(&state.held),
            Self::Returning(state) => Some(&state.proof.held),
            Self::Settling(state) => Some(&state.proof.held),
            Self::Reclaiming(state) => Some(&state.proof.held),
            Self::Asking(state) => Some(&state.proof.held),
        }
    }

    /// For the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Idle(_) => "idle",
            Self::Downloading(_) => "downloading",
            Self::Pushing(_) => "pushing",
            Self::Checking(_) => "checking",
            Self::Recording(_) => "recording",
            Self::Staged(_) => "staged",
            Self::Rechecking(_) => "rechecking",
            Self::Leasing(_) => "leasing",
            Self::Deferred(_) => "deferred",
            Self::Preparing(_) => "preparing",
            Self::Flashing(_) => "flashing",
            Self::Stopping(_) => "stopping",
            Self::Saving(_) => "saving",
            Self::Pausing(_) => "pausing",
            Self::Powering(_) => "powering",
            Self::Returning(_) => "returning",
            Self::Settling(_) => "settling",
            Self::Reclaiming(_) => "reclaiming",
            Self::Asking(_) => "asking",
        }
    }
}
