//! A run of the tool that failed is followed by another one: whether, after which pause, with which values of variables.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::core::Core;
use super::flash;
use super::io::{Input, Now, Output, Ticket};
use super::power;
use super::restore::give_up;
use super::state::{Held, State};
use super::wait::{self, Wait};
use crate::device::{FlashProfile, JobFailure, Link, UpdateEvent};

/// How long the port may be held by somebody else before a further run is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// So often a board may go away between two runs.
const MAX_RETURNS: u8 = 8;
/// So many alternatives of a board are told apart.
const MAX_CHOICES: usize = 32;

/// Runs of the tool since the last Execute, or since the board was read before its first flash, and the values they had: choice 0 are the usual ones, the others the board's
/// alternatives in their order.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tries {
    /// Runs begun.
    pub(super) runs: u32,
    /// The values of the next run.
    choice: usize,
    /// Choices that were tried, as bits.
    tried: u32,
    /// The board's USB port was switched off and on.
    pub(super) powered: bool,
}

impl Tries {
    /// None yet; what worked on this port before comes first.
    pub(super) fn beginning(profile: &FlashProfile, worked: Option<&BTreeMap<String, String>>) -> Self {
        let known = worked.and_then(|vars| profile.alternatives.iter().position(|other| other.vars == *vars));
        Self { runs: 0, choice: known.map_or(0, |at| at + 1), tried: 0, powered: false }
    }

    /// A run begins.
    pub(super) fn begin(&mut self) {
        self.runs += 1;
        self.tried |= 1 << self.choice.min(MAX_CHOICES - 1);
    }

    /// The variables that the next run has in place of the usual ones.
    pub(super) fn vars(self, profile: &FlashProfile) -> Option<&BTreeMap<String, String>> {
        Some(&profile.alternatives.get(self.choice.checked_sub(1)?)?.vars)
    }

    /// The values for the run after a failure: first those that were not tried, then the same again.
    fn next(self, profile: &FlashProfile, class: JobFailure) -> usize {
        let fits = |on: &[JobFailure]| on.is_empty() || on.contains(&class);
        let alternatives = profile.alternatives.iter().enumerate().take(MAX_CHOICES - 1);
        let fitting = alternatives.filter(|(_, other)| fits(&other.on)).map(|(at, _)| at + 1);
        let untried = std::iter::once(0).chain(fitting).find(|&choice| self.tried & 1 << choice == 0);
        untried.unwrap_or(self.choice)
    }
}

/// The tool failed and will be run again.
#[derive(Debug)]
pub(super) struct Pausing {
    pub(super) held: Held,
    /// Set while the board is away.
    pub(super) awaiting: Option<Ticket>,
    pub(super) until: Instant,
    /// How often the board came back.
    returns: u8,
    reason: String,
}

/// A run ended with this class: once more, or that was it.
pub(super) fn failed_run(mut held: Held, class: JobFailure, reason: String, core: &mut Core, now: Now) -> State {
    let rules = &core.facts.profile.retries;
    if !rules.on.contains(&class) {
        return give_up(held, reason, core, now);
    }
    if held.tries.runs >= rules.max {
        return match power::is_left(&held, class, core) {
            true => power::cycle(held, class, reason, core, now),
            false => give_up(held, reason, core, now),
        };
    }
    announce(&mut held, class, reason.clone(), core);
    match class {
        JobFailure::PortLost | JobFailure::PortUnavailable => await_board(held, reason, core, now),
        _ => pause(held, reason, 0, core, now),
    }
}

/// Chooses the values of the next run, and tells of it.
pub(super) fn announce(held: &mut Held, class: JobFailure, reason: String, core: &mut Core) {
    held.tries.choice = held.tries.next(&core.facts.profile, class);
    let vars = held.tries.vars(&core.facts.profile).cloned().unwrap_or_default();
    let attempt = held.attempt + 1;
    core.event(held.update.id, UpdateEvent::Retrying { attempt, class, reason, vars });
}

/// Goes on after the board's pause, over the link that it has then.
fn pause(held: Held, reason: String, returns: u8, core: &Core, now: Now) -> State {
    let until = now.instant + core.facts.profile.retries.backoff;
    State::Pausing(Box::new(Pausing { held, awaiting: None, until, returns, reason }))
}

