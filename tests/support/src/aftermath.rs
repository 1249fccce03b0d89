//! A disaster in the middle of an update, and what must hold after it: both servers read what is so, nothing is left
//! over, and the board can be flashed again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::torture::Told;
use crate::{Leftovers, Model, Scene, SimBoard, World, avr_image};

/// Ten times what the longest way takes: a restart, a flash, a proof, two retries.
const REST: Duration = Duration::from_secs(300);
/// Ten times what a daemon takes to tidy up behind an update.
const TIDY: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(200);
/// The bootloader gives up when it runs four times as fast.
const SPEED: u32 = 2;

/// A board with two images that differ in nearly every byte: a mixture of both is neither. It holds the first.
pub struct Victim {
    /// The board.
    pub board: SimBoard,
}

/// One of its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub &'static str);

impl Version {
    /// Both.
    pub const ALL: [Self; 2] = [Self("1.2.0"), Self("1.3.0")];

    /// Its Intel HEX file.
    pub fn image(self) -> PathBuf {
        avr_image(&format!("uno-{}-4k.hex", self.0))
    }

    /// The other one.
    pub fn other(self) -> Self {
        if self == Self::ALL[0] { Self::ALL[1] } else { Self::ALL[0] }
    }
}

impl Victim {
    /// Plugs it in.
    pub fn new(world: &World) -> Self {
        Self { board: world.board(Model::Uno).with(&Version::ALL[0].image()).speed(SPEED).start() }
    }

    /// Which image it holds as a whole.
    pub fn held(&self) -> Option<Version> {
        Version::ALL.into_iter().find(|version| self.board.holds(&version.image()))
    }

    /// What of this is not so.
    fn untruth(&self, told: &Told) -> Option<String> {
        let held = self.held();
        let seen = || format!("{told:?}, the board holds {held:?}");
        if told.is_success() && (held.is_none() || told.version.is_none()) {
            return Some(format!("a false success: {}", seen()));
        }
        let possible = matches!((told.state.as_str(), told.result.as_str()), ("0", _) | ("2", "0" | "8"));
        if !possible {
            return Some(format!("a state that cannot be: {}", seen()));
        }
        let version = told.version.as_deref()?;
        let so = match held {
            Some(held) => held.0 == version,
            None => self.board.try_banner().is_some_and(|says| says.contains(&format!("fw={version}"))),
        };
        (!so).then(|| format!("a false version: {}", seen()))
    }
}

impl Scene {
    /// The folder of the daemon's state.
    pub fn state(&self) -> PathBuf {
        self.world.home().join("state")
    }

    /// The first server names the image, and executes it once it is staged; the log tells how it goes on.
    pub fn begin(&mut self, version: Version) {
        let mark = self.daemon.process().mark();
        self.offer(self.factory(), &version.image(), &format!("#version={}", version.0));
        self.daemon.process().line_after(mark, PATIENCE, |line| line.contains("to=\"staged\"").then_some(()));
        self.execute(self.factory());
    }

    /// Begins an update and returns when the log has had these words, one line's after the other.
    pub fn begin_until(&mut self, version: Version, words: &[&str]) {
        let mut mark = self.daemon.process().mark();
        self.begin(version);
        for words in words {
            mark = self.daemon.process().await_words(mark, PATIENCE, words);
        }
    }

    /// Waits until both servers read the same of an update that is over, and the daemon holds nothing any more.
    pub fn await_rest(&self) -> Told {
        let began = Instant::now();
        let mut last = None;
        while began.elapsed() < REST {
            let told = [self.factory(), self.cloud()].map(|server| Told::read(server, &self.name));
            if let [Some(first), Some(second)] = &told
                && first == second
                && first.is_at_rest()
                && self.is_free()
            {
                return first.clone();
            }
            last = Some(told);
            thread::sleep(LOOK);
        }
        panic!("the update does not come to rest: {last:?}, {:?}", self.daemon.device(&self.name))
    }

    fn is_free(&self) -> bool {
        let device = self.daemon.device(&self.name);
        device.is_some_and(|device| device.present() && device.0["in_use_by"].is_null())
    }

    /// Waits for rest; then what the servers read is so, and no process, folder or staged file is left that nobody owns.
    pub fn tells_the_truth(&self, victim: &Victim) -> Told {
        let told = self.await_rest();
        let untruth = victim.untruth(&told);
        assert!(untruth.is_none(), "{}", untruth.unwrap_or_default());
        self.leaves_nothing(victim.board.port(), usize::from(told.state == "2"));
        told
    }

    /// Nothing is left over but so many staged files.
    fn leaves_nothing(&self, port: &Path, staged: usize) {
        let complaints = || Leftovers::of(&self.state(), port).complaints(staged);
        let began = Instant::now();
        while !complaints().is_empty() && began.elapsed() < TIDY {
            thread::sleep(LOOK);
        }
        assert_eq!(complaints(), [] as [String; 0]);
    }

    /// A whole update to the image that the board does not hold, ordered by the second server.
    pub fn can_be_flashed_again(&mut self, victim: &Victim) {
        if self.await_rest().state == "2" {
            assert_eq!(self.factory().write_uri(&self.name, "").code, 204, "what is staged can be dropped");
        }
        let next = victim.held().map_or(Version::ALL[1], Version::other);
        self.update(self.cloud(), &next.image(), next.0);
        assert_eq!(victim.held(), Some(next));
        self.tells_the_truth(victim);
    }

    /// The power of gateway and board is cut: everything stops at the same moment, and what was on the disk at that
    /// moment is what the next start finds. Returns before that start.
    pub fn cut_power(&mut self, victim: &mut Victim) {
        let copy = self.world.home().join("state.copy");
        let tools = self.daemon.freeze();
        let copied = Command::new("cp").arg("-a").arg(self.state()).arg(&copy).status();
        assert!(copied.is_ok_and(|status| status.success()), "the state folder is copied");
        self.daemon.crash_with(&tools);
        std::fs::remove_dir_all(self.state()).expect("the state of a daemon that is dead");
        std::fs::rename(&copy, self.state()).expect("a folder of ours");
        victim.board.power_cycle();
    }
}
