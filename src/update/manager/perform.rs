//! What the machine puts out, done: as an effect for the gateway, or as work on a blocking thread.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::answers::Outcome;
use super::checks::{self, Arrival};
use super::downloads::Waiting;
use super::goods;
use super::handle::{Effect, Flash};
use super::slot::Tool;
use super::{Manager, checks::SharedFile};
use crate::device::{
    DeviceId, FirmwareReply, FlashJob, GoodImage, JobEvent, JobFailure, JobOutcome, JobTask, JournalEntry, Lease, Link,
    Question, QuestionFailed, StagedImage, UpdateId,
};
use crate::update::machine::{Input, Output, Ticket};
use crate::update::staging::PartFile;
use crate::update::table::{Refusal, Refused};

/// What a tool says may wait so much to be taken.
const TOOL_QUEUE: usize = 64;
/// The lease comes back so soon after a tool's end, or never.
const LEASE_BACK: Duration = Duration::from_secs(5);

/// What a running tool is listened to by.
pub(super) type ToolEnds = (mpsc::Receiver<JobEvent>, oneshot::Receiver<Lease>);

impl Manager {
    pub(super) fn perform(&mut self, device: &DeviceId, output: Output) {
        match output {
            Output::View(view) => self.effect(Effect::View { device: device.clone(), view }),
            Output::Event(update, event) => self.effect(Effect::Event { device: device.clone(), update, event }),
            Output::VersionRead(version) => self.effect(Effect::VersionRead { device: device.clone(), version }),
            Output::Quarantine(reason) => self.effect(Effect::Quarantine { device: device.clone(), reason }),
            Output::Worked(vars) => self.effect(Effect::Worked { device: device.clone(), vars }),
            Output::Download { ticket, update, uri, resume } => {
                self.slot_work(device, |work| work.download = Some((update, uri.clone())));
                let waiting = Waiting { device: device.clone(), update, ticket };
                if let Some(task) = self.downloads.join(*uri, resume, waiting) {
                    self.await_outcome(async move { task.await.map_or(Outcome::Nothing, Outcome::Downloaded) });
                }
            }
            Output::Copy { ticket, update, path, version } => {
                let arrival = Arrival::Local(path, version, self.downloads.downloader.max_size());
                self.check(device, ticket, update, arrival);
            }
            Output::Check { ticket, update } => self.check_pushed(device, ticket, update),
            Output::Recheck { ticket, image } => self.recheck(device, ticket, *image),
            Output::Restage { ticket, update, good } => self.restage(device, ticket, update, *good),
            Output::KeepSaved { ticket, update, version, at } => self.keep_saved(device, (ticket, update), version, at),
            Output::Judged { image, failure } => self.judged(device, image, failure),
            Output::Holds(good) => self.keep_good(device, *good),
            Output::Journal { ticket, entry } => self.journal_entry(ticket, entry),
            Output::Close { entry, good } => self.close(entry, good),
            Output::TakeLease { ticket, link } => self.take_lease(device, ticket, link),
            Output::ReleaseLease => self.slot_work(device, |work| work.lease = None),
            Output::StartTool { ticket, job } => self.start_tool(device, ticket, *job),
            Output::ReleaseTool => self.release_tool(device),
            Output::StopTool => self.stop_tool(device),
            Output::AwaitReturn { ticket, within } => self.await_return(device, ticket, within),
            Output::PowerCycle { ticket } => self.power_cycle(device, ticket),
            Output::Ask { ticket, link, question } => self.ask(device, ticket, &link, question),
        }
    }

    pub(super) fn slot_work(&mut self, device: &DeviceId, change: impl FnOnce(&mut super::slot::Work)) {
        if let Some(slot) = self.slots.get_mut(device) {
            change(slot.work());
        }
    }

    pub(super) fn await_outcome(&self, outcome: impl Future<Output = Outcome> + Send + 'static) {
        self.pending.push(outcome.boxed());
    }

    pub(super) fn open_push(
        &self,
        device: DeviceId,
        update: UpdateId,
        ticket: Ticket,
        reply: oneshot::Sender<FirmwareReply>,
    ) {
        let (path, cap) = (self.staging.part_path(&update.to_string()), self.downloads.downloader.max_size());
        self.await_outcome(async move {
            let opened = spawn_blocking(move || PartFile::create(path, cap)).await;
            opened.map_or(Outcome::Nothing, |part| Outcome::PushOpened { device, update, ticket, part, reply })
        });
    }

    pub(super) fn check(&self, device: &DeviceId, ticket: Ticket, update: UpdateId, arrival: Arrival) {
        let Some(slot) = self.slots.get(device) else { return };
        let (staging, checks) = (self.staging.clone(), Arc::clone(&self.checks));
        let signatures = Arc::clone(&self.signatures);
        let (profile, device) = (Arc::clone(slot.machine.profile()), device.clone());
        self.await_outcome(async move {
            let _permit = checks.acquire_owned().await;
            let checked =
                spawn_blocking(move || checks::check(&staging, arrival, update, &profile.image, &signatures)).await;
            let result = checked.unwrap_or_else(|_| Err(Refused::new(Refusal::Damaged, "the image check broke down")));
            Outcome::Checked { device, update, ticket, result }
        });
    }

