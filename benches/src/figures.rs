//! The figures themselves. Each returns the lines to print.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use coap::{Code, Request};

use crate::daemon::{self, Daemon};
use crate::server::Server;
use crate::sink;

pub(crate) const REGISTRATION: Duration = Duration::from_secs(60);
const READS: u32 = 40_000;
const PUSH_BYTES: usize = 4 << 20;
const PUSH_ROUNDS: u32 = 9;
const MANY: usize = 1_000;
const IDLE: Duration = Duration::from_secs(30);

pub(crate) fn gateway(servers: &[&Server]) -> Result<String> {
    let mut text = "[gateway]\nname = \"bench\"\nstate = \"{state}\"\n[download]\nallow = []\n[mdns]\nenabled = false\n[ble]\nenabled = false\n"
        .to_owned();
    for (at, server) in servers.iter().enumerate() {
        write!(
            text,
            "[[server]]\nname = \"s{at}\"\nuri = \"{}\"\nshort_id = {}\nlifetime = \"10m\"\nfirmware = \"any\"\n",
            server.uri()?,
            at + 101
        )?;
    }
    Ok(text)
}

/// The same with all transports, the page and the built-in server on, which listens on a port that was free. Of the networks there
/// are, only the loop: this machine's is nobody's business.
pub(crate) fn all_on(servers: &[&Server]) -> Result<String> {
    let port = std::net::UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
    let quiet = "[mdns]\nenabled = false\n[ble]\nenabled = false\n";
    let all = format!(
        "[mdns]\nenabled = true\ninterfaces = [\"lo\"]\n[ble]\nenabled = true\n[web]\nenabled = true\nlisten = []\n\
         [builtin_server]\nenabled = true\nport = {port}\n"
    );
    Ok(gateway(servers)?.replace("10m", "1m").replace(quiet, &all))
}

/// `count` devices that are taken as there, on links that nobody opens.
pub(crate) fn devices(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, at| {
        let _ = writeln!(
            text,
            "[[device]]\nname = \"d{at}\"\nboard = \"arduino-uno\"\nlink = \"tcp:127.0.{}.{}:9\"\nprobe = \"never\"",
            at / 250,
            at % 250 + 1
        );
        text
    })
}

fn ratio(ours: Duration, theirs: Duration) -> f64 {
    ours.as_secs_f64() / theirs.as_secs_f64()
}

/// A daemon with one device, and the server that it is registered at.
fn one_device(folder: &std::path::Path) -> Result<(Server, Daemon, std::net::SocketAddr)> {
    let mut server = Server::start()?;
    let config = gateway(&[&server])? + &devices(1);
    let daemon = Daemon::start(&daemon::program()?, folder, &config)?;
    ensure!(server.serve(REGISTRATION, |server| server.registered.len() == 1)?, "not registered: {}", daemon.log());
    let client = server.registered[0].1;
    Ok((server, daemon, client))
}

/// CPU per CON Read of /3/0 as a ratio to a bare tokio UDP echo of the same sizes.
pub fn read() -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let (mut server, daemon, client) = one_device(folder.path())?;
    let request = || Request::new(Code::GET).with_path("3/0");
    let answer = server.ask(client, request())?;
    for _ in 0..2_000 {
        server.ask(client, request())?;
    }
    let before = daemon.cpu()?;
    for _ in 0..READS {
        server.ask(client, request())?;
    }
    let ours = (daemon.cpu()? - before) / READS;
    // Header, token, options and marker of request and response, as they go over the wire.
    let (sent, received) = (4 + 8 + 3, 4 + 8 + 3 + answer.payload.len());
    let theirs = echo(sent, received)?;
    Ok(vec![format!(
        "CPU per CON Read of /3/0: {ours:?}, bare echo of {sent}/{received} bytes: {theirs:?}, ratio {:.2} (at most 2)",
        ratio(ours, theirs)
    )])
}

fn echo(sent: usize, received: usize) -> Result<Duration> {
    let mut child =
        Command::new(std::env::current_exe()?).args(["echo", &received.to_string()]).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("stdout")?).read_line(&mut line)?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(("127.0.0.1", line.trim().parse()?))?;
    let (request, mut buffer) = (vec![0; sent], [0; 2048]);
    let mut rounds = |count: u32| -> Result<()> {
        for _ in 0..count {
            socket.send(&request)?;
            socket.recv(&mut buffer)?;
        }
        Ok(())
    };
    rounds(2_000)?;
    let before = daemon::cpu_of(child.id())?;
    rounds(READS)?;
    let used = daemon::cpu_of(child.id())? - before;
    child.kill()?;
    child.wait()?;
    Ok(used / READS)
}

/// Throughput of a Block1 push to staging as a ratio to a bare sink that does not sync.
pub fn push() -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let (mut server, daemon, client) = one_device(folder.path())?;
    // Where the scheduler puts the two ends decides more than either of them (waking another core of a virtual machine
    // costs more than a block): all on one core, the sink too, which inherits it.
    daemon::pin_to_one_core(std::process::id())?;
    daemon::pin_to_one_core(daemon.pid())?;
    let image = vec![0x3a; PUSH_BYTES];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let before = daemon.cpu()?;
    for round in 0..PUSH_ROUNDS {
        let begin = Instant::now();
        let request = Request::new(Code::PUT).with_path("5/0/0").with_payload(42, image.clone());
        let response = server.ask(client, request)?;
        ensure!(response.code == Code::CHANGED, "push answered {}", response.code);
        ours.push(begin.elapsed());
        reset(&mut server, client)?;
        theirs.push(bare_push(&image, &folder.path().join(format!("sink{round}")))?);
    }
    let cpu = (daemon.cpu()? - before) / (PUSH_ROUNDS * u32::try_from(PUSH_BYTES / 1024)?);
    let (ours, theirs) = (median(ours), median(theirs));
    let megabytes = PUSH_BYTES as f64 / 1e6;
    Ok(vec![format!(
        "Block1 push of 4 MiB: {:.1} MB/s, bare sink {:.1} MB/s, ratio {:.2} (at least 0.75); {cpu:?} CPU per block, checks included",
        megabytes / ours.as_secs_f64(),
        megabytes / theirs.as_secs_f64(),
        ratio(theirs, ours)
    )])
}

