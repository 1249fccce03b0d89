//! Stands in for the gateway round the manager: a store, a lease table, a tool and a board, all as a test wants them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nuncio::device::{
    Answer, DeviceId, FirmwareOrder, FirmwareReply, FirmwareRight, FirmwareView, FlashProfile, ImageWriter, JobEvent,
    JobOutcome, JournalEntry, JournalStep, Lease, Link, Phase, UpdateId,
};
use nuncio::update::{Adoption, DownloadSettings, Effect, Flash, Handle, Manager, Setup, Signatures, UpdateSettings};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::bench::start;
use crate::support::{server, version};

/// Longest wait for anything; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the world round the manager behaves.
#[derive(Default)]
pub(crate) struct World {
    /// The link is held by somebody else.
    pub(crate) held: AtomicBool,
    /// The store's disk is full.
    pub(crate) full: AtomicBool,
    /// Every question is dropped unanswered.
    pub(crate) deaf: AtomicBool,
    /// The tool runs until this is cleared.
    pub(crate) endless: AtomicBool,
    /// What the board tells after a flash.
    pub(crate) version: Mutex<String>,
    /// What is on the store's disk.
    pub(crate) store: Mutex<HashMap<UpdateId, JournalEntry>>,
    /// Leases that are out now.
    pub(crate) leases: Arc<Mutex<Vec<Link>>>,
    /// Bytes that were flashed last.
    pub(crate) flashed: Mutex<Vec<u8>>,
    /// States and results as they were told.
    pub(crate) told: Mutex<HashMap<DeviceId, Vec<(u8, u8)>>>,
}

/// A manager in its world.
pub(crate) struct Gateway {
    pub(crate) handle: Handle,
    pub(crate) world: Arc<World>,
    views: watch::Receiver<HashMap<DeviceId, FirmwareView>>,
    manager: JoinHandle<()>,
    folder: Arc<TempDir>,
}

pub(crate) fn device(name: &str) -> DeviceId {
    DeviceId::new(name)
}

pub(crate) fn link_of(device: &DeviceId) -> Link {
    format!("serial:/dev/tty-{device}").parse().expect("a link")
}

