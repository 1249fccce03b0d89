//! Serial ports: found by polling, asked over a lease.
//!
//! A port is one tty node, however many names it has. Looking never opens one: names come from globs and symlinks, USB
//! descriptors from sysfs, access from permissions and `/proc`. Opening happens only for a question or a restart, over
//! a lease, exclusively (TIOCEXCL and flock), on a blocking thread, and for a bounded time. Driven by `gateway`.
//!
//! On opening, Linux raises DTR and RTS whatever one asks, and on closing it lowers them (HUPCL), which is left as it
//! is: flash tools find the lines as they expect them.

mod access;
mod holders;
mod patterns;
mod port;
mod questions;
mod scan;
mod sysfs;

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error};

pub use self::patterns::PatternError;
use self::patterns::Patterns;
use self::scan::Scanner;
use super::{Event, SerialSettings};
use crate::device::{Access, Answer, Lease, Question, QuestionFailed, RebootMethod};

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
    let shared = Arc::new(Shared { deny: Patterns::compile(&settings.deny)?, ..Shared::default() });
    let scanner = Scanner::new(links, watch, Arc::clone(&shared));
    tokio::spawn(poll(scanner, Arc::clone(&shared), settings.poll.max(MIN_POLL), events));
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

    /// Looks over the ports at once.
    pub fn rescan(&self) {
        self.shared.rescan.notify_one();
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
#[derive(Debug, Default)]
struct Shared {
    deny: Patterns,
    rescan: Notify,
    /// What opening a port was answered, where looking cannot tell; one entry for each port at most.
    refusals: Mutex<BTreeMap<PathBuf, (Access, Instant)>>,
}

impl Shared {
    /// Whether a port may never be opened, whichever of its names is used here or there.
    fn denied(&self, path: &Path) -> bool {
        if self.deny.matches(path) {
            return true;
        }
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.deny.matches(&canonical)
            || self.deny.expand().iter().any(|name| name.canonicalize().is_ok_and(|denied| denied == canonical))
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
            self.rescan.notify_one();
        }
    }

    /// Plain values, whole between any two statements: a poisoned lock is still good.
    fn refusals(&self) -> MutexGuard<'_, BTreeMap<PathBuf, (Access, Instant)>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The polling task. Looking is file system work, so each look runs on a blocking thread.
async fn poll(mut scanner: Scanner, shared: Arc<Shared>, period: Duration, events: mpsc::Sender<Event>) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.rescan.notified() => {}
            () = events.closed() => break,
        }
        let looking = tokio::task::spawn_blocking(move || {
            let news = scanner.look(Instant::now());
            (scanner, news)
        });
        let Ok((returned, news)) = looking.await else { break };
        scanner = returned;
        for event in news {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
    debug!("serial ports are not looked over any more");
}
