//! What happens after a failure: further runs, the way back, quarantine; and every crash in between.

use std::sync::Arc;
use std::time::Duration;

use crate::bench::{Bench, ask, facts, failed, link, other_link, rules, start};
use crate::support::{SOAK, image, profile, server, settings, version};
use nuncio::device::{
    Alternative, BoardState, FirmwareOrder, FirmwareRight, FlashProfile, GoodImage, GoodOrigin, Goods, JobEvent,
    JobFailure, JobOutcome, JobTask, JournalEntry, Phase, Requester, RetryRules, RollbackPolicy, Sha256Digest,
    StagedImage, UpdateEvent, WayBack,
};
use nuncio::update::machine::{Input, Machine, Output, Reply};

const BACKOFF: Duration = Duration::from_secs(2);

/// A board with three runs and another speed to try, which is rolled back by itself.
fn board() -> FlashProfile {
    FlashProfile {
        retries: RetryRules { max: 3, ..RetryRules::default() },
        alternatives: vec![Alternative { on: vec![JobFailure::NoSync], vars: slow() }],
        rollback: RollbackPolicy::OnFailure,
        ..(*profile(1, SOAK)).clone()
    }
}

fn slow() -> std::collections::BTreeMap<String, String> {
    [("baud".to_owned(), "slow".to_owned())].into()
}

/// An image that ran before.
fn good(version: &str) -> GoodImage {
    let image = StagedImage { sha256: Sha256Digest([1; 32]), ..image(Some(version)) };
    GoodImage { image, origin: GoodOrigin::Proven, at: 1 }
}

fn bench(profile: FlashProfile, goods: &[GoodImage]) -> Bench {
    let mut kept = Goods::default();
    goods.iter().rev().cloned().for_each(|good| kept.hold(good));
    bench_with(profile, kept, false)
}

fn bench_with(profile: FlashProfile, kept: Goods, power_cycle: bool) -> Bench {
    let facts = nuncio::update::machine::Facts { goods: Arc::new(kept), power_cycle, ..facts(Arc::new(profile)) };
    Bench::with(Machine::new(facts, rules(settings())))
}

/// For the random walk: nothing is kept yet, so that the board is read first; afterwards there is a way back.
pub(crate) fn walked() -> Bench {
    let mut bench = bench_with(FlashProfile { way_back: WayBack::Backup, ..board() }, Goods::default(), true);
    let mut goods = Goods::default();
    goods.hold(good("1.5"));
    bench.staged(Some("2.0"));
    bench.own(FirmwareOrder::Execute);
    bench.input(Input::GoodsAre(Arc::new(goods)));
    bench
}

fn baud(bench: &Bench) -> Option<String> {
    bench.last(|output| match output {
        Output::StartTool { job, .. } => Some(job.vars.get("baud").cloned()),
        _ => None,
    })
}

fn flashed(bench: &Bench) -> Sha256Digest {
    bench.last(|output| match output {
        Output::StartTool { job, .. } => Some(job.image.sha256),
        _ => None,
    })
}

fn runs(bench: &Bench) -> usize {
    bench.all.iter().filter(|output| matches!(output, Output::StartTool { .. })).count()
}

fn entry(bench: &Bench) -> JournalEntry {
    bench.last(|output| match output {
        Output::Journal { entry, .. } | Output::Close { entry, .. } => Some((**entry).clone()),
        _ => None,
    })
}

/// The gateway dies and comes back: a machine from what was written down last.
fn crashed(bench: &Bench, profile: FlashProfile, goods: &[GoodImage]) -> Bench {
    let mut kept = Goods::default();
    goods.iter().rev().cloned().for_each(|good| kept.hold(good));
    let facts = nuncio::update::machine::Facts { goods: Arc::new(kept), version: None, ..facts(Arc::new(profile)) };
    Bench::with(Machine::recover(facts, rules(settings()), entry(bench), bench.now()))
}

fn has_event(bench: &Bench, wanted: impl Fn(&UpdateEvent) -> bool) -> bool {
    bench.all.iter().any(|output| matches!(output, Output::Event(_, event) if wanted(event)))
}

fn quarantine(bench: &Bench) -> Option<String> {
    bench.machine.quarantine().map(str::to_owned)
}

