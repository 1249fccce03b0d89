//! `nuncio run`: the process around the gateway. Signals and the service manager become orders to its event loop.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use anyhow::Context;
use nuncio::config::Config;
use nuncio::control::{Lifecycle, LifecycleOrder};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::{code, limits, logging};

/// Threads of the runtime; the work is waiting.
const WORKERS: usize = 2;
/// So many orders may wait for the event loop.
const MAX_ORDERS: usize = 16;

/// Runs the daemon until it is told to stop.
pub(super) fn run<F, G>(config: Config, log: Option<String>, gateway: G) -> anyhow::Result<u8>
where
    G: FnOnce(Config, Lifecycle) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let log = logging::start(log, &config.gateway.log)?;
    let file = config.file().map_or_else(|| "built-in defaults".to_owned(), |file| file.display().to_string());
    tracing::info!(version = env!("CARGO_PKG_VERSION"), gateway = %config.gateway.name, config = %file, "starting");
    limits::raise_open_files(config.servers.len());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let ended = runtime.block_on(async {
        let (orders, taken) = mpsc::channel(MAX_ORDERS);
        let (ready, is_ready) = oneshot::channel();
        let process = Process::new(orders)?;
        let gateway = gateway(config, Lifecycle { orders: taken, ready, log });
        steer(process, sd_notify::watchdog_enabled(), is_ready, gateway).await
    });
    // A task that hangs in a system call must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended?;
    tracing::info!("stopped");
    Ok(code::OK)
}

/// The process as the gateway's surroundings see it.
struct Process {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    orders: mpsc::Sender<LifecycleOrder>,
    asked_to_stop: u32,
}

impl Process {
    fn new(orders: mpsc::Sender<LifecycleOrder>) -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            orders,
            asked_to_stop: 0,
        })
    }

    /// Once: when it is convenient. Twice: now. Three times: never mind the gateway.
    fn stop(&mut self) {
        self.asked_to_stop += 1;
        notify(&[NotifyState::Stopping]);
        match self.asked_to_stop {
            1 => {
                tracing::info!("stopping: devices leave their servers, a running flash is finished first");
                self.order(LifecycleOrder::Stop);
            }
            2 => {
                tracing::warn!("told twice: stopping at once");
                self.order(LifecycleOrder::StopNow);
            }
            _ => {
                tracing::error!("told three times: gone");
                std::process::exit(i32::from(code::FAILED));
            }
        }
    }

    fn reload(&self) {
        let (done, outcome) = oneshot::channel();
        let since = NotifyState::monotonic_usec_now();
        match since {
            Ok(since) => notify(&[NotifyState::Reloading, since]),
            Err(error) => tracing::debug!(%error, "no monotonic clock"),
        }
        self.order(LifecycleOrder::Reload { done });
        tokio::spawn(async move {
            match outcome.await {
                Ok(Ok(())) => tracing::info!("reloaded"),
                Ok(Err(reason)) => tracing::error!(%reason, "not reloaded: what was before stays in force"),
                Err(_) => tracing::warn!("not reloaded: stopping"),
            }
            notify(&[NotifyState::Ready]);
        });
    }

    /// Feeds the service manager's watchdog when the event loop answers, and only then.
    fn beat(&self) {
        let (done, outcome) = oneshot::channel();
        if self.orders.try_send(LifecycleOrder::Beat { done }).is_ok() {
            tokio::spawn(async move {
                if outcome.await.is_ok() {
                    notify(&[NotifyState::Watchdog]);
                }
            });
        }
    }

    fn order(&self, order: LifecycleOrder) {
        if let Err(error) = self.orders.try_send(order) {
            tracing::warn!(%error, "the event loop does not take orders");
        }
    }
}

async fn steer(
    mut process: Process,
    watchdog: Option<Duration>,
    ready: oneshot::Receiver<()>,
    gateway: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let mut gateway = pin!(gateway);
    let mut ready = pin!(ready);
    let mut starting = true;
    let watchdog = watchdog.filter(|limit| !limit.is_zero());
    // Where nobody watches, the timer is made all the same but its branch is off.
    let mut pulse = tokio::time::interval(watchdog.map_or(Duration::from_secs(60), |limit| limit / 3));
    loop {
        tokio::select! {
            ended = &mut gateway => return ended,
            told = &mut ready, if starting => {
                starting = false;
                if told.is_ok() {
                    tracing::info!("ready");
                    notify(&[NotifyState::Ready]);
                }
            }
            Some(()) = process.terminate.recv() => process.stop(),
            Some(()) = process.interrupt.recv() => process.stop(),
            Some(()) = process.hangup.recv() => process.reload(),
            _ = pulse.tick(), if watchdog.is_some() => process.beat(),
        }
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use nuncio::control::LogControl;
    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// Generous: only a hang runs into it.
    const LONG: Duration = Duration::from_secs(60);

    fn raise(signal: Signal) {
        kill_process(getpid(), signal).expect("to oneself");
    }

    fn parts() -> (Process, oneshot::Receiver<()>, Lifecycle) {
        let (orders, taken) = mpsc::channel(MAX_ORDERS);
        let (ready, is_ready) = oneshot::channel();
        let process = Process::new(orders).expect("signals can be heard");
        (process, is_ready, Lifecycle { orders: taken, ready, log: LogControl::fixed() })
    }

    /// One after the other: a signal goes to all that listen in this process.
    #[tokio::test]
    async fn the_event_loop_hears_of_signals_and_is_asked_for_its_pulse() {
        a_watched_event_loop_is_asked_for_its_pulse().await;
        signals_become_orders_and_a_second_one_to_stop_means_at_once().await;
    }

    async fn signals_become_orders_and_a_second_one_to_stop_means_at_once() {
        let (process, is_ready, mut life) = parts();
        let gateway = async move {
            life.ready.send(()).expect("heard");
            raise(Signal::HUP);
            let Some(LifecycleOrder::Reload { done }) = life.orders.recv().await else { panic!("expected a reload") };
            done.send(Err("a typo".into())).expect("heard");
            raise(Signal::TERM);
            assert!(matches!(life.orders.recv().await, Some(LifecycleOrder::Stop)));
            raise(Signal::INT);
            assert!(matches!(life.orders.recv().await, Some(LifecycleOrder::StopNow)));
            anyhow::bail!("how it ended")
        };
        let ended = tokio::time::timeout(LONG, steer(process, None, is_ready, gateway)).await.expect("in time");
        assert_eq!(ended.expect_err("passed on").to_string(), "how it ended");
    }

    async fn a_watched_event_loop_is_asked_for_its_pulse() {
        let (process, is_ready, mut life) = parts();
        let gateway = async move {
            for _ in 0..3 {
                let Some(LifecycleOrder::Beat { done }) = life.orders.recv().await else { panic!("expected a beat") };
                done.send(()).expect("heard");
            }
            Ok(())
        };
        let limit = Some(Duration::from_millis(30));
        tokio::time::timeout(LONG, steer(process, limit, is_ready, gateway)).await.expect("in time").expect("ended");
    }
}
