//! When a flash may begin: how many at once, on which hub, in which window, behind which brake, after which canary.
//!
//! Pure: time is an argument, and it gives no lease. The manager asks before it takes one, tells what began and what came
//! of it, and wakes who is named next. It decides nothing else of an update: whoever is held up here is shown as
//! deferred (state 2, result 11) and tries again by itself.
//!
//! Turns are fair: among those that wait, servers take turns, and within a server it is first come, first served.

mod brake;
mod window;

use std::collections::{BTreeMap, HashMap};

use jiff::tz::TimeZone;

pub use brake::{BrakeChoice, BrakeKey, Brakes};
pub use window::{Window, WindowError};

use crate::device::{BoardId, DeviceId, Requester, Sha256Digest};

/// What must be known of a flash that is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The device.
    pub device: DeviceId,
    /// Whose image it is: whose turn it takes.
    pub requester: Requester,
    /// The device's board.
    pub board: BoardId,
    /// The image.
    pub image: Sha256Digest,
    /// The USB hub that it must have for itself.
    pub hub: Option<String>,
    /// Begins also outside the window.
    pub urgent: bool,
}

/// The rules of `[update]`.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Flashes at once.
    pub max_parallel: usize,
    /// When flashes may begin; empty: always.
    pub windows: Vec<Window>,
    /// Failures of one image on one board type until no further board gets it; 0: never.
    pub brake_after: u32,
    /// The first board of a type tries an image alone.
    pub canary: bool,
    /// The time zone of the windows.
    pub zone: TimeZone,
}

/// Who flashes, who waits, and what is known of images.
#[derive(Debug)]
pub struct Schedule {
    limits: Limits,
    brakes: Brakes,
    running: BTreeMap<DeviceId, Ask>,
    /// The longest waiting first.
    waiting: Vec<Ask>,
    /// When each requester had its last turn, as a count of turns.
    turns: HashMap<Requester, u64>,
    turn: u64,
    trials: HashMap<(BoardId, Sha256Digest), Trial>,
}

/// What is known of an image on a board type, where canaries are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Trial {
    Running(DeviceId),
    Failed(DeviceId),
    Proven,
}

/// What a flash is told that could begin, but for its turn.
const OTHERS_FIRST: &str = "others have waited longer for their turn";
/// Trials that are remembered; the ones that ran longest ago are not told apart, and tried again.
const MAX_TRIALS: usize = 1024;

impl Schedule {
    /// Nothing runs yet.
    pub fn new(limits: Limits, brakes: Brakes) -> Self {
        // A canary that failed before a restart still holds the others back: its failure is on record.
        let trials = brakes.failed_on().map(|(key, device)| (key, Trial::Failed(device))).collect();
        Self { limits, brakes, running: BTreeMap::new(), waiting: Vec::new(), turns: HashMap::new(), turn: 0, trials }
    }

    /// The brakes.
    pub fn brakes(&mut self) -> &mut Brakes {
        &mut self.brakes
    }

    /// May this flash begin? From then on it counts as running, until [`over`](Self::over). Else it waits its turn, and
    /// the reason is for the operator.
    ///
    /// # Errors
    /// What holds it up, and what to do about it where something can be done.
    pub fn admit(&mut self, ask: Ask, unix: i64) -> Result<(), String> {
        if self.running.contains_key(&ask.device) {
            return Ok(());
        }
        self.enqueue(&ask);
        let held = self.closed(&ask, unix).or_else(|| self.crowded(&ask)).or_else(|| self.turn_of_others(&ask, unix));
        if let Some(reason) = held {
            return Err(reason);
        }
        self.begin(ask);
        Ok(())
    }

    /// A flash that began before, and goes on: it takes its place whether there is room or not.
    pub fn resume(&mut self, ask: Ask) {
        if !self.running.contains_key(&ask.device) {
            self.begin(ask);
        }
    }

