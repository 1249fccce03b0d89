//! Random walks through the update's state machine: whatever comes in, nothing is said or done without its reason.

use std::time::Duration;

use crate::bench::{Bench, URI, ask, failed, link, other_link, start};
use crate::support::{image, profile, server, version};
use crate::wayback;
use nuncio::device::{
    Answer, FirmwareOrder, FirmwareRight, FirmwareState, JobEvent, JobFailure, JobOutcome, JournalStep, Phase,
    QuestionFailed, Requester, UpdateResult,
};
use nuncio::update::machine::{Input, Machine, Output, Ticket};
use nuncio::update::table::{Refusal, Refused};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

/// Keeps book of what may be said and done, whatever comes in.
#[derive(Default)]
struct Book {
    leased: bool,
    ready: bool,
    on_disk: bool,
    verified: bool,
    version: Option<String>,
    flash_journal: Option<Ticket>,
    seen: usize,
}

impl Book {
    fn read_all(&mut self, bench: &Bench) {
        for output in &bench.all[self.seen..] {
            self.read(output);
        }
        self.seen = bench.all.len();
    }

    fn read(&mut self, output: &Output) {
        match output {
            Output::StartTool { .. } => {
                assert!(self.leased, "a tool without a lease");
                *self = Self { leased: true, seen: self.seen, ..Self::default() };
            }
            Output::Journal { ticket, entry } if matches!(entry.step, JournalStep::Flashing { .. }) => {
                assert!(self.ready, "a journal of a tool that does not exist");
                self.flash_journal = *ticket;
            }
            Output::ReleaseTool => assert!(self.on_disk, "the tool was let loose without a journal"),
            Output::ReleaseLease => {
                assert!(self.leased, "a lease given back that was not held");
                self.leased = false;
            }
            Output::Ask { .. } => assert!(self.leased, "a question without a lease"),
            Output::PowerCycle { .. } => assert!(self.leased, "a port switched without a lease"),
            Output::VersionRead(Some(told)) => assert_eq!(self.version.as_ref(), Some(&told.text)),
            Output::View(view) if view.result == UpdateResult::Success => {
                assert!(self.verified && self.version.as_deref() == Some("2.0"), "success without proof");
            }
            _ => {}
        }
    }
}

/// One random step: `kind` chooses what, `good` whether it goes well, `stale` answers something older.
#[derive(Debug, Clone)]
struct Step {
    kind: u8,
    good: bool,
    stale: u8,
}

fn random_order(step: &Step) -> (Requester, FirmwareRight, FirmwareOrder) {
    let requester = if step.stale.is_multiple_of(2) { server(1) } else { server(2) };
    let right = if step.good { FirmwareRight::Own } else { FirmwareRight::Any };
    let order = match step.kind % 8 {
        0 | 1 => FirmwareOrder::Fetch(URI.into()),
        2 => FirmwareOrder::Push,
        3 => FirmwareOrder::Reset,
        4 => FirmwareOrder::Cancel,
        5 => FirmwareOrder::Fetch("nonsense".into()),
        _ => FirmwareOrder::Execute,
    };
    (requester, right, order)
}

fn random_answer(name: &str, ticket: Ticket, step: &Step, book: &mut Book) -> Input {
    let refused = Refused::new(Refusal::Damaged, "no");
    match name {
        "download" | "copy" | "check" => {
            let result = if step.good { Ok(image(Some("2.0"))) } else { Err(refused) };
            Input::Received { ticket, result }
        }
        "recheck" => Input::Rechecked { ticket, result: if step.good { Ok(()) } else { Err("no".into()) } },
        "journal" => {
            let result = if step.good { Ok(()) } else { Err("full".into()) };
            book.on_disk |= step.good && book.flash_journal == Some(ticket);
            Input::Journalled { ticket, result }
        }
        "lease" if step.good => Input::Leased { ticket },
        "lease" => Input::LeaseRefused { ticket, holder: "x".into() },
        "tool" => Input::Job { ticket, event: random_event(step) },
        "kept" => Input::Kept { ticket, result: if step.good { Ok(image(None).sha256) } else { Err("blank".into()) } },
        "power" => Input::PowerCycled { ticket, result: if step.good { Ok(()) } else { Err("no switch".into()) } },
        "return" => Input::Returned { ticket, link: if step.good { link() } else { other_link() } },
        _ => {
            let told = if step.good { "2.0" } else { "1.0" };
            let answer = Answer { evidence: Vec::new(), version: Some(version(told)) };
            let failure = Err(QuestionFailed::Gone);
            Input::Told { ticket, result: if step.stale.is_multiple_of(7) { failure } else { Ok(answer) } }
        }
    }
}

