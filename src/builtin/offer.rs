//! One image at one device: what to do next, from how far it is and what the device shows of its firmware. Pure.
//!
//! ```text
//! Waiting ──► write 5/0/1 ──► Offered ──► 5/0/3 = 2: execute 5/0/2 ──► Executed ──► 5/0/3 = 0, 5/0/5 = 1: done
//!     ▲ another update is in the way          └──► 5/0/3 = 0: failed       └──► 5/0/3 = 2, 5/0/5 = 8: failed
//! ```
//! It goes by what is seen, not by what was sent: the same look at a device leads on after a restart of the gateway. The URI
//! tells whose update the device shows, for every offer has one of its own.

use serde::{Deserialize, Serialize};

/// How far it is. Written down before the step that it names is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    /// Not offered yet.
    Waiting,
    /// 5/0/1 was written.
    Offered,
    /// 5/0/2 was executed, or is about to be.
    Executed,
}

/// What a device shows of its firmware.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// 5/0/3.
    pub(super) state: u8,
    /// 5/0/5.
    pub(super) result: u8,
    /// 5/0/1; `None` where the device does not tell.
    pub(super) uri: Option<String>,
}

/// What is known beside what is noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Known {
    /// This server's own Execute was accepted, and not before a restart.
    pub(super) accepted: bool,
    /// What the device shows is of this image: it has been seen to do something since the write, or changes what it shows before
    /// it answers. Others may show the end of the update before for a while.
    pub(super) moved: bool,
    /// It has time left to begin.
    pub(super) patient: bool,
    /// It has registered just now: after a restart of the gateway it may not know yet what was under way.
    pub(super) settling: bool,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, for this reason.
    Wait(&'static str),
    /// Write `""` to 5/0/1: an earlier image of ours is in the way.
    Reset,
    /// Write 5/0/1.
    Write,
    /// Note that it is so far, then execute 5/0/2.
    Execute,
    /// Note that it is so far, and look again.
    Is(Stage),
    /// It is over.
    Ended(Result<(), Why>),
}

/// Why it failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Why {
    /// The device says so by 5/0/5; it may tell more.
    Result(u8),
    /// It was reset, or another update stands in its place.
    TakenAway,
    /// The device took it and did not begin.
    Idle,
}

const IDLE: u8 = 0;
const DOWNLOADING: u8 = 1;
const DOWNLOADED: u8 = 2;
const UPDATING: u8 = 3;
const INITIAL: u8 = 0;
const SUCCESS: u8 = 1;
const DEFERRED: u8 = 11;

/// What to do.
pub(super) fn next(stage: Stage, known: Known, seen: &Seen, uri: &str, base: &str) -> Step {
    let told = seen.uri.as_deref();
    // Who does not tell the URI shows what it was offered last.
    let ours = told.map_or(stage != Stage::Waiting, |told| told == uri);
    let result = match (seen.state, seen.result) {
        // Of the update before: some devices let it stand until the next one ends.
        (DOWNLOADED, SUCCESS) => INITIAL,
        (_, result) => result,
    };
    match stage {
        Stage::Waiting if ours => Step::Is(Stage::Offered),
        Stage::Waiting => match seen.state {
            IDLE => Step::Write,
            DOWNLOADED if told.is_some_and(|told| told.starts_with(base)) && result != DEFERRED => Step::Reset,
            UPDATING => Step::Wait("another update is being flashed"),
            _ => Step::Wait("another update is staged or under way"),
        },
        _ if !ours && known.settling => Step::Wait("the device has just registered"),
        _ if !ours => Step::Ended(Err(Why::TakenAway)),
        Stage::Offered => match (seen.state, result) {
            (IDLE, result) if known.moved => Step::Ended(ending(result)),
            (IDLE, _) if known.patient => Step::Wait("the device is about to fetch it"),
            (IDLE, INITIAL | SUCCESS) => Step::Ended(Err(Why::Idle)),
            (IDLE, result) => Step::Ended(ending(result)),
            (DOWNLOADING, _) => Step::Wait("the device fetches it"),
            (DOWNLOADED, INITIAL) => Step::Execute,
            (DOWNLOADED, DEFERRED) | (UPDATING, _) => Step::Is(Stage::Executed),
            (DOWNLOADED, result) => Step::Ended(ending(result)),
            _ => Step::Wait("the device is in a state that is not known"),
        },
        Stage::Executed => match (seen.state, result) {
            (IDLE, result) => Step::Ended(ending(result)),
            (DOWNLOADED, INITIAL) if known.accepted => Step::Wait("the device is about to flash it"),
            (DOWNLOADED, INITIAL) => Step::Execute,
            (DOWNLOADED, DEFERRED) => Step::Wait("the device holds it back for now (5/0/5 = 11)"),
            (DOWNLOADED, result) => Step::Ended(ending(result)),
            (UPDATING, _) => Step::Wait("the device is being flashed"),
            _ => Step::Wait("the device is in a state that is not known"),
        },
    }
}

