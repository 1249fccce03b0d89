//! The update's state machine: every order in every state, every step failed in turn, every crash.

use std::path::PathBuf;
use std::time::Duration;

use crate::bench::{Bench, URI, board, failed, link, other_link, start};
use crate::support::{PUSH_TIMEOUT, RETURN, SOAK, image, profile, server, settings};
use nuncio::device::{
    FirmwareOrder, FirmwareRight, FirmwareState, FirmwareView, JobEvent, JobFailure, JobOutcome, JournalStep,
    QuestionFailed, Requester, UpdateResult,
};
use nuncio::update::download::Progress;
use nuncio::update::machine::{Input, Output, Reply};
use nuncio::update::table::{Refusal, Refused};
use nuncio::update::{AfterCrash, UpdateSettings};

/// A name, and how to get there.
type Reach = (&'static str, fn(&mut Bench));

#[test]
fn a_pull_is_staged_flashed_proven_and_only_then_told_as_success() {
    let mut bench = Bench::new(board());
    bench.fetched();
    assert_eq!(bench.told(), (1, 0));
    assert_eq!(bench.machine.view().uri, URI);
    bench.received(image(Some("2.0")));
    assert_eq!(bench.told(), (1, 0), "not staged before the journal has it");
    bench.journalled();
    assert_eq!(bench.told(), (2, 0));
    assert_eq!(bench.machine.view().package_version, "2.0");
    assert_eq!(bench.own(FirmwareOrder::Execute), Reply::Done);
    assert_eq!(bench.told(), (2, 0));
    bench.leased();
    assert_eq!(bench.told(), (3, 0));
    bench.job(JobEvent::Ready(start()));
    assert!(matches!(bench.journal(), JournalStep::Flashing { attempt: 1, .. }));
    assert!(!bench.has(|output| matches!(output, Output::ReleaseTool)), "the tool waits for the journal");
    bench.journalled();
    assert!(bench.has(|output| matches!(output, Output::ReleaseTool)));
    bench.job(JobEvent::Ended(JobOutcome::Verified { bytes: 400 }));
    assert!(matches!(bench.journal(), JournalStep::Proving { .. }));
    bench.returned(link());
    assert_eq!(bench.told(), (3, 0));
    bench.pass(SOAK);
    bench.tells(Some("2.0"));
    assert_eq!(bench.told(), (0, 1));
    assert!(bench.has(|output| matches!(output, Output::VersionRead(Some(told)) if told.text == "2.0")));
    assert!(bench.has(|output| matches!(output, Output::Close { good: Some(_), .. })));
    assert!(bench.has(|output| matches!(output, Output::ReleaseLease)));
    assert!(matches!(bench.journal(), JournalStep::Closed { outcome: Ok(Some(_)), .. }));
}

#[test]
fn every_change_is_shown_once_and_in_order() {
    let mut bench = Bench::new(board());
    bench.asked(None);
    bench.tells(Some("9"));
    let shown: Vec<(u8, u8)> = bench
        .all
        .iter()
        .filter_map(|output| match output {
            Output::View(view) => Some((view.state as u8, view.result as u8)),
            _ => None,
        })
        .collect();
    let mut changes = shown.clone();
    changes.dedup();
    assert_eq!(changes, [(1, 0), (2, 0), (3, 0), (0, 1)]);
}

#[test]
fn a_board_that_can_tell_no_version_is_proven_by_the_tools_verify() {
    let mut bench = Bench::new(profile(0, Duration::ZERO));
    bench.verified(Some("2.0"));
    bench.returned(link());
    assert_eq!(bench.told(), (0, 1));
    assert!(!bench.has(|output| matches!(output, Output::VersionRead(Some(_)))));
}

#[test]
fn without_an_expected_version_any_told_one_proves_but_one_must_be_told() {
    let mut told = Bench::new(board());
    told.asked(None);
    told.tells(Some("whatever"));
    assert_eq!(told.told(), (0, 1));

    let mut silent = Bench::new(board());
    silent.asked(None);
    silent.tells(None);
    assert_eq!(silent.told(), (2, 8));
    assert!(silent.reason().contains("tells no version"), "{}", silent.reason());
}

#[test]
fn the_wrong_version_and_a_partial_verify_are_failures_that_can_be_tried_again() {
    let mut bench = Bench::new(board());
    bench.asked(Some("2.0"));
    bench.tells(Some("1.0"));
    assert_eq!(bench.told(), (2, 8));
    assert!(!bench.has(|output| matches!(output, Output::VersionRead(Some(_)))));
    assert_eq!(bench.own(FirmwareOrder::Execute), Reply::Done);
    bench.leased();
    assert_eq!(bench.told(), (3, 0));
    bench.job(JobEvent::Ready(start()));
    assert!(matches!(bench.journal(), JournalStep::Flashing { attempt: 2, .. }));
    bench.journalled();
    bench.job(JobEvent::Ended(JobOutcome::Verified { bytes: 399 }));
    assert_eq!(bench.told(), (2, 8));
    assert!(bench.reason().contains("399"), "{}", bench.reason());
}

#[test]
fn the_ladder_is_climbed_until_a_question_is_answered() {
    let mut bench = Bench::new(profile(3, Duration::ZERO));
    bench.verified(Some("2.0"));
    bench.returned(link());
    bench.tells(None);
    bench.answers(Err(QuestionFailed::Unsupported));
    bench.tells(Some("2.0"));
    assert_eq!(bench.told(), (0, 1));
}

#[test]
fn a_board_that_comes_back_under_another_name_is_asked_there() {
    let mut bench = Bench::new(profile(1, Duration::ZERO));
    bench.verified(Some("2.0"));
    bench.returned(other_link());
    assert!(bench.has(|output| matches!(output, Output::ReleaseLease)));
    assert!(bench.has(|output| matches!(output, Output::TakeLease { link, .. } if *link == other_link())));
    let ticket = bench.ticket("lease");
    bench.input(Input::LeaseRefused { ticket, holder: "a poller".into() });
    assert_eq!(bench.told(), (3, 0));
    bench.pass(Duration::from_secs(1));
    bench.leased();
    assert!(bench.has(|output| matches!(output, Output::Ask { link, .. } if *link == other_link())));
    bench.tells(Some("2.0"));
    assert_eq!(bench.told(), (0, 1));
}

#[test]
fn a_port_that_cannot_be_asked_at_once_is_asked_again_until_time_is_up() {
    let mut bench = Bench::new(profile(1, Duration::ZERO));
    bench.verified(None);
    bench.returned(link());
    bench.answers(Err(QuestionFailed::NotPermitted));
    assert_eq!(bench.told(), (3, 0));
    bench.pass(Duration::from_secs(1));
    bench.tells(Some("2"));
    assert_eq!(bench.told(), (0, 1));

    let mut never = Bench::new(profile(1, Duration::ZERO));
    never.verified(None);
    never.returned(link());
    for _ in 0..100 {
        if never.told() == (3, 0) {
            never.answers(Err(QuestionFailed::Busy("picocom".into())));
            never.pass(Duration::from_secs(1));
        }
    }
    assert_eq!(never.told(), (2, 8));
    assert!(never.reason().contains("picocom"), "{}", never.reason());
}

#[test]
fn a_board_that_goes_away_while_it_is_watched_must_come_back_and_may_not_do_so_for_ever() {
    let mut bench = Bench::new(board());
    bench.verified(None);
    for _ in 0..4 {
        bench.returned(link());
        bench.pass(SOAK / 2);
        bench.input(Input::LinkIs(None));
    }
    assert_eq!(bench.told(), (2, 8));
    assert!(bench.reason().contains("keeps going away"), "{}", bench.reason());
}

#[test]
fn what_goes_wrong_while_an_image_comes_in_is_its_result_and_drops_it() {
    let cases = [
        (Refusal::ConnectionLost, 4),
        (Refusal::NoRoom, 2),
        (Refusal::Damaged, 5),
        (Refusal::WrongBoard, 6),
        (Refusal::BadUri, 7),
        (Refusal::UnknownScheme, 9),
    ];
    for (why, result) in cases {
        let mut bench = Bench::new(board());
        bench.fetched();
        let ticket = bench.ticket("download");
        bench.input(Input::Received { ticket, result: Err(Refused::new(why, "no")) });
        assert_eq!(bench.told(), (0, result));
        assert!(bench.has(|output| matches!(output, Output::Close { good: None, .. })));
        assert_eq!(bench.own(FirmwareOrder::Fetch(URI.into())), Reply::Done, "it can be tried again");
    }
}

#[test]
fn a_uri_that_is_none_or_forbidden_answers_bad_value_and_shows_its_result() {
    for (uri, result) in [("not a uri", 7), ("http://127.0.0.1/a", 7), ("ftp://h/a", 9), ("http://h/a#sha256=xyz", 7)] {
        let mut bench = Bench::new(board());
        assert_eq!(bench.own(FirmwareOrder::Fetch(uri.into())), Reply::BadValue, "{uri}");
        assert_eq!(bench.told(), (0, result), "{uri}");
    }
}

#[test]
fn a_push_that_falls_silent_ends_with_result_4() {
    let mut bench = Bench::new(board());
    let Reply::Push(_, ticket) = bench.own(FirmwareOrder::Push) else { panic!("no push") };
    bench.pass(PUSH_TIMEOUT - Duration::from_secs(1));
    bench.input(Input::Pushed { ticket, bytes: 10, at: bench.now().instant });
    bench.pass(PUSH_TIMEOUT - Duration::from_secs(1));
    assert_eq!(bench.told(), (1, 0));
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.told(), (0, 4));
}

