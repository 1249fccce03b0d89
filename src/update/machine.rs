//! ONE update of one device, as a pure state machine: no clock, no I/O, nothing that waits.
//!
//! ```text
//! Idle ── Fetch ──> Downloading ─┐                                  ┌─ lease held ─> Deferred (2, result 11)
//!      ── Push ───> Pushing ─────┼─> Checking ─> Recording ─> Staged ┤ Execute
//!      ── Stage ─────────────────┘   (journal)                (2)   └─> Leasing ─> Preparing ─ journal ─> Flashing (3)
//! Flashing ─ tool verified ─> Returning ─> Settling ─> Reclaiming ─> Asking ─ version as expected ─> Idle (0, result 1)
//!          └ failed ─> Staged (2, result 8)    └──────── not proven ────────> Staged (2, result 8)
//! ```
//!
//! The law is `docs/decisions.md` section 2; `table` maps where it stands to what servers read. Time is an argument.
//! Each state carries what is valid in it; one function per state gives the next; `Machine::enter` alone assigns and
//! logs it. Driven by the manager: after every call it drains the outputs, and calls [`Machine::handle_timeout`] when
//! [`Machine::poll_timeout`] has passed.

mod core;
mod flash;
mod forecast;
mod io;
mod orders;
mod power;
mod proof;
mod receive;
mod recover;
mod restore;
mod retry;
mod saving;
mod state;
mod wait;

use std::mem;
use std::sync::Arc;
use std::time::Instant;

pub use self::core::{Facts, Rules};
pub use forecast::Forecast;
pub use io::{Input, Now, Order, Output, Reply, Ticket};

use self::core::Core;
use crate::device::{
    BoardState, DeviceId, FirmwareState, FirmwareView, FlashProfile, GoodImage, JournalEntry, Link, Requester,
    Sha256Digest, UpdateId,
};
use crate::update::table::{self, Ending};
use state::State;

/// The update of one device.
#[derive(Debug)]
pub struct Machine {
    core: Core,
    state: State,
}

impl Machine {
    /// A device of which no update is known.
    pub fn new(facts: Facts, rules: Arc<Rules>) -> Self {
        Self { core: Core::new(facts, rules), state: State::Idle(Ending::Nothing) }
    }

    /// A device of which the journal tells: goes on where an earlier gateway stopped.
    pub fn recover(facts: Facts, rules: Arc<Rules>, entry: JournalEntry, now: Now) -> Self {
        let mut machine = Self::new(facts, rules);
        machine.core.view = entry.view.clone();
        machine.core.set_board(entry.board.clone());
        // Nobody has flashed it from here since: what it told then it still runs, as far as can be known.
        if entry.board == BoardState::Sound && machine.core.facts.version.is_none() {
            machine.core.set_version(entry.version.clone());
        }
        machine.advance(now, |_, core| recover::recover(entry, core, now));
        machine
    }

    /// Decides an order: right, then state, then value.
    pub fn handle_order(&mut self, order: Order, now: Now) -> Reply {
        if let Some(refusal) = orders::refusal(&self.state, &order, &self.core, now) {
            return refusal;
        }
        let mut reply = Reply::Done;
        self.advance(now, |state, core| orders::obey(state, order, &mut reply, core, now));
        reply
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::Reachable { requester, reachable } => self.core.reachable(&requester, reachable, now),
            Input::VersionIs(version) => self.core.facts.version = version,
            Input::LinkIs(link) => {
                self.core.facts.link.clone_from(&link);
                self.advance(now, |state, core| state.handle(Input::LinkIs(link), core, now));
            }
            Input::LeaseLost => self.core.leased = None,
            Input::GoodsAre(goods) => self.core.facts.goods = goods,
            input => self.advance(now, |state, core| state.handle(input, core, now)),
        }
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) told has come.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.poll_timeout().is_some_and(|at| at <= now.instant) {
            self.advance(now, |state, core| state.handle_timeout(core, now));
        }
    }

    /// When something is due without any input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.state.timeout()
    }

    /// What is to be done now, in order.
    pub fn drain(&mut self) -> Vec<Output> {
        mem::take(&mut self.core.out)
    }

    /// Whether an answer with this ticket still means anything: else the lease that comes with it goes back.
    pub fn expects(&self, ticket: Ticket) -> bool {
        self.state.expects(ticket)
    }

    /// What servers read now.
    pub fn view(&self) -> &FirmwareView {
        &self.core.view
    }

    /// The update under way or staged.
    pub fn update(&self) -> Option<UpdateId> {
        self.state.update().map(|update| update.id)
    }

    /// Whether bytes of a push are awaited: the driver then tells [`Input::Pushed`] before a timeout.
    pub fn awaits_push(&self) -> Option<Ticket> {
        match &self.state {
            State::Pushing(pushing) => Some(pushing.ticket),
            _ => None,
        }
    }

    /// What is to be known of the flash that waits to begin, or runs: whose, of which image, whether it is urgent.
    pub fn flash(&self) -> Option<(&Requester, Sha256Digest, bool)> {
        let held = self.state.held()?;
        Some((&held.update.owner, held.image.sha256, held.urgent))
    }

    /// Whether an Execute was accepted and the flash has not begun yet.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Deferred(_) | State::Leasing(_))
    }

    /// Whether the update waits for somebody else's lease to be given back.
    pub fn awaits_lease(&self) -> bool {
        matches!(self.state, State::Deferred(_))
    }

    /// Why the device is in quarantine, if it is.
    pub fn quarantine(&self) -> Option<&str> {
        match &self.core.board {
            BoardState::Quarantined { reason } => Some(reason),
            BoardState::Sound | BoardState::Touched => None,
        }
    }

    /// What the device can go back to now.
    pub fn last_good(&self) -> Option<&GoodImage> {
        self.core.last_good()
    }

    /// How the device is reached now.
    pub fn link(&self) -> Option<&Link> {
        self.core.facts.link.as_ref()
    }

    /// Whether the board is being flashed or proven.
    pub fn is_flashing(&self) -> bool {
        self.core.view.state == FirmwareState::Updating
    }

    /// The device.
    pub fn device(&self) -> &DeviceId {
        &self.core.facts.device
    }

    /// Its board.
    pub fn profile(&self) -> &Arc<FlashProfile> {
        &self.core.facts.profile
    }

    /// Whether the device's USB port may be switched off and on when nothing else is left.
    pub fn set_power_cycle(&mut self, may: bool) {
        self.core.facts.power_cycle = may;
    }

    /// The board's file was read anew; a job under way keeps what it has.
    pub fn set_profile(&mut self, profile: Arc<FlashProfile>) {
        self.core.facts.profile = profile;
    }

    fn advance(&mut self, now: Now, step: impl FnOnce(State, &mut Core) -> State) {
        let state = mem::replace(&mut self.state, State::Idle(Ending::Nothing));
        let before = state.name();
        let next = step(state, &mut self.core);
        self.enter(before, next, now);
    }

    /// The one place that assigns a state.
    fn enter(&mut self, before: &'static str, next: State, now: Now) {
        if before != next.name() {
            tracing::debug!(device = %self.core.facts.device, from = before, to = next.name(), "update moves on");
        }
        if !next.keeps_lease() {
            self.core.release_lease();
        }
        self.core.show(table::told(next.standing()), now);
        self.state = next;
    }
}
