//! The endpoint answers: the flows of RFC 7252, 7959 and 7641, with the test as client.

use std::time::Duration;

use crate::bench::{Bench, ack, block, con};
use coap::message::{Kind, Message};
use coap::{Code, Config, Event, MessageId, Response, Token};

const MILLISECOND: Duration = Duration::from_millis(1);

fn bench() -> Bench {
    Bench::new(Config { stream_paths: vec!["5/0/0".to_owned()], ..Config::default() })
}

fn text(code: Code, text: &str) -> Response {
    Response { content_format: None, ..Response::new(code).with_payload(0, text) }
}

#[test]
fn a_quick_answer_rides_on_the_ack_as_in_rfc_7252_figure_16() {
    let mut bench = bench();
    bench.receive(b"\x40\x01\x7d\x34\xbbtemperature");
    let Some(Event::Request(incoming)) = bench.endpoint.poll_event() else { panic!("no request") };
    assert_eq!((incoming.method, incoming.path), (Code::GET, vec!["temperature".to_owned()]));
    bench.endpoint.respond(incoming.exchange, text(Code::CONTENT, "22.3 C"), bench.now);
    assert_eq!(bench.sent_bytes(), b"\x60\x45\x7d\x34\xff22.3 C");
}

#[test]
fn a_lwm2m_read_is_answered_byte_by_byte() {
    let mut bench = bench();
    // CON GET /1/1/1, Accept 0, token a1b2.
    bench.receive(b"\x42\x01\x12\x34\xa1\xb2\xb11\x011\x011\x60");
    let Some(Event::Request(incoming)) = bench.endpoint.poll_event() else { panic!("no request") };
    assert_eq!(incoming.accept, Some(0));
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CONTENT).with_payload(0, "86400"), bench.now);
    assert_eq!(bench.sent_bytes(), b"\x62\x45\x12\x34\xa1\xb2\xc0\xff86400");
}

#[test]
fn a_slow_answer_comes_by_itself_until_it_is_acknowledged() {
    let mut bench = bench();
    let incoming = bench.request(con(Code::GET, 0x7d38, "temperature"));
    bench.silent();
    assert_eq!(bench.pass_to_deadline(), 100 * MILLISECOND);
    assert_eq!(bench.sent_bytes(), b"\x60\x00\x7d\x38");
    bench.receive(con(Code::GET, 0x7d38, "temperature").encode());
    assert_eq!(bench.sent_bytes(), b"\x60\x00\x7d\x38", "a duplicate is acknowledged again");
    bench.endpoint.respond(incoming.exchange, text(Code::CONTENT, "22.3 C"), bench.now);
    let response = bench.sent();
    assert_eq!((response.kind, response.token), (Kind::Confirmable, incoming.token));
    let waited = bench.pass_to_deadline();
    assert!((2000..=3000).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(bench.sent(), response);
    bench.receive(Message::empty(Kind::Acknowledgement, response.id).encode());
    bench.pass(Duration::from_secs(200));
    bench.silent();
}

#[test]
fn a_duplicate_gets_the_same_bytes_and_is_not_done_twice() {
    let mut bench = bench();
    let request = con(Code::POST, 1, "rd");
    let incoming = bench.request(request.clone());
    bench.receive(request.clone().encode());
    bench.silent();
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CREATED), bench.now);
    let answer = bench.sent_bytes();
    bench.pass(Duration::from_secs(200));
    bench.receive(request.clone().encode());
    assert_eq!(bench.sent_bytes(), answer);
    assert_eq!(bench.endpoint.poll_event(), None);
    assert_eq!(bench.endpoint.stats().duplicates, 2);
    bench.pass(Duration::from_secs(50));
    bench.request(request);
}

#[test]
fn a_message_id_that_comes_again_with_another_token_is_another_request() {
    let mut bench = bench();
    for token in [1_u64, 2] {
        let request = Message { token: Token::from(token.to_be_bytes()), ..con(Code::GET, 1, "x") };
        let incoming = bench.request(request.clone());
        bench.endpoint.respond(incoming.exchange, Response::new(Code::CONTENT), bench.now);
        assert_eq!(bench.sent().token, request.token);
        bench.receive(request.clone().encode());
        assert_eq!(bench.sent().token, request.token, "its own duplicate is one still");
    }
    assert_eq!(bench.endpoint.stats().duplicates, 2);
}

