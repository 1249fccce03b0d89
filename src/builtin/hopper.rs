//! Watches the drop folder, and has it looked into when something has been laid there and is quiet.
//!
//! inotify tells of each folder what was closed after writing, what was moved in, and what was only begun: that is left alone
//! until it is closed. What lay there before the start, and what an overflow of inotify's queue hides, is found by looking. All
//! that touches the disk is done by one blocking job after the other. Driven by the server's task.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinHandle, spawn_blocking};

use super::folder::{Look, Looked, Mark, Place, Record, Root, TargetRecord};
use super::names::{self, Kind};
use super::own::chance;

/// A file is complete when nothing happened to it for so long.
const QUIET: Duration = Duration::from_secs(2);
/// The same for what lay there at the start: nobody has seen whether its writer closed it.
const QUIET_AT_START: Duration = Duration::from_secs(10);
/// The first look: by then most devices have registered.
const FIRST: Duration = Duration::from_secs(5);
/// What could not be moved away is looked at again after so long.
const LEFT: Duration = Duration::from_secs(600);
/// Folders that are watched.
const MAX_PLACES: usize = 1024;
/// Files of one folder that may be written at a time.
const MAX_GROWING: usize = 256;
/// Files that are left alone.
const MAX_LEFT: usize = 1024;
/// What can mean that a file is complete, or that one is begun.
const EVENTS: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW);

/// What is to be done on the disk.
#[derive(Debug)]
enum Job {
    Look(Place),
    Save { id: String, record: Box<Record> },
    Finish { id: String, record: Box<Record>, ok: bool, result: String },
}

/// What was done.
#[derive(Debug)]
pub(super) enum Done {
    /// A folder was looked into.
    Looked(Place, Box<io::Result<Looked>>),
    /// How far an offer is was noted.
    Saved(String, io::Result<()>),
    /// An offer has ended on the disk, too.
    Finished(String, io::Result<()>),
}

/// The drop folder as it is watched.
#[derive(Debug)]
pub(super) struct Hopper {
    path: PathBuf,
    max_size: u64,
    root: Option<Arc<Root>>,
    inotify: Option<AsyncFd<OwnedFd>>,
    watches: HashMap<i32, Place>,
    due: BTreeMap<Place, Instant>,
    growing: HashMap<Place, HashSet<OsString>>,
    left: HashSet<Mark>,
    /// Since when.
    left_since: Option<Instant>,
    /// Folders in which images wait for a device or for their turn.
    waiting: BTreeSet<Place>,
    /// Too many folders: said once.
    full_told: bool,
    jobs: VecDeque<Job>,
    running: Option<JoinHandle<Done>>,
    quiet: Duration,
}

impl Hopper {
    pub(super) fn new(path: &Path, max_size: u64) -> Self {
        Self {
            path: path.to_owned(),
            max_size,
            root: None,
            inotify: None,
            watches: HashMap::new(),
            due: BTreeMap::new(),
            growing: HashMap::new(),
            left: HashSet::new(),
            left_since: None,
            waiting: BTreeSet::new(),
            full_told: false,
            jobs: VecDeque::new(),
            running: None,
            quiet: QUIET_AT_START,
        }
    }

    /// Opens the folder and begins to watch it; what was under way comes back. Blocking, but for a moment.
    ///
    /// # Errors
    /// What keeps it from its work.
    pub(super) fn open(&mut self) -> Result<Vec<(String, Record)>, String> {
        let failed = |error: &io::Error| format!("the drop folder {} cannot be used: {error}", self.path.display());
        let root = Root::open(&self.path).map_err(|error| failed(&error))?;
        let watched = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(io::Error::from);
        let watched = watched.and_then(watched_for_reading);
        let loaded = root.load();
        self.root = Some(Arc::new(root));
        self.inotify = Some(watched.map_err(|error| failed(&error))?);
        self.watch_all(Instant::now() + FIRST);
        Ok(loaded)
    }

    /// Where the files of an offer lie.
    pub(super) fn offer_path(&self, id: &str) -> PathBuf {
        self.root.as_ref().map(|root| root.offer_path(id)).unwrap_or_default()
    }

    /// Makes a folder for files to be laid into, and watches it.
    pub(super) fn make(&mut self, place: &Place) {
        let Some(root) = self.root.clone() else { return };
        if self.watches.values().any(|known| known == place) {
            return;
        }
        if self.watches.len() >= MAX_PLACES {
            if !std::mem::replace(&mut self.full_told, true) {
                tracing::warn!(most = MAX_PLACES, "no further folders to lay images into are watched");
            }
            return;
        }
        if let Err(error) = root.make(place) {
            return tracing::debug!(path = %root.path().join(place.path()).display(), %error, "no folder to lay files into");
        }
        self.watch(&root, place.clone(), Instant::now() + QUIET);
    }

