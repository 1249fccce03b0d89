//! The end of an update without success: the way back where the board's file wants it, quarantine where the board does not
//! tell that it runs.

use super::core::Core;
use super::io::{Now, Output};
use super::retry::{Tries, await_board};
use super::state::{Held, State};
use crate::device::{BoardState, GoodImage, JournalStep, ReportedVersion, Restoring, RollbackPolicy, UpdateEvent};
use crate::update::table::Standing;

/// Flash or proof has failed for good, and nothing is known of what runs: goes back to the last good image where that is
/// wanted, else says so.
pub(super) fn give_up(mut held: Held, reason: String, core: &mut Core, now: Now) -> State {
    if core.board == BoardState::Sound {
        return failed(held, reason, core, now);
    }
    if held.restoring.is_none() {
        core.out.push(Output::Judged { image: held.image.sha256, failure: Some(reason.clone()) });
    }
    match way_back(&held, core) {
        Some(good) => {
            let version = good.image.version.clone();
            core.event(held.update.id, UpdateEvent::RollingBack { reason: reason.clone(), version });
            held.tries = Tries::beginning(&core.facts.profile, core.facts.worked.as_deref());
            held.restoring = Some(Box::new(Restoring { good, reason: reason.clone() }));
            await_board(held, reason, core, now)
        }
        None => quarantine(held, reason, core, now),
    }
}

/// The last good image, where it is to be put back at once and is not what has just failed.
fn way_back(held: &Held, core: &Core) -> Option<GoodImage> {
    let wanted = core.facts.profile.rollback == RollbackPolicy::OnFailure && held.restoring.is_none();
    let mut goods = core.facts.goods.images.iter().filter(|good| good.image.sha256 != held.image.sha256);
    goods.next().filter(|_| wanted).cloned()
}

fn quarantine(mut held: Held, reason: String, core: &mut Core, now: Now) -> State {
    let reason = match held.restoring.take() {
        Some(restoring) => format!("{}; putting the last good image back failed too: {reason}", restoring.reason),
        None => reason,
    };
    let offer = match core.facts.goods.images.is_empty() {
        false => "; `nuncio rollback` puts the last good image back",
        true => "",
    };
    let why = format!("{reason}{offer}");
    core.event(held.update.id, UpdateEvent::Quarantined { reason: why.clone() });
    core.set_board(BoardState::Quarantined { reason: why });
    core.set_version(None);
    failed(held, reason, core, now)
}

/// The board runs, and tells this, which is not what was expected: no quarantine, but the truth in 3/0/3.
pub(super) fn runs_otherwise(held: Held, told: ReportedVersion, reason: String, core: &mut Core, now: Now) -> State {
    if held.restoring.is_none() && way_back(&held, core).is_some() && !is_before(&held, &told) {
        return give_up(held, reason, core, now);
    }
    if held.restoring.is_none() {
        core.out.push(Output::Judged { image: held.image.sha256, failure: Some(reason.clone()) });
    }
    core.set_board(BoardState::Sound);
    core.set_version(Some(told));
    failed(held, reason, core, now)
}

/// Whether the board tells what it told before the flash: it has rolled itself back.
pub(super) fn is_before(held: &Held, told: &ReportedVersion) -> bool {
    held.update.before.as_ref().is_some_and(|before| before.text == told.text)
}

/// The last good image is back and proven: the update has failed all the same, but the board runs.
pub(super) fn restored(
    held: Held,
    restoring: Restoring,
    told: Option<ReportedVersion>,
    core: &mut Core,
    now: Now,
) -> State {
    let Restoring { good, reason } = restoring;
    let back = good.image.version.as_ref().map_or_else(String::new, |version| format!(", version {version},"));
    core.out.push(Output::Holds(Box::new(good)));
    core.set_board(BoardState::Sound);
    core.set_version(told.clone());
    core.event(held.update.id, UpdateEvent::RolledBack { version: told });
    failed(held, format!("{reason}; the last good image{back} was put back and runs"), core, now)
}

/// The image stays: Execute may be tried again.
pub(super) fn failed(mut held: Held, reason: String, core: &mut Core, now: Now) -> State {
    (held.failed, held.recovering, held.restoring, held.since) = (true, None, None, now.instant);
    core.journal_staged(&held, Standing::Staged { failed: true }, now);
    core.event(held.update.id, UpdateEvent::UpdateFailed { reason });
    State::Staged(Box::new(held))
}

/// The journal's step while the tool's work is being proven.
pub(super) fn proving(held: &Held) -> JournalStep {
    JournalStep::Proving { image: held.image.clone(), restoring: held.restoring.clone() }
}
