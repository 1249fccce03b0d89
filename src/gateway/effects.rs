//! What an update asks for, and what clients ask of it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::calling::Caller;
use super::recorder::When;
use super::{Event, Gateway, start, views};
use crate::control::News;
use crate::device::{
    DeviceId, Enter, FirmwareState, FirmwareView, JobEvent, JobFailure, JobOutcome, JournalEntry, Lease, Link,
    Question, RebootMethod, Recorded, UpdateEvent, UpdateId, masked_uri,
};
use crate::executors::Executor;
use crate::proxy;
use crate::update::{Effect, Flash};

impl Gateway {
    pub(super) async fn handle_client(&mut self, event: proxy::Event) {
        match event {
            proxy::Event::Firmware { device, requester, right, order, reply } => {
                let update = self.update.clone();
                tokio::spawn(async move {
                    let answer = update.order(device, requester, right, order).await;
                    // A client that has ended needs no answer.
                    let _ = reply.send(answer);
                });
            }
            proxy::Event::Reboot { device, server, reply } => self.reboot(&device, &server, reply),
            proxy::Event::Look { reply } => self.look_at_host(reply),
            proxy::Event::RebootOwn { server, reply } => self.reboot_own(&server, reply),
            proxy::Event::Point { device, server, key, value, reply } => {
                self.write_point(&device, &server, (key, value), reply);
            }
            proxy::Event::Session { device, server, registered } => {
                let name = server.to_string();
                self.feed.tell(News::Registration { device: device.clone(), server: name, registered });
                self.update.reachable(device, server, registered).await;
            }
        }
    }

    /// 3/0/4. Refused while somebody else uses the link: an update restarts the board by itself.
    fn reboot(&mut self, device: &DeviceId, server: &str, reply: oneshot::Sender<Result<(), String>>) {
        let refuse = |reply: oneshot::Sender<_>, why: String| drop(reply.send(Err(why)));
        let Some(info) = self.registry.device(device) else {
            return refuse(reply, "the device is gone".to_owned());
        };
        let by_power = match info.reboot {
            RebootMethod::UsbPower => true,
            RebootMethod::None => !self.registry.is_spared(device) && self.may_power_cycle(device),
            RebootMethod::Dtr | RebootMethod::Rts | RebootMethod::Open => false,
        };
        if by_power {
            return self.reboot_by_power(device, server, reply);
        }
        if info.reboot == RebootMethod::None {
            return refuse(reply, format!("board {} has no way to be restarted from here", info.board));
        }
        info!(%device, server, "restarting");
        let (serial, leases, method) = (self.serial.clone(), self.leases.clone(), info.reboot);
        let (link, holder) = (info.link.clone(), format!("reboot of {device}"));
        tokio::spawn(async move {
            let lease = match leases.preempt(&link, &holder).await {
                Ok(lease) => lease,
                Err(held) => return refuse(reply, held.to_string()),
            };
            let (_lease, outcome) = serial.restart(lease, method).await;
            let _ = reply.send(outcome.map_err(|error| error.to_string()));
        });
    }

    pub(super) async fn handle_effect(&mut self, effect: Effect) {
        match effect {
            Effect::View { device, view } => self.set_view(device, *view).await,
            Effect::Answer { reply, answer } => drop(reply.send(answer)),
            Effect::Event { device, update, event } => self.note(&device, update, &event),
            Effect::VersionRead { device, version } => {
                let decisions = self.registry.set_version(&device, version);
                self.carry_out(decisions).await;
            }
            Effect::Quarantine { device, reason } => {
                let decisions = self.registry.set_quarantine(&device, reason);
                self.carry_out(decisions).await;
            }
            Effect::Brake { board, image, brake } => self.remember_brake(board, image, brake.map(|brake| *brake)),
            Effect::WayBack { device, good } => {
                self.ledger.entry(&device).way_back = good.map(|good| views::way_back(*good));
            }
            Effect::Worked { device, vars } => self.remember_worked(&device, vars),
            Effect::Journal { entry, done } => self.journal(*entry, done),
            Effect::TakeLease { device, link, reply, .. } => self.lend(&device, &link, reply),
            Effect::Flash(flash) => {
                let profile = self.registry.profile(&flash.job.device);
                self.recorder.run(&flash.job, profile.as_ref().map(|profile| &profile.vars), now());
                let touch = profile.is_some_and(|profile| profile.enter == Enter::Touch1200);
                let caller = touch.then(|| Caller::new(&self.serial, &self.leases, &self.events));
                tokio::spawn(run_tool(Arc::clone(&self.executor), *flash, self.stop_now.clone(), caller));
            }
            Effect::AwaitReturn { device, reply, .. } => self.await_return(device, reply),
            Effect::PowerCycle { device, reply } => self.power_cycle(&device, reply),
            Effect::Ask { question, lease, reply, .. } => self.ask_for_update(*question, lease, reply),
        }
    }

    async fn set_view(&mut self, device: DeviceId, view: FirmwareView) {
        let now = view.state;
        let was = self.show_view(&device, view).await;
        if was == FirmwareState::Updating && now != FirmwareState::Updating {
            self.updated(device).await;
        }
    }

