//! What an update from a local file would do, worked out with the functions that would do it; nothing is changed.

use std::sync::Arc;
use std::time::Instant;

use super::state::{Held, State, Update};
use super::{Machine, flash, retry, saving};
use crate::device::{FlashJob, FlashProfile, GoodImage, Requester, StagedImage, UpdateId};
use crate::update::table::Refused;

/// What an update would do.
#[derive(Debug)]
pub struct Forecast {
    /// The image, where the operator has it; or why it would not be staged.
    pub image: Result<StagedImage, Refused>,
    /// Another update is staged or under way, which this one would be refused for.
    pub busy: bool,
    /// Why the flash would wait; the port's lease is not asked for.
    pub held_up: Option<String>,
    /// The runs of the tool, in order: one that reads the board where there is no way back yet, then the flash. Empty
    /// without an image or a link.
    pub jobs: Vec<FlashJob>,
    /// What could be put back afterwards, as long as nothing is saved by the first run.
    pub way_back: Option<GoodImage>,
    /// The board's rules.
    pub profile: Arc<FlashProfile>,
}

impl Machine {
    /// What an update with this image would do now.
    pub fn forecast(&self, image: Result<StagedImage, Refused>, now: Instant) -> Forecast {
        let facts = &self.core.facts;
        let jobs = image.as_ref().map(|image| self.runs(image.clone(), now)).unwrap_or_default();
        Forecast {
            image,
            busy: !matches!(self.state, State::Idle(_)),
            held_up: None,
            jobs,
            way_back: facts.goods.images.first().cloned(),
            profile: Arc::clone(&facts.profile),
        }
    }

    fn runs(&self, image: StagedImage, now: Instant) -> Vec<FlashJob> {
        let facts = &self.core.facts;
        let Some(link) = &facts.link else { return Vec::new() };
        let update = Update {
            id: UpdateId(uuid::Uuid::nil()),
            owner: Requester::Local,
            uri: String::new(),
            before: facts.version.clone(),
        };
        let mut held = Held::new(update, image, now);
        held.tries = retry::Tries::beginning(&facts.profile, facts.worked.as_deref());
        let mut jobs = Vec::new();
        if saving::is_due(&held, &self.core) {
            held.attempt += 1;
            jobs.push(flash::job(&held, link, true, &self.core));
        }
        held.attempt += 1;
        jobs.push(flash::job(&held, link, false, &self.core));
        jobs
    }
}