#[test]
fn block_number_0_from_the_same_server_begins_its_own_push_anew() {
    let mut bench = Bench::new(board());
    let Reply::Push(first, old) = bench.own(FirmwareOrder::Push) else { panic!("no push") };
    assert_eq!(bench.order(server(2), FirmwareRight::Any, FirmwareOrder::Push), Reply::BadValue);
    let Reply::Push(second, ticket) = bench.own(FirmwareOrder::Push) else { panic!("no second push") };
    assert_ne!(first, second);
    assert!(bench.has(|output| matches!(output, Output::Close { entry, .. } if entry.update == first)));
    assert!(!bench.has(|output| matches!(output, Output::View(_))), "nothing changed for servers");
    bench.input(Input::PushEnded { ticket: old, result: Err(Refused::new(Refusal::ConnectionLost, "old")) });
    assert_eq!(bench.told(), (1, 0), "the end of the old one means nothing");
    bench.input(Input::PushEnded { ticket, result: Ok(()) });
    let check = bench.ticket("check");
    bench.input(Input::Received { ticket: check, result: Ok(image(None)) });
    bench.journalled();
    assert_eq!(bench.told(), (2, 0));
    assert_eq!(bench.own(FirmwareOrder::Push), Reply::BadValue, "in state 2 there is no push to begin anew");
}

