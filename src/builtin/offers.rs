//! What is under way: each image with how far it is at each of its devices, as data. The server's task moves it on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::folder::{Over, Place, Record, TargetRecord};
use super::offer::Stage;
use crate::device::{BuiltinOffer, BuiltinTarget, OfferState};

/// Images that are under way at once.
pub(super) const MAX_OFFERS: usize = 64;
/// Images that have ended and are still told of.
const MAX_ENDED: usize = 32;

/// A device that does not come back for so long does not get what it was offered.
const PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// One image.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) id: String,
    pub(super) record: Record,
    /// What is written to 5/0/1.
    pub(super) uri: String,
    /// Beside each target of the record.
    pub(super) going: Vec<Going>,
    pub(super) notes: Notes,
    /// It is over everywhere, and the disk is about to know.
    pub(super) finishing: bool,
}

/// Notes of one image that are on their way to the disk, one after the other: each says all that those before it do.
#[derive(Debug, Default)]
pub(super) struct Notes(u32);

impl Notes {
    pub(super) fn begun(&mut self) {
        self.0 += 1;
    }

    /// One is on the disk; whether none is on its way any more.
    pub(super) fn is_last(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 0
    }
}

/// What is not worth noting of an image at one device.
#[derive(Debug, Default)]
pub(super) struct Going {
    /// A question is under way, or a note is.
    pub(super) busy: bool,
    /// Execute is to be sent when the note is on the disk.
    pub(super) saving: bool,
    /// This server's Execute was accepted.
    pub(super) accepted: bool,
    /// What the device shows is of this image.
    pub(super) moved: bool,
    /// It has registered just now, and is given so long to know what is under way.
    pub(super) settled: Option<Instant>,
    /// When its write of the URI was accepted.
    pub(super) written: Option<Instant>,
    /// The write of the URI was answered 4.00: either the URI is no good, or something is in the way.
    pub(super) refused: bool,
    /// Since when it is not there; after a restart, since that.
    pub(super) absent: Option<Instant>,
    /// Nothing is asked before.
    pub(super) not_before: Option<Instant>,
    /// It waits for what the device tells; when that does not come, it is looked at.
    pub(super) waits: bool,
    /// What went wrong so often.
    pub(super) tries: u32,
    /// Why nothing happens.
    pub(super) says: String,
    /// It has ended, and the last questions are being asked.
    pub(super) closing: Option<Closing>,
}

/// How it ended.
#[derive(Debug, Clone)]
pub(super) struct Closing {
    pub(super) ok: bool,
    pub(super) says: String,
    /// The reason was looked for so often.
    pub(super) looks: u32,
}

/// All images.
#[derive(Debug, Default)]
pub(super) struct Offers {
    pub(super) list: Vec<Offer>,
    ended: VecDeque<BuiltinOffer>,
}

impl Going {
    /// Whether a device that is not there has been away for too long.
    pub(super) fn is_given_up(&mut self, now: Instant) -> bool {
        now >= *self.absent.get_or_insert(now) + PATIENCE
    }

    /// When there is something to do though nothing happens.
    fn due(&self) -> Option<Instant> {
        self.not_before.or_else(|| Some(self.absent? + PATIENCE))
    }
}

impl Offer {
    /// A new one, or one that comes back after a restart.
    pub(super) fn new(id: String, record: Record, uri: String) -> Self {
        let going = record.targets.iter().map(|_| Going::default()).collect();
        Self { id, record, uri, going, notes: Notes::default(), finishing: false }
    }

    /// The place of a device in it.
    pub(super) fn at(&self, endpoint: &str) -> Option<usize> {
        self.record.targets.iter().position(|target| target.endpoint == endpoint)
    }

    /// Ends it at one device.
    pub(super) fn end(&mut self, at: usize, over: Over) {
        self.record.targets[at].over = Some(over);
        self.going[at] = Going::default();
    }

    /// Whether it is over everywhere.
    pub(super) fn is_over(&self) -> bool {
        self.record.targets.iter().all(|target| target.over.is_some())
    }

    /// Whether it arrived everywhere.
    pub(super) fn is_done(&self) -> bool {
        self.record.targets.iter().all(|target| target.over.as_ref().is_some_and(|over| over.ok))
    }

    /// What is written beside the image: a line for people, more of them where there are more devices, and one for programs.
    pub(super) fn result(&self, now: i64) -> String {
        let view = self.view();
        let (word, took) = (if self.is_done() { "ok" } else { "failed" }, now.saturating_sub(self.record.since));
        let mut text = format!("{word}: {}\n", view.says);
        if view.devices.len() > 1 {
            for device in &view.devices {
                text.push_str(&format!("  {}: {}\n", device.device, device.says));
            }
        }
        let json = serde_json::json!({ "result": word, "ended": now, "took_s": took, "offer": view });
        format!("{text}{json}\n")
    }

