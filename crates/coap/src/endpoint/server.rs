//! The server role: requests of the peer up, responses and notifications down.
//!
//! ```text
//! CON request ──► Event::Request ──► respond() within ack_delay ──► ACK with the response
//!                     │ not yet: empty ACK ──► respond() ──► CON response, until its ACK
//! Block1 request ──► 2.31 ... ──► the last block: Event::Request with the whole body (or each block as a part)
//! large response ──► block 0; the blocks after it are served from here
//! ```
//! RFC 7252 §5.2, RFC 7959 §2 and §3, RFC 7641 §4. What a request means is for the layer above.

use std::time::Instant;

use super::channel::{Channel, Content};
use super::key::TransferKey;
use super::observed::Observations;
use super::receiving::{Arrived, Receiving, Verdict};
use super::retransmission::Purpose;
use super::serving::{Serving, Slice};
use crate::block::{BlockOption, block_size};
use crate::message::{Kind, Message};
use crate::options::{OptionFault, Options};
use crate::{Code, Event, ExchangeId, Incoming, MessageId, NotificationId, Part, Response, Token};

/// The server role of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Server {
    pending: Vec<Pending>,
    receiving: Receiving,
    serving: Serving,
    pub(super) observations: Observations,
}

/// A request that waits for its response.
#[derive(Debug)]
struct Pending {
    exchange: ExchangeId,
    asked: Asked,
    /// Set until the empty ACK is out.
    ack_due: Option<Instant>,
    expires: Instant,
}

/// What an answer needs to know of its request.
#[derive(Debug, Clone, Copy)]
struct Asked {
    token: Token,
    id: MessageId,
    confirmable: bool,
    acknowledged: bool,
    key: TransferKey,
    registers: bool,
    /// To be echoed.
    block1: Option<BlockOption>,
    /// Asked for.
    block2: Option<BlockOption>,
}

impl Server {
    /// Takes a request that came for the first time.
    pub(super) fn handle_request(&mut self, channel: &mut Channel, message: Message, now: Instant) {
        let mut asked = Asked::by(&message);
        if let Some(fault) = message.options.fault {
            return asked.refuse_fault(channel, fault, now);
        }
        if message.code.0 > Code::IPATCH.0 {
            return asked.answer(channel, bare(Code::METHOD_NOT_ALLOWED), now);
        }
        if let Some(slice) = self.follow_up(channel, &asked, &message, now) {
            // Cheaper to cut again than to keep for duplicates.
            asked.answer(channel, slice, now);
            return channel.dedup.forget(asked.id);
        }
        if self.pending.len() >= channel.config.max_outstanding.max(1) {
            return ignore(channel, asked.id);
        }
        let streams = matches!(message.code, Code::PUT | Code::POST) && channel.config.streams(&message.options.path);
        match message.options.block1 {
            Some(block) => self.take_block(channel, &mut asked, message, (block, streams), now),
            None if streams => {
                let size = message.options.size1.map(u64::from);
                self.receiving.superseded(asked.key);
                self.hand_up(channel, asked, message, Some(Part { offset: 0, more: false, size, first: true }), now);
            }
            None if message.payload.len() > channel.config.max_body => asked.refuse_body(channel, now),
            None => {
                self.hand_up(channel, asked, message, None, now);
            }
        }
    }

    /// Sends the answer of the layer above.
    pub(super) fn respond(&mut self, channel: &mut Channel, exchange: ExchangeId, response: Response, now: Instant) {
        let Some(index) = self.pending.iter().position(|pending| pending.exchange == exchange) else {
            channel.stats.ignored += 1;
            return;
        };
        let Pending { asked, .. } = self.pending.remove(index);
        if self.pending.is_empty() {
            self.pending = Vec::new();
        }
        self.receiving.answered(exchange, &response, &channel.config, now);
        if asked.registers && response.observe.is_some() && response.code.is_success() {
            self.observations.add(asked.token, asked.key, asked.block2.map_or(6, |block| block.szx));
        } else if asked.registers {
            self.observations.remove(asked.token);
        }
        self.answer(channel, &asked, response, now);
    }