#[test]
fn execute_while_the_link_is_held_waits_and_starts_by_itself() {
    let mut bench = Bench::new(board());
    bench.executed(None);
    let ticket = bench.ticket("lease");
    bench.input(Input::LeaseRefused { ticket, holder: "update of another".into() });
    assert_eq!(bench.told(), (2, 11));
    bench.input(Input::LeaseReleased);
    assert_eq!(bench.told(), (2, 11), "still told so until the lease is there");
    let ticket = bench.ticket("lease");
    bench.input(Input::LeaseRefused { ticket, holder: "update of another".into() });
    bench.pass(Duration::from_secs(60));
    bench.leased();
    assert_eq!(bench.told(), (3, 0));
}

#[test]
fn a_deferred_update_can_be_cancelled_reset_and_reminded() {
    for (order, told) in [(FirmwareOrder::Cancel, (0, 10)), (FirmwareOrder::Reset, (0, 0))] {
        let mut bench = Bench::new(board());
        bench.executed(None);
        let ticket = bench.ticket("lease");
        bench.input(Input::LeaseRefused { ticket, holder: "x".into() });
        assert_eq!(bench.own(FirmwareOrder::Execute), Reply::Done);
        let late = bench.ticket("lease");
        assert_eq!(bench.own(order), Reply::Done);
        assert_eq!(bench.told(), told);
        assert!(!bench.machine.expects(late), "a lease that comes now is given back");
    }
}

#[test]
fn of_two_executes_at_once_the_first_wins() {
    let mut bench = Bench::new(board());
    bench.executed(None);
    assert_eq!(bench.order(server(2), FirmwareRight::Any, FirmwareOrder::Execute), Reply::WrongState);
    bench.leased();
    assert_eq!(bench.order(server(2), FirmwareRight::Any, FirmwareOrder::Execute), Reply::WrongState);
}

#[test]
fn the_tool_finding_another_chip_drops_the_image_with_result_6() {
    let mut bench = Bench::new(board());
    bench.flashing(None);
    bench.job(failed(JobFailure::WrongDevice));
    assert_eq!(bench.told(), (0, 6));
    assert!(bench.has(|output| matches!(output, Output::Close { good: None, .. })));
    assert!(bench.has(|output| matches!(output, Output::ReleaseLease)));
}

