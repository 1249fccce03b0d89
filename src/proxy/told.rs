//! What was last said of a session, so that nothing is said twice: with a thousand devices, a server that is dead for a
//! day would fill the log and keep the gateway busy.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why a server takes no registrations, as far as the log has it: what all its sessions share, so that a server that
/// dies is one line and not one for each device.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<Box<str>>>);

impl Outage {
    /// A session was refused for this reason.
    pub(super) fn failed(&self, reason: &str) -> News {
        let mut said = self.said();
        if said.as_deref() == Some(reason) {
            return News::Known;
        }
        *said = Some(reason.into());
        News::New
    }

    /// The server took a registration.
    pub(super) fn is_over(&self) {
        *self.said() = None;
    }

    /// A plain value: a poisoned lock is still good.
    fn said(&self) -> MutexGuard<'_, Option<Box<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something is worth a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It is.
    New,
    /// It was said before.
    Known,
}

/// What was said of one session.
#[derive(Debug, Default)]
pub(super) struct Told {
    log: Option<Logged>,
    gateway: Option<bool>,
}

#[derive(Debug, PartialEq, Eq)]
enum Logged {
    Registered,
    Failed(Box<str>),
}

impl Told {
    /// The server took a registration.
    pub(super) fn registered(&mut self) -> News {
        self.say(Logged::Registered)
    }

    /// It did not, for this reason.
    pub(super) fn failed(&mut self, reason: &str) -> News {
        match &self.log {
            Some(Logged::Failed(before)) if **before == *reason => News::Known,
            _ => self.say(Logged::Failed(reason.into())),
        }
    }

    fn say(&mut self, now: Logged) -> News {
        let known = self.log.as_ref() == Some(&now);
        self.log = Some(now);
        if known { News::Known } else { News::New }
    }

    /// Whether the gateway has heard so already.
    pub(super) fn gateway_knows(&self, registered: bool) -> bool {
        self.gateway == Some(registered)
    }

    /// The gateway heard it.
    pub(super) fn gateway_was_told(&mut self, registered: bool) {
        self.gateway = Some(registered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_news() {
        let mut told = Told::default();
        assert_eq!(told.failed("no answer"), News::New);
        assert_eq!(told.failed("no answer"), News::Known);
        assert_eq!(told.failed("unreachable"), News::New);
        assert_eq!(told.registered(), News::New);
        assert_eq!(told.registered(), News::Known);
        assert_eq!(told.failed("unreachable"), News::New);
    }

    #[test]
    fn an_outage_is_one_piece_of_news_for_all_sessions() {
        let outage = Outage::default();
        assert_eq!(outage.failed("unreachable"), News::New);
        assert_eq!(outage.failed("unreachable"), News::Known);
        assert_eq!(outage.failed("4.03"), News::New);
        outage.is_over();
        assert_eq!(outage.failed("4.03"), News::New);
    }

    #[test]
    fn the_gateway_is_told_again_until_it_heard() {
        let mut told = Told::default();
        assert!(!told.gateway_knows(true) && !told.gateway_knows(false));
        told.gateway_was_told(true);
        assert!(told.gateway_knows(true) && !told.gateway_knows(false));
    }
}
