//! The client role: requests of our own, their answers, and the observations they make.
//!
//! ```text
//! Queued ──► Sent ──► ACK with the answer ─────────────► Event::Response
//!              │ ──► empty ACK ──► Waiting ──► answer ──┘   │ Observe: ──► Observing ──► Event::Notification ...
//!              └──► RST, all retransmissions, too long ──► Event::Failed
//! ```
//! A body that needs blocks goes through `Sent` once for each. One confirmable request at a time (NSTART = 1, RFC 7252 §4.7); one whose
//! answer takes longer, and came with an empty ACK, lets the next one go. RFC 7252 §5.3, RFC 7959 §2, RFC 7641 §3.

use std::collections::VecDeque;
use std::time::Instant;

use super::channel::{Channel, Content};
use super::observation::Observation;
use super::retransmission::Purpose;
use super::transfer::{Download, Downloaded, Upload, Uploaded, response};
use crate::block::{BlockOption, block_size};
use crate::message::{Kind, Message};
use crate::options::{MAX_SEGMENT, OptionFault, Options};
use crate::{Code, Event, Failure, MessageId, Refused, Request, RequestId, Response, Token};

/// The client role of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Client {
    // Boxed, since an exchange is large and most endpoints have none.
    #[expect(clippy::vec_box, reason = "a Vec of four exchanges would be the largest part of an idle endpoint")]
    exchanges: Vec<Box<Exchange>>,
    queue: VecDeque<RequestId>,
    /// The one confirmable request that the peer has not reacted to yet.
    slot: Option<RequestId>,
}

#[derive(Debug)]
struct Exchange {
    id: RequestId,
    request: Request,
    /// Of the message under way.
    token: Token,
    message: MessageId,
    phase: Phase,
    upload: Option<Upload>,
    download: Option<Download>,
    observation: Option<Observation>,
    answered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Queued,
    Sent,
    /// The peer acknowledged, or the request is a NON; an answer is expected until then.
    Waiting(Instant),
    Observing,
}

/// The exchange that a response belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Match {
    id: RequestId,
    notification: bool,
}

impl Client {
    /// Takes a request, and sends it as soon as it is its turn.
    pub(super) fn request(
        &mut self,
        channel: &mut Channel,
        request: Request,
        now: Instant,
    ) -> Result<RequestId, Refused> {
        let szx = channel.config.szx();
        let large = request.payload.len() > block_size(szx);
        check(&request, szx)?;
        if self.exchanges.iter().filter(|e| e.phase != Phase::Observing).count() >= channel.config.max_outstanding {
            return Err(Refused::QueueFull);
        }
        let id = RequestId(channel.fresh_id());
        let token = self.take_cancelled(&request).unwrap_or_else(|| channel.fresh_token());
        let upload = large.then(|| Upload::new(szx));
        let confirmable = request.confirmable;
        self.exchanges.push(Box::new(Exchange {
            id,
            request,
            token,
            message: MessageId(0),
            phase: Phase::Queued,
            upload,
            download: None,
            observation: None,
            answered: false,
        }));
        match confirmable {
            true => self.queue.push_back(id),
            false => self.send(channel, id, now),
        }
        self.proceed(channel, now);
        Ok(id)
    }

    /// Forgets a request or an observation.
    pub(super) fn cancel(&mut self, channel: &mut Channel, id: RequestId, now: Instant) {
        self.remove(channel, id, now);
    }

    /// The exchange that waits for this response.
    pub(super) fn find(&self, message: &Message) -> Option<Match> {
        let acknowledges = message.kind == Kind::Acknowledgement;
        self.exchanges.iter().find_map(|exchange| {
            let under_way = matches!(exchange.phase, Phase::Sent | Phase::Waiting(_));
            let current =
                under_way && exchange.token == message.token && (!acknowledges || exchange.message == message.id);
            let observed = exchange.observation.is_some_and(|observation| observation.token == message.token);
            let notification = observed && !acknowledges && !current;
            (current || notification).then_some(Match { id: exchange.id, notification })
        })
    }