fn random_event(step: &Step) -> JobEvent {
    match step.kind % 7 {
        0 | 1 => JobEvent::Ready(start()),
        6 => match step.good {
            true => JobEvent::Ended(JobOutcome::Saved { size: 1, sha256: image(None).sha256 }),
            false => JobEvent::Progress { phase: Phase::Write, percent: 1 },
        },
        2 | 3 => JobEvent::Ended(JobOutcome::Verified { bytes: if step.good { 400 } else { 4 } }),
        4 => failed(if step.good { JobFailure::NoSync } else { JobFailure::WrongDevice }),
        _ => JobEvent::Line("x".into()),
    }
}

/// What the machine is told is noted, if the machine still listens to it.
fn note(book: &mut Book, machine: &Machine, input: &Input) {
    match input {
        Input::Leased { ticket } => book.leased |= machine.expects(*ticket),
        Input::Job { ticket, event } if machine.expects(*ticket) => match event {
            JobEvent::Ready(_) => book.ready = true,
            JobEvent::Ended(JobOutcome::Verified { bytes: 400 }) => book.verified = book.on_disk,
            _ => {}
        },
        Input::Told { ticket, result: Ok(answer) } if machine.expects(*ticket) => {
            book.version = answer.version.as_ref().map(|told| told.text.clone());
        }
        _ => {}
    }
}

fn feed(bench: &mut Bench, book: &mut Book, input: Input) {
    note(book, &bench.machine, &input);
    bench.input(input);
    book.read_all(bench);
}

fn run(bench: &mut Bench, book: &mut Book, step: &Step) {
    match step.kind {
        0..60 => {
            let (requester, right, order) = random_order(step);
            bench.order(requester, right, order);
        }
        60..70 => bench.pass(Duration::from_secs(u64::from(step.stale))),
        70..75 => return feed(bench, book, Input::LinkIs(step.good.then(link))),
        75..80 => return feed(bench, book, Input::LeaseReleased),
        80..85 if step.good => return feed(bench, book, Input::Reachable { requester: server(1), reachable: false }),
        _ => {
            let asked: Vec<(&str, Ticket)> = bench.all.iter().filter_map(ask).collect();
            let back = if step.stale < 200 { 0 } else { usize::from(step.stale - 199) };
            let Some((name, ticket)) = asked.len().checked_sub(1 + back).map(|at| asked[at]) else { return };
            let name =
                if bench.all.iter().any(|output| matches!(output, Output::StartTool { ticket: t, .. } if *t == ticket))
                {
                    "tool"
                } else {
                    name
                };
            // While the journal of a flash is awaited the tool may speak as well.
            let tool = asked.iter().rev().find(|(name, _)| *name == "tool");
            let (name, ticket) = match (name, tool) {
                ("journal", Some((_, tool))) if step.stale % 3 == 1 => ("tool", *tool),
                ("journal", _) if book.on_disk => tool.copied().unwrap_or((name, ticket)),
                _ => (name, ticket),
            };
            let input = random_answer(name, ticket, step, book);
            return feed(bench, book, input);
        }
    }
    book.read_all(bench);
}

fn step() -> impl Strategy<Value = Step> {
    (any::<u8>(), prop::bool::weighted(0.8), any::<u8>()).prop_map(|(kind, good, stale)| Step { kind, good, stale })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_and_nothing_is_said_or_done_without_its_reason(steps in prop::collection::vec(step(), 0..120)) {
        let mut bench = Bench::new(profile(1, Duration::ZERO));
        let mut book = Book::default();
        for step in &steps {
            run(&mut bench, &mut book, step);
        }
        bench.pass(Duration::from_secs(24 * 3600));
        prop_assert_ne!(bench.machine.view().state, FirmwareState::Updating, "it hangs in state 3");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nor_where_a_board_is_read_first_tried_again_and_rolled_back(steps in prop::collection::vec(step(), 0..120)) {
        let mut bench = wayback::walked();
        let mut book = Book::default();
        for step in &steps {
            run(&mut bench, &mut book, step);
        }
        bench.pass(Duration::from_secs(24 * 3600));
        prop_assert_ne!(bench.machine.view().state, FirmwareState::Updating, "it hangs in state 3");
    }
}

#[test]
fn the_random_walk_does_reach_success() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = prop::collection::vec(step(), 120);
    let mut successes = 0;
    for _ in 0..300 {
        let steps = steps.new_tree(&mut runner).expect("steps").current();
        let mut bench = Bench::new(profile(1, Duration::ZERO));
        let mut book = Book::default();
        for step in &steps {
            run(&mut bench, &mut book, step);
            successes += usize::from(bench.told() == (0, 1));
        }
    }
    assert!(successes > 0, "the walk proves nothing if it never arrives");
}
