//! Bodies that the peer sends by Block1 (RFC 7959 §2.5, §3.2), server role: put together, or handed up part by part where the path streams.
//! It judges one block after another and sends nothing itself.
//!
//! A block is taken only where the last one ended. The last block once more, with a new message id (its sender missed our answer and gave the
//! exchange up), is answered as before and not taken again; block 0 starts anew; anything else is 4.08.

use std::time::Instant;

use super::key::TransferKey;
use crate::block::BlockOption;
use crate::{Config, ExchangeId, Part, Response};

/// A block of the peer.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) key: TransferKey,
    pub(super) block: BlockOption,
    pub(super) size: Option<u32>,
    pub(super) payload: Vec<u8>,
}

/// What to do about a block. The echo goes into the Block1 option of the answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer 2.31.
    Continue { echo: BlockOption },
    /// Hand up the whole body.
    Whole { body: Vec<u8>, echo: BlockOption },
    /// Hand up a part; see [`Receiving::handed_up`] and [`Receiving::answered`].
    Part { part: Part, payload: Vec<u8>, echo: BlockOption },
    /// Answer what the same block was answered before.
    Repeat { response: Box<Response>, echo: BlockOption },
    /// Say nothing, its sender will ask again: the same block is being worked on.
    Wait,
    /// Answer 4.00: the payload does not fill its block.
    Broken,
    /// Answer 4.08.
    OutOfOrder,
    /// Answer 4.13.
    TooLarge,
}

#[derive(Debug)]
struct Transfer {
    key: TransferKey,
    last: BlockOption,
    next: u64,
    progress: Progress,
    expires: Instant,
}

#[derive(Debug)]
enum Progress {
    Assembling(Vec<u8>),
    /// A part is with the layer above.
    HandedUp(ExchangeId),
    /// The last part was answered so.
    Answered(Box<Response>),
}

/// The unfinished bodies; without one it owns no memory.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    transfers: Vec<Transfer>,
}

impl Receiving {
    /// Takes a block of a body that is to be put together.
    pub(super) fn assemble(&mut self, arrived: Arrived, config: &Config, now: Instant) -> Verdict {
        let Arrived { key, block, size, payload } = arrived;
        let echo = echo(block, config);
        let found = self.find(key);
        match found.map(|index| &self.transfers[index]) {
            _ if !fills(block, &payload) => Verdict::Broken,
            _ if size.is_some_and(|size| size as usize > config.max_body) => self.give_up(found),
            _ if block.num == 0 => {
                self.remove(found);
                self.append(key, block, Vec::new(), &payload, config, now)
            }
            Some(transfer) if transfer.next == block.offset() => {
                let Progress::Assembling(body) = self.remove(found) else { return Verdict::OutOfOrder };
                self.append(key, block, body, &payload, config, now)
            }
            Some(transfer) if transfer.repeats(block, &payload) => Verdict::Continue { echo },
            _ => Verdict::OutOfOrder,
        }
    }

    /// Takes a block of a body that streams.
    pub(super) fn stream(&mut self, arrived: Arrived, config: &Config) -> Verdict {
        let Arrived { key, block, size, payload } = arrived;
        let echo = echo(block, config);
        let found = self.find(key).map(|index| &self.transfers[index]);
        let part = Part { offset: block.offset(), more: block.more, size: size.map(u64::from), first: block.num == 0 };
        let progress = found.map(|transfer| &transfer.progress);
        match (found, progress) {
            _ if !fills(block, &payload) => Verdict::Broken,
            (Some(transfer), Some(Progress::HandedUp(_))) if transfer.last == block => Verdict::Wait,
            _ if block.num == 0 => Verdict::Part { part, payload, echo },
            (Some(transfer), Some(Progress::Answered(response))) if transfer.last == block => {
                Verdict::Repeat { response: response.clone(), echo }
            }
            (Some(transfer), Some(Progress::Answered(response)))
                if transfer.next == block.offset() && transfer.last.more && response.code.is_success() =>
            {
                Verdict::Part { part, payload, echo }
            }
            _ => Verdict::OutOfOrder,
        }
    }

    /// A part went up as this exchange.
    pub(super) fn handed_up(
        &mut self,
        (key, block, length): (TransferKey, BlockOption, usize),
        exchange: ExchangeId,
        config: &Config,
        now: Instant,
    ) {
        self.remove(self.find(key));
        let progress = Progress::HandedUp(exchange);
        let next = block.offset() + length as u64;
        self.insert(Transfer { key, last: block, next, progress, expires: now + config.max_body_idle }, config);
    }

    /// The part was answered; kept for the same block with another message id.
    pub(super) fn answered(&mut self, exchange: ExchangeId, response: &Response, config: &Config, now: Instant) {
        let waits = |transfer: &&mut Transfer| matches!(transfer.progress, Progress::HandedUp(id) if id == exchange);
        if let Some(transfer) = self.transfers.iter_mut().find(waits) {
            transfer.progress = Progress::Answered(Box::new(response.clone()));
            transfer.expires = now + config.max_body_idle;
        }
    }

