//! Commands: what a server asked for and somebody else has to do. The CoAP exchange stays open until the answer comes.
//!
//! Object 5 decides nothing, so the answer also settles the code: right, state and value, in that order (decisions.md §2).

use std::time::{Duration, Instant};

use coap::{Code, ExchangeId, Incoming, Response};

use super::{Client, Event, SessionId};
use crate::value::Value;

/// A command that is not answered by then has failed (5.00).
pub const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// Most commands of one server that wait for an answer; one more has failed.
const MAX_COMMANDS: usize = 8;

/// One command, until [`Client::answer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(u64);

/// What a server wants of the firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirmwareOrder {
    /// Download from this URI (5/0/1); not empty.
    WriteUri(String),
    /// Bytes of a pushed image (5/0/0), already unwrapped. They come in order and without gaps.
    Push {
        /// The bytes; may be none.
        payload: Vec<u8>,
        /// The push begins, or begins again.
        first: bool,
        /// More will follow.
        more: bool,
        /// Where the bytes belong in the image.
        offset: u64,
        /// Length of the image, where the server announced it.
        size: Option<u64>,
    },
    /// Drop what is staged or under way (`""` to 5/0/1, one NUL to 5/0/0).
    Reset,
    /// Flash what is staged (5/0/2).
    Execute,
    /// Give up (5/0/10).
    Cancel,
    /// 5/0/11, in 0 to 2.
    SetSeverity(u8),
    /// 5/0/13, seconds.
    SetMaxDefer(u32),
}

/// Why a command is refused, and the code that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 4.01: not this server.
    NotAllowed,
    /// 4.05: not now.
    WrongState,
    /// 4.00: not this value.
    BadValue,
    /// 4.13: no room.
    TooLarge,
    /// 4.08: the push has ended meanwhile.
    Incomplete,
    /// 5.00: it can't be done.
    Failed,
}

impl Refusal {
    fn code(self) -> Code {
        match self {
            Self::NotAllowed => Code::UNAUTHORIZED,
            Self::WrongState => Code::METHOD_NOT_ALLOWED,
            Self::BadValue => Code::BAD_REQUEST,
            Self::TooLarge => Code::REQUEST_ENTITY_TOO_LARGE,
            Self::Incomplete => Code::REQUEST_ENTITY_INCOMPLETE,
            Self::Failed => Code::INTERNAL_SERVER_ERROR,
        }
    }
}

/// What one request comes to: one command or several, each given out once the one before was obeyed.
#[derive(Debug)]
pub(super) enum Order {
    Reboot,
    /// What the request looks at is to be asked for first.
    Look(Box<Incoming>),
    Point {
        object: u16,
        instance: u16,
        value: Value,
    },
    Firmware {
        /// Never empty.
        orders: Vec<FirmwareOrder>,
        /// The value was no good, and only the answer can tell whether something else matters more. The order then
        /// changes nothing, and this is answered in place of success.
        flaw: Option<Code>,
    },
}

impl Order {
    pub(super) fn firmware(order: FirmwareOrder) -> Self {
        Self::Firmware { orders: vec![order], flaw: None }
    }
}

/// A command that waits for its answer.
#[derive(Debug)]
pub(super) struct Pending {
    id: CommandId,
    session: SessionId,
    exchange: ExchangeId,
    deadline: Instant,
    success: Code,
    /// It carries bytes of the push that began with this, which a refusal ends.
    push: Option<ExchangeId>,
    /// Orders still to be given out, the last one first.
    rest: Vec<FirmwareOrder>,
    /// What is dispatched when what it looks at is known.
    looks: Option<Box<Incoming>>,
}

/// The commands of all sessions that wait.
#[derive(Debug, Default)]
pub(super) struct Commands {
    given: u64,
    pending: Vec<Pending>,
}

impl Commands {
    pub(super) fn take(&mut self, id: CommandId) -> Option<Pending> {
        let position = self.pending.iter().position(|pending| pending.id == id)?;
        Some(self.pending.swap_remove(position))
    }

    pub(super) fn take_expired(&mut self, now: Instant) -> Option<Pending> {
        let position = self.pending.iter().position(|pending| pending.deadline <= now)?;
        Some(self.pending.swap_remove(position))
    }

