//! What comes back from the gateway and from blocking threads, turned into the machine's inputs.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

use super::checks::SharedFile;
use super::downloads::Finished;
use super::forecast::{self, Intent};
use super::perform::ToolEnds;
use super::slot::Push;
use super::{Effect, Manager, now};
use crate::device::{
    Answer, DeviceId, FirmwareReply, Goods, JobEvent, JobOutcome, JournalEntry, Lease, QuestionFailed, Sha256Digest,
    StagedImage, UpdateId, WriteError,
};
use crate::update::machine::{Input, Ticket};
use crate::update::staging::push::{PushEnd, PushLine, PushWriter, RefusingWriter};
use crate::update::staging::{PartFile, StoreError, remove};
use crate::update::table::{Refusal, Refused};

/// Something that was awaited came about.
pub(super) enum Outcome {
    Nothing,
    /// An entry of the journal is written, or never will be.
    Written,
    Input(DeviceId, Input),
    /// What is to be kept of an update is kept, or could not be: its end may be written down.
    Closing(Box<JournalEntry>, Option<Goods>),
    Saved {
        device: DeviceId,
        ticket: Ticket,
        kept: Result<(Sha256Digest, Goods), String>,
    },
    Downloaded(Finished),
    PushOpened {
        device: DeviceId,
        update: UpdateId,
        ticket: Ticket,
        part: Result<PartFile, StoreError>,
        reply: oneshot::Sender<FirmwareReply>,
    },
    PushOver {
        device: DeviceId,
        ticket: Ticket,
        end: Option<PushEnd>,
    },
    Checked {
        device: DeviceId,
        update: UpdateId,
        ticket: Ticket,
        result: Result<StagedImage, Refused>,
    },
    LookedAt {
        intent: Intent,
        image: Result<StagedImage, Refused>,
        reply: forecast::Answer,
    },
    Leased {
        device: DeviceId,
        ticket: Ticket,
        result: Result<Lease, String>,
    },
    ToolSaid {
        device: DeviceId,
        ticket: Ticket,
        event: JobEvent,
        rest: ToolEnds,
    },
    ToolEnded {
        device: DeviceId,
        ticket: Ticket,
        outcome: JobOutcome,
        lease: Option<Lease>,
    },
    Told {
        device: DeviceId,
        ticket: Ticket,
        result: Result<Answer, QuestionFailed>,
        lease: Option<Lease>,
    },
}

