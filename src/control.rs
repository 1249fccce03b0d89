//! The control API: what an operator can see and ask of a running gateway.
//!
//! Its types are the words of the CLI and, later, of REST; its Unix socket carries them as lines of JSON: one request
//! per connection, then replies (one, or for a flash as many as there is to tell) until the connection closes. It knows
//! nothing of the gateway's inside: requests go out as [`ControlRequest`]s and come back through the channels in them.

mod api;
mod backup;
mod check;
mod client;
mod companion;
mod door;
mod failure;
mod handing;
mod lifecycle;
mod names;
mod news;
mod plan;
mod secret;
mod server;
mod wire;

use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot};

use crate::device::{BuiltinView, PointValue, ShownPoint, TapeLine, UpdateEvent, UpdateEvidence};

pub use api::{
    BrakeOrder, BrakeReport, DeviceList, DeviceStatus, GatewayStatus, HistoryList, Identified, JoinOrder, JoinReport,
    LinkStatus, Outcome, Points, RegistrationState, RegistrationStatus, ReleasedBrake, ServerStatus, Status,
    TokenOrder, TokenReport, TokenStatus, UpdateStatus, Verdict, WayBackStatus, WhatWhy, Who, Why, WhyStep, WhyVerdict,
};
pub use backup::{BackupReport, RestoreReport};
pub use check::{CheckItem, CheckState, Cure, CureStep};
pub use client::{Client, ClientError, FlashItem, FlashStream, NewsStream, TapeStream};
pub use companion::{Companion, Trouble, Wires};
pub use door::Door;
pub use failure::{Failure, FailureCode};
pub use handing::HandedImage;
pub use lifecycle::{Ending, Lifecycle, LifecycleOrder, LogControl};
pub use names::{group_name, user_name};
pub use news::{Feed, Follower, Heard, News, Told};
pub use plan::{
    PastUpdate, Plan, PlanCheck, PlanCheckState, PlanVerdict, PlannedAlternative, PlannedImage, PlannedProof,
    PlannedRetries, PlannedRun, PlannedTask, PlannedWayBack,
};
pub use secret::Secret;
pub use server::{BindError, Listener, serve};
pub use wire::PROTOCOL;

/// What came of a request.
pub type Answer<T> = oneshot::Sender<Result<T, Failure>>;