    /// Sends a notification.
    pub(super) fn notify(
        &mut self,
        channel: &mut Channel,
        token: Token,
        mut response: Response,
        confirmable: bool,
        now: Instant,
    ) -> NotificationId {
        let id = NotificationId(channel.fresh_id());
        if !response.code.is_success() {
            // RFC 7641 §4.2: an error ends the observation and is no notification.
            response.observe = None;
        }
        let last = response.observe.is_none();
        let slice = self.first_block(channel, token, response, now);
        let content = slice.into_content(token);
        let message = match confirmable {
            true => channel.send_confirmable(content, Purpose::Notification(id, token), now),
            false => channel.send_non_confirmable(content),
        };
        match last {
            true => self.observations.remove(token),
            false => self.observations.notified(token, message, id),
        }
        id
    }

    /// Acknowledges what waits for long, and forgets what waits for too long.
    pub(super) fn handle_timeout(&mut self, channel: &mut Channel, now: Instant) {
        for pending in &mut self.pending {
            if pending.ack_due.is_some_and(|due| due <= now) {
                pending.ack_due = None;
                pending.asked.acknowledged = true;
                channel.acknowledge(pending.asked.id);
            }
        }
        self.pending.retain(|pending| pending.expires > now);
        self.receiving.purge(now);
        self.serving.purge(now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let pending = self.pending.iter().map(|pending| pending.ack_due.unwrap_or(pending.expires));
        pending.chain(self.receiving.deadline()).chain(self.serving.deadline()).min()
    }

    /// A later block of a body that was given before.
    fn follow_up(&mut self, channel: &Channel, asked: &Asked, message: &Message, now: Instant) -> Option<Slice> {
        let block = asked.block2.filter(|block| block.num > 0 && message.options.block1.is_none())?;
        let key = asked.key.with_payload(&message.payload);
        let slice = self.serving.follow_up(key, block, &channel.config, now);
        // The body is gone: a safe method may be asked again from above, another was done already and can not be.
        let safe = matches!(message.code, Code::GET | Code::FETCH);
        slice.or_else(|| (!safe).then(|| bare(Code::REQUEST_ENTITY_INCOMPLETE)))
    }

    fn take_block(
        &mut self,
        channel: &mut Channel,
        asked: &mut Asked,
        mut message: Message,
        (block, streams): (BlockOption, bool),
        now: Instant,
    ) {
        let payload = std::mem::take(&mut message.payload);
        let arrived = Arrived { key: asked.key, block, size: message.options.size1, payload };
        let verdict = match streams {
            true => self.receiving.stream(arrived, &channel.config),
            false => self.receiving.assemble(arrived, &channel.config, now),
        };
        match verdict {
            Verdict::Continue { echo } => asked.answer(channel, proceed(echo), now),
            Verdict::Whole { body, echo } => {
                asked.block1 = Some(echo);
                self.hand_up(channel, *asked, Message { payload: body, ..message }, None, now);
            }
            Verdict::Part { part, payload, echo } => {
                asked.block1 = Some(echo);
                let length = payload.len();
                let exchange = self.hand_up(channel, *asked, Message { payload, ..message }, Some(part), now);
                self.receiving.handed_up((asked.key, block, length), exchange, &channel.config, now);
            }
            Verdict::Repeat { response, echo } => {
                asked.block1 = Some(echo);
                self.answer(channel, asked, *response, now);
            }
            Verdict::Wait => ignore(channel, asked.id),
            Verdict::Broken => asked.answer(channel, bare(Code::BAD_REQUEST), now),
            Verdict::OutOfOrder => asked.answer(channel, bare(Code::REQUEST_ENTITY_INCOMPLETE), now),
            Verdict::TooLarge => asked.refuse_body(channel, now),
        }
    }

    fn hand_up(
        &mut self,
        channel: &mut Channel,
        mut asked: Asked,
        message: Message,
        part: Option<Part>,
        now: Instant,
    ) -> ExchangeId {
        let exchange = ExchangeId(channel.fresh_id());
        // Other values than 0 and 1 have no meaning in a request (RFC 7641 §2).
        let observe = message.options.observe.filter(|observe| *observe <= 1);
        asked.registers = observe == Some(0);
        if message.code == Code::FETCH {
            asked.key = asked.key.with_payload(&message.payload);
        }
        if observe == Some(1) {
            self.observations.remove(asked.token);
        }
        let ack_due = asked.confirmable.then(|| now + channel.config.ack_delay);
        self.pending.push(Pending { exchange, asked, ack_due, expires: now + channel.config.exchange_lifetime });
        let Message { code: method, options, payload, .. } = message;
        channel.emit(Event::Request(Incoming {
            exchange,
            token: asked.token,
            method,
            path: options.path,
            query: options.query,
            content_format: options.content_format,
            accept: options.accept,
            observe,
            payload,
            confirmable: asked.confirmable,
            part,
        }));
        exchange
    }

    fn answer(&mut self, channel: &mut Channel, asked: &Asked, response: Response, now: Instant) {
        let mut slice = match asked.block1 {
            Some(echo) if echo.more && response.code.is_success() => proceed(echo),
            _ => self.serving.start(asked.key, response, asked.block2, &channel.config, now),
        };
        // With these two codes a Block1 option would ask for another block size (RFC 7959 §2.9).
        if !matches!(slice.code, Code::REQUEST_ENTITY_INCOMPLETE | Code::REQUEST_ENTITY_TOO_LARGE) {
            slice.options.block1 = asked.block1;
        }
        asked.answer(channel, slice, now);
    }

    fn first_block(&mut self, channel: &Channel, token: Token, response: Response, now: Instant) -> Slice {
        // Without a known source the rest can not be asked for by key; the peer's GETs for it then go up as requests.
        let source = self.observations.get(token).and_then(|observed| observed.source);
        let (key, szx) = source.unwrap_or((TransferKey::default(), 6));
        let szx = szx.min(channel.config.szx());
        let large = response.payload.len() > block_size(szx);
        let first = large.then_some(BlockOption { num: 0, more: false, szx });
        self.serving.start(key, response, first, &channel.config, now)
    }
}

impl Asked {
    fn by(message: &Message) -> Self {
        Self {
            token: message.token,
            id: message.id,
            confirmable: message.kind == Kind::Confirmable,
            acknowledged: false,
            key: TransferKey::of(message),
            registers: false,
            block1: None,
            block2: message.options.block2,
        }
    }

