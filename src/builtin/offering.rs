//! The server's task, as far as it offers images: what is asked of a device next, and what its answers mean.

use std::sync::Arc;
use std::time::{Duration, Instant};

use coap::{Code, Response};
use lwm2m::path::Path;
use lwm2m::server::{ask, records};
use lwm2m::value::Value;
use tracing::{debug, info, warn};

use super::book::{FIRMWARE, Page};
use super::door::Door;
use super::folder::TargetRecord;
use super::folder::{Looked, Over, Place, Record, Taken};
use super::hopper::Done;
use super::names::folder;
use super::offer::{self, Known, Seen, Stage, Step};
use super::offers::{Closing, MAX_OFFERS, Offer, Offers};
use super::task::{Purpose, Task, unix_now};
use crate::device::FirmwareRight;

/// Another server's update is in the way: tried again when the device is seen idle, and after so long.
const IN_THE_WAY: Duration = Duration::from_secs(60);
/// After an answer that says nothing, or none.
const PAUSE: Duration = Duration::from_secs(15);
/// So many of them.
const MAX_TRIES: u32 = 5;
/// A device that is being updated is looked at so often, should it tell nothing.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// The same for a client of others: some (Californium's) number two notifications alike when they come close together, and
/// the later one then counts for nothing.
const LOOK_AGAIN_GUEST: Duration = Duration::from_secs(5);
/// The same for one that is not offered anything yet.
const LOOK_SELDOM: Duration = Duration::from_secs(300);
/// A reason may come a little later than the result.
const REASON_PAUSE: Duration = Duration::from_millis(250);
const REASON_LOOKS: u32 = 4;
/// A device has so long to begin.
const BEGIN: Duration = Duration::from_secs(20);
/// Notifications of single resources have had their time.
const PARTS_PAUSE: Duration = Duration::from_secs(2);
/// All boards of a type have had their time to register after a start.
const BOARDS_SETTLE: Duration = Duration::from_secs(5);
/// Devices that are named where none of them is meant.
const MAX_NAMED: usize = 10;
/// 26300/0/4.
const REASON: Path = Path::new([26_300, 0, 4]);
/// 3/0/3.
const VERSION: Path = Path::new([3, 0, 3]);
const STATE: Path = Path::new([5, 0, 3]);
const RESULT: Path = Path::new([5, 0, 5]);
const URI: Path = Path::new([5, 0, 1]);

/// What a device is asked for the sake of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Write `""` to 5/0/1.
    Reset,
    /// Write 5/0/1.
    Write,
    /// Read 5/0.
    Look,
    /// Execute 5/0/2.
    Execute,
    /// Read 3/0/3.
    Version,
    /// Read 26300/0/4.
    Reason,
}

impl Task {
    /// Something was done on the disk.
    pub(super) fn on_disk(&mut self, done: Done) {
        match done {
            Done::Looked(place, looked) => {
                if let Ok(looked) = *looked {
                    self.looked(&place, looked);
                }
            }
            Done::Saved(id, outcome) => self.saved(&id, &outcome.map_err(|error| error.to_string())),
            Done::Finished(id, outcome) => {
                if let Err(error) = outcome {
                    warn!(id, %error, "what came of an image cannot be written beside it");
                }
                self.shelf.take(&id);
                self.offers.remove(&id);
                self.turn_comes();
            }
        }
    }

    fn looked(&mut self, place: &Place, looked: Looked) {
        for (image, why) in looked.refused {
            warn!(image, folder = %place.path().display(), why, "a dropped file is refused");
            self.offers.refused(place, image, why, unix_now());
        }
        if let Some(Taken { id, record }) = looked.taken {
            let devices: Vec<&str> = record.targets.iter().map(|target| target.device.as_str()).collect();
            info!(image = record.image, sha256 = %record.sha256, ?devices, "a dropped image is offered");
            self.take_up(id, record);
        }
    }

