//! The server half against clients made of bare CoAP: what registers and what does not, what ends, and what is bounded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coap::{Code, Endpoint, Event as CoapEvent, Request, Response};
use lwm2m::model::Version;
use lwm2m::path::Path;
use lwm2m::server::{Admission, Config, Event, NotAsked, Registration, Server, ask, records};
use lwm2m::value::Value;
use proptest::collection::vec;
use proptest::prelude::*;

/// Takes all but those that are called "evil".
#[derive(Debug)]
struct Door;

impl Admission for Door {
    fn admit(&mut self, registration: &Registration) -> Result<(), Code> {
        if &*registration.endpoint == "evil" { Err(Code::FORBIDDEN) } else { Ok(()) }
    }
}

/// A server, and clients by address, in virtual time without a network between them.
struct Bench {
    server: Server<Door>,
    clients: Vec<(SocketAddr, Endpoint)>,
    now: Instant,
    events: Vec<Event>,
    /// What the clients were answered, by client.
    answers: Vec<(usize, Response)>,
    /// What the clients were asked.
    asked: Vec<(usize, coap::Incoming)>,
    /// A server's RST to a client's notification.
    resets: usize,
}

impl Bench {
    fn new(clients: u16) -> Self {
        Self::with(clients, Config::default())
    }

    fn with(clients: u16, config: Config) -> Self {
        let client = |number: u16| {
            let address = SocketAddr::from(([127, 0, 0, 1], 40_000 + number));
            (address, Endpoint::new(Arc::default(), number.into()))
        };
        Self {
            server: Server::new(Door, config, 7),
            clients: (0..clients).map(client).collect(),
            now: Instant::now(),
            events: Vec::new(),
            answers: Vec::new(),
            asked: Vec::new(),
            resets: 0,
        }
    }

    /// Passes on what both sides have to say until neither has.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            while let Some((peer, datagram)) = self.server.poll_transmit() {
                moved = true;
                let client = self.clients.iter_mut().find(|(address, _)| *address == peer);
                if let Some((_, client)) = client {
                    client.handle_datagram(&datagram, self.now);
                }
            }
            self.events.extend(std::iter::from_fn(|| self.server.poll_event()));
            for (index, (address, client)) in self.clients.iter_mut().enumerate() {
                while let Some(event) = client.poll_event() {
                    match event {
                        CoapEvent::Request(request) => self.asked.push((index, request)),
                        CoapEvent::Response { response, .. } => self.answers.push((index, response)),
                        CoapEvent::NotificationReset { .. } => self.resets += 1,
                        _ => {}
                    }
                }
                while let Some(datagram) = client.poll_transmit() {
                    moved = true;
                    self.server.handle_datagram(*address, &datagram, self.now);
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Time goes on; both sides do what is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let due = self.clients.iter().filter_map(|(_, client)| client.poll_timeout());
            let Some(at) = due.chain(self.server.poll_timeout()).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            self.server.handle_timeout(self.now);
            self.clients.iter_mut().for_each(|(_, client)| client.handle_timeout(self.now));
        }
        self.now = end;
    }

    /// One client asks the server.
    fn ask(&mut self, client: usize, request: Request) -> Response {
        self.answers.clear();
        self.clients[client].1.request(request, self.now).expect("room for a request");
        self.settle();
        self.answers.pop().expect("an answer").1
    }

    fn register(&mut self, client: usize, query: &[&str], objects: &str) -> Response {
        let request = Request::new(Code::POST).with_path("/rd").with_payload(40, objects);
        self.ask(client, query.iter().fold(request, |request, argument| request.with_query(*argument)))
    }

    /// Registers an endpoint and gives its location.
    fn registered(&mut self, client: usize, endpoint: &str, more: &[&str]) -> String {
        let name = format!("ep={endpoint}");
        let query: Vec<&str> = [name.as_str(), "lwm2m=1.1"].into_iter().chain(more.iter().copied()).collect();
        let answer = self.register(client, &query, "</3/0>,</5>;ver=1.1,</5/0>");
        assert_eq!(answer.code, Code::CREATED);
        format!("/{}", answer.location_path.join("/"))
    }

    fn respond(&mut self, response: Response) -> coap::Incoming {
        let (client, request) = self.asked.remove(0);
        self.clients[client].1.respond(request.exchange, response, self.now);
        self.settle();
        request
    }
}

