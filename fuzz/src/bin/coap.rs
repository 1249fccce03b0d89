//! One endpoint against a hostile peer: any datagrams at any time, answers to what it asked included.
//!
//! An input is a list of `LENGTH PAUSE DATAGRAM`: the datagram comes `PAUSE` squared milliseconds after the one before.
//! A message id of ff ff becomes that of the endpoint's last message, and a token of the same length as its last token
//! becomes that one, so that answers are found without guessing.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use coap::{Code, Config, Endpoint, Event, Request, Response, Token};
use libfuzzer_sys::fuzz_target;

/// Far more than one datagram or one deadline can ask for.
const MOST_OUTPUT: usize = 256;

fuzz_target!(|data: &[u8]| {
    let config = Config { stream_paths: vec!["5/0/0".to_owned()], max_body: 4096, ..Config::default() };
    let mut world = World {
        endpoint: Endpoint::new(Arc::new(config), 1),
        now: Instant::now(),
        last: Vec::new(),
        observer: None,
        sequence: 0,
    };
    world.ask();
    let mut rest = data;
    while let [length, pause, tail @ ..] = rest {
        let (datagram, next) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = next;
        world.pass(Duration::from_millis(u64::from(*pause).pow(2)));
        let datagram = world.patched(datagram);
        world.endpoint.handle_datagram(&datagram, world.now);
        world.drain();
    }
    world.pass(Duration::from_secs(1000));
});

struct World {
    endpoint: Endpoint,
    now: Instant,
    last: Vec<u8>,
    observer: Option<Token>,
    sequence: u32,
}

impl World {
    /// Requests of our own: a large body, an observation, a NON.
    fn ask(&mut self) {
        let requests = [
            Request::new(Code::POST).with_path("/rd").with_query("ep=fuzz").with_payload(40, vec![b'x'; 2500]),
            Request::new(Code::GET).with_path("/a").with_observe(0),
            Request::new(Code::GET).with_path("/b").non_confirmable(),
        ];
        for request in requests {
            // Refused is an answer too.
            self.endpoint.request(request, self.now).ok();
        }
        self.drain();
    }

    /// Time goes by, deadline by deadline.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..MOST_OUTPUT {
            let Some(due) = self.endpoint.poll_timeout().filter(|&due| due <= end) else { break };
            self.now = self.now.max(due);
            self.endpoint.handle_timeout(self.now);
            self.drain();
            let next = self.endpoint.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a deadline that stays in the past");
        }
        self.now = end;
        self.endpoint.handle_timeout(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        let mut count = 0;
        loop {
            let mut idle = true;
            while let Some(event) = self.endpoint.poll_event() {
                idle = false;
                count += 1;
                self.answer(event);
            }
            while let Some(datagram) = self.endpoint.poll_transmit() {
                idle = false;
                count += 1;
                assert!(datagram.len() <= 1500, "a datagram of {} bytes", datagram.len());
                self.last = datagram;
            }
            assert!(count <= MOST_OUTPUT, "no end of output");
            if idle {
                return;
            }
        }
    }

    /// Answers requests: large for some paths, so that Block2 is used; notifies who observes.
    fn answer(&mut self, event: Event) {
        let Event::Request(incoming) = event else { return };
        assert!(incoming.payload.len() <= 4096, "a body over the bound");
        let size = incoming.path.first().map_or(3, |segment| segment.len() * 700);
        let response = Response::new(Code::CONTENT).with_payload(0, vec![b'y'; size]);
        self.endpoint.respond(incoming.exchange, response.clone(), self.now);
        if incoming.observe == Some(0) {
            self.observer = Some(incoming.token);
        }
        if let Some(token) = self.observer {
            self.sequence += 1;
            let id = self.endpoint.notify(token, self.sequence, response, self.sequence % 2 == 0, self.now);
            if self.sequence % 3 == 0 {
                self.endpoint.abandon_notification(id);
            }
        }
    }

    fn patched(&self, datagram: &[u8]) -> Vec<u8> {
        let mut datagram = datagram.to_vec();
        if datagram.len() >= 4 && self.last.len() >= 4 && datagram[2..4] == [0xff, 0xff] {
            datagram[2..4].copy_from_slice(&self.last[2..4]);
            let (ours, theirs) = (usize::from(self.last[0] & 15), usize::from(datagram[0] & 15));
            if ours == theirs && datagram.len() >= 4 + ours && self.last.len() >= 4 + ours {
                datagram[4..4 + ours].copy_from_slice(&self.last[4..4 + ours]);
            }
        }
        datagram
    }
}
