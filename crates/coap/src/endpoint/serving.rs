//! Bodies that the peer fetches by Block2 (RFC 7959 §2.4), server role: the layer above gives a body once, the blocks after the first are cut from
//! here. Bounded in count; a body that nobody fetches goes after a while.

use std::time::Instant;

use super::key::{TransferKey, digest};
use crate::block::{BlockOption, block_size};
use crate::options::Options;
use crate::{Code, Config, Response};

#[derive(Debug)]
struct Body {
    key: TransferKey,
    code: Code,
    content_format: Option<u16>,
    etag: Vec<u8>,
    payload: Vec<u8>,
    expires: Instant,
}

/// One block, ready for a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) code: Code,
    pub(super) options: Options,
    pub(super) payload: Vec<u8>,
}

/// The bodies that are fetched; without one it owns no memory.
#[derive(Debug, Default)]
pub(super) struct Serving {
    bodies: Vec<Body>,
}

impl Serving {
    /// Turns a response into the message that starts with `asked`, or with block 0; where that is not all, the body is kept for what follows.
    /// A block beyond the end is 4.00, a body that has no block numbers left 5.00.
    pub(super) fn start(
        &mut self,
        key: TransferKey,
        mut response: Response,
        asked: Option<BlockOption>,
        config: &Config,
        now: Instant,
    ) -> Slice {
        let szx = asked.map_or(config.szx(), |asked| asked.szx.min(config.szx()));
        let starts_later = response.code.is_success() && asked.is_some_and(|asked| asked.num > 0);
        if response.payload.len() <= block_size(szx) && !starts_later {
            // A request that names a size has it confirmed (RFC 7959 §2.4).
            let block = asked.filter(|_| response.code.is_success()).map(|_| BlockOption { num: 0, more: false, szx });
            let payload = std::mem::take(&mut response.payload);
            return Slice { code: response.code, options: Options { block2: block, ..head(response) }, payload };
        }
        if !numbered(response.payload.len(), szx) {
            return bare(Code::INTERNAL_SERVER_ERROR);
        }
        let body = Body {
            key,
            code: response.code,
            content_format: response.content_format,
            // So that its reader can tell when the body has changed between two blocks.
            etag: response.etag.take().unwrap_or_else(|| digest(&response.payload).to_be_bytes()[..4].to_vec()),
            payload: std::mem::take(&mut response.payload),
            expires: now + config.max_body_idle,
        };
        let offset = asked.filter(|_| starts_later).map_or(0, BlockOption::offset);
        let slice = body.slice(offset, szx);
        self.keep(body, config);
        let Slice { code, options, payload } = slice;
        let first =
            Options { etag: options.etag.clone(), block2: options.block2, size2: options.size2, ..head(response) };
        Slice { code, options: if code.is_success() { first } else { options }, payload }
    }

    /// The block that a follow-up asks for; `None` if its body is not here.
    pub(super) fn follow_up(
        &mut self,
        key: TransferKey,
        asked: BlockOption,
        config: &Config,
        now: Instant,
    ) -> Option<Slice> {
        let body = self.bodies.iter_mut().rev().find(|body| key.follows(body.key))?;
        body.expires = now + config.max_body_idle;
        Some(body.slice(asked.offset(), asked.szx.min(config.szx())))
    }

    /// Drops what nobody fetched for too long.
    pub(super) fn purge(&mut self, now: Instant) {
        self.bodies.retain(|body| body.expires > now);
        if self.bodies.is_empty() {
            self.bodies = Vec::new();
        }
    }

    /// When the next body will have lain for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.bodies.iter().map(|body| body.expires).min()
    }

    fn keep(&mut self, body: Body, config: &Config) {
        self.bodies.retain(|other| other.key != body.key);
        if self.bodies.len() >= config.max_transfers.max(1) {
            self.bodies.remove(0);
        }
        self.bodies.push(body);
    }
}

impl Body {
    fn slice(&self, offset: u64, szx: u8) -> Slice {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let rest = self.payload.get(start..).filter(|rest| !rest.is_empty());
        let Some((rest, block)) = rest.and_then(|rest| {
            let more = rest.len() > block_size(szx);
            Some((rest, BlockOption::at(offset, more, szx)?))
        }) else {
            return bare(Code::BAD_REQUEST);
        };
        let options = Options {
            content_format: self.content_format,
            etag: Some(self.etag.clone()),
            block2: Some(block),
            size2: u32::try_from(self.payload.len()).ok().filter(|_| offset == 0),
            ..Options::default()
        };
        Slice { code: self.code, options, payload: rest[..rest.len().min(block_size(szx))].to_vec() }
    }
}

