//! Boards that show themselves as disks: UF2 boot loaders and DAPLinks, known by a text file in their root.
//!
//! The kernel tells when the table of mounts changes (proc_pid_mounts(5)) and when a device is pulled out; nothing is polled,
//! but for the site's own `[disk] paths`, where something may come that makes no event. Nothing is mounted, written, or
//! followed. A disk that hangs keeps a thread of its own and nobody else. Driven by `gateway`; what is told goes the way of what
//! discoveries tell, and nothing can be asked over these links.

mod look;
mod mounts;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};

use self::look::Place;
use self::mounts::Table;
use super::patterns::{PatternError, Patterns};
use super::telling::Telling;
use super::{DiskSettings, Event};
use crate::device::{Link, LinkReport};

/// Pause between two looks, however often something changes.
const REST: Duration = Duration::from_millis(200);
/// How long a look may take before that is told.
const LIMIT: Duration = Duration::from_secs(10);
/// How often the site's own folders are looked into although nothing points to a change.
const AGAIN: Duration = Duration::from_secs(30);
/// Most looks at one time; the others wait.
const MAX_LOOKS: usize = 16;
/// Most folders of the site's own.
const MAX_NAMED: usize = 256;
/// What has come of looks and waits to be taken up.
const WAITING: usize = 16;
/// Where the kernel makes the nodes of block devices, and takes them away.
const DEVICES: &str = "/dev";
/// What can mean another board in a folder of the site's own.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DONT_FOLLOW)
    .union(WatchFlags::ONLYDIR);

/// Starts looking at disks. Ends when nobody takes its events.
///
/// # Errors
/// When `paths` holds what is no pattern.
pub fn spawn(settings: &DiskSettings, events: mpsc::Sender<Event>) -> Result<(), PatternError> {
    let patterns = Arc::new(Patterns::compile(&settings.paths)?);
    if settings.enabled {
        tokio::spawn(watch(patterns, events));
    }
    Ok(())
}

/// What runs on a thread of its own, since it may hang.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    /// Reads the table of mounts.
    Table,
    /// Looks which of the site's own folders are there.
    Named,
    /// Looks at one place.
    Look(Place),
}

/// What came of it.
#[derive(Debug)]
enum Done {
    Table(io::Result<Table>),
    Named(BTreeSet<PathBuf>),
    Look(io::Result<Option<LinkReport>>),
}

#[derive(Debug)]
struct Running {
    since: Instant,
    /// It is to be done once more, since something has changed meanwhile.
    again: bool,
}

/// What is known of disks.
#[derive(Debug)]
struct Disks {
    patterns: Arc<Patterns>,
    inotify: Option<Arc<OwnedFd>>,
    done: mpsc::Sender<(Job, Done)>,
    running: BTreeMap<Job, Running>,
    waiting: BTreeSet<Job>,
    table: Arc<Table>,
    named: BTreeSet<PathBuf>,
    found: BTreeMap<Place, Option<LinkReport>>,
    telling: Telling,
    /// Why the table cannot be read.
    blind: Option<String>,
}

async fn watch(patterns: Arc<Patterns>, events: mpsc::Sender<Event>) {
    let mounts = File::open(mounts::MOUNTS).and_then(|file| watched(file.into(), Interest::PRIORITY));
    let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map(Arc::new);
    let devices = inotify
        .as_ref()
        .ok()
        .and_then(|inotify| inotify::add_watch(&**inotify, DEVICES, WatchFlags::DELETE | WatchFlags::ONLYDIR).ok());
    // Both ends are one inotify: where folders are added must not wait for where news are.
    let end = inotify.as_ref().ok().and_then(|inotify| inotify.try_clone().ok());
    let folders = end.and_then(|end| watched(end, Interest::READABLE).ok());
    let (done, mut news) = mpsc::channel(WAITING);
    let mut disks = Disks::new(patterns, inotify.ok(), done);
    disks.start(Job::Table);
    loop {
        let now = Instant::now();
        disks.tell_troubles(mounts.as_ref().err(), now);
        if disks.telling.tell_all(&events, log).await.is_err() {
            return;
        }
        let (overdue, again) = (disks.overdue_at(now), (!disks.patterns.is_empty()).then(|| now + AGAIN));
        tokio::select! {
            Some((job, done)) = news.recv() => disks.finish(job, done),
            () = changed(mounts.as_ref().ok(), now + REST) => disks.start(Job::Table),
            () = changed(folders.as_ref(), now + REST) => disks.drain(devices),
            () = at(overdue) => {}
            () = at(again) => disks.start(Job::Named),
            () = events.closed() => return,
        }
    }
}