#[test]
fn every_other_failure_of_the_tool_keeps_the_image_with_result_8() {
    let classes = [
        JobFailure::PortUnavailable,
        JobFailure::PortLost,
        JobFailure::NoSync,
        JobFailure::Noise,
        JobFailure::VerifyFailed,
        JobFailure::Unverified,
        JobFailure::Stalled,
        JobFailure::TimedOut,
        JobFailure::Interrupted,
        JobFailure::NotStarted,
        JobFailure::ToolFailed,
    ];
    for class in classes {
        for released in [false, true] {
            let mut bench = Bench::new(board());
            if released {
                bench.flashing(None);
            } else {
                bench.executed(None);
                bench.leased();
            }
            bench.job(failed(class));
            assert_eq!(bench.told(), (2, 8), "{class:?}");
            assert!(bench.has(|output| matches!(output, Output::ReleaseLease)));
            assert!(bench.reason().contains("it says so"));
            assert!(matches!(bench.journal(), JournalStep::Staged { .. }));
        }
    }
}

#[test]
fn a_journal_that_cannot_be_written_keeps_the_tool_from_the_board() {
    let mut bench = Bench::new(board());
    bench.executed(None);
    bench.leased();
    bench.job(JobEvent::Ready(start()));
    let ticket = bench.ticket("journal");
    bench.input(Input::Journalled { ticket, result: Err("disk full".into()) });
    assert!(bench.has(|output| matches!(output, Output::StopTool)));
    assert!(!bench.all.iter().any(|output| matches!(output, Output::ReleaseTool)));
    bench.job(failed(JobFailure::Interrupted));
    assert_eq!(bench.told(), (2, 8));
    assert!(bench.reason().contains("disk full"));
}

#[test]
fn a_tool_that_says_success_before_it_was_let_loose_is_not_believed() {
    let mut bench = Bench::new(board());
    bench.executed(None);
    bench.leased();
    bench.job(JobEvent::Ended(JobOutcome::Verified { bytes: 400 }));
    assert_eq!(bench.told(), (2, 8));
}

#[test]
fn whatever_never_answers_ends_by_itself() {
    let steps: [Reach; 5] = [
        ("a tool that never gets ready", |bench| {
            bench.executed(None);
            bench.leased();
        }),
        ("a journal that never answers", |bench| {
            bench.executed(None);
            bench.leased();
            bench.job(JobEvent::Ready(start()));
        }),
        ("a tool that never ends", |bench| bench.flashing(None)),
        ("a board that never returns", |bench| bench.verified(None)),
        ("a question that is never answered", |bench| bench.asked(None)),
    ];
    for (name, reach) in steps {
        let mut bench = Bench::new(board());
        reach(&mut bench);
        bench.pass(Duration::from_secs(3600));
        assert_eq!(bench.told(), (2, 8), "{name}");
        assert_eq!(bench.own(FirmwareOrder::Execute), Reply::Done, "{name}: it can be tried again");
    }
}

/// Brings a device with an update of server 1 into the named state.
fn states() -> Vec<Reach> {
    vec![
        ("idle", |_| {}),
        ("downloading", |bench| bench.fetched()),
        ("staged", |bench| bench.staged(None)),
        ("deferred", |bench| {
            bench.executed(None);
            let ticket = bench.ticket("lease");
            bench.input(Input::LeaseRefused { ticket, holder: "x".into() });
        }),
        ("updating", |bench| bench.flashing(None)),
        ("failed", |bench| {
            bench.flashing(None);
            bench.job(failed(JobFailure::NoSync));
        }),
    ]
}

