//! How the process steers the gateway inside it: signals and the service manager on one side, the event loop on the other.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

/// What `nuncio run` hands to the gateway.
#[derive(Debug)]
pub struct Lifecycle {
    /// Orders from signals and the service manager. Closed: as [`LifecycleOrder::StopNow`].
    pub orders: mpsc::Receiver<LifecycleOrder>,
    /// To be told once when everything is up.
    pub ready: oneshot::Sender<()>,
    /// The log's level.
    pub log: LogControl,
}

/// What the gateway ended for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was told to.
    Stop,
    /// To begin anew in the same process.
    Restart,
}

/// An order to the gateway's event loop.
#[derive(Debug)]
pub enum LifecycleOrder {
    /// Take nothing new, finish a running flash, De-register everywhere, end.
    Stop,
    /// End at once: stop tools, De-register as far as it costs no time.
    StopNow,
    /// Read configuration, boards, tools and log level again. Told is what went wrong; the old ones hold then.
    Reload {
        /// When it is through.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// The service manager wants to know whether the event loop still turns.
    Beat {
        /// At once.
        done: oneshot::Sender<()>,
    },
}

type SetFilter = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// Changes the log filter of the running process. Where `--log` or `RUST_LOG` was given, that stays.
#[derive(Clone)]
pub struct LogControl(Arc<SetFilter>);

impl LogControl {
    /// Wraps what changes the filter.
    pub fn new(set: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(set))
    }

    /// A log that nobody can change.
    pub fn fixed() -> Self {
        Self::new(|_| Ok(()))
    }

    /// Sets the filter of `[gateway] log`.
    ///
    /// # Errors
    /// When it is no filter.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        (self.0)(filter)
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogControl")
    }
}
