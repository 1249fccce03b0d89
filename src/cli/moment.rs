//! A gateway of this process, for a moment: to look around without a daemon, or to play a tape to.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, bail};
use nuncio::config::Config;
use nuncio::control::{Client, Ending, Lifecycle, LifecycleOrder};
use tokio::sync::{mpsc, oneshot};

use super::logging;

/// Runs a gateway whose state is thrown away, asks it, and ends it.
pub(super) fn with_gateway<F, G, T>(
    mut config: Config,
    log: String,
    gateway: G,
    ask: impl AsyncFnOnce(Client) -> anyhow::Result<T>,
) -> anyhow::Result<T>
where
    G: FnOnce(Config, Lifecycle) -> F,
    F: Future<Output = anyhow::Result<Ending>>,
{
    let folder = Folder::new()?;
    config.gateway.state = folder.0.join("state");
    config.gateway.socket = folder.0.join("control.sock");
    let log = logging::start(Some(log), &config.gateway.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let client = Client::new(config.gateway.socket.clone());
    let outcome = runtime.block_on(async {
        let (orders, taken) = mpsc::channel(4);
        let (ready, is_ready) = oneshot::channel();
        let mut running = pin!(gateway(config, Lifecycle { orders: taken, ready, log }));
        let mut asking = pin!(async {
            is_ready.await.context("the gateway did not start")?;
            let told = ask(client).await;
            let _ = orders.send(LifecycleOrder::Stop).await;
            told
        });
        tokio::select! {
            ended = &mut running => {
                ended?;
                bail!("the gateway ended by itself")
            }
            told = &mut asking => {
                running.await?;
                told
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

/// A folder for one moment; it goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("nuncio-moment-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Whatever is left of it is in the system's own folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
