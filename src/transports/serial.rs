//! Serial ports: found by the kernel's events and by polling, asked over a lease.
//!
//! A port is one tty node, however many names it has. Looking never opens one: names come from globs and symlinks, USB
//! descriptors from sysfs, access from permissions and `/proc`. Opening happens only for a question or a restart, over
//! a lease, exclusively (TIOCEXCL and flock), on a blocking thread, and for a bounded time. Driven by `gateway`.
//!
//! On opening, Linux raises DTR and RTS whatever one asks, so that the first open counts as a reset. Closing would lower
//! them (HUPCL); that is switched off, so that no later open is an edge on them. Flash tools pulse the lines themselves.

mod access;
mod folders;
mod holders;
mod port;
mod questions;
mod scan;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use self::scan::Scanner;
pub use super::patterns::PatternError;
use super::patterns::Patterns;
use super::{Event, SerialSettings};
use crate::device::{
    Access, Answer, Lease, Link, PinPoint, PointOrder, PointOut, PointsSeen, Question, QuestionFailed, RebootMethod,
};

/// How long a port that refused to be opened is listed so, where looking alone cannot tell.
const REFUSAL_LASTS: Duration = Duration::from_secs(30);

/// The shortest time between two looks.
const MIN_POLL: Duration = Duration::from_millis(20);

/// Asks questions over serial links and restarts what hangs on them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

/// Starts looking over the ports; `links` are the paths of `[[device]]` entries. Ends when nobody takes its events.
///
/// # Errors
/// When `watch` or `deny` holds what is no pattern.
pub fn spawn(
    settings: &SerialSettings,
    links: Vec<PathBuf>,
    events: mpsc::Sender<Event>,
) -> Result<Handle, PatternError> {
    let watch = Patterns::compile(&settings.watch)?;
    let (rescan, wake) = sync_channel(1);
    let deny = Patterns::compile(&settings.deny)?;
    let shared = Arc::new(Shared { deny, rescan, refusals: Mutex::default() });
    let folders = links.iter().filter_map(|link| link.parent().map(Path::to_owned)).chain(watch.folders());
    folders::spawn(folders.collect(), Arc::downgrade(&shared));
    let scanner = Scanner::new(links, watch, Arc::clone(&shared));
    let period = settings.poll.max(MIN_POLL);
    thread::Builder::new()
        .name("serial-ports".to_owned())
        .spawn(move || poll(scanner, &wake, period, &events))
        .expect("the system has room for one more thread at the start");
    Ok(Handle { shared })
}

/// Checks the patterns of `[serial]` without starting anything.
///
/// # Errors
/// The key and what is wrong with it.
pub fn check(settings: &SerialSettings) -> Result<(), (&'static str, PatternError)> {
    Patterns::compile(&settings.watch).map_err(|error| ("watch", error))?;
    Patterns::compile(&settings.deny).map_err(|error| ("deny", error))?;
    Ok(())
}

impl Handle {
    /// Asks a question over the leased link. The lease comes back when the port is closed again.
    ///
    /// Dropping the future abandons the answer; the lease is given back when the port is closed.
    pub async fn ask(&self, lease: Lease, question: Question) -> (Lease, Result<Answer, QuestionFailed>) {
        self.open(lease, move |path| questions::ask(path, &question)).await
    }

    /// Restarts what hangs on the leased link.
    pub async fn restart(&self, lease: Lease, method: RebootMethod) -> (Lease, Result<(), QuestionFailed>) {
        self.open(lease, move |path| questions::restart(path, method)).await
    }

    /// Calls the boot loader behind the leased link by opening it at 1200 baud.
    pub async fn touch_1200(&self, lease: Lease) -> (Lease, Result<(), QuestionFailed>) {
        self.open(lease, questions::touch_1200).await
    }

    /// Makes it visible what hangs on the leased link: takes some seconds.
    pub async fn point_out(&self, lease: Lease, how: PointOut) -> (Lease, Result<(), QuestionFailed>) {
        self.open(lease, move |path| questions::point_out(path, how)).await
    }

    /// Watches the pins of a running Firmata until `stop`, or the port is gone: what they hold goes to `seen`, what is to be
    /// written comes from `orders`.
    pub async fn watch(
        &self,
        lease: Lease,
        (baud, pins): (u32, Vec<PinPoint>),
        seen: mpsc::Sender<(Link, PointsSeen)>,
        orders: mpsc::Receiver<PointOrder>,
        stop: CancellationToken,
    ) -> (Lease, Result<(), QuestionFailed>) {
        let link = lease.link().clone();
        let mut ends = questions::Ends { link, seen, orders, stop };
        self.open(lease, move |path| questions::watch(path, baud, &pins, &mut ends)).await
    }