    /// A flash that was admitted cannot have its port: it waits again, before all others.
    pub fn step_back(&mut self, device: &DeviceId) {
        if let Some(ask) = self.running.remove(device) {
            self.turns.remove(&ask.requester);
            self.trials.retain(|_, trial| *trial != Trial::Running(device.clone()));
            self.waiting.insert(0, ask);
        }
    }

    /// A device that waits is not there: its turn passes to others.
    pub fn absent(&mut self, device: &DeviceId) {
        self.waiting.retain(|ask| ask.device != *device);
    }

    /// Why a flash would not begin now, if it were asked for: as [`admit`](Self::admit), but nothing is changed.
    pub fn would_hold(&self, ask: &Ask, unix: i64) -> Option<String> {
        let ahead = || (!self.in_turn(Some(ask), unix).contains(&ask.device)).then(|| OTHERS_FIRST.to_owned());
        self.closed(ask, unix).or_else(|| self.crowded(ask)).or_else(ahead)
    }

    /// Who else might begin now, in the order of turns: wake them.
    pub fn next(&self, unix: i64) -> Vec<DeviceId> {
        self.in_turn(None, unix)
    }

    /// With one more that waits, the last to come.
    fn in_turn(&self, another: Option<&Ask>, unix: i64) -> Vec<DeviceId> {
        let free = self.limits.max_parallel.saturating_sub(self.running.len());
        let ready = |ask: &&Ask| self.closed(ask, unix).is_none() && self.crowded(ask).is_none();
        let mut ready: Vec<&Ask> = self.waiting.iter().chain(another).filter(ready).collect();
        let mut turns = self.turns.clone();
        let mut next = Vec::new();
        for turn in 0..free {
            let Some(at) = first_in_turn(&ready, &turns) else { break };
            let ask = ready.remove(at);
            turns.insert(ask.requester.clone(), self.turn + 1 + turn as u64);
            next.push(ask.device.clone());
        }
        next
    }

    /// A device neither waits nor flashes any more.
    pub fn over(&mut self, device: &DeviceId) -> bool {
        self.waiting.retain(|ask| ask.device != *device);
        self.trials.retain(|_, trial| *trial != Trial::Running(device.clone()));
        self.running.remove(device).is_some()
    }

    /// An image proved itself on a device, or it did not, for this reason. Tells whether a brake was set or let go.
    pub fn judge(
        &mut self,
        device: &DeviceId,
        key: (BoardId, Sha256Digest),
        failure: Option<String>,
        unix: i64,
    ) -> bool {
        let trial = if failure.is_some() { Trial::Failed(device.clone()) } else { Trial::Proven };
        if self.limits.canary && !(self.trials.get(&key) == Some(&Trial::Proven) && failure.is_some()) {
            if self.trials.len() >= MAX_TRIALS {
                self.trials.clear();
            }
            self.trials.insert(key.clone(), trial);
        }
        match failure {
            Some(reason) => self.brakes.failed(device, key, reason, unix, self.limits.brake_after),
            None => self.brakes.proven(&key),
        }
    }

    /// An operator says that an image may go on: also past a canary that failed.
    pub fn forgive(&mut self, released: &[(BoardId, Option<Sha256Digest>)]) {
        let forgiven = |(board, image): &(BoardId, Sha256Digest)| {
            released.iter().any(|(of, which)| of == board && which.is_none_or(|which| which == *image))
        };
        self.trials.retain(|key, trial| !(forgiven(key) && matches!(trial, Trial::Failed(_))));
    }

    fn enqueue(&mut self, ask: &Ask) {
        match self.waiting.iter_mut().find(|waiting| waiting.device == ask.device) {
            Some(waiting) => waiting.clone_from(ask),
            None => self.waiting.push(ask.clone()),
        }
    }

