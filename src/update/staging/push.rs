//! The receiving end of a push: bytes go into the file as they come, and to the disk behind the writer's back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{PartFile, SYNC_EVERY, StoreError};
use crate::device::{ImageWriter, WriteError};
use crate::update::table::Refused;

/// What a push's writer and the manager share.
#[derive(Debug)]
pub struct PushLine {
    began: Instant,
    active_ms: AtomicU64,
    bytes: AtomicU64,
    ended: AtomicBool,
}

impl PushLine {
    /// A push that begins now.
    pub fn new(now: Instant) -> Arc<Self> {
        let zero = AtomicU64::new(0);
        Arc::new(Self { began: now, active_ms: zero, bytes: AtomicU64::new(0), ended: AtomicBool::new(false) })
    }

    /// When bytes came last.
    pub fn last_active(&self) -> Instant {
        self.began + Duration::from_millis(self.active_ms.load(Ordering::Relaxed))
    }

    /// How many have come.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends it: the writer refuses every further byte.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    fn wrote(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        let since = Instant::now().saturating_duration_since(self.began).as_millis();
        self.active_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// How a push ended, as its writer saw it. A writer that is dropped says nothing: the push broke off.
#[derive(Debug)]
pub enum PushEnd {
    /// All bytes are in the file.
    Complete(PartFile),
    /// The file could take no more.
    Refused(Refused),
}

/// Writes a push into its file.
pub struct PushWriter {
    part: Option<PartFile>,
    line: Arc<PushLine>,
    end: Option<oneshot::Sender<PushEnd>>,
    syncing: Arc<AtomicBool>,
    handed_to_sync: u64,
    runtime: Handle,
}

impl PushWriter {
    /// Must be called within the runtime, whose blocking threads sync the file.
    pub fn new(part: PartFile, line: Arc<PushLine>, end: oneshot::Sender<PushEnd>) -> Self {
        let syncing = Arc::new(AtomicBool::new(false));
        Self { part: Some(part), line, end: Some(end), syncing, handed_to_sync: 0, runtime: Handle::current() }
    }

    /// At most one sync is under way; what it misses, the next one takes. Its failure shows at the end, where the whole
    /// file is synced again.
    fn sync_behind(&mut self, size: u64, file: &Arc<std::fs::File>) {
        if size - self.handed_to_sync < SYNC_EVERY || self.syncing.swap(true, Ordering::AcqRel) {
            return;
        }
        self.handed_to_sync = size;
        let (file, syncing) = (Arc::clone(file), Arc::clone(&self.syncing));
        self.runtime.spawn_blocking(move || {
            if let Err(error) = file.sync_data() {
                tracing::debug!(%error, "a push could not be synced yet");
            }
            syncing.store(false, Ordering::Release);
        });
    }

    fn give_up(&mut self, error: StoreError) -> WriteError {
        self.part = None;
        let told = match &error {
            StoreError::TooLarge { .. } | StoreError::NoSpace { .. } => WriteError::TooLarge(error.to_string()),
            StoreError::Io { .. } => WriteError::Failed(error.to_string()),
        };
        self.tell(PushEnd::Refused(error.into()));
        told
    }

    fn tell(&mut self, end: PushEnd) {
        if let Some(sender) = self.end.take() {
            // The manager that has dropped its end has given the push up already.
            let _ = sender.send(end);
        }
    }
}

impl ImageWriter for PushWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let Some(part) = self.part.as_mut().filter(|_| !self.line.ended.load(Ordering::Relaxed)) else {
            return Err(WriteError::Ended);
        };
        if let Err(error) = part.write(bytes) {
            return Err(self.give_up(error));
        }
        let (size, file) = (part.size(), Arc::clone(&part.file));
        self.line.wrote(size);
        self.sync_behind(size, &file);
        Ok(())
    }

    fn finish(mut self: Box<Self>) {
        if let Some(part) = self.part.take() {
            self.tell(PushEnd::Complete(part));
        }
    }
}

/// Stands in for a push whose file could not even be made.
pub struct RefusingWriter(pub WriteError);

impl ImageWriter for RefusingWriter {
    fn write(&mut self, _bytes: &[u8]) -> Result<(), WriteError> {
        Err(self.0.clone())
    }

    fn finish(self: Box<Self>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(cap: u64) -> (tempfile::TempDir, Box<PushWriter>, Arc<PushLine>, oneshot::Receiver<PushEnd>) {
        let folder = tempfile::tempdir().expect("a folder");
        let part = PartFile::create(folder.path().join("a.part"), cap).expect("a file");
        let (sender, receiver) = oneshot::channel();
        let line = PushLine::new(Instant::now());
        (folder, Box::new(PushWriter::new(part, Arc::clone(&line), sender)), line, receiver)
    }

    #[tokio::test]
    async fn a_push_ends_complete_refused_or_broken_off() {
        let (_folder, mut whole, line, end) = writer(1 << 20);
        for _ in 0..600 {
            whole.write(&[7; 1024]).expect("room");
        }
        assert_eq!(line.bytes(), 600 * 1024);
        whole.finish();
        assert!(matches!(end.await, Ok(PushEnd::Complete(part)) if part.size() == 600 * 1024));

        let (_folder, mut large, _, end) = writer(4);
        assert!(matches!(large.write(b"12345"), Err(WriteError::TooLarge(_))));
        assert_eq!(large.write(b"1"), Err(WriteError::Ended));
        assert!(matches!(end.await, Ok(PushEnd::Refused(_))));

        let (_folder, dropped, _, end) = writer(4);
        drop(dropped);
        assert!(end.await.is_err());
    }

    #[tokio::test]
    async fn a_push_that_was_ended_takes_nothing_more() {
        let (_folder, mut writer, line, _end) = writer(100);
        writer.write(b"1").expect("room");
        line.end();
        assert_eq!(writer.write(b"2"), Err(WriteError::Ended));
    }
}
