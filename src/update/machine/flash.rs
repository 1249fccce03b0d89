//! The tool: made ready, written down, let loose, and what its end means.

use std::time::{Duration, Instant};

use super::core::Core;
use super::io::{Input, Now, Output, Ticket};
use super::proof;
use super::state::{Held, State};
use crate::device::{FlashJob, JobEvent, JobFailure, JobOutcome, JobStart, JobTask, JournalStep, Link, UpdateEvent};
use crate::update::table::{Ending, Standing};

/// So much longer than its own limit a tool may take to be reported as ended.
const GRACE: Duration = Duration::from_secs(30);

/// The tool is made ready, and the journal written.
#[derive(Debug)]
pub(super) struct Preparing {
    pub(super) held: Held,
    pub(super) job: Ticket,
    pub(super) overdue: Instant,
    link: Link,
    /// What waits for the journal, and the journal's ticket.
    ready: Option<(JobStart, Ticket)>,
}

/// The tool runs.
#[derive(Debug)]
pub(super) struct Flashing {
    pub(super) held: Held,
    pub(super) job: Ticket,
    pub(super) overdue: Instant,
}

/// The tool was told to end.
#[derive(Debug)]
pub(super) struct Stopping {
    pub(super) held: Held,
    pub(super) job: Ticket,
    pub(super) overdue: Instant,
    reason: String,
}

/// The lease is here: has the tool made ready.
pub(super) fn prepare(mut held: Held, link: Link, core: &mut Core, now: Now) -> State {
    held.attempt += 1;
    held.update.before.clone_from(&core.facts.version);
    let ticket = core.ticket();
    let profile = &core.facts.profile;
    let job = FlashJob {
        task: JobTask::Flash,
        update: held.update.id,
        device: core.facts.device.clone(),
        board: profile.board.clone(),
        vars: profile.vars.clone(),
        link: link.clone(),
        image: held.image.clone(),
        attempt: held.attempt,
        timeout: profile.timeout,
    };
    let overdue = now.instant + profile.timeout + GRACE;
    core.out.push(Output::StartTool { ticket, job: Box::new(job) });
    State::Preparing(Box::new(Preparing { held, job: ticket, overdue, link, ready: None }))
}

/// Flash or proof failed: the image stays, Execute may be tried again.
pub(super) fn failed(mut held: Held, reason: String, core: &mut Core, now: Now) -> State {
    (held.failed, held.recovering, held.since) = (true, None, now.instant);
    core.journal_staged(&held, Standing::Staged { failed: true }, now);
    core.event(held.update.id, UpdateEvent::UpdateFailed { reason });
    State::Staged(Box::new(held))
}

impl Preparing {
    pub(super) fn handle(mut self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Job { ticket, event } if ticket == self.job => self.tool_says(event, core, now),
            Input::Journalled { ticket, result } => match self.ready.take() {
                Some((start, awaited)) if awaited == ticket => self.journalled(start, result, core),
                other => {
                    self.ready = other;
                    State::Preparing(self)
                }
            },
            _ => State::Preparing(self),
        }
    }

    fn tool_says(mut self: Box<Self>, event: JobEvent, core: &mut Core, now: Now) -> State {
        match event {
            JobEvent::Ready(start) if self.ready.is_none() => {
                let ticket = core.ticket();
                let (image, link) = (self.held.image.clone(), self.link.clone());
                let step = JournalStep::Flashing { image, link, start: start.clone(), attempt: self.held.attempt };
                let entry = core.entry(&self.held.update, step, Standing::Updating, now);
                core.out.push(Output::Journal { ticket: Some(ticket), entry });
                self.ready = Some((start, ticket));
                State::Preparing(self)
            }
            JobEvent::Ended(JobOutcome::Verified { .. }) => {
                let reason = "the tool says that it is done before it was let loose".to_owned();
                failed(self.held, reason, core, now)
            }
            JobEvent::Ended(outcome) => ended(self.held, outcome, core, now),
            JobEvent::Ready(_) | JobEvent::Progress { .. } | JobEvent::Line(_) | JobEvent::Output(_) => {
                State::Preparing(self)
            }
        }
    }

    /// Only now may the tool touch the board.
    fn journalled(self: Box<Self>, start: JobStart, result: Result<(), String>, core: &mut Core) -> State {
        if let Err(reason) = result {
            return stop(self.held, self.job, format!("the journal cannot be written: {reason}"), core, self.overdue);
        }
        core.out.push(Output::ReleaseTool);
        let event = UpdateEvent::ToolStarted { tool: start.tool, tool_version: start.tool_version, argv: start.argv };
        core.event(self.held.update.id, event);
        State::Flashing(Box::new(Flashing { held: self.held, job: self.job, overdue: self.overdue }))
    }

    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core) -> State {
        stop(self.held, self.job, "the tool did not come about in time".into(), core, self.overdue + GRACE)
    }
}

