//! One client's life at one server: the endpoint, the registration, and what the server set up here.
//!
//! The parts have files of their own; this one holds them together and routes events to them.

use std::time::Instant;

use super::observe::{AttributeTable, Observations, Reporter};
use super::push::Push;
use super::registration::Registration;
use super::{Context, SessionStatus};
use crate::client::ServerConfig;
use crate::objects::{Facts, ServerSettings, Tree};
use crate::path::Path;

/// One session. Small when idle: what is rarely there is boxed or in an empty table.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) index: usize,
    pub(super) coap: coap::Endpoint,
    pub(super) registration: Registration,
    pub(super) settings: ServerSettings,
    pub(super) attributes: AttributeTable,
    pub(super) observations: Observations,
    pub(super) push: Option<Box<Push>>,
}

impl Session {
    pub(super) fn new(index: usize, server: &ServerConfig, coap: coap::Endpoint) -> Self {
        Self {
            index,
            coap,
            registration: Registration::new(server.version),
            settings: ServerSettings::new(server),
            attributes: AttributeTable::default(),
            observations: Observations::default(),
            push: None,
        }
    }

    /// This server's view of the device.
    pub(super) fn tree<'a>(&self, facts: &'a Facts) -> Tree<'a> {
        facts.tree(self.index, self.settings, self.registration.version)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.registration.is_over() {
            return None;
        }
        let reports = self.observations.deadline().filter(|_| self.registration.listens());
        [self.coap.poll_timeout(), self.registration.deadline(), reports].into_iter().flatten().min()
    }

    pub(super) fn handle_timeout(&mut self, context: &mut Context<'_>) {
        self.coap.handle_timeout(context.now);
        if self.registration.deadline().is_some_and(|due| due <= context.now) {
            self.handle_registration_timeout(context);
        }
        if self.observations.deadline().is_some_and(|due| due <= context.now) && self.registration.listens() {
            let (observations, mut reporter) = self.reporter(context);
            observations.handle_timeout(&mut reporter);
        }
    }

    /// Takes what the endpoint tells, requests excepted.
    pub(super) fn handle_event(&mut self, event: coap::Event, context: &mut Context<'_>) {
        match event {
            coap::Event::Response { request, response } => self.handle_response(request, &response, context),
            coap::Event::Failed { request, reason } => self.handle_failure(request, &reason.to_string(), context),
            coap::Event::NotificationReset { token, .. } => {
                self.observations.remove(token, &mut self.coap);
            }
            coap::Event::NotificationAcknowledged(id) => self.notification_landed(id, true, context),
            coap::Event::NotificationTimedOut(id) => self.notification_landed(id, false, context),
            coap::Event::Request(_) | coap::Event::Notification { .. } | coap::Event::PingAnswered => {}
        }
    }

    fn notification_landed(&mut self, id: coap::NotificationId, arrived: bool, context: &Context<'_>) {
        let (observations, mut reporter) = self.reporter(context);
        observations.landed(id, arrived, &mut reporter);
    }

    /// Notifies this server's observers of an object.
    pub(super) fn report(&mut self, object: u16, context: &mut Context<'_>) {
        if self.registration.listens() {
            let (observations, mut reporter) = self.reporter(context);
            observations.report(object, &mut reporter);
        }
    }

    /// Whether the server observes such a path.
    pub(super) fn observes(&self, chosen: impl Fn(Path) -> bool) -> bool {
        self.registration.listens() && self.observations.any(chosen)
    }

    /// The observations, and apart from them all they need to send.
    pub(super) fn reporter<'a>(&'a mut self, context: &Context<'a>) -> (&'a mut Observations, Reporter<'a>) {
        let reporter = Reporter {
            tree: self.tree(context.facts),
            attributes: &self.attributes,
            coap: &mut self.coap,
            ack_timeout: context.ack_timeout,
            now: context.now,
        };
        (&mut self.observations, reporter)
    }

    pub(super) fn status(&self) -> SessionStatus {
        SessionStatus {
            lifetime: self.settings.lifetime,
            observations: self.observations.len(),
            ..self.registration.status()
        }
    }
}