/// Drops what was pushed, once the checks are through.
fn reset(server: &mut Server, client: std::net::SocketAddr) -> Result<()> {
    let response = server.ask(client, Request::new(Code::PUT).with_path("5/0/1").with_payload(0, Vec::new()))?;
    ensure!(response.code == Code::CHANGED, "reset answered {}", response.code);
    Ok(())
}

fn bare_push(image: &[u8], file: &std::path::Path) -> Result<Duration> {
    let (address, sink) = sink::start(file)?;
    let mut server = Server::start()?;
    server.adopt(address);
    let begin = Instant::now();
    let request = Request::new(Code::PUT).with_path("5/0/0").with_payload(42, image.to_vec());
    server.ask(address, request)?;
    let elapsed = begin.elapsed();
    let written = sink.join().map_err(|_| anyhow::anyhow!("the sink broke"))??;
    ensure!(written == image.len() as u64, "the sink took {written} bytes");
    Ok(elapsed)
}

pub(crate) fn median(mut values: Vec<Duration>) -> Duration {
    values.sort();
    values[values.len() / 2]
}

/// Resident memory per device with two servers.
pub fn memory() -> Result<Vec<String>> {
    let resident = |count: usize| -> Result<u64> {
        let folder = tempfile::tempdir()?;
        let (mut one, mut two) = (Server::start()?, Server::start()?);
        let config = gateway(&[&one, &two])? + &devices(count);
        let daemon = Daemon::start(&daemon::program()?, folder.path(), &config)?;
        let end = Instant::now() + REGISTRATION;
        while (one.registered.len() < count || two.registered.len() < count) && Instant::now() < end {
            one.serve(Duration::from_millis(50), |_| false)?;
            two.serve(Duration::from_millis(50), |_| false)?;
        }
        ensure!(two.registered.len() >= count, "{} registered: {}", two.registered.len(), daemon.log());
        daemon.resident_kib()
    };
    let (few, many) = (resident(1)?, resident(MANY)?);
    let each = (many - few) as f64 / (MANY - 1) as f64;
    Ok(vec![format!("{MANY} devices x 2 servers: {many} KiB, 1 device: {few} KiB, {each:.1} KiB each (at most 16)")])
}

/// Memory and CPU at rest with ten devices, two servers and the built-in one, all transports and the page.
pub fn idle() -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let (mut one, mut two) = (Server::start()?, Server::start()?);
    let config = all_on(&[&one, &two])? + &devices(10);
    let daemon = Daemon::start(&daemon::program()?, folder.path(), &config)?;
    while one.registered.len() < 10 || two.registered.len() < 10 {
        one.serve(Duration::from_millis(50), |_| false)?;
        two.serve(Duration::from_millis(50), |_| false)?;
    }
    let (begin, before) = (Instant::now(), daemon.cpu()?);
    while begin.elapsed() < IDLE {
        one.serve(Duration::from_millis(50), |_| false)?;
        two.serve(Duration::from_millis(50), |_| false)?;
    }
    let share = (daemon.cpu()? - before).as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0;
    let resident = daemon.resident_kib()?;
    Ok(vec![format!(
        "10 devices x 2 servers and the built-in one, lifetime 1 min, all on: RSS {:.1} MB (at most 30), CPU {share:.3} % of a core \
         (under 0.3)",
        resident as f64 * 1024.0 / 1e6
    )])
}

/// From the appearance of a port to its registration at both servers.
pub fn appear() -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let port = folder.path().join("ttyUNO");
    let (mut one, mut two) = (Server::start()?, Server::start()?);
    let config = gateway(&[&one, &two])?
        + &format!("[[device]]\nname = \"uno\"\nboard = \"arduino-uno\"\nlink = \"serial:{}\"\n", port.display());
    let _daemon = Daemon::start(&daemon::program()?, folder.path(), &config)?;
    std::thread::sleep(Duration::from_secs(3));
    let mut times = Vec::new();
    for round in 1..=5 {
        let _board = testbed::uno::Uno::plug_in(&port, &testbed::uno::program("ID board=uno fw=1.0.0", 512))?;
        let begin = Instant::now();
        while (one.registered.len() < round || two.registered.len() < round) && begin.elapsed() < REGISTRATION {
            one.serve(Duration::from_millis(2), |server| server.registered.len() >= round)?;
            two.serve(Duration::from_millis(2), |server| server.registered.len() >= round)?;
        }
        ensure!(two.registered.len() >= round, "not registered");
        times.push(begin.elapsed());
        drop(_board);
        one.serve(Duration::from_millis(1500 + 137 * round as u64), |_| false)?;
        two.serve(Duration::from_millis(500), |_| false)?;
    }
    let longest = times.iter().max().copied().unwrap_or_default();
    Ok(vec![format!(
        "port appears -> registered at both: {:?}, longest {longest:?} (at most poll 1 s + 300 ms)",
        times
    )])
}
