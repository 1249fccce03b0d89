//! One body out by Block1, one body in by Block2, client role (RFC 7959 §2.3 to §2.5): which block comes next, judged by the peer's answers. Sends nothing itself.

use crate::block::{BlockOption, block_size};
use crate::message::Message;
use crate::options::Options;
use crate::{Code, Failure, Response};

/// How often a download starts again because the body changed under it.
const MAX_RESTARTS: u8 = 2;

/// A request body on its way out.
#[derive(Debug)]
pub(super) struct Upload {
    szx: u8,
    offset: usize,
    restarted: bool,
}

/// What an answer means for an upload.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Uploaded {
    /// Send the block that is now current.
    Next,
    /// It is the answer to the request.
    Answer,
    /// The peer broke the rules.
    Broken,
}

impl Upload {
    /// From the first byte, in blocks of this size.
    pub(super) fn new(szx: u8) -> Self {
        Self { szx, offset: 0, restarted: false }
    }

    /// Whether a body of this length has numbers for all its blocks.
    pub(super) fn fits(length: usize, szx: u8) -> bool {
        (length as u64).div_ceil(block_size(szx) as u64) <= u64::from(BlockOption::MAX_NUM) + 1
    }

    /// The current block of the body, with the options that go with it.
    pub(super) fn block<'a>(&self, body: &'a [u8]) -> (Options, &'a [u8]) {
        let rest = &body[self.offset.min(body.len())..];
        let size = block_size(self.szx);
        let options = Options {
            block1: BlockOption::at(self.offset as u64, rest.len() > size, self.szx),
            size1: u32::try_from(body.len()).ok().filter(|_| self.offset == 0),
            ..Options::default()
        };
        (options, &rest[..rest.len().min(size)])
    }

    /// Judges the answer to the current block of a body of this length.
    pub(super) fn handle(&mut self, code: Code, block: Option<BlockOption>, length: usize) -> Uploaded {
        let size = block_size(self.szx);
        let more = self.offset + size < length;
        let num = (self.offset / size) as u32;
        match (code, block) {
            // `more` unset with a success means that each block is taken by itself; either way the next one is due.
            (code, Some(block)) if code.is_success() && more => match block.num == num {
                true => self.advance(size, block.szx, length),
                false => Uploaded::Broken,
            },
            (Code::CONTINUE, _) => Uploaded::Broken,
            (Code::REQUEST_ENTITY_TOO_LARGE, Some(block)) if block.szx < self.szx && self.offset == 0 => {
                self.szx = block.szx;
                self.begin_if(Self::fits(length, block.szx))
            }
            (Code::REQUEST_ENTITY_INCOMPLETE, _) if !self.restarted => {
                self.restarted = true;
                self.begin_if(true)
            }
            _ => Uploaded::Answer,
        }
    }

    fn advance(&mut self, size: usize, szx: u8, length: usize) -> Uploaded {
        self.offset += size;
        self.szx = self.szx.min(szx);
        if Self::fits(length, self.szx) { Uploaded::Next } else { Uploaded::Broken }
    }

    fn begin_if(&mut self, possible: bool) -> Uploaded {
        self.offset = 0;
        if possible { Uploaded::Next } else { Uploaded::Answer }
    }
}

/// A response body on its way in.
#[derive(Debug)]
pub(super) struct Download {
    /// The first block's code and options; nothing yet after a restart.
    head: Response,
    body: Vec<u8>,
    szx: u8,
    restarts: u8,
}

/// What a block means for a download.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Downloaded {
    /// Ask for the block that is now current.
    Next,
    /// This is the whole answer.
    Whole(Response),
    /// The body kept changing, or can not be asked for again.
    Changed,
    /// It can not be finished.
    Failed(Failure),
}

impl Download {
    /// Starts with a first block.
    pub(super) fn begin(message: Message, max_body: usize) -> (Self, Downloaded) {
        let head = Response::new(message.code);
        let mut download = Self { head, body: Vec::new(), szx: 6, restarts: 0 };
        let next = download.handle(message, false, max_body);
        (download, next)
    }

    /// The block to ask for.
    pub(super) fn next(&self) -> Option<BlockOption> {
        BlockOption::at(self.body.len() as u64, false, self.szx)
    }

