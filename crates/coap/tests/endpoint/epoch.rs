//! The instant from which this crate's tests count, inside and outside of it: the crate itself knows no clock.

use std::sync::OnceLock;
use std::time::Instant;

/// The same at every call.
#[expect(clippy::disallowed_methods, reason = "an Instant can be had no other way; tests only count from it")]
pub(crate) fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}
