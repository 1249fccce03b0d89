//! The last resort: a board's USB port is switched off and on when all runs of the tool have failed.

use std::sync::Arc;
use std::time::Duration;

use crate::bench::{Bench, facts, failed, link, other_link, rules, start};
use crate::support::{SOAK, profile, settings};
use nuncio::device::{FirmwareOrder, FlashProfile, JobEvent, JobFailure, JobOutcome, RetryRules, UpdateEvent};
use nuncio::update::machine::{Facts, Input, Machine, Output};

const BACKOFF: Duration = Duration::from_secs(2);

fn board(max: u32) -> FlashProfile {
    FlashProfile { retries: RetryRules { max, ..RetryRules::default() }, ..(*profile(1, SOAK)).clone() }
}

fn bench(max: u32) -> Bench {
    let facts = Facts { power_cycle: true, ..facts(Arc::new(board(max))) };
    Bench::with(Machine::new(facts, rules(settings())))
}

fn runs(bench: &Bench) -> usize {
    bench.all.iter().filter(|output| matches!(output, Output::StartTool { .. })).count()
}

fn cycles(bench: &Bench) -> usize {
    bench.all.iter().filter(|output| matches!(output, Output::PowerCycle { .. })).count()
}

fn switched(bench: &mut Bench, result: Result<(), &str>) {
    let ticket = bench.ticket("power");
    bench.input(Input::PowerCycled { ticket, result: result.map_err(str::to_owned) });
}

fn run_again(bench: &mut Bench) {
    bench.pass(BACKOFF);
    bench.job(JobEvent::Ready(start()));
    bench.journalled();
}

/// All runs of the board's file have failed.
fn exhausted(max: u32) -> Bench {
    let mut bench = bench(max);
    bench.flashing(Some("2.0"));
    for _ in 1..max {
        bench.job(failed(JobFailure::NoSync));
        run_again(&mut bench);
    }
    assert_eq!((runs(&bench), cycles(&bench)), (max as usize, 0));
    bench
}

#[test]
fn after_the_last_run_the_port_is_switched_and_one_more_run_follows() {
    let mut bench = exhausted(2);
    bench.job(failed(JobFailure::NoSync));
    assert_eq!((bench.told(), cycles(&bench)), ((3, 0), 1));
    let told = bench.last(|output| match output {
        Output::Event(_, UpdateEvent::Retrying { attempt, reason, .. }) => Some((*attempt, reason.clone())),
        _ => None,
    });
    assert_eq!(told.0, 3);
    assert!(told.1.ends_with("its USB port is switched off and on first"), "{}", told.1);
    assert!(!bench.has(|output| matches!(output, Output::ReleaseLease)), "nobody else gets at the port meanwhile");
    bench.input(Input::LinkIs(None));
    switched(&mut bench, Ok(()));
    bench.returned(other_link());
    bench.pass(BACKOFF);
    bench.leased();
    bench.job(JobEvent::Ready(start()));
    bench.journalled();
    assert_eq!(runs(&bench), 3);
    bench.job(JobEvent::Ended(JobOutcome::Verified { bytes: 400 }));
    bench.returned(other_link());
    bench.pass(SOAK);
    bench.tells(Some("2.0"));
    assert_eq!(bench.told(), (0, 1));
}

#[test]
fn it_is_done_once_for_each_execute() {
    let mut bench = exhausted(2);
    for _ in 0..2 {
        bench.job(failed(JobFailure::NoSync));
        if cycles(&bench) == 1 && bench.told() == (3, 0) {
            switched(&mut bench, Ok(()));
            bench.returned(link());
            run_again(&mut bench);
        }
    }
    assert_eq!((bench.told(), runs(&bench), cycles(&bench)), ((2, 8), 3, 1));
    bench.own(FirmwareOrder::Execute);
    bench.leased();
    bench.job(JobEvent::Ready(start()));
    bench.journalled();
    bench.job(failed(JobFailure::NoSync));
    run_again(&mut bench);
    bench.job(failed(JobFailure::NoSync));
    assert_eq!(cycles(&bench), 2);
}

#[test]
fn a_board_that_does_not_come_back_is_switched_before_it_is_given_up() {
    let mut bench = bench(3);
    bench.flashing(Some("2.0"));
    bench.job(failed(JobFailure::PortLost));
    bench.input(Input::LinkIs(None));
    bench.pass(SOAK + Duration::from_secs(600));
    assert_eq!(cycles(&bench), 1);
    assert_eq!(bench.told(), (2, 8), "and given up where nobody tells that it was switched");
    assert!(bench.reason().contains("switching its USB port takes too long"), "{}", bench.reason());
}

#[test]
fn a_port_that_cannot_be_switched_is_part_of_the_reason() {
    let mut bench = exhausted(2);
    bench.job(failed(JobFailure::NoSync));
    switched(&mut bench, Err("no USB hub has a switch"));
    assert_eq!(bench.told(), (2, 8));
    let reason = bench.reason();
    assert!(reason.contains("the boot loader did not answer"), "{reason}");
    assert!(reason.ends_with("its USB port could not be switched: no USB hub has a switch"), "{reason}");
}

#[test]
fn it_is_not_done_where_it_would_not_help_or_is_not_wanted() {
    for class in [JobFailure::PortUnavailable, JobFailure::ToolFailed, JobFailure::WrongDevice] {
        let mut bench = exhausted(2);
        bench.job(failed(class));
        bench.pass(Duration::from_secs(600));
        assert_eq!(cycles(&bench), 0, "{class}");
    }
    let mut single = exhausted(1);
    single.job(failed(JobFailure::NoSync));
    assert_eq!((single.told(), cycles(&single)), ((2, 8), 0), "the board's file wants no further run");
    let mut bench = Bench::with(Machine::new(facts(Arc::new(board(2))), rules(settings())));
    bench.flashing(Some("2.0"));
    bench.job(failed(JobFailure::NoSync));
    run_again(&mut bench);
    bench.job(failed(JobFailure::NoSync));
    assert_eq!((bench.told(), cycles(&bench)), ((2, 8), 0));
}
