//! Update: in time, with only what is new, and once more when it stays unanswered.

use std::time::{Duration, Instant};

use coap::{Code, Request, Response};

use super::{State, explain};
use crate::client::session::Session;
use crate::client::{Context, Event, SessionId};

/// MAX_TRANSMIT_WAIT of RFC 7252: how long an Update may take with all its retransmissions.
const MAX_TRANSMIT_WAIT: Duration = Duration::from_secs(93);
/// No Update comes sooner after the last one by itself, whatever lifetime a server writes.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(500);
/// An unanswered Update is given at least this long, so that one lost datagram is sent again.
const SHORTEST_PATIENCE: Duration = Duration::from_secs(3);
/// Updates in a row that may stay unanswered.
const UPDATE_ATTEMPTS: u8 = 2;

impl Session {
    pub(super) fn send_update(&mut self, until: Option<Instant>, attempt: u8, context: &mut Context<'_>) {
        self.registration.again = false;
        let request = self.update_request(context);
        match self.coap.request(request, context.now) {
            Ok(request) => {
                let give_up = until.map(|until| context.now + patience(until, attempt, context.now));
                let sent = context.now;
                self.registration.state = State::Updating { request, sent, until, give_up, attempt };
            }
            Err(refused) => self.update_lost(&refused.to_string(), until, attempt, false, context),
        }
    }

    /// Only what changed is told: the objects when there are others, and the lifetime when the server wrote another.
    pub(super) fn update_request(&mut self, context: &Context<'_>) -> Request {
        let mut request = Request::new(Code::POST);
        request.path = self.registration.location.as_deref().unwrap_or_default().to_vec();
        let lifetime = self.settings.lifetime;
        self.registration.asked_lifetime = lifetime;
        if lifetime != self.registration.told_lifetime {
            request.query.push(format!("lt={lifetime}"));
        }
        if self.registration.objects { self.with_objects(request, context) } else { request }
    }

    pub(super) fn update_answered(&mut self, response: &Response, sent: Instant, context: &mut Context<'_>) {
        if !response.code.is_success() {
            self.registration.last_error = Some(explain(response).into());
            return self.register(context);
        }
        self.settle(sent, context);
        context.events.push_back(Event::Updated { session: SessionId(self.index) });
        let (observations, mut reporter) = self.reporter(context);
        observations.repeat_lost(&mut reporter);
        self.catch_up(context);
    }

    /// `late`: its time was over, so the next one goes at once.
    pub(super) fn update_lost(
        &mut self,
        why: &str,
        until: Option<Instant>,
        attempt: u8,
        late: bool,
        context: &mut Context<'_>,
    ) {
        self.registration.last_error = Some(why.into());
        let left = until.map(|until| until.saturating_duration_since(context.now));
        if attempt >= UPDATE_ATTEMPTS || left.is_some_and(|left| left.is_zero()) {
            return self.need_socket(context);
        }
        if late {
            return self.send_update(until, attempt + 1, context);
        }
        let retry = context.facts.servers[self.index].retry;
        let wait = left.map_or(retry, |left| retry.min(left / 2));
        self.registration.state = State::Registered { until, update_at: Some(context.now + wait), attempt };
    }

    /// A Register or Update that was sent then has been taken: the server counts from its arrival, so no later than we.
    pub(super) fn settle(&mut self, sent: Instant, context: &mut Context<'_>) {
        let told = self.registration.asked_lifetime;
        self.registration.told_lifetime = told;
        self.registration.last_error = None;
        // What changed meanwhile is still to be told.
        self.registration.objects &= self.registration.again;
        let lifetime = Duration::from_secs(told.into());
        let until = (told > 0).then(|| sent + lifetime);
        let update_at = until.map(|_| sent + update_interval(lifetime, context.rng));
        self.registration.state = State::Registered { until, update_at, attempt: 0 };
    }

    /// Sends what came up while the last request was under way.
    pub(super) fn catch_up(&mut self, context: &mut Context<'_>) {
        if self.registration.again || self.settings.lifetime != self.registration.told_lifetime {
            self.update(context);
        }
    }
}

/// From one Register or Update to the next Update: half a short lifetime; of a long one all but what an Update may take.
fn update_interval(lifetime: Duration, rng: &mut fastrand::Rng) -> Duration {
    let interval = if lifetime < 2 * MAX_TRANSMIT_WAIT { lifetime / 2 } else { lifetime - MAX_TRANSMIT_WAIT };
    interval.mul_f64(0.95 + 0.05 * rng.f64()).max(SHORTEST_INTERVAL)
}

/// How long an Update may stay unanswered: the first for half of what is left, the second for the rest.
fn patience(until: Instant, attempt: u8, now: Instant) -> Duration {
    let left = until.saturating_duration_since(now);
    if attempt < UPDATE_ATTEMPTS { (left / 2).max(SHORTEST_PATIENCE) } else { left.max(SHORTEST_PATIENCE) }
}