#[expect(unsafe_code, reason = "tokio asks for a promise that the descriptor stays the same one")]
fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one descriptor for as long as it lives, and it is never replaced inside the `AsyncFd`.
    Ok(unsafe { AsyncFd::register_with_interest(fd, interest) }?)
}

/// Waits until something is there to be taken up, but not before this moment.
async fn changed(fd: Option<&AsyncFd<OwnedFd>>, not_before: Instant) {
    let Some(Ok(mut ready)) = (match fd {
        Some(fd) => Some(fd.ready(Interest::READABLE | Interest::PRIORITY).await),
        None => None,
    }) else {
        return pending().await;
    };
    sleep_until(not_before).await;
    ready.clear_ready();
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

impl Disks {
    fn new(patterns: Arc<Patterns>, inotify: Option<Arc<OwnedFd>>, done: mpsc::Sender<(Job, Done)>) -> Self {
        Self {
            patterns,
            inotify,
            done,
            running: BTreeMap::new(),
            waiting: BTreeSet::new(),
            table: Arc::default(),
            named: BTreeSet::new(),
            found: BTreeMap::new(),
            telling: Telling::new("disk"),
            blind: None,
        }
    }

    /// Has something done; at most once at a time.
    fn start(&mut self, job: Job) {
        if let Some(running) = self.running.get_mut(&job) {
            running.again = true;
            return;
        }
        let looks = self.running.keys().filter(|job| matches!(job, Job::Look(_))).count();
        if matches!(job, Job::Look(_)) && looks >= MAX_LOOKS {
            self.waiting.insert(job);
            return;
        }
        let (patterns, table, inotify) =
            (Arc::clone(&self.patterns), Arc::clone(&self.table), self.inotify.as_ref().map(Arc::clone));
        let (done, own) = (self.done.clone(), job.clone());
        let work = move || {
            let run = AssertUnwindSafe(|| own.run(&patterns, &table, inotify.as_deref()));
            let outcome = panic::catch_unwind(run).unwrap_or_else(|_| own.failed());
            // Nobody may want to know any more.
            let _ = done.blocking_send((own, outcome));
        };
        // None of the runtime's own threads: those are waited for at the end.
        match thread::Builder::new().name("disk".to_owned()).spawn(work) {
            Ok(_) => drop(self.running.insert(job, Running { since: Instant::now(), again: false })),
            Err(error) => debug!(%error, "no thread to look at a disk"),
        }
    }

    /// Takes up what came of something.
    fn finish(&mut self, job: Job, done: Done) {
        let again = self.running.remove(&job).is_some_and(|running| running.again);
        match (&job, done) {
            (_, Done::Table(Ok(table))) => {
                self.blind = None;
                self.table = Arc::new(table);
                self.look_around();
                if !self.patterns.is_empty() {
                    self.start(Job::Named);
                }
            }
            (_, Done::Table(Err(error))) => {
                self.blind = Some(format!("the table of mounts cannot be read ({error}): no disk is found"));
            }
            (_, Done::Named(named)) => {
                self.named = named;
                self.look_around();
                // Something may have changed inside.
                let places: Vec<Place> = self.found.keys().filter(|place| !place.is_disk).cloned().collect();
                places.into_iter().for_each(|place| self.start(Job::Look(place)));
            }
            (Job::Look(place), Done::Look(seen)) => {
                if let Err(error) = &seen {
                    debug!(path = %place.path.display(), %error, "a disk cannot be looked at");
                }
                if let Some(known) = self.found.get_mut(place) {
                    *known = seen.unwrap_or(None);
                }
            }
            (Job::Table | Job::Named, Done::Look(_)) => {}
        }
        self.tell_links();
        let wanted = |job: &Job| !matches!(job, Job::Look(place) if !self.found.contains_key(place));
        if again && wanted(&job) {
            self.start(job);
        }
        while let Some(job) = self.waiting.pop_first() {
            let gone = matches!(&job, Job::Look(place) if !self.found.contains_key(place));
            if !gone {
                self.start(job);
                break;
            }
        }
    }

    /// Brings the places up to date, and looks at the new ones.
    fn look_around(&mut self) {
        let disks = self.table.disks();
        let mut places: BTreeSet<Place> = disks
            .map(|(path, mount)| Place { path: path.clone(), mount: Some((mount.id, mount.device)), is_disk: true })
            .collect();
        let named = self.named.iter().filter(|path| !self.table.would_mount(path));
        places.extend(named.map(|path| {
            let mount = self.table.at(path).map(|mount| (mount.id, mount.device));
            Place { path: path.clone(), mount, is_disk: false }
        }));
        self.found.retain(|place, _| places.contains(place));
        for place in places {
            if !self.found.contains_key(&place) {
                self.found.insert(place.clone(), None);
                self.start(Job::Look(place));
            }
        }
    }

    fn tell_links(&mut self) {
        let mut links: BTreeMap<Link, LinkReport> = BTreeMap::new();
        for report in self.found.values().flatten() {
            links.entry(report.link.clone()).or_insert_with(|| report.clone());
        }
        let gone: Vec<Link> = self.telling.links().filter(|link| !links.contains_key(*link)).cloned().collect();
        gone.iter().for_each(|link| self.telling.remove(link));
        links.into_values().for_each(|report| self.telling.put(report));
    }

    /// Takes inotify's news; what exactly they are does not matter, but whether they are of a device.
    fn drain(&mut self, devices: Option<i32>) {
        let Some(inotify) = self.inotify.clone() else { return };
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&*inotify, &mut buffer);
        let (mut pulled, mut other) = (false, false);
        while let Ok(event) = reader.next() {
            let of_device = Some(event.wd()) == devices;
            (pulled, other) = (pulled || of_device, other || !of_device);
        }
        if pulled {
            self.start(Job::Table);
        }
        if other {
            self.start(Job::Named);
        }
    }

    /// When the next look will have taken too long.
    fn overdue_at(&self, now: Instant) -> Option<Instant> {
        self.running.values().map(|running| running.since + LIMIT).filter(|at| *at > now).min()
    }

    fn tell_troubles(&mut self, deaf: Option<&io::Error>, now: Instant) {
        let deaf = deaf
            .map(|error| format!("the kernel does not tell of mounts ({error}): disks are found at the start only"));
        let slow = self.running.iter().filter(|(_, running)| running.since + LIMIT <= now).map(|(job, _)| match job {
            Job::Table => "the kernel does not tell what is mounted".to_owned(),
            Job::Named => "the folders in `paths` do not answer: one of them may be on a disk that hangs".to_owned(),
            Job::Look(place) => {
                format!("the disk at {} does not answer: unplug it, or unmount it", place.path.display())
            }
        });
        let all: Vec<String> = deaf.into_iter().chain(self.blind.clone()).chain(slow).collect();
        self.telling.set_trouble((!all.is_empty()).then(|| all.join("; ")));
    }
}

