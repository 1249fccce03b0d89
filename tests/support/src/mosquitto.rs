//! A real MQTT broker, and the clients that come with it: what they hear is what Home Assistant would.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::cache::program;
use crate::process::{self, Process};
use crate::tls::Authority;
use crate::tools::system;
use crate::wait::eventually;
use crate::{World, free_tcp};

/// Ten times what a broker takes for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker that is being configured.
pub struct MosquittoBuilder {
    dir: PathBuf,
    port: u16,
    config: String,
    login: Option<(String, String)>,
    ca: Option<PathBuf>,
}

/// A broker, on loopback.
pub struct Mosquitto {
    dir: PathBuf,
    port: u16,
    login: Option<(String, String)>,
    ca: Option<PathBuf>,
    process: Option<Process>,
}

/// A message as a client heard it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload, as text.
    pub payload: String,
    /// Whether the broker had kept it.
    pub retained: bool,
}

impl Message {
    fn read(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            topic: message["topic"].as_str()?.to_owned(),
            payload: message["payload"].as_str().unwrap_or_default().to_owned(),
            retained: message["retain"] == 1,
        })
    }

    /// Its payload as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap_or_default()
    }
}

impl MosquittoBuilder {
    pub(crate) fn new(world: &World, name: &str) -> Self {
        let dir = world.home().join(name);
        std::fs::create_dir_all(&dir).expect("a writable folder");
        Self { dir, port: free_tcp(), config: String::new(), login: None, ca: None }
    }

    /// Only this user gets in.
    #[must_use]
    pub fn login(mut self, user: &str, password: &str) -> Self {
        let file = self.dir.join("passwords");
        let file = file.to_str().expect("a path of ours");
        system("mqtt", "mosquitto_passwd", &["-c", "-b", file, user, password], &self.dir);
        self.line(&format!("password_file {file}"));
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// It speaks TLS only, with a certificate of this authority.
    #[must_use]
    pub fn tls(mut self, authority: &Authority) -> Self {
        let (certificate, key) = authority.server();
        self.line(&format!("certfile {}", certificate.display()));
        self.line(&format!("keyfile {}", key.display()));
        self.ca = Some(authority.certificate());
        self
    }

    /// What it keeps outlives it.
    #[must_use]
    pub fn persistent(mut self) -> Self {
        let dir = self.dir.display().to_string();
        self.line(&format!("persistence true\npersistence_location {dir}/"));
        self
    }

    fn line(&mut self, line: &str) {
        writeln!(self.config, "{line}").expect("a String takes everything");
    }

    /// Starts it; returns once it listens.
    pub fn start(self) -> Mosquitto {
        let anonymous = self.login.is_none();
        // As root it would become somebody who may not enter our folder.
        let config =
            format!("user root\nlistener {} 127.0.0.1\nallow_anonymous {anonymous}\n{}", self.port, self.config);
        std::fs::write(self.dir.join("mosquitto.conf"), config).expect("a writable folder");
        let Self { dir, port, login, ca, .. } = self;
        let mut broker = Mosquitto { dir, port, login, ca, process: None };
        broker.run();
        broker
    }
}

impl Mosquitto {
    /// Starts it again.
    pub fn run(&mut self) {
        let mut command = Command::new(program("mqtt", "mosquitto"));
        command.arg("-c").arg(self.dir.join("mosquitto.conf"));
        let mut process = Process::start("mosquitto", &command, None);
        process.line_after(0, PATIENCE, |line| line.contains(" running").then_some(()));
        self.process = Some(process);
    }

    /// Ends it.
    pub fn stop(&mut self) {
        let process = self.process.as_mut().expect("it runs");
        process.signal(Signal::TERM);
        process.wait(PATIENCE);
        self.process = None;
    }

    /// It stands still, its connections open, until [`go_on`](Self::go_on).
    pub fn freeze(&self) {
        self.process.as_ref().expect("it runs").freeze();
    }

    /// It goes on.
    pub fn go_on(&self) {
        self.process.as_ref().expect("it runs").signal(Signal::CONT);
    }

    /// `mqtt://127.0.0.1:PORT`, or `mqtts://localhost:PORT`.
    pub fn uri(&self) -> String {
        match self.ca {
            Some(_) => format!("mqtts://localhost:{}", self.port),
            None => format!("mqtt://127.0.0.1:{}", self.port),
        }
    }

    /// What it has said.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    fn client(&self, name: &str) -> Command {
        let mut command = Command::new(program("mqtt", name));
        command.args(["-p", &self.port.to_string(), "-q", "1"]);
        match &self.ca {
            Some(ca) => command.args(["-h", "localhost", "--cafile"]).arg(ca),
            None => command.args(["-h", "127.0.0.1"]),
        };
        if let Some((user, password)) = &self.login {
            command.args(["-u", user, "-P", password]);
        }
        command
    }

    /// Says something; `retained`: for the broker to keep.
    pub fn publish(&self, topic: &str, payload: &str, retained: bool) {
        let mut command = self.client("mosquitto_pub");
        command.args(["-t", topic, "-m", payload]);
        if retained {
            command.arg("-r");
        }
        let (status, output) = process::run("mosquitto_pub", &command, PATIENCE);
        assert!(status.success(), "mosquitto_pub {topic}: {output}");
    }

    /// All that the broker keeps under a filter, by topic.
    pub fn kept(&self, filter: &str) -> BTreeMap<String, Message> {
        let mut command = self.client("mosquitto_sub");
        // What is kept comes at once.
        command.args(["-t", filter, "-F", "%j", "-W", "1"]);
        let (_, output) = process::run("mosquitto_sub", &command, PATIENCE);
        let messages = output.lines().filter_map(Message::read).filter(|message| message.retained);
        messages.map(|message| (message.topic.clone(), message)).collect()
    }

    /// Waits until the broker keeps something that is liked under a topic.
    pub fn await_kept<T>(&self, topic: &str, what: &str, wanted: impl Fn(&Message) -> Option<T>) -> T {
        eventually(&format!("{topic}: {what}"), PATIENCE, || wanted(self.kept(topic).get(topic)?))
    }

    /// Waits until the broker keeps nothing under a filter.
    pub fn await_nothing(&self, filter: &str) {
        eventually(&format!("nothing is kept at {filter}"), PATIENCE, || self.kept(filter).is_empty().then_some(()));
    }

    /// Listens from now on, and to what is kept.
    pub fn listen(&self, filter: &str) -> Listener {
        let mut command = self.client("mosquitto_sub");
        command.args(["-t", filter, "-F", "%j"]);
        let process = Process::start("mosquitto_sub", &command, None);
        Listener { process }
    }
}

/// A client that listens.
pub struct Listener {
    process: Process,
}

impl Listener {
    /// All that it has heard, in order.
    pub fn heard(&self) -> Vec<Message> {
        self.process.output().lines().filter_map(Message::read).collect()
    }

    /// Waits until it has heard something that is liked, from the beginning.
    pub fn await_message<T>(&mut self, within: Duration, wanted: impl Fn(&Message) -> Option<T>) -> T {
        self.process.line_after(0, within, |line| wanted(&Message::read(line)?))
    }

    /// So many lines it has heard: a place to wait from.
    pub fn mark(&self) -> usize {
        self.process.mark()
    }

    /// Waits until it has heard something that is liked after this place.
    pub fn await_after<T>(&mut self, mark: usize, within: Duration, wanted: impl Fn(&Message) -> Option<T>) -> T {
        self.process.line_after(mark, within, |line| wanted(&Message::read(line)?))
    }
}
