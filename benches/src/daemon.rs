//! The daemon under measurement: the release build, as a process of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long the daemon may take to stop.
const STOP: Duration = Duration::from_secs(20);

/// A running `nuncio run`, in a folder of its own.
pub struct Daemon {
    child: Child,
    folder: PathBuf,
}

impl Daemon {
    /// Starts the daemon on a configuration; `{state}` in it stands for its folder.
    pub fn start(program: &Path, folder: &Path, config: &str) -> Result<Self> {
        Self::start_with(program, folder, config, Path::new("/usr/bin"))
    }

    /// The same, with a folder that is searched for tools first.
    pub fn start_with(program: &Path, folder: &Path, config: &str, tools: &Path) -> Result<Self> {
        let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap_or_default());
        let state = folder.join("state");
        fs::write(folder.join("nuncio.toml"), config.replace("{state}", &state.display().to_string()))?;
        let log = File::create(folder.join("log"))?;
        let child = Command::new(program)
            .arg("--config")
            .arg(folder.join("nuncio.toml"))
            .arg("run")
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}: run `make bench`", program.display()))?;
        Ok(Self { child, folder: folder.to_owned() })
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and nothing of it is left.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
    }

    /// CPU time used so far, user and system.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of(self.child.id())
    }
}

/// Keeps a process with all its threads, present and future, on the first core.
pub fn pin_to_one_core(pid: u32) -> Result<()> {
    let output = Command::new("taskset").args(["-acp", "0", &pid.to_string()]).output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// CPU time of a process, user and system, from the scheduler's own account of each thread.
pub fn cpu_of(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split_whitespace().next().context("schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let _ = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        let end = Instant::now() + STOP;
        while Instant::now() < end {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The release build beside this package.
pub fn program() -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/nuncio");
    if !path.exists() {
        bail!("{} is not there: run `make bench`", path.display());
    }
    Ok(path.canonicalize()?)
}
