//! The REST API with a thousand devices: how long `GET /api/v1/devices` takes over one connection that is kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::daemon::{self, Daemon};
use crate::figures::{devices, gateway};
use crate::server::Server;

const DEVICES: usize = 1_000;
const REQUESTS: usize = 500;
/// Slow enough for the limit of one peer: ten a second after the first two hundred.
const PACE: Duration = Duration::from_millis(105);
const PATIENCE: Duration = Duration::from_secs(60);

/// The 50th and 99th percentile.
pub fn measure() -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let (mut one, mut two) = (Server::start()?, Server::start()?);
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let web = format!("\n[web]\nenabled = true\nlisten = [\"127.0.0.1:{port}\"]\n");
    let config = gateway(&[&one, &two])? + &devices(DEVICES) + &web;
    let daemon = Daemon::start(&daemon::program()?, folder.path(), &config)?;
    let end = Instant::now() + PATIENCE;
    while (one.registered.len() < DEVICES || two.registered.len() < DEVICES) && Instant::now() < end {
        one.serve(Duration::from_millis(20), |_| false)?;
        two.serve(Duration::from_millis(20), |_| false)?;
    }
    ensure!(two.registered.len() >= DEVICES, "not registered: {}", daemon.log());
    let token = token(folder.path())?;
    let mut connection = BufReader::new(TcpStream::connect(("127.0.0.1", port))?);
    let mut times = Vec::with_capacity(REQUESTS);
    let mut length = 0;
    for _ in 0..REQUESTS {
        let begin = Instant::now();
        length = ask(&mut connection, &token)?;
        times.push(begin.elapsed());
        one.serve(PACE / 2, |_| false)?;
        two.serve(PACE / 2, |_| false)?;
    }
    times.sort();
    let (median, late) = (times[REQUESTS / 2], times[REQUESTS * 99 / 100]);
    Ok(vec![format!(
        "GET /devices with {DEVICES} devices x 2 servers, {} KiB: median {:.1} ms, p99 {:.1} ms (at most 20)",
        length / 1024,
        median.as_secs_f64() * 1e3,
        late.as_secs_f64() * 1e3
    )])
}

fn token(folder: &Path) -> Result<String> {
    let output = Command::new(daemon::program()?)
        .arg("--config")
        .arg(folder.join("nuncio.toml"))
        .args(["token", "add", "bench"])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// One request; the length of its body.
fn ask(connection: &mut BufReader<TcpStream>, token: &str) -> Result<usize> {
    let request = format!("GET /api/v1/devices HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes())?;
    let mut line = String::new();
    connection.read_line(&mut line)?;
    ensure!(line.starts_with("HTTP/1.1 200"), "{line}");
    let mut length = None;
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some(("content-length", text)) => length = Some(text.parse::<usize>()?),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length.context("no length")?];
    connection.read_exact(&mut body)?;
    Ok(body.len())
}
