//! What a client shows of its sessions: whoever wants to know reads it, and waits for nobody.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use lwm2m::client::{self, Client, SessionId};

use super::{ServerSettings, SessionStatus};

/// The sessions of one client as its task left them last, in the order of the servers.
#[derive(Debug)]
pub(super) struct Sessions {
    servers: Arc<[ServerSettings]>,
    last: Mutex<Vec<client::SessionStatus>>,
}

impl Sessions {
    pub(super) fn of(servers: Arc<[ServerSettings]>, client: &Client) -> Self {
        let sessions = Self { servers, last: Mutex::default() };
        sessions.show(client);
        sessions
    }

    /// The client's turn is over.
    pub(super) fn show(&self, client: &Client) {
        let mut last = self.last();
        last.clear();
        last.extend((0..self.servers.len()).map_while(|at| client.status(SessionId(at))));
    }

    pub(super) fn read(&self, now: Instant) -> Vec<SessionStatus> {
        let in_s = |due: Option<Instant>| due.map(|due| due.saturating_duration_since(now).as_secs());
        let describe = |(server, status): (&ServerSettings, &client::SessionStatus)| SessionStatus {
            server: server.name.clone(),
            short_id: server.short_id,
            state: status.state,
            location: status.location.clone(),
            lifetime_s: status.lifetime,
            expires_in_s: in_s(status.registered_until),
            next_attempt_in_s: in_s(status.next_attempt),
            last_error: status.last_error.clone(),
        };
        self.servers.iter().zip(self.last().iter()).map(describe).collect()
    }

    /// Plain values: a poisoned lock is still good.
    fn last(&self) -> MutexGuard<'_, Vec<client::SessionStatus>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn seconds_are_counted_from_when_somebody_reads() {
        let server: ServerSettings =
            toml::from_str("name = \"factory\"\nuri = \"coap://127.0.0.1\"\nshort_id = 101").expect("a server");
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let status = client::SessionStatus {
            state: client::RegistrationState::Registered,
            location: Some("/rd/4711".to_owned()),
            version: lwm2m::model::Version { major: 1, minor: 1 },
            lifetime: 60,
            registered_until: Some(after(60)),
            next_attempt: Some(after(50)),
            last_error: None,
            observations: 0,
        };
        let sessions = Sessions { servers: [server].into(), last: Mutex::new(vec![status]) };
        let read = |seconds| {
            let [read] = sessions.read(after(seconds)).try_into().expect("one session");
            assert_eq!(
                (read.server.as_str(), read.short_id, read.location.as_deref()),
                ("factory", 101, Some("/rd/4711"))
            );
            (read.expires_in_s, read.next_attempt_in_s)
        };
        assert_eq!(read(0), (Some(60), Some(50)));
        assert_eq!(read(55), (Some(5), Some(0)));
        assert_eq!(read(70), (Some(0), Some(0)));
    }
}