    fn begin(&mut self, ask: Ask) {
        self.waiting.retain(|waiting| waiting.device != ask.device);
        self.turn += 1;
        self.turns.insert(ask.requester.clone(), self.turn);
        // A requester that has nothing waiting and had its turn long ago is like one that never had any.
        let waiting: Vec<&Requester> = self.waiting.iter().map(|ask| &ask.requester).collect();
        self.turns.retain(|requester, turn| waiting.contains(&requester) || *turn + 64 > self.turn);
        if self.limits.canary {
            let fresh = Trial::Running(ask.device.clone());
            let trial = self.trials.entry((ask.board.clone(), ask.image)).or_insert_with(|| fresh.clone());
            if *trial == Trial::Failed(ask.device.clone()) {
                *trial = fresh;
            }
        }
        self.running.insert(ask.device.clone(), ask);
    }

    /// What keeps this flash from beginning, however empty the house is.
    fn closed(&self, ask: &Ask, unix: i64) -> Option<String> {
        if let Some(reason) = self.brakes.holds(&ask.board, ask.image) {
            return Some(reason);
        }
        let trial = self.trials.get(&(ask.board.clone(), ask.image)).filter(|_| self.limits.canary);
        match trial {
            Some(Trial::Running(canary)) if *canary != ask.device => {
                return Some(format!("{canary} tries this image first (`[update] canary`)"));
            }
            Some(Trial::Failed(canary)) if *canary != ask.device => {
                let board = &ask.board;
                return Some(format!(
                    "{canary} tried this image first and failed (`[update] canary`): update it again, or `nuncio brake release {board}`"
                ));
            }
            _ => {}
        }
        if ask.urgent { None } else { window::closed(&self.limits.windows, &self.limits.zone, unix) }
    }

    fn crowded(&self, ask: &Ask) -> Option<String> {
        if self.running.len() >= self.limits.max_parallel {
            let many = self.limits.max_parallel;
            return Some(format!("{many} flashes are under way, and more there may not be (`[update] max_parallel`)"));
        }
        let hub = ask.hub.as_ref()?;
        let (device, _) = self.running.iter().find(|(_, other)| other.hub.as_ref() == Some(hub))?;
        Some(format!("{device} is being flashed on the same USB hub"))
    }

    fn turn_of_others(&self, ask: &Ask, unix: i64) -> Option<String> {
        let chosen = self.next(unix).contains(&ask.device);
        (!chosen).then(|| OTHERS_FIRST.to_owned())
    }
}

