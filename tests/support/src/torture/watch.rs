//! One server watching one device: it observes 5/0/3 and 5/0/5 through every restart, and reads what it wants to know.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Events, Leshan, LeshanAnswer};

/// Seconds that a server waits for a device that may be dead.
const SHORT: u32 = 4;
/// How often a server is asked for its registration.
const LOOK: Duration = Duration::from_millis(250);

/// What a server reads of a firmware update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// 5/0/3.
    pub state: String,
    /// 5/0/5.
    pub result: String,
    /// 3/0/3, where there is one.
    pub version: Option<String>,
}

impl Told {
    /// What a server reads now, if the device answers.
    pub(crate) fn read(server: &Leshan, name: &str) -> Option<Self> {
        let (state, result) = (value(server, name, "5/0/3")?, value(server, name, "5/0/5")?);
        let version = server.try_ask("GET", name, "3/0/3", "", &[], SHORT);
        let version = version.filter(|answer| matches!(answer.code, 205 | 404))?;
        let version = (version.code == 205).then(|| version.text());
        Some(Self { state, result, version })
    }

    /// The last update is proven.
    pub fn is_success(&self) -> bool {
        self.state == "0" && self.result == "1"
    }

    /// No update is under way.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.state.as_str(), "0" | "2") && self.result != "11"
    }
}

/// The server's side of a stand.
pub(super) struct Watch {
    pub(super) server: &'static Leshan,
    name: String,
    pub(super) events: Events,
    observed: Option<String>,
    /// A registration whose client was killed.
    dead: Option<String>,
    looked: Option<Instant>,
}

impl Watch {
    pub(super) fn new(server: &'static Leshan, name: &str) -> Self {
        Self { server, name: name.to_owned(), events: server.events(name), observed: None, dead: None, looked: None }
    }

    /// Observes, unless the present registration is observed already; gives whether it is now.
    pub(super) fn attend(&mut self) -> bool {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return self.observed.is_some();
        }
        self.looked = Some(Instant::now());
        let client = self.server.client(&self.name);
        let registration = client.and_then(|client| client["registrationId"].as_str().map(str::to_owned));
        let registration = registration.filter(|registration| self.dead.as_ref() != Some(registration));
        if registration.is_none() || registration != self.observed {
            let observed = |path: &str| self.observe(path);
            self.observed = registration.filter(|_| observed("5/0/3") && observed("5/0/5"));
        }
        self.observed.is_some()
    }

    /// The daemon was killed: its registration means nothing any more.
    pub(super) fn forget(&mut self) {
        self.dead = self.observed.take();
        self.looked = None;
    }

    fn observe(&self, path: &str) -> bool {
        self.ask("POST", &format!("{path}/observe"), "", &[]).is_some_and(|answer| answer.code == 205)
    }

    /// 5/0/3, if the device answers.
    pub(super) fn state(&self) -> Option<String> {
        value(self.server, &self.name, "5/0/3")
    }

    /// All that counts, if the device answers.
    pub(super) fn told(&self) -> Option<Told> {
        Told::read(self.server, &self.name)
    }

    fn ask(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> Option<LeshanAnswer> {
        self.server.try_ask(method, &self.name, path, content_type, body, SHORT)
    }
}

fn value(server: &Leshan, name: &str, path: &str) -> Option<String> {
    let answer = server.try_ask("GET", name, path, "", &[], SHORT);
    answer.filter(|answer| answer.code == 205).map(|answer| answer.text())
}

/// Write of 5/0/1; CoAP's code, 0 for no answer.
pub(super) fn write_uri(server: &Leshan, name: &str, uri: &str) -> u16 {
    let body = json!({ "id": 1, "value": Value::from(uri) }).to_string();
    code(server.try_ask("PUT", name, "5/0/1", "application/json", body.as_bytes(), SHORT))
}

/// Execute of 5/0/2; CoAP's code, 0 for no answer.
pub(super) fn execute(server: &Leshan, name: &str) -> u16 {
    code(server.try_ask("POST", name, "5/0/2", "text/plain", &[], SHORT))
}

fn code(answer: Option<LeshanAnswer>) -> u16 {
    answer.map_or(0, |answer| answer.code)
}
