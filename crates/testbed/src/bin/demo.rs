//! `make demo`: Nuncio's main job with no hardware and no server at hand.
//!
//! A simulated Uno on a pty, two small DM servers, the gateway as it is, and the real avrdude. The second server asks for
//! an update; both watch it. Ends with 0 only if the new version was proven at both servers and on the board.

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use coap::Response;
use testbed::dm_server::driver::RunningDmServer;
use testbed::dm_server::{Behaviour, ask};
use testbed::uno::{Uno, intel_hex, program};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// The whole demo must be through by then.
const LIMIT: Duration = Duration::from_secs(60);
const DEVICE: &str = "press-3";
const OLD: &str = "1.2.0";
const NEW: &str = "1.3.0";

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let outcome = runtime.block_on(async { tokio::time::timeout(LIMIT, demo()).await });
    match outcome {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => fail(&error),
        Err(_) => fail(&format!("not through after {LIMIT:?}").into()),
    }
}

fn fail(error: &Failure) -> ExitCode {
    say(&format!("\nFAILED: {error}"));
    ExitCode::FAILURE
}

/// The demo prints: that is what it is for.
fn say(line: &str) {
    // Nobody reading any more is no reason to leave things half done.
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints with the time since the start.
#[derive(Clone, Copy)]
struct Timeline(Instant);

impl Timeline {
    fn say(self, who: &str, what: &str) {
        say(&format!("{:7.2} s  {who:9} {what}", self.0.elapsed().as_secs_f64()));
    }
}

async fn demo() -> Result<(), Failure> {
    let time = Timeline(Instant::now());
    let folder = Folder::make()?;
    let port = folder.path.join("ttyUNO");
    let board = Uno::plug_in(&port, &program(&format!("ID board=uno fw={OLD}"), 4_000))?;
    time.say("board", &format!("a simulated Uno on {}, running {OLD}", board.link().display()));
    let image = intel_hex(&program(&format!("ID board=uno fw={NEW}"), 16_000));
    let uri = serve_file(image.into_bytes()).await?;
    let first = Watched::start("factory", time).await?;
    let second = Watched::start("cloud", time).await?;

    let config = folder.path.join("nuncio.toml");
    fs::write(&config, configuration(&folder.path, &port, &uri, first.address(), second.address()))?;
    let gateway = Gateway::start(&config)?;
    time.say("nuncio", "started with two servers and the board's port");

    let (first_changes, second_changes) = (first.watch().await?, second.watch().await?);
    time.say("cloud", &format!("writes {uri} to /5/0/1"));
    second.expect("write", ask::write_text("5/0/1", &format!("{uri}#version={NEW}")), "2.04").await?;
    let (mut first_changes, mut second_changes) = (first_changes, second_changes);
    tokio::try_join!(first.until(&mut first_changes, "2"), second.until(&mut second_changes, "2"))?;
    time.say("cloud", "executes /5/0/2");
    second.expect("execute", ask::execute("5/0/2", ""), "2.04").await?;
    tokio::try_join!(first.until(&mut first_changes, "0"), second.until(&mut second_changes, "0"))?;
    first.proof().await?;
    second.proof().await?;
    drop(gateway);
    let banner = read_banner(&port)?;
    time.say("board", &format!("says: {banner}"));
    if !banner.contains(&format!("fw={NEW}")) {
        return Err(format!("the board does not run {NEW}").into());
    }
    say(&format!(
        "\nPROVEN: asked for by the second server, flashed by the real avrdude, seen by both, {NEW} runs on the board."
    ));
    Ok(())
}

/// A temporary folder that is removed at the end.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn make() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("nuncio-demo-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn configuration(folder: &Path, port: &Path, uri: &str, first: SocketAddr, second: SocketAddr) -> String {
    let (folder, port) = (folder.display(), port.display());
    let site = uri.rsplit_once('/').map_or(uri, |(site, _)| site);
    format!(
        r#"[gateway]
name = "demo"
state = "{folder}/state"
log = "info"

[mdns]
enabled = false

[ble]
enabled = false

[[server]]
name = "factory"
uri = "coap://{first}"
short_id = 123
lifetime = "30s"

[[server]]
name = "cloud"
uri = "coap://{second}"
short_id = 234
lifetime = "30s"

[[device]]
name = "{DEVICE}"
board = "arduino-uno"
link = "serial:{port}"
endpoint = "{DEVICE}"

[download]
allow = ["{site}/"]
"#
    )
}

