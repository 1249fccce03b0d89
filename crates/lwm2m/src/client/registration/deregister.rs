//! De-register, and the silence after it: for a while (1/x/4) or for good.

use std::time::{Duration, Instant};

use coap::{Code, Request, Response};

use super::{DEREGISTER_LIMIT, State};
use crate::client::session::Session;
use crate::client::{Context, Event, SessionId};

/// What comes after a De-register.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    Disable,
    End,
}

impl Session {
    pub(super) fn deregister(&mut self, then: Then, context: &mut Context<'_>) {
        match self.registration.state {
            State::Registered { .. } => {}
            State::Updating { request, .. } => self.coap.cancel(request, context.now),
            State::Deregistering { request, give_up, .. } => {
                self.registration.state = State::Deregistering { request, give_up, then };
                return;
            }
            State::Leaving { .. } | State::Ended => return,
            // The server may have taken it already: only its answer tells what there is to be ended.
            State::Registering { request, .. } => {
                let give_up = context.now + DEREGISTER_LIMIT;
                self.registration.state = State::Leaving { request, give_up, then };
                return;
            }
            State::AwaitingSocket | State::Waiting { .. } | State::Disabled { .. } => {
                return self.silence(then, context);
            }
        }
        self.send_deregister(context.now + DEREGISTER_LIMIT, then, context);
    }

    /// The answer to a Register that is not wanted any more.
    pub(super) fn left_answered(
        &mut self,
        response: &Response,
        give_up: Instant,
        then: Then,
        context: &mut Context<'_>,
    ) {
        if response.code != Code::CREATED || response.location_path.is_empty() {
            return self.silence(then, context);
        }
        self.registration.location = Some(response.location_path.as_slice().into());
        self.send_deregister(give_up, then, context);
    }

    /// The server does not answer, or cannot: it is left all the same.
    pub(super) fn leave_unanswered(&mut self, context: &mut Context<'_>) {
        match self.registration.state {
            State::Leaving { request, then, .. } => {
                self.coap.cancel(request, context.now);
                self.silence(then, context);
            }
            State::Deregistering { request, then, .. } => {
                self.coap.cancel(request, context.now);
                self.deregistered(then, context);
            }
            _ => {}
        }
    }

    fn send_deregister(&mut self, give_up: Instant, then: Then, context: &mut Context<'_>) {
        self.observations.clear(&mut self.coap);
        let mut request = Request::new(Code::DELETE);
        request.path = self.registration.location.as_deref().unwrap_or_default().to_vec();
        match self.coap.request(request, context.now) {
            Ok(request) => self.registration.state = State::Deregistering { request, give_up, then },
            Err(_) => self.deregistered(then, context),
        }
    }

    pub(super) fn deregistered(&mut self, then: Then, context: &mut Context<'_>) {
        context.events.push_back(Event::Deregistered { session: SessionId(self.index) });
        self.silence(then, context);
    }

    pub(super) fn silence(&mut self, then: Then, context: &mut Context<'_>) {
        self.observations.clear(&mut self.coap);
        self.registration.location = None;
        self.registration.state = match then {
            Then::End => State::Ended,
            Then::Disable => {
                let seconds = self.settings.disable_timeout.max(1);
                State::Disabled { until: context.now + Duration::from_secs(seconds.into()) }
            }
        };
    }
}
