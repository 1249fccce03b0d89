//! Where a download's bytes are written: a thread of its own, so that a slow disk holds up only this download.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::Destination;
use crate::update::staging::{PartFile, SYNC_EVERY, StoreError, Stored};
use crate::update::table::{Refusal, Refused};

/// Pieces that may wait for the disk; the connection waits beyond.
const QUEUE: usize = 16;

enum Command {
    Write(Vec<u8>),
    Restart,
}

/// The file of one download, written behind a bounded queue.
pub(super) struct Sink {
    commands: mpsc::Sender<Command>,
    thread: JoinHandle<Result<PartFile, StoreError>>,
    synced: Arc<AtomicU64>,
}

impl Sink {
    /// Opens the file. Also how many bytes are in it: none, unless it is resumed.
    pub(super) async fn open(destination: &Destination, cap: u64) -> Result<(Self, u64), Refused> {
        let destination = destination.clone();
        let resuming = destination.resume.is_some();
        let part = run(move || match destination.resume {
            Some(resume) if resume.part.exists() => PartFile::resume(resume.part, resume.synced, cap),
            _ => PartFile::create(destination.part, cap),
        });
        let part = part.await.map_err(|refused| if resuming { lost(refused) } else { refused })?;
        let size = part.size();
        let synced = Arc::new(AtomicU64::new(size));
        let (commands, queue) = mpsc::channel(QUEUE);
        let shown = Arc::clone(&synced);
        let thread = spawn_blocking(move || write_all(part, queue, &shown));
        Ok((Self { commands, thread, synced }, size))
    }

    /// So many bytes are on the disk.
    pub(super) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Relaxed)
    }

    /// Appends. An error is told by [`finish`](Self::finish), which must come next.
    pub(super) async fn write(&self, bytes: Vec<u8>) -> Result<(), ()> {
        self.commands.send(Command::Write(bytes)).await.map_err(|_| ())
    }

    /// Begins again at the first byte.
    pub(super) async fn restart(&self) -> Result<(), ()> {
        self.commands.send(Command::Restart).await.map_err(|_| ())
    }

    /// All bytes were given: waits for the disk, and names the file.
    pub(super) async fn finish(self, destination: &Destination) -> Result<Stored, Refused> {
        drop(self.commands);
        let part = joined(self.thread).await?;
        let image = destination.image.clone();
        run(move || part.finish(image)).await
    }
}

/// What an earlier gateway began is not there as its journal says: that download is lost.
fn lost(refused: Refused) -> Refused {
    Refused::new(Refusal::ConnectionLost, refused.reason)
}

fn write_all(
    mut part: PartFile,
    mut queue: mpsc::Receiver<Command>,
    synced: &AtomicU64,
) -> Result<PartFile, StoreError> {
    while let Some(command) = queue.blocking_recv() {
        match command {
            Command::Write(bytes) => part.write(&bytes)?,
            Command::Restart => part.restart()?,
        }
        if part.size() - part.synced() >= SYNC_EVERY {
            part.sync()?;
        }
        synced.store(part.synced(), Ordering::Relaxed);
    }
    Ok(part)
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, Refused> {
    joined(spawn_blocking(work)).await
}

async fn joined<T>(thread: JoinHandle<Result<T, StoreError>>) -> Result<T, Refused> {
    match thread.await {
        Ok(result) => result.map_err(Refused::from),
        Err(_) => Err(Refused::new(Refusal::ConnectionLost, "the gateway is stopping")),
    }
}