#[test]
fn a_non_confirmable_request_has_a_non_confirmable_answer() {
    let mut bench = bench();
    let request = Message { kind: Kind::NonConfirmable, ..con(Code::GET, 1, "3") };
    let incoming = bench.request(request.clone());
    bench.receive(request.encode());
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CONTENT), bench.now);
    let response = bench.sent();
    assert_eq!((response.kind, response.token), (Kind::NonConfirmable, incoming.token));
    bench.silent();
}

#[test]
fn pings_and_broken_messages_are_refused_with_reset() {
    let mut bench = bench();
    bench.receive(b"\x40\x00\x12\x34");
    assert_eq!(bench.sent_bytes(), b"\x70\x00\x12\x34");
    bench.receive(b"\x40\x01\x12\x35\xff");
    assert_eq!(bench.sent_bytes(), b"\x70\x00\x12\x35");
    for ignored in [b"\x50\x01\x12\x36\xff".as_slice(), b"\x80\x01\x12\x37", b"\x50\x00\x12\x38", b"", b"\x40"] {
        bench.receive(ignored);
        bench.silent();
    }
    assert_eq!(bench.endpoint.stats().malformed, 5);
}

#[test]
fn what_can_not_be_heeded_is_answered_by_code() {
    let mut bench = bench();
    let cases: [(&[u8], Code); 5] = [
        (b"\x40\x01\x00\x01\x10", Code::BAD_OPTION),
        (b"\x40\x01\x00\x02\xd1\x16x", Code::PROXYING_NOT_SUPPORTED),
        (b"\x40\x01\x00\x03\xd1\x0a\x07", Code::BAD_REQUEST),
        (b"\x40\x01\x00\x04\xb2\xff\xff", Code::BAD_OPTION),
        (b"\x40\x08\x00\x05", Code::METHOD_NOT_ALLOWED),
    ];
    for (request, code) in cases {
        bench.receive(request);
        let answer = bench.sent();
        assert_eq!((answer.kind, answer.code), (Kind::Acknowledgement, code), "{request:02x?}");
    }
    bench.receive(b"\x50\x01\x00\x11\x10");
    bench.silent();
}

fn write_block(id: u16, path: &str, (num, more, szx): (u32, bool, u8), payload: &[u8]) -> Message {
    let mut message = con(Code::PUT, id, path);
    message.options.block1 = block(num, more, szx);
    Message { payload: payload.to_vec(), ..message }
}

#[test]
fn blocks_of_a_request_are_put_together_as_in_rfc_7959_figure_7() {
    let mut bench = bench();
    for num in 0..2 {
        let answer = bench.answer(write_block(1234 + num, "options", (num.into(), true, 3), &[num as u8; 128]));
        assert_eq!((answer.code, answer.options.block1), (Code::CONTINUE, block(num.into(), true, 3)));
    }
    let incoming = bench.request(write_block(1236, "options", (2, false, 3), &[2; 40]));
    assert_eq!(incoming.payload, [[0; 128].as_slice(), &[1; 128], &[2; 40]].concat());
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CHANGED), bench.now);
    let answer = bench.sent();
    assert_eq!((answer.code, answer.options.block1), (Code::CHANGED, block(2, false, 3)));
}

#[test]
fn a_server_that_prefers_smaller_blocks_says_so_as_in_rfc_7959_figure_8() {
    let mut bench = Bench::new(Config { preferred_szx: 1, ..Config::default() });
    let answer = bench.answer(write_block(1, "options", (0, true, 3), &[0; 128]));
    assert_eq!(answer.options.block1, block(0, true, 1));
    let answer = bench.answer(write_block(2, "options", (4, true, 1), &[4; 32]));
    assert_eq!((answer.code, answer.options.block1), (Code::CONTINUE, block(4, true, 1)));
    assert_eq!(bench.request(write_block(3, "options", (5, false, 1), &[5; 9])).payload.len(), 169);
}