fn let_loose(bench: &mut Bench) {
    bench.job(JobEvent::Ready(start()));
    bench.journalled();
}

fn writing(bench: &mut Bench) {
    bench.job(JobEvent::Progress { phase: Phase::Write, percent: 30 });
}

/// The tool has read the board, and that is kept.
fn saved(bench: &mut Bench) {
    bench.job(JobEvent::Ended(JobOutcome::Saved { size: 9, sha256: Sha256Digest([4; 32]) }));
    let ticket = bench.last(|output| match output {
        Output::KeepSaved { ticket, .. } => Some(*ticket),
        _ => None,
    });
    bench.input(Input::Kept { ticket, result: Ok(Sha256Digest([5; 32])) });
}

/// One more run of the tool after its pause, up to its release.
fn run_again(bench: &mut Bench) {
    bench.pass(BACKOFF);
    let_loose(bench);
}

#[test]
fn a_boot_loader_that_does_not_answer_is_tried_at_its_other_speed_and_that_is_remembered() {
    let mut bench = bench(board(), &[]);
    bench.flashing(Some("2.0"));
    assert_eq!(baud(&bench), None);
    bench.job(failed(JobFailure::NoSync));
    assert_eq!(bench.told(), (3, 0), "nobody is told of a failure that is tried again");
    assert!(has_event(&bench, |event| matches!(
        event,
        UpdateEvent::Retrying { attempt: 2, class: JobFailure::NoSync, vars, .. } if *vars == slow()
    )));
    run_again(&mut bench);
    assert_eq!(baud(&bench).as_deref(), Some("slow"));
    bench.job(JobEvent::Ended(JobOutcome::Verified { bytes: 400 }));
    assert!(bench.has(|output| matches!(output, Output::Worked(Some(vars)) if *vars == slow())));
    bench.returned(link());
    bench.pass(SOAK);
    bench.tells(Some("2.0"));
    assert_eq!(bench.told(), (0, 1));
    bench.executed(Some("2.0"));
    bench.leased();
    assert_eq!(baud(&bench).as_deref(), Some("slow"), "the next update begins with what worked");
}

#[test]
fn runs_are_bounded_and_only_the_classes_of_the_boards_file_are_tried_again() {
    let mut persistent = bench(board(), &[]);
    persistent.flashing(None);
    for _ in 0..2 {
        persistent.job(failed(JobFailure::NoSync));
        run_again(&mut persistent);
    }
    persistent.job(failed(JobFailure::NoSync));
    assert_eq!((persistent.told(), runs(&persistent)), ((2, 8), 3));
    assert_eq!(quarantine(&persistent), None, "the tool never came to write");
    let mut hopeless = bench(board(), &[]);
    hopeless.flashing(None);
    hopeless.job(failed(JobFailure::ToolFailed));
    assert_eq!((hopeless.told(), runs(&hopeless)), ((2, 8), 1));
}

#[test]
fn a_board_that_went_away_is_awaited_and_flashed_again_under_the_name_that_it_comes_back_with() {
    let mut bench = bench(board(), &[]);
    bench.flashing(Some("2.0"));
    writing(&mut bench);
    bench.job(failed(JobFailure::PortLost));
    bench.returned(other_link());
    bench.pass(BACKOFF);
    assert!(bench.all.iter().any(|output| matches!(output, Output::TakeLease { link, .. } if *link == other_link())));
    assert_eq!(bench.told(), (3, 0));
    bench.leased();
    let_loose(&mut bench);
    assert_eq!((bench.told(), runs(&bench)), ((3, 0), 2));
    bench.job(failed(JobFailure::PortLost));
    bench.pass(Duration::from_secs(11));
    assert_eq!(bench.told(), (2, 8), "it does not come back");
}

