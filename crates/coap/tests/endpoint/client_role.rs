//! The endpoint asks: the flows of RFC 7252, 7959 and 7641, with the test as server.

use std::time::Duration;

use crate::bench::{Bench, ack, block, con};
use coap::message::{Kind, Message};
use coap::{Code, Config, Event, Failure, MessageId, Refused, Request, RequestId, Response};

fn bench() -> Bench {
    Bench::new(Config::default())
}

fn get(path: &str) -> Request {
    Request::new(Code::GET).with_path(path)
}

fn ask(bench: &mut Bench, request: Request) -> (RequestId, Message) {
    let id = bench.endpoint.request(request, bench.now).expect("the queue has room");
    (id, bench.sent())
}

fn response(bench: &mut Bench, id: RequestId) -> Response {
    match bench.endpoint.poll_event() {
        Some(Event::Response { request, response }) if request == id => response,
        other => panic!("no response but {other:?}"),
    }
}

fn failed(request: RequestId, reason: Failure) -> Option<Event> {
    Some(Event::Failed { request, reason })
}

#[test]
fn a_register_goes_out_byte_by_byte() {
    let mut bench = bench();
    let register = Request::new(Code::POST)
        .with_path("/rd")
        .with_query("lwm2m=1.1")
        .with_query("ep=a")
        .with_payload(40, "</1/1>,</3/0>");
    bench.endpoint.request(register, bench.now).unwrap();
    let sent = bench.sent_bytes();
    assert_eq!(sent[..2], [0x48, 0x02], "CON POST with a token of 8 bytes");
    assert_eq!(sent[12..], *b"\xb2rd\x11\x28\x39lwm2m=1.1\x04ep=a\xff</1/1>,</3/0>");
}

#[test]
fn an_answer_in_the_ack_ends_the_request() {
    let mut bench = bench();
    let (id, sent) = ask(&mut bench, get("/rd"));
    let mut answer = ack(Code::CREATED, &sent);
    answer.options.location_path = vec!["rd".to_owned(), "xyz".to_owned()];
    bench.receive(answer.clone().encode());
    assert_eq!(response(&mut bench, id), Response::new(Code::CREATED).with_location(["rd", "xyz"]));
    bench.receive(answer.encode());
    bench.silent();
    assert_eq!(bench.endpoint.poll_timeout(), None);
}

#[test]
fn an_unanswered_request_is_sent_five_times_and_fails() {
    let mut bench = bench();
    let (id, sent) = ask(&mut bench, get("/rd"));
    let first = bench.pass_to_deadline();
    assert!((2.0..=3.0).contains(&first.as_secs_f64()), "{first:?}");
    assert_eq!(bench.sent(), sent);
    for doubling in 1..=3 {
        assert_eq!(bench.pass_to_deadline(), first * 2_u32.pow(doubling));
        assert_eq!(bench.sent(), sent);
    }
    assert_eq!(bench.pass_to_deadline(), first * 16);
    assert_eq!(bench.endpoint.poll_event(), failed(id, Failure::Timeout));
    assert_eq!((bench.endpoint.stats().retransmissions, bench.endpoint.stats().timeouts), (4, 1));
    bench.silent();
}

#[test]
fn an_empty_ack_stops_retransmission_and_the_answer_comes_by_itself() {
    let mut bench = bench();
    let (id, sent) = ask(&mut bench, get("/rd"));
    bench.receive(Message::empty(Kind::Acknowledgement, sent.id).encode());
    bench.pass(Duration::from_secs(120));
    bench.silent();
    let answer = Message { token: sent.token, ..con(Code::CONTENT, 77, "") };
    bench.receive(answer.clone().encode());
    assert_eq!(bench.sent(), Message::empty(Kind::Acknowledgement, MessageId(77)));
    assert_eq!(response(&mut bench, id).code, Code::CONTENT);
    bench.receive(answer.encode());
    assert_eq!(bench.sent(), Message::empty(Kind::Acknowledgement, MessageId(77)), "our ACK was lost");
    bench.silent();
}

#[test]
fn an_acknowledged_request_without_answer_fails_in_the_end() {
    let mut bench = bench();
    let (id, sent) = ask(&mut bench, get("/rd"));
    bench.receive(Message::empty(Kind::Acknowledgement, sent.id).encode());
    assert_eq!(bench.pass_to_deadline(), Duration::from_secs(247));
    assert_eq!(bench.endpoint.poll_event(), failed(id, Failure::Timeout));
}