#[test]
fn a_missing_block_is_incomplete_and_a_huge_body_too_large() {
    let mut bench = Bench::new(Config { max_body: 2000, ..Config::default() });
    assert_eq!(bench.answer(write_block(1, "a", (1, true, 6), &[0; 1024])).code, Code::REQUEST_ENTITY_INCOMPLETE);
    bench.answer(write_block(2, "a", (0, true, 6), &[0; 1024]));
    let answer = bench.answer(write_block(3, "a", (1, false, 6), &[0; 1000]));
    assert_eq!((answer.code, answer.options.size1), (Code::REQUEST_ENTITY_TOO_LARGE, Some(2000)));
    let whole = Message { payload: vec![0; 2001], ..con(Code::PUT, 4, "a") };
    assert_eq!(bench.answer(whole).code, Code::REQUEST_ENTITY_TOO_LARGE);
}

#[test]
fn an_unfinished_body_is_forgotten_after_a_minute() {
    let mut bench = bench();
    bench.answer(write_block(1, "a", (0, true, 6), &[0; 1024]));
    assert_eq!(bench.pass_to_deadline(), Duration::from_secs(60));
    assert_eq!(bench.answer(write_block(2, "a", (1, true, 6), &[0; 1024])).code, Code::REQUEST_ENTITY_INCOMPLETE);
}

#[test]
fn a_pushed_firmware_goes_up_part_by_part() {
    let mut bench = bench();
    let mut first = write_block(1, "5/0/0", (0, true, 2), &[0; 64]);
    first.options.size1 = Some(100);
    let incoming = bench.request(first.clone());
    let part = incoming.part.unwrap();
    assert_eq!((part.offset, part.more, part.size, part.first), (0, true, Some(100), true));
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CHANGED), bench.now);
    let answer = bench.sent_bytes();
    let decoded = Message::decode(&answer).unwrap();
    assert_eq!((decoded.code, decoded.options.block1), (Code::CONTINUE, block(0, true, 2)));
    bench.receive(first.encode());
    assert_eq!(bench.sent_bytes(), answer, "a retransmitted block is answered from memory");

    let incoming = bench.request(write_block(2, "5/0/0", (1, false, 2), &[1; 36]));
    let part = incoming.part.unwrap();
    assert_eq!((part.offset, part.more, part.first, incoming.payload.len()), (64, false, false, 36));
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CHANGED), bench.now);
    let answer = bench.sent();
    assert_eq!((answer.code, answer.options.block1), (Code::CHANGED, block(1, false, 2)));
}

#[test]
fn a_block_repeated_with_another_message_id_does_not_go_up_twice() {
    let mut bench = bench();
    let incoming = bench.request(write_block(1, "5/0/0", (0, true, 2), &[0; 64]));
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CHANGED), bench.now);
    bench.sent();
    let incoming = bench.request(write_block(2, "5/0/0", (1, true, 2), &[1; 64]));
    bench.receive(write_block(3, "5/0/0", (1, true, 2), &[1; 64]).encode());
    bench.silent();
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CHANGED), bench.now);
    bench.sent();
    let again = bench.answer(write_block(3, "5/0/0", (1, true, 2), &[1; 64]));
    assert_eq!((again.code, again.options.block1), (Code::CONTINUE, block(1, true, 2)));
    assert_eq!(again.token, con(Code::PUT, 3, "").token);
    bench.silent();
    assert_eq!(bench.request(write_block(4, "5/0/0", (2, false, 2), &[2])).part.unwrap().offset, 128);
}

#[test]
fn a_stream_restarts_at_block_0_and_refuses_gaps() {
    let mut bench = bench();
    let incoming = bench.request(write_block(1, "5/0/0", (0, true, 2), &[0; 64]));
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CHANGED), bench.now);
    bench.sent();
    assert_eq!(bench.answer(write_block(2, "5/0/0", (2, true, 2), &[2; 64])).code, Code::REQUEST_ENTITY_INCOMPLETE);
    assert!(bench.request(write_block(3, "5/0/0", (0, true, 2), &[9; 64])).part.unwrap().first);
}

#[test]
fn a_refused_part_ends_the_stream_with_its_own_code() {
    let mut bench = bench();
    let incoming = bench.request(write_block(1, "5/0/0", (0, true, 2), &[0; 64]));
    bench.endpoint.respond(incoming.exchange, Response::new(Code::METHOD_NOT_ALLOWED), bench.now);
    assert_eq!(bench.sent().code, Code::METHOD_NOT_ALLOWED);
    assert_eq!(bench.answer(write_block(2, "5/0/0", (1, true, 2), &[1; 64])).code, Code::REQUEST_ENTITY_INCOMPLETE);
}