    /// Shows servers and operators what a device's update is at; tells its state before.
    pub(super) async fn show_view(&mut self, device: &DeviceId, view: FirmwareView) -> FirmwareState {
        let was = self.ledger.view(device);
        if was == view {
            return was.state;
        }
        self.ledger.entry(device).set_view(view.clone());
        let (state, result) = (view.state, view.result);
        self.proxy.set_firmware(device, view).await;
        self.feed.tell(News::Firmware { device: device.clone(), state, result });
        if was.state != FirmwareState::Updating && state == FirmwareState::Updating {
            self.registry.hold(device);
            self.tell_no_values(device);
        }
        was.state
    }

    /// An update is over. A device whose link is away just then gets its time to come back, in which servers can read what
    /// came of it.
    async fn updated(&mut self, device: DeviceId) {
        self.returning.remove(&device);
        let profile = self.registry.profile(&device).filter(|_| !self.registry.present(&device));
        let Some(profile) = profile else { return self.let_go(&device).await };
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(profile.expect_return).await;
            // The loop may have ended meanwhile.
            let _ = events.send(Event::Waited(device)).await;
        });
    }

    /// From now on the device goes when its link does, unless another update has begun.
    pub(super) async fn let_go(&mut self, device: &DeviceId) {
        if self.ledger.view(device).state != FirmwareState::Updating {
            let decisions = self.registry.unhold(device);
            self.carry_out(decisions).await;
            self.watch(device);
        }
    }

    fn note(&mut self, device: &DeviceId, update: UpdateId, event: &UpdateEvent) {
        log(device, update, event);
        self.ledger.entry(device).note(update, event);
        if self.feed.is_followed() && !matches!(event, UpdateEvent::ToolPrinted { .. }) {
            self.feed.tell(News::Update { device: device.clone(), update, what: event.clone() });
        }
        if let Some(view) = self.flashings.note(device, event, Instant::now()) {
            self.proxy.set_flashing(device, view);
        }
        let recorded = self.recorder.note(device, update, event, self.registry.device(device), now());
        if let Some(recorded) = recorded {
            self.record(recorded);
        }
    }

    /// What is kept for people is not worth failing an update for.
    fn record(&self, recorded: Recorded) {
        let ack = self.store.record(recorded);
        tokio::spawn(async move {
            if let Err(error) = ack.await {
                tracing::warn!(%error, "an update is missing in the history");
            }
        });
    }

    fn journal(&mut self, entry: JournalEntry, done: oneshot::Sender<Result<(), String>>) {
        let uri = masked_uri(&entry.uri);
        self.ledger.entry(&entry.device).set_journal(&entry, uri);
        if let Some(view) = self.flashings.journal(&entry) {
            self.proxy.set_flashing(&entry.device, view);
        }
        let recorded = self.recorder.journal(&entry, self.registry.device(&entry.device), now());
        let ack = self.store.journal_with(entry, recorded);
        tokio::spawn(async move {
            let result = ack.await.map_err(|error| error.to_string());
            if let Err(error) = &result {
                tracing::error!(error, "the journal cannot be written");
            }
            let _ = done.send(result);
        });
    }

    fn lend(&self, device: &DeviceId, link: &Link, reply: oneshot::Sender<Result<Lease, String>>) {
        let holder = format!("update of {device}");
        let lease = self.leases.take(link, &holder);
        if lease.is_ok() || !self.leases.yields(link) {
            return drop(reply.send(lease.map_err(|held| held.to_string())));
        }
        let (leases, events, link) = (self.leases.clone(), self.events.clone(), link.clone());
        tokio::spawn(async move {
            let lease = leases.preempt(&link, &holder).await.map_err(|held| held.to_string());
            let in_vain = lease.is_err();
            // The update may have been stopped meanwhile: the lease comes back then.
            drop(reply.send(lease));
            if in_vain {
                let _ = events.send(Event::Waits(link)).await;
            }
        });
    }

    fn await_return(&mut self, device: DeviceId, reply: oneshot::Sender<Link>) {
        match self.registry.device(&device).filter(|_| self.registry.present(&device)) {
            Some(info) => drop(reply.send(info.link.clone())),
            None => {
                self.serial.rescan();
                self.returning.insert(device, reply);
            }
        }
    }

    /// Answers who calls a boot loader.
    pub(super) fn tell_where(&self, device: &DeviceId, reply: oneshot::Sender<Option<(Link, Option<u16>)>>) {
        let info = self.registry.device(device).filter(|_| self.registry.present(device));
        if info.is_none() {
            self.serial.rescan();
        }
        // A call that was given up needs no answer.
        let _ = reply.send(info.map(|info| (info.link.clone(), self.registry.usb_product(&info.link))));
    }

    fn ask_for_update(
        &self,
        question: Question,
        lease: Lease,
        reply: oneshot::Sender<(Result<crate::device::Answer, crate::device::QuestionFailed>, Lease)>,
    ) {
        let serial = self.serial.clone();
        tokio::spawn(async move {
            let (lease, outcome) = serial.ask(lease, question).await;
            let _ = reply.send((outcome, lease));
        });
    }
}