impl Manager {
    pub(super) fn take_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Nothing => {}
            Outcome::Written => self.unwritten -= 1,
            Outcome::Input(device, input) => self.input(&device, input),
            Outcome::Closing(entry, kept) => {
                kept.into_iter().for_each(|goods| self.input(&entry.device, Input::GoodsAre(Arc::new(goods))));
                self.write_end(entry);
            }
            Outcome::Saved { device, ticket, kept } => self.saved(&device, ticket, kept),
            Outcome::Downloaded(finished) => self.downloaded(finished),
            Outcome::PushOpened { device, update, ticket, part, reply } => {
                let answer = self.push_opened(device, update, ticket, part);
                self.effect(Effect::Answer { reply, answer });
            }
            Outcome::PushOver { device, ticket, end } => self.push_over(&device, ticket, end),
            Outcome::Checked { device, update, ticket, result } => self.checked(&device, update, ticket, result),
            Outcome::LookedAt { intent, image, reply } => self.foretell(&intent, image, reply),
            Outcome::Leased { device, ticket, result } => self.leased(&device, ticket, result),
            Outcome::ToolSaid { device, ticket, event, rest } => {
                self.listen(device.clone(), ticket, rest);
                self.input(&device, Input::Job { ticket, event });
            }
            Outcome::ToolEnded { device, ticket, outcome, lease } => {
                self.slot_work(&device, |work| work.tool = None);
                self.take_back(&device, ticket, lease);
                self.input(&device, Input::Job { ticket, event: JobEvent::Ended(outcome) });
            }
            Outcome::Told { device, ticket, result, lease } => {
                self.take_back(&device, ticket, lease);
                self.input(&device, Input::Told { ticket, result });
            }
        }
    }

    fn expects(&self, device: &DeviceId, ticket: Ticket) -> bool {
        self.slots.get(device).is_some_and(|slot| slot.machine.expects(ticket))
    }

    fn downloaded(&mut self, finished: Finished) {
        let (waiting, part) = self.downloads.finish(&finished);
        let Finished { uri, result, .. } = finished;
        for one in &waiting {
            self.slot_work(&one.device, |work| drop(work.download.take_if(|(update, _)| *update == one.update)));
        }
        match result {
            Ok(downloaded) => {
                let file = Arc::new(SharedFile { downloaded });
                for one in &waiting {
                    self.check_downloaded(one, Arc::clone(&file), uri.version.clone());
                }
                spawn_blocking(move || drop(file));
            }
            Err(refused) => {
                spawn_blocking(move || remove(&part));
                for one in waiting {
                    let result = Err(refused.clone());
                    self.input(&one.device, Input::Received { ticket: one.ticket, result });
                }
            }
        }
    }

    fn push_opened(
        &mut self,
        device: DeviceId,
        update: UpdateId,
        ticket: Ticket,
        part: Result<PartFile, StoreError>,
    ) -> FirmwareReply {
        if !self.expects(&device, ticket) {
            self.discard(update);
            return FirmwareReply::Writer(Box::new(RefusingWriter(WriteError::Ended)));
        }
        match part {
            Ok(part) => {
                let line = PushLine::new(Instant::now());
                let (end, over) = oneshot::channel();
                let push = Push { update, line: Arc::clone(&line), told: 0 };
                self.slot_work(&device, |work| work.push = Some(push));
                self.await_outcome(async move { Outcome::PushOver { device, ticket, end: over.await.ok() } });
                FirmwareReply::Writer(Box::new(PushWriter::new(part, line, end)))
            }
            Err(error) => {
                let refused = Refused::from(error);
                let answer = RefusingWriter(WriteError::TooLarge(refused.reason.clone()));
                self.input(&device, Input::PushEnded { ticket, result: Err(refused) });
                FirmwareReply::Writer(Box::new(answer))
            }
        }
    }

    fn push_over(&mut self, device: &DeviceId, ticket: Ticket, end: Option<PushEnd>) {
        if !self.expects(device, ticket) {
            return;
        }
        let result = match end {
            Some(PushEnd::Complete(part)) => {
                self.slot_work(device, |work| {
                    work.push = None;
                    work.pushed = Some(part);
                });
                Ok(())
            }
            Some(PushEnd::Refused(refused)) => Err(refused),
            None => Err(Refused::new(Refusal::ConnectionLost, "the push broke off")),
        };
        self.input(device, Input::PushEnded { ticket, result });
    }

    /// An image that nobody waits for any more leaves no file behind.
    fn checked(&mut self, device: &DeviceId, update: UpdateId, ticket: Ticket, result: Result<StagedImage, Refused>) {
        if !self.expects(device, ticket) {
            return self.discard(update);
        }
        self.input(device, Input::Received { ticket, result });
    }

    fn saved(&mut self, device: &DeviceId, ticket: Ticket, kept: Result<(Sha256Digest, Goods), String>) {
        let result = kept.map(|(sha256, goods)| {
            self.input(device, Input::GoodsAre(Arc::new(goods)));
            sha256
        });
        self.input(device, Input::Kept { ticket, result });
    }

    fn discard(&self, update: UpdateId) {
        let staging = self.staging.clone();
        spawn_blocking(move || staging.discard(update));
    }

    fn leased(&mut self, device: &DeviceId, ticket: Ticket, result: Result<Lease, String>) {
        match result {
            Ok(lease) if self.expects(device, ticket) => {
                self.slot_work(device, |work| work.lease = Some(lease));
                self.input(device, Input::Leased { ticket });
            }
            // Given back by being dropped: what it was for is over.
            Ok(_) => {}
            Err(holder) => {
                self.step_back(device);
                self.input(device, Input::LeaseRefused { ticket, holder });
            }
        }
    }

    /// A lease comes back with what it was lent for. One that is not awaited any more is given back at once.
    fn take_back(&mut self, device: &DeviceId, ticket: Ticket, lease: Option<Lease>) {
        if !self.expects(device, ticket) {
            return;
        }
        match (lease, self.slots.get_mut(device)) {
            (Some(lease), Some(slot)) => slot.work().lease = Some(lease),
            (None, Some(slot)) => slot.machine.handle(Input::LeaseLost, now()),
            (_, None) => {}
        }
    }
}
