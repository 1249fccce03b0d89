//! What servers are told of an update against what the board really holds.

use super::case::Victim;
use super::chip::Image;
use super::report::{Kind, Violation};
use super::stand::{Ordered, Stand};
use super::watch::Told;

/// What both servers read once an update has come to rest, and what is known from outside.
pub(super) struct Claim<'a> {
    pub(super) told: &'a Told,
    /// The image of the update.
    pub(super) target: &'a Image,
    /// The image that the board holds as a whole, if it is one of its two.
    pub(super) held: Option<Image>,
    /// Where each server's events of this update begin.
    pub(super) marks: &'a [usize; 2],
    pub(super) ordered: Ordered,
}

impl Claim<'_> {
    /// What of it is not so.
    pub(super) fn untruths(&self, stand: &Stand, victim: Victim) -> Vec<Violation> {
        let all = [self.false_notification(stand), self.false_state(victim), self.false_version(stand)];
        all.into_iter().flatten().collect()
    }

    fn holds_target(&self) -> bool {
        self.held.as_ref() == Some(self.target)
    }

    /// Result 1 was notified to any server at any time of this update: then the board holds its image.
    fn false_notification(&self, stand: &Stand) -> Option<Violation> {
        let results = |at: usize| stand.watches[at].events.values_since(self.marks[at], "/5/0/5");
        let told = (0..2).any(|at| results(at).iter().any(|result| result == "1"));
        let text = || format!("result 1 was notified, the board holds {:?}", self.held);
        (told && !self.holds_target()).then(|| Violation::new(Kind::FalseSuccess, text()))
    }

    /// 5/0/3 and 5/0/5.
    fn false_state(&self, victim: Victim) -> Option<Violation> {
        let told = self.told;
        let seen = || format!("{told:?}, the board holds {:?}", self.held);
        if self.told.is_success() {
            if self.held.is_none() {
                return Some(Violation::new(Kind::FalseSuccess, seen()));
            }
            // A success that is told still is that of the update before, unless this one was begun.
            if !self.holds_target() && self.ordered.execute == Some(204) {
                return Some(Violation::new(Kind::Untruth, format!("an accepted Execute is forgotten: {}", seen())));
            }
            // A daemon that was started anew, or whose board was away, has not asked the board yet.
            let silent = told.version.is_none() && victim == Victim::Tool;
            return silent.then(|| Violation::new(Kind::Untruth, format!("proven without a version: {}", seen())));
        }
        let possible = matches!((told.state.as_str(), told.result.as_str()), ("2", "0" | "8") | ("0", "0" | "4"));
        (!possible).then(|| Violation::new(Kind::Untruth, format!("after a kill: {}", seen())))
    }

    /// 3/0/3, where it is told: what the board holds, or, where that is neither image as a whole, what it says itself.
    fn false_version(&self, stand: &Stand) -> Option<Violation> {
        let version = self.told.version.as_deref()?;
        let kind = if self.told.is_success() { Kind::FalseSuccess } else { Kind::Untruth };
        let (so, seen) = match &self.held {
            Some(held) => (held.version == version, format!("holds {held:?}")),
            None => {
                let says = stand.chip.says().unwrap_or_default();
                (says.contains(&format!("fw={version}")), format!("says {says:?}"))
            }
        };
        (!so).then(|| Violation::new(kind, format!("{:?}, the board {seen}", self.told)))
    }
}