#[test]
fn right_comes_before_state_and_state_before_value() {
    use Reply::{BadValue as Bad, Done, NotAllowed as Not, WrongState as Wrong};
    let orders = [
        FirmwareOrder::Fetch(URI.into()),
        FirmwareOrder::Reset,
        FirmwareOrder::Execute,
        FirmwareOrder::Cancel,
        FirmwareOrder::SetSeverity(0),
        FirmwareOrder::SetSeverity(3),
    ];
    let owner: [(&str, [Reply; 6]); 6] = [
        ("idle", [Done, Done, Wrong, Wrong, Done, Bad]),
        ("downloading", [Bad, Done, Wrong, Done, Done, Bad]),
        ("staged", [Bad, Done, Done, Done, Done, Bad]),
        ("deferred", [Bad, Done, Done, Done, Done, Bad]),
        ("updating", [Wrong, Wrong, Wrong, Wrong, Done, Bad]),
        ("failed", [Bad, Done, Done, Done, Done, Bad]),
    ];
    for ((name, reach), (same, expected)) in states().into_iter().zip(owner) {
        assert_eq!(name, same);
        for (order, expected) in orders.iter().zip(expected) {
            let ask = |requester, right| {
                let mut bench = Bench::new(board());
                reach(&mut bench);
                bench.order(requester, right, order.clone())
            };
            assert_eq!(ask(server(1), FirmwareRight::Own), expected, "{name}, {order:?}, its owner");
            assert_eq!(ask(server(2), FirmwareRight::Any), expected, "{name}, {order:?}, any");
            assert_eq!(ask(Requester::Local, FirmwareRight::Any), expected, "{name}, {order:?}, local");
            assert_eq!(ask(server(1), FirmwareRight::None), Not, "{name}, {order:?}, none");
            let foreign = if name == "idle" { expected } else { Not };
            assert_eq!(ask(server(2), FirmwareRight::Own), foreign, "{name}, {order:?}, another server with own");
        }
    }
}

#[test]
fn reset_and_cancel_drop_the_image_with_their_results() {
    for (name, reach) in states() {
        for (order, result) in [(FirmwareOrder::Reset, 0), (FirmwareOrder::Cancel, 10)] {
            let mut bench = Bench::new(board());
            reach(&mut bench);
            if bench.own(order) == Reply::Done {
                assert_eq!(bench.told(), (0, result), "{name}");
                assert_eq!(bench.machine.view().uri, "");
                assert_eq!(bench.own(FirmwareOrder::Fetch(URI.into())), Reply::Done);
            }
        }
    }
}

#[test]
fn what_an_unreachable_owner_staged_is_released_after_a_while() {
    let mut bench = Bench::new(board());
    bench.staged(None);
    bench.input(Input::Reachable { requester: server(1), reachable: false });
    bench.pass(Duration::from_secs(3599));
    assert_eq!(bench.order(server(2), FirmwareRight::Own, FirmwareOrder::Execute), Reply::NotAllowed);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.order(server(2), FirmwareRight::Own, FirmwareOrder::Fetch(URI.into())), Reply::BadValue);
    assert_eq!(bench.order(server(2), FirmwareRight::Own, FirmwareOrder::Execute), Reply::Done);
    bench.leased();
    assert_eq!(bench.order(server(1), FirmwareRight::Own, FirmwareOrder::Cancel), Reply::NotAllowed, "it was taken");
}

#[test]
fn who_may_execute_anything_takes_nothing_from_its_owner() {
    let mut bench = Bench::new(board());
    bench.staged(None);
    assert_eq!(bench.order(server(2), FirmwareRight::Any, FirmwareOrder::Execute), Reply::Done);
    let ticket = bench.ticket("lease");
    bench.input(Input::LeaseRefused { ticket, holder: "a reboot".into() });
    assert_eq!(bench.told(), (2, 11));
    assert_eq!(bench.order(server(3), FirmwareRight::Own, FirmwareOrder::Cancel), Reply::NotAllowed);
    assert_eq!(bench.order(server(1), FirmwareRight::Own, FirmwareOrder::Cancel), Reply::Done);
}

#[test]
fn an_owner_that_comes_back_keeps_its_image_until_it_has_lain_too_long() {
    let mut bench = Bench::new(board());
    bench.staged(None);
    bench.input(Input::Reachable { requester: server(1), reachable: false });
    bench.pass(Duration::from_secs(3000));
    bench.input(Input::Reachable { requester: server(1), reachable: true });
    bench.pass(Duration::from_secs(3000));
    assert_eq!(bench.order(server(2), FirmwareRight::Own, FirmwareOrder::Reset), Reply::NotAllowed);
    bench.pass(Duration::from_secs(24 * 3600));
    assert_eq!(bench.order(server(2), FirmwareRight::Own, FirmwareOrder::Reset), Reply::Done);
}