/// The daemon as it is, ended with the demo.
struct Gateway {
    child: Child,
}

impl Gateway {
    fn start(config: &Path) -> Result<Self, Failure> {
        let own = env::current_exe()?;
        let program = own.with_file_name("nuncio");
        if !program.exists() {
            return Err(format!("{} is not built: run `make demo`", program.display()).into());
        }
        let mut child = Command::new(program)
            .arg("--config")
            .arg(config)
            .arg("run")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(log) = child.stderr.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(log).lines().map_while(Result::ok) {
                    say(&format!("             | {line}"));
                }
            });
        }
        Ok(Self { child })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// A DM server that tells what it sees.
struct Watched {
    name: &'static str,
    server: RunningDmServer,
    time: Timeline,
}

impl Watched {
    async fn start(name: &'static str, time: Timeline) -> Result<Self, Failure> {
        let server = RunningDmServer::start((Ipv4Addr::LOCALHOST, 0).into(), Behaviour::default()).await?;
        time.say(name, &format!("a DM server on coap://{}", server.address()));
        Ok(Self { name, server, time })
    }

    fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Waits for the device and observes its state.
    async fn watch(&self) -> Result<mpsc::Receiver<Response>, Failure> {
        let registration = self.server.registered(DEVICE).await?;
        self.time.say(self.name, &format!("{DEVICE} registered as /{}", registration.location.join("/")));
        let (state, changes) = self.server.observe(DEVICE, "/5/0/3").await?;
        self.time.say(self.name, &format!("observes /5/0/3: {}", text(&state)));
        Ok(changes)
    }

    async fn expect(&self, what: &str, request: coap::Request, code: &str) -> Result<(), Failure> {
        let response = self.server.call(DEVICE, request).await?;
        if response.code.to_string() != code {
            return Err(format!("{}: {what} answered {}", self.name, response.code).into());
        }
        Ok(())
    }

    /// Follows the state until it is the wanted one.
    async fn until(&self, changes: &mut mpsc::Receiver<Response>, wanted: &str) -> Result<(), Failure> {
        while let Some(change) = changes.recv().await {
            let state = text(&change);
            self.time.say(self.name, &format!("sees /5/0/3 = {state} ({})", meaning(&state)));
            if state == wanted {
                return Ok(());
            }
        }
        Err(format!("{}: the observation ended", self.name).into())
    }

    /// Result and version as this server reads them.
    async fn proof(&self) -> Result<(), Failure> {
        let result = text(&self.server.call(DEVICE, ask::read("/5/0/5")).await?);
        let version = text(&self.server.call(DEVICE, ask::read("/3/0/3")).await?);
        self.time.say(self.name, &format!("reads /5/0/5 = {result}, /3/0/3 = {version}"));
        if result != "1" || version != NEW {
            return Err(format!("{}: result {result}, version {version}", self.name).into());
        }
        Ok(())
    }
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.payload).into_owned()
}

fn meaning(state: &str) -> &'static str {
    match state {
        "0" => "idle",
        "1" => "downloading",
        "2" => "downloaded and checked",
        "3" => "updating",
        _ => "?",
    }
}

/// A web server with one file, for as long as the demo runs.
async fn serve_file(file: Vec<u8>) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let uri = format!("http://{}/blinky.hex", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let count = stream.read(&mut request).await.unwrap_or(0);
            let found = request[..count].starts_with(b"GET /blinky.hex ");
            let (status, body): (_, &[u8]) = if found { ("200 OK", &file) } else { ("404 Not Found", &[]) };
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // A gateway that hangs up has its own reasons.
            let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
        }
    });
    Ok(uri)
}

/// Opens the port as any terminal would, which restarts the board, and reads its line.
fn read_banner(port: &Path) -> Result<String, Failure> {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(port)?;
    let mut seen = Vec::new();
    let mut buffer = [0; 256];
    while !seen.ends_with(b"\n") {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Err("the board is gone".into());
        }
        seen.extend_from_slice(&buffer[..count]);
    }
    Ok(String::from_utf8_lossy(&seen).trim().to_owned())
}