#[test]
fn a_separate_answer_counts_though_the_ack_was_lost() {
    let mut bench = bench();
    let (id, sent) = ask(&mut bench, get("/rd"));
    bench.receive(Message { token: sent.token, ..con(Code::CONTENT, 77, "") }.encode());
    bench.sent();
    assert_eq!(response(&mut bench, id).code, Code::CONTENT);
    bench.receive(Message::empty(Kind::Acknowledgement, sent.id).encode());
    bench.pass(Duration::from_secs(60));
    bench.silent();
}

#[test]
fn a_reset_fails_the_request() {
    for request in [get("/rd"), get("/rd").non_confirmable()] {
        let mut bench = bench();
        let (id, sent) = ask(&mut bench, request);
        bench.receive(Message::empty(Kind::Reset, sent.id).encode());
        assert_eq!(bench.endpoint.poll_event(), failed(id, Failure::Reset));
    }
}

#[test]
fn an_answer_that_nobody_waits_for_is_refused_or_ignored() {
    let mut bench = bench();
    let stray = con(Code::CONTENT, 5, "");
    bench.receive(stray.clone().encode());
    assert_eq!(bench.sent(), Message::empty(Kind::Reset, MessageId(5)));
    bench.receive(stray.encode());
    assert_eq!(bench.sent(), Message::empty(Kind::Reset, MessageId(5)), "again for its duplicate");
    bench.receive(Message { kind: Kind::NonConfirmable, ..con(Code::CONTENT, 6, "") }.encode());
    bench.silent();
}

#[test]
fn an_ack_with_the_wrong_token_or_id_answers_nothing() {
    let mut bench = bench();
    let (id, sent) = ask(&mut bench, get("/rd"));
    bench.receive(Message { token: coap::Token::EMPTY, ..ack(Code::CONTENT, &sent) }.encode());
    bench.receive(Message { id: MessageId(sent.id.0 ^ 1), ..ack(Code::CONTENT, &sent) }.encode());
    bench.silent();
    bench.receive(ack(Code::CONTENT, &sent).encode());
    response(&mut bench, id);
}

#[test]
fn one_confirmable_request_is_under_way_at_a_time() {
    let mut bench = bench();
    let (first, sent_first) = ask(&mut bench, get("/1"));
    let second = bench.endpoint.request(get("/2"), bench.now).unwrap();
    let third = bench.endpoint.request(get("/3"), bench.now).unwrap();
    bench.silent();
    ask(&mut bench, get("/4").non_confirmable());
    bench.receive(ack(Code::CONTENT, &sent_first).encode());
    let sent_second = bench.sent();
    assert_eq!(sent_second.options.path, ["2"]);
    response(&mut bench, first);
    bench.receive(Message::empty(Kind::Acknowledgement, sent_second.id).encode());
    assert_eq!(bench.sent().options.path, ["3"], "an empty ACK lets the next one go");
    bench.endpoint.cancel(third, bench.now);
    bench.receive(Message { token: sent_second.token, ..con(Code::CONTENT, 8, "") }.encode());
    bench.sent();
    response(&mut bench, second);
}

#[test]
fn requests_are_bounded_and_checked() {
    let mut bench = Bench::new(Config { max_outstanding: 2, preferred_szx: 0, ..Config::default() });
    let mut refused = |request| bench.endpoint.request(request, bench.now).unwrap_err();
    assert_eq!(refused(get(&"a".repeat(256))), Refused::Invalid);
    assert_eq!(refused(Request::new(Code::CONTENT)), Refused::Invalid);
    assert_eq!(refused(Request::new(Code::PUT).with_payload(42, vec![0; (16 << 20) + 1])), Refused::TooLarge);
    let first = bench.endpoint.request(get("/1"), bench.now).unwrap();
    bench.endpoint.request(get("/2"), bench.now).unwrap();
    assert_eq!(bench.endpoint.request(get("/3"), bench.now), Err(Refused::QueueFull));
    bench.endpoint.cancel(first, bench.now);
    bench.endpoint.request(get("/3"), bench.now).unwrap();
}

#[test]
fn an_unknown_critical_option_in_an_answer_fails_the_request() {
    let mut bench = bench();
    let (id, sent) = ask(&mut bench, get("/rd"));
    let mut bytes = ack(Code::CONTENT, &sent).encode();
    bytes.push(0x10);
    bench.receive(bytes);
    assert_eq!(bench.endpoint.poll_event(), failed(id, Failure::BadOption));

    let (id, sent) = ask(&mut bench, get("/rd"));
    let mut bytes = Message { token: sent.token, ..con(Code::CONTENT, 7, "") }.encode();
    bytes.push(0x10);
    bench.receive(bytes);
    assert_eq!(bench.sent(), Message::empty(Kind::Reset, MessageId(7)));
    assert_eq!(bench.endpoint.poll_event(), failed(id, Failure::BadOption));
}