    /// A body came in one message: what was under way for the same resource is over.
    pub(super) fn superseded(&mut self, key: TransferKey) {
        self.remove(self.find(key));
    }

    /// Drops what lay idle for too long.
    pub(super) fn purge(&mut self, now: Instant) {
        self.transfers.retain(|transfer| transfer.expires > now);
        self.release();
    }

    /// When the next transfer will have lain idle for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.transfers.iter().map(|transfer| transfer.expires).min()
    }

    fn append(
        &mut self,
        key: TransferKey,
        block: BlockOption,
        mut body: Vec<u8>,
        payload: &[u8],
        config: &Config,
        now: Instant,
    ) -> Verdict {
        if body.len() + payload.len() > config.max_body {
            return Verdict::TooLarge;
        }
        body.extend_from_slice(payload);
        let echo = echo(block, config);
        if !block.more {
            return Verdict::Whole { body, echo };
        }
        let next = body.len() as u64;
        let progress = Progress::Assembling(body);
        self.insert(Transfer { key, last: block, next, progress, expires: now + config.max_body_idle }, config);
        Verdict::Continue { echo }
    }

    fn give_up(&mut self, found: Option<usize>) -> Verdict {
        self.remove(found);
        Verdict::TooLarge
    }

    fn insert(&mut self, transfer: Transfer, config: &Config) {
        // The oldest comes first, since every block moves its transfer to the end.
        if self.transfers.len() >= config.max_transfers.max(1) {
            self.transfers.remove(0);
        }
        self.transfers.push(transfer);
    }

    fn find(&self, key: TransferKey) -> Option<usize> {
        self.transfers.iter().position(|transfer| transfer.key == key)
    }

    fn remove(&mut self, index: Option<usize>) -> Progress {
        let progress = index.map(|index| self.transfers.remove(index).progress);
        self.release();
        progress.unwrap_or(Progress::Assembling(Vec::new()))
    }

    fn release(&mut self) {
        if self.transfers.is_empty() {
            self.transfers = Vec::new();
        }
    }
}

impl Transfer {
    fn repeats(&self, block: BlockOption, payload: &[u8]) -> bool {
        self.last == block && matches!(&self.progress, Progress::Assembling(body) if body.ends_with(payload))
    }
}

/// Every block but the last is full; the last is at most that.
fn fills(block: BlockOption, payload: &[u8]) -> bool {
    if block.more { payload.len() == block.size() } else { payload.len() <= block.size() }
}