    /// Removes the folder of a device that is forgotten, unless something lies in it. Its watch ends by itself.
    pub(super) fn forget(&self, place: &Place) {
        if let Some(root) = &self.root
            && let Err(error) = root.remove(place)
        {
            tracing::debug!(path = %root.path().join(place.path()).display(), %error, "the folder of a forgotten device stays");
        }
    }

    /// What waited in folders may have its turn.
    pub(super) fn stir(&mut self, ripe: impl Fn(&Place) -> Option<Instant>) {
        let waiting = std::mem::take(&mut self.waiting);
        for place in waiting {
            match ripe(&place) {
                Some(at) => self.is_due(place, at),
                None => drop(self.waiting.insert(place)),
            }
        }
    }

    /// Notes how far an offer is.
    pub(super) fn save(&mut self, id: &str, record: Record) {
        self.jobs.push_back(Job::Save { id: id.to_owned(), record: Box::new(record) });
    }

    /// Ends an offer.
    pub(super) fn finish(&mut self, id: &str, record: Record, ok: bool, result: String) {
        self.jobs.push_back(Job::Finish { id: id.to_owned(), record: Box::new(record), ok, result });
    }

    /// Waits until something was done. To whom an image of a folder goes is asked when it is looked into.
    pub(super) async fn next(&mut self, targets: impl Fn(&Place) -> Result<Vec<TargetRecord>, String>) -> Done {
        loop {
            if let Some(running) = &mut self.running {
                tokio::select! {
                    done = running => {
                        self.running = None;
                        if let Ok(done) = done {
                            return self.take(done);
                        }
                    }
                    () = readable(self.inotify.as_ref()) => self.read(),
                }
                continue;
            }
            if let Some(job) = self.jobs.pop_front() {
                self.begin(job, &targets);
                continue;
            }
            let now = Instant::now();
            let next = self.due.iter().min_by_key(|(_, at)| **at).map(|(place, at)| (place.clone(), *at));
            match next {
                Some((place, at)) if at <= now => {
                    self.due.remove(&place);
                    self.jobs.push_back(Job::Look(place));
                }
                Some((_, at)) => tokio::select! {
                    () = tokio::time::sleep_until(at.into()) => {}
                    () = readable(self.inotify.as_ref()) => self.read(),
                },
                None => {
                    readable(self.inotify.as_ref()).await;
                    self.read();
                }
            }
        }
    }

    fn begin(&mut self, job: Job, targets: &impl Fn(&Place) -> Result<Vec<TargetRecord>, String>) {
        let Some(root) = self.root.clone() else { return };
        if self.left_since.is_some_and(|since| since.elapsed() >= LEFT) {
            (self.left_since, self.left) = (None, HashSet::new());
        }
        self.running = Some(match job {
            Job::Look(place) => {
                let look = Look {
                    targets: targets(&place),
                    growing: self.growing.get(&place).cloned().unwrap_or_default(),
                    left: self.left.clone(),
                    quiet: self.quiet,
                    max_size: self.max_size,
                    id: chance().map(|id| id[..12].to_owned()).unwrap_or_default(),
                    now: super::task::unix_now(),
                    place: place.clone(),
                };
                spawn_blocking(move || Done::Looked(place, Box::new(root.look(&look))))
            }
            Job::Save { id, record } => spawn_blocking(move || {
                let saved = root.save(&id, &record);
                Done::Saved(id, saved)
            }),
            Job::Finish { id, record, ok, result } => spawn_blocking(move || {
                let finished = root.finish(&id, &record, ok, &result);
                Done::Finished(id, finished)
            }),
        });
    }

    /// What follows from a look is arranged here already.
    fn take(&mut self, done: Done) -> Done {
        if let Done::Looked(place, outcome) = &done {
            match outcome.as_ref() {
                Ok(looked) => {
                    if let Some(again) = looked.again {
                        self.is_due(place.clone(), Instant::now() + again + Duration::from_millis(50));
                    }
                    if looked.waiting {
                        self.waiting.insert(place.clone());
                    }
                    if !looked.left.is_empty() {
                        if self.left.len() + looked.left.len() > MAX_LEFT {
                            self.left.clear();
                        }
                        self.left.extend(looked.left.iter().copied());
                        self.left_since.get_or_insert_with(Instant::now);
                        self.due.entry(place.clone()).or_insert_with(|| Instant::now() + LEFT);
                    }
                }
                Err(error) => {
                    tracing::debug!(path = %self.path.join(place.path()).display(), %error, "cannot be looked into");
                }
            }
            if self.due.is_empty() {
                self.quiet = QUIET;
            }
        }
        done
    }

