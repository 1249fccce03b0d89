//! `make soak`: for hours the release build has two hundred devices that come and go and an update a minute, with every
//! people-facing room open; and what it holds afterwards is what it held after ten minutes.
//!
//! Everything that is seen goes into a folder while it is seen: samples, events, the daemon's log. The verdict is made of
//! that folder alone, so a run that broke off can be judged, and one that goes on can be looked at.

mod crowd;
mod plan;
mod record;
mod run;
mod sample;
mod stage;
mod trouble;
mod updates;
mod verdict;
mod visitors;

pub use plan::Plan;
pub use run::run;
pub use verdict::Verdict;
