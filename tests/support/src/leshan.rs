//! Leshan's demo server: a DM server that we did not write, driven through its REST interface and its event stream.

use std::fs;
use std::io::BufReader;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cache::{peer, program};
use crate::http::{self, Answer};
use crate::process::Process;
use crate::wait::eventually;
use crate::{free_tcp, free_udp};

/// Ten times what the JVM takes on a loaded machine.
const START: Duration = Duration::from_secs(90);
/// Ten times what any event here takes.
const PATIENCE: Duration = Duration::from_secs(60);
/// Seconds that Leshan waits for a device's answer.
const DEVICE_TIMEOUT: u32 = 20;

/// One running server.
pub struct Leshan {
    name: String,
    dir: tempfile::TempDir,
    coap: u16,
    http: u16,
    models: Option<PathBuf>,
    process: Mutex<Option<Process>>,
}

/// How a push is put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushFormat {
    /// Wrapped in TLV (11542): Leshan's own choice.
    Tlv,
    /// Bare bytes (42).
    Opaque,
}

/// What Leshan says of an operation on a device.
#[derive(Debug, Clone)]
pub struct LeshanAnswer {
    /// HTTP's status: 200 also for the device's own refusals, 504 when the device did not answer.
    pub http: u16,
    /// CoAP's code as three digits, e.g. 205 or 405; 0 when there was none.
    pub code: u16,
    /// The whole answer.
    pub body: Value,
}

impl LeshanAnswer {
    /// The value of a resource, the content of anything else.
    pub fn value(&self) -> &Value {
        let content = &self.body["content"];
        content.get("value").unwrap_or(content)
    }

    /// The value as text: Leshan shows numbers of a model it does not know as strings.
    pub fn text(&self) -> String {
        text_of(self.value())
    }
}

impl Leshan {
    /// Starts a server of its own on free ports and waits until it answers.
    pub fn start(name: &str) -> Self {
        Self::begin(name, None)
    }

    /// The same, with further object definitions (XML) from a folder.
    pub fn with_models(name: &str, folder: &Path) -> Self {
        Self::begin(name, Some(folder.to_owned()))
    }

    fn begin(name: &str, models: Option<PathBuf>) -> Self {
        let dir = tempfile::Builder::new().prefix("nuncio-leshan-").tempdir().expect("a temporary folder");
        // Two levels, since Leshan keeps keys in `data` below its working directory.
        let (name, coap, http) = (name.to_owned(), free_udp(), free_tcp());
        let server = Self { name, dir, coap, http, models, process: Mutex::new(None) };
        server.restart();
        server
    }