    /// An image is under way, again or for the first time.
    pub(super) fn take_up(&mut self, id: String, mut record: Record) {
        // Since before a restart: what was never executed may be offered again, should the device not show it any more.
        for target in record.targets.iter_mut().filter(|target| target.stage == Stage::Offered) {
            target.stage = Stage::Waiting;
        }
        let uri = self.shelf.lay(&id, self.hopper.offer_path(&id), &record.image);
        // Where a file beside the image tells its digest, that is what counts.
        let fragment = if record.has_digest { String::new() } else { format!("#sha256={}", record.sha256) };
        let mut offer = Offer::new(id, record, format!("{uri}{fragment}"));
        // What it was before is not known any more; after a write it is known anew.
        offer.going.iter_mut().for_each(|going| going.moved = true);
        self.offers.add(offer);
        self.stirred = true;
    }

    /// What waits in folders may have its turn now.
    pub(super) fn turn_comes(&mut self) {
        let now = Instant::now();
        let (server, offers, right) = (&self.server, &self.offers, self.builtin.settings.firmware);
        let settled = self.registered_last + BOARDS_SETTLE;
        self.hopper.stir(|place| {
            targets(server, offers, right, place).is_ok().then(|| match place {
                Place::Board(_) => now.max(settled),
                _ => now,
            })
        });
    }

    /// Does what is to be done next, wherever that is.
    pub(super) fn advance(&mut self) {
        while std::mem::take(&mut self.stirred) {
            for at in 0..self.offers.list.len() {
                for target in 0..self.offers.list[at].going.len() {
                    self.advance_at(at, target);
                }
                let offer = &mut self.offers.list[at];
                if offer.is_over() && !offer.finishing {
                    offer.finishing = true;
                    let (ok, result) = (offer.is_done(), offer.result(unix_now()));
                    self.hopper.finish(&offer.id, offer.record.clone(), ok, result);
                }
            }
        }
    }

    fn advance_at(&mut self, at: usize, target: usize) {
        let now = Instant::now();
        let offer = &mut self.offers.list[at];
        let (record, going) = (&offer.record.targets[target], &mut offer.going[target]);
        if record.over.is_some() || going.busy || going.not_before.is_some_and(|at| at > now) {
            return;
        }
        going.not_before = None;
        let waited = std::mem::take(&mut going.waits);
        let endpoint: Arc<str> = record.endpoint.as_str().into();
        let Some(seen) = self.pages.get(&endpoint).and_then(seen) else {
            going.says = "it is not registered at the built-in server".to_owned();
            if going.is_given_up(now) {
                let says = "it was not there for seven days".to_owned();
                self.end(at, target, Over { ok: false, says, version: None });
            }
            return;
        };
        going.absent = None;
        if waited {
            return self.ask_for(at, target, What::Look);
        }
        if let Some(closing) = going.closing.clone() {
            let what = if closing.ok { What::Version } else { What::Reason };
            return self.ask_for(at, target, what);
        }
        if going.refused && seen.state == 0 {
            going.refused = false;
            let why = offer::Why::Result(seen.result).told();
            return self.close(at, target, false, why);
        }
        going.refused = false;
        going.moved |= record.stage == Stage::Offered && seen.state != 0;
        let patient = going.written.is_some_and(|written| now < written + BEGIN);
        let settling = going.settled.is_some_and(|settled| now < settled);
        let known = Known { accepted: going.accepted, moved: going.moved, patient, settling };
        let own = self.server.admission.device(&endpoint).is_some();
        let base = self.shelf.base().as_str();
        match offer::next(record.stage, known, &seen, &offer.uri, base) {
            Step::Wait(why) => {
                let look = match record.stage {
                    Stage::Waiting => LOOK_SELDOM,
                    Stage::Offered | Stage::Executed if settling || !going.moved => PARTS_PAUSE,
                    Stage::Offered | Stage::Executed if own => LOOK_AGAIN,
                    Stage::Offered | Stage::Executed => LOOK_AGAIN_GUEST,
                };
                (going.says, going.waits, going.not_before) = (why.to_owned(), true, Some(now + look));
            }
            Step::Reset => self.ask_for(at, target, What::Reset),
            Step::Write => self.ask_for(at, target, What::Write),
            Step::Is(stage) => {
                offer.record.targets[target].stage = stage;
                self.save(at);
                self.stirred = true;
            }
            Step::Execute => {
                offer.record.targets[target].stage = Stage::Executed;
                (going.busy, going.saving) = (true, true);
                self.save(at);
            }
            Step::Ended(Ok(())) => self.close(at, target, true, String::new()),
            Step::Ended(Err(why)) => self.close(at, target, false, why.told()),
        }
    }

