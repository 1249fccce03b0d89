//! What supervision adds to the bare tool: Execute to tool started, tool ended to outcome known, and the proof apart.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use coap::{Code, Request};
use world::{SimBoard, World, avr_image};

use crate::daemon::{self, Daemon};
use crate::figures::{REGISTRATION, gateway, median};
use crate::server::Server;

const ROUNDS: usize = 9;
const PROOF_LIMIT: Duration = Duration::from_secs(60);
/// How often the state is read while the bench waits; bounds the error of the proof's time.
const LOOK: Duration = Duration::from_millis(10);

/// One update, in parts.
struct Parts {
    to_start: Duration,
    tool: Duration,
    to_outcome: Duration,
    proof: Duration,
}

/// The figure.
pub fn measure() -> Result<Vec<String>> {
    let world = World::new(daemon::program()?);
    let board = world.uno("uno-1.2.0.hex");
    let bare = median((0..ROUNDS).map(|turn| bare(&board, turn)).collect::<Result<_>>()?);
    let start = board_start(&board)?;
    let folder = world.dir().join("gateway");
    fs::create_dir(&folder)?;
    let mut server = Server::start()?;
    let config = gateway(&[&server])?
        + &format!("[[device]]\nname = \"uno\"\nboard = \"arduino-uno\"\nlink = \"{}\"\n", board.link());
    let tool = wrapper(&folder)?;
    let daemon = Daemon::start_with(&daemon::program()?, &folder, &config, &tool)?;
    ensure!(server.serve(REGISTRATION, |server| server.registered.len() == 1)?, "not registered: {}", daemon.log());
    let client = server.registered[0].1;
    let parts: Vec<Parts> =
        (0..ROUNDS).map(|turn| update(&mut server, client, &daemon, &folder, turn)).collect::<Result<_>>()?;
    let of = |part: fn(&Parts) -> Duration| median(parts.iter().map(part).collect());
    let added = of(|parts| parts.to_start + parts.to_outcome);
    Ok(vec![
        format!("bare avrdude {bare:?}, under supervision {:?} (both with write and verify)", of(|parts| parts.tool)),
        format!(
            "Execute -> tool started {:?}, tool ended -> outcome known {:?}, together {added:?} (at most 50 ms median)",
            of(|parts| parts.to_start),
            of(|parts| parts.to_outcome)
        ),
        format!("proof {:?}, one board start {start:?} (at most 0.5 s more)", of(|parts| parts.proof)),
    ])
}

fn image(turn: usize) -> std::path::PathBuf {
    avr_image(if turn % 2 == 0 { "uno-1.3.0.hex" } else { "uno-1.2.0.hex" })
}

fn bare(board: &SimBoard, turn: usize) -> Result<Duration> {
    let begin = Instant::now();
    let flash = format!("flash:w:{}:i", image(turn).display());
    let output = Command::new("avrdude")
        .args(["-p", "m328p", "-c", "arduino", "-b", "115200", "-D", "-x", "attempts=3", "-P"])
        .arg(board.port())
        .args(["-U", &flash])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(begin.elapsed())
}

/// From opening the port to the program's first line.
fn board_start(board: &SimBoard) -> Result<Duration> {
    let begin = Instant::now();
    ensure!(board.banner().starts_with("ID "), "the board is silent");
    Ok(begin.elapsed())
}

/// The real tool, found first on PATH, that notes when it began and ended, which its sandbox has to let it.
fn wrapper(folder: &Path) -> Result<std::path::PathBuf> {
    let (bin, notes, tools) = (folder.join("bin"), folder.join("notes"), folder.join("flash-tools"));
    for made in [&bin, &notes, &tools] {
        fs::create_dir(made)?;
    }
    let file = include_str!("../../flash-tools/avrdude.toml");
    let head = "[tool.avrdude]\n";
    ensure!(file.contains(head), "the tool's file has no {head}");
    fs::write(
        tools.join("avrdude.toml"),
        file.replacen(head, &format!("{head}sandbox = {{ write = [{notes:?}] }}\n"), 1),
    )?;
    let real = String::from_utf8(Command::new("sh").args(["-c", "command -v avrdude"]).output()?.stdout)?;
    let (begun, ended) = (notes.join("begun"), notes.join("ended"));
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *flash:w:*) ;; *) exec {real} \"$@\" ;; esac\ndate +%s%N > {}\n{real} \"$@\"\ncode=$?\ndate +%s%N > {}\nexit $code\n",
        begun.display(),
        ended.display(),
        real = real.trim()
    );
    fs::write(bin.join("avrdude"), text)?;
    fs::set_permissions(bin.join("avrdude"), fs::Permissions::from_mode(0o755))?;
    Ok(bin)
}

fn noted(file: &Path) -> Result<Duration> {
    let nanos = fs::read_to_string(file).with_context(|| format!("{} was not written", file.display()))?;
    Ok(Duration::from_nanos(nanos.trim().parse()?))
}

pub(crate) fn wall() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?)
}

fn update(server: &mut Server, client: SocketAddr, daemon: &Daemon, folder: &Path, turn: usize) -> Result<Parts> {
    let push = Request::new(Code::PUT).with_path("5/0/0").with_payload(42, fs::read(image(turn))?);
    ensure!(server.ask(client, push)?.code == Code::CHANGED, "push refused");
    await_state(server, client, "2").with_context(|| daemon.log())?;
    let lines = daemon.log().lines().count();
    let executed = wall()?;
    ensure!(server.ask(client, Request::new(Code::POST).with_path("5/0/2"))?.code == Code::CHANGED, "execute refused");
    await_state(server, client, "0").with_context(|| daemon.log())?;
    let known_in_full = wall()?;
    let result = server.ask(client, Request::new(Code::GET).with_path("5/0/5").with_accept(0))?;
    ensure!(result.payload == b"1", "result {}: {}", String::from_utf8_lossy(&result.payload), daemon.log());
    let (begun, ended) = (noted(&folder.join("notes/begun"))?, noted(&folder.join("notes/ended"))?);
    let outcome = logged(&daemon.log(), lines, "tool verified the image")?;
    Ok(Parts {
        to_start: begun.saturating_sub(executed),
        tool: ended.saturating_sub(begun),
        to_outcome: outcome.saturating_sub(ended),
        proof: known_in_full.saturating_sub(outcome),
    })
}

pub(crate) fn await_state(server: &mut Server, client: SocketAddr, wanted: &str) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < PROOF_LIMIT {
        let state = server.ask(client, Request::new(Code::GET).with_path("5/0/3").with_accept(0))?;
        if state.payload == wanted.as_bytes() {
            return Ok(());
        }
        server.serve(LOOK, |_| false)?;
    }
    anyhow::bail!("state {wanted} did not come")
}

/// When a line was logged, by the daemon's own clock: `2026-11-21T02:34:56.176084Z` at its beginning.
pub(crate) fn logged(log: &str, from: usize, what: &str) -> Result<Duration> {
    let line = log.lines().skip(from).find(|line| line.contains(what)).with_context(|| format!("no line `{what}`"))?;
    let time = line.split_whitespace().next().context("a time")?;
    let output = Command::new("date").args(["+%s%N", "-d", time]).output()?;
    Ok(Duration::from_nanos(String::from_utf8(output.stdout)?.trim().parse()?))
}
