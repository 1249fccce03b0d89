//! What goes into the machine and what comes out of it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::device::{
    Answer, FirmwareOrder, FirmwareRight, FirmwareView, FlashJob, GoodImage, Goods, JobEvent, JournalEntry, Link,
    Question, QuestionFailed, ReportedVersion, Requester, Sha256Digest, StagedImage, UpdateEvent, UpdateId,
};
use crate::update::download::{Progress, Resume};
use crate::update::table::Refused;
use crate::update::uri::ImageUri;

/// What time it is: for intervals, and for people (seconds since 1970).
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic.
    pub instant: Instant,
    /// Of the wall clock, which may jump.
    pub unix: i64,
}

/// Ties an answer to the output that asked for it; an answer to an older one is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub(super) u32);

/// An order with who gives it and what that one may do.
#[derive(Debug, Clone)]
pub struct Order {
    /// Id for the update that begins if the order begins one: fresh for every order.
    pub update: UpdateId,
    /// Who.
    pub requester: Requester,
    /// What it may do.
    pub right: FirmwareRight,
    /// What it wants.
    pub order: FirmwareOrder,
}

/// The answer to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Accepted.
    Done,
    /// Accepted: a push begins, its bytes belong to this update; their end is told with this ticket.
    Push(UpdateId, Ticket),
    /// 4.01.
    NotAllowed,
    /// 4.05.
    WrongState,
    /// 4.00.
    BadValue,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A download moved on. Tell at most a few times a second.
    DownloadProgressed {
        /// Of [`Output::Download`].
        ticket: Ticket,
        /// How far it is.
        progress: Progress,
        /// Its partial file.
        part: PathBuf,
    },
    /// Bytes of a push came in.
    Pushed {
        /// Of [`Reply::Push`].
        ticket: Ticket,
        /// So many by now.
        bytes: u64,
        /// When the last of them came.
        at: Instant,
    },
    /// A push is over; if it is complete, its bytes are in the file.
    PushEnded {
        /// Of [`Reply::Push`].
        ticket: Ticket,
        /// Complete, or why not.
        result: Result<(), Refused>,
    },
    /// A download, copy or pushed file was checked, or never came to that.
    Received {
        /// Of [`Output::Download`], [`Output::Copy`] or [`Output::Check`].
        ticket: Ticket,
        /// The image, in staging under this update's id.
        result: Result<StagedImage, Refused>,
    },
    /// A staged file was read again after a restart.
    Rechecked {
        /// Of [`Output::Recheck`].
        ticket: Ticket,
        /// Whether it is what the journal says.
        result: Result<(), String>,
    },
    /// A journal entry is on the disk, or could not be written.
    Journalled {
        /// Of [`Output::Journal`].
        ticket: Ticket,
        /// Which.
        result: Result<(), String>,
    },
    /// The lease is here.
    Leased {
        /// Of [`Output::TakeLease`].
        ticket: Ticket,
    },
    /// Somebody else has it.
    LeaseRefused {
        /// Of [`Output::TakeLease`].
        ticket: Ticket,
        /// Who or what, as the operator reads it.
        holder: String,
    },
    /// The lease that was out with a tool or a question did not come back.
    LeaseLost,
    /// Some lease was given back: a deferred update may try again.
    LeaseReleased,
    /// What was read from the board is kept, or why it is not.
    Kept {
        /// Of [`Output::KeepSaved`].
        ticket: Ticket,
        /// The digest of what is kept, or why nothing is.
        result: Result<Sha256Digest, String>,
    },
    /// What the device can go back to.
    GoodsAre(Arc<Goods>),
    /// A tool says something.
    Job {
        /// Of [`Output::StartTool`].
        ticket: Ticket,
        /// What.
        event: JobEvent,
    },
    /// The board is there after a flash.
    Returned {
        /// Of [`Output::AwaitReturn`].
        ticket: Ticket,
        /// Under this name.
        link: Link,
    },
    /// The board's USB port was switched off and on again, or could not be.
    PowerCycled {
        /// Of [`Output::PowerCycle`].
        ticket: Ticket,
        /// Why not.
        result: Result<(), String>,
    },
    /// The board answered, or could not be asked.
    Told {
        /// Of [`Output::Ask`].
        ticket: Ticket,
        /// What.
        result: Result<Answer, QuestionFailed>,
    },
    /// The device is reached by this link now, or by none.
    LinkIs(Option<Link>),
    /// A version was read from the device outside an update.
    VersionIs(Option<ReportedVersion>),
    /// A server can be reached, or cannot any more.
    Reachable {
        /// Which.
        requester: Requester,
        /// Whether.
        reachable: bool,
    },
}

