//! Register, Update and De-register towards one server, for ever (LwM2M core 6.2; decisions.md §3).
//!
//! One state at a time, one deadline. A failed Register waits and asks for a new socket, so that the server's name is
//! resolved again; an Update that stays unanswered is sent once more before the registration is given up.

mod deregister;
mod update;

use std::time::{Duration, Instant};

use coap::{Code, Request, RequestId, Response};

use deregister::Then;

use super::session::Session;
use super::{Context, Event, SessionId, SessionStatus, discover};
use crate::format::ContentFormat;
use crate::model::Version;

/// A De-register is not waited for any longer than this.
pub(super) const DEREGISTER_LIMIT: Duration = Duration::from_secs(4);
/// Longest explanation kept of a failure, in bytes.
const MAX_DETAIL: usize = 120;

/// Where a registration is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationState {
    /// Waits for the driver's socket.
    Connecting,
    /// Register is under way.
    Registering,
    /// The server knows us.
    Registered,
    /// It does, and an Update is under way.
    Updating,
    /// De-register is under way.
    Deregistering,
    /// A Register failed; the next one waits for its time.
    Waiting,
    /// The server asked for silence (1/x/4).
    Disabled,
    /// Shut down.
    Ended,
}

/// The registration of one session.
#[derive(Debug)]
pub(super) struct Registration {
    state: State,
    pub(super) version: Version,
    failures: u32,
    /// Set while the server knows us.
    location: Option<Box<[String]>>,
    /// The lifetime in the last Register or Update that was sent, in seconds.
    asked_lifetime: u32,
    /// The lifetime that the server knows, in seconds.
    told_lifetime: u32,
    /// There are other objects than the server was told of.
    objects: bool,
    /// Something came up while an Update was under way: send another.
    again: bool,
    last_error: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    AwaitingSocket,
    Registering {
        request: RequestId,
        sent: Instant,
    },
    Registered {
        until: Option<Instant>,
        update_at: Option<Instant>,
        attempt: u8,
    },
    Updating {
        request: RequestId,
        sent: Instant,
        until: Option<Instant>,
        give_up: Option<Instant>,
        attempt: u8,
    },
    /// A Register is under way that is not wanted any more: what it makes is ended again.
    Leaving {
        request: RequestId,
        give_up: Instant,
        then: Then,
    },
    Deregistering {
        request: RequestId,
        give_up: Instant,
        then: Then,
    },
    Waiting {
        until: Instant,
    },
    Disabled {
        until: Instant,
    },
    Ended,
}

impl Registration {
    pub(super) fn new(version: Version) -> Self {
        Self {
            state: State::AwaitingSocket,
            version,
            failures: 0,
            location: None,
            asked_lifetime: 0,
            told_lifetime: 0,
            objects: false,
            again: false,
            last_error: None,
        }
    }

    /// Whether datagrams of the server are taken: a request may overtake the answer to Register.
    pub(super) fn listens(&self) -> bool {
        !matches!(self.state, State::AwaitingSocket | State::Waiting { .. } | State::Disabled { .. } | State::Ended)
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::AwaitingSocket | State::Registering { .. } | State::Ended => None,
            State::Registered { update_at, .. } => update_at,
            State::Updating { give_up, .. } => give_up,
            State::Leaving { give_up, .. } | State::Deregistering { give_up, .. } => Some(give_up),
            State::Waiting { until } | State::Disabled { until } => Some(until),
        }
    }

    /// All of the status but what the session adds.
    pub(super) fn status(&self) -> SessionStatus {
        let (state, registered_until) = match self.state {
            State::AwaitingSocket => (RegistrationState::Connecting, None),
            State::Registering { .. } => (RegistrationState::Registering, None),
            State::Registered { until, .. } => (RegistrationState::Registered, until),
            State::Updating { until, .. } => (RegistrationState::Updating, until),
            State::Leaving { .. } | State::Deregistering { .. } => (RegistrationState::Deregistering, None),
            State::Waiting { .. } => (RegistrationState::Waiting, None),
            State::Disabled { .. } => (RegistrationState::Disabled, None),
            State::Ended => (RegistrationState::Ended, None),
        };
        let waits =
            matches!(state, RegistrationState::Registered | RegistrationState::Waiting | RegistrationState::Disabled);
        SessionStatus {
            state,
            location: self.location.as_deref().map(location_text),
            version: self.version,
            lifetime: self.told_lifetime,
            registered_until,
            next_attempt: self.deadline().filter(|_| waits),
            last_error: self.last_error.as_deref().map(str::to_owned),
            observations: 0,
        }
    }
}