    /// It has ended: what is told of that is asked last.
    fn close(&mut self, at: usize, target: usize, ok: bool, says: String) {
        self.offers.list[at].going[target].closing = Some(Closing { ok, says, looks: 0 });
        self.stirred = true;
    }

    fn end(&mut self, at: usize, target: usize, over: Over) {
        let offer = &mut self.offers.list[at];
        let (image, device) = (&offer.record.image, &offer.record.targets[target].device);
        match over.ok {
            true => info!(image, device, version = over.version.as_deref(), "the dropped image runs"),
            false => warn!(image, device, why = over.says, "the dropped image did not arrive"),
        }
        offer.end(target, over);
        self.save(at);
        self.stirred = true;
    }

    /// Notes how far an image is.
    fn save(&mut self, at: usize) {
        let offer = &mut self.offers.list[at];
        offer.notes.begun();
        self.hopper.save(&offer.id, offer.record.clone());
    }

    /// A note is on the disk: when it is the last one, what it says may be executed.
    fn saved(&mut self, id: &str, outcome: &Result<(), String>) {
        if let Err(error) = outcome {
            warn!(id, error, "how far an image is cannot be noted");
        }
        let Some(at) = self.offers.list.iter().position(|offer| offer.id == id) else { return };
        if !self.offers.list[at].notes.is_last() {
            return;
        }
        for target in 0..self.offers.list[at].going.len() {
            let going = &mut self.offers.list[at].going[target];
            if !std::mem::take(&mut going.saving) {
                continue;
            }
            going.busy = false;
            match outcome {
                Ok(()) => self.ask_for(at, target, What::Execute),
                Err(error) => {
                    let says = format!("how far it is cannot be noted ({error}): it is not flashed");
                    self.close(at, target, false, says);
                }
            }
        }
    }

    fn ask_for(&mut self, at: usize, target: usize, what: What) {
        let offer = &mut self.offers.list[at];
        let endpoint: Arc<str> = offer.record.targets[target].endpoint.as_str().into();
        let request = match what {
            What::Reset => ask::write_text("/5/0/1", ""),
            What::Write => ask::write_text("/5/0/1", &offer.uri),
            What::Look => ask::read("/5/0"),
            What::Execute => ask::execute("/5/0/2", ""),
            What::Version => ask::read("/3/0/3"),
            What::Reason => ask::read("/26300/0/4"),
        };
        let purpose = Purpose::Image { id: offer.id.as_str().into(), endpoint: Arc::clone(&endpoint), what };
        offer.going[target].busy = true;
        if !self.ask(&endpoint, request, purpose) {
            self.unanswered(at, target);
        }
    }