    /// Two servers that all tests of this process share, started at the first call. Tests tell their devices apart by
    /// [`World::name`](crate::World::name).
    pub fn pair() -> &'static (Self, Self) {
        static PAIR: OnceLock<(Leshan, Leshan)> = OnceLock::new();
        PAIR.get_or_init(|| {
            let second = thread::spawn(|| Self::start("leshan b"));
            (Self::start("leshan a"), second.join().expect("the second server starts"))
        })
    }

    /// Stops it: SIGKILL, nobody is told anything.
    pub fn stop(&self) {
        *self.process() = None;
    }

    /// Starts it (again) on the same ports, with all it knew forgotten.
    pub fn restart(&self) {
        let jar = peer("leshan", "leshan/leshan-server-demo.jar");
        let mut command = Command::new(program("leshan", "java"));
        let (coap, coaps, http) = (self.coap.to_string(), free_udp().to_string(), self.http.to_string());
        command.args(["-Xmx96m", "-XX:TieredStopAtLevel=1", "--add-opens", "java.base/java.util=ALL-UNNAMED", "-jar"]);
        // By any address: some daemons live in networks of their own.
        command.arg(jar).args(["-lh", "0.0.0.0", "-lp", &coap, "-slh", "127.0.0.1", "-slp", &coaps]);
        command.args(["-wh", "127.0.0.1", "-wp", &http]).current_dir(self.dir.path());
        command.args(self.models.iter().flat_map(|folder| [Path::new("-m"), folder]));
        fs::create_dir_all(self.dir.path().join("data")).expect("a writable folder");
        *self.process() = Some(Process::start(&self.name, &command, None));
        eventually(&format!("{} answers", self.name), START, || {
            let ended = self.process().as_mut().and_then(Process::try_wait);
            assert!(ended.is_none(), "{} ended with {ended:?}", self.name);
            http::get(self.http, "/api/clients").filter(|answer| answer.status == 200)
        });
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints what it has said: a test that shares a server calls this when it fails.
    pub fn print(&self) {
        if let Some(process) = self.process().as_ref() {
            process.print();
        }
    }

    /// `coap://127.0.0.1:PORT`.
    pub fn uri(&self) -> String {
        format!("coap://127.0.0.1:{}", self.coap)
    }

    /// The port of its REST interface.
    pub fn http_port(&self) -> u16 {
        self.http
    }

    /// Its working folder.
    pub fn dir(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// A registered client: `endpoint`, `registrationId`, `address`, `lifetime`, `lwM2mVersion`, `objectLinks`, ...
    pub fn client(&self, endpoint: &str) -> Option<Value> {
        let answer = http::get(self.http, &format!("/api/clients/{endpoint}"))?;
        (answer.status == 200).then(|| answer.json())
    }

    /// The endpoint names of all that are registered.
    pub fn clients(&self) -> Vec<String> {
        let answer = http::get(self.http, "/api/clients").map(|answer| answer.json()).unwrap_or_default();
        let clients = answer.as_array().cloned().unwrap_or_default();
        clients.iter().filter_map(|client| Some(client["endpoint"].as_str()?.to_owned())).collect()
    }

    /// Waits for a client to be registered.
    pub fn await_client(&self, endpoint: &str) -> Value {
        eventually(&format!("{endpoint} is registered at {}", self.name), PATIENCE, || self.client(endpoint))
    }

    /// Its registration id, once it is registered.
    pub fn registration(&self, endpoint: &str) -> String {
        text_of(&self.await_client(endpoint)["registrationId"])
    }

    /// Read.
    pub fn read(&self, endpoint: &str, path: &str) -> LeshanAnswer {
        self.ask("GET", endpoint, path, "", &[])
    }

    /// Read in a format: `TEXT`, `TLV`, `SENML_JSON`, `SENML_CBOR`, `OPAQUE`.
    pub fn read_as(&self, endpoint: &str, path: &str, format: &str) -> LeshanAnswer {
        self.ask("GET", endpoint, &format!("{path}?format={format}"), "", &[])
    }

    /// Write of one resource; integers are JSON numbers.
    pub fn write(&self, endpoint: &str, path: &str, value: impl Into<Value>) -> LeshanAnswer {
        let id = path.rsplit('/').next().and_then(|id| id.parse::<u16>().ok()).expect("a resource path ends in its id");
        let body = json!({ "id": id, "value": value.into() }).to_string();
        self.ask("PUT", endpoint, path, "application/json", body.as_bytes())
    }

    /// Write of 5/0/1.
    pub fn write_uri(&self, endpoint: &str, uri: &str) -> LeshanAnswer {
        self.write(endpoint, "5/0/1", uri)
    }

    /// Write of 5/0/0, block by block.
    pub fn push(&self, endpoint: &str, bytes: &[u8], format: PushFormat) -> LeshanAnswer {
        self.try_push(endpoint, bytes, format).unwrap_or_else(|| panic!("{} does not answer a push", self.name))
    }

    /// The same, where the server may die meanwhile.
    pub fn try_push(&self, endpoint: &str, bytes: &[u8], format: PushFormat) -> Option<LeshanAnswer> {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let body = json!({ "id": 0, "value": hex }).to_string();
        let query = if format == PushFormat::Opaque { "?format=OPAQUE" } else { "" };
        // A push takes as long as its blocks do.
        let path = format!("5/0/0{query}");
        self.try_ask("PUT", endpoint, &path, "application/json", body.as_bytes(), 300)
    }

    /// Execute.
    pub fn execute(&self, endpoint: &str, path: &str) -> LeshanAnswer {
        self.ask("POST", endpoint, path, "text/plain", &[])
    }

    /// Discover; the answer's `objectLinks`.
    pub fn discover(&self, endpoint: &str, path: &str) -> LeshanAnswer {
        self.ask("GET", endpoint, &format!("{path}/discover"), "", &[])
    }

    /// Observe.
    pub fn observe(&self, endpoint: &str, path: &str) -> LeshanAnswer {
        self.ask("POST", endpoint, &format!("{path}/observe"), "", &[])
    }

    /// Ends an observation, passively: the device's next notification gets an RST.
    pub fn cancel(&self, endpoint: &str, path: &str) -> Option<Answer> {
        http::request(self.http, "DELETE", &format!("/api/clients/{endpoint}/{path}/observe"), "", &[])
    }

    /// Write-Attributes, e.g. `pmin=1&pmax=10`.
    pub fn attributes(&self, endpoint: &str, path: &str, query: &str) -> LeshanAnswer {
        self.ask("PUT", endpoint, &format!("{path}/attributes?{query}"), "", &[])
    }

    fn ask(&self, method: &str, endpoint: &str, path: &str, content_type: &str, body: &[u8]) -> LeshanAnswer {
        let answer = self.try_ask(method, endpoint, path, content_type, body, DEVICE_TIMEOUT);
        answer.unwrap_or_else(|| panic!("{} does not answer {method} {path}", self.name))
    }

    /// `None`: the server itself gave no answer.
    pub(crate) fn try_ask(
        &self,
        method: &str,
        endpoint: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
        seconds: u32,
    ) -> Option<LeshanAnswer> {
        let joint = if path.contains('?') { '&' } else { '?' };
        // Write-Attributes takes its whole query for attributes and fails at any other word.
        let limit = if path.contains("/attributes?") { String::new() } else { format!("{joint}timeout={seconds}") };
        let url = format!("/api/clients/{endpoint}/{path}{limit}");
        let answer = http::request(self.http, method, &url, content_type, body)?;
        let mut body = answer.json();
        if body.is_null() {
            body = Value::String(String::from_utf8_lossy(&answer.body).into_owned());
        }
        Some(LeshanAnswer { http: answer.status, code: code_of(&body), body })
    }

    /// Opens the event stream of one endpoint.
    pub fn events(&self, endpoint: &str) -> Events {
        let path = format!("/api/event?ep={endpoint}");
        let mut reader = http::open(self.http, "GET", &path, "", "text/event-stream", &[]).expect("Leshan is there");
        reader.get_ref().set_read_timeout(None).expect("a time limit can be lifted");
        let (status, chunked, _) = http::head(&mut reader).expect("Leshan answers");
        assert_eq!(status, 200, "{} has an event stream", self.name);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let filled = Arc::clone(&seen);
        thread::spawn(move || read_events(reader, chunked, &filled));
        Events { seen }
    }
}

/// What a server's event stream has told since it was opened.
pub struct Events {
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Events {
    /// All events so far: kind and data. Kinds are `REGISTRATION`, `UPDATED`, `DEREGISTRATION`, `NOTIFICATION`.
    pub fn all(&self) -> Vec<(String, Value)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The values that were notified for a path such as `/5/0/3`, in order.
    pub fn values(&self, path: &str) -> Vec<String> {
        let all = self.all();
        let of_path = all.iter().filter(|(kind, data)| kind == "NOTIFICATION" && data["res"] == path);
        of_path.map(|(_, data)| text_of(&data["val"]["value"])).collect()
    }

    /// How many events there were so far: a place to read on from.
    pub(crate) fn mark(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The values that were notified for a path since a mark, in order.
    pub(crate) fn values_since(&self, mark: usize, path: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = seen.iter().skip(mark).filter(|(kind, data)| kind == "NOTIFICATION" && data["res"] == path);
        fresh.map(|(_, data)| text_of(&data["val"]["value"])).collect()
    }

    /// Waits until the notified values of a path end with `last`, and gives all.
    pub fn await_values(&self, path: &str, last: &[&str], within: Duration) -> Vec<String> {
        eventually(&format!("{path} is notified as {last:?}, not only {:?}", self.values(path)), within, || {
            Some(self.values(path)).filter(|values| values.ends_with(&last.map_to_owned()))
        })
    }

    /// How many events of a kind there were.
    pub fn count(&self, kind: &str) -> usize {
        self.all().iter().filter(|(seen, _)| seen == kind).count()
    }
}

trait MapToOwned {
    fn map_to_owned(&self) -> Vec<String>;
}

impl MapToOwned for [&str] {
    fn map_to_owned(&self) -> Vec<String> {
        self.iter().map(|&text| text.to_owned()).collect()
    }
}

fn read_events(mut reader: BufReader<TcpStream>, chunked: bool, seen: &Mutex<Vec<(String, Value)>>) {
    use std::io::BufRead as _;
    let mut text = String::new();
    loop {
        let more = if chunked {
            http::chunk(&mut reader)
        } else {
            let mut line = Vec::new();
            reader.read_until(b'\n', &mut line).ok().filter(|&count| count > 0).map(|_| line)
        };
        let Some(more) = more else { return };
        text.push_str(&String::from_utf8_lossy(&more).replace('\r', ""));
        while let Some((event, rest)) = text.split_once("\n\n").map(|(event, rest)| (event.to_owned(), rest.to_owned()))
        {
            text = rest;
            let field = |name: &str| event.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
            let data = field("data:").and_then(|data| serde_json::from_str(&data).ok()).unwrap_or_default();
            let kind = field("event:").unwrap_or_default();
            seen.lock().unwrap_or_else(PoisonError::into_inner).push((kind, data));
        }
    }
}

/// Strings without their quotes, everything else as JSON.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// 205 out of `"status":"CONTENT(205)"`.
fn code_of(body: &Value) -> u16 {
    let digits = body["status"].as_str().and_then(|status| status.split('(').nth(1)?.strip_suffix(')')?.parse().ok());
    digits.unwrap_or(0)
}