impl Job {
    fn run(&self, patterns: &Patterns, table: &Table, inotify: Option<&OwnedFd>) -> Done {
        match self {
            Self::Table => Done::Table(Table::read()),
            Self::Named => Done::Named(named(patterns, table, inotify)),
            Self::Look(place) => {
                // Looking up a mount's root may hang already.
                if let Some(inotify) = inotify.filter(|_| !place.is_disk && place.mount.is_some()) {
                    watch_folder(inotify, &place.path);
                }
                Done::Look(place.look())
            }
        }
    }

    fn failed(&self) -> Done {
        match self {
            Self::Table => Done::Table(Err(io::Error::other("it has no sense"))),
            Self::Named => Done::Named(BTreeSet::new()),
            Self::Look(_) => Done::Look(Ok(None)),
        }
    }
}

/// The site's own folders that there are. They are watched from now on, and so are the ones above them; what is mounted there is
/// not touched, since it may hang.
fn named(patterns: &Patterns, table: &Table, inotify: Option<&OwnedFd>) -> BTreeSet<PathBuf> {
    let mut folders: BTreeSet<PathBuf> = patterns.folders().filter_map(|folder| existing(&folder)).collect();
    let mut named = BTreeSet::new();
    let watch = |folder: &Path| {
        if let Some(inotify) = inotify.filter(|_| !table.would_mount(folder)) {
            watch_folder(inotify, folder);
        }
    };
    // Watched first, so that nothing comes unseen between.
    folders.iter().for_each(|folder| watch(folder));
    for path in patterns.expand() {
        if named.len() >= MAX_NAMED || table.would_mount(&path) {
            continue;
        }
        if table.at(&path).is_none() {
            if !path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                continue;
            }
            watch(&path);
        }
        if let Some(above) = path.parent().filter(|above| folders.insert((*above).to_owned())) {
            watch(above);
        }
        named.insert(path);
    }
    named
}

fn watch_folder(inotify: &OwnedFd, folder: &Path) {
    if let Err(error) = inotify::add_watch(inotify, folder, EVENTS) {
        debug!(folder = %folder.display(), %error, "changes in this folder are found later");
    }
}

/// A folder, or the nearest one above it that is there.
fn existing(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|path| path.is_dir()).map(Path::to_owned)
}

fn log(event: &Event) {
    match event {
        Event::Appeared(report) => info!(link = %report.link, "a board's disk appeared"),
        Event::Vanished(link) => info!(%link, "a board's disk vanished"),
        Event::Changed(_) | Event::Trouble { .. } => {}
    }
}