/// The peer's block, with our size where it is the smaller: that is how a server asks for smaller blocks (RFC 7959 §2.3).
fn echo(block: BlockOption, config: &Config) -> BlockOption {
    BlockOption { szx: block.szx.min(config.szx()), ..block }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Code;
    use crate::epoch::epoch;
    use crate::message::{Kind, Message};

    fn key(path: &str) -> TransferKey {
        let mut message = Message::empty(Kind::Confirmable, crate::MessageId(1));
        message.options.path = vec![path.to_owned()];
        TransferKey::of(&message)
    }

    fn arrived(num: u32, more: bool, payload: &[u8]) -> Arrived {
        Arrived { key: key("a"), block: BlockOption { num, more, szx: 0 }, size: None, payload: payload.to_vec() }
    }

    fn assemble(receiving: &mut Receiving, num: u32, more: bool, payload: &[u8]) -> Verdict {
        let config = Config { max_body: 40, ..Config::default() };
        receiving.assemble(arrived(num, more, payload), &config, epoch())
    }

    fn echo_of(num: u32, more: bool) -> BlockOption {
        BlockOption { num, more, szx: 0 }
    }

    #[test]
    fn blocks_in_order_make_a_body() {
        let mut receiving = Receiving::default();
        assert_eq!(assemble(&mut receiving, 0, true, &[1; 16]), Verdict::Continue { echo: echo_of(0, true) });
        assert_eq!(assemble(&mut receiving, 1, true, &[2; 16]), Verdict::Continue { echo: echo_of(1, true) });
        let body = [[1; 16].as_slice(), &[2; 16], &[3; 5]].concat();
        let echo = echo_of(2, false);
        assert_eq!(assemble(&mut receiving, 2, false, &[3; 5]), Verdict::Whole { body, echo });
        assert_eq!(receiving.deadline(), None);
    }

    #[test]
    fn the_last_block_once_more_is_not_taken_twice() {
        let mut receiving = Receiving::default();
        assemble(&mut receiving, 0, true, &[1; 16]);
        assemble(&mut receiving, 1, true, &[2; 16]);
        assert_eq!(assemble(&mut receiving, 1, true, &[2; 16]), Verdict::Continue { echo: echo_of(1, true) });
        assert_eq!(assemble(&mut receiving, 1, true, &[9; 16]), Verdict::OutOfOrder, "another payload");
        assert!(matches!(assemble(&mut receiving, 2, false, &[]), Verdict::Whole { body, .. } if body.len() == 32));
    }

    #[test]
    fn a_gap_is_out_of_order_and_block_0_starts_anew() {
        let mut receiving = Receiving::default();
        assert_eq!(assemble(&mut receiving, 1, true, &[2; 16]), Verdict::OutOfOrder);
        assemble(&mut receiving, 0, true, &[1; 16]);
        assert_eq!(assemble(&mut receiving, 2, true, &[2; 16]), Verdict::OutOfOrder);
        assemble(&mut receiving, 0, true, &[7; 16]);
        assert!(matches!(assemble(&mut receiving, 1, false, &[8]), Verdict::Whole { body, .. } if body[0] == 7));
    }

    #[test]
    fn a_body_over_the_limit_is_too_large() {
        let mut receiving = Receiving::default();
        assemble(&mut receiving, 0, true, &[1; 16]);
        assemble(&mut receiving, 1, true, &[1; 16]);
        assert_eq!(assemble(&mut receiving, 2, false, &[1; 9]), Verdict::TooLarge);
        let announced = Arrived { size: Some(41), ..arrived(0, true, &[1; 16]) };
        let config = Config { max_body: 40, ..Config::default() };
        assert_eq!(receiving.assemble(announced, &config, epoch()), Verdict::TooLarge);
        assert_eq!(receiving.deadline(), None);
    }

    #[test]
    fn a_block_that_is_not_full_is_broken() {
        let mut receiving = Receiving::default();
        assert_eq!(assemble(&mut receiving, 0, true, &[1; 15]), Verdict::Broken);
        assert_eq!(assemble(&mut receiving, 0, false, &[1; 17]), Verdict::Broken);
    }

    #[test]
    fn the_oldest_of_too_many_bodies_is_dropped() {
        let mut receiving = Receiving::default();
        let config = Config { max_transfers: 2, ..Config::default() };
        for name in ["a", "b", "c"] {
            receiving.assemble(Arrived { key: key(name), ..arrived(0, true, &[1; 16]) }, &config, epoch());
        }
        let mut next = |name| {
            let verdict =
                receiving.assemble(Arrived { key: key(name), ..arrived(1, true, &[1; 16]) }, &config, epoch());
            verdict == Verdict::Continue { echo: echo_of(1, true) }
        };
        assert!(!next("a") && next("b") && next("c"));
    }

    #[test]
    fn an_idle_body_is_dropped() {
        let mut receiving = Receiving::default();
        assemble(&mut receiving, 0, true, &[1; 16]);
        assert_eq!(receiving.deadline(), Some(epoch() + Duration::from_secs(60)));
        receiving.purge(epoch() + Duration::from_secs(60));
        assert_eq!(assemble(&mut receiving, 1, true, &[2; 16]), Verdict::OutOfOrder);
    }

    fn stream(receiving: &mut Receiving, num: u32, more: bool, exchange: u64) -> Verdict {
        let config = Config::default();
        let verdict = receiving.stream(arrived(num, more, &[1; 16]), &config);
        if matches!(verdict, Verdict::Part { .. }) {
            let block = echo_of(num, more);
            receiving.handed_up((key("a"), block, 16), ExchangeId(exchange), &config, epoch());
        }
        verdict
    }

    fn answer(receiving: &mut Receiving, exchange: u64, code: Code) {
        receiving.answered(ExchangeId(exchange), &Response::new(code), &Config::default(), epoch());
    }

    #[test]
    fn parts_go_up_once_and_in_order() {
        let mut receiving = Receiving::default();
        let part = |verdict| match verdict {
            Verdict::Part { part, .. } => (part.offset, part.first, part.more),
            other => panic!("{other:?}"),
        };
        assert_eq!(stream(&mut receiving, 1, true, 1), Verdict::OutOfOrder);
        assert_eq!(part(stream(&mut receiving, 0, true, 2)), (0, true, true));
        assert_eq!(stream(&mut receiving, 0, true, 3), Verdict::Wait, "the same block is being worked on");
        assert_eq!(stream(&mut receiving, 1, true, 3), Verdict::OutOfOrder, "ahead of our answer");
        answer(&mut receiving, 2, Code::CHANGED);
        assert_eq!(part(stream(&mut receiving, 1, false, 4)), (16, false, false));
        answer(&mut receiving, 4, Code::CHANGED);
        assert!(matches!(stream(&mut receiving, 1, false, 5), Verdict::Repeat { .. }));
        assert_eq!(stream(&mut receiving, 2, false, 5), Verdict::OutOfOrder, "the body has ended");
        assert_eq!(part(stream(&mut receiving, 0, true, 6)), (0, true, true));
    }

    #[test]
    fn a_refused_part_ends_the_stream() {
        let mut receiving = Receiving::default();
        stream(&mut receiving, 0, true, 1);
        answer(&mut receiving, 1, Code::METHOD_NOT_ALLOWED);
        assert_eq!(stream(&mut receiving, 1, true, 2), Verdict::OutOfOrder);
    }
}
