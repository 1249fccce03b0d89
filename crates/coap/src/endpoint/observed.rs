//! What the peer observes here (RFC 7641), as far as the endpoint must know it: under which key the rest of a large notification is fetched, and
//! which message id a RST would name. Whether and when to notify is for the layer above.

use super::key::TransferKey;
use crate::{MessageId, NotificationId, Token};

/// The most observations that are known; the oldest gives way, which costs it only block-wise notifications and cancellation by RST of a NON.
const MAX_OBSERVED: usize = 512;

/// One observation of the peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observed {
    token: Token,
    /// Where the peer fetches the rest, and the block size it asked for.
    pub(super) source: Option<(TransferKey, u8)>,
    last: Option<(MessageId, NotificationId)>,
}

/// The peer's observations.
#[derive(Debug, Default)]
pub(super) struct Observations {
    observed: Vec<Observed>,
}

impl Observations {
    /// The peer's request with this token became an observation.
    pub(super) fn add(&mut self, token: Token, key: TransferKey, szx: u8) {
        self.remove(token);
        if self.observed.len() >= MAX_OBSERVED {
            self.observed.remove(0);
        }
        self.observed.push(Observed { token, source: Some((key, szx)), last: None });
    }

    /// It is one no longer.
    pub(super) fn remove(&mut self, token: Token) {
        self.observed.retain(|observed| observed.token != token);
        if self.observed.is_empty() {
            self.observed = Vec::new();
        }
    }

    /// The observation of this token.
    pub(super) fn get(&self, token: Token) -> Option<&Observed> {
        self.observed.iter().find(|observed| observed.token == token)
    }

    /// A notification went out as this message. Only the last one of each observation is known: who resets an earlier one resets this one too.
    pub(super) fn notified(&mut self, token: Token, message: MessageId, id: NotificationId) {
        let last = Some((message, id));
        if let Some(observed) = self.observed.iter_mut().find(|observed| observed.token == token) {
            observed.last = last;
        } else if self.observed.len() < MAX_OBSERVED {
            self.observed.push(Observed { token, source: None, last });
        }
    }

    /// The notification that a RST means; its observation is over.
    pub(super) fn reset(&mut self, message: MessageId) -> Option<(NotificationId, Token)> {
        let hit =
            |observed: &Observed| observed.last.filter(|(id, _)| *id == message).map(|(_, id)| (id, observed.token));
        let (id, token) = self.observed.iter().find_map(hit)?;
        self.remove(token);
        Some((id, token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: u64) -> Token {
        Token::from(number.to_be_bytes())
    }

    #[test]
    fn a_reset_names_the_last_notification_and_ends_the_observation() {
        let mut observations = Observations::default();
        observations.notified(token(1), MessageId(10), NotificationId(1));
        observations.notified(token(1), MessageId(11), NotificationId(2));
        assert_eq!(observations.reset(MessageId(10)), None);
        assert_eq!(observations.reset(MessageId(11)), Some((NotificationId(2), token(1))));
        assert!(observations.get(token(1)).is_none());
    }

    #[test]
    fn observations_are_bounded() {
        let mut observations = Observations::default();
        for number in 0..2000 {
            observations.notified(token(number), MessageId(number as u16), NotificationId(number));
        }
        assert_eq!(observations.observed.len(), MAX_OBSERVED);
    }
}