    /// Takes a response for the exchange that [`find`](Self::find) found.
    pub(super) fn handle_response(&mut self, channel: &mut Channel, found: Match, message: Message, now: Instant) {
        let Some(exchange) = self.get(found.id) else { return };
        if let Some(fault) = message.options.fault {
            return self.fail(channel, found.id, fault.into(), now);
        }
        if found.notification && !exchange.notified(&message, now) {
            channel.stats.ignored += 1;
            return;
        }
        channel.retransmissions.stop(|purpose| purpose == Purpose::Request(found.id));
        let uploaded = exchange.upload_handled(&message, found.notification);
        match uploaded {
            Some(Uploaded::Next) => return self.send_next(channel, found.id, now),
            Some(Uploaded::Broken) => return self.fail(channel, found.id, Failure::BadBlock, now),
            Some(Uploaded::Answer) => {}
            None if !found.notification && exchange.begin_upload(&message) => {
                return self.send_next(channel, found.id, now);
            }
            None => {}
        }
        match exchange.take_body(message, channel.config.max_body, now) {
            Downloaded::Next => self.send_next(channel, found.id, now),
            Downloaded::Whole(response) => self.deliver(channel, found.id, response, now),
            Downloaded::Changed => self.miss(channel, found.id, now),
            Downloaded::Failed(reason) => self.fail(channel, found.id, reason, now),
        }
    }

    /// The peer has the request and will answer later.
    pub(super) fn handle_acknowledged(&mut self, channel: &mut Channel, id: RequestId, now: Instant) {
        let until = now + channel.config.exchange_lifetime;
        if let Some(exchange) = self.get(id) {
            exchange.phase = Phase::Waiting(until);
        }
        self.free_slot(channel, id, now);
    }

    /// The peer refused the message with this id. `false` if it was no request.
    pub(super) fn handle_reset(&mut self, channel: &mut Channel, message: MessageId, now: Instant) -> bool {
        let refused = |e: &Exchange| e.message == message && matches!(e.phase, Phase::Sent | Phase::Waiting(_));
        let Some(id) = self.position(refused).map(|index| self.exchanges[index].id) else { return false };
        self.fail(channel, id, Failure::Reset, now);
        true
    }

    /// Ends a request without an answer.
    pub(super) fn fail(&mut self, channel: &mut Channel, id: RequestId, reason: Failure, now: Instant) {
        if self.remove(channel, id, now) {
            channel.emit(Event::Failed { request: id, reason });
        }
    }