fn ending(result: u8) -> Result<(), Why> {
    match result {
        SUCCESS => Ok(()),
        INITIAL => Err(Why::TakenAway),
        result => Err(Why::Result(result)),
    }
}

impl Why {
    /// In words.
    pub(super) fn told(&self) -> String {
        match self {
            Self::TakenAway => "it was reset, or another update took its place".to_owned(),
            Self::Idle => "the device took its URI and did nothing with it".to_owned(),
            Self::Result(result) => format!("{} (5/0/5 = {result})", meaning(*result)),
        }
    }
}

/// The registry's words for 5/0/5.
fn meaning(result: u8) -> &'static str {
    match result {
        2 => "it does not fit, or there is no room for it",
        3 => "the device ran out of memory",
        4 => "the connection was lost while the device fetched it",
        5 => "it is damaged, or not what its digest or signature says",
        6 => "it is not for this device",
        7 => "the device refused its URI",
        8 => "the update failed",
        9 => "the device cannot fetch by HTTP",
        10 => "the update was cancelled",
        _ => "the device says so",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: &str = "http://127.0.0.1:5693/s/";
    const URI: &str = "http://127.0.0.1:5693/s/1/a.hex#sha256=0";

    const MOVED: Known = Known { accepted: false, moved: true, patient: false, settling: false };

    fn look(stage: Stage, accepted: bool, uri: &str, state: u8, result: u8) -> Step {
        let seen = Seen { state, result, uri: Some(uri.to_owned()) };
        next(stage, Known { accepted, ..MOVED }, &seen, URI, BASE)
    }

    #[test]
    fn an_update_goes_its_way() {
        use Stage::*;
        assert_eq!(look(Waiting, false, "", 0, 0), Step::Write);
        assert_eq!(look(Offered, false, URI, 1, 0), Step::Wait("the device fetches it"));
        assert_eq!(look(Offered, false, URI, 2, 0), Step::Execute);
        assert!(matches!(look(Executed, true, URI, 2, 0), Step::Wait(_)), "it was told once");
        assert!(matches!(look(Executed, true, URI, 3, 0), Step::Wait(_)));
        assert_eq!(look(Executed, true, URI, 0, 1), Step::Ended(Ok(())));
    }

    #[test]
    fn what_is_in_the_way_is_waited_for_and_only_our_own_is_reset() {
        for (uri, state, result, step) in [
            ("", 3, 0, Step::Wait("another update is being flashed")),
            ("http://x/", 2, 0, Step::Wait("another update is staged or under way")),
            ("http://x/", 2, 8, Step::Wait("another update is staged or under way")),
            ("", 1, 0, Step::Wait("another update is staged or under way")),
            ("http://127.0.0.1:5693/s/0/b.hex", 2, 8, Step::Reset),
            ("http://127.0.0.1:5693/s/0/b.hex", 2, 11, Step::Wait("another update is staged or under way")),
            ("http://127.0.0.1:5693/s/0/b.hex", 0, 6, Step::Write),
        ] {
            assert_eq!(look(Stage::Waiting, false, uri, state, result), step, "{uri} {state} {result}");
        }
    }

    #[test]
    fn failures_are_told_apart() {
        for stage in [Stage::Offered, Stage::Executed] {
            for result in [2, 4, 5, 6, 7, 9, 10] {
                assert_eq!(look(stage, true, URI, 0, result), Step::Ended(Err(Why::Result(result))));
            }
            assert_eq!(look(stage, true, URI, 2, 8), Step::Ended(Err(Why::Result(8))));
            assert_eq!(look(stage, true, URI, 0, 0), Step::Ended(Err(Why::TakenAway)));
            assert_eq!(look(stage, true, "http://other/", 2, 0), Step::Ended(Err(Why::TakenAway)));
        }
    }

    #[test]
    fn what_a_device_shows_of_the_update_before_is_no_end_of_this_one() {
        let seen = |state, result| Seen { state, result, uri: Some(URI.to_owned()) };
        let look = |patient, state, result| {
            next(Stage::Offered, Known { moved: false, patient, ..MOVED }, &seen(state, result), URI, BASE)
        };
        for result in [0, 1, 6] {
            assert!(matches!(look(true, 0, result), Step::Wait(_)), "{result}");
        }
        assert_eq!(look(false, 0, 1), Step::Ended(Err(Why::Idle)), "never a success that was not seen");
        assert_eq!(look(false, 0, 6), Step::Ended(Err(Why::Result(6))));
        assert_eq!(look(true, 2, 0), Step::Execute);
    }

    #[test]
    fn a_restart_goes_on_from_what_the_device_shows() {
        use Stage::*;
        // The write was not noted, or the device forgot it: what never was executed may be offered again.
        assert_eq!(look(Waiting, false, URI, 1, 0), Step::Is(Offered));
        assert_eq!(look(Waiting, false, "", 0, 0), Step::Write);
        // Noted, and the gateway died before it was said, or said it and does not know.
        assert_eq!(look(Executed, false, URI, 2, 0), Step::Execute);
        assert!(matches!(look(Executed, false, URI, 3, 0), Step::Wait(_)));
        assert_eq!(look(Executed, false, URI, 0, 1), Step::Ended(Ok(())));
        // It does not know yet what was under way.
        let nothing = Seen { uri: Some(String::new()), ..Seen::default() };
        assert!(matches!(next(Executed, Known { settling: true, ..MOVED }, &nothing, URI, BASE), Step::Wait(_)));
        assert_eq!(next(Executed, MOVED, &nothing, URI, BASE), Step::Ended(Err(Why::TakenAway)));
        // Somebody else executed it.
        assert_eq!(look(Offered, false, URI, 3, 0), Step::Is(Executed));
    }

    #[test]
    fn a_device_that_tells_no_uri_is_taken_to_show_what_it_was_offered() {
        let quiet = |state, result| Seen { state, result, uri: None };
        assert_eq!(next(Stage::Waiting, MOVED, &quiet(0, 0), URI, BASE), Step::Write);
        assert!(matches!(next(Stage::Waiting, MOVED, &quiet(2, 0), URI, BASE), Step::Wait(_)));
        assert_eq!(next(Stage::Offered, MOVED, &quiet(2, 0), URI, BASE), Step::Execute);
    }

    proptest! {
        #[test]
        fn nothing_is_executed_but_what_was_offered_and_nothing_is_written_over_what_is_not_ours(
            stage in prop::sample::select(vec![Stage::Waiting, Stage::Offered, Stage::Executed]),
            accepted: bool,
            moved: bool,
            patient: bool,
            settling: bool,
            state in 0_u8..6,
            result in 0_u8..14,
            uri in prop::option::of(prop::sample::select(vec!["", URI, "http://x/y", "http://127.0.0.1:5693/s/0/b"])),
        ) {
            let seen = Seen { state, result, uri: uri.map(str::to_owned) };
            match next(stage, Known { accepted, moved, patient, settling }, &seen, URI, BASE) {
                Step::Execute => prop_assert!(state == 2 && stage != Stage::Waiting && !(accepted && stage == Stage::Executed)),
                Step::Write => prop_assert!(state == 0 && stage == Stage::Waiting),
                Step::Reset => prop_assert!(uri.is_some_and(|uri| uri.starts_with(BASE)) && stage == Stage::Waiting),
                Step::Is(further) => prop_assert!(further != stage),
                Step::Ended(Ok(())) => prop_assert!((state, result) == (0, 1) && (moved || stage == Stage::Executed)),
                Step::Ended(Err(_)) | Step::Wait(_) => {}
            }
        }
    }
}
