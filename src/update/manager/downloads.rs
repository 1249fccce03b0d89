//! Which downloads are under way, and which devices wait for each: one URI, one download.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinHandle};

use crate::device::{DeviceId, UpdateId};
use crate::update::download::{Destination, Downloaded, Downloader, Progress, Resume};
use crate::update::machine::Ticket;
use crate::update::staging::Staging;
use crate::update::table::{Refusal, Refused};
use crate::update::uri::ImageUri;

/// Downloads from one host that run at once; more wait. A host that is slow keeps no other waiting.
const PARALLEL_PER_HOST: usize = 8;
/// Downloads that run at once, whatever the host.
const PARALLEL: usize = 256;
/// A download tells how far it is at most so often.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// One device that waits for a download.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) device: DeviceId,
    pub(super) update: UpdateId,
    pub(super) ticket: Ticket,
}

/// A report of a download under way; a lost one is made up for by the next.
pub(super) type Report = (Arc<ImageUri>, Progress);

/// What a download came to.
pub(super) struct Finished {
    pub(super) uri: Arc<ImageUri>,
    /// Tells it apart from a later download of the same URI.
    part: PathBuf,
    pub(super) result: Result<Downloaded, Refused>,
}

struct Active {
    waiting: Vec<Waiting>,
    part: PathBuf,
    abort: AbortHandle,
}

/// All downloads.
pub(super) struct Downloads {
    pub(super) downloader: Downloader,
    staging: Staging,
    active: HashMap<Arc<ImageUri>, Active>,
    running: Arc<Semaphore>,
    /// Of each host that a download under way is from.
    hosts: HashMap<String, Arc<Semaphore>>,
    reports: mpsc::Sender<Report>,
}

impl Downloads {
    pub(super) fn new(downloader: Downloader, staging: Staging, reports: mpsc::Sender<Report>) -> Self {
        let running = Arc::new(Semaphore::new(PARALLEL));
        Self { downloader, staging, active: HashMap::new(), running, hosts: HashMap::new(), reports }
    }

    /// Has a device wait for a URI. What the download comes to, when it is the first; nothing when all have left.
    pub(super) fn join(
        &mut self,
        uri: ImageUri,
        resume: Option<Resume>,
        waiting: Waiting,
    ) -> Option<impl Future<Output = Option<Finished>> + Send + use<>> {
        if let Some(active) = self.active.get_mut(&uri) {
            active.waiting.push(waiting);
            return None;
        }
        let uri = Arc::new(uri);
        let destination = self.destination(resume, &waiting);
        let part = destination.part.clone();
        let task = tokio::spawn(run(
            self.downloader.clone(),
            Arc::clone(&uri),
            destination,
            self.reports.clone(),
            [self.of_host(&uri), Arc::clone(&self.running)],
        ));
        let abort = task.abort_handle();
        self.active.insert(Arc::clone(&uri), Active { waiting: vec![waiting], part: part.clone(), abort });
        Some(finished(task, uri, part))
    }

    /// What the downloads from a URI's host share.
    fn of_host(&mut self, uri: &ImageUri) -> Arc<Semaphore> {
        self.hosts.retain(|_, running| Arc::strong_count(running) > 1);
        let host = uri.request.host_str().unwrap_or_default().to_owned();
        Arc::clone(self.hosts.entry(host).or_insert_with(|| Arc::new(Semaphore::new(PARALLEL_PER_HOST))))
    }

    /// A shared file has a name of its own, so that its first device may leave.
    fn destination(&self, resume: Option<Resume>, waiting: &Waiting) -> Destination {
        let name = format!("download-{}", waiting.update);
        let part = resume.as_ref().map_or_else(|| self.staging.part_path(&name), |resume| resume.part.clone());
        Destination { part, image: self.staging.image_path(&name), resume }
    }

    /// A device waits no more. The partial file, when it was the last: to be removed.
    pub(super) fn leave(&mut self, uri: &ImageUri, update: UpdateId) -> Option<PathBuf> {
        let active = self.active.get_mut(uri)?;
        active.waiting.retain(|waiting| waiting.update != update);
        if !active.waiting.is_empty() {
            return None;
        }
        active.abort.abort();
        self.active.remove(uri).map(|active| active.part)
    }

    /// Who waits for it, and where it grows.
    pub(super) fn waiting(&self, uri: &ImageUri) -> Option<(&[Waiting], &PathBuf)> {
        self.active.get(uri).map(|active| (active.waiting.as_slice(), &active.part))
    }

    /// It is over: who waited for it, and its partial file, which stays behind when it failed.
    pub(super) fn finish(&mut self, finished: &Finished) -> (Vec<Waiting>, PathBuf) {
        match self.active.remove(&finished.uri) {
            Some(active) if active.part == finished.part => (active.waiting, active.part),
            Some(later) => {
                self.active.insert(Arc::clone(&finished.uri), later);
                (Vec::new(), finished.part.clone())
            }
            None => (Vec::new(), finished.part.clone()),
        }
    }
}

/// What a download came to; nothing when it was called off.
async fn finished(task: JoinHandle<Finished>, uri: Arc<ImageUri>, part: PathBuf) -> Option<Finished> {
    match task.await {
        Ok(finished) => Some(finished),
        Err(error) if error.is_panic() => {
            let result = Err(Refused::new(Refusal::ConnectionLost, "the download broke down; write the URI again"));
            Some(Finished { uri, part, result })
        }
        Err(_) => None,
    }
}

async fn run(
    downloader: Downloader,
    uri: Arc<ImageUri>,
    destination: Destination,
    reports: mpsc::Sender<Report>,
    [of_host, of_all]: [Arc<Semaphore>; 2],
) -> Finished {
    let part = destination.part.clone();
    // The host's first: who waits for a slow host takes no place from others.
    let (Ok(_host), Ok(_all)) = (of_host.acquire().await, of_all.acquire().await) else {
        let result = Err(Refused::new(Refusal::ConnectionLost, "the gateway is stopping"));
        return Finished { uri, part, result };
    };
    let last: Mutex<Option<(Instant, bool)>> = Mutex::new(None);
    let report = |progress: &Progress| {
        let now = Instant::now();
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let resumable = progress.etag.is_some();
        if last.is_none_or(|(at, before)| before != resumable || now.duration_since(at) >= REPORT_EVERY) {
            *last = Some((now, resumable));
            // A full queue means that the manager is busy: the next report will do.
            let _ = reports.try_send((Arc::clone(&uri), progress.clone()));
        }
    };
    let result = downloader.fetch(&uri, &destination, &report).await;
    Finished { uri: Arc::clone(&uri), part, result }
}