    /// In the ACK while there is none, else as a message of its own (RFC 7252 §5.2).
    fn answer(&self, channel: &mut Channel, slice: Slice, now: Instant) {
        let content = slice.into_content(self.token);
        if self.confirmable && !self.acknowledged {
            channel.send_piggybacked(self.id, content);
        } else if self.confirmable {
            channel.send_confirmable(content, Purpose::Response, now);
        } else {
            channel.send_non_confirmable(content);
        }
    }

    /// RFC 7252 §5.4.1: a NON request with such an option is rejected in silence.
    fn refuse_fault(&self, channel: &mut Channel, fault: OptionFault, now: Instant) {
        let code = match fault {
            OptionFault::UnknownCritical(_) => Code::BAD_OPTION,
            OptionFault::ReservedBlockSize => Code::BAD_REQUEST,
            OptionFault::Proxy => Code::PROXYING_NOT_SUPPORTED,
        };
        match self.confirmable {
            true => self.answer(channel, bare(code), now),
            false => channel.stats.ignored += 1,
        }
    }

    fn refuse_body(&self, channel: &mut Channel, now: Instant) {
        let size1 = u32::try_from(channel.config.max_body).ok();
        let options = Options { size1, ..Options::default() };
        self.answer(channel, Slice { options, ..bare(Code::REQUEST_ENTITY_TOO_LARGE) }, now);
    }
}

impl Slice {
    fn into_content(self, token: Token) -> Content {
        let Self { code, options, payload } = self;
        Content { code, token, options, payload }
    }
}

/// Neither answers nor remembers a message: its sender will send it again.
fn ignore(channel: &mut Channel, id: MessageId) {
    channel.stats.ignored += 1;
    channel.dedup.forget(id);
}

fn bare(code: Code) -> Slice {
    Slice { code, options: Options::default(), payload: Vec::new() }
}

fn proceed(echo: BlockOption) -> Slice {
    Slice { options: Options { block1: Some(echo), ..Options::default() }, ..bare(Code::CONTINUE) }
}
