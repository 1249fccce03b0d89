//! Kills the daemon, the tool and the link again and again in the middle of flashes, and checks after each kill that both
//! servers are told the truth, that nothing is left over, and that the board can be flashed again.
//!
//! Several *stands* work side by side: each a world with one board, one daemon and one device, all registered at the same
//! two Leshans, which watch through all of it. A *case* is one kill: which of the two tools, which victim, and which
//! moment of the flash; all three, and every other choice, follow from the seed and the case's number alone. `make torture`
//! runs the whole plan, `tests/e2e_torture.rs` a small one.

mod case;
mod chip;
mod claim;
mod crew;
mod killer;
mod report;
mod rest;
mod signs;
mod stand;
mod truth;
mod watch;

pub use case::{Case, Plan, Tool, Victim};
pub use crew::run;
pub use report::{Report, Violation};
pub use watch::Told;