/// Goes on when the board is there, and its pause is over.
pub(super) fn await_board(held: Held, reason: String, core: &mut Core, now: Now) -> State {
    await_again(held, reason, 0, core, now)
}

fn await_again(held: Held, reason: String, returns: u8, core: &mut Core, now: Now) -> State {
    let ticket = core.ticket();
    let within = core.facts.profile.expect_return.max(Duration::from_secs(1));
    core.out.push(Output::AwaitReturn { ticket, within });
    let until = now.instant + within;
    State::Pausing(Box::new(Pausing { held, awaiting: Some(ticket), until, returns, reason }))
}

impl Pausing {
    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Returned { ticket, link } if self.awaiting == Some(ticket) => {
                core.facts.link = Some(link);
                pause(self.held, self.reason, self.returns + 1, core, now)
            }
            _ => State::Pausing(self),
        }
    }

    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core, now: Now) -> State {
        if self.awaiting.is_some() {
            let within = humantime::format_duration(core.facts.profile.expect_return);
            let reason = format!("{}; the board did not come back within {within}", self.reason);
            return match power::is_left(&self.held, JobFailure::PortLost, core) {
                true => power::cycle(self.held, JobFailure::PortLost, reason, core, now),
                false => give_up(self.held, reason, core, now),
            };
        }
        // A tool may miss its port sooner than whoever looks after ports: what the board had before the pause counts no more.
        match core.facts.link.clone() {
            Some(link) => again(self.held, link, core, now),
            None if self.returns < MAX_RETURNS => await_again(self.held, self.reason, self.returns, core, now),
            None => give_up(self.held, format!("{}; the board keeps going away", self.reason), core, now),
        }
    }
}

/// The next run, over this link.
fn again(mut held: Held, link: Link, core: &mut Core, now: Now) -> State {
    if core.leased.as_ref() == Some(&link) {
        return flash::prepare(held, link, core, now);
    }
    core.release_lease();
    held.recovering = Some(now.instant + PATIENCE);
    wait::execute(held, Wait::Fresh, core, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{
        Alternative, BoardId, Enter, Exclusive, ImageRules, RebootMethod, RetryRules, RollbackPolicy, WayBack,
    };

    fn alternative(on: &[JobFailure], baud: &str) -> Alternative {
        Alternative { on: on.to_vec(), vars: [("baud".to_owned(), baud.to_owned())].into() }
    }

    fn profile() -> FlashProfile {
        FlashProfile {
            board: BoardId::new("b"),
            image: ImageRules::default(),
            vars: [("baud".to_owned(), "1".to_owned())].into(),
            expect_return: Duration::ZERO,
            soak: Duration::ZERO,
            version: Vec::new(),
            reboot: RebootMethod::None,
            enter: Enter::Tool,
            timeout: Duration::ZERO,
            retries: RetryRules::default(),
            alternatives: vec![alternative(&[JobFailure::Noise], "2"), alternative(&[], "3")],
            rollback: RollbackPolicy::default(),
            way_back: WayBack::default(),
            exclusive: Exclusive::Port,
        }
    }

    fn baud(tries: Tries, profile: &FlashProfile) -> &str {
        tries.vars(profile).map_or("usual", |vars| &vars["baud"])
    }

    #[test]
    fn each_alternative_that_fits_the_failure_is_tried_before_anything_is_repeated() {
        let profile = profile();
        let mut tries = Tries::beginning(&profile, None);
        let mut order = Vec::new();
        for class in [JobFailure::NoSync, JobFailure::NoSync, JobFailure::Noise, JobFailure::Noise] {
            tries.begin();
            order.push(baud(tries, &profile).to_owned());
            tries.choice = tries.next(&profile, class);
        }
        assert_eq!(order, ["usual", "3", "3", "2"]);
    }

    #[test]
    fn what_worked_on_the_port_comes_first_and_the_usual_values_are_tried_after_it() {
        let profile = profile();
        let worked = profile.alternatives[1].vars.clone();
        let mut tries = Tries::beginning(&profile, Some(&worked));
        assert_eq!(baud(tries, &profile), "3");
        tries.begin();
        tries.choice = tries.next(&profile, JobFailure::NoSync);
        assert_eq!(baud(tries, &profile), "usual");
        let gone = [("baud".to_owned(), "9".to_owned())].into();
        assert_eq!(baud(Tries::beginning(&profile, Some(&gone)), &profile), "usual", "the board's file has changed");
    }
}
