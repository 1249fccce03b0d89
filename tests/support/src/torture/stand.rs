//! A stand: one world with one board and one daemon, whose device both servers watch.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::case::Tool;
use super::chip::{Chip, Image};
use super::killer;
use super::rest;
use super::truth;
use super::watch::{self, Watch};
use crate::process::Printed;
use crate::{Esptool, Leshan, Scene, World, eventually};

/// Many times what staging 4 KB takes.
const STAGING: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(2);
/// A simulated chip that gets too little of the machine loses bytes; so often a new stand may try.
const ROUNDS: u32 = 4;

/// Why a case could not be carried through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    /// The run is being stopped.
    Stopped,
    /// This did not happen within its limit.
    Late(String),
}

/// How long an undisturbed update took here.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usual {
    /// From the Write of the URI to the proof.
    pub(super) update: Duration,
    /// From the tool's first sign to its last.
    pub(super) tool: Duration,
}

/// Answers to an update's two orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ordered {
    /// CoAP's code for the Write; 0 for no answer.
    pub(super) write: u16,
    /// The same for the Execute. `None`: it never came to that.
    pub(super) execute: Option<u16>,
}

pub(super) struct Stand {
    pub(super) scene: Scene,
    pub(super) chip: Chip,
    pub(super) tool: Tool,
    pub(super) images: [Image; 2],
    pub(super) watches: [Watch; 2],
    pub(super) usual: Usual,
    /// How many updates were proven at the first try, and nobody in their way.
    undisturbed: u32,
    /// The device node behind the board's link.
    pub(super) node: Option<PathBuf>,
    /// What daemons that are dead by now have logged in this case.
    pub(super) earlier: String,
    pub(super) stop: Arc<AtomicBool>,
}

impl Stand {
    /// Plugs a board in, starts a daemon, and carries one update through to know how long it takes.
    pub(super) fn build(nuncio: &Path, tool: Tool, number: u32, stop: &Arc<AtomicBool>) -> Result<Self, Broken> {
        let world = World::numbered(nuncio, number);
        let images = Image::pair(tool);
        let chip = Chip::start(&world, tool, &images[0]);
        let scene = scene(world, &chip, number);
        let watches = [scene.factory(), scene.cloud()].map(|server| Watch::new(server, &scene.name));
        let (usual, node, earlier) = (Usual::default(), chip.node(), String::new());
        let mut stand =
            Self { scene, chip, tool, images, watches, usual, undisturbed: 0, node, earlier, stop: Arc::clone(stop) };
        eventually("both servers observe the device", PATIENCE, || stand.attend().then_some(()));
        // The first update of a board saves what it held, which takes its time; a further one is as all others.
        for _ in 0..ROUNDS {
            let told = rest::await_rest(&mut stand)?.told[0].clone();
            truth::flash(&mut stand, 0, told)?;
            if stand.undisturbed > 1 {
                return Ok(stand);
            }
        }
        Err(Broken::Late(format!("undisturbed updates fail:\n{}", stand.scene.daemon.log())))
    }

    /// Both servers observe the device's present registration.
    pub(super) fn attend(&mut self) -> bool {
        self.watches.each_mut().map(Watch::attend) == [true; 2]
    }

    /// A whole update that nobody disturbs; gives whether it is proven, and notes how long it took.
    pub(super) fn update(&mut self, asker: usize, image: &Image) -> Result<bool, Broken> {
        let began = Instant::now();
        let mut seen = killer::Watcher::new(self);
        let orders = self.order(asker, image);
        let (mut came, mut went) = (None, None);
        let over = loop {
            self.breathe(PAUSE)?;
            let seen = seen.look(self);
            came = came.or_else(|| seen.tool_came.then(Instant::now));
            went = went.or_else(|| seen.tool_went.then(Instant::now));
            if seen.is_over() {
                break true;
            }
            if orders.are_vain() {
                break false;
            }
        };
        let update = began.elapsed();
        if !over || orders.join().execute != Some(204) {
            return Ok(false);
        }
        let told = rest::await_rest(self)?.told;
        let proven = told[0].is_success() && told[0].version.as_deref() == Some(image.version);
        if let (Some(came), Some(went), true) = (came, went, proven) {
            self.usual = Usual { update, tool: went.duration_since(came) };
            self.undisturbed += 1;
        }
        Ok(proven)
    }

    /// A server names the image and, once it is staged, executes it; in the background, as servers do.
    pub(super) fn order(&mut self, asker: usize, image: &Image) -> Orders {
        let (server, name) = (self.watches[asker].server, self.scene.name.clone());
        let bytes = std::fs::read(&image.path).expect("an image of ours");
        let file = image.path.file_name().and_then(|name| name.to_str()).expect("an image has a name");
        let uri = format!("{}#version={}", self.scene.files.put(file, bytes), image.version);
        let log = self.scene.daemon.process().printed();
        let given_up = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&given_up);
        let so_far = Arc::<Mutex<Ordered>>::default();
        let note = Arc::clone(&so_far);
        Orders { given_up, so_far, thread: thread::spawn(move || give(server, &name, &uri, log, &stop, &note)) }
    }

    /// A pause in which nothing is done, unless the run is being stopped.
    pub(super) fn breathe(&self, pause: Duration) -> Result<(), Broken> {
        thread::sleep(pause);
        if self.stop.load(Ordering::Relaxed) { Err(Broken::Stopped) } else { Ok(()) }
    }

    pub(super) fn state_folder(&self) -> PathBuf {
        self.scene.world.home().join("state")
    }
}

fn scene(world: World, chip: &Chip, number: u32) -> Scene {
    let link = chip.link();
    let Chip::Esp(fake) = chip else {
        return Scene::new(world, "arduino-uno", &link);
    };
    let version = Esptool::ALL[number as usize % 2];
    let wrapper = fake.wrapper(&world, "bin", version.name(), &version.program());
    let bin = wrapper.parent().expect("a script lies in a folder");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    Scene::with(world, "esp32", &link, |daemon| daemon.env("PATH", path).modem_lines(fake))
}

/// Orders that a server is giving.
pub(super) struct Orders {
    given_up: Arc<AtomicBool>,
    so_far: Arc<Mutex<Ordered>>,
    thread: JoinHandle<()>,
}

impl Orders {
    /// What has not been ordered yet is not ordered any more.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Whether the last answer is there.
    pub(super) fn are_given(&self) -> bool {
        self.thread.is_finished()
    }

    /// Whether they have ended without a tool.
    fn are_vain(&self) -> bool {
        self.are_given() && self.so_far().execute != Some(204)
    }

    /// The answers until now.
    pub(super) fn so_far(&self) -> Ordered {
        *self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the last answer.
    pub(super) fn join(self) -> Ordered {
        let so_far = Arc::clone(&self.so_far);
        self.thread.join().expect("a server's orders do not panic");
        *so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn give(server: &Leshan, name: &str, uri: &str, mut log: Printed, stop: &AtomicBool, note: &Mutex<Ordered>) {
    let write = watch::write_uri(server, name, uri);
    note.lock().unwrap_or_else(PoisonError::into_inner).write = write;
    let began = Instant::now();
    // What is logged is seen at once; a server would have to be asked again and again.
    while !stop.load(Ordering::Relaxed) && began.elapsed() < STAGING {
        if log.fresh().iter().any(|line| line.contains("to=\"staged\"")) {
            let execute = watch::execute(server, name);
            note.lock().unwrap_or_else(PoisonError::into_inner).execute = Some(execute);
            return;
        }
        thread::sleep(PAUSE);
    }
}