impl Gateway {
    pub(crate) fn start(update: UpdateSettings, download: &DownloadSettings) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        Self::start_in(folder, Arc::new(World::default()), update, download)
    }

    fn start_in(folder: Arc<TempDir>, world: Arc<World>, update: UpdateSettings, download: &DownloadSettings) -> Self {
        let journal = world.store.lock().expect("store").values().cloned().collect();
        let (out, effects) = mpsc::channel(8);
        let signatures = Arc::new(Signatures::load(&update).expect("no keys"));
        let setup =
            Setup { update, download, served: None, staging: folder.path(), signatures, brakes: Vec::new(), journal };
        let (handle, manager) = Manager::spawn(setup, out).expect("a manager");
        let (tell, views) = watch::channel(HashMap::new());
        tokio::spawn(take(effects, Arc::clone(&world), tell));
        Self { handle, world, views, manager, folder }
    }

    /// Kills the manager where it stands, and starts another on what is on the disk.
    pub(crate) async fn restart(self, update: UpdateSettings, download: &DownloadSettings) -> Self {
        self.manager.abort();
        // Aborted, as it should be.
        let _ = self.manager.await;
        Self::start_in(self.folder, self.world, update, download)
    }

    pub(crate) async fn adopt(&self, device: &DeviceId, profile: &Arc<FlashProfile>) -> Option<FirmwareView> {
        let link = link_of(device);
        let (device, profile) = (device.clone(), Arc::clone(profile));
        self.handle
            .adopt(Adoption { device, profile, link, version: None, worked: None, hub: None, power_cycle: false })
            .await
    }

    pub(crate) async fn order(&self, device: &DeviceId, order: FirmwareOrder) -> FirmwareReply {
        self.handle.order(device.clone(), server(1), FirmwareRight::Own, order).await
    }

    pub(crate) async fn done(&self, device: &DeviceId, order: FirmwareOrder) {
        let reply = self.order(device, order).await;
        assert!(matches!(reply, FirmwareReply::Done), "{reply:?}");
    }

    pub(crate) async fn writer(&self, device: &DeviceId) -> Box<dyn ImageWriter> {
        match self.order(device, FirmwareOrder::Push).await {
            FirmwareReply::Writer(writer) => writer,
            reply => panic!("no writer but {reply:?}"),
        }
    }

    pub(crate) async fn push(&self, device: &DeviceId, bytes: &[u8]) {
        let mut writer = self.writer(device).await;
        for part in bytes.chunks(1024) {
            writer.write(part).expect("room");
        }
        writer.finish();
    }

    /// Waits until servers read this state and result.
    pub(crate) async fn until(&self, device: &DeviceId, state: u8, result: u8) -> FirmwareView {
        let mut views = self.views.clone();
        let wanted = |view: &FirmwareView| (view.state as u8, view.result as u8) == (state, result);
        let found = tokio::time::timeout(PATIENCE, views.wait_for(|views| views.get(device).is_some_and(wanted))).await;
        match found {
            Ok(views) => views.expect("a gateway")[device].clone(),
            Err(_) => panic!("{state}/{result} never came, only {:?}", self.told(device)),
        }
    }

    pub(crate) fn told(&self, device: &DeviceId) -> Vec<(u8, u8)> {
        self.world.told.lock().expect("told").get(device).cloned().unwrap_or_default()
    }

    /// Names of the files in staging.
    pub(crate) fn staged(&self) -> Vec<PathBuf> {
        files(self.folder.path())
    }

    pub(crate) fn good(&self) -> Vec<PathBuf> {
        files(&self.folder.path().join("good"))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until something is so that nobody tells.
    pub(crate) async fn until_so(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let wait = async {
            while !so(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    pub(crate) fn journal(&self) -> Vec<JournalStep> {
        self.world.store.lock().expect("store").values().map(|entry| entry.step.clone()).collect()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.is_file()).collect()
}

async fn take(
    mut effects: mpsc::Receiver<Effect>,
    world: Arc<World>,
    views: watch::Sender<HashMap<DeviceId, FirmwareView>>,
) {
    while let Some(effect) = effects.recv().await {
        if world.deaf.load(Ordering::Relaxed)
            && !matches!(effect, Effect::View { .. } | Effect::Answer { .. } | Effect::Journal { .. })
        {
            continue;
        }
        match effect {
            Effect::View { device, view } => {
                let shown = (view.state as u8, view.result as u8);
                let mut told = world.told.lock().expect("told");
                let told = told.entry(device.clone()).or_default();
                if told.last() != Some(&shown) {
                    told.push(shown);
                }
                views.send_modify(|views| drop(views.insert(device, *view)));
            }
            Effect::Journal { entry, done } => {
                let full = world.full.load(Ordering::Relaxed);
                let result = if full { Err("no space left".to_owned()) } else { Ok(()) };
                if !full {
                    world.store.lock().expect("store").insert(entry.update, *entry);
                }
                let _ = done.send(result);
            }
            Effect::TakeLease { link, reply, .. } => {
                let _ = reply.send(lease(&world, link));
            }
            Effect::Flash(flash) => drop(tokio::spawn(tool(*flash, Arc::clone(&world)))),
            Effect::AwaitReturn { device, reply, .. } => {
                let _ = reply.send(link_of(&device));
            }
            Effect::PowerCycle { reply, .. } => drop(reply.send(Err("there is no hub".to_owned()))),
            Effect::Ask { lease, reply, .. } => {
                let told = Some(version(&world.version.lock().expect("version")));
                let _ = reply.send((Ok(Answer { evidence: Vec::new(), version: told }), lease));
            }
            Effect::Answer { reply, answer } => drop(reply.send(answer)),
            Effect::Event { .. }
            | Effect::VersionRead { .. }
            | Effect::Quarantine { .. }
            | Effect::Worked { .. }
            | Effect::WayBack { .. }
            | Effect::Brake { .. } => {}
        }
    }
}

fn lease(world: &World, link: Link) -> Result<Lease, String> {
    let mut leases = world.leases.lock().expect("leases");
    if world.held.load(Ordering::Relaxed) || leases.contains(&link) {
        return Err("somebody else".into());
    }
    leases.push(link.clone());
    let table = Arc::clone(&world.leases);
    let back = move |link: &Link| table.lock().expect("leases").retain(|leased| leased != link);
    Ok(Lease::new(link, "update", Box::new(back)))
}

/// A tool that reads the whole image and verifies it.
async fn tool(flash: Flash, world: Arc<World>) {
    let Flash { job, lease, events, release, stop, lease_back } = flash;
    events.send(JobEvent::Ready(start())).await.expect("a manager");
    let failed = |detail: &str| {
        let class = nuncio::device::JobFailure::Interrupted;
        JobEvent::Ended(JobOutcome::Failed { class, detail: detail.to_owned() })
    };
    let end = tokio::select! {
        released = release => match released {
            Ok(()) => {
                let journalled = world.store.lock().expect("store").get(&job.update).cloned();
                let step = journalled.expect("an entry").step;
                assert!(matches!(step, JournalStep::Flashing { .. }), "released without a journal: {step:?}");
                *world.flashed.lock().expect("flashed") = std::fs::read(&job.image.path).expect("the image");
                let _ = events.send(JobEvent::Progress { phase: Phase::Write, percent: 50 }).await;
                while world.endless.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                JobEvent::Ended(JobOutcome::Verified { bytes: job.image.info.flash_bytes })
            }
            Err(_) => failed("never released"),
        },
        () = stop.cancelled() => failed("stopped"),
    };
    // A manager that was killed hears nothing.
    let _ = events.send(end).await;
    let _ = lease_back.send(lease);
}
