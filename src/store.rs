//! What must outlive a crash: which identities were given names, what every update wrote down before it acted, and what
//! was done to the boards.
//!
//! SQLite behind one writer thread. Whatever waits in its queue goes into one transaction (on an SD card the number of
//! syncs is what counts), and an [`Ack`] comes only when that is on the disk. Images are files and not kept here; nobody
//! outside this folder sees SQL. Driven by `gateway`.

mod banned;
mod brakes;
mod history;
mod lock;
mod moving;
mod packed;
mod schema;
mod settings;
mod tokens;
mod worked;
mod writer;

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::device::{
    BoardId, Brake, History, HistoryQuery, Identity, IdentityRecord, JournalEntry, OpenRecord, Recorded, Retention,
    Sha256Digest, TokenRecord, UpdateEvidence, UpdateId,
};

pub use moving::{Reader, Reserved, adopt};
pub use settings::HistorySettings;

use lock::Lock;
use writer::Order;

/// So many orders may wait for the writer; further ones are refused.
const MAX_WAITING: usize = 8192;

/// So many ports are remembered with what worked on them, the newest.
pub const MAX_WORKED: usize = 1024;

/// The database in a state folder.
pub const DATABASE: &str = "nuncio.db";

/// Lies in a state folder while a restore moves things in and out of it: what it leaves when it is cut off is no gateway.
pub const CUT_OFF: &str = "restore.unfinished";

/// The newest layout of the database that this program knows.
pub fn schema() -> u32 {
    schema::newest()
}

/// The handle; clones share one writer. The folder is free for another daemon when the last clone is gone and the writer
/// is done, or after [`close`](Self::close).
#[derive(Debug, Clone)]
pub struct Store {
    orders: SyncSender<Order>,
    damaged: Option<Arc<Path>>,
}

impl Store {
    /// Opens the store in a state folder, which is created (mode 0750) if need be. Blocks for the disk.
    ///
    /// A database that is damaged is kept aside as `nuncio.db.damaged-TIME`, and a fresh one begun; that is logged as an
    /// error and told by [`damaged`](Self::damaged).
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another daemon holds the folder, [`StoreError::HalfRestored`] after a restore that was cut off;
    /// else what the folder or the database said.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        make_folder(dir)?;
        let lock = Lock::take(dir)?;
        if dir.join(CUT_OFF).symlink_metadata().is_ok() {
            return Err(StoreError::HalfRestored(dir.to_owned()));
        }
        let (connection, damaged) = schema::open(&dir.join(DATABASE))?;
        let (orders, queue) = sync_channel(MAX_WAITING);
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer::run(connection, &queue, lock))
            .map_err(|error| StoreError::folder(dir, error))?;
        Ok(Self { orders, damaged: damaged.map(Arc::from) })
    }

    /// Who holds a state folder at this moment, without touching it: `None` when nobody does.
    pub fn holder(dir: &Path) -> Option<Holder> {
        lock::holder(dir)
    }

    /// Where a damaged database was put when this store was opened.
    pub fn damaged(&self) -> Option<&Path> {
        self.damaged.as_deref()
    }

    /// Writes an entry down, in place of the last one of the same update. A closed one leaves the journal and is kept as
    /// its device's last, with credentials in its URIs masked. Entries are written in the order of the calls.
    pub fn journal(&self, entry: JournalEntry) -> Ack<()> {
        self.journal_with(entry, None)
    }

    /// The same, and with it what changed in the history: both are on the disk, or neither.
    pub fn journal_with(&self, entry: JournalEntry, recorded: Option<Recorded>) -> Ack<()> {
        self.order(|done| Order::Journal(Box::new(entry), recorded.map(Box::new), done))
    }

    /// Writes down what changed in the history.
    pub fn record(&self, recorded: Recorded) -> Ack<()> {
        self.order(|done| Order::Record(Box::new(recorded), done))
    }

    /// Remembers the names of an identity, or changes them. [`Identity::Configured`] is the user's word: it takes names
    /// that another identity had. Any other identity fails with [`StoreError::Taken`] then.
    pub fn remember_identity(&self, record: IdentityRecord) -> Ack<()> {
        self.order(|done| Order::Identity(record, done))
    }

    /// Remembers values of a board's variables, other than usual, that worked on a physical port; `None` forgets them.
    pub fn remember_worked(&self, port: String, board: BoardId, vars: Option<BTreeMap<String, String>>) -> Ack<()> {
        self.order(|done| Order::Worked { port, board, vars, done })
    }

    /// What worked on which port; the newest, at most [`MAX_WORKED`].
    pub fn worked(&self) -> Ack<Vec<WorkedRecord>> {
        self.order(Order::AllWorked)
    }

    /// Writes a brake down, or takes it off the record.
    pub fn remember_brake(&self, board: BoardId, image: Option<Sha256Digest>, brake: Option<Brake>) -> Ack<()> {
        self.order(|done| Order::Brake { board, image, brake, done })
    }

    /// Takes a device's names off the store; `ban`: it may not come again.
    pub fn forget(&self, identity: Identity, ban: bool) -> Ack<()> {
        self.order(|done| Order::Ban { identity, ban, forget: true, done })
    }

    /// A device may come again.
    pub fn unban(&self, identity: Identity) -> Ack<()> {
        self.order(|done| Order::Ban { identity, ban: false, forget: false, done })
    }

    /// The devices that may not come again.
    pub fn banned(&self) -> Ack<Vec<Identity>> {
        self.order(Order::Banned)
    }

    /// Remembers a token, in place of one of the same name.
    pub fn remember_token(&self, record: TokenRecord) -> Ack<()> {
        self.order(|done| Order::Token(record, done))
    }

    /// Forgets a token.
    pub fn revoke_token(&self, name: String) -> Ack<()> {
        self.order(|done| Order::Revoke(name, done))
    }

    /// All tokens, by name; those of a role that this version does not know are left out.
    pub fn tokens(&self) -> Ack<Vec<TokenRecord>> {
        self.order(Order::Tokens)
    }

    /// All brakes on record.
    pub fn brakes(&self) -> Ack<Vec<Brake>> {
        self.order(Order::Brakes)
    }

    /// The updates that are not closed, oldest first. One that this version cannot read is logged and left where it is.
    pub fn open_journal(&self) -> Ack<Vec<JournalEntry>> {
        self.order(Order::OpenJournal)
    }

    /// All identities, oldest first.
    pub fn identities(&self) -> Ack<Vec<IdentityRecord>> {
        self.order(Order::Identities)
    }

    /// What is recorded of the updates that are not over, oldest first.
    pub fn open_records(&self) -> Ack<Vec<OpenRecord>> {
        self.order(Order::OpenRecords)
    }

    /// The updates that a query asks for, newest first.
    pub fn history(&self, query: HistoryQuery) -> Ack<History> {
        self.order(|done| Order::History(query, done))
    }

    /// The updates whose id begins or ends like this, at most three, and all that is kept of it when it is one.
    pub fn find(&self, id: String) -> Ack<Found> {
        self.order(|done| Order::Find(id, done))
    }

    /// Forgets some of the updates that are too old or too much, the oldest first; whether to go on.
    pub fn tidy(&self, retention: Retention) -> Ack<bool> {
        self.order(|done| Order::Tidy(retention, done))
    }

    /// The newest closed update of each device.
    pub fn latest_closed(&self) -> Ack<Vec<JournalEntry>> {
        self.order(Order::LatestClosed)
    }

    /// Writes what waits, closes the database and lets go of the folder. Later calls fail with [`StoreError::Closed`].
    pub fn close(&self) -> Ack<()> {
        self.order(Order::Close)
    }

    fn order<T>(&self, make: impl FnOnce(Done<T>) -> Order) -> Ack<T> {
        let (done, ack) = oneshot::channel();
        match self.orders.try_send(make(done)) {
            Ok(()) => Ack::Waiting(ack),
            Err(TrySendError::Full(_)) => Ack::Refused(StoreError::Busy),
            Err(TrySendError::Disconnected(_)) => Ack::Refused(StoreError::Closed),
        }
    }
}