#[test]
fn a_large_body_goes_in_blocks_of_the_size_that_the_server_wants() {
    let mut bench = bench();
    let body: Vec<u8> = (0..2000_u32).map(|byte| byte as u8).collect();
    let request = Request::new(Code::PUT).with_path("/a").with_payload(42, body.clone());
    let (id, mut sent) = ask(&mut bench, request);
    assert_eq!((sent.options.block1, sent.options.size1), (block(0, true, 6), Some(2000)));
    let mut arrived = sent.payload.clone();
    let mut num = 0;
    while sent.options.block1.unwrap().more {
        let mut answer = ack(Code::CONTINUE, &sent);
        answer.options.block1 = block(num, true, 4);
        bench.receive(answer.encode());
        sent = bench.sent();
        num = sent.options.block1.unwrap().num;
        assert_eq!((sent.options.block1.unwrap().szx, sent.options.size1), (4, None));
        arrived.extend_from_slice(&sent.payload);
    }
    bench.receive(ack(Code::CHANGED, &sent).encode());
    assert_eq!(response(&mut bench, id).code, Code::CHANGED);
    assert_eq!((arrived, num), (body, 7));
}

#[test]
fn a_body_that_is_too_large_in_one_message_goes_in_smaller_ones() {
    let mut bench = bench();
    let (_, sent) = ask(&mut bench, Request::new(Code::PUT).with_path("/a").with_payload(42, [1; 100]));
    assert_eq!(sent.options.block1, None);
    let mut answer = ack(Code::REQUEST_ENTITY_TOO_LARGE, &sent);
    answer.options.block1 = block(0, false, 1);
    bench.receive(answer.encode());
    let sent = bench.sent();
    assert_eq!((sent.options.block1, sent.payload.len()), (block(0, true, 1), 32));
}

#[test]
fn a_body_that_is_simply_too_large_is_told() {
    let mut bench = bench();
    let (id, sent) = ask(&mut bench, Request::new(Code::PUT).with_path("/a").with_payload(42, [1; 3000]));
    let mut answer = ack(Code::REQUEST_ENTITY_TOO_LARGE, &sent);
    answer.options.size1 = Some(2048);
    bench.receive(answer.encode());
    let response = response(&mut bench, id);
    assert_eq!((response.code, response.size1), (Code::REQUEST_ENTITY_TOO_LARGE, Some(2048)));
}

fn block_of(to: &Message, (num, more, szx): (u32, bool, u8), payload: &[u8]) -> Message {
    let mut answer = ack(Code::CONTENT, to);
    answer.options.block2 = block(num, more, szx);
    Message { payload: payload.to_vec(), ..answer }
}

#[test]
fn a_large_answer_is_fetched_and_joined() {
    let mut bench = bench();
    let (id, sent) = ask(&mut bench, get("/3").with_query("q").with_accept(42));
    bench.receive(block_of(&sent, (0, true, 0), &[0; 16]).encode());
    let next = bench.sent();
    assert_eq!(
        (&next.options.path, &next.options.query, next.options.accept),
        (&sent.options.path, &sent.options.query, Some(42))
    );
    assert_eq!(next.options.block2, block(1, false, 0));
    assert_ne!(next.token, sent.token);
    bench.receive(block_of(&next, (1, false, 0), &[1; 4]).encode());
    assert_eq!(response(&mut bench, id).payload, [[0; 16].as_slice(), &[1; 4]].concat());
}

#[test]
fn a_client_that_prefers_small_blocks_asks_for_them_at_once() {
    let mut bench = Bench::new(Config { preferred_szx: 2, ..Config::default() });
    assert_eq!(ask(&mut bench, get("/3")).1.options.block2, block(0, false, 2));
}

#[test]
fn an_answer_that_breaks_the_rules_of_blocks_fails() {
    let cases: [(u32, bool, usize, Failure); 3] =
        [(1, true, 16, Failure::BadBlock), (0, true, 15, Failure::BadBlock), (0, true, 16, Failure::TooLarge)];
    for (num, more, length, reason) in cases {
        let mut bench =
            Bench::new(Config { max_body: if reason == Failure::TooLarge { 8 } else { 100 }, ..Config::default() });
        let (id, sent) = ask(&mut bench, get("/3"));
        bench.receive(block_of(&sent, (num, more, 0), &vec![0; length]).encode());
        assert_eq!(bench.endpoint.poll_event(), failed(id, reason));
        bench.silent();
    }
}