    /// Looks over the ports at once.
    pub fn rescan(&self) {
        self.shared.look();
    }

    /// Runs what opens the port on a blocking thread, which owns the lease meanwhile.
    async fn open<T, F>(&self, lease: Lease, run: F) -> (Lease, Result<T, QuestionFailed>)
    where
        T: Send + 'static,
        F: FnOnce(&Path) -> Result<T, QuestionFailed> + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let blocking = tokio::task::spawn_blocking(move || {
            let outcome = match lease.link().serial_path() {
                None => Err(QuestionFailed::Unsupported),
                Some(path) if shared.denied(path) => {
                    Err(QuestionFailed::Failed("`[serial] deny` forbids opening this port".to_owned()))
                }
                Some(path) => contained(path, run),
            };
            shared.note(&lease, outcome.as_ref().err());
            (lease, outcome)
        });
        match blocking.await {
            Ok(done) => done,
            // Only when the runtime ends before the thread began: nobody waits for the answer any more.
            Err(_) => std::future::pending().await,
        }
    }
}

/// A fault of ours costs this question, not the gateway.
fn contained<T>(path: &Path, run: impl FnOnce(&Path) -> Result<T, QuestionFailed>) -> Result<T, QuestionFailed> {
    panic::catch_unwind(AssertUnwindSafe(|| run(path))).unwrap_or_else(|_| {
        error!(port = %path.display(), "a question over a serial port broke off by a fault of the gateway");
        Err(QuestionFailed::Failed("internal fault while asking".to_owned()))
    })
}

/// What the polling task and the questions share.
#[derive(Debug)]
struct Shared {
    deny: Patterns,
    /// Holds at most one wish to look at once.
    rescan: SyncSender<()>,
    /// What opening a port was answered, where looking cannot tell; one entry for each port at most.
    refusals: Mutex<BTreeMap<PathBuf, (Access, Instant)>>,
}

impl Shared {
    fn look(&self) {
        // Full: somebody has wished so already.
        let _ = self.rescan.try_send(());
    }

    /// Whether a port may never be opened, whichever of its names is used here or there.
    fn denied(&self, path: &Path) -> bool {
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let names = [path, canonical.as_path()];
        names.iter().any(|name| self.deny.matches(name)) || self.denied_nodes().contains(&canonical)
    }

    /// The canonical paths of what `deny` names now.
    fn denied_nodes(&self) -> BTreeSet<PathBuf> {
        self.deny.expand().iter().filter_map(|name| name.canonicalize().ok()).collect()
    }

    /// What opening the port was answered lately, if it was refused.
    fn refusal(&self, path: &Path, now: Instant) -> Option<Access> {
        let mut refusals = self.refusals();
        refusals.retain(|_, (_, at)| now.saturating_duration_since(*at) < REFUSAL_LASTS);
        refusals.get(path).map(|(access, _)| access.clone())
    }

    /// Remembers how opening a port went, so that the next look lists it so.
    fn note(&self, lease: &Lease, failed: Option<&QuestionFailed>) {
        let Some(path) = lease.link().serial_path() else { return };
        let access = match failed {
            Some(QuestionFailed::Busy(_)) => Some(access::busy(path, port::holder(path).as_deref())),
            Some(QuestionFailed::NotPermitted) => Some(access::not_permitted(path)),
            _ => None,
        };
        let changed = match access {
            Some(access) => {
                self.refusals().insert(path.to_owned(), (access, Instant::now()));
                true
            }
            None => self.refusals().remove(path).is_some(),
        };
        if changed || matches!(failed, Some(QuestionFailed::Gone)) {
            self.look();
        }
    }

    /// Plain values, whole between any two statements: a poisoned lock is still good.
    fn refusals(&self) -> MutexGuard<'_, BTreeMap<PathBuf, (Access, Instant)>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The polling thread. Looking is file system work, and one wake-up for each look is all that an idle gateway pays.
fn poll(mut scanner: Scanner, wake: &Receiver<()>, period: Duration, events: &mpsc::Sender<Event>) {
    while !events.is_closed() {
        for event in scanner.look(Instant::now()) {
            if events.blocking_send(event).is_err() {
                return;
            }
        }
        // The scanner keeps a sender, so this ends by time or by a wish only.
        let _ = wake.recv_timeout(period);
    }
    debug!("serial ports are not looked over any more");
}
