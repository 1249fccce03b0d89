//! Proof: the board is back, has run for a while, and tells the version that was expected.
//!
//! [`conclude`] is the only place that says success, and it wants both: the tool's own verify over exactly the image in
//! this job, and, from a board that can tell a version, the version.

use std::time::{Duration, Instant};

use super::core::Core;
use super::io::{Input, Now, Output, Ticket};
use super::restore::{self, give_up};
use super::state::{Held, State};
use crate::device::{
    Answer, BoardState, Evidence, GoodImage, GoodOrigin, JournalStep, Link, Question, QuestionFailed, ReportedVersion,
    UpdateEvent, VersionQuestion,
};
use crate::update::table::{Ending, Standing};

/// Shortest time that a board gets to come back.
const MIN_RETURN: Duration = Duration::from_secs(1);
/// Pause before a question that could not be asked is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// So much longer than its own limit a question may take to be answered.
const GRACE: Duration = Duration::from_secs(30);
/// How long a boot loader may take to be asked.
const PROGRAM_QUESTION: Duration = Duration::from_secs(30);
const LOADER_QUESTION: Duration = Duration::from_secs(60);
/// A board that vanishes so often while it is watched does not run.
const MAX_RETURNS: u8 = 4;

/// What is being proven.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) held: Held,
    /// The tool's own verify, in this job.
    verified: bool,
    returns: u8,
    /// Which question of the ladder is next.
    question: usize,
    /// Questions that cannot be asked are repeated until then; set when the board is back.
    deadline: Option<Instant>,
}

/// The board is awaited.
#[derive(Debug)]
pub(super) struct Returning {
    pub(super) proof: Proof,
    pub(super) ticket: Ticket,
    pub(super) until: Instant,
}

/// The new program runs for a while before it is asked.
#[derive(Debug)]
pub(super) struct Settling {
    pub(super) proof: Proof,
    pub(super) until: Instant,
    link: Link,
}

/// The lease of the name under which the board came back is asked for.
#[derive(Debug)]
pub(super) struct Reclaiming {
    pub(super) proof: Proof,
    pub(super) ticket: Ticket,
    pub(super) overdue: Instant,
    link: Link,
}

/// The board is asked for its version.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) proof: Proof,
    pub(super) ticket: Ticket,
    pub(super) overdue: Instant,
    link: Link,
}

/// The tool is done, or was cut off by a crash that is only to be reported (`verified` false).
pub(super) fn begin(held: Held, verified: bool, core: &mut Core, now: Now) -> State {
    if verified {
        let entry = core.entry(&held.update, restore::proving(&held), Standing::Updating, now);
        core.out.push(Output::Journal { ticket: None, entry });
    }
    core.event(held.update.id, UpdateEvent::Proving);
    await_return(Proof { held, verified, returns: 0, question: 0, deadline: None }, core, now)
}

fn await_return(proof: Proof, core: &mut Core, now: Now) -> State {
    let within = core.facts.profile.expect_return.max(MIN_RETURN);
    let ticket = core.ticket();
    core.out.push(Output::AwaitReturn { ticket, within });
    State::Returning(Box::new(Returning { proof, ticket, until: now.instant + within }))
}

/// The board went away again while it was watched.
fn gone_again(mut proof: Proof, core: &mut Core, now: Now) -> State {
    proof.returns += 1;
    if proof.returns < MAX_RETURNS {
        return await_return(proof, core, now);
    }
    give_up(proof.held, "proof: the board keeps going away: the new program does not run".into(), core, now)
}

impl Returning {
    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Returned { ticket, link } if ticket == self.ticket => self.returned(link, core, now),
            _ => State::Returning(self),
        }
    }

    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core, now: Now) -> State {
        let within = humantime::format_duration(core.facts.profile.expect_return);
        let reason = format!("proof: the board did not come back within {within}; check it, then execute again");
        give_up(self.proof.held, reason, core, now)
    }

    fn returned(mut self: Box<Self>, link: Link, core: &mut Core, now: Now) -> State {
        core.facts.link = Some(link.clone());
        let profile = &core.facts.profile;
        let until = now.instant + profile.soak;
        self.proof.deadline.get_or_insert(until + profile.expect_return.max(MIN_RETURN));
        match profile.soak.is_zero() {
            true => ask(self.proof, link, core, now),
            false => State::Settling(Box::new(Settling { proof: self.proof, until, link })),
        }
    }
}

impl Settling {
    pub(super) fn handle(self: Box<Self>, input: &Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::LinkIs(link) if link.as_ref() != Some(&self.link) => gone_again(self.proof, core, now),
            _ => State::Settling(self),
        }
    }

    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core, now: Now) -> State {
        ask(self.proof, self.link, core, now)
    }
}

/// The next question of the ladder, once the lease for it is there.
fn ask(proof: Proof, link: Link, core: &mut Core, now: Now) -> State {
    let Some(question) = core.facts.profile.version.get(proof.question).cloned() else {
        return no_more_questions(proof, core, now);
    };
    let ticket = core.ticket();
    if core.leased.as_ref() != Some(&link) {
        core.release_lease();
        core.out.push(Output::TakeLease { ticket, link: link.clone() });
        let overdue = now.instant + GRACE;
        return State::Reclaiming(Box::new(Reclaiming { proof, ticket, overdue, link }));
    }
    let (question, limit) = asked(question);
    core.out.push(Output::Ask { ticket, link: link.clone(), question: Box::new(question) });
    State::Asking(Box::new(Asking { proof, ticket, overdue: now.instant + limit + GRACE, link }))
}