/// Of those that could begin, the one whose requester had its last turn longest ago; of its devices the first.
fn first_in_turn(ready: &[&Ask], turns: &HashMap<Requester, u64>) -> Option<usize> {
    let last = |ask: &Ask| turns.get(&ask.requester).copied().unwrap_or(0);
    ready.iter().enumerate().min_by_key(|(at, ask)| (last(ask), *at)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { max_parallel: 2, windows: Vec::new(), brake_after: 3, canary: false, zone: TimeZone::UTC }
    }

    fn schedule(limits: Limits) -> Schedule {
        Schedule::new(limits, Brakes::default())
    }

    fn server(short_id: u16) -> Requester {
        Requester::Server { short_id, name: format!("server-{short_id}") }
    }

    fn ask(device: &str, short_id: u16) -> Ask {
        Ask {
            device: DeviceId::new(device),
            requester: server(short_id),
            board: BoardId::new("uno"),
            image: Sha256Digest([1; 32]),
            hub: None,
            urgent: false,
        }
    }

    fn key(ask: &Ask) -> (BoardId, Sha256Digest) {
        (ask.board.clone(), ask.image)
    }

    #[test]
    fn no_more_run_at_once_than_allowed_and_the_next_begins_when_one_is_over() {
        let mut schedule = schedule(limits());
        assert_eq!(schedule.admit(ask("a", 1), 0), Ok(()));
        assert_eq!(schedule.admit(ask("b", 1), 0), Ok(()));
        let reason = schedule.admit(ask("c", 1), 0).expect_err("two run");
        assert!(reason.contains("max_parallel"), "{reason}");
        assert_eq!(
            schedule.would_hold(&ask("d", 1), 0),
            schedule.admit(ask("e", 1), 0).err(),
            "asked or asked whether"
        );
        schedule.over(&DeviceId::new("e"));
        assert!(schedule.over(&DeviceId::new("a")));
        assert_eq!(schedule.next(0), [DeviceId::new("c")]);
        assert_eq!(schedule.would_hold(&ask("d", 1), 0).as_deref(), Some(OTHERS_FIRST));
        assert_eq!(schedule.admit(ask("d", 1), 0), Err("others have waited longer for their turn".to_owned()));
        assert_eq!(schedule.admit(ask("c", 1), 0), Ok(()));
    }

    #[test]
    fn servers_take_turns_however_much_one_of_them_asks() {
        let mut schedule = schedule(Limits { max_parallel: 1, ..limits() });
        schedule.admit(ask("a0", 1), 0).expect("the first");
        for device in ["a1", "a2", "a3"] {
            schedule.admit(ask(device, 1), 0).expect_err("one runs");
        }
        schedule.admit(ask("b0", 2), 0).expect_err("one runs");
        let mut order = Vec::new();
        let mut running = DeviceId::new("a0");
        while schedule.over(&running) {
            let Some(next) = schedule.next(0).into_iter().next() else { break };
            let short_id = if next.as_str().starts_with('a') { 1 } else { 2 };
            schedule.admit(ask(next.as_str(), short_id), 0).expect("its turn");
            order.push(next.to_string());
            running = next;
        }
        assert_eq!(order, ["b0", "a1", "a2", "a3"]);
    }

    #[test]
    fn two_flashes_that_need_a_hub_for_themselves_do_not_share_one() {
        let mut schedule = schedule(limits());
        let on = |device: &str, hub: &str| Ask { hub: Some(hub.to_owned()), ..ask(device, 1) };
        assert_eq!(schedule.admit(on("a", "1-2"), 0), Ok(()));
        let reason = schedule.admit(on("b", "1-2"), 0).expect_err("the hub is taken");
        assert!(reason.contains("a is being flashed on the same USB hub"), "{reason}");
        assert_eq!(schedule.admit(on("c", "1-3"), 0), Ok(()));
    }

    #[test]
    fn a_canary_goes_alone_and_the_others_follow_its_proof_or_stay() {
        let mut schedule = schedule(Limits { canary: true, max_parallel: 8, ..limits() });
        assert_eq!(schedule.admit(ask("a", 1), 0), Ok(()));
        assert!(schedule.admit(ask("b", 1), 0).expect_err("it is tried").contains("a tries this image first"));
        schedule.judge(&DeviceId::new("a"), key(&ask("a", 1)), Some("no".into()), 0);
        schedule.over(&DeviceId::new("a"));
        assert!(schedule.admit(ask("b", 1), 0).expect_err("it failed").contains("failed"));
        assert_eq!(schedule.admit(ask("a", 1), 0), Ok(()), "the canary may try again");
        schedule.judge(&DeviceId::new("a"), key(&ask("a", 1)), None, 0);
        schedule.over(&DeviceId::new("a"));
        assert_eq!(schedule.next(0), [DeviceId::new("b")]);
        assert_eq!(schedule.admit(ask("b", 1), 0), Ok(()));
    }

    #[test]
    fn a_canary_that_is_called_off_leaves_its_place_to_another() {
        let mut schedule = schedule(Limits { canary: true, ..limits() });
        schedule.admit(ask("a", 1), 0).expect("the canary");
        schedule.over(&DeviceId::new("a"));
        assert_eq!(schedule.admit(ask("b", 1), 0), Ok(()));
    }

    #[test]
    fn a_failed_canary_is_passed_over_when_an_operator_says_so() {
        let mut schedule = schedule(Limits { canary: true, ..limits() });
        schedule.admit(ask("a", 1), 0).expect("the canary");
        schedule.judge(&DeviceId::new("a"), key(&ask("a", 1)), Some("no".into()), 0);
        schedule.over(&DeviceId::new("a"));
        schedule.forgive(&[(BoardId::new("uno"), None)]);
        assert_eq!(schedule.admit(ask("b", 1), 0), Ok(()));
    }

    #[test]
    fn a_device_that_is_away_holds_up_nobody_and_one_whose_port_is_taken_keeps_its_turn() {
        let mut schedule = schedule(Limits { max_parallel: 1, ..limits() });
        schedule.admit(ask("a", 1), 0).expect("the first");
        schedule.admit(ask("b", 1), 0).expect_err("one runs");
        schedule.admit(ask("c", 1), 0).expect_err("one runs");
        schedule.absent(&DeviceId::new("b"));
        schedule.over(&DeviceId::new("a"));
        assert_eq!(schedule.next(0), [DeviceId::new("c")]);
        schedule.admit(ask("c", 1), 0).expect("its turn");
        schedule.admit(ask("d", 2), 0).expect_err("one runs");
        schedule.step_back(&DeviceId::new("c"));
        assert_eq!(schedule.next(0), [DeviceId::new("c")], "it has not had it yet");
    }

    #[test]
    fn a_canary_that_failed_still_holds_the_others_after_a_restart() {
        let mut before = schedule(Limits { canary: true, ..limits() });
        before.admit(ask("a", 1), 0).expect("the canary");
        before.judge(&DeviceId::new("a"), key(&ask("a", 1)), Some("no".into()), 0);
        let records = before.brakes().take_changes().into_iter().filter_map(|(_, brake)| brake).collect();
        let mut after = Schedule::new(Limits { canary: true, ..limits() }, Brakes::new(records));
        assert!(after.admit(ask("b", 1), 0).expect_err("it failed").contains("a tried this image first"));
        let released = after.brakes().release(&BrakeChoice::Image("010101".into()));
        after.forgive(&released);
        assert_eq!(after.admit(ask("b", 1), 0), Ok(()));
    }

    #[test]
    fn an_urgent_flash_waits_for_no_window_but_for_the_brake() {
        let windows = vec!["22:00-23:00".parse().expect("a window")];
        let mut schedule = schedule(Limits { windows, ..limits() });
        let urgent = Ask { urgent: true, ..ask("a", 1) };
        assert!(schedule.admit(ask("a", 1), 0).expect_err("it is midnight").contains("22:00"));
        assert_eq!(schedule.admit(urgent.clone(), 0), Ok(()));
        schedule.over(&DeviceId::new("a"));
        for device in ["x", "y", "z"] {
            schedule.judge(&DeviceId::new(device), key(&urgent), Some("no".into()), 0);
        }
        assert!(schedule.admit(urgent, 0).expect_err("braked").contains("nuncio brake release"));
    }

    /// Whatever is asked and however it ends: never too many, never two on a hub, and everybody comes to his turn.
    #[test]
    fn whatever_happens_limits_hold_and_nobody_starves() {
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..200 {
            let mut schedule = schedule(Limits { max_parallel: random.usize(1..4), ..limits() });
            let many = random.usize(1..20);
            let asks: Vec<Ask> = (0..many)
                .map(|number| Ask {
                    hub: random.bool().then(|| format!("1-{}", number % 3)),
                    ..ask(&format!("d{number}"), random.u16(1..4))
                })
                .collect();
            let (mut left, mut running): (Vec<Ask>, Vec<Ask>) = (asks, Vec::new());
            for _ in 0..10_000 {
                if left.is_empty() {
                    break;
                }
                let at = random.usize(0..left.len());
                if schedule.admit(left[at].clone(), 0).is_ok() {
                    running.push(left.swap_remove(at));
                }
                let hubs: Vec<&String> = running.iter().filter_map(|ask| ask.hub.as_ref()).collect();
                assert!(running.len() <= schedule.limits.max_parallel);
                assert!(hubs.iter().all(|hub| hubs.iter().filter(|other| other == &hub).count() == 1));
                if random.u8(0..4) == 0 && !running.is_empty() {
                    let over = running.swap_remove(random.usize(0..running.len()));
                    schedule.over(&over.device);
                }
            }
            assert!(left.is_empty(), "{} never came to their turn", left.len());
        }
    }
}
