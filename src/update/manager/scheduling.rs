//! Asking the schedule before a lease is asked for, and telling it what came of it.

use jiff::tz::TimeZone;

use super::{Effect, Manager, now};
use crate::device::{BoardId, Brake, DeviceId, Exclusive, Sha256Digest};
use crate::update::machine::Input;
use crate::update::schedule::{Ask, BrakeChoice, Brakes, Limits, Schedule};
use crate::update::settings::UpdateSettings;

pub(super) fn schedule(settings: &UpdateSettings, brakes: Vec<Brake>) -> Schedule {
    let limits = Limits {
        max_parallel: settings.max_parallel.get(),
        windows: settings.window.clone(),
        brake_after: settings.brake_after,
        canary: settings.canary,
        zone: TimeZone::system(),
    };
    Schedule::new(limits, Brakes::new(brakes))
}

impl Manager {
    /// Whether the device's flash may begin; one that has begun already goes on.
    pub(super) fn admit(&mut self, device: &DeviceId) -> Result<(), String> {
        let Some(slot) = self.slots.get(device) else { return Ok(()) };
        let Some((requester, image, urgent)) = slot.machine.flash() else { return Ok(()) };
        let profile = slot.machine.profile();
        let hub = slot.hub.as_deref().filter(|_| profile.exclusive == Exclusive::Hub).map(str::to_owned);
        if slot.machine.is_flashing() {
            self.schedule.resume(device, hub);
            return Ok(());
        }
        let (requester, board) = (requester.clone(), profile.board.clone());
        let ask = Ask { device: device.clone(), requester, board, image, hub, urgent };
        self.schedule.admit(ask, now().unix)
    }

    /// Gives the device's place to others once it neither waits nor flashes.
    pub(super) fn reschedule(&mut self, device: &DeviceId) {
        let busy = |machine: &crate::update::machine::Machine| machine.is_waiting() || machine.is_flashing();
        if !self.slots.get(device).is_some_and(|slot| busy(&slot.machine)) {
            self.give_place(device);
        }
    }

    /// The device's flash is over, or could not have its port after all.
    pub(super) fn give_place(&mut self, device: &DeviceId) {
        if self.schedule.over(device) {
            self.wake_next();
        }
    }

    /// What an image came to on a device.
    pub(super) fn judged(&mut self, device: &DeviceId, image: Sha256Digest, failure: Option<String>) {
        let Some(slot) = self.slots.get(device) else { return };
        let board = slot.machine.profile().board.clone();
        if self.schedule.judge(device, (board.clone(), image), failure, now().unix) {
            tracing::warn!(%board, %image, "the brake is on: no further board of this type gets this image; see `nuncio brake`");
        }
        self.tell_brakes();
    }

    pub(super) fn pull_brake(&mut self, board: BoardId, image: Option<Sha256Digest>) {
        self.schedule.brakes().pull(board, image, now().unix);
        self.tell_brakes();
    }

    pub(super) fn release_brakes(&mut self, choice: &BrakeChoice) -> Vec<(BoardId, Option<Sha256Digest>)> {
        let released = self.schedule.brakes().release(choice);
        if let BrakeChoice::Board(board) = choice {
            self.schedule.forgive(&[(board.clone(), None)]);
        }
        self.schedule.forgive(&released);
        self.tell_brakes();
        self.wake_next();
        released
    }

    fn tell_brakes(&mut self) {
        for ((board, image), brake) in self.schedule.brakes().take_changes() {
            self.effect(Effect::Brake { board, image, brake: brake.map(Box::new) });
        }
    }

    fn wake_next(&mut self) {
        for device in self.schedule.next(now().unix) {
            self.input(&device, Input::LeaseReleased);
        }
    }
}