    /// Takes the answer to what was asked for. `safe`: the request may be asked again from the start.
    pub(super) fn handle(&mut self, message: Message, safe: bool, max_body: usize) -> Downloaded {
        let Some(block) = message.options.block2.filter(|_| message.code.is_success()) else {
            return Downloaded::Whole(self.keep_observe(response(message)));
        };
        let first = self.body.is_empty();
        if !first && (message.code, &message.options.etag) != (self.head.code, &self.head.etag) {
            return self.restart(safe);
        }
        let announced = message.options.size2.map_or(0, |size| size as usize);
        let length = self.body.len() + message.payload.len();
        let fills =
            if block.more { message.payload.len() == block.size() } else { message.payload.len() <= block.size() };
        if length.max(announced) > max_body {
            return Downloaded::Failed(Failure::TooLarge);
        }
        if block.offset() != self.body.len() as u64 || !fills {
            return Downloaded::Failed(Failure::BadBlock);
        }
        self.body.extend_from_slice(&message.payload);
        self.szx = self.szx.min(block.szx);
        if first {
            self.head = self.keep_observe(response(Message { payload: Vec::new(), ..message }));
        }
        match (block.more, self.next()) {
            (false, _) => Downloaded::Whole(Response {
                payload: std::mem::take(&mut self.body),
                ..std::mem::replace(&mut self.head, Response::new(Code::EMPTY))
            }),
            (true, Some(_)) => Downloaded::Next,
            (true, None) => Downloaded::Failed(Failure::BadBlock),
        }
    }

    fn restart(&mut self, safe: bool) -> Downloaded {
        if !safe || self.restarts == MAX_RESTARTS {
            return Downloaded::Changed;
        }
        self.restarts += 1;
        self.body.clear();
        Downloaded::Next
    }

    /// Only the first block carries Observe, and it counts for the whole.
    fn keep_observe(&self, response: Response) -> Response {
        let observe = response.observe.or(self.head.observe).filter(|_| response.code.is_success());
        Response { observe, ..response }
    }
}

