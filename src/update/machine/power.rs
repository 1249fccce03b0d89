//! The last resort: after the last run of the tool, or a board that does not come back, the board's USB port is switched off and on,
//! once for each Execute, and one more run follows.

use std::time::{Duration, Instant};

use super::core::Core;
use super::io::{Input, Now, Output, Ticket};
use super::restore::give_up;
use super::retry;
use super::state::{Held, State};
use crate::device::JobFailure;

/// Switching takes three seconds, and what hangs on the port ten to be enumerated.
const LIMIT: Duration = Duration::from_secs(60);

/// The board's port is switched.
#[derive(Debug)]
pub(super) struct Powering {
    pub(super) held: Held,
    pub(super) ticket: Ticket,
    pub(super) overdue: Instant,
    reason: String,
}

/// Whether it may help and is still left: the site wants it, the board's file has further runs, and the board itself is in the way, not
/// somebody who holds its port.
pub(super) fn is_left(held: &Held, class: JobFailure, core: &Core) -> bool {
    let of_the_board = matches!(
        class,
        JobFailure::NoSync | JobFailure::Noise | JobFailure::PortLost | JobFailure::Stalled | JobFailure::TimedOut
    );
    let wanted = core.facts.power_cycle && core.facts.profile.retries.max > 1;
    // Nobody else may work with the port meanwhile.
    of_the_board && wanted && !held.tries.powered && core.leased.is_some()
}

/// Has the port switched.
pub(super) fn cycle(mut held: Held, class: JobFailure, reason: String, core: &mut Core, now: Now) -> State {
    held.tries.powered = true;
    let told = format!("{reason}; its USB port is switched off and on first");
    retry::announce(&mut held, class, told, core);
    let ticket = core.ticket();
    core.out.push(Output::PowerCycle { ticket });
    State::Powering(Box::new(Powering { held, ticket, overdue: now.instant + LIMIT, reason }))
}

impl Powering {
    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::PowerCycled { ticket, result: Ok(()) } if ticket == self.ticket => {
                retry::await_board(self.held, self.reason, core, now)
            }
            Input::PowerCycled { ticket, result: Err(why) } if ticket == self.ticket => {
                give_up(self.held, format!("{}; its USB port could not be switched: {why}", self.reason), core, now)
            }
            _ => State::Powering(self),
        }
    }

    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core, now: Now) -> State {
        give_up(self.held, format!("{}; switching its USB port takes too long", self.reason), core, now)
    }
}
