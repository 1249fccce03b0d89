//! The brake: after some failures of one image on one board type, no further board of that type gets it until somebody
//! says so.
//!
//! Records are given and taken as [`Brake`]s, which the store keeps; a record exists from the first failure on, and holds
//! once it is `on`.

use std::collections::BTreeMap;

use crate::device::{BoardId, Brake, BrakeFailure, DeviceId, Sha256Digest};

/// Failures that a record keeps, the newest.
const MAX_FAILURES: usize = 16;
/// Records that are kept: those that do not hold make room first.
const MAX_BRAKES: usize = 1024;

/// What a record is about: a board type, and an image or (`None`) every image.
pub type BrakeKey = (BoardId, Option<Sha256Digest>);

/// All brakes.
#[derive(Debug, Default)]
pub struct Brakes {
    known: BTreeMap<BrakeKey, Brake>,
    /// What has changed since it was taken last: `None` is a record that is gone.
    changed: Vec<(BrakeKey, Option<Brake>)>,
}

/// Which brakes are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrakeChoice {
    /// Those of a board type.
    Board(BoardId),
    /// Those of images whose digest begins so, in hex.
    Image(String),
    /// All.
    All,
}

impl Brakes {
    /// As the store had them.
    pub fn new(records: Vec<Brake>) -> Self {
        let known = records.into_iter().map(|brake| ((brake.board.clone(), brake.image), brake)).collect();
        Self { known, changed: Vec::new() }
    }

    /// Images that failed, whether they are held back or not, and the device on which they did last.
    pub(super) fn failed_on(&self) -> impl Iterator<Item = ((BoardId, Sha256Digest), DeviceId)> {
        self.known.values().filter_map(|brake| {
            let last = brake.failures.last()?;
            Some(((brake.board.clone(), brake.image?), last.device.clone()))
        })
    }

    /// Those that hold.
    pub fn on(&self) -> Vec<Brake> {
        self.known.values().filter(|brake| brake.on).cloned().collect()
    }

    /// What changed since this was called last.
    pub fn take_changes(&mut self) -> Vec<(BrakeKey, Option<Brake>)> {
        std::mem::take(&mut self.changed)
    }

    /// Why a board type does not get an image, with the way out.
    pub(super) fn holds(&self, board: &BoardId, image: Sha256Digest) -> Option<String> {
        let of = |image| self.known.get(&(board.clone(), image)).filter(|brake| brake.on);
        if let Some(brake) = of(Some(image)) {
            let told = match brake.failures.last() {
                Some(last) => format!("{} failures, the last on {}", brake.count, last.device),
                None => "set by hand".to_owned(),
            };
            let short = &image.to_string()[..12];
            return Some(format!(
                "the brake holds image {short} back from {board} boards ({told}): `nuncio brake` shows why, `nuncio brake release {short}` lets it go"
            ));
        }
        of(None).map(|_| {
            format!("the brake holds all images back from {board} boards: `nuncio brake release {board}` lets them go")
        })
    }

    /// A failure; whether the brake is on because of it.
    pub(super) fn failed(
        &mut self,
        device: &DeviceId,
        (board, image): (BoardId, Sha256Digest),
        reason: String,
        at: i64,
        after: u32,
    ) -> bool {
        self.make_room();
        let fresh = || Brake {
            board: board.clone(),
            image: Some(image),
            on: false,
            by_hand: false,
            count: 0,
            since: at,
            failures: Vec::new(),
        };
        let key = (board.clone(), Some(image));
        let brake = self.known.entry(key.clone()).or_insert_with(fresh);
        brake.count = brake.count.saturating_add(1);
        brake.failures.push(BrakeFailure { device: device.clone(), at, reason });
        if brake.failures.len() > MAX_FAILURES {
            brake.failures.remove(0);
        }
        let news = !brake.on && after > 0 && brake.count >= after;
        if news {
            (brake.on, brake.since) = (true, at);
        }
        self.changed.push((key, Some(brake.clone())));
        news
    }

    /// A proof takes what failures there were off the record. A brake that is on stays on: somebody has to say so.
    pub(super) fn proven(&mut self, (board, image): &(BoardId, Sha256Digest)) -> bool {
        let key = (board.clone(), Some(*image));
        if self.known.get(&key).is_some_and(|brake| !brake.on) {
            self.known.remove(&key);
            self.changed.push((key, None));
        }
        false
    }

