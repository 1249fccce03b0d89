//! Flash tools: described by TOML files, run as supervised subprocesses.
//!
//! ```text
//! flash-tools/*.toml --shape, checked--> tool --command--> argv --process--> subprocess --scanner--> events
//!                                                                                 \--outcome--> one JobOutcome
//! ```
//! It knows no update and no LwM2M: `update` decides when a job runs and what its outcome means, `gateway` carries the
//! words between them. It opens no port to look, except right before a tool does, under the job's lease.

mod backup;
mod cgroup;
mod checked;
mod command;
mod environment;
mod gate;
mod job;
mod line;
mod outcome;
mod patterns;
mod plan;
mod port;
mod proc;
mod process;
mod program;
mod scanner;
mod scratch;
mod settings;
mod shape;
mod streams;
mod supervisor;
mod sweep;
mod template;
mod tool;
mod tools;
mod transcript;
mod version;
mod walls;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::mpsc;

use crate::device::{FlashJob, JobEvent, Lease};

pub use job::JobHandle;
pub use plan::PlannedRun;
pub use program::ProgramError;
pub use settings::{ExecutorSettings, ToolChoice};
pub use sweep::{Leftover, sweep};
pub use tool::Tool;
pub use tools::{ToolCheck, Tools};

/// What of the sandbox for tools this machine lacks, one line each.
pub fn sandbox_lacks() -> Vec<String> {
    let mut lacks = walls::lacks();
    if let Err(lack) = cgroup::delegated() {
        lacks.push(format!(
            "{lack}: of a tool's children, one that leaves its group and its environment would not be ended"
        ));
    }
    lacks
}

/// Runs tools.
#[derive(Debug)]
pub struct Executor {
    tools: RwLock<Arc<Tools>>,
    scratch: PathBuf,
}

impl Executor {
    /// An executor whose jobs have their private folders in `scratch`. Removes what an earlier gateway's jobs left
    /// there, so [`sweep`] comes first.
    pub fn new(tools: Arc<Tools>, scratch: PathBuf) -> Self {
        scratch::remove_leftovers(&scratch);
        Self { tools: RwLock::new(tools), scratch }
    }

    /// The tools that the next job is run by.
    pub fn tools(&self) -> Arc<Tools> {
        Arc::clone(&self.tools.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Exchanges the tools (SIGHUP); jobs that run keep theirs.
    pub fn set_tools(&self, tools: Arc<Tools>) {
        *self.tools.write().unwrap_or_else(PoisonError::into_inner) = tools;
    }

    /// How a job would be run. Blocking: a program may be asked for its version.
    ///
    /// # Errors
    /// Why it could not be run, with the remedy.
    pub fn plan(&self, job: &FlashJob) -> Result<PlannedRun, String> {
        plan::plan(&self.tools(), &self.scratch, job)
    }

    /// Makes a tool ready to flash and tells so by [`JobEvent::Ready`]: the process exists and waits for
    /// [`JobHandle::release`]. The last event is always [`JobEvent::Ended`]; then nothing of the run is left, and the
    /// lease comes back. `Progress` and `Line` are dropped when nobody takes them in time.
    ///
    /// Must be called within a tokio runtime. At most one thread and one task per job.
    pub fn start(&self, job: FlashJob, lease: Lease, events: mpsc::Sender<JobEvent>) -> JobHandle {
        job::start(self.tools(), self.scratch.clone(), job, lease, events)
    }
}