    fn check_pushed(&mut self, device: &DeviceId, ticket: Ticket, update: UpdateId) {
        let part = self.slots.get_mut(device).and_then(|slot| slot.work().pushed.take());
        match part {
            Some(part) => self.check(device, ticket, update, Arrival::Pushed(part)),
            None => {
                let result = Err(Refused::new(Refusal::ConnectionLost, "the pushed file is gone"));
                let device = device.clone();
                self.await_outcome(async move { Outcome::Checked { device, update, ticket, result } });
            }
        }
    }

    pub(super) fn check_downloaded(&self, waiting: &Waiting, file: Arc<SharedFile>, named: Option<String>) {
        self.check(&waiting.device, waiting.ticket, waiting.update, Arrival::Shared(file, named));
    }

    fn recheck(&self, device: &DeviceId, ticket: Ticket, image: StagedImage) {
        let (checks, device) = (Arc::clone(&self.checks), device.clone());
        self.await_outcome(async move {
            let _permit = checks.acquire_owned().await;
            let read = spawn_blocking(move || checks::recheck(&image)).await;
            let result = read.unwrap_or_else(|_| Err("the check broke down".into()));
            Outcome::Input(device, Input::Rechecked { ticket, result })
        });
    }

    fn journal_entry(&mut self, ticket: Option<Ticket>, entry: Box<JournalEntry>) {
        let device = entry.device.clone();
        let written = self.write_journal(entry);
        self.unwritten += usize::from(ticket.is_none());
        self.await_outcome(async move {
            let result = written.await.unwrap_or_else(|_| Err("the store is gone".into()));
            match (ticket, result) {
                (Some(ticket), result) => Outcome::Input(device, Input::Journalled { ticket, result }),
                (None, Err(error)) => {
                    tracing::warn!(%device, error, "the journal cannot be written");
                    Outcome::Written
                }
                (None, Ok(())) => Outcome::Written,
            }
        });
    }

    fn write_journal(&mut self, entry: Box<JournalEntry>) -> oneshot::Receiver<Result<(), String>> {
        let (done, written) = oneshot::channel();
        self.effect(Effect::Journal { entry, done });
        written
    }

    /// Ends what is under way for an update and writes its end down. What is to be kept is kept before that, and files go
    /// only after it: a crash in between loses neither.
    pub(super) fn close(&mut self, entry: Box<JournalEntry>, good: Option<Box<GoodImage>>) {
        self.abandon(&entry.device, entry.update);
        self.unwritten += 1;
        match good {
            Some(good) => {
                let (staging, device) = (self.staging.clone(), entry.device.clone());
                self.await_outcome(async move {
                    let kept = spawn_blocking(move || goods::keep(&staging, &device, *good)).await.ok().flatten();
                    Outcome::Closing(entry, kept)
                });
            }
            None => self.write_end(entry),
        }
    }

    /// Writes the end of an update down, then removes its files.
    pub(super) fn write_end(&mut self, entry: Box<JournalEntry>) {
        let (device, update, staging) = (entry.device.clone(), entry.update, self.staging.clone());
        let written = self.write_journal(entry);
        self.await_outcome(async move {
            let written = written.await.unwrap_or_else(|_| Err("the store is gone".into()));
            if let Err(error) = &written {
                tracing::warn!(%device, %update, error, "the end of an update could not be written to the journal");
            }
            let files = spawn_blocking(move || staging.discard(update));
            // A blocking thread that broke down has said so.
            let _ = files.await;
            Outcome::Written
        });
    }

    fn abandon(&mut self, device: &DeviceId, update: UpdateId) {
        let Some(work) = self.slots.get_mut(device).and_then(|slot| slot.work.as_mut()) else { return };
        if let Some(push) = work.push.take_if(|push| push.update == update) {
            push.line.end();
            work.pushed = None;
        }
        let download = work.download.take_if(|(of, _)| *of == update);
        if let Some(part) = download.and_then(|(_, uri)| self.downloads.leave(&uri, update)) {
            spawn_blocking(move || crate::update::staging::remove(&part));
        }
    }

    fn take_lease(&mut self, device: &DeviceId, ticket: Ticket, link: Link) {
        let Some(slot) = self.slots.get(device) else { return };
        let update = slot.machine.update().expect("only an update asks for a lease");
        let (reply, answer) = oneshot::channel();
        let owned = device.clone();
        if self.stopping && !slot.machine.is_flashing() {
            let holder = "the gateway is stopping".to_owned();
            return self.await_outcome(async move { Outcome::Input(owned, Input::LeaseRefused { ticket, holder }) });
        }
        if let Err(holder) = self.admit(device) {
            return self.await_outcome(async move { Outcome::Input(owned, Input::LeaseRefused { ticket, holder }) });
        }
        self.effect(Effect::TakeLease { device: device.clone(), update, link, reply });
        self.await_outcome(async move {
            let result = answer.await.unwrap_or_else(|_| Err("the gateway gave no answer".into()));
            Outcome::Leased { device: owned, ticket, result }
        });
    }

