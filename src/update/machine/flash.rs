//! The tool: made ready, written down, let loose, and what its end means.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::core::Core;
use super::io::{Input, Now, Output, Ticket};
use super::proof;
use super::restore::give_up;
use super::retry::failed_run;
use super::saving;
use super::state::{Held, State};
use crate::device::{
    BoardState, FlashJob, JobEvent, JobFailure, JobOutcome, JobStart, JobTask, JournalStep, Link, Phase, UpdateEvent,
};
use crate::update::table::{Ending, Standing};

/// So much longer than its own limit a tool may take to be reported as ended.
const GRACE: Duration = Duration::from_secs(30);
/// Failures of these classes leave the board as it was, unless the tool has begun to write.
const BEFORE_WRITING: [JobFailure; 4] =
    [JobFailure::PortUnavailable, JobFailure::NoSync, JobFailure::WrongDevice, JobFailure::NotStarted];

/// One run of the tool.
#[derive(Debug)]
pub(super) struct Run {
    /// For what it says.
    ticket: Ticket,
    link: Link,
    /// It reads the board before the first flash, and writes nothing.
    saving: bool,
    /// The board was sound before.
    sound: bool,
    /// It has begun to write.
    wrote: bool,
}

/// The tool is made ready, and the journal written.
#[derive(Debug)]
pub(super) struct Preparing {
    pub(super) held: Held,
    pub(super) run: Run,
    pub(super) overdue: Instant,
    /// What waits for the journal, and the journal's ticket.
    ready: Option<(JobStart, Ticket)>,
}

/// The tool runs.
#[derive(Debug)]
pub(super) struct Flashing {
    pub(super) held: Held,
    pub(super) run: Run,
    pub(super) overdue: Instant,
}

/// The tool was told to end.
#[derive(Debug)]
pub(super) struct Stopping {
    pub(super) held: Held,
    pub(super) run: Run,
    pub(super) overdue: Instant,
    reason: String,
}

impl Run {
    /// Whether something that a tool says is said by this run.
    pub(super) fn is(&self, ticket: Ticket) -> bool {
        self.ticket == ticket
    }
}

/// The lease is here: has the tool made ready, to read the board first where there is no way back yet.
pub(super) fn prepare(mut held: Held, link: Link, core: &mut Core, now: Now) -> State {
    let saving = saving::is_due(&held, core);
    held.attempt += 1;
    held.tries.begin();
    // What a crash cut off keeps what the board told before it was touched.
    if held.tries.runs == 1 && held.restoring.is_none() && held.recovering.is_none() {
        held.update.before.clone_from(&core.facts.version);
    }
    if saving {
        core.event(held.update.id, UpdateEvent::Saving);
    }
    let ticket = core.ticket();
    let job = Box::new(job(&held, &link, saving, core));
    let overdue = now.instant + job.timeout + GRACE;
    core.out.push(Output::StartTool { ticket, job });
    let run = Run { ticket, link, saving, sound: core.board == BoardState::Sound, wrote: false };
    State::Preparing(Box::new(Preparing { held, run, overdue, ready: None }))
}

/// One run of the tool for what is held.
pub(super) fn job(held: &Held, link: &Link, saving: bool, core: &Core) -> FlashJob {
    let profile = &core.facts.profile;
    let mut vars = profile.vars.clone();
    vars.extend(held.tries.vars(profile).into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
    FlashJob {
        // Where it goes is the manager's business.
        task: if saving { JobTask::Backup { to: PathBuf::new() } } else { JobTask::Flash },
        update: held.update.id,
        device: core.facts.device.clone(),
        board: profile.board.clone(),
        vars,
        link: link.clone(),
        image: held.wanted().clone(),
        attempt: held.attempt,
        board_size: profile.image.max_size.saturating_sub(profile.image.min_address),
        timeout: profile.timeout,
    }
}

impl Preparing {
    pub(super) fn handle(mut self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Job { ticket, event } if self.run.is(ticket) => self.tool_says(event, core, now),
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
                // What is written down before the tool acts says that it may have.
                if !self.run.saving && self.run.sound {
                    core.set_board(BoardState::Touched);
                }
                let ticket = core.ticket();
                let entry = core.entry(&self.held.update, self.step(start.clone()), Standing::Updating, now);
                core.out.push(Output::Journal { ticket: Some(ticket), entry });
                self.ready = Some((start, ticket));
                State::Preparing(self)
            }
            JobEvent::Ended(JobOutcome::Verified { .. } | JobOutcome::Saved { .. }) => {
                let reason = "the tool says that it is done before it was let loose".to_owned();
                give_up(self.held, reason, core, now)
            }
            JobEvent::Ended(outcome) => ended(self.held, self.run, outcome, core, now),
            JobEvent::Ready(_) | JobEvent::Progress { .. } | JobEvent::Line(_) | JobEvent::Output(_) => {
                State::Preparing(self)
            }
        }
    }

    fn step(&self, start: JobStart) -> JournalStep {
        JournalStep::Flashing {
            image: self.held.image.clone(),
            link: self.run.link.clone(),
            start,
            attempt: self.held.attempt,
            restoring: self.held.restoring.clone(),
        }
    }

    /// Only now may the tool touch the board.
    fn journalled(self: Box<Self>, start: JobStart, result: Result<(), String>, core: &mut Core) -> State {
        if let Err(reason) = result {
            // It was never let loose.
            self.run.leaves_as_it_was(core);
            let reason = format!("the journal cannot be written: {reason}");
            return stop(self.held, self.run, reason, core, self.overdue);
        }
        core.out.push(Output::ReleaseTool);
        let event = UpdateEvent::ToolStarted { tool: start.tool, tool_version: start.tool_version, argv: start.argv };
        core.event(self.held.update.id, event);
        State::Flashing(Box::new(Flashing { held: self.held, run: self.run, overdue: self.overdue }))
    }

    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core) -> State {
        self.run.leaves_as_it_was(core);
        stop(self.held, self.run, "the tool did not come about in time".into(), core, self.overdue + GRACE)
    }
}