    /// Somebody sets the brake, for one image or for all.
    pub fn pull(&mut self, board: BoardId, image: Option<Sha256Digest>, at: i64) {
        self.make_room();
        let key = (board.clone(), image);
        let fresh = Brake { board, image, on: true, by_hand: true, since: at, count: 0, failures: Vec::new() };
        let brake = self.known.entry(key.clone()).or_insert(fresh);
        (brake.on, brake.by_hand, brake.since) = (true, true, at);
        self.changed.push((key, Some(brake.clone())));
    }

    /// Somebody lets go; tells which.
    pub fn release(&mut self, choice: &BrakeChoice) -> Vec<BrakeKey> {
        let meant = |(board, image): &(BoardId, Option<Sha256Digest>)| match choice {
            BrakeChoice::All => true,
            BrakeChoice::Board(wanted) => board == wanted,
            BrakeChoice::Image(begin) => image.is_some_and(|image| image.to_string().starts_with(begin)),
        };
        let keys: Vec<_> = self.known.keys().filter(|key| meant(key)).cloned().collect();
        for key in &keys {
            self.known.remove(key);
            self.changed.push((key.clone(), None));
        }
        keys
    }

    fn make_room(&mut self) {
        if self.known.len() < MAX_BRAKES {
            return;
        }
        let idle = self.known.iter().filter(|(_, brake)| !brake.on).min_by_key(|(_, brake)| brake.since);
        if let Some(key) = idle.map(|(key, _)| key.clone()) {
            self.known.remove(&key);
            self.changed.push((key, None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(image: u8) -> (BoardId, Sha256Digest) {
        (BoardId::new("uno"), Sha256Digest([image; 32]))
    }

    fn fail(brakes: &mut Brakes, image: u8) -> bool {
        brakes.failed(&DeviceId::new("a"), key(image), "it did not verify".into(), 5, 3)
    }

    #[test]
    fn some_failures_of_one_image_set_the_brake_for_it_alone() {
        let mut brakes = Brakes::default();
        assert!(!fail(&mut brakes, 1) && !fail(&mut brakes, 2) && !fail(&mut brakes, 1));
        assert_eq!(brakes.holds(&BoardId::new("uno"), key(1).1), None);
        assert!(fail(&mut brakes, 1), "the third one");
        assert!(brakes.holds(&BoardId::new("uno"), key(1).1).expect("on").contains("3 failures"));
        assert_eq!(brakes.holds(&BoardId::new("uno"), key(2).1), None);
        assert_eq!(brakes.holds(&BoardId::new("mega"), key(1).1), None);
        assert_eq!(brakes.on().len(), 1);
    }

    #[test]
    fn a_proof_takes_failures_off_the_record_but_lets_no_brake_go() {
        let mut brakes = Brakes::default();
        fail(&mut brakes, 1);
        fail(&mut brakes, 1);
        brakes.proven(&key(1));
        assert!(!fail(&mut brakes, 1) && !fail(&mut brakes, 1) && fail(&mut brakes, 1));
        brakes.proven(&key(1));
        assert!(brakes.holds(&BoardId::new("uno"), key(1).1).is_some());
    }

    #[test]
    fn a_brake_is_set_and_let_go_by_hand_and_outlives_a_restart() {
        let mut brakes = Brakes::default();
        brakes.pull(BoardId::new("uno"), None, 7);
        assert!(brakes.holds(&BoardId::new("uno"), key(9).1).is_some());
        let kept: Vec<Brake> = brakes.take_changes().into_iter().filter_map(|(_, brake)| brake).collect();
        let mut brakes = Brakes::new(kept);
        assert!(brakes.holds(&BoardId::new("uno"), key(9).1).is_some());
        for _ in 0..3 {
            fail(&mut brakes, 3);
        }
        assert_eq!(brakes.release(&BrakeChoice::Image("0303".into())), [(BoardId::new("uno"), Some(key(3).1))]);
        assert_eq!(brakes.release(&BrakeChoice::Board(BoardId::new("uno"))), [(BoardId::new("uno"), None)]);
        assert!(brakes.on().is_empty() && brakes.release(&BrakeChoice::All).is_empty());
    }

    #[test]
    fn records_are_bounded_and_those_that_hold_stay() {
        let mut brakes = Brakes::default();
        brakes.pull(BoardId::new("uno"), None, 0);
        for number in 0..3000_u32 {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&number.to_be_bytes());
            let key = (BoardId::new("uno"), Sha256Digest(digest));
            brakes.failed(&DeviceId::new("a"), key, "no".into(), i64::from(number), 3);
        }
        assert!(brakes.known.len() <= MAX_BRAKES && brakes.on().len() == 1);
    }
}
