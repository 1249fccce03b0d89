//! Ten thousand updates in the history: how long `nuncio history` takes, and how large the store is.
//!
//! What is kept of each is what was kept of one real update by the real tool, under another id.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nuncio::device::{DeviceId, Recorded, Sha256Digest, UpdateEvidence, UpdateId};
use nuncio::store::Store;
use world::{World, avr_image};

use crate::daemon::{self, Daemon};
use crate::figures::{gateway, median};

const UPDATES: u64 = 10_000;
const DEVICES: u64 = 20;
const ROUNDS: usize = 9;
/// Between two updates, in milliseconds: a year of them.
const APART: u64 = 365 * 24 * 3_600_000 / UPDATES;
const READY: Duration = Duration::from_secs(30);

/// The figure.
pub fn measure() -> Result<Vec<String>> {
    let evidence = one_real_update()?;
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let begin = Instant::now();
    fill(&state, &evidence)?;
    let filled = begin.elapsed();
    let size = size_of(&state)?;
    let config = gateway(&[])?;
    let _daemon = Daemon::start(&daemon::program()?, folder.path(), &config)?;
    await_answer(folder.path())?;
    let asked = |arguments: &[&str]| -> Result<Duration> {
        let times = (0..ROUNDS).map(|_| ask(folder.path(), arguments)).collect::<Result<_>>()?;
        Ok(median(times))
    };
    Ok(vec![
        format!(
            "`nuncio history` {:?}, of one device {:?} (at most 100 ms); all {UPDATES} {:?}",
            asked(&["history"])?,
            asked(&["history", "uno-7"])?,
            asked(&["history", "--limit", "0"])?
        ),
        format!(
            "store {:.1} MB for {UPDATES} updates of {} attempts (at most 100 MB); written in {filled:?}",
            size as f64 / 1e6,
            evidence.attempts.len()
        ),
    ])
}

fn one_real_update() -> Result<UpdateEvidence> {
    let world = World::new(daemon::program()?);
    let board = world.uno("uno-1.2.0.hex");
    let folder = world.dir().join("gateway");
    fs::create_dir(&folder)?;
    let device = format!("[[device]]\nname = \"uno-0\"\nboard = \"arduino-uno\"\nlink = \"{}\"\n", board.link());
    let _daemon = Daemon::start(&daemon::program()?, &folder, &(gateway(&[])? + &device))?;
    await_answer(&folder)?;
    let image = avr_image("uno-1.3.0.hex");
    let begin = Instant::now();
    while !run(&folder, &["flash", "uno-0", &image.display().to_string()])?.status.success() {
        ensure!(begin.elapsed() < READY, "the board cannot be flashed");
        std::thread::sleep(Duration::from_millis(200));
    }
    let listed: serde_json::Value = serde_json::from_slice(&run(&folder, &["history", "--json"])?.stdout)?;
    let id = listed["updates"][0]["update"].as_str().context("an update")?.to_owned();
    Ok(serde_json::from_slice(&run(&folder, &["show", &id, "--json"])?.stdout)?)
}

fn fill(state: &Path, evidence: &UpdateEvidence) -> Result<()> {
    let store = Store::open(state)?;
    let first = u64::try_from(evidence.record.began)? * 1000 - UPDATES * APART;
    let mut last = None;
    for number in 0..UPDATES {
        let (mut record, at) = (evidence.record.clone(), first + number * APART);
        let millis = u128::from(at) << 80;
        record.update = UpdateId(uuid::Uuid::from_u128(millis | 0x7000_8000_0000_0000_0000 | u128::from(number)));
        record.device = DeviceId::new(format!("uno-{}", number % DEVICES));
        record.began = i64::try_from(at / 1000)?;
        record.ended = Some(record.began + 3);
        if let Some(image) = &mut record.image {
            image.sha256 = Sha256Digest([u8::try_from(number % 251)?; 32]);
        }
        for attempt in &evidence.attempts {
            last = Some(store.record(Recorded { record: record.clone(), attempt: Some(attempt.clone()) }));
        }
        // The writer's queue is bounded: what it has not taken is waited for now and then.
        if number % 100 == 0 {
            last.take().context("an attempt")?.wait()?;
        }
    }
    last.context("an attempt")?.wait()?;
    store.close().wait()?;
    Ok(())
}

fn size_of(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder)? {
        let metadata = entry?.metadata()?;
        size += if metadata.is_file() { metadata.len() } else { 0 };
    }
    Ok(size)
}

fn run(folder: &Path, arguments: &[&str]) -> Result<std::process::Output> {
    let mut command = Command::new(daemon::program()?);
    Ok(command.arg("--config").arg(folder.join("nuncio.toml")).args(arguments).output()?)
}

fn ask(folder: &Path, arguments: &[&str]) -> Result<Duration> {
    let begin = Instant::now();
    let output = run(folder, arguments)?;
    let took = begin.elapsed();
    ensure!(output.status.success() && output.stdout.len() > 1000, "{}", String::from_utf8_lossy(&output.stderr));
    Ok(took)
}

fn await_answer(folder: &Path) -> Result<()> {
    let begin = Instant::now();
    while !run(folder, &["devices"])?.status.success() {
        ensure!(begin.elapsed() < READY, "the daemon does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