/// Something to be done. Drain after every input, in order.
#[derive(Debug, Clone)]
pub enum Output {
    /// Every server reads this from now on.
    View(Box<FirmwareView>),
    /// A fact for people and programs.
    Event(UpdateId, UpdateEvent),
    /// Download, share, check: answered with [`Input::DownloadProgressed`] and [`Input::Received`].
    Download {
        /// For the answer.
        ticket: Ticket,
        /// The update, which names the file.
        update: UpdateId,
        /// From where.
        uri: Box<ImageUri>,
        /// Go on with what an earlier gateway began.
        resume: Option<Resume>,
    },
    /// Copy a local file and check it: answered with [`Input::Received`].
    Copy {
        /// For the answer.
        ticket: Ticket,
        /// The update, which names the file.
        update: UpdateId,
        /// The file.
        path: PathBuf,
        /// The version that the operator expects of it.
        version: Option<String>,
    },
    /// Check what was pushed: answered with [`Input::Received`].
    Check {
        /// For the answer.
        ticket: Ticket,
        /// The update, which names the file.
        update: UpdateId,
    },
    /// Read the staged file again: answered with [`Input::Rechecked`].
    Recheck {
        /// For the answer.
        ticket: Ticket,
        /// The image.
        image: Box<StagedImage>,
    },
    /// Write this down; with a ticket, answer with [`Input::Journalled`] once it is on the disk.
    Journal {
        /// For the answer, where one is awaited.
        ticket: Option<Ticket>,
        /// What.
        entry: Box<JournalEntry>,
    },
    /// Over: end what is under way for this update, write this down, keep the image as the device's last good one if
    /// asked to, then remove its files.
    Close {
        /// What to write.
        entry: Box<JournalEntry>,
        /// The image that proved itself.
        good: Option<Box<GoodImage>>,
    },
    /// Take the lease: answered with [`Input::Leased`] or [`Input::LeaseRefused`].
    TakeLease {
        /// For the answer.
        ticket: Ticket,
        /// Of this link.
        link: Link,
    },
    /// Give the lease back.
    ReleaseLease,
    /// Make the tool ready, with the lease: answered with [`Input::Job`].
    StartTool {
        /// For the answers.
        ticket: Ticket,
        /// The job.
        job: Box<FlashJob>,
    },
    /// The journal is on the disk: the tool may run.
    ReleaseTool,
    /// End the tool.
    StopTool,
    /// Tell when the board is there: answered with [`Input::Returned`], at once if it never went.
    AwaitReturn {
        /// For the answer.
        ticket: Ticket,
        /// No longer than this.
        within: Duration,
    },
    /// Ask the board, with the lease: answered with [`Input::Told`].
    Ask {
        /// For the answer.
        ticket: Ticket,
        /// Over this link.
        link: Link,
        /// This.
        question: Box<Question>,
    },
    /// Switch the board's USB port off and on again: answered with [`Input::PowerCycled`].
    PowerCycle {
        /// For the answer.
        ticket: Ticket,
    },
    /// 3/0/3 is this from now on: read from the device after a flash, or unknown since one failed.
    VersionRead(Option<ReportedVersion>),
    /// The device is in quarantine for this reason, or not any more: 3/0/11.
    Quarantine(Option<String>),
    /// Make an image of what was read from the board and keep it: answered with [`Input::Kept`].
    KeepSaved {
        /// For the answer.
        ticket: Ticket,
        /// The update, which names the file.
        update: UpdateId,
        /// What the board told before.
        version: Option<ReportedVersion>,
        /// When, in seconds since 1970.
        at: i64,
    },
    /// The image proved itself on the board (`None`), or it did not, for this reason.
    Judged {
        /// Its digest.
        image: Sha256Digest,
        /// Why not.
        failure: Option<String>,
    },
    /// The board is proven to hold this one of its good images again.
    Holds(Box<GoodImage>),
    /// Stage one of the device's good images again: answered with [`Input::Received`].
    Restage {
        /// For the answer.
        ticket: Ticket,
        /// The update, which names the file.
        update: UpdateId,
        /// Which.
        good: Box<GoodImage>,
    },
    /// These values of variables, other than usual, worked on this port; `None`: the usual ones did.
    Worked(Option<BTreeMap<String, String>>),
}
