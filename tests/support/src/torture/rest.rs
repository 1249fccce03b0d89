//! Waiting until an update has come to rest: both servers read it, and the daemon holds nothing any more.

use std::time::{Duration, Instant};

use super::stand::{Broken, Stand};
use super::watch::{Told, Watch};

/// Many times what the longest way takes: a restart, a flash, a proof, two retries, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(300);
/// How often one server is asked for 5/0/3.
const LOOK: Duration = Duration::from_millis(200);

/// Where an update has come to rest.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    /// What each server reads.
    pub(super) told: [Told; 2],
    /// When both read the same.
    pub(super) at: Instant,
}

/// Waits for it.
pub(super) fn await_rest(stand: &mut Stand) -> Result<Rest, Broken> {
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < LIMIT {
        if let Some(rest) = look(stand, &mut last) {
            return Ok(rest);
        }
        stand.breathe(LOOK)?;
    }
    let device = stand.scene.daemon.device(&stand.scene.name);
    Err(Broken::Late(format!("the update does not come to rest within {LIMIT:?}: {last:?}, {device:?}")))
}

fn look(stand: &mut Stand, last: &mut Option<[Option<Told>; 2]>) -> Option<Rest> {
    if !stand.attend() || !stand.watches[0].state().is_some_and(|state| rests(&state)) {
        return None;
    }
    let told = stand.watches.each_ref().map(Watch::told);
    last.replace(told.clone());
    let at = Instant::now();
    let [Some(first), Some(second)] = told else { return None };
    let agree = rests(&first.state) && first == second && first.result != "11";
    (agree && is_free(stand)).then_some(Rest { told: [first, second], at })
}

fn rests(state: &str) -> bool {
    state == "0" || state == "2"
}

/// The daemon itself says that the board is there, and that nobody holds its link.
fn is_free(stand: &Stand) -> bool {
    let device = stand.scene.daemon.device(&stand.scene.name);
    device.is_some_and(|device| device.present() && device.0["in_use_by"].is_null())
}
