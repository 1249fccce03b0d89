//! What is written to the disk while nothing happens: an SD card wears out by it.
//!
//! Measured twice: the kernel's own count of what the process dirtied (`/proc/PID/io`, whole pages), and strace, which
//! names each write and sync below the state folder. What happens once an hour is measured apart, for a day at once.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nuncio::device::Retention;
use nuncio::store::Store;

use crate::daemon::{self, Daemon};
use crate::figures::{REGISTRATION, all_on, devices};
use crate::server::Server;

/// How long it is watched; `WRITES_MINUTES` for longer.
const MINUTES: u64 = 5;
/// What follows from the start, logs and settling included, is over by then.
const SETTLED: Duration = Duration::from_secs(20);
const DAY: f64 = 86_400.0;
const DEVICES: usize = 10;

/// Bytes written a day at rest, with ten devices, two servers, all transports and the page on.
pub fn measure() -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let (mut one, mut two) = (Server::start()?, Server::start()?);
    let config = all_on(&[&one, &two])? + &devices(DEVICES);
    let daemon = Daemon::start(&daemon::program()?, folder.path(), &config)?;
    let mut serve = |during: Duration, until: &dyn Fn(&Server, &Server) -> bool| -> Result<bool> {
        let begin = Instant::now();
        while begin.elapsed() < during {
            one.serve(Duration::from_millis(50), |_| false)?;
            two.serve(Duration::from_millis(50), |_| false)?;
            if until(&one, &two) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let all_there = |one: &Server, two: &Server| one.registered.len() >= DEVICES && two.registered.len() >= DEVICES;
    ensure!(serve(REGISTRATION, &all_there)?, "not registered: {}", daemon.log());
    serve(SETTLED, &|_, _| false)?;
    ensure!(dirtied(daemon.pid())? > 0, "nothing is counted: is {} no disk?", folder.path().display());

    let minutes = std::env::var("WRITES_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(MINUTES);
    let trace = folder.path().join("trace");
    let tracer = Tracer::attach(daemon.pid(), &trace)?;
    let (begin, before, logged) = (Instant::now(), dirtied(daemon.pid())?, daemon.log().len());
    serve(Duration::from_secs(minutes * 60), &|_, _| false)?;
    let a_day = DAY / begin.elapsed().as_secs_f64();
    let logged = daemon.log().len() - logged;
    // The log is a file here, and the journal's business elsewhere.
    let dirty = (dirtied(daemon.pid())? - before) as f64 * a_day;
    drop(tracer);
    let state = folder.path().join("state").display().to_string();
    let traced = fs::read_to_string(&trace)?;
    ensure!(!traced.is_empty(), "strace saw nothing, not even a thread that woke another");
    let calls = traced.lines().filter(|line| line.contains(&state)).count();
    Ok(vec![
        format!(
            "10 devices x 2 servers, {minutes} min at rest: {:.3} MB dirtied a day (at most 1), {calls} writes and syncs \
             in the state folder, {} bytes logged a day",
            dirty / 1e6,
            (logged as f64 * a_day) as u64
        ),
        format!("24 hourly looks over the history, a day's: {} bytes dirtied", hourly(folder.path())?),
    ])
}

/// What looking over the history dirties in a day, on a store of its own, as its daemon does it.
fn hourly(folder: &Path) -> Result<u64> {
    let store = Store::open(&folder.join("hourly"))?;
    let retention = || Retention { not_before: 0, max_size: u64::MAX };
    // The first makes the file what it will be.
    while store.tidy(retention()).wait()? {}
    let before = dirtied(std::process::id())?;
    for _ in 0..24 {
        while store.tidy(retention()).wait()? {}
    }
    Ok(dirtied(std::process::id())? - before)
}

/// Bytes that a process had written, or will have, as pages of the disk's cache.
fn dirtied(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("write_bytes")?.trim().parse()?)
}

/// strace, beside a process that runs already.
struct Tracer(Child);

impl Tracer {
    fn attach(pid: u32, to: &Path) -> Result<Self> {
        let calls =
            "trace=write,writev,pwrite64,pwritev,ftruncate,fsync,fdatasync,sync_file_range,rename,renameat2,unlink";
        let mut command = Command::new("strace");
        command.args(["-f", "-y", "-qq", "-e", calls, "-o"]).arg(to).args(["-p", &pid.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut tracer = Self(child.context("strace is not there: make peers")?);
        std::thread::sleep(Duration::from_secs(1));
        ensure!(tracer.0.try_wait()?.is_none(), "strace may not look at process {pid}");
        Ok(tracer)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It lets go of the process by itself when it is told to end.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}
