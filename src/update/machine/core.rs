//! What all states of the machine share: facts, rules, the view, the outputs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::io::{Now, Output, Ticket};
use super::state::{Held, Update};
use crate::device::{
    BoardState, DeviceId, FirmwareState, FirmwareView, FlashProfile, GoodImage, Goods, JournalEntry, JournalStep, Link,
    ReportedVersion, Requester, UpdateEvent, UpdateId, UpdateResult,
};
use crate::update::policy::Policy;
use crate::update::settings::UpdateSettings;
use crate::update::table::{self, Ending, Refused, Standing};

/// 5/0/11 before anybody writes it: mandatory.
const DEFAULT_SEVERITY: u8 = 1;
/// Servers whose reachability is remembered per device.
const MAX_SERVERS: usize = 64;

/// What is known of the device.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its name.
    pub device: DeviceId,
    /// Its board.
    pub profile: Arc<FlashProfile>,
    /// How it is reached now.
    pub link: Option<Link>,
    /// What it told last.
    pub version: Option<ReportedVersion>,
    /// What it can go back to.
    pub goods: Arc<Goods>,
    /// Values of variables other than usual that worked on this port before.
    pub worked: Option<Box<BTreeMap<String, String>>>,
    /// Its USB port may be switched off and on when nothing else is left.
    pub power_cycle: bool,
}

/// What holds for all devices.
#[derive(Debug)]
pub struct Rules {
    /// `[update]`.
    pub settings: UpdateSettings,
    /// Which URIs may be downloaded.
    pub policy: Policy,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) facts: Facts,
    pub(super) rules: Arc<Rules>,
    pub(super) view: FirmwareView,
    pub(super) out: Vec<Output>,
    /// What is known of what the board holds.
    pub(super) board: BoardState,
    /// The link whose lease is held for this update, also while a tool or a question has it.
    pub(super) leased: Option<Link>,
    /// Servers that cannot be reached, by short id, and since when.
    unreachable: Vec<(u16, Instant)>,
    tickets: u32,
    view_changed: bool,
}

impl Core {
    pub(super) fn new(facts: Facts, rules: Arc<Rules>) -> Self {
        let view = FirmwareView { severity: DEFAULT_SEVERITY, ..FirmwareView::default() };
        let (out, unreachable) = (Vec::new(), Vec::new());
        let (board, leased) = (BoardState::default(), None);
        Self { facts, rules, view, out, board, leased, unreachable, tickets: 0, view_changed: false }
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets = self.tickets.wrapping_add(1);
        Ticket(self.tickets)
    }

    pub(super) fn reachable(&mut self, requester: &Requester, reachable: bool, now: Now) {
        let Requester::Server { short_id, .. } = requester else { return };
        let known = self.unreachable.iter().position(|(id, _)| id == short_id);
        match (known, reachable) {
            (Some(at), true) => drop(self.unreachable.swap_remove(at)),
            (None, false) if self.unreachable.len() < MAX_SERVERS => self.unreachable.push((*short_id, now.instant)),
            _ => {}
        }
    }

    /// Whether any server with `own` may take, cancel or reset what is staged.
    pub(super) fn is_released(&self, held: &Held, now: Now) -> bool {
        let settings = &self.rules.settings;
        let lain = now.instant.saturating_duration_since(held.since) >= settings.staged_timeout;
        let Requester::Server { short_id, .. } = &held.update.owner else { return lain };
        let gone = self.unreachable.iter().find(|(id, _)| id == short_id);
        lain || gone.is_some_and(|(_, since)| now.instant.saturating_duration_since(*since) >= settings.owner_timeout)
    }

    pub(super) fn change_view(&mut self, change: impl FnOnce(&mut FirmwareView)) {
        let before = self.view.clone();
        change(&mut self.view);
        self.view_changed |= before != self.view;
    }

    /// Tells servers what changed, once per step.
    pub(super) fn show(&mut self, (state, result): (FirmwareState, UpdateResult), now: Now) {
        if state != self.view.state {
            self.change_view(|view| view.last_change = now.unix);
        }
        if (state, result) != (self.view.state, self.view.result) {
            self.change_view(|view| (view.state, view.result) = (state, result));
        }
        if std::mem::take(&mut self.view_changed) {
            self.out.push(Output::View(Box::new(self.view.clone())));
        }
    }

    pub(super) fn release_lease(&mut self) {
        if self.leased.take().is_some() {
            self.out.push(Output::ReleaseLease);
        }
    }

    pub(super) fn event(&mut self, update: UpdateId, event: UpdateEvent) {
        self.out.push(Output::Event(update, event));
    }

    pub(super) fn entry(&self, update: &Update, step: JournalStep, shown: Standing, now: Now) -> Box<JournalEntry> {
        let (state, result) = table::told(shown);
        let last_change = if state == self.view.state { self.view.last_change } else { now.unix };
        Box::new(JournalEntry {
            update: update.id,
            device: self.facts.device.clone(),
            requester: update.owner.clone(),
            step,
            uri: update.uri.clone(),
            version_before: update.before.clone(),
            version: self.facts.version.clone(),
            at: now.unix,
            view: FirmwareView { state, result, last_change, ..self.view.clone() },
            board: self.board.clone(),
        })
    }

    /// What the board holds is known otherwise now; servers are told when it enters or leaves quarantine.
    pub(super) fn set_board(&mut self, board: BoardState) {
        let reason = |board: &BoardState| match board {
            BoardState::Quarantined { reason } => Some(reason.clone()),
            BoardState::Sound | BoardState::Touched => None,
        };
        let (before, after) = (reason(&self.board), reason(&board));
        self.board = board;
        if before != after {
            self.out.push(Output::Quarantine(after));
        }
    }

    /// The newest image that the board can go back to: not the one that it holds, as long as that is known.
    pub(super) fn last_good(&self) -> Option<&GoodImage> {
        match self.board {
            BoardState::Sound => self.facts.goods.last_good(),
            BoardState::Touched | BoardState::Quarantined { .. } => self.facts.goods.images.first(),
        }
    }

    /// A version was read from the device, or what it told before holds no longer.
    pub(super) fn set_version(&mut self, version: Option<ReportedVersion>) {
        if self.facts.version != version {
            self.facts.version.clone_from(&version);
            self.out.push(Output::VersionRead(version));
        }
    }

    /// Writes down where a staged image stands; nobody waits for it.
    pub(super) fn journal_staged(&mut self, held: &Held, shown: Standing, now: Now) {
        let step = JournalStep::Staged { image: held.image.clone() };
        let entry = self.entry(&held.update, step, shown, now);
        self.out.push(Output::Journal { ticket: None, entry });
    }

    /// Ends an update without success: journal, files, event.
    pub(super) fn close(&mut self, update: &Update, held: Option<&Held>, ending: Ending, reason: &str, now: Now) {
        let image_sha256 = held.map(|held| held.image.sha256);
        let step = JournalStep::Closed { outcome: Err(reason.to_owned()), image_sha256 };
        let entry = self.entry(update, step, Standing::Idle(ending), now);
        self.out.push(Output::Close { entry, good: None });
    }

    /// Ends the staging of an update.
    pub(super) fn refuse(&mut self, update: &Update, refused: Refused, now: Now) -> Ending {
        let ending = Ending::Refused(refused.why);
        self.close(update, None, ending, &refused.reason, now);
        self.event(update.id, UpdateEvent::StagingFailed { reason: refused.reason });
        ending
    }
}