#[test]
fn the_journal_learns_how_far_a_download_is_once_it_can_be_resumed() {
    let mut bench = Bench::new(board());
    bench.fetched();
    let ticket = bench.ticket("download");
    let progress = |bytes, etag: Option<&str>| Progress {
        bytes,
        total: Some(1000),
        synced: bytes / 2,
        etag: etag.map(str::to_owned),
    };
    let part = PathBuf::from("/staging/a.part");
    bench.input(Input::DownloadProgressed { ticket, progress: progress(100, None), part: part.clone() });
    assert!(!bench.has(|output| matches!(output, Output::Journal { .. })));
    bench.input(Input::DownloadProgressed { ticket, progress: progress(200, Some("\"e\"")), part: part.clone() });
    let wanted = JournalStep::Downloading { part: part.clone(), synced: 100, etag: Some("\"e\"".into()) };
    assert_eq!(bench.journal(), wanted);
    bench.input(Input::DownloadProgressed { ticket, progress: progress(400, Some("\"e\"")), part: part.clone() });
    assert!(!bench.has(|output| matches!(output, Output::Journal { .. })), "not more often than needed");
    bench.pass(Duration::from_secs(5));
    bench.input(Input::DownloadProgressed { ticket, progress: progress(600, Some("\"e\"")), part });
    assert!(matches!(bench.journal(), JournalStep::Downloading { synced: 300, .. }));
}

fn view(state: FirmwareState, result: UpdateResult) -> FirmwareView {
    FirmwareView { state, result, uri: URI.into(), severity: 1, last_change: 900, ..FirmwareView::default() }
}

fn flashing_step() -> JournalStep {
    JournalStep::Flashing { image: image(Some("2.0")), link: link(), start: start(), attempt: 1, restoring: None }
}

fn crashed(step: JournalStep, state: FirmwareState, result: UpdateResult, after_crash: AfterCrash) -> Bench {
    Bench::recovered(step, view(state, result), UpdateSettings { after_crash, ..settings() }, board())
}

#[test]
fn after_a_crash_a_download_goes_on_when_its_etag_is_known_else_it_is_lost() {
    let part = PathBuf::from("/staging/a.part");
    let step = JournalStep::Downloading { part: part.clone(), synced: 77, etag: Some("\"e\"".into()) };
    let mut bench = crashed(step, FirmwareState::Downloading, UpdateResult::Initial, AfterCrash::Finish);
    assert_eq!(bench.told(), (1, 0));
    let resume = bench.last(|output| match output {
        Output::Download { resume, .. } => resume.clone(),
        _ => None,
    });
    assert_eq!((resume.part, resume.synced, resume.etag.as_str()), (part.clone(), 77, "\"e\""));
    bench.received(image(None));
    bench.journalled();
    assert_eq!(bench.told(), (2, 0));

    let step = JournalStep::Downloading { part, synced: 77, etag: None };
    let bench = crashed(step, FirmwareState::Downloading, UpdateResult::Initial, AfterCrash::Finish);
    assert_eq!(bench.told(), (0, 4));
}

#[test]
fn after_a_crash_a_staged_image_is_read_again_and_kept_or_refused() {
    for (result, told) in [(UpdateResult::Initial, (2, 0)), (UpdateResult::Failed, (2, 8))] {
        let step = JournalStep::Staged { image: image(None) };
        let mut bench = crashed(step.clone(), FirmwareState::Downloaded, result, AfterCrash::Finish);
        assert_eq!(bench.told(), told);
        let ticket = bench.ticket("recheck");
        bench.input(Input::Rechecked { ticket, result: Ok(()) });
        assert_eq!(bench.told(), told);
        assert_eq!(bench.own(FirmwareOrder::Execute), Reply::Done);

        let mut damaged = crashed(step, FirmwareState::Downloaded, result, AfterCrash::Finish);
        assert_eq!(damaged.own(FirmwareOrder::Execute), Reply::Done, "it may be executed before it was read");
        assert_eq!(damaged.own(FirmwareOrder::Execute), Reply::WrongState);
        let ticket = damaged.ticket("recheck");
        damaged.input(Input::Rechecked { ticket, result: Err("differs".into()) });
        assert_eq!(damaged.told(), (0, 5));
    }
}

#[test]
fn after_a_crash_a_deferred_update_still_starts_by_itself() {
    let step = JournalStep::Staged { image: image(None) };
    let mut bench = crashed(step, FirmwareState::Downloaded, UpdateResult::Deferred, AfterCrash::Finish);
    assert_eq!(bench.told(), (2, 11));
    let ticket = bench.ticket("recheck");
    bench.input(Input::Rechecked { ticket, result: Ok(()) });
    assert_eq!(bench.told(), (2, 11));
    bench.leased();
    assert_eq!(bench.told(), (3, 0));
}

