//! `nuncio run`: the process around the gateway. Signals and the service manager become orders to its event loop.

use std::future::Future;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt as _;
use nuncio::config::Config;
use nuncio::control::{Ending, Lifecycle, LifecycleOrder};
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
    F: Future<Output = anyhow::Result<Ending>>,
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
        let (mut process, ended) = steer(process, sd_notify::watchdog_enabled(), is_ready, gateway).await;
        match ended? {
            Ending::Restart if !process.is_to_stop() => Err(process.restart()),
            Ending::Restart | Ending::Stop => Ok(()),
        }
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

    /// Whether a signal came that ends the process, also one that nobody has looked at yet.
    fn is_to_stop(&mut self) -> bool {
        let signals = [&mut self.terminate, &mut self.interrupt];
        let told = signals.into_iter().any(|signal| signal.recv().now_or_never().flatten().is_some());
        told || self.asked_to_stop > 0
    }

    /// Begins anew as the same process, so that whoever started it need not know: the program as it is on the disk now, with the same
    /// arguments. Everything open closes by itself. Comes back only with the reason why not.
    fn restart(&self) -> anyhow::Error {
        tracing::info!("stopped; starting again");
        if let Ok(since) = NotifyState::monotonic_usec_now() {
            notify(&[NotifyState::Reloading, since]);
        }
        let program = match program() {
            Ok(program) => program,
            Err(error) => return anyhow::Error::new(error).context("cannot start again"),
        };
        let mut arguments = std::env::args_os();
        let name = arguments.next();
        let mut command = Command::new(&program);
        command.args(arguments);
        if let Some(name) = name {
            command.arg0(name);
        }
        anyhow::Error::new(command.exec()).context(format!("cannot start {} again", program.display()))
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
    gateway: impl Future<Output = anyhow::Result<Ending>>,
) -> (Process, anyhow::Result<Ending>) {
    let mut gateway = pin!(gateway);
    let mut ready = pin!(ready);
    let mut starting = true;
    let watchdog = watchdog.filter(|limit| !limit.is_zero());
    // Where nobody watches, the timer is made all the same but its branch is off.
    let mut pulse = tokio::time::interval(watchdog.map_or(Duration::from_secs(60), |limit| limit / 3));
    loop {
        tokio::select! {
            ended = &mut gateway => return (process, ended),
            told = &mut ready, if starting => {
                starting = false;
                if told.is_ok() {
                    tracing::info!("ready");
                    give_back();
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

/// This program's file. One that was replaced while it ran, by an upgrade, is the new one.
fn program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let replaced = path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(PathBuf::from);
    Ok(replaced.unwrap_or(path))
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

/// What starting took and needs no more goes back to the system: descriptions read, patterns compiled, the API's document made.
/// The C library keeps it otherwise, a sixth of what the gateway holds at rest (docs/BENCHMARKS.md).
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "malloc_trim(3) is a function of C; it takes no pointer, and any thread may call it")]
fn give_back() {
    // SAFETY: it changes nothing that is allocated.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}

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
        let (mut process, ended) = ended;
        assert_eq!(ended.expect_err("passed on").to_string(), "how it ended");
        assert!(process.is_to_stop());
    }

    async fn a_watched_event_loop_is_asked_for_its_pulse() {
        let (process, is_ready, mut life) = parts();
        let gateway = async move {
            for _ in 0..3 {
                let Some(LifecycleOrder::Beat { done }) = life.orders.recv().await else { panic!("expected a beat") };
                done.send(()).expect("heard");
            }
            Ok(Ending::Restart)
        };
        let limit = Some(Duration::from_millis(30));
        let ended = tokio::time::timeout(LONG, steer(process, limit, is_ready, gateway)).await.expect("in time");
        let (mut process, ended) = ended;
        assert_eq!(ended.expect("ended"), Ending::Restart);
        assert!(!process.is_to_stop());
        raise(Signal::TERM);
        let told = async {
            while !process.is_to_stop() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, told).await.expect("a signal that came behind the end counts");
    }
}
