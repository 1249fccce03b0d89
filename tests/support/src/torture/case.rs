//! What is killed and when: everything that a seed decides.

use std::fmt;
use std::time::Duration;

use super::signs::Step;

/// Which tool flashes, and so which board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// The real avrdude on a simulated ATmega328P with its real bootloader.
    Avrdude,
    /// The real esptool on a peer that speaks the ROM's protocol.
    Esptool,
}

impl Tool {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Avrdude, Self::Esptool];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avrdude => "avrdude",
            Self::Esptool => "esptool",
        }
    }
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Victim {
    /// SIGKILL of the daemon; it is started again.
    Daemon,
    /// SIGKILL of the tool's process.
    Tool,
    /// The board is unplugged, and plugged in again.
    Link,
}

impl Victim {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Daemon, Self::Tool, Self::Link];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Tool => "tool",
            Self::Link => "link",
        }
    }
}

/// When it is killed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moment {
    /// At this part of an undisturbed update; of the tool's run where the tool is the victim.
    Part(f64),
    /// As soon as this is seen.
    Step(Step),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(part) => write!(f, "at {:.1} %", part * 100.0),
            Self::Step(step) => write!(f, "{}", step.name()),
        }
    }
}

/// One kill.
#[derive(Debug, Clone)]
pub struct Case {
    /// Which tool flashes.
    pub tool: Tool,
    /// What is killed.
    pub victim: Victim,
    /// Counts the cases of one tool and victim from 0. Even ones strike at random, odd ones at a step.
    pub number: u32,
    pub(super) moment: Moment,
    /// How long the daemon stays dead, or the board away.
    pub(super) pause: Duration,
    /// Whether the board comes back as another device node; its link keeps its name.
    pub(super) renamed: bool,
    /// Which server orders the update.
    pub(super) asker: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tool={} victim={} case={} ({})", self.tool.name(), self.victim.name(), self.number, self.moment)
    }
}

impl Case {
    fn of(seed: u64, tool: Tool, victim: Victim, number: u32) -> Self {
        // A number of its own for each case, whatever else is run.
        let own = (tool as u64) << 40 | (victim as u64) << 32 | u64::from(number);
        let mut chance = fastrand::Rng::with_seed(seed ^ own.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let steps = Step::all(tool, victim);
        let moment = match number % 2 {
            0 => Moment::Part(chance.f64()),
            _ => Moment::Step(steps[(number / 2) as usize % steps.len()]),
        };
        let pause = match (victim, chance.u32(..12)) {
            // Longer than a board's `expect_return`: the device is gone, and comes anew.
            (Victim::Link, 0) => chance.u64(11_000..14_000),
            (Victim::Link, 1..4) => chance.u64(1_500..5_000),
            _ => chance.u64(20..1_000),
        };
        let (renamed, asker) = (chance.bool(), chance.usize(..2));
        Self { tool, victim, number, moment, pause: Duration::from_millis(pause), renamed, asker }
    }

    /// How long the daemon stays dead, or the board away.
    pub fn pause(&self) -> Duration {
        self.pause
    }

    /// The same kill at another moment: what was to be killed was not there.
    pub(super) fn again(&self, attempt: u32) -> Self {
        let mut chance = fastrand::Rng::with_seed(u64::from(self.number) << 8 | u64::from(attempt));
        Self { moment: Moment::Part(chance.f64() * 0.8), ..self.clone() }
    }
}

/// Which cases are run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Kills for each tool and victim.
    pub kills: u32,
    /// Stands that work side by side.
    pub at_once: usize,
    /// So many cases at most.
    pub most: usize,
    /// Words that a case must have: `tool=`, `victim=`, `step=` (a part of its moment's name), `case=`.
    pub only: String,
}

impl Plan {
    /// So many kills per tool and victim, eight at a time, with the seed of `NUNCIO_SEED` or any.
    pub fn new(kills: u32) -> Self {
        Self { seed: crate::seed(), kills, at_once: 8, most: usize::MAX, only: String::new() }
    }

    /// Only the first cases of it.
    #[must_use]
    pub fn first(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// What the environment asks for: `KILLS` (100), `AT_ONCE` (8), `NUNCIO_SEED`, `TORTURE` (words, see
    /// [`only`](Self::only)).
    pub fn from_env() -> Self {
        let number = |name: &str, default: u32| {
            let given = std::env::var(name).ok().filter(|text| !text.is_empty());
            given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
        };
        let plan = Self::new(number("KILLS", 100));
        let at_once = number("AT_ONCE", 8).max(1) as usize;
        Self { at_once, only: std::env::var("TORTURE").unwrap_or_default(), ..plan }
    }

    /// All cases, those of the victims in turn.
    pub fn cases(&self) -> Vec<Case> {
        let of_number = |number: u32| {
            let pairs = Victim::ALL.into_iter().flat_map(|victim| Tool::ALL.map(|tool| (tool, victim)));
            pairs.map(move |(tool, victim)| Case::of(self.seed, tool, victim, number))
        };
        (0..self.kills).flat_map(of_number).filter(|case| self.wants(case)).take(self.most).collect()
    }

    fn wants(&self, case: &Case) -> bool {
        self.only.split_whitespace().all(|word| match word.split_once('=') {
            Some(("tool", name)) => case.tool.name() == name,
            Some(("victim", name)) => case.victim.name() == name,
            Some(("step", part)) => case.moment.to_string().contains(part),
            Some(("case", number)) => case.number.to_string() == number,
            _ => panic!("`{word}` is no word of a plan: tool=, victim=, step=, case="),
        })
    }
}
