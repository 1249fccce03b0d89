//! Devices on a network come, go, and come all at once: how long until both servers know. Real avahi-daemons in network
//! namespaces, two Leshan servers; needs root.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use world::{Daemon, Lan, Leshan, World};

use crate::daemon;
use crate::figures::median;

const ROUNDS: u16 = 15;
const CROWD: u16 = 200;
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(2);
/// How long an idle daemon is watched.
const IDLE: Duration = Duration::from_secs(60);
/// `USER_HZ`.
const TICKS: f64 = 100.0;

/// The figures.
pub fn measure() -> Result<Vec<String>> {
    let world = World::new(daemon::program()?);
    let lan = Lan::new(&world);
    let gateway = lan.gateway();
    let (one, other) = Leshan::pair();
    let builder = world.daemon().server("factory", &gateway.uri(one), 123, "lifetime = \"5m\"");
    let builder = builder.server("cloud", &gateway.uri(other), 234, "lifetime = \"5m\"");
    let mut daemon = builder.lan(&gateway, "").start();
    let servers = [one, other];
    let mut machine = lan.machine("bench");
    let (mut whole, mut after, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mac = mac(&world, round);
        let begin = Instant::now();
        let (service, _) = machine.announce(&format!("b{round}"), "_esphomelib._tcp", 6053, &[("mac", &mac)]);
        until(|| servers.iter().all(|server| server.client(&format!("mac-{mac}")).is_some()))?;
        whole.push(begin.elapsed());
        after.push(resolved_to_registered(&daemon, &mac).context("the log tells of it")?);
        let begin = Instant::now();
        machine.withdraw(service);
        until(|| servers.iter().all(|server| server.client(&format!("mac-{mac}")).is_none()))?;
        gone.push(begin.elapsed());
    }
    let idle = idle(&mut daemon)?;
    let before = cpu(&mut daemon)?;
    let begin = Instant::now();
    for number in 0..CROWD {
        let mac = mac(&world, 1000 + number);
        machine.announce_at_once(&format!("c{number}"), "_esphomelib._tcp", 6053, &[("mac", &mac)]);
    }
    let crowd = |server: &&Leshan| server.clients().len() >= usize::from(CROWD);
    until(|| servers.iter().all(crowd))?;
    let (took, used) = (begin.elapsed(), cpu(&mut daemon)? - before);
    let longest = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
    Ok(vec![
        format!(
            "resolved -> registered at both: median {:?}, longest {:?} (300 ms)",
            median(after.clone()),
            longest(&after)
        ),
        format!(
            "announced by avahi -> both servers know: median {:?}, longest {:?} (1.5 s; avahi's own probing is 1 s of it)",
            median(whole.clone()),
            longest(&whole)
        ),
        format!(
            "goodbye -> both servers know: median {:?}, longest {:?} (1.5 s)",
            median(gone.clone()),
            longest(&gone)
        ),
        format!(
            "{CROWD} at once: all registered at both after {took:?} (10 s), {:.2} of a core meanwhile (1)",
            used / took.as_secs_f64()
        ),
        format!("idle with {ROUNDS} devices that came and went: {:.3} % of a core (0.3 %)", idle * 100.0),
    ])
}

fn mac(world: &World, number: u16) -> String {
    format!("02{:06x}{number:04x}", world.seed() & 0x00ff_ffff)
}

fn until(done: impl Fn() -> bool) -> Result<()> {
    let begin = Instant::now();
    while !done() {
        ensure!(begin.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        thread::sleep(LOOK);
    }
    Ok(())
}

/// By the daemon's own clock: from the line that tells of the service to the last registration of its device.
fn resolved_to_registered(daemon: &Daemon, mac: &str) -> Option<Duration> {
    let log = daemon.log();
    let device = format!("device=mac-{mac} ");
    let found = log.lines().find(|line| line.contains("device found") && line.contains(&device))?;
    let appeared = link_of(found)?;
    let appeared = log.lines().rfind(|line| line.contains("service appeared") && line.ends_with(appeared))?;
    let registered = |line: &&str| line.contains(&format!("name=mac-{mac}")) && line.contains(": registered server=");
    let last = log.lines().filter(registered).last()?;
    seconds(last).zip(seconds(appeared)).map(|(last, first)| Duration::from_secs_f64((last - first).max(0.0)))
}

fn link_of(line: &str) -> Option<&str> {
    line.split(' ').find(|word| word.starts_with("link="))
}

/// Seconds of the minute in `2026-11-27T06:06:04.300888Z ...`, with those of the hour before them.
fn seconds(line: &str) -> Option<f64> {
    let time = line.split('T').nth(1)?.split('Z').next()?;
    let mut parts = time.split(':').map(|part| part.parse::<f64>().ok());
    Some(parts.next()?? * 3600.0 + parts.next()?? * 60.0 + parts.next()??)
}

fn idle(daemon: &mut Daemon) -> Result<f64> {
    let before = cpu(daemon)?;
    thread::sleep(IDLE);
    Ok((cpu(daemon)? - before) / IDLE.as_secs_f64())
}

/// Seconds of CPU that the daemon has used.
fn cpu(daemon: &mut Daemon) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.process().id()))?;
    let (_, rest) = stat.rsplit_once(") ").context("a process has a name")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / TICKS)
}