/// Whether every block of a body has a number.
fn numbered(length: usize, szx: u8) -> bool {
    (length as u64).div_ceil(block_size(szx) as u64) <= u64::from(BlockOption::MAX_NUM) + 1
}

fn bare(code: Code) -> Slice {
    Slice { code, options: Options::default(), payload: Vec::new() }
}

/// The options of a response.
fn head(response: Response) -> Options {
    Options {
        content_format: response.content_format,
        location_path: response.location_path,
        etag: response.etag,
        observe: response.observe,
        max_age: response.max_age,
        size1: response.size1,
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MessageId;
    use crate::epoch::epoch;
    use crate::message::{Kind, Message};

    fn key() -> TransferKey {
        TransferKey::of(&Message::empty(Kind::Confirmable, MessageId(1)))
    }

    fn start(serving: &mut Serving, length: usize, asked: Option<BlockOption>) -> Slice {
        let body: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
        let response = Response::new(Code::CONTENT).with_payload(42, body).with_observe(5);
        serving.start(key(), response, asked, &Config::default(), epoch())
    }

    fn block(num: u32, more: bool, szx: u8) -> BlockOption {
        BlockOption { num, more, szx }
    }

    #[test]
    fn a_small_body_is_one_message_and_not_kept() {
        let mut serving = Serving::default();
        let slice = start(&mut serving, 1024, None);
        assert_eq!((slice.payload.len(), slice.options.block2, slice.options.observe), (1024, None, Some(5)));
        assert_eq!(serving.deadline(), None);
    }

    #[test]
    fn the_blocks_of_a_large_body_join() {
        let mut serving = Serving::default();
        let first = start(&mut serving, 2500, None);
        assert_eq!((first.options.block2, first.options.size2), (Some(block(0, true, 6)), Some(2500)));
        assert_eq!(first.options.observe, Some(5));
        let mut next = |num| serving.follow_up(key(), block(num, false, 6), &Config::default(), epoch()).unwrap();
        let (second, third) = (next(1), next(2));
        assert_eq!(second.options.block2, Some(block(1, true, 6)));
        assert_eq!(third.options.block2, Some(block(2, false, 6)));
        assert_eq!(third.options.etag, first.options.etag);
        assert_eq!(third.options.observe, None);
        let joined = [first.payload, second.payload, third.payload].concat();
        assert!(joined.iter().enumerate().all(|(index, byte)| *byte == index as u8) && joined.len() == 2500);
    }

    #[test]
    fn the_peer_may_ask_for_smaller_blocks_at_any_time() {
        let mut serving = Serving::default();
        assert_eq!(start(&mut serving, 2500, Some(block(0, false, 2))).options.block2, Some(block(0, true, 2)));
        let slice = serving.follow_up(key(), block(64, false, 0), &Config::default(), epoch()).unwrap();
        assert_eq!(slice.options.block2, Some(block(64, true, 0)));
        assert_eq!(slice.payload, (0..16).collect::<Vec<u8>>());
    }

    #[test]
    fn a_later_block_of_a_fresh_body_is_cut_from_it() {
        let mut serving = Serving::default();
        assert_eq!(start(&mut serving, 2500, Some(block(2, false, 6))).options.block2, Some(block(2, false, 6)));
    }

    #[test]
    fn a_block_beyond_the_end_is_a_bad_request() {
        let mut serving = Serving::default();
        start(&mut serving, 2048, None);
        let slice = serving.follow_up(key(), block(2, false, 6), &Config::default(), epoch()).unwrap();
        assert_eq!(slice.code, Code::BAD_REQUEST);
        assert_eq!(start(&mut serving, 10, Some(block(1, false, 0))).code, Code::BAD_REQUEST);
    }

    #[test]
    fn a_body_without_block_numbers_left_is_a_server_error() {
        let mut serving = Serving::default();
        let code = start(&mut serving, (16 << 20) + 1, Some(block(0, false, 0))).code;
        assert_eq!(code, Code::INTERNAL_SERVER_ERROR);
        assert_eq!(start(&mut serving, 16 << 20, Some(block(0, false, 0))).code, Code::CONTENT);
    }
}