fn notification(sent: &Message, id: u16, observe: u32, payload: &str) -> Message {
    let mut message = Message { token: sent.token, ..con(Code::CONTENT, id, "") };
    message.options.observe = Some(observe);
    Message { payload: payload.as_bytes().to_vec(), ..message }
}

fn observing(bench: &mut Bench) -> (RequestId, Message) {
    let (id, sent) = ask(bench, get("/5/0/3").with_observe(0));
    assert_eq!(sent.options.observe, Some(0));
    let mut answer = ack(Code::CONTENT, &sent);
    answer.options.observe = Some(10);
    bench.receive(answer.encode());
    assert_eq!(response(bench, id).observe, Some(10));
    assert_eq!(bench.endpoint.poll_timeout(), None);
    (id, sent)
}

fn told(bench: &mut Bench, id: RequestId) -> Option<Response> {
    match bench.endpoint.poll_event()? {
        Event::Notification { request, response } if request == id => Some(response),
        other => panic!("{other:?}"),
    }
}

#[test]
fn notifications_are_told_in_order_and_old_ones_only_acknowledged() {
    let mut bench = bench();
    let (id, sent) = observing(&mut bench);
    for (message, observe, news) in [(1, 12, true), (2, 11, false), (3, 12, false), (4, 13, true)] {
        bench.receive(notification(&sent, message, observe, "x").encode());
        assert_eq!(bench.sent(), Message::empty(Kind::Acknowledgement, MessageId(message)));
        assert_eq!(told(&mut bench, id).map(|response| response.observe), news.then_some(Some(observe)));
    }
}

#[test]
fn a_notification_without_observe_is_the_last_one() {
    let mut bench = bench();
    let (id, sent) = observing(&mut bench);
    bench.receive(Message { token: sent.token, ..con(Code::NOT_FOUND, 1, "") }.encode());
    bench.sent();
    assert_eq!(told(&mut bench, id).map(|response| response.code), Some(Code::NOT_FOUND));
    bench.receive(notification(&sent, 2, 11, "x").encode());
    assert_eq!(bench.sent().kind, Kind::Reset);
}

#[test]
fn a_forgotten_observation_is_refused_with_reset() {
    let mut bench = bench();
    let (id, sent) = observing(&mut bench);
    bench.endpoint.cancel(id, bench.now);
    bench.silent();
    bench.receive(notification(&sent, 1, 11, "x").encode());
    assert_eq!(bench.sent(), Message::empty(Kind::Reset, MessageId(1)));
    bench.receive(Message { kind: Kind::NonConfirmable, ..notification(&sent, 2, 12, "x") }.encode());
    assert_eq!(bench.sent(), Message::empty(Kind::Reset, MessageId(2)));
}

#[test]
fn observe_1_takes_the_token_of_the_observation() {
    let mut bench = bench();
    let (_, sent) = observing(&mut bench);
    let (id, cancels) = ask(&mut bench, get("/5/0/3").with_observe(1));
    assert_eq!((cancels.token, cancels.options.observe), (sent.token, Some(1)));
    bench.receive(ack(Code::CONTENT, &cancels).encode());
    assert_eq!(response(&mut bench, id).observe, None);
}

#[test]
fn a_newer_notification_replaces_the_fetching_of_an_older_one() {
    let mut bench = bench();
    let (id, sent) = observing(&mut bench);
    let mut large = notification(&sent, 1, 11, &"x".repeat(16));
    large.options.block2 = block(0, true, 0);
    bench.receive(large.encode());
    assert_eq!(bench.endpoint.poll_transmit().map(|bytes| bytes[0]), Some(0x60), "the ACK");
    let fetch = bench.sent();
    assert_eq!((fetch.options.observe, fetch.options.block2), (None, block(1, false, 0)));
    bench.receive(notification(&sent, 2, 12, "new").encode());
    bench.sent();
    assert_eq!(told(&mut bench, id).map(|response| response.payload), Some(b"new".to_vec()));
    bench.receive(block_of(&fetch, (1, false, 0), b"old").encode());
    bench.pass(Duration::from_secs(100));
    bench.silent();
}

#[test]
fn a_ping_is_answered() {
    let mut bench = bench();
    bench.endpoint.ping(bench.now);
    let sent = bench.sent();
    assert_eq!((sent.kind, sent.code), (Kind::Confirmable, Code::EMPTY));
    bench.receive(Message::empty(Kind::Reset, sent.id).encode());
    assert_eq!(bench.endpoint.poll_event(), Some(Event::PingAnswered));
}