/// What the gateway is asked over its socket. A channel whose other end is gone means that nobody waits any more; the
/// order stands all the same. `device` is a device's name, its endpoint name or its link, as the operator typed it.
#[derive(Debug)]
pub enum ControlRequest {
    /// All devices, and the ports that are none.
    Devices {
        /// The list.
        reply: Answer<DeviceList>,
    },
    /// Everything about the gateway, its servers, and one device or all.
    Status {
        /// Which device; all without.
        device: Option<String>,
        /// The status.
        reply: Answer<Status>,
    },
    /// Everything about one device.
    Device {
        /// Which device.
        device: String,
        /// Its status.
        reply: Answer<DeviceStatus>,
    },
    /// Why a device is taken for what it is.
    Why {
        /// Which device or port.
        device: String,
        /// The reasons.
        reply: Answer<Why>,
    },
    /// Flash an image: the same checks, journal and proof as for a server's update.
    Flash {
        /// Which device.
        device: String,
        /// Absolute path of the image, to be read by the gateway.
        image: PathBuf,
        /// The version that the new program shall report, where the operator gave one.
        version: Option<String>,
        /// Begin also outside the maintenance window.
        now: bool,
        /// What happens meanwhile. Tell it with `try_send`: progress that nobody reads in time is lost, never waited for.
        events: mpsc::Sender<UpdateEvent>,
        /// How it ended.
        verdict: Answer<Verdict>,
    },
    /// Flash what is staged for a device, whoever staged it: the same as a server's Execute.
    Install {
        /// Which device.
        device: String,
        /// Who wishes it, for the log.
        by: &'static str,
        /// Whether it was accepted; what comes of it shows in the device's status.
        reply: Answer<()>,
    },
    /// What an update would be, without doing any of it.
    Plan {
        /// Which device.
        device: String,
        /// Absolute path of the image, to be read by the gateway.
        image: PathBuf,
        /// The version that the new program shall report, where the operator gave one.
        version: Option<String>,
        /// Begin also outside the maintenance window.
        now: bool,
        /// The plan.
        reply: Answer<Plan>,
    },
    /// Put the last good image back; whatever is staged for the device makes room. Goes on like [`Self::Flash`].
    Rollback {
        /// Which device.
        device: String,
        /// What happens meanwhile.
        events: mpsc::Sender<UpdateEvent>,
        /// How it ended.
        verdict: Answer<Verdict>,
    },
    /// The brakes: list them, set one, let some go.
    Brake {
        /// Which of these.
        order: BrakeOrder,
        /// What holds afterwards, and what was let go.
        reply: Answer<BrakeReport>,
    },
    /// Let a device join, forget it, give it another name.
    Join {
        /// Which of these.
        order: JoinOrder,
        /// What came of it.
        reply: Answer<JoinReport>,
    },
    /// Make it visible which board a device is; answers when it has been.
    Identify {
        /// Which device.
        device: String,
        /// By what.
        reply: Answer<Identified>,
    },
    /// Write down what the transports see and say, as long as the lines are taken.
    Record {
        /// Where the lines go.
        lines: mpsc::Sender<TapeLine>,
    },
    /// What a device tells besides what it is.
    Points {
        /// Which device.
        device: String,
        /// Its points.
        reply: Answer<Points>,
    },
    /// Who may ask from elsewhere.
    Tokens {
        /// What about it.
        order: TokenOrder,
        /// What holds afterwards.
        reply: Answer<TokenReport>,
    },
    /// The gateway itself, without its devices.
    Gateway {
        /// Its status.
        reply: Answer<GatewayStatus>,
    },
    /// How the machine fares that the gateway runs on: what its own endpoint shows servers, also where it has none.
    Health {
        /// Load, memory, disk, temperatures. It may take half a second to look.
        reply: Answer<Vec<ShownPoint>>,
    },
    /// Write the value of a point.
    Write {
        /// Which device.
        device: String,
        /// The point's key.
        key: String,
        /// What, as servers see it: in the unit of the point's object.
        value: PointValue,
        /// Who wishes it, for the log.
        by: &'static str,
        /// `Err` with the reason when the device did not take it.
        reply: Answer<()>,
    },
    /// Who has a link.
    Who {
        /// The link, or the device on it.
        device: String,
        /// Who.
        reply: Answer<Who>,
    },
    /// Give up what is staged or under way at a device, unless it is being flashed already
    /// ([`FailureCode::NotNow`] then).
    Cancel {
        /// Which device.
        device: String,
        /// Done.
        reply: Answer<()>,
    },
    /// The updates that were.
    History {
        /// Of which device; of all without. One that is gone goes by the name it had.
        device: Option<String>,
        /// Only those that failed.
        failed: bool,
        /// At most so many, the newest.
        limit: Option<u32>,
        /// The list.
        reply: Answer<HistoryList>,
    },
    /// All that is kept of one update.
    Show {
        /// Its id, or enough of its beginning or end.
        update: String,
        /// The evidence.
        reply: Answer<UpdateEvidence>,
    },
    /// What the built-in server knows: who is registered there, what they told, what is offered.
    Builtin {
        /// All of it; [`FailureCode::NotNow`] where there is none.
        reply: Answer<BuiltinView>,
    },
    /// Read configuration, boards and tools again, as on SIGHUP.
    Reload {
        /// What could not be taken over without a restart, in words.
        reply: Answer<Vec<String>>,
    },
}

#[cfg(test)]
mod tests;