impl Session {
    /// The socket is there: Register from a clean slate.
    pub(super) fn start(&mut self, context: &mut Context<'_>) {
        if self.registration.is_over() {
            return;
        }
        self.coap.reset();
        self.push = None;
        self.registration.version = context.facts.servers[self.index].version;
        self.register(context);
    }

    /// Sends an Update, or another one after that under way.
    pub(super) fn update(&mut self, context: &mut Context<'_>) {
        match self.registration.state {
            State::Registered { until, .. } => self.send_update(until, 1, context),
            State::Updating { .. } => self.registration.again = true,
            _ => {}
        }
    }

    /// There are other objects now: a server that knows us is told.
    pub(super) fn objects_changed(&mut self, context: &mut Context<'_>) {
        self.registration.objects = true;
        match self.registration.state {
            State::Registering { .. } => self.registration.again = true,
            _ => self.update(context),
        }
    }

    /// De-registers and stays silent for 1/x/5.
    pub(super) fn disable(&mut self, context: &mut Context<'_>) {
        self.deregister(Then::Disable, context);
    }

    /// De-registers, for good.
    pub(super) fn shut_down(&mut self, context: &mut Context<'_>) {
        self.deregister(Then::End, context);
    }

    pub(super) fn handle_registration_timeout(&mut self, context: &mut Context<'_>) {
        match self.registration.state {
            State::Registered { until, attempt, .. } => self.send_update(until, attempt + 1, context),
            State::Updating { request, until, attempt, .. } => {
                self.coap.cancel(request, context.now);
                self.update_lost("no answer in time", until, attempt, true, context);
            }
            State::Leaving { .. } | State::Deregistering { .. } => self.leave_unanswered(context),
            State::Waiting { .. } | State::Disabled { .. } => self.need_socket(context),
            State::AwaitingSocket | State::Registering { .. } | State::Ended => {}
        }
    }

    pub(super) fn handle_response(&mut self, id: RequestId, response: &Response, context: &mut Context<'_>) {
        match self.registration.state {
            State::Registering { request, sent } if request == id => self.register_answered(response, sent, context),
            State::Updating { request, sent, .. } if request == id => self.update_answered(response, sent, context),
            State::Leaving { request, give_up, then } if request == id => {
                self.left_answered(response, give_up, then, context);
            }
            State::Deregistering { request, then, .. } if request == id => self.deregistered(then, context),
            _ => {}
        }
    }

    pub(super) fn handle_failure(&mut self, id: RequestId, reason: &str, context: &mut Context<'_>) {
        match self.registration.state {
            State::Registering { request, .. } if request == id => self.register_failed(reason, context),
            State::Updating { request, until, attempt, .. } if request == id => {
                self.update_lost(reason, until, attempt, false, context);
            }
            State::Leaving { request, then, .. } if request == id => self.silence(then, context),
            State::Deregistering { request, then, .. } if request == id => self.deregistered(then, context),
            _ => {}
        }
    }

    /// Counts only against a request that is under way: a notification that nobody took says little.
    pub(super) fn handle_unreachable(&mut self, context: &mut Context<'_>) {
        match self.registration.state {
            State::AwaitingSocket => self.register_failed("unreachable", context),
            State::Registering { request, .. } => {
                self.coap.cancel(request, context.now);
                self.register_failed("unreachable", context);
            }
            State::Updating { request, until, attempt, .. } => {
                self.coap.cancel(request, context.now);
                self.update_lost("unreachable", until, attempt, false, context);
            }
            State::Leaving { .. } | State::Deregistering { .. } => self.leave_unanswered(context),
            State::Registered { .. } | State::Waiting { .. } | State::Disabled { .. } | State::Ended => {}
        }
    }
}