    pub(super) fn take_looking(&mut self) -> Option<Pending> {
        let position = self.pending.iter().position(|pending| pending.looks.is_some())?;
        Some(self.pending.remove(position))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.pending.iter().map(|pending| pending.deadline).min()
    }

    pub(super) fn forget_session(&mut self, session: SessionId) {
        self.pending.retain(|pending| pending.session != session);
    }

    fn has_room(&self, session: SessionId) -> bool {
        self.pending.iter().filter(|pending| pending.session == session).count() < MAX_COMMANDS
    }

    fn next_id(&mut self) -> CommandId {
        self.given += 1;
        CommandId(self.given)
    }
}

impl Client {
    /// Gives an order out and keeps the exchange open.
    pub(super) fn command(&mut self, session: SessionId, exchange: ExchangeId, order: Order, now: Instant) {
        if !self.commands.has_room(session) {
            return self.respond(session, exchange, Code::INTERNAL_SERVER_ERROR, now);
        }
        let id = self.commands.next_id();
        let mut looks = None;
        let (mut rest, flaw, other) = match order {
            Order::Reboot => (Vec::new(), None, Some(Event::Reboot { command: id, session })),
            Order::Look(request) => {
                looks = Some(request);
                (Vec::new(), None, self.look())
            }
            Order::Point { object, instance, value } => {
                (Vec::new(), None, Some(Event::Point { command: id, session, object, instance, value }))
            }
            Order::Firmware { orders, flaw } => (orders, flaw, None),
        };
        rest.reverse();
        let first = rest.pop();
        let push = match first {
            Some(FirmwareOrder::Push { .. }) => self.sessions[session.0].push.as_ref().map(|push| push.begun_by),
            _ => None,
        };
        let success = flaw.unwrap_or(success_of(first.as_ref()));
        let deadline = now + COMMAND_TIMEOUT;
        self.commands.pending.push(Pending { id, session, exchange, deadline, success, push, rest, looks });
        let order = first.map(|order| Event::Firmware { command: id, session, order });
        self.events.extend(other.or(order));
    }

    /// Takes the answer to a command: gives out the next order, or answers the server.
    pub(super) fn finish(&mut self, mut pending: Pending, answer: Result<(), Refusal>, now: Instant) {
        if let (Ok(()), Some(order)) = (answer, pending.rest.pop()) {
            let id = self.commands.next_id();
            let session = pending.session;
            let deadline = now + COMMAND_TIMEOUT;
            self.commands.pending.push(Pending { id, deadline, ..pending });
            return self.events.push_back(Event::Firmware { command: id, session, order });
        }
        if answer.is_err() && pending.push.is_some() {
            let push = &mut self.sessions[pending.session.0].push;
            push.take_if(|push| Some(push.begun_by) == pending.push);
        }
        let code = answer.map_or_else(Refusal::code, |()| pending.success);
        self.respond(pending.session, pending.exchange, code, now);
    }

    /// What was to be asked for is known, or cannot be had: whoever looks at it is answered.
    pub(super) fn finish_looks(&mut self, outcome: Result<(), Refusal>, now: Instant) {
        while let Some(pending) = self.commands.take_looking() {
            match (outcome, pending.looks) {
                (Ok(()), Some(request)) => {
                    self.dispatch(pending.session, &request, now);
                    self.drain(pending.session, now);
                }
                (refused, _) => {
                    let code = refused.map_or_else(Refusal::code, |()| Code::INTERNAL_SERVER_ERROR);
                    self.respond(pending.session, pending.exchange, code, now);
                }
            }
        }
    }

    fn respond(&mut self, session: SessionId, exchange: ExchangeId, code: Code, now: Instant) {
        self.sessions[session.0].coap.respond(exchange, Response::new(code), now);
        self.drain(session, now);
    }
}

/// 2.31 for a part of a push that has to go on, else 2.04.
fn success_of(order: Option<&FirmwareOrder>) -> Code {
    match order {
        Some(FirmwareOrder::Push { more: true, .. }) => Code::CONTINUE,
        _ => Code::CHANGED,
    }
}