fn post(location: &str) -> Request {
    Request::new(Code::POST).with_path(location)
}

fn delete(location: &str) -> Request {
    Request::new(Code::DELETE).with_path(location)
}

fn content(payload: &str) -> Response {
    Response::new(Code::CONTENT).with_payload(0, payload)
}

#[test]
fn a_registration_is_kept_by_updates_and_runs_out_without() {
    let mut bench = Bench::new(1);
    let location = bench.registered(0, "a", &["lt=60"]);
    for _ in 0..3 {
        bench.pass(Duration::from_secs(50));
        assert_eq!(bench.ask(0, post(&location)).code, Code::CHANGED);
    }
    let shorter = post(&location).with_query("lt=10").with_payload(40, "</3/0>,</3303/0>");
    assert_eq!(bench.ask(0, shorter).code, Code::CHANGED);
    let known = bench.server.registration("a").expect("registered");
    assert!((known.lifetime, known.has(Path::new([3303])), known.has(Path::new([5]))) == (10, true, false));
    bench.pass(Duration::from_secs(9));
    assert!(bench.server.registration("a").is_some());
    bench.pass(Duration::from_secs(2));
    assert!(matches!(bench.events.last(), Some(Event::Expired(gone)) if &*gone.endpoint == "a"), "{:?}", bench.events);
    assert_eq!(bench.ask(0, post(&location)).code, Code::NOT_FOUND);
}

#[test]
fn a_lifetime_of_zero_never_runs_out_and_none_is_a_day() {
    let mut bench = Bench::new(2);
    bench.registered(0, "ever", &["lt=0"]);
    bench.registered(1, "day", &[]);
    bench.pass(Duration::from_secs(86_399));
    assert_eq!(bench.server.registrations().len(), 2);
    bench.pass(Duration::from_secs(2));
    assert!(bench.server.registration("ever").is_some() && bench.server.registration("day").is_none());
}

#[test]
fn what_is_no_registration_is_refused_and_leaves_nothing() {
    let mut bench = Bench::new(1);
    let good = "</3/0>";
    let long = format!("ep={}", "x".repeat(252));
    for (query, objects, code) in [
        (&["lwm2m=1.1"][..], good, Code::BAD_REQUEST),
        (&["ep=", "lwm2m=1.1"], good, Code::BAD_REQUEST),
        (&["ep=a\u{1b}[2J", "lwm2m=1.1"], good, Code::BAD_REQUEST),
        (&["ep=a"], good, Code::BAD_REQUEST),
        (&["ep=a", "lwm2m=one"], good, Code::BAD_REQUEST),
        (&["ep=a", "lwm2m=1.1", "lt=-1"], good, Code::BAD_REQUEST),
        (&["ep=a", "lwm2m=1.1", "lt=4294967296"], good, Code::BAD_REQUEST),
        (&["ep=a", "lwm2m=1.1"], "</3/0", Code::BAD_REQUEST),
        (&["ep=evil", "lwm2m=1.1"], good, Code::FORBIDDEN),
        (&[long.as_str(), "lwm2m=1.1"], good, Code::CREATED),
    ] {
        assert_eq!(bench.register(0, query, objects).code, code, "{query:?}");
    }
    let text =
        Request::new(Code::POST).with_path("/rd").with_query("ep=a").with_query("lwm2m=1.1").with_payload(0, "x");
    assert_eq!(bench.ask(0, text).code, Code::UNSUPPORTED_CONTENT_FORMAT);
    assert_eq!(bench.ask(0, Request::new(Code::GET).with_path("/rd")).code, Code::METHOD_NOT_ALLOWED);
    assert_eq!(bench.server.registrations().len(), 1);
}

