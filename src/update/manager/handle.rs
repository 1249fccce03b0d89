//! How the rest of the gateway speaks to the manager, and what the manager asks of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::forecast::Intent;
use crate::device::{
    Answer, BoardId, Brake, DeviceId, FirmwareOrder, FirmwareReply, FirmwareRight, FirmwareView, FlashJob,
    FlashProfile, GoodImage, JobEvent, JournalEntry, Lease, Link, Question, QuestionFailed, ReportedVersion, Requester,
    Sha256Digest, UpdateEvent, UpdateId,
};
use crate::update::machine::Forecast;
use crate::update::schedule::BrakeChoice;
use crate::update::signatures::Signatures;

/// What the gateway is asked to do. Each question carries the way back of its answer; a way back that is dropped counts
/// as a failure of that step, so nothing waits for ever.
#[derive(Debug)]
pub enum Effect {
    /// Tell it to the device's client: every server reads it. Every change, in order.
    View {
        /// Of this device.
        device: DeviceId,
        /// This.
        view: Box<FirmwareView>,
    },
    /// Send this answer to whoever gave an order. It comes as an effect so that it never overtakes the views before it:
    /// a server that has its 2.04 reads what it changed. A taker that has gone drops a push's writer, which ends the push.
    Answer {
        /// Where to.
        reply: oneshot::Sender<FirmwareReply>,
        /// What.
        answer: FirmwareReply,
    },
    /// A fact for `nuncio status`, progress bars and the history.
    Event {
        /// Of this device.
        device: DeviceId,
        /// And this update.
        update: UpdateId,
        /// What happened.
        event: UpdateEvent,
    },
    /// 3/0/3 is this from now on.
    VersionRead {
        /// Of this device.
        device: DeviceId,
        /// As it was read from it; `None` since a flash has failed and nothing tells what runs.
        version: Option<ReportedVersion>,
    },
    /// The device is in quarantine for this reason, or not any more: 3/0/11.
    Quarantine {
        /// Which.
        device: DeviceId,
        /// Why, and what to do.
        reason: Option<String>,
    },
    /// A brake is on record now (`Some`), or not any more.
    Brake {
        /// The board type.
        board: BoardId,
        /// The image; `None`: every image.
        image: Option<Sha256Digest>,
        /// The record.
        brake: Option<Box<Brake>>,
    },
    /// What the device can go back to now.
    WayBack {
        /// Which.
        device: DeviceId,
        /// The newest good image that it does not hold.
        good: Option<Box<GoodImage>>,
    },
    /// Other values of variables than usual worked on a port, or the usual ones did again (`None`).
    Worked {
        /// For this device.
        device: DeviceId,
        /// Which.
        vars: Option<BTreeMap<String, String>>,
    },
    /// Write this down (upsert by update id); answer when it is on the disk.
    Journal {
        /// What.
        entry: Box<JournalEntry>,
        /// `Err` with what the store said.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Take the lease, have pollers let go of the link; answer at once.
    TakeLease {
        /// For this device.
        device: DeviceId,
        /// And this update.
        update: UpdateId,
        /// Of this link.
        link: Link,
        /// The lease, or who has it. When it is given back, call [`Handle::lease_released`].
        reply: oneshot::Sender<Result<Lease, String>>,
    },
    /// Run the flash tool.
    Flash(Box<Flash>),
    /// Tell the link under which the device is there again after a flash, recognised by its identity: at once when
    /// it never went away.
    AwaitReturn {
        /// This device.
        device: DeviceId,
        /// Not needed any more after this.
        within: Duration,
        /// Its link.
        reply: oneshot::Sender<Link>,
    },
    /// Switch the device's USB port off and on again. Its lease stays with the update.
    PowerCycle {
        /// This device.
        device: DeviceId,
        /// `Err` with why not.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Ask the device, and give the lease back with the answer.
    Ask {
        /// This device.
        device: DeviceId,
        /// This.
        question: Box<Question>,
        /// The right to open the link.
        lease: Lease,
        /// The answer and the lease.
        reply: oneshot::Sender<(Result<Answer, QuestionFailed>, Lease)>,
    },
}

/// One run of a flash tool.
#[derive(Debug)]
pub struct Flash {
    /// What to run.
    pub job: FlashJob,
    /// The right to use its link.
    pub lease: Lease,
    /// What it tells: `Ready` first, `Ended` last. Closed without `Ended`: it could not be started.
    pub events: mpsc::Sender<JobEvent>,
    /// Resolves when the journal is on the disk: release the tool. Dropped: never do.
    pub release: oneshot::Receiver<()>,
    /// Cancelled when the tool shall end.
    pub stop: CancellationToken,
    /// The lease goes back here after `Ended`.
    pub lease_back: oneshot::Sender<Lease>,
}

/// A device whose firmware is looked after from now on.
#[derive(Debug, Clone)]
pub struct Adoption {
    /// Its name.
    pub device: DeviceId,
    /// Its board.
    pub profile: Arc<FlashProfile>,
    /// How it is reached.
    pub link: Link,
    /// The version read from it, if any.
    pub version: Option<ReportedVersion>,
    /// Values of variables other than usual that worked on its port before.
    pub worked: Option<BTreeMap<String, String>>,
    /// The USB hub that it hangs on.
    pub hub: Option<Arc<str>>,
    /// Its USB port may be switched off and on when nothing else is left.
    pub power_cycle: bool,
}

/// Told to the manager; never refused, and taken even while effects are piling up.
#[derive(Debug)]
pub(super) enum Fact {
    Adopt(Box<Adoption>, oneshot::Sender<FirmwareView>),
    LinkGone(DeviceId),
    VersionIs(DeviceId, Option<ReportedVersion>),
    LeaseReleased(Link),
    Brakes(oneshot::Sender<Vec<Brake>>),
    PullBrake(BoardId, Option<Sha256Digest>),
    ReleaseBrakes(BrakeChoice, oneshot::Sender<Vec<(BoardId, Option<Sha256Digest>)>>),
    Reachable(DeviceId, Requester, bool),
    Signatures(Arc<Signatures>),
    LookAhead(Box<Intent>, oneshot::Sender<Option<Forecast>>),
    Drain(oneshot::Sender<()>),
    Halt,
}

/// Asked of the manager; waits while effects are piling up.
pub(super) struct Demand {
    pub(super) device: DeviceId,
    pub(super) requester: Requester,
    pub(super) right: FirmwareRight,
    pub(super) order: FirmwareOrder,
    pub(super) reply: oneshot::Sender<FirmwareReply>,
}

/// The way to the manager; cheap to clone. The manager ends when the last one is dropped.
///
/// The methods that tell facts may be called from the loop that also takes the effects: the manager always takes
/// them. [`order`](Self::order) must not: it may wait until effects were taken.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) facts: mpsc::Sender<Fact>,
    pub(super) orders: mpsc::Sender<Demand>,
}

impl Handle {
    /// The device is there. The first time, what the journal knows of it is taken up; later it tells a new link,
    /// profile or version. Returns what servers read of it, the first time: before anything else, since a server that finds
    /// the device idle while its update is taken up would take that for lost.
    pub async fn adopt(&self, adoption: Adoption) -> Option<FirmwareView> {
        let (reply, view) = oneshot::channel();
        self.tell(Fact::Adopt(Box::new(adoption), reply)).await;
        view.await.ok()
    }

