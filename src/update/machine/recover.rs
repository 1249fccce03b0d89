//! After a restart: each step that an earlier gateway wrote down is finished, or its truth told.

use std::path::PathBuf;
use std::time::Duration;

use super::core::Core;
use super::io::Now;
use super::proof;
use super::receive;
use super::retry::Tries;
use super::state::{Held, State, Update};
use super::wait::{self, Wait};
use crate::device::{JournalEntry, JournalStep, Restoring, StagedImage, UpdateResult};
use crate::update::download::Resume;
use crate::update::settings::AfterCrash;
use crate::update::table::{Refusal, Refused, ending_of};
use crate::update::uri::ImageUri;

/// A gateway that dies again and again in the middle of this flash is not helped by another one.
const MAX_TAKEN_UP: u32 = 12;
/// How long a flash that a crash cut off may wait for its port.
const PATIENCE: Duration = Duration::from_secs(600);

/// The state to go on in.
pub(super) fn recover(entry: JournalEntry, core: &mut Core, now: Now) -> State {
    let result = entry.view.result;
    let lain = u64::try_from(now.unix.saturating_sub(entry.view.last_change)).unwrap_or(0);
    let update = Update { id: entry.update, owner: entry.requester, uri: entry.uri, before: entry.version_before };
    let since = now.instant.checked_sub(Duration::from_secs(lain)).unwrap_or(now.instant);
    let tries = Tries::beginning(&core.facts.profile, core.facts.worked.as_deref());
    let hold = |image: StagedImage, attempt: u32, restoring: Option<Box<Restoring>>| Held {
        tries,
        attempt,
        failed: result == UpdateResult::Failed,
        checked: false,
        restoring,
        ..Held::new(update.clone(), image, since)
    };
    match entry.step {
        JournalStep::Closed { .. } => State::Idle(ending_of(result)),
        JournalStep::Downloading { part, synced, etag } => resume(update, part, synced, etag, core, now),
        JournalStep::Staged { image } => {
            let before = (result == UpdateResult::Deferred).then(|| Wait::HeldUp("the gateway was restarted".into()));
            wait::recheck(hold(image, 0, None), before, core)
        }
        JournalStep::Flashing { image, attempt, restoring, .. } => {
            interrupted(hold(image, attempt, restoring), core, now)
        }
        JournalStep::Proving { image, restoring } => proof::begin(hold(image, 1, restoring), true, core, now),
    }
}

fn resume(update: Update, part: PathBuf, synced: u64, etag: Option<String>, core: &mut Core, now: Now) -> State {
    let uri = ImageUri::parse(&update.uri).and_then(|uri| core.rules.policy.check(&uri.request).map(|()| uri));
    match (uri, etag) {
        (Ok(uri), Some(etag)) => receive::download(update, uri, Some(Resume { part, synced, etag }), core, now),
        _ => {
            let reason = "the gateway was restarted while the image came in, and it cannot be resumed; write it again";
            State::Idle(core.refuse(&update, Refused::new(Refusal::ConnectionLost, reason), now))
        }
    }
}

/// The tool died with the gateway: the board may hold anything.
fn interrupted(mut held: Held, core: &mut Core, now: Now) -> State {
    match core.rules.settings.after_crash {
        AfterCrash::Finish if held.attempt >= MAX_TAKEN_UP => proof::begin(held, false, core, now),
        AfterCrash::Finish => {
            held.recovering = Some(now.instant + PATIENCE);
            wait::recheck(held, Some(Wait::Fresh), core)
        }
        AfterCrash::Report => proof::begin(held, false, core, now),
    }
}
