//! Before the first flash: what the board holds is read by its tool and kept, so that there is a way back.

use std::time::{Duration, Instant};

use super::core::Core;
use super::flash;
use super::io::{Input, Now, Output, Ticket};
use super::retry::failed_run;
use super::state::{Held, State};
use crate::device::{BoardState, JobFailure, Link, RollbackPolicy, UpdateEvent, WayBack};

/// Trimming and keeping a file takes no longer.
const LIMIT: Duration = Duration::from_secs(60);

/// What the board held is trimmed to an image and kept.
#[derive(Debug)]
pub(super) struct Saving {
    pub(super) held: Held,
    pub(super) ticket: Ticket,
    pub(super) overdue: Instant,
    link: Link,
}

/// Whether the board is to be read first: it has nothing to go back to, and holds what it held before anybody flashed it
/// from here.
pub(super) fn is_due(held: &Held, core: &Core) -> bool {
    let profile = &core.facts.profile;
    profile.way_back == WayBack::Backup
        && profile.rollback != RollbackPolicy::Never
        && core.facts.goods.images.is_empty()
        && core.board == BoardState::Sound
        && held.restoring.is_none()
        && !held.unsaved
}

/// The tool has read the board.
pub(super) fn keep(held: Held, link: Link, core: &mut Core, now: Now) -> State {
    let ticket = core.ticket();
    let version = core.facts.version.clone();
    core.out.push(Output::KeepSaved { ticket, update: held.update.id, version, at: now.unix });
    State::Saving(Box::new(Saving { held, ticket, overdue: now.instant + LIMIT, link }))
}

/// The tool could not read the board. What will keep it from writing as well is tried again or told; else the update goes
/// on without a way back.
pub(super) fn failed(held: Held, class: JobFailure, reason: String, link: Link, core: &mut Core, now: Now) -> State {
    match class {
        JobFailure::NoSync | JobFailure::Noise | JobFailure::PortLost | JobFailure::PortUnavailable => {
            failed_run(held, class, reason, core, now)
        }
        _ => go_on(held, reason, link, core, now),
    }
}

fn go_on(held: Held, reason: String, link: Link, core: &mut Core, now: Now) -> State {
    core.event(held.update.id, UpdateEvent::NotSaved { reason });
    flash(held, link, core, now)
}

/// The board is read or will not be; its flash has all its tries, whatever reading took.
fn flash(mut held: Held, link: Link, core: &mut Core, now: Now) -> State {
    held.unsaved = true;
    held.tries.runs = 0;
    flash::prepare(held, link, core, now)
}

impl Saving {
    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Kept { ticket, result: Ok(sha256) } if ticket == self.ticket => {
                let version = core.facts.version.as_ref().map(|version| version.text.clone());
                core.event(self.held.update.id, UpdateEvent::BoardSaved { sha256, version });
                flash(self.held, self.link, core, now)
            }
            Input::Kept { ticket, result: Err(reason) } if ticket == self.ticket => {
                go_on(self.held, reason, self.link, core, now)
            }
            _ => State::Saving(self),
        }
    }

    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core, now: Now) -> State {
        go_on(self.held, "keeping it takes too long".to_owned(), self.link, core, now)
    }
}