/// Register.
impl Session {
    fn register(&mut self, context: &mut Context<'_>) {
        self.observations.clear(&mut self.coap);
        self.registration.location = None;
        self.registration.again = false;
        self.registration.asked_lifetime = self.settings.lifetime;
        let request = self.register_request(context);
        match self.coap.request(request, context.now) {
            Ok(request) => self.registration.state = State::Registering { request, sent: context.now },
            Err(refused) => self.register_failed(&refused.to_string(), context),
        }
    }

    fn register_request(&self, context: &Context<'_>) -> Request {
        let server = &context.facts.servers[self.index];
        let mut request = Request::new(Code::POST);
        request.path.clone_from(&server.base_path);
        request.path.push("rd".to_owned());
        request.query.clone_from(&server.base_query);
        request.query.push(format!("lwm2m={}", self.registration.version));
        request.query.push(format!("ep={}", context.facts.endpoint));
        request.query.push(format!("lt={}", self.settings.lifetime));
        request.query.push("b=U".to_owned());
        self.with_objects(request, context)
    }

    fn with_objects(&self, request: Request, context: &Context<'_>) -> Request {
        let links = discover::registration(&self.tree(context.facts));
        request.with_payload(ContentFormat::LinkFormat.number(), links)
    }

    fn register_answered(&mut self, response: &Response, sent: Instant, context: &mut Context<'_>) {
        match (response.code, lower(self.registration.version)) {
            (Code::CREATED, _) if response.location_path.is_empty() => {
                self.register_failed("accepted without a Location-Path", context);
            }
            (Code::CREATED, _) => self.registered(&response.location_path, sent, context),
            (Code::PRECONDITION_FAILED, Some(version)) => {
                self.registration.version = version;
                self.register(context);
            }
            _ => self.register_failed(&explain(response), context),
        }
    }

    fn registered(&mut self, location: &[String], sent: Instant, context: &mut Context<'_>) {
        self.registration.failures = 0;
        self.registration.location = Some(location.into());
        self.settle(sent, context);
        let (session, location) = (SessionId(self.index), location_text(location));
        context.events.push_back(Event::Registered { session, location });
        self.catch_up(context);
    }

    fn register_failed(&mut self, reason: &str, context: &mut Context<'_>) {
        let server = &context.facts.servers[self.index];
        let retry_in = back_off(server.retry, server.retry_max, self.registration.failures, context.rng);
        self.registration.failures = self.registration.failures.saturating_add(1);
        self.registration.last_error = Some(reason.into());
        self.registration.state = State::Waiting { until: context.now + retry_in };
        let (session, reason) = (SessionId(self.index), reason.to_owned());
        context.events.push_back(Event::RegistrationFailed { session, reason, retry_in });
    }

    fn need_socket(&mut self, context: &mut Context<'_>) {
        self.registration.state = State::AwaitingSocket;
        context.events.push_back(Event::NeedSocket { session: SessionId(self.index) });
    }
}

/// The wait after a failed Register: doubling, shortened by up to a quarter so that a thousand devices do not come back together.
fn back_off(first: Duration, longest: Duration, failures: u32, rng: &mut fastrand::Rng) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX));
    doubled.min(longest).mul_f64(0.75 + 0.25 * rng.f64())
}

fn lower(version: Version) -> Option<Version> {
    match version {
        Version { major: 1, minor: 0 } => None,
        Version { major: 1, minor: 1 } => Some(Version::V1_0),
        _ => Some(Version::V1_1),
    }
}

fn location_text(segments: &[String]) -> String {
    segments.iter().flat_map(|segment| ["/", segment]).collect()
}

/// Code and diagnostic payload of a refusal, in one line.
fn explain(response: &Response) -> String {
    let detail = String::from_utf8_lossy(&response.payload);
    let mut line: String = detail.chars().filter(|letter| !letter.is_control()).collect();
    line.truncate(line.floor_char_boundary(MAX_DETAIL));
    if line.is_empty() { response.code.to_string() } else { format!("{}: {line}", response.code) }
}