    fn is_due(&mut self, place: Place, at: Instant) {
        self.due.insert(place, at);
    }

    /// Watches what is there; all of it is to be looked into.
    fn watch_all(&mut self, look_at: Instant) {
        let Some(root) = self.root.clone() else { return };
        for place in root.places(MAX_PLACES) {
            self.watch(&root, place, look_at);
        }
    }

    fn watch(&mut self, root: &Root, place: Place, look_at: Instant) {
        let Some(inotify) = &self.inotify else { return };
        let path = root.path().join(place.path());
        // The drop folder itself may be a link of whoever configured it.
        let flags = if place == Place::Root { EVENTS.difference(WatchFlags::DONT_FOLLOW) } else { EVENTS };
        match inotify::add_watch(inotify.get_ref(), &path, flags) {
            Ok(watch) => {
                self.watches.insert(watch, place.clone());
                self.is_due(place, look_at);
            }
            Err(error) => tracing::debug!(path = %path.display(), %error, "not watched"),
        }
    }

    /// Takes what inotify has to tell.
    fn read(&mut self) {
        let mut told = Vec::new();
        if let Some(inotify) = &self.inotify {
            let mut buffer = [MaybeUninit::uninit(); 4096];
            let read = inotify.try_io(Interest::READABLE, |inotify| {
                let mut reader = inotify::Reader::new(inotify, &mut buffer);
                loop {
                    let event = reader.next().map_err(io::Error::from)?;
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                    told.push((event.wd(), event.events(), name));
                    if reader.is_buffer_empty() {
                        return Ok(());
                    }
                }
            });
            if let Err(error) = read.as_ref().map_err(io::Error::kind)
                && error != io::ErrorKind::WouldBlock
            {
                tracing::debug!(?error, "inotify cannot be read");
            }
        }
        for (watch, events, name) in told {
            self.happened(watch, events, name);
        }
    }

    fn happened(&mut self, watch: i32, events: ReadFlags, name: Option<OsString>) {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.growing.clear();
            return self.watch_all(Instant::now() + QUIET);
        }
        if events.contains(ReadFlags::IGNORED) {
            if let Some(place) = self.watches.remove(&watch) {
                self.growing.remove(&place);
                self.waiting.remove(&place);
                self.full_told = false;
            }
            return;
        }
        let (Some(place), Some(name)) = (self.watches.get(&watch).cloned(), name) else { return };
        if events.contains(ReadFlags::ISDIR) {
            return self.folder_came(&place, &name);
        }
        // Ours, or not finished: what it will be called is told when it is.
        if names::kind(&name) == Kind::Ignored {
            return;
        }
        let growing = self.growing.entry(place.clone()).or_default();
        let begun = events.contains(ReadFlags::CREATE);
        let plain = |path: PathBuf| path.symlink_metadata().is_ok_and(|found| found.is_file());
        if begun && growing.len() < MAX_GROWING && plain(self.path.join(place.path()).join(&name)) {
            growing.insert(name);
        } else if !begun && !events.contains(ReadFlags::ATTRIB) {
            growing.remove(&name);
        }
        if growing.is_empty() {
            self.growing.remove(&place);
        }
        self.is_due(place, Instant::now() + QUIET);
    }

    /// Somebody made a folder, or moved one in.
    fn folder_came(&mut self, place: &Place, name: &OsStr) {
        let Some(name) = name.to_str() else { return };
        let Some(root) = self.root.clone() else { return };
        let fresh = match place {
            Place::Root => root.places(MAX_PLACES).into_iter().find(|known| *known == Place::Device(name.to_owned())),
            Place::Boards => root.places(MAX_PLACES).into_iter().find(|known| *known == Place::Board(name.to_owned())),
            Place::Device(_) | Place::Board(_) => None,
        };
        if let Some(fresh) = fresh.filter(|_| self.watches.len() < MAX_PLACES) {
            self.watch(&root, fresh, Instant::now() + QUIET);
        }
    }
}

fn watched_for_reading(inotify: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor names the same file for as long as it lives, which is as long as its registration does.
    #[expect(unsafe_code, reason = "watching for reading only is to be had no other way")]
    let watched = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) };
    Ok(watched?)
}

/// When inotify has something to tell; never without.
async fn readable(inotify: Option<&AsyncFd<OwnedFd>>) {
    match inotify {
        Some(inotify) => drop(inotify.readable().await),
        None => std::future::pending().await,
    }
}