fn now() -> When {
    When { unix: start::unix_now(), instant: Instant::now() }
}

/// Runs a tool to its end: let loose when the journal is on the disk, stopped when the update or the gateway says so.
async fn run_tool(executor: Arc<Executor>, flash: Flash, stop_now: CancellationToken, caller: Option<Caller>) {
    let Flash { mut job, mut lease, events, mut release, stop, lease_back } = flash;
    // What is given back in place of the tool's lease.
    let mut kept = None;
    if let Some(caller) = caller {
        let called = tokio::select! {
            called = caller.call(&job.device, lease) => called,
            // The lease comes back by itself.
            () = stopped(&stop, &stop_now) => {
                let detail = "stopped before its boot loader was there".to_owned();
                let outcome = JobOutcome::Failed { class: JobFailure::Interrupted, detail };
                return drop(events.send(JobEvent::Ended(outcome)).await);
            }
        };
        match called {
            Ok(called) => (lease, kept) = (called.lease, called.kept),
            Err((lease, detail)) => {
                let outcome = JobOutcome::Failed { class: JobFailure::NoSync, detail };
                let _ = events.send(JobEvent::Ended(outcome)).await;
                return drop(lease_back.send(lease));
            }
        }
        job.link = lease.link().clone();
    }
    let mut handle = executor.start(job, lease, events);
    let Some(mut back) = handle.take_lease() else { return };
    let (mut held, mut stopping) = (true, false);
    loop {
        tokio::select! {
            journalled = &mut release, if held => {
                held = false;
                if journalled.is_ok() { handle.release() } else { handle.stop() }
            }
            () = stopped(&stop, &stop_now), if !stopping => {
                stopping = true;
                handle.stop();
            }
            lease = &mut back => {
                if let Ok(lease) = lease {
                    let _ = lease_back.send(kept.unwrap_or(lease));
                }
                return;
            }
        }
    }
}

async fn stopped(update: &CancellationToken, gateway: &CancellationToken) {
    tokio::select! { () = update.cancelled() => {}, () = gateway.cancelled() => {} }
}

/// One line for the operator on what changed course; what moves on is for debugging.
fn log(device: &DeviceId, update: UpdateId, event: &UpdateEvent) {
    let span = tracing::info_span!("update", id = %update, %device);
    let _entered = span.enter();
    match event {
        UpdateEvent::ImageStaged { size, sha256, version } => {
            let version = version.as_deref().unwrap_or("unknown");
            info!(size, %sha256, version, "image staged and checked");
        }
        UpdateEvent::StagingFailed { reason } => warn!(reason, "no image was staged"),
        UpdateEvent::Deferred { reason } => info!(reason, "the update waits"),
        UpdateEvent::ToolStarted { tool, tool_version, argv } => {
            info!(tool, version = tool_version.as_deref(), "flashing begins");
            debug!(?argv, "tool");
        }
        UpdateEvent::ToolEnded { outcome: JobOutcome::Verified { bytes } } => info!(bytes, "tool verified the image"),
        UpdateEvent::ToolEnded { outcome: JobOutcome::Saved { size, .. } } => info!(size, "the board's image is saved"),
        // What came of it for the update follows, and is the line that wakes somebody.
        UpdateEvent::ToolEnded { outcome: JobOutcome::Failed { class, detail } } => {
            debug!(?class, detail, "tool failed");
        }
        UpdateEvent::Retrying { attempt, class, reason, vars } => {
            info!(attempt, %class, reason, ?vars, "the tool is run again");
        }
        UpdateEvent::Saving => info!("reading the board first, to have a way back"),
        UpdateEvent::BoardSaved { sha256, version } => {
            info!(%sha256, version = version.as_deref().unwrap_or("unknown"), "what the board held is kept");
        }
        UpdateEvent::NotSaved { reason } => {
            warn!(reason, "there is no way back: what the board held could not be kept");
        }
        UpdateEvent::RollingBack { reason, version } => {
            warn!(reason, version = version.as_deref().unwrap_or("unknown"), "putting the last good image back");
        }
        UpdateEvent::RolledBack { version } => {
            let version = version.as_ref().map(|version| version.text.as_str());
            info!(version, "the last good image is back, and proven");
        }
        UpdateEvent::Quarantined { reason } => warn!(reason, "the board is in quarantine"),
        UpdateEvent::Proving => info!("waiting for the board to tell its version"),
        UpdateEvent::Proven { version } => {
            info!(version = version.as_ref().map(|version| version.text.as_str()), "the update is proven");
        }
        UpdateEvent::UpdateFailed { reason } => warn!(reason, "the update failed"),
        UpdateEvent::Dropped => info!("the image is dropped on request"),
        UpdateEvent::ToolSaid { line } => debug!(line, "tool"),
        UpdateEvent::DownloadProgressed { .. } | UpdateEvent::ToolProgressed { .. } => {
            debug!(?event, "progress");
        }
        // Kept as evidence; line by line it is in the log already.
        UpdateEvent::ToolPrinted { .. } => {}
    }
}