#[test]
fn a_push_in_one_message_is_one_part() {
    let mut bench = bench();
    let incoming = bench.request(Message { payload: vec![0], ..con(Code::PUT, 1, "5/0/0") });
    let part = incoming.part.unwrap();
    assert_eq!((part.offset, part.more, part.first), (0, false, true));
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CHANGED), bench.now);
    assert_eq!(bench.sent().options.block1, None);
}

fn read_block(id: u16, asked: (u32, u8)) -> Message {
    let mut message = con(Code::GET, id, "3/0");
    message.options.block2 = block(asked.0, false, asked.1);
    message
}

#[test]
fn a_large_answer_is_fetched_block_by_block_as_in_rfc_7959_figure_2() {
    let mut bench = Bench::new(Config { preferred_szx: 3, ..Config::default() });
    let incoming = bench.request(con(Code::GET, 1, "3/0"));
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CONTENT).with_payload(42, [7; 300]), bench.now);
    let first = bench.sent();
    assert_eq!((first.options.block2, first.options.size2), (block(0, true, 3), Some(300)));
    let second = bench.answer(read_block(2, (1, 3)));
    assert_eq!((second.code, second.options.block2), (Code::CONTENT, block(1, true, 3)));
    assert_eq!((second.options.content_format, second.options.etag), (Some(42), first.options.etag));
    let third = bench.answer(read_block(3, (2, 3)));
    assert_eq!((third.options.block2, third.payload.len()), (block(2, false, 3), 44));
    assert_eq!(bench.answer(read_block(3, (2, 3))), third, "a duplicate is cut again");
    assert_eq!(bench.answer(read_block(4, (3, 3))).code, Code::BAD_REQUEST);
}

#[test]
fn a_client_may_name_its_block_size_first_as_in_rfc_7959_figure_3() {
    let mut bench = bench();
    let incoming = bench.request(read_block(1, (0, 2)));
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CONTENT).with_payload(42, [7; 100]), bench.now);
    assert_eq!(bench.sent().options.block2, block(0, true, 2));
    assert_eq!(bench.answer(read_block(2, (1, 2))).options.block2, block(1, false, 2));
}

#[test]
fn a_later_block_of_a_forgotten_body_is_asked_from_above() {
    let mut bench = bench();
    let incoming = bench.request(read_block(1, (1, 2)));
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CONTENT).with_payload(42, [7; 100]), bench.now);
    assert_eq!(bench.sent().options.block2, block(1, false, 2));
    let write = Message { code: Code::POST, ..read_block(2, (1, 2)) };
    let mut bench = Bench::new(Config::default());
    assert_eq!(bench.answer(write).code, Code::REQUEST_ENTITY_INCOMPLETE, "what was done once is not done again");
}

fn observe(bench: &mut Bench, id: u16) -> Token {
    let mut request = con(Code::GET, id, "3/0");
    request.options.observe = Some(0);
    let incoming = bench.request(request);
    assert_eq!(incoming.observe, Some(0));
    let response = Response::new(Code::CONTENT).with_payload(0, "1").with_observe(12);
    bench.endpoint.respond(incoming.exchange, response, bench.now);
    assert_eq!(bench.sent().options.observe, Some(12));
    incoming.token
}

#[test]
fn notifications_are_acknowledged_refused_or_given_up() {
    let mut bench = bench();
    let token = observe(&mut bench, 1);
    let content = || Response::new(Code::CONTENT).with_payload(0, "2");

    let id = bench.endpoint.notify(token, 13, content(), true, bench.now);
    let sent = bench.sent();
    assert_eq!((sent.kind, sent.token, sent.options.observe), (Kind::Confirmable, token, Some(13)));
    bench.receive(Message::empty(Kind::Acknowledgement, sent.id).encode());
    assert_eq!(bench.endpoint.poll_event(), Some(Event::NotificationAcknowledged(id)));

    let id = bench.endpoint.notify(token, 14, content(), true, bench.now);
    bench.sent();
    for _ in 0..4 {
        bench.pass_to_deadline();
        bench.sent();
    }
    bench.pass_to_deadline();
    assert_eq!(bench.endpoint.poll_event(), Some(Event::NotificationTimedOut(id)));

    let id = bench.endpoint.notify(token, 15, content(), false, bench.now);
    let sent = bench.sent();
    assert_eq!(sent.kind, Kind::NonConfirmable);
    bench.receive(Message::empty(Kind::Reset, sent.id).encode());
    assert_eq!(bench.endpoint.poll_event(), Some(Event::NotificationReset { id, token }));
}

