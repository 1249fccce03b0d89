//! What was last said of a session, so that nothing is said twice: with a thousand devices, a server that is dead for a
//! day would fill the log and keep the gateway busy.

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
    fn the_gateway_is_told_again_until_it_heard() {
        let mut told = Told::default();
        assert!(!told.gateway_knows(true) && !told.gateway_knows(false));
        told.gateway_was_told(true);
        assert!(told.gateway_knows(true) && !told.gateway_knows(false));
    }
}