fn asked(question: VersionQuestion) -> (Question, Duration) {
    match question {
        VersionQuestion::Listen(listen) => {
            let within = listen.within;
            (Question::Listen(listen), within)
        }
        VersionQuestion::Program(question) => (Question::Program(question), PROGRAM_QUESTION),
        VersionQuestion::EspAppDesc { baud, offset } => {
            (Question::EspRom { baud, app_offset: Some(offset) }, LOADER_QUESTION)
        }
    }
}

fn no_more_questions(proof: Proof, core: &mut Core, now: Now) -> State {
    match proof.question {
        0 => conclude(proof, None, core, now),
        _ => {
            let reason = "proof: the board tells no version after the flash, though its file says how to read one; \
                          check that the program prints it, then execute again";
            give_up(proof.held, reason.into(), core, now)
        }
    }
}

impl Reclaiming {
    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Leased { ticket } if ticket == self.ticket => {
                core.leased = Some(self.link.clone());
                ask(self.proof, self.link, core, now)
            }
            Input::LeaseRefused { ticket, holder } if ticket == self.ticket => {
                ask_again(self.proof, self.link, &format!("its port is held by {holder}"), core, now)
            }
            _ => State::Reclaiming(self),
        }
    }

    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core, now: Now) -> State {
        ask_again(self.proof, self.link, "nobody gives its lease", core, now)
    }
}

/// The question could not be asked: once more in a moment, until the board's time is up.
fn ask_again(proof: Proof, link: Link, why: &str, core: &mut Core, now: Now) -> State {
    let until = now.instant + ASK_AGAIN;
    if proof.deadline.is_none_or(|deadline| until <= deadline) {
        return State::Settling(Box::new(Settling { proof, until, link }));
    }
    give_up(proof.held, format!("proof: the board cannot be asked for its version: {why}; execute again"), core, now)
}

impl Asking {
    pub(super) fn handle(self: Box<Self>, input: Input, core: &mut Core, now: Now) -> State {
        match input {
            Input::Told { ticket, result } if ticket == self.ticket => self.told(result, core, now),
            _ => State::Asking(self),
        }
    }

    fn told(mut self: Box<Self>, result: Result<Answer, QuestionFailed>, core: &mut Core, now: Now) -> State {
        match result {
            Ok(answer) => match version_of(answer) {
                Some(version) => conclude(self.proof, Some(version), core, now),
                None => self.next_question(core, now),
            },
            Err(QuestionFailed::Unsupported) => self.next_question(core, now),
            Err(QuestionFailed::Gone) => {
                self.proof.deadline = None;
                gone_again(self.proof, core, now)
            }
            Err(failure) => ask_again(self.proof, self.link, &failure.to_string(), core, now),
        }
    }

    fn next_question(mut self: Box<Self>, core: &mut Core, now: Now) -> State {
        self.proof.question += 1;
        ask(self.proof, self.link, core, now)
    }

    /// Whoever has the lease keeps it; it will not come back to this question.
    pub(super) fn handle_timeout(self: Box<Self>, core: &mut Core, now: Now) -> State {
        core.leased = None;
        give_up(self.proof.held, "proof: the question for the version was never answered".into(), core, now)
    }
}

fn version_of(answer: Answer) -> Option<ReportedVersion> {
    let described = |evidence: Evidence| match evidence {
        Evidence::EspChip { app_version, .. } => app_version,
        _ => None,
    };
    let source = || "esp-app-desc".to_owned();
    answer.version.or_else(|| {
        let text = answer.evidence.into_iter().find_map(described)?;
        Some(ReportedVersion { text, source: source() })
    })
}

/// The one place that says success.
fn conclude(proof: Proof, told: Option<ReportedVersion>, core: &mut Core, now: Now) -> State {
    let Proof { held, verified, .. } = proof;
    if !verified {
        let tells = told.as_ref().map_or_else(String::new, |version| format!(" (the board tells {})", version.text));
        let reason = format!("the flash was interrupted and nothing verified it{tells}; execute again");
        return give_up(held, reason, core, now);
    }
    match (held.wanted().version.clone(), told) {
        (Some(expected), Some(told)) if expected != told.text => mismatch(held, &expected, told, core, now),
        (_, told) => proven(held, told, core, now),
    }
}

fn mismatch(held: Held, expected: &str, told: ReportedVersion, core: &mut Core, now: Now) -> State {
    let reason = match restore::is_before(&held, &told) {
        true => {
            format!("proof: the board rolled itself back: it tells version {} as before, not {expected}", told.text)
        }
        false => format!("proof: the board tells version {}, expected is {expected}", told.text),
    };
    restore::runs_otherwise(held, told, format!("{reason}; execute again"), core, now)
}

fn proven(mut held: Held, told: Option<ReportedVersion>, core: &mut Core, now: Now) -> State {
    if let Some(restoring) = held.restoring.take() {
        return restore::restored(held, *restoring, told, core, now);
    }
    core.set_board(BoardState::Sound);
    core.set_version(told.clone());
    let step = JournalStep::Closed { outcome: Ok(told.clone()), image_sha256: Some(held.image.sha256) };
    let entry = core.entry(&held.update, step, Standing::Idle(Ending::Proven), now);
    core.out.push(Output::Judged { image: held.image.sha256, failure: None });
    let good = GoodImage { image: held.image, origin: GoodOrigin::Proven, at: now.unix };
    core.out.push(Output::Close { entry, good: Some(Box::new(good)) });
    core.event(held.update.id, UpdateEvent::Proven { version: told });
    State::Idle(Ending::Proven)
}
