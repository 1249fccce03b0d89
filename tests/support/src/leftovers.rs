//! What an update must not leave behind: processes, folders of jobs, staged files that nobody owns.

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::processes_naming;

/// Endings of staged files: still growing, and complete.
const STAGED: [&str; 2] = ["part", "img"];

/// What was found of a daemon's updates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leftovers {
    /// Command lines of processes that name the port, or carry a job's marker and belong to this state folder.
    pub processes: Vec<String>,
    /// Folders of jobs.
    pub jobs: Vec<PathBuf>,
    /// Staged files.
    pub staged: Vec<PathBuf>,
}

impl Leftovers {
    /// Looks at a daemon by its state folder, and at the port of its board.
    pub fn of(state: &Path, port: &Path) -> Self {
        let mut processes = processes_naming(port);
        processes.extend(of_jobs(state));
        Self { processes, jobs: below(&state.join("jobs"), |_| true), staged: below(&state.join("staging"), is_staged) }
    }

    /// What there is too much, one line each; `staged` files have an owner.
    pub fn complaints(&self, staged: usize) -> Vec<String> {
        let processes = self.processes.iter().map(|process| format!("a process is left: {process}"));
        let jobs = self.jobs.iter().map(|job| format!("the folder of a job is left: {}", job.display()));
        let files = (self.staged.len() != staged)
            .then(|| format!("{} staged files where {staged} have an owner: {:?}", self.staged.len(), self.staged));
        processes.chain(jobs).chain(files).collect()
    }
}

/// Processes with a job's marker whose working folder was below this state folder.
fn of_jobs(state: &Path) -> Vec<String> {
    let state = state.to_str().expect("a path of ours");
    let all = fs::read_dir("/proc").expect("/proc is there").flatten();
    let ours = all.filter(|entry| {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        environment.contains("NUNCIO_JOB=") && environment.contains(state)
    });
    let line = |path: PathBuf| fs::read_to_string(path.join("cmdline")).unwrap_or_default().replace('\0', " ");
    ours.map(|entry| line(entry.path())).collect()
}

fn below(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| wanted(path)).collect()
}

fn is_staged(path: &Path) -> bool {
    path.extension().is_some_and(|ending| STAGED.iter().any(|staged| ending == *staged))
}
