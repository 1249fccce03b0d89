//! Rooms that go along with the gateway and are not waited for: they follow its news, ask like an operator, and tell what
//! keeps them from their work.

use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{ControlRequest, Failure, FailureCode, Feed};

/// What a companion gets of the gateway.
#[derive(Debug, Clone)]
pub struct Wires {
    /// `[gateway] name`.
    pub gateway: String,
    /// Where it asks.
    pub requests: mpsc::Sender<ControlRequest>,
    /// What happens.
    pub feed: Feed,
    /// Where it tells what keeps it from its work.
    pub troubles: mpsc::Sender<Trouble>,
}

impl Wires {
    /// Asks the gateway something, and waits for its answer.
    ///
    /// # Errors
    /// What the gateway says; [`FailureCode::Stopping`] when it ends.
    pub async fn ask<T>(&self, request: impl FnOnce(super::Answer<T>) -> ControlRequest) -> Result<T, Failure> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let stopping = || Failure::new(FailureCode::Stopping, "the daemon is stopping");
        self.requests.send(request(reply)).await.map_err(|_| stopping())?;
        answer.await.unwrap_or_else(|_| Err(stopping()))
    }
}

/// What keeps a part of the gateway from its work: shown by `nuncio status` for as long as it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Which part: its section of the configuration, and its name where there are several.
    pub of: String,
    /// What, with the remedy; `None` when it works again.
    pub what: Option<String>,
}

/// A companion that runs.
#[derive(Debug)]
pub struct Companion {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Companion {
    /// Lets one run until its token is cancelled. To be called in a runtime.
    pub fn spawn<F>(run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(run(stop.clone())), stop }
    }

    /// Has it come to its end. What is not done within the limit is left undone.
    pub async fn stop(mut self, limit: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(limit, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}
