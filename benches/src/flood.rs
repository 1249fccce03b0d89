//! What the daemon spends on a tool that floods: its CPU for one update whose tool prints 100 MB before it flashes.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use coap::{Code, Request};
use world::{World, avr_image};

use crate::daemon::{self, Daemon};
use crate::figures::{REGISTRATION, gateway};
use crate::server::Server;
use crate::supervision::await_state;

const BYTES: usize = 100_000_000;

/// What is printed over and over, and what it is an example of.
const FLOODS: [(&str, &str); 4] = [
    ("lines that mean nothing", "the quick brown fox jumps over the lazy dog\\n"),
    ("one line without an end", "the quick brown fox jumps over the lazy dog"),
    ("lines in colours", "\\033[31mthe quick brown fox\\033[0m jumps over the lazy dog\\n"),
    ("lines that a pattern of its file matches", "avrdude: AVR device initialized and ready to accept instructions\\n"),
];

/// The figure.
pub fn measure() -> Result<Vec<String>> {
    let world = World::new(daemon::program()?);
    let board = world.uno("uno-1.2.0.hex");
    let folder = world.dir().join("gateway");
    fs::create_dir(&folder)?;
    let mut server = Server::start()?;
    let config = gateway(&[&server])?
        + &format!("[[device]]\nname = \"uno\"\nboard = \"arduino-uno\"\nlink = \"{}\"\n", board.link());
    let flood = folder.join("flood");
    let tools = wrapper(&folder, &flood)?;
    let daemon = Daemon::start_with(&daemon::program()?, &folder, &config, &tools)?;
    ensure!(server.serve(REGISTRATION, |server| server.registered.len() == 1)?, "not registered: {}", daemon.log());
    let client = server.registered[0].1;
    // The first update of a board reads it before; that one is not measured.
    update(&mut server, client, &daemon, 0)?;
    let quiet = update(&mut server, client, &daemon, 1)?;
    let mut lines = vec![format!("an update whose tool is quiet: {quiet:?} of CPU")];
    for (turn, (what, text)) in FLOODS.iter().enumerate() {
        fs::write(&flood, text)?;
        let spent = update(&mut server, client, &daemon, turn)?.saturating_sub(quiet);
        lines.push(format!("{} MB of {what}: {spent:?} of CPU more (at most 1 s)", BYTES / 1_000_000));
    }
    Ok(lines)
}

/// The real tool, found first on PATH, that prints what a file says for as long as there is one, and then does its work.
fn wrapper(folder: &Path, flood: &Path) -> Result<PathBuf> {
    let bin = folder.join("bin");
    fs::create_dir(&bin)?;
    let real = String::from_utf8(Command::new("sh").args(["-c", "command -v avrdude"]).output()?.stdout)?;
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *flash:w:*) [ -e {flood} ] && \
         perl -e 'my $t = <STDIN>; $t =~ s/\\\\n/\\n/g; $t =~ s/\\\\033/\\033/g; $t x= int(65536 / length $t); \
         for (my $n = 0; $n < {BYTES}; $n += length $t) {{ print $t }} print \"\\n\"' < {flood} ;; esac\n\
         exec {real} \"$@\"\n",
        flood = flood.display(),
        real = real.trim()
    );
    fs::write(bin.join("avrdude"), text)?;
    fs::set_permissions(bin.join("avrdude"), fs::Permissions::from_mode(0o755))?;
    Ok(bin)
}

/// One whole update; gives the daemon's CPU for it.
fn update(server: &mut Server, client: SocketAddr, daemon: &Daemon, turn: usize) -> Result<Duration> {
    let image = avr_image(if turn % 2 == 0 { "uno-1.3.0.hex" } else { "uno-1.2.0.hex" });
    let push = Request::new(Code::PUT).with_path("5/0/0").with_payload(42, fs::read(image)?);
    ensure!(server.ask(client, push)?.code == Code::CHANGED, "push refused");
    await_state(server, client, "2").with_context(|| daemon.log())?;
    let before = cpu_with_ended_threads(daemon.pid())?;
    ensure!(server.ask(client, Request::new(Code::POST).with_path("5/0/2"))?.code == Code::CHANGED, "execute refused");
    await_state(server, client, "0").with_context(|| daemon.log())?;
    let result = server.ask(client, Request::new(Code::GET).with_path("5/0/5").with_accept(0))?;
    ensure!(result.payload == b"1", "result {}: {}", String::from_utf8_lossy(&result.payload), daemon.log());
    Ok(cpu_with_ended_threads(daemon.pid())?.saturating_sub(before))
}

/// User and system time of a process, threads that have ended included (proc_pid_stat(5), fields 14 and 15), in steps of
/// 10 ms. Children are not in it: the tool's own work is its own.
fn cpu_with_ended_threads(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind_the_name = stat.rsplit_once(") ").context("stat")?.1;
    let ticks = behind_the_name.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    // USER_HZ is 100 wherever Linux runs.
    Ok(Duration::from_millis(ticks * 10))
}