#[test]
fn after_a_crash_in_the_flash_finish_flashes_once_more_and_proves() {
    let mut bench = crashed(flashing_step(), FirmwareState::Updating, UpdateResult::Initial, AfterCrash::Finish);
    assert_eq!(bench.told(), (3, 0));
    let ticket = bench.ticket("recheck");
    bench.input(Input::Rechecked { ticket, result: Ok(()) });
    let ticket = bench.ticket("lease");
    bench.input(Input::LeaseRefused { ticket, holder: "a probe".into() });
    assert_eq!(bench.told(), (3, 0), "what servers read does not go back to 2");
    assert_eq!(bench.own(FirmwareOrder::Cancel), Reply::WrongState);
    bench.input(Input::LeaseReleased);
    bench.leased();
    bench.job(JobEvent::Ready(start()));
    assert!(matches!(bench.journal(), JournalStep::Flashing { attempt: 2, .. }));
    bench.journalled();
    bench.job(JobEvent::Ended(JobOutcome::Verified { bytes: 400 }));
    bench.returned(link());
    bench.pass(SOAK);
    bench.tells(Some("2.0"));
    assert_eq!(bench.told(), (0, 1));
}

#[test]
fn after_a_crash_in_the_flash_a_port_that_stays_held_is_told_as_failure() {
    let mut bench = crashed(flashing_step(), FirmwareState::Updating, UpdateResult::Initial, AfterCrash::Finish);
    let ticket = bench.ticket("recheck");
    bench.input(Input::Rechecked { ticket, result: Ok(()) });
    for _ in 0..100 {
        if bench.told() == (3, 0) {
            let ticket = bench.ticket("lease");
            bench.input(Input::LeaseRefused { ticket, holder: "somebody".into() });
            bench.pass(Duration::from_secs(10));
        }
    }
    assert_eq!(bench.told(), (2, 8));
}

#[test]
fn after_a_crash_in_the_flash_report_never_says_success_without_a_verify() {
    for told in [Some("2.0"), Some("1.0")] {
        let mut bench = crashed(flashing_step(), FirmwareState::Updating, UpdateResult::Initial, AfterCrash::Report);
        assert_eq!(bench.told(), (3, 0));
        bench.returned(link());
        bench.pass(SOAK);
        bench.leased();
        bench.tells(told);
        assert_eq!(bench.told(), (2, 8));
        assert!(bench.reason().contains(told.expect("a version")), "{}", bench.reason());
        assert!(!bench.all.iter().any(|output| matches!(output, Output::StartTool { .. })));
        assert_eq!(bench.own(FirmwareOrder::Execute), Reply::Done);
        assert!(bench.has(|output| matches!(output, Output::Recheck { .. })), "the file is read before it is used");
    }
}

#[test]
fn after_a_crash_while_proving_the_proof_goes_on_without_another_flash() {
    for after_crash in [AfterCrash::Finish, AfterCrash::Report] {
        let step = JournalStep::Proving { image: image(Some("2.0")), restoring: None };
        let mut bench = crashed(step, FirmwareState::Updating, UpdateResult::Initial, after_crash);
        assert_eq!(bench.told(), (3, 0));
        bench.returned(link());
        bench.pass(SOAK);
        bench.leased();
        bench.tells(Some("2.0"));
        assert_eq!(bench.told(), (0, 1));
        assert!(!bench.all.iter().any(|output| matches!(output, Output::StartTool { .. })));
    }
}

#[test]
fn after_a_restart_the_last_result_is_still_told() {
    let step = JournalStep::Closed { outcome: Ok(None), image_sha256: None };
    let bench = crashed(step, FirmwareState::Idle, UpdateResult::Success, AfterCrash::Finish);
    assert_eq!(bench.told(), (0, 1));
    assert!(bench.all.is_empty());
}

#[test]
fn an_expected_return_bounds_the_wait() {
    let mut bench = Bench::new(board());
    bench.verified(None);
    bench.pass(RETURN - Duration::from_millis(1));
    assert_eq!(bench.told(), (3, 0));
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.told(), (2, 8));
    assert!(bench.reason().contains("did not come back"), "{}", bench.reason());
}
