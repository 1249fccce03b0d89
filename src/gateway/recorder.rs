//! The evidence of updates: puts together what journal, tools and events tell of each one, for the store. It decides
//! nothing, and nothing waits for it.
//!
//! A run of a tool is written down when it begins, so that one whose end nobody saw is known as that, and again when it
//! ends.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use crate::device::{
    AttemptRecord, AttemptState, AttemptTask, DeviceId, DeviceInfo, FlashJob, GatewayRecord, ImageRecord, JobOutcome,
    JobStart, JobTask, JournalEntry, JournalStep, OpenRecord, Recorded, StagedImage, TimedEvent, UpdateEvent, UpdateId,
    UpdateOutcome, UpdateRecord, UpdateResult, masked_uri,
};

/// So many events of one update are kept, the first and the last ones.
const MAX_EVENTS: usize = 128;

/// When something happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    /// Seconds since 1970.
    pub(super) unix: i64,
    /// For durations: no clock that somebody sets.
    pub(super) instant: Instant,
}

/// The updates as they go on.
#[derive(Debug)]
pub(super) struct Recorder {
    gateway: GatewayRecord,
    updates: HashMap<DeviceId, Update>,
}

/// One device's last update.
#[derive(Debug)]
struct Update {
    record: UpdateRecord,
    /// Runs of tools so far.
    attempts: u32,
    /// The last run.
    attempt: Option<AttemptRecord>,
    /// Since when that run goes on, while it does.
    running: Option<Instant>,
    /// Since when flash and proof go on, while they do.
    working: Option<Instant>,
    /// The last good image is back since the last run.
    rolled_back: bool,
}

impl Recorder {
    /// Goes on with what an earlier gateway left open.
    pub(super) fn new(gateway: &str, open: Vec<OpenRecord>) -> Self {
        let gateway = GatewayRecord { name: gateway.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let updates = open.into_iter().map(|open| {
            let update = Update {
                record: open.record,
                attempts: open.attempts,
                attempt: None,
                running: None,
                working: None,
                rolled_back: false,
            };
            (update.record.device.clone(), update)
        });
        Self { gateway, updates: updates.collect() }
    }

    /// A run of a tool was ordered, the board's usual variables being these.
    pub(super) fn run(&mut self, job: &FlashJob, usual: Option<&BTreeMap<String, String>>, when: When) {
        let update = self.update(&job.device, job.update, None, when);
        update.attempts += 1;
        let task = task(job, update.record.image.as_ref());
        update.attempt = Some(attempt(update.attempts, task, job, usual, when));
        update.rolled_back = false;
        update.running = Some(when.instant);
        update.working.get_or_insert(when.instant);
        update.record.outcome = UpdateOutcome::UnderWay;
        update.record.reason = None;
    }

    /// The journal is about to say this of an update; what that changes is to be written with it.
    pub(super) fn journal(&mut self, entry: &JournalEntry, info: Option<&DeviceInfo>, when: When) -> Option<Recorded> {
        let update = self.update(&entry.device, entry.update, info, when);
        let before = update.record.clone();
        update.take_over(entry);
        let started = match &entry.step {
            JournalStep::Flashing { start, .. } => update.started(start),
            JournalStep::Closed { outcome, .. } => {
                update.close(outcome.as_ref().err(), entry.view.result, when);
                None
            }
            _ => None,
        };
        update.changed(&before, started)
    }

    /// Something happened in an update.
    pub(super) fn note(
        &mut self,
        device: &DeviceId,
        update: UpdateId,
        event: &UpdateEvent,
        info: Option<&DeviceInfo>,
        when: When,
    ) -> Option<Recorded> {
        let update = self.update(device, update, info, when);
        let before = update.record.clone();
        let ended = match event {
            UpdateEvent::ToolPrinted { output } => {
                update.attempt.iter_mut().for_each(|attempt| attempt.output = Some(output.clone()));
                None
            }
            UpdateEvent::ToolEnded { outcome } => update.ended(outcome, when),
            UpdateEvent::RolledBack { version } => {
                update.record.version_after.clone_from(version);
                update.rolled_back = true;
                None
            }
            UpdateEvent::UpdateFailed { reason } => {
                let outcome = if update.rolled_back { UpdateOutcome::RolledBack } else { UpdateOutcome::Failed };
                update.decide(outcome, Some(reason), when);
                update.cut_off()
            }
            _ => None,
        };
        if is_kept(event) {
            update.keep(event, when);
        }
        update.changed(&before, ended)
    }

    fn update(&mut self, device: &DeviceId, id: UpdateId, info: Option<&DeviceInfo>, when: When) -> &mut Update {
        let gateway = &self.gateway;
        let fresh = || Update::new(device, id, gateway.clone(), info, when);
        let update = self.updates.entry(device.clone()).or_insert_with(fresh);
        if update.record.update != id {
            *update = fresh();
        }
        update
    }
}

impl Update {
    fn new(device: &DeviceId, id: UpdateId, gateway: GatewayRecord, info: Option<&DeviceInfo>, when: When) -> Self {
        let record = UpdateRecord {
            update: id,
            device: device.clone(),
            endpoint: info.map(|info| info.endpoint.clone()),
            identity: info.map(|info| info.identity.clone()),
            board: info.map(|info| info.board.clone()),
            gateway: Some(gateway),
            requester: None,
            uri: None,
            began: when.unix,
            ended: None,
            took_ms: None,
            outcome: UpdateOutcome::UnderWay,
            reason: None,
            version_before: info.and_then(|info| info.version.clone()),
            version_after: None,
            image: None,
            events: Vec::new(),
            left_out: 0,
        };
        Self { record, attempts: 0, attempt: None, running: None, working: None, rolled_back: false }
    }

