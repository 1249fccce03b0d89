//! Requests of a server to operations (lwm2m.md 5.4), and operations to answers.
//!
//! Codes stay inside what Leshan lists for each operation (lwm2m.md 5.5).

use std::time::Instant;

use coap::{Code, ExchangeId, Incoming, Response};

use super::commands::Order;
use super::session::Session;
use super::write::Mode;
use super::{Client, Context, SessionId, context, discover, execute, push, read, write};
use crate::access::Rights;
use crate::attributes::AttributeChange;
use crate::format::ContentFormat;
use crate::objects::{CollectionOrder, Content, ServerSettings, Tree};
use crate::path::{Path, PathError};

/// What a request comes to.
#[derive(Debug)]
pub(super) enum Reply {
    /// This answer.
    Now(Response),
    /// 2.04, and then this.
    Changed(Effect),
    /// 2.04, and this is done to object 7.
    Collect(CollectionOrder),
    /// Somebody else has to do it.
    Ask(Order),
}

/// What follows an answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Effect {
    None,
    Update,
    Disable,
    Settings(ServerSettings),
}

/// The operations of a client (LwM2M core 6.3, 6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Read,
    Discover,
    Observe,
    CancelObservation,
    Write(Mode),
    WriteAttributes,
    Execute,
    Create,
    Delete,
    Unsupported,
}

impl Client {
    /// Answers a request, hands it up, or keeps it until what it looks at was asked for.
    pub(super) fn handle_request(&mut self, id: SessionId, request: Incoming, now: Instant) {
        if self.must_look_for(&request, now) {
            let exchange = request.exchange;
            return self.command(id, exchange, Order::Look(Box::new(request)), now);
        }
        self.dispatch(id, &request, now);
    }

    /// Answers a request by what is known, or hands it up.
    pub(super) fn dispatch(&mut self, id: SessionId, request: &Incoming, now: Instant) {
        let context = &mut context(&self.facts, &mut self.events, &mut self.rng, self.ack_timeout, now);
        let session = &mut self.sessions[id.0];
        match session.dispatch(request, context) {
            Ok(Reply::Ask(order)) => self.command(id, request.exchange, order, now),
            Ok(Reply::Now(response)) => session.coap.respond(request.exchange, response, now),
            Ok(Reply::Changed(effect)) => session.apply(request.exchange, effect, context),
            Ok(Reply::Collect(order)) => {
                session.coap.respond(request.exchange, Response::new(Code::CHANGED), now);
                self.collect(order, now);
            }
            Err(code) => session.coap.respond(request.exchange, Response::new(code), now),
        }
    }
}

impl Session {
    fn dispatch(&mut self, request: &Incoming, context: &Context<'_>) -> Result<Reply, Code> {
        let path = Path::from_segments(&request.path).map_err(refusal_of_path)?;
        let tree = self.tree(context.facts);
        match operation(request, path) {
            Operation::Read => read::read(&tree, path, request.accept).map(|answer| Reply::Now(answer.response)),
            Operation::Discover => discover::discover(&tree, &self.attributes, path).map(Reply::Now),
            Operation::Observe => self.observe(request, path, context),
            Operation::CancelObservation => self.cancel_observation(request, path, &tree),
            Operation::Write(mode) => self.write(request, path, mode, &tree),
            Operation::WriteAttributes => self.write_attributes(request, path, context),
            Operation::Execute => execute::execute(&tree, path, request.content_format, &request.payload),
            Operation::Create => refuse_create(&tree, path),
            Operation::Delete => refuse_delete(&tree, path),
            Operation::Unsupported => Err(Code::METHOD_NOT_ALLOWED),
        }
    }

    fn observe(&mut self, request: &Incoming, path: Path, context: &Context<'_>) -> Result<Reply, Code> {
        let answer = read::read(&self.tree(context.facts), path, request.accept)?;
        let (observations, mut reporter) = self.reporter(context);
        Ok(Reply::Now(observations.add(request.token, path, request.accept, answer, &mut reporter)))
    }

    fn cancel_observation(&mut self, request: &Incoming, path: Path, tree: &Tree<'_>) -> Result<Reply, Code> {
        self.observations.cancel(request.token, path, &mut self.coap);
        read::read(tree, path, request.accept).map(|answer| Reply::Now(answer.response))
    }