impl Run {
    /// The tool has not touched the board.
    fn leaves_as_it_was(&self, core: &mut Core) {
        if self.sound {
            core.set_board(BoardState::Sound);
        }
    }
}

impl Flashing {
    pub(super) fn handle(mut self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        let Input::Job { ticket, event } = input else { return State::Flashing(self) };
        let update = self.held.update.id;
        match event {
            _ if !self.run.is(ticket) => {}
            JobEvent::Progress { phase, percent } => {
                self.run.wrote |= phase != Phase::Prepare;
                core.event(update, UpdateEvent::ToolProgressed { phase, percent });
            }
            JobEvent::Line(line) => core.event(update, UpdateEvent::ToolSaid { line }),
            JobEvent::Output(output) => core.event(update, UpdateEvent::ToolPrinted { output }),
            JobEvent::Ready(_) => {}
            JobEvent::Ended(outcome) => return ended(self.held, self.run, outcome, core, now),
        }
        State::Flashing(self)
    }

    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core) -> State {
        stop(self.held, self.run, "the tool outlived its limit".into(), core, self.overdue + GRACE)
    }
}

fn stop(held: Held, run: Run, reason: String, core: &mut Core, overdue: Instant) -> State {
    core.out.push(Output::StopTool);
    State::Stopping(Box::new(Stopping { held, run, overdue, reason }))
}

impl Stopping {
    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Job { ticket, event: JobEvent::Ended(outcome) } if self.run.is(ticket) => {
                core.event(self.held.update.id, UpdateEvent::ToolEnded { outcome });
                give_up(self.held, self.reason, core, now)
            }
            _ => State::Stopping(self),
        }
    }

    /// The supervisor itself hangs: its lease is lost, the servers are told the truth.
    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core, now: Now) -> State {
        core.leased = None;
        give_up(self.held, format!("{}, and could not be ended", self.reason), core, now)
    }
}

/// What the end of a run means.
fn ended(held: Held, run: Run, outcome: JobOutcome, core: &mut Core, now: Now) -> State {
    core.event(held.update.id, UpdateEvent::ToolEnded { outcome: outcome.clone() });
    let wanted = held.wanted().info.flash_bytes;
    match outcome {
        JobOutcome::Saved { .. } if run.saving => saving::keep(held, run.link, core, now),
        JobOutcome::Failed { class: JobFailure::WrongDevice, detail } => wrong_chip(held, &run, &detail, core, now),
        JobOutcome::Failed { class, detail } if run.saving => {
            saving::failed(held, class, explained(class, &detail), run.link, core, now)
        }
        JobOutcome::Failed { class, detail } => {
            if !run.wrote && BEFORE_WRITING.contains(&class) {
                run.leaves_as_it_was(core);
            }
            failed_run(held, class, explained(class, &detail), core, now)
        }
        JobOutcome::Verified { bytes } if bytes == wanted && !run.saving => verified(held, core, now),
        JobOutcome::Verified { bytes } => {
            give_up(held, format!("the tool verified {bytes} bytes, the image has {wanted}"), core, now)
        }
        JobOutcome::Saved { .. } => {
            give_up(held, "the tool read the board instead of writing it".to_owned(), core, now)
        }
    }
}

fn verified(held: Held, core: &mut Core, now: Now) -> State {
    let vars = held.tries.vars(&core.facts.profile).cloned();
    if vars.as_ref() != core.facts.worked.as_deref() {
        core.facts.worked = vars.clone().map(Box::new);
        core.out.push(Output::Worked(vars));
    }
    proof::begin(held, true, core, now)
}

/// It refused to write. While the last good image is put back that is a failure like any other.
fn wrong_chip(held: Held, run: &Run, detail: &str, core: &mut Core, now: Now) -> State {
    let reason = format!("flash: the tool found another chip than the image is for: {detail}; check the board's type");
    if !run.wrote {
        run.leaves_as_it_was(core);
    }
    if held.restoring.is_some() {
        return give_up(held, reason, core, now);
    }
    core.close(&held.update, Some(&held), Ending::WrongChip, &reason, now);
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
        JobFailure::LimitExceeded => ("the tool took more than it may", "see `sandbox` in its file"),
        JobFailure::Interrupted => ("the tool was interrupted", "try again"),
        JobFailure::NotStarted => ("the tool could not be started", "run `nuncio check`"),
        JobFailure::ToolFailed => ("the tool failed", "see its output"),
    };
    format!("flash: {what}: {detail}; {remedy}")
}