impl Flashing {
    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        let Input::Job { ticket, event } = input else { return State::Flashing(self) };
        let update = self.held.update.id;
        match event {
            _ if ticket != self.job => {}
            JobEvent::Progress { phase, percent } => {
                core.event(update, UpdateEvent::ToolProgressed { phase, percent });
            }
            JobEvent::Line(line) => core.event(update, UpdateEvent::ToolSaid { line }),
            JobEvent::Output(output) => core.event(update, UpdateEvent::ToolPrinted { output }),
            JobEvent::Ready(_) => {}
            JobEvent::Ended(outcome) => return ended(self.held, outcome, core, now),
        }
        State::Flashing(self)
    }

    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core) -> State {
        stop(self.held, self.job, "the tool outlived its limit".into(), core, self.overdue + GRACE)
    }
}

fn stop(held: Held, job: Ticket, reason: String, core: &mut Core, overdue: Instant) -> State {
    core.out.push(Output::StopTool);
    State::Stopping(Box::new(Stopping { held, job, overdue, reason }))
}

impl Stopping {
    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Job { ticket, event: JobEvent::Ended(outcome) } if ticket == self.job => {
                core.event(self.held.update.id, UpdateEvent::ToolEnded { outcome });
                failed(self.held, self.reason, core, now)
            }
            _ => State::Stopping(self),
        }
    }

    /// The supervisor itself hangs: its lease is lost, the servers are told the truth.
    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core, now: Now) -> State {
        core.leased = None;
        failed(self.held, format!("{}, and could not be ended", self.reason), core, now)
    }
}

/// What the end of a run means.
fn ended(held: Held, outcome: JobOutcome, core: &mut Core, now: Now) -> State {
    core.event(held.update.id, UpdateEvent::ToolEnded { outcome: outcome.clone() });
    let wanted = held.image.info.flash_bytes;
    match outcome {
        JobOutcome::Verified { bytes } if bytes == wanted => proof::begin(held, true, core, now),
        JobOutcome::Verified { bytes } => {
            failed(held, format!("the tool verified {bytes} bytes, the image has {wanted}"), core, now)
        }
        JobOutcome::Saved { .. } => failed(held, "the tool read the board instead of writing it".into(), core, now),
        JobOutcome::Failed { class: JobFailure::WrongDevice, detail } => wrong_chip(&held, &detail, core, now),
        JobOutcome::Failed { class, detail } => failed(held, explained(class, &detail), core, now),
    }
}

fn wrong_chip(held: &Held, detail: &str, core: &mut Core, now: Now) -> State {
    let reason = format!("flash: the tool found another chip than the image is for: {detail}; check the board's type");
    core.close(&held.update, Some(held), Ending::WrongChip, &reason, now);
    core.event(held.update.id, UpdateEvent::UpdateFailed { reason });
    State::Idle(Ending::WrongChip)
}

/// Step, why, what to do.
fn explained(class: JobFailure, detail: &str) -> String {
    let (what, remedy) = match class {
        JobFailure::PortUnavailable => ("the port could not be used", "see who holds it"),
        JobFailure::PortLost => ("the port went away", "check cable and supply"),
        JobFailure::NoSync => {
            ("the boot loader did not answer", "check the board's type, its reset line and its speed")
        }
        JobFailure::Noise => ("bytes were garbled", "check cable and speed"),
        JobFailure::WrongDevice => ("another chip was found", "check the board's type"),
        JobFailure::VerifyFailed => ("the flash differs from the image", "try again; if it stays so, the chip is worn"),
        JobFailure::Unverified => ("the tool did not verify the image", "check the tool's file"),
        JobFailure::Stalled => ("the tool made no progress", "reset the board and try again"),
        JobFailure::TimedOut => ("the tool took too long", "try again, or raise its limit"),
        JobFailure::Interrupted => ("the tool was interrupted", "try again"),
        JobFailure::NotStarted => ("the tool could not be started", "run `nuncio check`"),
        JobFailure::ToolFailed => ("the tool failed", "see its output"),
    };
    format!("flash: {what}: {detail}; {remedy}")
}
