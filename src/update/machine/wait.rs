//! Between Execute and the tool: the file read again where a restart came between, the lease, and waiting for it.

use std::time::{Duration, Instant};

use super::core::Core;
use super::flash;
use super::io::{Input, Now, Output, Ticket};
use super::restore::give_up;
use super::state::{Held, State};
use crate::device::{Link, UpdateEvent};
use crate::update::table::{Refusal, Refused, Standing};

/// A deferred update tries again after this at the latest, whatever it was told.
const RETRY: Duration = Duration::from_secs(10);
/// Whether there is a lease is known so soon.
const LEASE_LIMIT: Duration = Duration::from_secs(30);

/// After a restart: the staged file is read again.
#[derive(Debug)]
pub(super) struct Rechecking {
    pub(super) held: Held,
    pub(super) ticket: Ticket,
    /// Flash it if it is whole; with what held it up before.
    execute: Option<Wait>,
}

/// Whether servers see an accepted Execute as deferred, and why it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wait {
    /// Not held up yet.
    Fresh,
    /// Held up by this.
    HeldUp(String),
}

/// Execute was accepted: the lease is asked for.
#[derive(Debug)]
pub(super) struct Leasing {
    pub(super) held: Held,
    pub(super) ticket: Ticket,
    pub(super) wait: Wait,
    pub(super) overdue: Instant,
    link: Link,
}

/// It is held by somebody else.
#[derive(Debug)]
pub(super) struct Deferred {
    pub(super) held: Held,
    pub(super) retry_at: Instant,
    reason: String,
}

/// Reads the staged file again, then waits for Execute or, with `execute`, goes on.
pub(super) fn recheck(held: Held, execute: Option<Wait>, core: &mut Core) -> State {
    let ticket = core.ticket();
    core.out.push(Output::Recheck { ticket, image: Box::new(held.image.clone()) });
    State::Rechecking(Box::new(Rechecking { held, ticket, execute }))
}

/// Execute: flash it as soon as the lease is there.
pub(super) fn execute(held: Held, wait: Wait, core: &mut Core, now: Now) -> State {
    if !held.checked {
        return recheck(held, Some(wait), core);
    }
    let Some(link) = core.facts.link.clone() else {
        accept(&held, &wait, core, now);
        return defer(held, &wait, "the device is not there".into(), core, now);
    };
    accept(&held, &wait, core, now);
    let ticket = core.ticket();
    core.out.push(Output::TakeLease { ticket, link: link.clone() });
    let overdue = now.instant + LEASE_LIMIT;
    State::Leasing(Box::new(Leasing { held, ticket, wait, overdue, link }))
}

/// An Execute that was accepted is written down: a gateway that dies before the tool begins takes it up.
fn accept(held: &Held, wait: &Wait, core: &mut Core, now: Now) {
    if *wait == Wait::Fresh && held.recovering.is_none() {
        core.journal_staged(held, Standing::Deferred, now);
    }
}

fn defer(held: Held, wait: &Wait, reason: String, core: &mut Core, now: Now) -> State {
    if let Some(end) = held.recovering.filter(|&end| end <= now.instant) {
        tracing::debug!(?end, "the flash that was cut off is not taken up");
        return give_up(held, format!("the interrupted flash could not be taken up: {reason}"), core, now);
    }
    if *wait != Wait::HeldUp(reason.clone()) {
        core.event(held.update.id, UpdateEvent::Deferred { reason: reason.clone() });
    }
    State::Deferred(Box::new(Deferred { held, retry_at: now.instant + RETRY, reason }))
}

impl Rechecking {
    pub(super) fn standing(&self) -> Standing {
        match &self.execute {
            Some(wait) => waiting(&self.held, wait),
            None => self.held.at_rest(),
        }
    }

    pub(super) fn executes(&self) -> bool {
        self.execute.is_some()
    }

    /// Execute came before the file was read.
    pub(super) fn execute_after(mut self: Box<Self>) -> State {
        self.execute.get_or_insert(Wait::Fresh);
        State::Rechecking(self)
    }

    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Rechecked { ticket, result: Ok(()) } if ticket == self.ticket => self.whole(core, now),
            Input::Rechecked { ticket, result: Err(reason) } if ticket == self.ticket => {
                let reason = format!("the staged image is not what it was before the restart: {reason}");
                State::Idle(core.refuse(&self.held.update, Refused::new(Refusal::Damaged, reason), now))
            }
            _ => State::Rechecking(self),
        }
    }

    fn whole(mut self: Box<Self>, core: &mut Core, now: Now) -> State {
        self.held.checked = true;
        match self.execute {
            Some(wait) => execute(self.held, wait, core, now),
            None => State::Staged(Box::new(self.held)),
        }
    }
}

/// A flash that a crash cut off stays "updating" while it is taken up.
fn waiting(held: &Held, wait: &Wait) -> Standing {
    match wait {
        Wait::HeldUp(_) if held.recovering.is_none() => Standing::Deferred,
        _ => held.at_rest(),
    }
}

impl Leasing {
    pub(super) fn standing(&self) -> Standing {
        waiting(&self.held, &self.wait)
    }

    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Leased { ticket } if ticket == self.ticket => {
                core.leased = Some(self.link.clone());
                flash::prepare(self.held, self.link, core, now)
            }
            Input::LeaseRefused { ticket, holder } if ticket == self.ticket => {
                defer(self.held, &self.wait, holder, core, now)
            }
            _ => State::Leasing(self),
        }
    }

    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core, now: Now) -> State {
        defer(self.held, &self.wait, "nobody gives the lease".into(), core, now)
    }
}

impl Deferred {
    pub(super) fn standing(&self) -> Standing {
        if self.held.recovering.is_some() { Standing::Updating } else { Standing::Deferred }
    }

    pub(super) fn handle(self: Box<Self>, input: &Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::LeaseReleased | Input::LinkIs(Some(_)) => self.try_again(core, now),
            _ => State::Deferred(self),
        }
    }

    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core, now: Now) -> State {
        self.try_again(core, now)
    }

    pub(super) fn try_again(self: Box<Self>, core: &mut Core, now: Now) -> State {
        execute(self.held, Wait::HeldUp(self.reason), core, now)
    }
}