#[test]
fn an_abandoned_notification_is_not_sent_again_and_can_still_be_refused() {
    let mut bench = bench();
    let token = observe(&mut bench, 1);
    let id = bench.endpoint.notify(token, 13, Response::new(Code::CONTENT), true, bench.now);
    let sent = bench.sent();
    bench.endpoint.abandon_notification(id);
    bench.pass(Duration::from_secs(100));
    bench.silent();
    bench.receive(Message::empty(Kind::Reset, sent.id).encode());
    assert_eq!(bench.endpoint.poll_event(), Some(Event::NotificationReset { id, token }));
}

#[test]
fn the_rest_of_a_large_notification_is_fetched_without_asking_above() {
    let mut bench = Bench::new(Config { preferred_szx: 2, ..Config::default() });
    let token = observe(&mut bench, 1);
    let response = Response::new(Code::CONTENT).with_payload(42, [7; 100]);
    bench.endpoint.notify(token, 13, response, false, bench.now);
    let first = bench.sent();
    assert_eq!((first.options.observe, first.options.block2), (Some(13), block(0, true, 2)));
    let second = bench.answer(read_block(2, (1, 2)));
    assert_eq!((second.options.observe, second.options.block2, second.payload.len()), (None, block(1, false, 2), 36));
    assert_eq!(second.options.etag, first.options.etag);
}

#[test]
fn an_error_ends_the_observation() {
    let mut bench = bench();
    let token = observe(&mut bench, 1);
    bench.endpoint.notify(token, 13, Response::new(Code::NOT_FOUND), true, bench.now);
    let sent = bench.sent();
    assert_eq!((sent.code, sent.options.observe), (Code::NOT_FOUND, None));
}

#[test]
fn a_full_table_says_nothing_so_that_the_peer_asks_again() {
    let mut bench = Bench::new(Config { max_outstanding: 2, ..Config::default() });
    let first = bench.request(con(Code::GET, 1, "a"));
    bench.request(con(Code::GET, 2, "b"));
    bench.receive(con(Code::GET, 3, "c").encode());
    bench.silent();
    bench.endpoint.respond(first.exchange, Response::new(Code::CONTENT), bench.now);
    assert_eq!(bench.sent().id, MessageId(1));
    bench.request(con(Code::GET, 3, "c"));
}

#[test]
fn an_exchange_without_answer_is_forgotten_and_a_late_answer_ignored() {
    let mut bench = bench();
    let incoming = bench.request(con(Code::GET, 1, "a"));
    bench.pass(Duration::from_secs(1));
    bench.sent();
    bench.pass(Duration::from_secs(300));
    bench.endpoint.respond(incoming.exchange, Response::new(Code::CONTENT), bench.now);
    bench.silent();
    assert_eq!(bench.endpoint.poll_timeout(), None, "an idle endpoint wakes nobody");
}

#[test]
fn a_reset_endpoint_knows_nothing() {
    let mut bench = bench();
    let request = con(Code::GET, 1, "a");
    bench.request(request.clone());
    bench.endpoint.reset();
    assert_eq!(bench.endpoint.poll_timeout(), None);
    bench.request(request);
}

#[test]
fn an_ack_for_nothing_is_ignored() {
    let mut bench = bench();
    bench.receive(ack(Code::CONTENT, &con(Code::GET, 9, "")).encode());
    bench.receive(Message::empty(Kind::Acknowledgement, MessageId(9)).encode());
    bench.receive(Message::empty(Kind::Reset, MessageId(9)).encode());
    bench.silent();
    assert_eq!(bench.endpoint.stats().ignored, 3);
}
