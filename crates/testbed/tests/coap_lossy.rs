//! Two CoAP endpoints, a virtual clock and a foul network: 30 % lost, 20 % doubled, all of it reordered.

use std::sync::Arc;
use std::time::Duration;

use coap::{Code, Config, Endpoint, Event, Incoming, Request, RequestId, Response, Token};
use testbed::clock::Clock;
use testbed::network::{Network, Weather, for_each_seed};

/// Patient enough for 30 % loss over thousands of blocks; the timers themselves are those of the RFC.
fn patient() -> Config {
    let long = Duration::from_secs(1_000_000);
    Config {
        max_retransmit: 30,
        exchange_lifetime: long,
        max_body_idle: long,
        max_body: 200_000,
        stream_paths: vec!["5/0/0".to_owned()],
        ..Config::default()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

struct Pair {
    clock: Clock,
    network: Network<Side>,
    client: Endpoint,
    server: Endpoint,
}

impl Pair {
    fn new(client: Config, server: Config, weather: Weather, seed: u64) -> Self {
        Self {
            clock: Clock::new(),
            network: Network::new(weather, seed),
            client: Endpoint::new(Arc::new(client), seed + 1),
            server: Endpoint::new(Arc::new(server), seed + 2),
        }
    }

    fn foul(seed: u64) -> Self {
        Self::new(patient(), patient(), Weather::foul(), seed)
    }

    fn request(&mut self, request: Request) -> RequestId {
        self.client.request(request, self.clock.now()).expect("the queue has room")
    }

    /// Lets the world go on by one step. `false` when nothing is left to happen.
    fn step(&mut self) -> bool {
        let now = self.clock.now();
        while let Some(datagram) = self.client.poll_transmit() {
            self.network.send(Side::Server, datagram, now);
        }
        while let Some(datagram) = self.server.poll_transmit() {
            self.network.send(Side::Client, datagram, now);
        }
        let deadlines = [self.network.poll_timeout(), self.client.poll_timeout(), self.server.poll_timeout()];
        let Some(next) = deadlines.into_iter().flatten().min() else { return false };
        self.clock.advance_to(next);
        let now = self.clock.now();
        while let Some((to, datagram)) = self.network.receive(now) {
            match to {
                Side::Client => self.client.handle_datagram(&datagram, now),
                Side::Server => self.server.handle_datagram(&datagram, now),
            }
        }
        for endpoint in [&mut self.client, &mut self.server] {
            if endpoint.poll_timeout().is_some_and(|due| due <= now) {
                endpoint.handle_timeout(now);
            }
        }
        true
    }

    /// Runs until the client has an event; the server answers with `serve`.
    fn next_event(&mut self, mut serve: impl FnMut(&Incoming) -> Option<Response>) -> Event {
        for _ in 0..1_000_000 {
            while let Some(event) = self.server.poll_event() {
                if let Event::Request(incoming) = &event
                    && let Some(response) = serve(incoming)
                {
                    self.server.respond(incoming.exchange, response, self.clock.now());
                }
            }
            if let Some(event) = self.client.poll_event() {
                return event;
            }
            assert!(self.step(), "nothing left to happen");
        }
        panic!("no event after a million steps");
    }

    fn answer_to(&mut self, request: Request, serve: impl FnMut(&Incoming) -> Option<Response>) -> Response {
        let id = self.request(request);
        match self.next_event(serve) {
            Event::Response { request, response } if request == id => response,
            other => panic!("{other:?}"),
        }
    }
}

/// A body in which every byte tells its place.
fn body(length: usize, salt: u64) -> Vec<u8> {
    (0..length as u64).map(|place| (place.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 7) as u8).collect()
}

#[test]
fn requests_are_done_once_and_answered_through_a_foul_network() {
    for_each_seed(200, |seed| {
        let mut pair = Pair::foul(seed);
        let mut done = Vec::new();
        for number in 0..10_u8 {
            let request = Request::new(Code::POST).with_path("/rd").with_payload(0, [number]);
            let response = pair.answer_to(request, |incoming| {
                done.push(incoming.payload[0]);
                Some(Response::new(Code::CREATED).with_location([format!("{}", incoming.payload[0])]))
            });
            assert_eq!((response.code, response.location_path), (Code::CREATED, vec![number.to_string()]));
        }
        assert_eq!(done, (0..10).collect::<Vec<u8>>());
    });
}

#[test]
fn late_answers_come_separately_and_each_to_its_request() {
    for_each_seed(200, |seed| {
        let mut pair = Pair::foul(seed);
        let ids: Vec<RequestId> =
            (0..6).map(|number| pair.request(Request::new(Code::GET).with_path(&format!("/{number}")))).collect();
        let (mut held, mut answers) = (Vec::new(), Vec::new());
        while answers.len() < ids.len() {
            while let Some(event) = pair.server.poll_event() {
                let Event::Request(incoming) = event else { continue };
                held.push((pair.clock.now() + Duration::from_millis(700), incoming));
            }
            while let Some(place) = held.iter().position(|(due, _)| *due <= pair.clock.now()) {
                let (_, incoming) = held.remove(place);
                let response = Response::new(Code::CONTENT).with_payload(0, incoming.path[0].clone());
                pair.server.respond(incoming.exchange, response, pair.clock.now());
            }
            while let Some(event) = pair.client.poll_event() {
                let Event::Response { request, response } = event else { panic!("{event:?}") };
                answers.push((request, String::from_utf8(response.payload).unwrap()));
            }
            let due = held.iter().map(|(due, _)| *due).min();
            if pair.client.poll_timeout().is_none_or(|next| due.is_some_and(|due| due < next)) {
                due.into_iter().for_each(|due| pair.clock.advance_to(due));
            }
            assert!(pair.step(), "nothing left to happen");
        }
        answers.sort_unstable();
        let expected: Vec<_> = ids.iter().enumerate().map(|(number, id)| (*id, number.to_string())).collect();
        assert_eq!(answers, expected);
    });
}

/// Writes and reads back a body; the two sides prefer block sizes of their own.
fn write_and_read(seed: u64, length: usize, client_szx: u8, server_szx: u8) {
    let config = |preferred_szx| Config { preferred_szx, ..patient() };
    let mut pair = Pair::new(config(client_szx), config(server_szx), Weather::foul(), seed);
    let body = body(length, seed);
    let mut stored = None;
    let write = Request::new(Code::PUT).with_path("/1/2/3").with_payload(42, body.clone());
    let response = pair.answer_to(write, |incoming| {
        assert_eq!(stored, None, "written twice");
        assert_eq!(incoming.part, None);
        stored = Some(incoming.payload.clone());
        Some(Response::new(Code::CHANGED))
    });
    assert_eq!(response.code, Code::CHANGED);
    let stored = stored.expect("written");
    assert!(stored == body, "the body came changed: {} of {} bytes", stored.len(), body.len());
    let read = Request::new(Code::GET).with_path("/1/2/3").with_accept(42);
    let response = pair.answer_to(read, |_| Some(Response::new(Code::CONTENT).with_payload(42, stored.clone())));
    assert_eq!((response.code, response.content_format), (Code::CONTENT, Some(42)));
    assert!(response.payload == body, "the body was read changed");
}

#[test]
fn bodies_go_both_ways_in_blocks_of_any_size() {
    for_each_seed(200, |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        write_and_read(seed, random.usize(0..1200), random.u8(0..=6), random.u8(0..=6));
    });
}

#[test]
fn a_body_of_more_than_4095_blocks_arrives_whole() {
    for_each_seed(10, |seed| write_and_read(seed, 100_000, 0, 0));
}

#[test]
fn a_body_of_100_kb_arrives_in_blocks_of_1024_bytes() {
    for_each_seed(200, |seed| write_and_read(seed, 100_000, 6, 6));
}

#[test]
fn a_streamed_body_comes_in_parts_in_order_and_once() {
    for_each_seed(200, |seed| {
        let client = Config { preferred_szx: (seed % 3) as u8, ..patient() };
        let mut pair = Pair::new(client, patient(), Weather::foul(), seed);
        let body = body(500 + seed as usize % 2 * 12, seed);
        let mut stored = Vec::new();
        let request = Request::new(Code::PUT).with_path("/5/0/0").with_payload(42, body.clone());
        let response = pair.answer_to(request, |incoming| {
            let part = incoming.part.unwrap();
            assert_eq!((part.offset, part.first), (stored.len() as u64, stored.is_empty()));
            assert_eq!(part.more, stored.len() + incoming.payload.len() < body.len());
            assert_eq!(part.size, part.first.then_some(body.len() as u64));
            stored.extend_from_slice(&incoming.payload);
            Some(Response::new(Code::CHANGED))
        });
        assert_eq!((response.code, stored == body), (Code::CHANGED, true));
    });
}

#[test]
fn a_fetch_may_be_large_in_both_directions() {
    for_each_seed(50, |seed| {
        let mut pair = Pair::foul(seed);
        let paths = body(3000, seed);
        let request = Request::new(Code::FETCH).with_payload(112, paths.clone());
        let response = pair.answer_to(request, |incoming| {
            assert!(incoming.payload == paths);
            Some(Response::new(Code::CONTENT).with_payload(112, incoming.payload.clone()))
        });
        assert!(response.payload == paths);
    });
}

/// Observes a resource that changes every 5 s, `length` bytes that all are its version, and returns the versions the client saw.
fn observe(pair: &mut Pair, changes: u8, length: usize, confirmable: bool) -> Vec<u8> {
    let content = |version: u8| Response::new(Code::CONTENT).with_payload(42, vec![version; length]);
    let id = pair.request(Request::new(Code::GET).with_path("/3/0/9").with_observe(0));
    let (mut version, mut due, mut token): (u8, _, Option<Token>) = (0, pair.clock.now(), None);
    let mut seen = Vec::new();
    while seen.last() != Some(&changes) {
        while let Some(event) = pair.server.poll_event() {
            let Event::Request(incoming) = event else { continue };
            let mut response = content(version);
            if incoming.observe == Some(0) {
                token = Some(incoming.token);
                due = pair.clock.now() + Duration::from_secs(5);
                response = response.with_observe(u32::from(version));
            }
            pair.server.respond(incoming.exchange, response, pair.clock.now());
        }
        while let Some(event) = pair.client.poll_event() {
            let (Event::Response { request, response } | Event::Notification { request, response }) = event else {
                panic!("{event:?}");
            };
            assert_eq!((request, response.payload.len()), (id, length));
            assert!(response.payload.iter().all(|byte| *byte == response.payload[0]), "two versions in one body");
            seen.push(response.payload[0]);
        }
        if let Some(token) = token.filter(|_| due <= pair.clock.now() && version < changes) {
            version += 1;
            due = pair.clock.now() + Duration::from_secs(5);
            let confirmable = confirmable || version == changes;
            pair.server.notify(token, u32::from(version), content(version), confirmable, pair.clock.now());
        }
        let next = [pair.network.poll_timeout(), pair.client.poll_timeout(), pair.server.poll_timeout()];
        if token.is_some() && version < changes && next.into_iter().flatten().min().is_none_or(|next| next > due) {
            pair.clock.advance_to(due);
        } else {
            assert!(pair.step() || version < changes, "nothing left to happen after {seen:?}");
        }
    }
    seen
}

#[test]
fn an_observer_sees_versions_in_order_up_to_the_last() {
    for_each_seed(200, |seed| {
        let seen = observe(&mut Pair::foul(seed), 12, 10, seed % 2 == 0);
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    });
}

#[test]
fn an_observer_sees_large_versions_whole_and_in_order() {
    for_each_seed(200, |seed| {
        let seen = observe(&mut Pair::foul(seed), 8, 2600, seed % 2 == 0);
        // What was fetched for one version may be the next one already, which is then told once more.
        assert!(seen.is_sorted(), "{seen:?}");
    });
}

#[test]
fn in_fair_weather_nothing_is_sent_twice() {
    let mut pair = Pair::new(Config::default(), Config::default(), Weather::fair(), 1);
    let response = pair.answer_to(Request::new(Code::GET).with_path("/3"), |_| {
        Some(Response::new(Code::CONTENT).with_payload(42, body(5000, 1)))
    });
    assert_eq!(response.payload, body(5000, 1));
    assert_eq!((pair.client.stats().sent, pair.server.stats().sent), (5, 5));
    assert_eq!((pair.client.stats().retransmissions, pair.server.stats().duplicates), (0, 0));
}