/// A message as a response.
pub(super) fn response(message: Message) -> Response {
    let Message { code, options, payload, .. } = message;
    Response {
        code,
        content_format: options.content_format,
        location_path: options.location_path,
        etag: options.etag,
        observe: options.observe,
        max_age: options.max_age,
        size1: options.size1,
        payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MessageId;
    use crate::message::Kind;

    fn echo(num: u32, szx: u8) -> Option<BlockOption> {
        Some(BlockOption { num, more: true, szx })
    }

    #[test]
    fn an_upload_walks_through_its_body() {
        let body = [7; 40];
        let mut upload = Upload::new(0);
        let (options, payload) = upload.block(&body);
        assert_eq!((options.block1, options.size1, payload.len()), (echo(0, 0), Some(40), 16));
        assert_eq!(upload.handle(Code::CONTINUE, echo(0, 0), 40), Uploaded::Next);
        assert_eq!(upload.handle(Code::CONTINUE, echo(1, 0), 40), Uploaded::Next);
        let (options, payload) = upload.block(&body);
        assert_eq!(options.block1, Some(BlockOption { num: 2, more: false, szx: 0 }));
        assert_eq!((options.size1, payload.len()), (None, 8));
        assert_eq!(upload.handle(Code::CHANGED, echo(2, 0), 40), Uploaded::Answer);
    }

    #[test]
    fn an_upload_takes_the_smaller_size_that_the_server_wants() {
        // RFC 7959 figure 8: 1:0/1/128 is answered 1:0/1/32, and goes on with 1:4/1/32.
        let body = [7; 256];
        let mut upload = Upload::new(3);
        assert_eq!(upload.handle(Code::CONTINUE, echo(0, 1), 256), Uploaded::Next);
        assert_eq!(upload.block(&body).0.block1, echo(4, 1));
    }

    #[test]
    fn an_upload_starts_again_once() {
        let mut upload = Upload::new(0);
        upload.handle(Code::CONTINUE, echo(0, 0), 40);
        assert_eq!(upload.handle(Code::REQUEST_ENTITY_INCOMPLETE, None, 40), Uploaded::Next);
        assert_eq!(upload.block(&[7; 40]).0.block1, echo(0, 0));
        assert_eq!(upload.handle(Code::REQUEST_ENTITY_INCOMPLETE, None, 40), Uploaded::Answer);
    }

    #[test]
    fn a_server_that_finds_the_blocks_too_large_gets_smaller_ones() {
        let mut upload = Upload::new(6);
        assert_eq!(upload.handle(Code::REQUEST_ENTITY_TOO_LARGE, echo(0, 2), 5000), Uploaded::Next);
        assert_eq!(upload.block(&[7; 5000]).0.block1, echo(0, 2));
        assert_eq!(upload.handle(Code::REQUEST_ENTITY_TOO_LARGE, None, 5000), Uploaded::Answer);
    }

    #[test]
    fn an_upload_ends_on_nonsense() {
        assert_eq!(Upload::new(0).handle(Code::CONTINUE, echo(5, 0), 40), Uploaded::Broken);
        assert_eq!(Upload::new(0).handle(Code::CONTINUE, None, 40), Uploaded::Broken);
        assert_eq!(Upload::new(0).handle(Code::CONTINUE, echo(0, 0), 10), Uploaded::Broken, "after the last block");
    }

    fn block(num: u32, more: bool, szx: u8, payload: &[u8], etag: &[u8]) -> Message {
        let options = Options {
            block2: Some(BlockOption { num, more, szx }),
            etag: Some(etag.to_vec()),
            observe: (num == 0).then_some(9),
            ..Options::default()
        };
        let (kind, code, id, token) = (Kind::Acknowledgement, Code::CONTENT, MessageId(1), crate::Token::EMPTY);
        Message { kind, code, id, token, options, payload: payload.to_vec() }
    }

    #[test]
    fn a_download_joins_its_blocks() {
        let (mut download, next) = Download::begin(block(0, true, 1, &[1; 32], b"e"), 100);
        assert_eq!(next, Downloaded::Next);
        assert_eq!(download.next(), Some(BlockOption { num: 1, more: false, szx: 1 }));
        match download.handle(block(1, false, 1, &[2; 5], b"e"), true, 100) {
            Downloaded::Whole(response) => {
                assert_eq!(response.payload, [[1; 32].as_slice(), &[2; 5]].concat());
                assert_eq!(response.observe, Some(9));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_download_starts_again_when_the_body_changed() {
        let (mut download, _) = Download::begin(block(0, true, 0, &[1; 16], b"a"), 100);
        assert_eq!(download.handle(block(1, false, 0, &[2; 16], b"b"), true, 100), Downloaded::Next);
        assert_eq!(download.next(), Some(BlockOption { num: 0, more: false, szx: 0 }));
        assert_eq!(download.handle(block(0, true, 0, &[3; 16], b"b"), true, 100), Downloaded::Next);
        assert!(matches!(
            download.handle(block(1, false, 0, &[4], b"b"), true, 100),
            Downloaded::Whole(response) if response.payload == [[3; 16].as_slice(), &[4]].concat()
        ));
    }

    #[test]
    fn a_download_that_can_not_be_asked_again_fails() {
        let (mut download, _) = Download::begin(block(0, true, 0, &[1; 16], b"a"), 100);
        assert_eq!(download.handle(block(1, false, 0, &[2; 16], b"b"), false, 100), Downloaded::Changed);
    }

    #[test]
    fn a_download_is_bounded() {
        let too_large = Downloaded::Failed(Failure::TooLarge);
        assert_eq!(Download::begin(block(0, true, 6, &[1; 1024], b"a"), 100).1, too_large);
        let mut announced = block(0, true, 0, &[1; 16], b"a");
        announced.options.size2 = Some(101);
        assert_eq!(Download::begin(announced, 100).1, too_large);
    }

    #[test]
    fn a_gap_or_a_short_block_fails() {
        let failed = Downloaded::Failed(Failure::BadBlock);
        assert_eq!(Download::begin(block(1, true, 0, &[1; 16], b"a"), 100).1, failed);
        assert_eq!(Download::begin(block(0, true, 0, &[1; 15], b"a"), 100).1, failed);
    }
}