    fn take_over(&mut self, entry: &JournalEntry) {
        let record = &mut self.record;
        record.requester = Some(entry.requester.clone());
        record.uri = (!entry.uri.is_empty()).then(|| masked_uri(&entry.uri));
        if entry.version_before.is_some() {
            record.version_before.clone_from(&entry.version_before);
        }
        match &entry.step {
            JournalStep::Staged { image }
            | JournalStep::Flashing { image, .. }
            | JournalStep::Proving { image, .. } => record.image = Some(image_record(image)),
            JournalStep::Closed { outcome: Ok(version), .. } => record.version_after.clone_from(version),
            JournalStep::Closed { .. } | JournalStep::Downloading { .. } => {}
        }
    }

    /// The process exists; it runs once the journal is on the disk.
    fn started(&mut self, start: &JobStart) -> Option<AttemptRecord> {
        let attempt = self.attempt.as_mut()?;
        attempt.tool = Some(start.tool.clone());
        attempt.tool_version.clone_from(&start.tool_version);
        attempt.program = Some(start.program.clone());
        attempt.argv.clone_from(&start.argv);
        Some(attempt.clone())
    }

    fn ended(&mut self, outcome: &JobOutcome, when: When) -> Option<AttemptRecord> {
        let began = self.running.take()?;
        let attempt = self.attempt.as_mut()?;
        attempt.outcome = Some(outcome.clone());
        attempt.state = AttemptState::Ended;
        attempt.took_ms = Some(milliseconds(began, when));
        Some(attempt.clone())
    }

    /// The update has its verdict, and a run whose end was not told.
    fn cut_off(&mut self) -> Option<AttemptRecord> {
        self.running.take()?;
        let attempt = self.attempt.as_mut()?;
        attempt.state = AttemptState::Interrupted;
        Some(attempt.clone())
    }

    fn close(&mut self, reason: Option<&String>, result: UpdateResult, when: When) {
        let outcome = match (reason, result) {
            (None, _) => UpdateOutcome::Proven,
            _ if self.attempts > 0 => UpdateOutcome::Failed,
            (_, UpdateResult::Initial | UpdateResult::Cancelled) => UpdateOutcome::Dropped,
            _ => UpdateOutcome::Refused,
        };
        // Why a flash failed matters more than that its image was given up later.
        let failed = matches!(self.record.outcome, UpdateOutcome::Failed | UpdateOutcome::RolledBack);
        if reason.is_none() || !failed {
            self.decide(outcome, reason, when);
        }
        // The wall clock may have been set back meanwhile.
        self.record.ended = Some(when.unix.max(self.record.began));
    }

    fn decide(&mut self, outcome: UpdateOutcome, reason: Option<&String>, when: When) {
        self.record.outcome = outcome;
        self.record.reason = reason.cloned();
        if let Some(since) = self.working.take() {
            let took = self.record.took_ms.unwrap_or(0).saturating_add(milliseconds(since, when));
            self.record.took_ms = Some(took);
        }
    }

    fn keep(&mut self, event: &UpdateEvent, when: When) {
        let record = &mut self.record;
        if record.events.last().is_some_and(|last| last.event == *event) {
            return;
        }
        if record.events.len() >= MAX_EVENTS {
            record.events.remove(MAX_EVENTS / 2);
            record.left_out = record.left_out.saturating_add(1);
        }
        record.events.push(TimedEvent { at: when.unix, event: event.clone() });
    }

    fn changed(&self, before: &UpdateRecord, attempt: Option<AttemptRecord>) -> Option<Recorded> {
        let changed = attempt.is_some() || *before != self.record;
        changed.then(|| Recorded { record: self.record.clone(), attempt })
    }
}

/// What is written is the update's own image, or one to go back to.
fn task(job: &FlashJob, image: Option<&ImageRecord>) -> AttemptTask {
    match job.task {
        JobTask::Backup { .. } => AttemptTask::Backup,
        JobTask::Flash if image.is_some_and(|image| image.sha256 != job.image.sha256) => AttemptTask::Restore,
        JobTask::Flash => AttemptTask::Flash,
    }
}

fn attempt(
    number: u32,
    task: AttemptTask,
    job: &FlashJob,
    usual: Option<&BTreeMap<String, String>>,
    when: When,
) -> AttemptRecord {
    let is_changed =
        |name: &str, value: &str| usual.is_some_and(|usual| usual.get(name).is_none_or(|had| had != value));
    let changed = job.vars.iter().filter(|(name, value)| is_changed(name, value));
    AttemptRecord {
        number,
        task,
        state: AttemptState::Running,
        began: when.unix,
        took_ms: None,
        tool: None,
        tool_version: None,
        program: None,
        argv: Vec::new(),
        link: Some(job.link.clone()),
        changed: changed.map(|(name, value)| (name.clone(), value.clone())).collect(),
        outcome: None,
        output: None,
    }
}

fn image_record(image: &StagedImage) -> ImageRecord {
    ImageRecord {
        sha256: image.sha256,
        size: image.size,
        format: image.info.format,
        flash_bytes: image.info.flash_bytes,
        version: image.version.clone(),
        signed_by: image.signed_by.clone(),
    }
}

/// Progress is of the moment, and a run of a tool has its own record.
fn is_kept(event: &UpdateEvent) -> bool {
    !matches!(
        event,
        UpdateEvent::DownloadProgressed { .. }
            | UpdateEvent::ToolStarted { .. }
            | UpdateEvent::ToolProgressed { .. }
            | UpdateEvent::ToolSaid { .. }
            | UpdateEvent::ToolPrinted { .. }
            | UpdateEvent::ToolEnded { .. }
    )
}

fn milliseconds(since: Instant, when: When) -> u64 {
    u64::try_from(when.instant.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX)
}
