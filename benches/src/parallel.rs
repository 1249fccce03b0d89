//! Eight boards at once: the wall time of eight supervised flashes against eight bare tools that are started together.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use coap::{Code, Request};
use world::{SimBoard, World, avr_image};

use crate::daemon::{self, Daemon};
use crate::figures::{REGISTRATION, gateway, median};
use crate::server::Server;
use crate::supervision::{await_state, logged, wall};

const BOARDS: usize = 8;
const ROUNDS: usize = 5;
const OUTCOME: &str = "tool verified the image";
const TOGETHER: Duration = Duration::from_secs(120);

/// The figure.
pub fn measure() -> Result<Vec<String>> {
    let world = World::new(daemon::program()?);
    let boards: Vec<SimBoard> = (0..BOARDS).map(|_| world.uno("uno-1.2.0-large.hex")).collect();
    let folder = world.dir().join("gateway");
    fs::create_dir(&folder)?;
    let mut server = Server::start()?;
    let mut config = gateway(&[&server])? + &format!("[update]\nmax_parallel = {BOARDS}\n");
    for (at, board) in boards.iter().enumerate() {
        writeln!(config, "[[device]]\nname = \"uno-{at}\"\nboard = \"arduino-uno\"\nlink = \"{}\"", board.link())?;
    }
    let mut gateway = Daemon::start(&daemon::program()?, &folder, &config)?;
    ensure!(server.serve(REGISTRATION, |server| server.registered.len() == BOARDS)?, "{}", gateway.log());
    // The first update of a board reads it before; that one is not measured.
    ours(&mut server, &mut gateway, 0)?;
    let (mut bare, mut supervised) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        bare.push(theirs(&boards, round)?);
        supervised.push(ours(&mut server, &mut gateway, round)?);
    }
    let ratios = bare.iter().zip(&supervised).map(|(bare, ours)| ours.as_secs_f64() / bare.as_secs_f64());
    let ratios = ratios.map(|ratio| format!("{ratio:.3}")).collect::<Vec<_>>().join(", ");
    let (bare, supervised) = (median(bare), median(supervised));
    Ok(vec![
        format!(
            "{BOARDS} bare avrdudes started together {bare:?}, {BOARDS} Executes to the last outcome {supervised:?}"
        ),
        format!(
            "ratio of the medians {:.3} (at most 1.05); of each round: {ratios}",
            supervised.as_secs_f64() / bare.as_secs_f64()
        ),
    ])
}

fn image(round: usize) -> std::path::PathBuf {
    avr_image(if round % 2 == 0 { "uno-1.3.0-large.hex" } else { "uno-1.2.0-large.hex" })
}

fn theirs(boards: &[SimBoard], round: usize) -> Result<Duration> {
    let flash = format!("flash:w:{}:i", image(round).display());
    let start = |board: &SimBoard| {
        Command::new("avrdude")
            .args(["-p", "m328p", "-c", "arduino", "-b", "115200", "-D", "-x", "attempts=3", "-P"])
            .arg(board.port())
            .args(["-U", &flash])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
    };
    let begin = Instant::now();
    let running: Vec<Child> = boards.iter().map(start).collect::<std::io::Result<_>>()?;
    for mut tool in running {
        ensure!(tool.wait()?.success(), "a bare avrdude failed");
    }
    let took = begin.elapsed();
    // Until their programs run again, as they do when an update begins.
    std::thread::sleep(Duration::from_secs(3));
    Ok(took)
}

fn ours(server: &mut Server, gateway: &mut Daemon, round: usize) -> Result<Duration> {
    let clients: Vec<SocketAddr> = server.registered.iter().map(|(_, address)| *address).collect();
    let bytes = fs::read(image(round))?;
    for client in &clients {
        let push = Request::new(Code::PUT).with_path("5/0/0").with_payload(42, bytes.clone());
        ensure!(server.ask(*client, push)?.code == Code::CHANGED, "push refused");
        await_state(server, *client, "2").with_context(|| gateway.log())?;
    }
    let lines = gateway.log().lines().count();
    let begin = wall()?;
    for client in &clients {
        let execute = Request::new(Code::POST).with_path("5/0/2");
        ensure!(server.ask(*client, execute)?.code == Code::CHANGED, "execute refused");
    }
    // Nobody asks meanwhile: what the bench does would be in the figure.
    let patience = Instant::now();
    while gateway.log().lines().skip(lines).filter(|line| line.contains(OUTCOME)).count() < clients.len() {
        ensure!(patience.elapsed() < TOGETHER, "not all outcomes came: {}", gateway.log());
        server.serve(Duration::from_millis(100), |_| false)?;
    }
    let log = gateway.log();
    let last = log.lines().enumerate().skip(lines).filter(|(_, line)| line.contains(OUTCOME)).last();
    let took = logged(&log, last.context("an outcome")?.0, OUTCOME)?.saturating_sub(begin);
    for client in &clients {
        await_state(server, *client, "0").with_context(|| gateway.log())?;
    }
    Ok(took)
}