#[test]
fn only_who_registered_may_update_and_who_knows_the_location_may_deregister() {
    let mut bench = Bench::new(2);
    let location = bench.registered(0, "a", &[]);
    assert_eq!(bench.ask(1, post(&location)).code, Code::BAD_REQUEST);
    assert_eq!(bench.ask(1, delete("/rd/other")).code, Code::NOT_FOUND);
    assert_eq!(bench.ask(0, post(&location).with_query("ep=b")).code, Code::BAD_REQUEST);
    assert_eq!(bench.ask(1, delete(&location)).code, Code::DELETED);
    assert_eq!(bench.ask(0, delete(&location)).code, Code::NOT_FOUND);
    assert_eq!(bench.server.registrations().len(), 0);
}

#[test]
fn objects_are_asked_below_the_root_that_a_client_names() {
    let mut bench = Bench::new(1);
    let objects = "</lwm2m>;rt=\"oma.lwm2m\";ct=11542,</lwm2m/3/0>,</lwm2m/5>;ver=\"1.1\",</lwm2m/5/0>,</else/4/0>";
    assert_eq!(bench.register(0, &["ep=a", "lwm2m=1.0"], objects).code, Code::CREATED);
    let known = bench.server.registration("a").expect("registered");
    let stated: Vec<String> = known.stated().iter().map(|stated| stated.path.to_string()).collect();
    assert_eq!(stated, ["/3/0", "/5", "/5/0"]);
    assert_eq!((known.object_version(5), known.object_version(3)), (Version::V1_1, Version::V1_0));
    bench.server.call("a", ask::read("/3/0/0"), bench.now).expect("registered");
    bench.settle();
    assert_eq!(bench.asked[0].1.path, ["lwm2m", "3", "0", "0"]);
}

#[test]
fn an_observation_ends_with_its_registration_and_what_comes_then_is_refused() {
    let mut bench = Bench::new(1);
    bench.registered(0, "a", &[]);
    let call = bench.server.call("a", ask::observe("/5/0/3"), bench.now).expect("registered");
    bench.settle();
    let token = bench.respond(content("0").with_observe(1)).token;
    let notify = |bench: &mut Bench, number: u32, text: &str| {
        bench.clients[0].1.notify(token, number, content(text), true, bench.now);
        bench.settle();
    };
    notify(&mut bench, 2, "1");
    let told = |events: &[Event]| {
        events.iter().filter(|event| matches!(event, Event::Notified { call: of, .. } if *of == call)).count()
    };
    assert_eq!((told(&bench.events), bench.resets), (1, 0));
    bench.registered(0, "a", &[]);
    assert!(bench.events.contains(&Event::Ended { call }));
    notify(&mut bench, 3, "2");
    assert_eq!((told(&bench.events), bench.resets), (1, 1));
}

#[test]
fn tables_are_bounded_and_strangers_make_room_for_each_other() {
    let config = Config { max_registrations: 3, max_observations: 2, ..Config::default() };
    let mut bench = Bench::with(500, config);
    for client in 0..3 {
        bench.registered(client, &format!("d{client}"), &[]);
    }
    assert_eq!(bench.register(3, &["ep=more", "lwm2m=1.1"], "</3/0>").code, Code::SERVICE_UNAVAILABLE);
    bench.registered(4, "d2", &[]);
    for path in ["/5/0/3", "/5/0/5"] {
        bench.server.call("d0", ask::observe(path), bench.now).expect("room");
        bench.settle();
        bench.respond(content("0").with_observe(1));
    }
    assert_eq!(bench.server.call("d0", ask::observe("/3/0"), bench.now), Err(NotAsked::TooManyObservations));
    for client in 5..500 {
        bench.ask(client, Request::new(Code::GET).with_path("/x"));
    }
    assert!(bench.server.peers() <= 3 + 64, "{}", bench.server.peers());
    assert_eq!(bench.server.registrations().len(), 3);
    bench.pass(Duration::from_secs(300));
    assert_eq!(bench.server.peers(), 3, "whoever is nobody is forgotten");
}