    /// A device has answered what it was asked for the sake of an image, or has not.
    pub(super) fn answered(&mut self, id: &str, endpoint: &Arc<str>, what: What, response: Option<&Response>) {
        let Some(at) = self.offers.list.iter().position(|offer| offer.id == *id) else { return };
        let Some(target) = self.offers.list[at].at(endpoint) else { return };
        let going = &mut self.offers.list[at].going[target];
        going.busy = false;
        self.stirred = true;
        if going.closing.is_some() {
            return self.last_words(at, target, response);
        }
        let Some(response) = response else { return self.unanswered(at, target) };
        let own = self.server.admission.device(endpoint).is_some();
        debug!(endpoint = &**endpoint, ?what, code = %response.code, "answered");
        match (what, response.code) {
            (What::Write, code) if code.is_success() => {
                let offer = &mut self.offers.list[at];
                offer.record.targets[target].stage = Stage::Offered;
                // The gateway's own clients show what an order came to before they answer it.
                offer.going[target].moved = own;
                offer.going[target].written = Some(Instant::now());
                self.save(at);
                // What is known may be older than the write.
                self.ask_for(at, target, What::Look);
            }
            (What::Reset, code) if code.is_success() => {
                going.tries += 1;
                match going.tries < MAX_TRIES {
                    true => self.ask_for(at, target, What::Look),
                    false => self.close(at, target, false, "an earlier image there cannot be reset".to_owned()),
                }
            }
            (What::Execute, code) if code.is_success() => going.accepted = true,
            (What::Look, code) => {
                let read = records(FIRMWARE, response).ok().filter(|_| code.is_success());
                match (self.pages.get_mut(endpoint), read) {
                    (Some(page), Some(read)) => page.take(FIRMWARE, read),
                    // Who tells no whole instance tells changes of its parts.
                    _ => going.not_before = Some(Instant::now() + PARTS_PAUSE),
                }
            }
            (What::Write, Code::BAD_REQUEST) => {
                going.refused = true;
                self.ask_for(at, target, What::Look);
            }
            (What::Write | What::Reset, Code::UNAUTHORIZED | Code::METHOD_NOT_ALLOWED) => {
                going.says = "another server's update is in the way".to_owned();
                going.not_before = Some(Instant::now() + IN_THE_WAY);
            }
            (_, code) => self.odd(at, target, what, code),
        }
    }

    /// An answer that leads nowhere: a few more tries.
    fn odd(&mut self, at: usize, target: usize, what: What, code: Code) {
        let going = &mut self.offers.list[at].going[target];
        going.tries += 1;
        if going.tries >= MAX_TRIES {
            let asked = match what {
                What::Execute => "to execute 5/0/2",
                _ => "to write 5/0/1",
            };
            return self.close(at, target, false, format!("the device answers {code} when it is told {asked}"));
        }
        going.not_before = Some(Instant::now() + PAUSE);
        if what == What::Execute {
            self.ask_for(at, target, What::Look);
        }
    }

    /// No answer: it may have gone, and comes back by registering.
    fn unanswered(&mut self, at: usize, target: usize) {
        let going = &mut self.offers.list[at].going[target];
        going.busy = false;
        going.not_before = Some(Instant::now() + PAUSE);
        going.says = "the device does not answer".to_owned();
    }

    /// The version, or the reason.
    fn last_words(&mut self, at: usize, target: usize, response: Option<&Response>) {
        let hidden = format!("{}{}/", self.shelf.base(), self.offers.list[at].id);
        let going = &mut self.offers.list[at].going[target];
        let Some(closing) = &mut going.closing else { return };
        let path = if closing.ok { VERSION } else { REASON };
        let told = response.filter(|response| response.code.is_success()).and_then(|response| text(path, response));
        let told = told.filter(|text| !text.trim().is_empty());
        // Where it was fetched is nobody's business but the gateway's.
        let told = told.map(|text| text.replace(&hidden, ""));
        if !closing.ok && told.is_none() && response.is_some() && closing.looks < REASON_LOOKS {
            closing.looks += 1;
            going.not_before = Some(Instant::now() + REASON_PAUSE);
            return;
        }
        let (ok, says) = (closing.ok, closing.says.clone());
        let over = match (ok, told) {
            (true, Some(version)) => Over { ok, says: format!("it runs {version}, proven"), version: Some(version) },
            (true, None) => Over { ok, says: "it runs, proven".to_owned(), version: None },
            (false, Some(reason)) => Over { ok, says: format!("{says}: {reason}"), version: None },
            (false, None) => Over { ok, says, version: None },
        };
        self.end(at, target, over);
    }

    /// A device has registered, perhaps since the gateway was started anew.
    pub(super) fn give_time(&mut self, endpoint: &str) {
        for offer in &mut self.offers.list {
            if let Some(at) = offer.at(endpoint) {
                offer.going[at].settled = Some(Instant::now() + BEGIN);
            }
        }
    }

