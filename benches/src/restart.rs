//! The daemon is killed in the middle of a flash and started again: how long until a server reads the board's truth, beyond
//! the flash that this takes.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use coap::{Code, Request};
use world::{World, avr_image};

use crate::daemon::{self, Daemon};
use crate::figures::{REGISTRATION, gateway, median};
use crate::server::Server;
use crate::supervision::await_state;

const ROUNDS: usize = 9;

/// The figure.
pub fn measure() -> Result<Vec<String>> {
    let world = World::new(daemon::program()?);
    let board = world.uno("uno-1.2.0-large.hex");
    let folder = world.dir().join("gateway");
    fs::create_dir(&folder)?;
    let mut servers = [Server::start()?, Server::start()?];
    let device = format!("[[device]]\nname = \"uno\"\nboard = \"arduino-uno\"\nlink = \"{}\"\n", board.link());
    let config = gateway(&[&servers[0], &servers[1]])? + &device;
    let start = |servers: &mut [Server; 2]| -> Result<Daemon> {
        servers.iter_mut().for_each(|server| server.registered.clear());
        let daemon = Daemon::start(&daemon::program()?, &folder, &config)?;
        for server in servers {
            ensure!(server.serve(REGISTRATION, |server| server.registered.len() == 1)?, "{}", daemon.log());
        }
        Ok(daemon)
    };
    let mut daemon = start(&mut servers)?;
    let (mut undisturbed, mut beyond) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        stage(&mut servers[0], round)?;
        let begin = execute(&mut servers[0])?;
        truth(&mut servers).with_context(|| daemon.log())?;
        // The first one reads the board before.
        if round > 0 {
            undisturbed.push(begin.elapsed());
        }
    }
    let flash = median(undisturbed);
    for round in 0..ROUNDS {
        stage(&mut servers[0], round + 1)?;
        execute(&mut servers[0])?;
        // From the first sign of the tool to the proof.
        std::thread::sleep(flash * u32::try_from(round + 1)? / u32::try_from(ROUNDS + 1)?);
        daemon.kill()?;
        let begin = Instant::now();
        daemon = start(&mut servers)?;
        truth(&mut servers).with_context(|| daemon.log())?;
        beyond.push(begin.elapsed().saturating_sub(flash));
    }
    let longest = beyond.iter().max().copied().unwrap_or_default();
    Ok(vec![format!(
        "undisturbed {flash:?}; killed at {ROUNDS} moments of it, start -> truth at both servers beyond that: \
         median {:?}, longest {longest:?} (at most 5 s)",
        median(beyond)
    )])
}

fn stage(server: &mut Server, round: usize) -> Result<()> {
    let client = server.registered[0].1;
    let image = avr_image(if round % 2 == 0 { "uno-1.3.0-large.hex" } else { "uno-1.2.0-large.hex" });
    let push = Request::new(Code::PUT).with_path("5/0/0").with_payload(42, fs::read(image)?);
    ensure!(server.ask(client, push)?.code == Code::CHANGED, "push refused");
    await_state(server, client, "2")
}

fn execute(server: &mut Server) -> Result<Instant> {
    let (client, begin) = (server.registered[0].1, Instant::now());
    ensure!(server.ask(client, Request::new(Code::POST).with_path("5/0/2"))?.code == Code::CHANGED, "execute refused");
    Ok(begin)
}

/// Both servers read that the update is proven.
fn truth(servers: &mut [Server; 2]) -> Result<()> {
    for server in servers {
        let client = server.registered[0].1;
        await_state(server, client, "0")?;
        let result = server.ask(client, Request::new(Code::GET).with_path("5/0/5").with_accept(0))?;
        ensure!(result.payload == b"1", "result {}", String::from_utf8_lossy(&result.payload));
    }
    Ok(())
}