/// Ids that fit a part of one, and what is kept of the update when there is just one.
pub type Found = (Vec<UpdateId>, Option<UpdateEvidence>);

type Done<T> = oneshot::Sender<Result<T, StoreError>>;

/// Comes true when what was ordered is on the disk. It is carried out whether or not this is awaited.
#[derive(Debug)]
#[must_use = "nothing is durable before this says so"]
pub enum Ack<T> {
    /// The writer will tell.
    Waiting(oneshot::Receiver<Result<T, StoreError>>),
    /// It was not even queued.
    Refused(StoreError),
}

impl<T> Ack<T> {
    /// Waits on this thread; not to be called from an async task.
    ///
    /// # Errors
    /// What the writer said.
    pub fn wait(self) -> Result<T, StoreError> {
        match self {
            Self::Waiting(ack) => ack.blocking_recv().unwrap_or(Err(StoreError::Closed)),
            Self::Refused(error) => Err(error),
        }
    }
}

impl<T> Future for Ack<T> {
    type Output = Result<T, StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Waiting(ack) => Pin::new(ack).poll(context).map(|told| told.unwrap_or(Err(StoreError::Closed))),
            Self::Refused(error) => Poll::Ready(Err(error.clone())),
        }
    }
}

/// Values of a board's variables that worked on a physical port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkedRecord {
    /// The port: a USB path or the name of a link.
    pub port: String,
    /// The board.
    pub board: BoardId,
    /// Those that are other than usual.
    pub vars: BTreeMap<String, String>,
}

/// Who has a state folder locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The daemon's process id, as it wrote it down.
    pub pid: Option<u32>,
}

/// What can go wrong with the store.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another daemon works on the same folder.
    #[error("state folder {} is in use by another nuncio{}", .dir.display(), .pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    InUse {
        /// The folder.
        dir: PathBuf,
        /// The other daemon's process id, where it could be read.
        pid: Option<u32>,
    },
    /// A restore was cut off while it moved things.
    #[error("a restore into {} was cut off halfway: repeat it (nuncio restore --force FILE)", .0.display())]
    HalfRestored(PathBuf),
    /// The folder or a file in it cannot be used.
    #[error("cannot use {}", .path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Arc<std::io::Error>,
    },
    /// A newer nuncio wrote the database.
    #[error("{} was written by a newer nuncio (its layout is {found}, this program knows {known})", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// A database that came from elsewhere is none of a gateway's.
    #[error("{} is no database of a gateway: {why}", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The database refused.
    #[error("database: cannot {doing}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// Another identity has this name or endpoint.
    #[error("`{name}` or endpoint `{endpoint}` belongs to another device")]
    Taken {
        /// The name that was asked for.
        name: String,
        /// The endpoint that was asked for.
        endpoint: String,
    },
    /// Too much waits to be written.
    #[error("the disk does not keep up: too much waits to be written")]
    Busy,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    fn folder(path: &Path, source: std::io::Error) -> Self {
        Self::Folder { path: path.to_owned(), source: Arc::new(source) }
    }

    fn database(doing: &'static str, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Database { doing, source: Arc::new(source) }
    }
}

fn make_folder(dir: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir);
    made.map_err(|error| StoreError::folder(dir, error))
}

#[cfg(test)]
mod tests;
