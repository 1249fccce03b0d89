//! De-register, and the silence after it: for a while (1/x/4) or for good.

use std::time::Duration;

use coap::{Code, Request};

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
            State::Ended => return,
            State::Registering { request, .. } => {
                self.coap.cancel(request, context.now);
                return self.silence(then, context);
            }
            State::AwaitingSocket | State::Waiting { .. } | State::Disabled { .. } => {
                return self.silence(then, context);
            }
        }
        self.observations.clear(&mut self.coap);
        let mut request = Request::new(Code::DELETE);
        request.path = self.registration.location.as_deref().unwrap_or_default().to_vec();
        match self.coap.request(request, context.now) {
            Ok(request) => {
                let give_up = context.now + DEREGISTER_LIMIT;
                self.registration.state = State::Deregistering { request, give_up, then };
            }
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
