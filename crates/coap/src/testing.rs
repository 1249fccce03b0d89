//! For the unit tests of this crate: one fixed instant to count from.

use std::sync::OnceLock;
use std::time::Instant;

/// The instant at which every test begins.
#[expect(clippy::disallowed_methods, reason = "an Instant can be had no other way; tests only count from it")]
pub(crate) fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}