    /// As people read it.
    pub(super) fn view(&self) -> BuiltinOffer {
        let record = &self.record;
        let mut devices: Vec<BuiltinTarget> =
            record.targets.iter().zip(&self.going).map(|(target, going)| shown(target, going)).collect();
        devices.sort_by(|one, other| one.device.cmp(&other.device));
        let done = record.targets.iter().filter(|target| target.over.as_ref().is_some_and(|over| over.ok)).count();
        let over = record.targets.iter().filter(|target| target.over.is_some()).count();
        let says = match devices.as_slice() {
            [only] => format!("{}: {}", only.device, only.says),
            many => format!("{done} of {} devices have it, {} have failed", many.len(), over - done),
        };
        BuiltinOffer {
            image: record.image.clone(),
            folder: record.place.path().display().to_string(),
            size: Some(record.size),
            sha256: Some(record.sha256),
            since: record.since,
            over: self.is_over(),
            says,
            devices,
        }
    }
}

fn shown(target: &TargetRecord, going: &Going) -> BuiltinTarget {
    let (state, says, version) = match (&target.over, target.stage) {
        (Some(over), _) => {
            (if over.ok { OfferState::Done } else { OfferState::Failed }, &over.says, over.version.clone())
        }
        (None, Stage::Waiting) => (OfferState::Waiting, &going.says, None),
        (None, Stage::Offered) => (OfferState::Offered, &going.says, None),
        (None, Stage::Executed) => (OfferState::Executed, &going.says, None),
    };
    BuiltinTarget { device: target.device.clone(), state, says: says.clone(), version }
}

impl Offers {
    /// Takes one up.
    pub(super) fn add(&mut self, offer: Offer) {
        self.list.push(offer);
    }

    /// It has ended on the disk, too.
    pub(super) fn remove(&mut self, id: &str) {
        if let Some(at) = self.list.iter().position(|offer| offer.id == id) {
            let offer = self.list.remove(at);
            self.ended(offer.view());
        }
    }

    /// A file that was refused.
    pub(super) fn refused(&mut self, place: &Place, image: String, why: String, now: i64) {
        self.ended(BuiltinOffer {
            image,
            folder: place.path().display().to_string(),
            size: None,
            sha256: None,
            since: now,
            over: true,
            says: why,
            devices: Vec::new(),
        });
    }

    fn ended(&mut self, view: BuiltinOffer) {
        if self.ended.len() == MAX_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(view);
    }

    /// Whether an image is under way at a device.
    pub(super) fn is_busy(&self, endpoint: &str) -> bool {
        let here = |target: &TargetRecord| target.endpoint == endpoint && target.over.is_none();
        self.list.iter().any(|offer| offer.record.targets.iter().any(here))
    }

    /// When something is to be tried again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.list.iter().flat_map(|offer| &offer.going).filter(|going| !going.busy).filter_map(Going::due).min()
    }

    /// What is under way, the oldest first, and then what has ended, the newest first.
    pub(super) fn view(&self) -> Vec<BuiltinOffer> {
        self.list.iter().map(Offer::view).chain(self.ended.iter().rev().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Sha256Digest;

    /// One image at one device, taken up long ago.
    fn offers() -> Offers {
        let record = Record {
            image: "a.hex".to_owned(),
            place: Place::Device("press-3".to_owned()),
            size: 1,
            sha256: Sha256Digest([1; 32]),
            has_digest: false,
            since: 7,
            targets: vec![TargetRecord {
                endpoint: "e".to_owned(),
                device: "press-3".to_owned(),
                stage: Stage::Executed,
                over: None,
            }],
        };
        let mut offers = Offers::default();
        offers.add(Offer::new("0".to_owned(), record, "http://x/".to_owned()));
        offers
    }

    #[test]
    fn an_earlier_note_does_not_stand_for_a_later_one() {
        let mut notes = Notes::default();
        notes.begun();
        notes.begun();
        assert!(!notes.is_last(), "what was noted last waits still");
        notes.begun();
        assert!(!notes.is_last() && notes.is_last());
        notes.begun();
        assert!(notes.is_last());
    }

    #[test]
    fn patience_begins_when_a_device_is_missed_and_not_when_its_image_was_taken_up() {
        let (mut offers, start) = (offers(), Instant::now());
        assert_eq!(offers.due(), None);
        let day = |number: u32| start + number * Duration::from_secs(24 * 3600);
        let going = &mut offers.list[0].going[0];
        assert!(!going.is_given_up(start) && !going.is_given_up(day(6)));
        assert_eq!(offers.due(), Some(day(7)), "looked at then, though nothing happens");
        let going = &mut offers.list[0].going[0];
        assert!(going.is_given_up(day(7)));
        // It came back meanwhile.
        going.absent = None;
        assert!(!going.is_given_up(day(8)) && !going.is_given_up(day(14)) && going.is_given_up(day(15)));
        going.not_before = Some(day(99));
        assert_eq!(offers.due(), Some(day(99)), "before that, nothing is done");
    }
}