#[test]
fn a_link_whose_loss_was_noticed_late_is_not_used_again_for_another_board_may_have_it() {
    let mut bench = bench(board(), &[]);
    bench.flashing(Some("2.0"));
    writing(&mut bench);
    bench.job(failed(JobFailure::PortLost));
    // Nobody has missed it yet.
    bench.returned(link());
    bench.input(Input::LinkIs(None));
    bench.pass(BACKOFF);
    assert_eq!((bench.told(), runs(&bench)), ((3, 0), 1));
    bench.returned(other_link());
    bench.pass(BACKOFF);
    bench.leased();
    let_loose(&mut bench);
    assert_eq!((bench.told(), runs(&bench)), ((3, 0), 2));
    let of_other = |output: &Output| matches!(output, Output::TakeLease { link, .. } if *link == other_link());
    assert_eq!(bench.all.iter().filter(|output| of_other(output)).count(), 1);
}

#[test]
fn what_a_board_holds_is_read_before_its_first_flash_and_only_then() {
    let profile = FlashProfile { way_back: WayBack::Backup, ..board() };
    let mut bench = bench(profile, &[]);
    bench.flashing(Some("2.0"));
    let backups = |bench: &Bench| {
        let is = |output: &&Output| matches!(output, Output::StartTool { job, .. } if matches!(job.task, JobTask::Backup { .. }));
        bench.all.iter().filter(is).count()
    };
    assert_eq!((backups(&bench), runs(&bench)), (1, 1));
    assert_eq!(entry(&bench).board, BoardState::Sound, "reading touches nothing");
    saved(&mut bench);
    let_loose(&mut bench);
    assert_eq!((backups(&bench), runs(&bench)), (1, 2));
    assert_eq!(entry(&bench).board, BoardState::Touched, "written down before the tool writes");
    bench.job(failed(JobFailure::ToolFailed));
    assert_eq!(bench.own(FirmwareOrder::Execute), Reply::Done);
    bench.leased();
    assert_eq!(backups(&bench), 1, "what a failed flash left is nothing to go back to");
}

#[test]
fn what_it_took_to_read_a_board_costs_its_flash_no_try() {
    let mut bench = bench(FlashProfile { way_back: WayBack::Backup, ..board() }, &[]);
    bench.flashing(Some("2.0"));
    bench.job(failed(JobFailure::NoSync));
    run_again(&mut bench);
    saved(&mut bench);
    let_loose(&mut bench);
    for _ in 0..2 {
        bench.job(failed(JobFailure::NoSync));
        run_again(&mut bench);
    }
    bench.job(failed(JobFailure::NoSync));
    assert_eq!((bench.told(), runs(&bench)), ((2, 8), 5), "two to read it, three to flash it");
}

#[test]
fn a_board_that_cannot_be_read_is_flashed_all_the_same_unless_it_could_not_be_written_either() {
    let profile = || FlashProfile { way_back: WayBack::Backup, ..board() };
    let mut unreadable = bench(profile(), &[]);
    unreadable.flashing(Some("2.0"));
    unreadable.job(failed(JobFailure::ToolFailed));
    assert!(has_event(&unreadable, |event| matches!(event, UpdateEvent::NotSaved { .. })));
    let_loose(&mut unreadable);
    unreadable.job(JobEvent::Ended(JobOutcome::Verified { bytes: 400 }));
    assert_eq!(unreadable.told(), (3, 0));
    let mut silent = bench(profile(), &[]);
    silent.flashing(Some("2.0"));
    for _ in 0..2 {
        silent.job(failed(JobFailure::NoSync));
        run_again(&mut silent);
    }
    silent.job(failed(JobFailure::NoSync));
    assert_eq!((silent.told(), quarantine(&silent)), ((2, 8), None));
}

#[test]
fn a_failed_flash_is_rolled_back_and_stays_a_failure_with_the_version_that_runs() {
    let mut bench = bench(board(), &[good("1.5")]);
    bench.flashing(Some("2.0"));
    writing(&mut bench);
    bench.job(failed(JobFailure::VerifyFailed));
    assert!(has_event(&bench, |event| matches!(event, UpdateEvent::RollingBack { .. })));
    assert_eq!(bench.told(), (3, 0));
    bench.returned(link());
    run_again(&mut bench);
    assert_eq!(flashed(&bench), Sha256Digest([1; 32]));
    bench.job(JobEvent::Ended(JobOutcome::Verified { bytes: 400 }));
    bench.returned(link());
    bench.pass(SOAK);
    bench.tells(Some("1.5"));
    assert_eq!(bench.told(), (2, 8), "never a success");
    assert!(bench.has(|output| matches!(output, Output::VersionRead(Some(told)) if told.text == "1.5")));
    assert!(bench.has(|output| matches!(output, Output::Holds(_))));
    assert_eq!((quarantine(&bench), entry(&bench).board), (None, BoardState::Sound));
    assert!(bench.reason().contains("was put back and runs"), "{}", bench.reason());
}