    fn write(&mut self, request: &Incoming, path: Path, mode: Mode, tree: &Tree<'_>) -> Result<Reply, Code> {
        match request.part {
            Some(part) if request.content_format.is_some() => {
                read::locate(tree, path, Rights::WRITE)?;
                let order = push::take(&mut self.push, request, part);
                order.map(Reply::Ask).map_err(|code| write::state_first(tree, path, code))
            }
            _ => write::write(tree, path, request.content_format, &request.payload, mode),
        }
    }

    fn write_attributes(&mut self, request: &Incoming, path: Path, context: &Context<'_>) -> Result<Reply, Code> {
        let tree = self.tree(context.facts);
        let model = read::locate(&tree, path, Rights::READ)?;
        let definition = path.resource().map(|id| model.resource(id).ok_or(Code::NOT_FOUND)).transpose()?;
        if let [object, instance, resource, ..] = *path.levels() {
            match tree.content(object, instance, resource) {
                Content::Absent => return Err(Code::NOT_FOUND),
                Content::Silent => return Err(Code::METHOD_NOT_ALLOWED),
                Content::Single(_) | Content::Multiple(_) => {}
            }
        }
        let change = AttributeChange::from_query(&request.query).map_err(|_| Code::BAD_REQUEST)?;
        let kind = definition.and_then(|definition| definition.kind);
        let attributes = change.apply(self.attributes.own(path), path, kind).map_err(|_| Code::BAD_REQUEST)?;
        if !self.attributes.set(path, attributes) {
            return Err(Code::INTERNAL_SERVER_ERROR);
        }
        let (observations, mut reporter) = self.reporter(context);
        observations.reschedule(&mut reporter);
        Ok(Reply::Changed(Effect::None))
    }

    /// Answers 2.04 first: what follows may end the registration.
    fn apply(&mut self, exchange: ExchangeId, effect: Effect, context: &mut Context<'_>) {
        self.coap.respond(exchange, Response::new(Code::CHANGED), context.now);
        match effect {
            Effect::None => {}
            Effect::Update => self.update(context),
            Effect::Disable => self.disable(context),
            Effect::Settings(settings) => self.settle_settings(settings, context),
        }
    }

    /// New settings count at once: other report times, and an Update if the lifetime is another.
    fn settle_settings(&mut self, settings: ServerSettings, context: &mut Context<'_>) {
        let longer = settings.lifetime != self.settings.lifetime;
        self.settings = settings;
        self.report(1, context);
        if longer {
            self.update(context);
        }
    }
}

/// Which operation a request is.
fn operation(request: &Incoming, path: Path) -> Operation {
    let asks_links = request.accept == Some(ContentFormat::LinkFormat.number());
    match (request.method, path.depth(), request.observe) {
        (Code::GET, ..) if asks_links => Operation::Discover,
        (Code::GET, _, Some(0)) => Operation::Observe,
        (Code::GET, _, Some(1)) => Operation::CancelObservation,
        (Code::GET, ..) => Operation::Read,
        (Code::PUT, ..) if is_write_attributes(request) => Operation::WriteAttributes,
        (Code::PUT, ..) => Operation::Write(Mode::Replace),
        (Code::POST, 1, _) => Operation::Create,
        (Code::POST, 2 | 4, _) => Operation::Write(Mode::Partial),
        (Code::POST, 3, _) => Operation::Execute,
        (Code::DELETE, ..) => Operation::Delete,
        _ => Operation::Unsupported,
    }
}

/// A query and nothing to write; a Write always says what it carries.
fn is_write_attributes(request: &Incoming) -> bool {
    !request.query.is_empty() && (request.content_format.is_none() || request.payload.is_empty())
}

/// No server creates here: 4.05 where there is but one instance, else a right that none has.
fn refuse_create(tree: &Tree<'_>, path: Path) -> Result<Reply, Code> {
    let model = read::locate(tree, path, Rights::NONE)?;
    Err(if model.multiple { Code::UNAUTHORIZED } else { Code::METHOD_NOT_ALLOWED })
}

/// Nor does any delete.
fn refuse_delete(tree: &Tree<'_>, path: Path) -> Result<Reply, Code> {
    let model = read::locate(tree, path, Rights::NONE)?;
    Err(if model.multiple && path.depth() == 2 { Code::UNAUTHORIZED } else { Code::METHOD_NOT_ALLOWED })
}

/// Text that is no path of ours names nothing; too deep a path is a mistake.
fn refusal_of_path(error: PathError) -> Code {
    match error {
        PathError::NotANumber | PathError::NoSlash => Code::NOT_FOUND,
        PathError::TooDeep => Code::BAD_REQUEST,
    }
}
