//! Asking the schedule before a lease is asked for, and telling it what came of it.

use jiff::tz::TimeZone;

use super::{Effect, Manager, now};
use crate::device::{BoardId, Brake, DeviceId, Requester, Sha256Digest};
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
        let Some(ask) = self.ask_of(device, requester.clone(), image, urgent) else { return Ok(()) };
        if slot.machine.is_flashing() {
            self.schedule.resume(ask);
            return Ok(());
        }
        self.schedule.admit(ask, now().unix)
    }

    /// What the schedule must know of a flash.
    pub(super) fn ask_of(
        &self,
        device: &DeviceId,
        requester: Requester,
        image: Sha256Digest,
        urgent: bool,
    ) -> Option<Ask> {
        let board = self.slots.get(device)?.machine.profile().board.clone();
        let hub = self.hubs.get(device).map(ToString::to_string);
        Some(Ask { device: device.clone(), requester, board, image, hub, urgent })
    }

    /// Gives the device's place to others once it neither waits nor flashes.
    pub(super) fn reschedule(&mut self, device: &DeviceId) {
        let Some(slot) = self.slots.get(device) else { return };
        let (waits, flashes) = (slot.machine.is_waiting(), slot.machine.is_flashing());
        if waits && slot.machine.link().is_none() {
            self.schedule.absent(device);
            self.wake_next();
        } else if !waits && !flashes && self.schedule.over(device) {
            self.wake_next();
        }
    }

    /// A flash that was admitted could not have its port after all.
    pub(super) fn step_back(&mut self, device: &DeviceId) {
        if self.slots.get(device).is_some_and(|slot| !slot.machine.is_flashing()) {
            self.schedule.step_back(device);
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