    /// A device tells something new of its firmware.
    pub(super) fn firmware_told(&mut self, endpoint: &str) {
        let idle = self.pages.get(endpoint).and_then(seen).is_some_and(|seen| seen.state == 0);
        for offer in &mut self.offers.list {
            let Some(at) = offer.at(endpoint) else { continue };
            let going = &mut offer.going[at];
            // What was waited for is here, or what was in the way is gone.
            if std::mem::take(&mut going.waits) || (idle && going.closing.is_none()) {
                going.not_before = None;
            }
        }
        self.stirred = true;
    }
}

/// To whom an image in a folder goes, or why it has to wait.
pub(super) fn targets(
    server: &lwm2m::server::Server<Door>,
    offers: &Offers,
    right: FirmwareRight,
    place: &Place,
) -> Result<Vec<TargetRecord>, String> {
    if right == FirmwareRight::None {
        return Err("[builtin_server] firmware = \"none\" lets nothing through".to_owned());
    }
    if offers.list.len() >= MAX_OFFERS {
        return Err(format!("{MAX_OFFERS} images are under way already"));
    }
    let door = &server.admission;
    let is_here = |endpoint: &str| server.registration(endpoint).is_some_and(|one| door.is_own(one));
    let target = |endpoint: &str, device: &str| TargetRecord {
        endpoint: endpoint.to_owned(),
        device: device.to_owned(),
        stage: Stage::Waiting,
        over: None,
    };
    let found: Vec<TargetRecord> = match place {
        Place::Root | Place::Boards => Vec::new(),
        Place::Device(name) => {
            let own = door.devices().find(|one| folder(one.id.as_str()) == *name || folder(&one.endpoint) == *name);
            match own {
                Some(device) if !is_here(&device.endpoint) => {
                    return Err(format!("{} is not registered at the built-in server yet", device.id));
                }
                Some(device) => vec![target(&device.endpoint, device.id.as_str())],
                None => {
                    let guest = server.registrations().find(|one| folder(&one.endpoint) == *name);
                    guest.map(|guest| target(&guest.endpoint, &guest.endpoint)).into_iter().collect()
                }
            }
        }
        Place::Board(name) => {
            let of_type = door.devices().filter(|device| folder(device.board.as_str()) == *name);
            let here = of_type.filter(|device| is_here(&device.endpoint));
            here.map(|device| target(&device.endpoint, device.id.as_str())).collect()
        }
    };
    if let Some(busy) = found.iter().find(|target| offers.is_busy(&target.endpoint)) {
        return Err(format!("another image is under way at {}", busy.device));
    }
    if found.is_empty() {
        return Err(nobody(door, place));
    }
    Ok(found)
}

/// Why nobody is meant by a folder.
fn nobody(door: &Door, place: &Place) -> String {
    match place {
        Place::Board(name) => format!("no device of type {name} is registered at the built-in server"),
        _ => {
            let mut names: Vec<&str> = door.devices().map(|device| device.id.as_str()).collect();
            names.sort_unstable();
            let more = names.len().saturating_sub(MAX_NAMED);
            names.truncate(MAX_NAMED);
            let known = if names.is_empty() {
                "there is none yet".to_owned()
            } else {
                format!("there are: {}", names.join(", "))
            };
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("no device has the name of this folder; {known}{more}")
        }
    }
}

/// What a device shows of its firmware, as far as it has told.
fn seen(page: &Page) -> Option<Seen> {
    let number = |path: Path| match page.value(path)? {
        Value::Integer(number) => u8::try_from(*number).ok(),
        _ => None,
    };
    Some(Seen { state: number(STATE)?, result: number(RESULT)?, uri: page.text(URI).map(str::to_owned) })
}

fn text(path: Path, response: &Response) -> Option<String> {
    let read = records(path, response).ok()?;
    read.into_iter().find_map(|record| match record.value {
        Value::String(text) => Some(crate::device::plain_text(&text, 1024)),
        _ => None,
    })
}
