//! Whatever the peer sends, in whatever order: no panic, no memory without bound, and every datagram that goes out is a message.

use std::time::Duration;

use crate::bench::{Bench, block};
use coap::message::{Kind, Message};
use coap::options::Options;
use coap::{Code, Config, Event, MessageId, Request, Response, Token};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Bytes(Vec<u8>),
    Message(Message),
    Echo { kind: u8, code: u8, options: Options, payload: Vec<u8> },
    Request { observe: bool, confirmable: bool, length: usize },
    Notify { confirmable: bool, length: usize },
    Pass(u64),
}

fn options() -> impl Strategy<Value = Options> {
    let blocks = || proptest::option::of((0_u32..4, any::<bool>(), 0_u8..3));
    let number = || proptest::option::of(0_u32..3);
    (blocks(), blocks(), number(), number(), number(), any::<bool>()).prop_map(
        |(b1, b2, observe, size1, size2, stream)| {
            let path = if stream { ["5", "0", "0"].map(str::to_owned).to_vec() } else { Vec::new() };
            let block1 = b1.and_then(|(num, more, szx)| block(num, more, szx));
            let block2 = b2.and_then(|(num, more, szx)| block(num, more, szx));
            Options { path, block1, block2, observe, size1, size2, ..Options::default() }
        },
    )
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(vec![1; 16]), Just(vec![2; 32]), Just(vec![3; 64]), proptest::collection::vec(any::<u8>(), 0..70)]
}

fn code() -> impl Strategy<Value = u8> {
    prop_oneof![
        Just(Code::CONTENT),
        Just(Code::CONTINUE),
        Just(Code::CHANGED),
        Just(Code::REQUEST_ENTITY_INCOMPLETE),
        Just(Code::REQUEST_ENTITY_TOO_LARGE)
    ]
    .prop_map(|code| code.0)
}

fn steps() -> impl Strategy<Value = Step> {
    let message = (0_u8..2, prop_oneof![1_u8..8, code()], 0_u16..20, options(), payload()).prop_map(
        |(kind, code, id, options, payload)| {
            let kind = if kind == 0 { Kind::Confirmable } else { Kind::NonConfirmable };
            let token = Token::new(&[id as u8 % 3]).expect("one byte");
            Step::Message(Message { kind, code: Code(code), id: MessageId(id), token, options, payload })
        },
    );
    prop_oneof![
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Step::Bytes),
        4 => message,
        6 => (0_u8..5, code(), options(), payload())
            .prop_map(|(kind, code, options, payload)| Step::Echo { kind, code, options, payload }),
        2 => (any::<bool>(), any::<bool>(), 0_usize..100)
            .prop_map(|(observe, confirmable, length)| Step::Request { observe, confirmable, length }),
        1 => (any::<bool>(), 0_usize..100).prop_map(|(confirmable, length)| Step::Notify { confirmable, length }),
        2 => (0_u64..100_000).prop_map(Step::Pass),
    ]
}

struct World {
    bench: Bench,
    last: Option<Message>,
    unanswered: usize,
}

impl World {
    fn take(&mut self, step: Step) {
        let now = self.bench.now;
        let endpoint = &mut self.bench.endpoint;
        match step {
            Step::Bytes(bytes) => endpoint.handle_datagram(&bytes, now),
            Step::Message(message) => endpoint.handle_datagram(&message.encode(), now),
            Step::Echo { kind, code, options, payload } => {
                let Some(last) = self.last.clone() else { return };
                let answer = match kind {
                    0 => Message::empty(Kind::Acknowledgement, last.id),
                    1 => Message::empty(Kind::Reset, last.id),
                    2 => Message { kind: Kind::Confirmable, code: Code(code), options, payload, ..last },
                    _ => Message { kind: Kind::Acknowledgement, code: Code(code), options, payload, ..last },
                };
                endpoint.handle_datagram(&answer.encode(), now);
            }
            Step::Request { observe, confirmable, length } => {
                let request = Request { observe: observe.then_some(0), confirmable, ..Request::new(Code::FETCH) };
                let _ = endpoint.request(request.with_payload(42, vec![1; length]), now);
            }
            Step::Notify { confirmable, length } => {
                let token = Token::new(&[length as u8 % 3]).expect("one byte");
                let response = Response::new(Code::CONTENT).with_payload(42, vec![1; length]);
                endpoint.notify(token, length as u32, response, confirmable, now);
            }
            Step::Pass(milliseconds) => self.bench.pass(Duration::from_millis(milliseconds)),
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.bench.endpoint.poll_event() {
            let Event::Request(incoming) = event else { continue };
            self.unanswered += 1;
            // Every third request stays without an answer.
            if !self.unanswered.is_multiple_of(3) {
                let mut response = Response::new(Code::CONTENT).with_payload(42, vec![1; incoming.payload.len() * 3]);
                response.observe = incoming.observe;
                self.bench.endpoint.respond(incoming.exchange, response, self.bench.now);
            }
        }
        let mut sent = 0;
        while let Some(datagram) = self.bench.endpoint.poll_transmit() {
            let message = Message::decode(&datagram).expect("the endpoint sends only messages");
            assert_eq!(message.options.fault, None);
            self.last = Some(message);
            sent += 1;
        }
        assert!(sent <= 40, "{sent} datagrams at once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_conversation_is_survived(steps in proptest::collection::vec(steps(), 0..60)) {
        let config = Config {
            preferred_szx: 1,
            max_body: 200,
            max_dedup: 8,
            max_outstanding: 4,
            max_transfers: 2,
            stream_paths: vec!["5/0/0".to_owned()],
            ..Config::default()
        };
        let mut world = World { bench: Bench::new(config), last: None, unanswered: 0 };
        steps.into_iter().for_each(|step| world.take(step));
        // Left alone it comes to rest: every timer ends.
        for _ in 0..500 {
            let Some(due) = world.bench.endpoint.poll_timeout() else { break };
            assert!(due > world.bench.now, "a deadline that handle_timeout did not clear");
            world.bench.pass_to_deadline();
            world.drain();
        }
        prop_assert_eq!(world.bench.endpoint.poll_timeout(), None);
    }
}