    /// Gives up on answers that did not come.
    pub(super) fn handle_timeout(&mut self, channel: &mut Channel, now: Instant) {
        let late = |e: &Exchange| matches!(e.phase, Phase::Waiting(until) if until <= now);
        while let Some(id) = self.position(late).map(|index| self.exchanges[index].id) {
            self.fail(channel, id, Failure::Timeout, now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let until = |exchange: &Exchange| match exchange.phase {
            Phase::Waiting(until) => Some(until),
            Phase::Queued | Phase::Sent | Phase::Observing => None,
        };
        self.exchanges.iter().filter_map(|exchange| until(exchange)).min()
    }

    fn get(&mut self, id: RequestId) -> Option<&mut Exchange> {
        self.exchanges.iter_mut().find(|exchange| exchange.id == id).map(Box::as_mut)
    }

    fn position(&self, wanted: impl Fn(&Exchange) -> bool) -> Option<usize> {
        self.exchanges.iter().position(|exchange| wanted(exchange))
    }

    /// The token of the observation that this request cancels; the observation is over (RFC 7641 §3.6).
    fn take_cancelled(&mut self, request: &Request) -> Option<Token> {
        let made = |e: &Exchange| {
            (e.request.method, &e.request.path, &e.request.query, e.request.accept, &e.request.payload)
                == (request.method, &request.path, &request.query, request.accept, &request.payload)
                && e.phase == Phase::Observing
        };
        let index = self.position(made).filter(|_| request.observe == Some(1))?;
        self.exchanges.remove(index).observation.map(|observation| observation.token)
    }

    fn deliver(&mut self, channel: &mut Channel, id: RequestId, response: Response, now: Instant) {
        let Some(exchange) = self.get(id) else { return };
        let answered = std::mem::replace(&mut exchange.answered, true);
        let lives = exchange.observation.filter(|_| response.observe.is_some() && response.code.is_success());
        match lives {
            Some(observation) => {
                exchange.observe(observation);
                // Perhaps the rest of an older notification was waiting for its turn.
                self.queue.retain(|queued| *queued != id);
                self.free_slot(channel, id, now);
            }
            None => {
                self.remove(channel, id, now);
            }
        }
        channel.emit(match answered {
            false => Event::Response { request: id, response },
            true => Event::Notification { request: id, response },
        });
    }

    /// A body that changed too often. An observation lives on: each change announces itself.
    fn miss(&mut self, channel: &mut Channel, id: RequestId, now: Instant) {
        let exchange = self.get(id).filter(|exchange| exchange.answered);
        match exchange.and_then(|exchange| exchange.observation.map(|observation| (exchange, observation))) {
            Some((exchange, observation)) => {
                exchange.observe(observation);
                self.free_slot(channel, id, now);
            }
            None => self.fail(channel, id, Failure::BadBlock, now),
        }
    }

    /// Sends the next message of a transfer, at once where nothing else has the slot.
    fn send_next(&mut self, channel: &mut Channel, id: RequestId, now: Instant) {
        self.queue.retain(|queued| *queued != id);
        let Some(exchange) = self.get(id) else { return };
        exchange.token = channel.fresh_token();
        exchange.phase = Phase::Queued;
        if !exchange.request.confirmable || self.slot == Some(id) {
            return self.send(channel, id, now);
        }
        self.queue.push_front(id);
        self.proceed(channel, now);
    }

    /// Sends the next confirmable request if the slot is free.
    fn proceed(&mut self, channel: &mut Channel, now: Instant) {
        if self.slot.is_none()
            && let Some(id) = self.queue.pop_front()
        {
            self.slot = Some(id);
            self.send(channel, id, now);
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    fn send(&mut self, channel: &mut Channel, id: RequestId, now: Instant) {
        let until = now + channel.config.non_lifetime;
        let szx = channel.config.szx();
        let Some(exchange) = self.get(id) else { return };
        let content = exchange.content(szx);
        if exchange.request.confirmable {
            exchange.phase = Phase::Sent;
            exchange.message = channel.send_confirmable(content, Purpose::Request(id), now);
        } else {
            exchange.phase = Phase::Waiting(until);
            exchange.message = channel.send_non_confirmable(content);
        }
    }

    fn remove(&mut self, channel: &mut Channel, id: RequestId, now: Instant) -> bool {
        let Some(index) = self.position(|exchange| exchange.id == id) else { return false };
        self.exchanges.remove(index);
        if self.exchanges.is_empty() {
            self.exchanges = Vec::new();
        }
        self.queue.retain(|queued| *queued != id);
        channel.retransmissions.stop(|purpose| purpose == Purpose::Request(id));
        self.free_slot(channel, id, now);
        true
    }

    fn free_slot(&mut self, channel: &mut Channel, id: RequestId, now: Instant) {
        if self.slot == Some(id) {
            self.slot = None;
            self.proceed(channel, now);
        }
    }
}

impl Exchange {
    /// The message that is due.
    fn content(&self, szx: u8) -> Content {
        let Request { method, path, query, accept, content_format, observe, payload, .. } = &self.request;
        let follow_up = self.download.is_some();
        let (block, payload) = match &self.upload {
            // The peer has the body; only its answer is fetched.
            Some(_) if follow_up => (Options::default(), [].as_slice()),
            Some(upload) => upload.block(payload),
            None if follow_up && *method != Code::FETCH => (Options::default(), [].as_slice()),
            None => (Options::default(), payload.as_slice()),
        };
        let wanted = BlockOption { num: 0, more: false, szx };
        let early = (szx < 6 && matches!(*method, Code::GET | Code::FETCH)).then_some(wanted);
        let options = Options {
            path: path.clone(),
            query: query.clone(),
            accept: *accept,
            // An empty value has a format, too: `""` as text is what empties a LwM2M resource.
            content_format: content_format.filter(|_| !follow_up || *method == Code::FETCH),
            observe: observe.filter(|_| !follow_up),
            block2: self.download.as_ref().map_or(early, Download::next),
            ..block
        };
        Content { code: *method, token: self.token, options, payload: payload.to_vec() }
    }

    /// Whether a notification counts; what was fetched for an older one does not any more.
    fn notified(&mut self, message: &Message, now: Instant) -> bool {
        let Some(observation) = &mut self.observation else { return false };
        let fresh = match message.options.observe {
            Some(sequence) if message.code.is_success() => observation.accept(sequence, now),
            // The last word on this observation.
            _ => true,
        };
        if fresh {
            self.download = None;
        }
        fresh
    }

    /// What the answer means for the body that is on its way out, if one is.
    fn upload_handled(&mut self, message: &Message, notification: bool) -> Option<Uploaded> {
        let upload = self.upload.as_mut().filter(|_| self.download.is_none() && !notification)?;
        Some(upload.handle(message.code, message.options.block1, self.request.payload.len()))
    }

    /// A request that went out whole and was too large for the peer goes again in the blocks that it named (RFC 7959 §2.9.3).
    fn begin_upload(&mut self, message: &Message) -> bool {
        let smaller = message.options.block1.map(|block| block.szx).filter(|szx| {
            message.code == Code::REQUEST_ENTITY_TOO_LARGE && block_size(*szx) < self.request.payload.len()
        });
        let upload = smaller.filter(|szx| Upload::fits(self.request.payload.len(), *szx)).map(Upload::new);
        let begins = self.upload.is_none() && self.download.is_none() && upload.is_some();
        self.upload = if begins { upload } else { self.upload.take() };
        begins
    }

    fn take_body(&mut self, message: Message, max_body: usize, now: Instant) -> Downloaded {
        if let Some(download) = &mut self.download {
            let safe = matches!(self.request.method, Code::GET | Code::FETCH);
            return download.handle(message, safe, max_body);
        }
        let accepted = message.options.observe.filter(|_| self.request.observe == Some(0) && message.code.is_success());
        if let (None, Some(sequence)) = (self.observation, accepted) {
            self.observation = Some(Observation::new(self.token, sequence, now));
        }
        if !message.options.block2.is_some_and(|block| block.more || block.num > 0) {
            return Downloaded::Whole(response(message));
        }
        let (download, next) = Download::begin(message, max_body);
        self.download = Some(download);
        next
    }

    fn observe(&mut self, observation: Observation) {
        self.phase = Phase::Observing;
        self.token = observation.token;
        self.download = None;
    }
}

impl From<OptionFault> for Failure {
    fn from(fault: OptionFault) -> Self {
        match fault {
            OptionFault::ReservedBlockSize => Self::BadBlock,
            OptionFault::UnknownCritical(_) | OptionFault::Proxy => Self::BadOption,
        }
    }
}

fn check(request: &Request, szx: u8) -> Result<(), Refused> {
    let long = request.path.iter().chain(&request.query).any(|text| text.len() > MAX_SEGMENT);
    let known = request.method.is_request() && request.method.0 <= Code::IPATCH.0;
    match Upload::fits(request.payload.len(), szx) {
        _ if long || !known || request.observe.is_some_and(|observe| observe > 1) => Err(Refused::Invalid),
        false => Err(Refused::TooLarge),
        true => Ok(()),
    }
}