#[test]
fn a_question_to_one_who_makes_room_has_failed() {
    let mut bench = Bench::new(100);
    let location = bench.registered(0, "d0", &[]);
    let call = bench.server.call("d0", ask::read("/3/0"), bench.now).expect("registered");
    bench.settle();
    assert_eq!(bench.ask(0, delete(&location)).code, Code::DELETED);
    let failed = Event::Failed { call, reason: coap::Failure::Timeout };
    assert!(!bench.events.contains(&failed));
    for client in 1..100 {
        bench.ask(client, Request::new(Code::GET).with_path("/x"));
    }
    assert_eq!(bench.events.iter().filter(|event| **event == failed).count(), 1, "{:?}", bench.events);
    bench.pass(Duration::from_secs(300));
    assert_eq!(bench.events.iter().filter(|event| **event == failed).count(), 1, "once");
}

#[test]
fn nothing_but_lifetimes_wakes_a_server_that_is_idle() {
    let mut bench = Bench::new(2);
    bench.registered(0, "a", &["lt=3600"]);
    bench.registered(1, "b", &["lt=7200"]);
    bench.pass(Duration::from_secs(300));
    let expires = bench.server.registration("a").and_then(Registration::expires);
    assert_eq!(bench.server.poll_timeout(), expires);
}

#[test]
fn an_answer_is_read_and_what_is_unknown_in_it_left_out() {
    let payload =
        br#"[{"bn":"/3/0/","n":"0","vs":"us"},{"n":"9999","v":1},{"n":"11/0","vs":"no number"},{"n":"11/1","v":3}]"#;
    let response = Response::new(Code::CONTENT).with_payload(110, payload.to_vec());
    let read = records(Path::new([3, 0]), &response).expect("SenML");
    let values: Vec<_> = read.into_iter().map(|record| (record.path.to_string(), record.value)).collect();
    let text = Value::String("us".to_owned());
    assert_eq!(values, [("/3/0/0".to_owned(), text), ("/3/0/11/1".to_owned(), Value::Integer(3))]);
}

proptest! {
    #[test]
    fn any_datagrams_from_anywhere_are_survived(datagrams in vec((0_u16..200, vec(any::<u8>(), 0..80)), 1..200)) {
        let mut bench = Bench::new(1);
        for (from, datagram) in datagrams {
            let stranger = SocketAddr::from(([127, 0, 0, 1], 50_000 + from));
            bench.server.handle_datagram(stranger, &datagram, bench.now);
            while bench.server.poll_transmit().is_some() {}
        }
        prop_assert!(bench.server.peers() <= 65);
        bench.registered(0, "a", &[]);
    }

    #[test]
    fn any_registration_is_taken_or_refused_with_a_code_of_the_standard(
        query in vec("(ep|lwm2m|lt|b|Q|sms|x)?(=.{0,20})?", 0..6),
        objects in ".{0,60}",
    ) {
        let mut bench = Bench::new(1);
        let query: Vec<&str> = query.iter().map(String::as_str).collect();
        let answer = bench.register(0, &query, &objects);
        let listed = [Code::CREATED, Code::BAD_REQUEST, Code::FORBIDDEN, Code::PRECONDITION_FAILED];
        prop_assert!(listed.contains(&answer.code), "{}", answer.code);
        prop_assert_eq!(bench.server.registrations().len(), usize::from(answer.code == Code::CREATED));
        let known = bench.server.registrations().next().cloned();
        if let Some(known) = known {
            let (_, endpoint) = (known.stated(), known.endpoint.to_string());
            bench.server.call(&endpoint, ask::read("/3/0"), bench.now).ok();
        }
    }

    #[test]
    fn any_payload_of_an_answer_is_read_or_refused(
        format in prop::sample::select(vec![0_u16, 40, 42, 60, 110, 112, 320, 322, 11_542, 11_543, 11_544, 7]),
        payload in vec(any::<u8>(), 0..120),
        depth in 0_usize..4,
    ) {
        let base = [Path::ROOT, Path::new([3]), Path::new([3, 0]), Path::new([3, 0, 0])][depth];
        let response = Response::new(Code::CONTENT).with_payload(format, payload);
        if let Ok(read) = records(base, &response) {
            prop_assert!(read.iter().all(|record| record.path.starts_with(base)));
        }
    }
}