    /// The device's link went away; what is staged for it stays.
    pub async fn link_gone(&self, device: DeviceId) {
        self.tell(Fact::LinkGone(device)).await;
    }

    /// A version was read from the device outside an update.
    pub async fn version_is(&self, device: DeviceId, version: Option<ReportedVersion>) {
        self.tell(Fact::VersionIs(device, version)).await;
    }

    /// A lease was given back, by whomever: an update that waits for the link tries again.
    pub async fn lease_released(&self, link: Link) {
        self.tell(Fact::LeaseReleased(link)).await;
    }

    /// A server answers this device, or does so no more; what it staged is released some time after.
    pub async fn reachable(&self, device: DeviceId, server: Requester, reachable: bool) {
        self.tell(Fact::Reachable(device, server, reachable)).await;
    }

    /// Begins no further flash, and returns when the running ones are done.
    pub async fn drain(&self) {
        let (done, drained) = oneshot::channel();
        self.tell(Fact::Drain(done)).await;
        // A manager that is gone has nothing running.
        let _ = drained.await;
    }

    /// From now on no update moves on, whatever comes of its tool, its download or its board: the journal keeps what it
    /// says at this moment, for the next start. [`drain`](Self::drain) then returns when the tools have ended.
    pub async fn halt(&self) {
        self.tell(Fact::Halt).await;
    }

    /// Orders something of a device's firmware. A device that is unknown answers [`FirmwareReply::WrongState`].
    ///
    /// For [`FirmwareOrder::Push`] keep the writer of the push before until this one is there.
    pub async fn order(
        &self,
        device: DeviceId,
        requester: Requester,
        right: FirmwareRight,
        order: FirmwareOrder,
    ) -> FirmwareReply {
        let (reply, answer) = oneshot::channel();
        let demand = Demand { device, requester, right, order, reply };
        if self.orders.send(demand).await.is_err() {
            return FirmwareReply::WrongState;
        }
        answer.await.unwrap_or(FirmwareReply::WrongState)
    }

    /// The brakes that hold.
    pub async fn brakes(&self) -> Vec<Brake> {
        let (reply, brakes) = oneshot::channel();
        self.tell(Fact::Brakes(reply)).await;
        brakes.await.unwrap_or_default()
    }

    /// Sets the brake for an image on a board type, or for every image.
    pub async fn pull_brake(&self, board: BoardId, image: Option<Sha256Digest>) {
        self.tell(Fact::PullBrake(board, image)).await;
    }

    /// Lets brakes go; tells which.
    pub async fn release_brakes(&self, choice: BrakeChoice) -> Vec<(BoardId, Option<Sha256Digest>)> {
        let (reply, released) = oneshot::channel();
        self.tell(Fact::ReleaseBrakes(choice, reply)).await;
        released.await.unwrap_or_default()
    }

    /// Policy and keys for images that come in from now on; what is staged stays.
    pub async fn set_signatures(&self, signatures: Arc<Signatures>) {
        self.tell(Fact::Signatures(signatures)).await;
    }

    /// What an update would do, without doing it; `None` for a device that is unknown.
    pub async fn forecast(&self, intent: Intent) -> Option<Forecast> {
        let (reply, forecast) = oneshot::channel();
        self.tell(Fact::LookAhead(Box::new(intent), reply)).await;
        forecast.await.ok().flatten()
    }

    async fn tell(&self, fact: Fact) {
        if self.facts.send(fact).await.is_err() {
            tracing::debug!("the update manager is gone");
        }
    }
}