#[test]
fn a_way_back_that_fails_too_puts_the_board_in_quarantine_until_something_is_proven() {
    let mut bench = bench(board(), &[good("1.5")]);
    bench.flashing(Some("2.0"));
    writing(&mut bench);
    bench.job(failed(JobFailure::VerifyFailed));
    bench.returned(link());
    run_again(&mut bench);
    writing(&mut bench);
    bench.job(failed(JobFailure::ToolFailed));
    assert_eq!(bench.told(), (2, 8));
    let why = quarantine(&bench).expect("it is in quarantine");
    assert!(why.contains("nuncio rollback"), "{why}");
    assert!(bench.has(|output| matches!(output, Output::VersionRead(None))), "nobody knows what runs");
    // Another try of what is staged proves it.
    assert_eq!(bench.own(FirmwareOrder::Execute), Reply::Done);
    bench.leased();
    let_loose(&mut bench);
    assert!(quarantine(&bench).is_some(), "it ends with the proof, not with the try");
    bench.job(JobEvent::Ended(JobOutcome::Verified { bytes: 400 }));
    bench.returned(link());
    bench.pass(SOAK);
    bench.tells(Some("2.0"));
    assert_eq!((bench.told(), quarantine(&bench)), ((0, 1), None));
    assert!(bench.has(|output| matches!(output, Output::Quarantine(None))));
}

#[test]
fn a_silent_board_without_a_way_back_is_in_quarantine_also_after_a_restart() {
    let profile = FlashProfile { rollback: RollbackPolicy::OnRequest, ..board() };
    let mut bench = bench(profile.clone(), &[]);
    bench.asked(Some("2.0"));
    bench.tells(None);
    assert_eq!(bench.told(), (2, 8));
    assert!(quarantine(&bench).is_some());
    let after = crashed(&bench, profile, &[]);
    assert!(quarantine(&after).is_some());
    assert!(after.all.iter().any(|output| matches!(output, Output::Quarantine(Some(_)))), "servers are told again");
}

#[test]
fn what_a_board_was_proven_to_run_is_still_told_after_a_restart_and_nothing_of_one_that_was_touched() {
    let mut bench = bench(board(), &[]);
    bench.asked(Some("2.0"));
    bench.tells(Some("2.0"));
    let told = |bench: &Bench, wanted: &str| {
        bench.all.iter().any(|output| matches!(output, Output::VersionRead(Some(told)) if told.text == wanted))
    };
    let mut after = crashed(&bench, board(), &[]);
    assert_eq!(after.told(), (0, 1));
    assert!(told(&after, "2.0"));
    after.flashing(Some("3.0"));
    let touched = crashed(&after, board(), &[]);
    assert!(!touched.all.iter().any(|output| matches!(output, Output::VersionRead(_))));
}

#[test]
fn a_board_that_rolled_itself_back_is_reported_as_that_and_is_not_flashed_again() {
    let mut bench = bench(board(), &[good("1.5")]);
    bench.asked(Some("2.0"));
    bench.tells(Some("1.0"));
    assert_eq!(bench.told(), (2, 8));
    assert!(bench.reason().contains("rolled itself back"), "{}", bench.reason());
    assert_eq!((runs(&bench), quarantine(&bench)), (1, None));
    assert_eq!(entry(&bench).board, BoardState::Sound);
}

#[test]
fn a_board_that_tells_yet_another_version_is_told_as_what_it_runs() {
    let profile = FlashProfile { rollback: RollbackPolicy::OnRequest, ..board() };
    let mut bench = bench(profile, &[]);
    bench.asked(Some("2.0"));
    bench.tells(Some("7.7"));
    assert_eq!(bench.told(), (2, 8));
    assert!(bench.has(|output| matches!(output, Output::VersionRead(Some(told)) if told.text == "7.7")));
    assert_eq!(quarantine(&bench), None, "it runs");
}