    fn start_tool(&mut self, device: &DeviceId, ticket: Ticket, mut job: FlashJob) {
        let lease = self.slots.get_mut(device).and_then(|slot| slot.work().lease.take());
        if let JobTask::Backup { to } = &mut job.task {
            *to = self.staging.saved_path(job.update);
        }
        let Some(lease) = lease else {
            let detail = "the lease was lost".to_owned();
            let event = JobEvent::Ended(JobOutcome::Failed { class: JobFailure::NotStarted, detail });
            let device = device.clone();
            return self.await_outcome(async move { Outcome::Input(device, Input::Job { ticket, event }) });
        };
        let (events, said) = mpsc::channel(TOOL_QUEUE);
        let (release, released) = oneshot::channel();
        let (lease_back, came_back) = oneshot::channel();
        let stop = CancellationToken::new();
        let tool = Tool { release: Some(release), stop: stop.clone() };
        self.slot_work(device, |work| work.tool = Some(tool));
        self.effect(Effect::Flash(Box::new(Flash { job, lease, events, release: released, stop, lease_back })));
        self.listen(device.clone(), ticket, (said, came_back));
    }

    /// The next thing that a tool says; with its end the lease.
    pub(super) fn listen(&self, device: DeviceId, ticket: Ticket, (mut said, came_back): ToolEnds) {
        self.await_outcome(async move {
            match said.recv().await {
                Some(JobEvent::Ended(outcome)) => tool_ended(device, ticket, outcome, came_back).await,
                Some(event) => Outcome::ToolSaid { device, ticket, event, rest: (said, came_back) },
                None => {
                    let detail = "its supervisor went away".to_owned();
                    let outcome = JobOutcome::Failed { class: JobFailure::NotStarted, detail };
                    tool_ended(device, ticket, outcome, came_back).await
                }
            }
        });
    }

    fn release_tool(&mut self, device: &DeviceId) {
        self.slot_work(device, |work| {
            if let Some(release) = work.tool.as_mut().and_then(|tool| tool.release.take()) {
                // A tool that is gone tells so by its end.
                let _ = release.send(());
            }
        });
    }

    fn stop_tool(&mut self, device: &DeviceId) {
        self.slot_work(device, |work| {
            if let Some(tool) = &work.tool {
                tool.stop.cancel();
            }
        });
    }

    fn await_return(&mut self, device: &DeviceId, ticket: Ticket, within: Duration) {
        let (reply, link) = oneshot::channel();
        let device = device.clone();
        self.effect(Effect::AwaitReturn { device: device.clone(), within, reply });
        self.await_outcome(async move {
            match link.await {
                Ok(link) => Outcome::Input(device, Input::Returned { ticket, link }),
                Err(_) => Outcome::Nothing,
            }
        });
    }

    fn power_cycle(&mut self, device: &DeviceId, ticket: Ticket) {
        let (reply, switched) = oneshot::channel();
        let device = device.clone();
        self.effect(Effect::PowerCycle { device: device.clone(), reply });
        self.await_outcome(async move {
            let result = switched.await.unwrap_or_else(|_| Err("the gateway gave no answer".into()));
            Outcome::Input(device, Input::PowerCycled { ticket, result })
        });
    }

    fn ask(&mut self, device: &DeviceId, ticket: Ticket, link: &Link, question: Box<Question>) {
        let lease = self.slots.get_mut(device).and_then(|slot| slot.work().lease.take());
        let device = device.clone();
        let Some(lease) = lease.filter(|lease| lease.link() == link) else {
            let result = Err(QuestionFailed::Failed("the lease was lost".into()));
            return self.await_outcome(async move { Outcome::Told { device, ticket, result, lease: None } });
        };
        let (reply, answer) = oneshot::channel();
        self.effect(Effect::Ask { device: device.clone(), question, lease, reply });
        self.await_outcome(async move {
            match answer.await {
                Ok((result, lease)) => Outcome::Told { device, ticket, result, lease: Some(lease) },
                Err(_) => {
                    let result = Err(QuestionFailed::Failed("the question was dropped".into()));
                    Outcome::Told { device, ticket, result, lease: None }
                }
            }
        });
    }
}

async fn tool_ended(
    device: DeviceId,
    ticket: Ticket,
    outcome: JobOutcome,
    came_back: oneshot::Receiver<Lease>,
) -> Outcome {
    let lease = tokio::time::timeout(LEASE_BACK, came_back).await.ok().and_then(Result::ok);
    Outcome::ToolEnded { device, ticket, outcome, lease }
}