#[test]
fn an_operator_goes_back_to_the_last_good_image_whatever_is_staged() {
    let mut bench = bench(board(), &[good("1.5")]);
    let local = |bench: &mut Bench| bench.order(Requester::Local, FirmwareRight::Any, FirmwareOrder::Rollback);
    assert_eq!(local(&mut bench), Reply::BadValue, "it holds the only one");
    bench.staged(Some("2.0"));
    bench.own(FirmwareOrder::Execute);
    bench.leased();
    let_loose(&mut bench);
    assert_eq!(local(&mut bench), Reply::WrongState, "not in the middle of a flash");
    writing(&mut bench);
    bench.job(failed(JobFailure::ToolFailed));
    // The board is rolled back by itself, and that fails; then somebody says so.
    bench.pass(Duration::from_secs(11));
    assert_eq!(bench.told(), (2, 8));
    assert_eq!(local(&mut bench), Reply::Done);
    assert!(
        bench
            .has(|output| matches!(output, Output::Restage { good, .. } if good.image.sha256 == Sha256Digest([1; 32])))
    );
    let never = FlashProfile { rollback: RollbackPolicy::Never, ..board() };
    let mut refusing = self::bench(never, &[good("1.5"), good("1.4")]);
    assert_eq!(local(&mut refusing), Reply::BadValue);
}

#[test]
fn a_crash_at_any_step_of_the_way_back_takes_it_up_and_never_says_success() {
    let mut bench = bench(board(), &[good("1.5")]);
    bench.flashing(Some("2.0"));
    writing(&mut bench);
    bench.job(failed(JobFailure::VerifyFailed));
    // Before anything of the way back was written down the staged image is flashed once more.
    let mut early = crashed(&bench, board(), &[good("1.5")]);
    recheck(&mut early);
    early.leased();
    assert_eq!(flashed(&early), Sha256Digest([7; 32]));
    // In the middle of it, it goes on.
    bench.returned(link());
    run_again(&mut bench);
    let mut late = crashed(&bench, board(), &[good("1.5")]);
    recheck(&mut late);
    late.leased();
    assert_eq!(flashed(&late), Sha256Digest([1; 32]));
    let_loose(&mut late);
    late.job(JobEvent::Ended(JobOutcome::Verified { bytes: 400 }));
    // And while it is being proven, the proof goes on.
    let mut proving = crashed(&late, board(), &[good("1.5")]);
    proving.returned(link());
    proving.pass(SOAK);
    proving.leased_again();
    proving.tells(Some("1.5"));
    assert_eq!(proving.told(), (2, 8));
    assert!(proving.has(|output| matches!(output, Output::VersionRead(Some(told)) if *told == version("1.5"))));
}

#[test]
fn a_gateway_that_dies_again_and_again_in_one_flash_ends_it() {
    let mut bench = bench(board(), &[]);
    bench.flashing(Some("2.0"));
    for _ in 0..20 {
        bench = crashed(&bench, board(), &[]);
        if bench.all.iter().filter_map(ask).any(|(name, _)| name == "return") {
            bench.pass(Duration::from_secs(60));
            assert_eq!(bench.told(), (2, 8));
            return;
        }
        recheck(&mut bench);
        bench.leased();
        let_loose(&mut bench);
    }
    panic!("it would go on for ever");
}

fn recheck(bench: &mut Bench) {
    let ticket = bench.last(|output| match output {
        Output::Recheck { ticket, .. } => Some(*ticket),
        _ => None,
    });
    bench.input(Input::Rechecked { ticket, result: Ok(()) });
}

#[test]
fn whoever_else_asks_while_the_way_back_runs_is_refused() {
    let mut bench = bench(board(), &[good("1.5")]);
    bench.flashing(Some("2.0"));
    writing(&mut bench);
    bench.job(failed(JobFailure::VerifyFailed));
    for order in [FirmwareOrder::Execute, FirmwareOrder::Cancel, FirmwareOrder::Reset, FirmwareOrder::Push] {
        assert_eq!(bench.order(server(2), FirmwareRight::Any, order), Reply::WrongState);
    }
}
