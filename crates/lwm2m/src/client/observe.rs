//! Observations: when a server is told of a change (RFC 7641; LwM2M core 7.3; decisions.md §2 "Order is kept").
//!
//! A change is compared with what was last queued; `pmin` holds it back (and only then may two become one), `gt`, `lt` and
//! `st` filter it, `pmax` repeats. What is due is encoded at once and queued, so that each step of an update reaches each
//! observer in order. At most one confirmable notification per observation is under way; when it stays unacknowledged for
//! ACK_TIMEOUT it gives way to the next one waiting. Where even the newest never arrived, the server is told once more when
//! an Update shows that it is there again.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::time::{Duration, Instant};

use coap::{Code, Endpoint, NotificationId, Response, Token};

use super::read::{self, Answer};
use crate::attributes::Attributes;
use crate::objects::{ATTACHED, FLASHING, Tree};
use crate::path::Path;

/// Most observations that one server may hold.
const MAX_OBSERVATIONS: usize = 64;
/// Most paths that one server may give attributes.
const MAX_ATTRIBUTES: usize = 64;
/// Most notifications that wait per observation; the oldest gives way.
const MAX_WAITING: usize = 8;
/// One notification a day is confirmable, to learn whether anybody is there (RFC 7641 §4.5).
const CONFIRM_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// Observe numbers have 24 bits.
const SEQUENCE_MASK: u32 = 0xff_ffff;
/// Its notifications are always confirmable.
const FIRMWARE: u16 = 5;
/// The resources of object 26300 that hardly ever stand still: percent and log lines.
const RESTLESS: [u16; 2] = [3, 6];
/// Shortest period between two notifications of those, in seconds.
const RESTLESS_PERIOD: u32 = 1;

/// What a server wrote with Write-Attributes, by path.
#[derive(Debug, Default)]
pub(super) struct AttributeTable(Vec<(Path, Attributes)>);

impl AttributeTable {
    /// The attributes of exactly this level.
    pub(super) fn own(&self, path: Path) -> Attributes {
        self.0.iter().find(|(known, _)| *known == path).map_or(Attributes::NONE, |(_, attributes)| *attributes)
    }

    /// The attributes of this level and, where one is missing, of the levels above.
    pub(super) fn inherited(&self, path: Path) -> Attributes {
        let mut found = Attributes::NONE;
        let mut level = Some(path);
        while let Some(path) = level {
            found = found.or(self.own(path));
            level = path.parent();
        }
        found
    }

    /// Sets them; `false` when there are too many already.
    pub(super) fn set(&mut self, path: Path, attributes: Attributes) -> bool {
        self.0.retain(|(known, _)| *known != path);
        if attributes.is_empty() {
            return true;
        }
        let room = self.0.len() < MAX_ATTRIBUTES;
        if room {
            self.0.push((path, attributes));
        }
        room
    }
}

/// All that an observation needs to decide and to send.
pub(super) struct Reporter<'a> {
    pub(super) tree: Tree<'a>,
    pub(super) attributes: &'a AttributeTable,
    pub(super) coap: &'a mut Endpoint,
    pub(super) ack_timeout: Duration,
    pub(super) now: Instant,
}

impl Reporter<'_> {
    /// What counts for a path: its own attributes, those above, and 1/x/2 and 1/x/3 last.
    fn effective(&self, path: Path) -> Attributes {
        let settings = self.tree.settings();
        let defaults = Attributes { pmin: Some(settings.pmin), pmax: Some(settings.pmax), ..Attributes::NONE };
        let wanted = self.attributes.inherited(path).or(defaults);
        match is_restless(path) {
            true => Attributes { pmin: wanted.pmin.max(Some(RESTLESS_PERIOD)), ..wanted },
            false => wanted,
        }
    }
}

/// The observations of one server.
#[derive(Debug, Default)]
pub(super) struct Observations {
    list: Vec<Observation>,
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Observation {
    token: Token,
    path: Path,
    accept: Option<u16>,
    sequence: u32,
    /// When the last notification was queued, or the first answer given.
    told: Instant,
    confirmed: Instant,
    /// Of the payload last queued.
    digest: u64,
    /// The value last queued, where it is one number.
    number: Option<f64>,
    /// A change waits for `pmin`.
    held_back: bool,
    waiting: VecDeque<Response>,
    /// The confirmable notification under way, and when it gives way.
    under_way: Option<(NotificationId, Instant)>,
    newest: Newest,
}

/// Whether the newest value has arrived, as far as one can know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Newest {
    Told,
    Lost,
    /// Told once more: never again, for servers that acknowledge nothing.
    Repeated,
}

impl Observations {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether one is of such a path.
    pub(super) fn any(&self, chosen: impl Fn(Path) -> bool) -> bool {
        self.list.iter().any(|observation| chosen(observation.path))
    }

    /// When the first of them has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Begins an observation with the answer to its request, or begins it anew; gives back the answer to send. Where there
    /// is no room the server gets a plain answer, which tells it so (RFC 7641 §4.1).
    pub(super) fn add(
        &mut self,
        token: Token,
        path: Path,
        accept: Option<u16>,
        answer: Answer,
        reporter: &mut Reporter<'_>,
    ) -> Response {
        self.remove(token, reporter.coap);
        if self.list.len() >= MAX_OBSERVATIONS && !self.forget_twin(path, reporter.coap) {
            return answer.response;
        }
        let observation = Observation::new(token, path, accept, &answer, reporter.now);
        let response = answer.response.with_observe(observation.sequence);
        self.list.push(observation);
        self.reschedule(reporter);
        response
    }

    /// Ends the observation with this token.
    pub(super) fn remove(&mut self, token: Token, coap: &mut Endpoint) -> bool {
        self.retain(coap, |observation| observation.token != token)
    }

    /// Ends the observation with this token, or where there is none those of exactly this path: some servers cancel with a new token.
    pub(super) fn cancel(&mut self, token: Token, path: Path, coap: &mut Endpoint) {
        if !self.remove(token, coap) {
            self.retain(coap, |observation| observation.path != path);
        }
    }

    /// Ends all of them.
    pub(super) fn clear(&mut self, coap: &mut Endpoint) {
        self.retain(coap, |_| false);
        *self = Self::default();
    }

    /// Something of an object changed.
    pub(super) fn report(&mut self, object: u16, reporter: &mut Reporter<'_>) {
        self.each(reporter, |observation| observation.path.object() == Some(object), Observation::evaluate);
    }

    /// Attributes or default periods changed.
    pub(super) fn reschedule(&mut self, reporter: &mut Reporter<'_>) {
        self.deadline = self.list.iter().filter_map(|observation| observation.deadline(reporter)).min();
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, reporter: &mut Reporter<'_>) {
        self.each(reporter, |_| true, Observation::handle_timeout);
    }

    /// A confirmable notification is through, or given up.
    pub(super) fn landed(&mut self, id: NotificationId, arrived: bool, reporter: &mut Reporter<'_>) {
        let is_it = |observation: &Observation| observation.under_way.is_some_and(|(under_way, _)| under_way == id);
        self.each(reporter, is_it, |observation, reporter| observation.landed(arrived, reporter));
    }

    /// The server is there: tells again what never arrived.
    pub(super) fn repeat_lost(&mut self, reporter: &mut Reporter<'_>) {
        self.each(reporter, |observation| observation.newest == Newest::Lost, Observation::repeat_lost);
    }

    /// Lets some observations act, and drops those whose path is gone.
    fn each(
        &mut self,
        reporter: &mut Reporter<'_>,
        chosen: impl Fn(&Observation) -> bool,
        act: impl Fn(&mut Observation, &mut Reporter<'_>) -> Life,
    ) {
        self.list.retain_mut(|observation| !chosen(observation) || act(observation, reporter) == Life::GoesOn);
        self.reschedule(reporter);
    }

    fn forget_twin(&mut self, path: Path, coap: &mut Endpoint) -> bool {
        let twin = self.list.iter().find(|observation| observation.path == path).map(|observation| observation.token);
        twin.is_some_and(|token| self.remove(token, coap))
    }

    /// Keeps some, and stops what the others had under way. Whether any went.
    fn retain(&mut self, coap: &mut Endpoint, keep: impl Fn(&Observation) -> bool) -> bool {
        let before = self.list.len();
        self.list.retain(|observation| {
            let kept = keep(observation);
            if let (false, Some((id, _))) = (kept, observation.under_way) {
                coap.abandon_notification(id);
            }
            kept
        });
        before != self.list.len()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    GoesOn,
    Ends,
}

impl Observation {
    fn new(token: Token, path: Path, accept: Option<u16>, answer: &Answer, now: Instant) -> Self {
        Self {
            token,
            path,
            accept,
            sequence: 1,
            told: now,
            confirmed: now,
            digest: digest(&answer.response),
            number: answer.number,
            held_back: false,
            waiting: VecDeque::new(),
            under_way: None,
            newest: Newest::Told,
        }
    }

    fn deadline(&self, reporter: &Reporter<'_>) -> Option<Instant> {
        let attributes = reporter.effective(self.path);
        let pmin = self.held_back.then(|| self.told + seconds(attributes.pmin.unwrap_or(0)));
        let pmax = attributes.effective_pmax().map(|pmax| self.told + seconds(pmax));
        let gives_way = self.under_way.filter(|_| !self.waiting.is_empty()).map(|(_, at)| at);
        [pmin, pmax, gives_way].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, reporter: &mut Reporter<'_>) -> Life {
        let attributes = reporter.effective(self.path);
        let stale = attributes.effective_pmax().is_some_and(|pmax| self.told + seconds(pmax) <= reporter.now);
        let life = match (stale, self.held_back) {
            (true, _) => self.repeat(reporter),
            (false, true) => self.evaluate(reporter),
            (false, false) => Life::GoesOn,
        };
        self.flush(reporter);
        life
    }

    fn landed(&mut self, arrived: bool, reporter: &mut Reporter<'_>) -> Life {
        self.under_way = None;
        if !arrived && self.waiting.is_empty() && self.newest == Newest::Told {
            self.newest = Newest::Lost;
        }
        self.flush(reporter);
        Life::GoesOn
    }

    fn repeat_lost(&mut self, reporter: &mut Reporter<'_>) -> Life {
        let life = self.repeat(reporter);
        self.newest = Newest::Repeated;
        life
    }

    /// Looks at the value and queues a notification if it has to be told, and may be by now.
    fn evaluate(&mut self, reporter: &mut Reporter<'_>) -> Life {
        let answer = match read::read(&reporter.tree, self.path, self.accept) {
            Ok(answer) => answer,
            Err(code) => return self.end(code, reporter),
        };
        let attributes = reporter.effective(self.path);
        let changed = digest(&answer.response) != self.digest;
        if !changed || !is_worth_telling(&attributes, self.number, answer.number) {
            self.held_back = false;
        } else if reporter.now < self.told + seconds(attributes.pmin.unwrap_or(0)) {
            self.held_back = true;
        } else {
            self.queue(answer, reporter);
        }
        Life::GoesOn
    }

    /// Tells the value whether it changed or not: `pmax` is over.
    fn repeat(&mut self, reporter: &mut Reporter<'_>) -> Life {
        match read::read(&reporter.tree, self.path, self.accept) {
            Ok(answer) => self.queue(answer, reporter),
            Err(code) => return self.end(code, reporter),
        }
        Life::GoesOn
    }

    fn queue(&mut self, answer: Answer, reporter: &mut Reporter<'_>) {
        self.told = reporter.now;
        self.digest = digest(&answer.response);
        self.number = answer.number;
        self.held_back = false;
        self.newest = Newest::Told;
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(answer.response);
        self.flush(reporter);
    }

    /// Sends what waits, as far as the one under way lets it.
    fn flush(&mut self, reporter: &mut Reporter<'_>) {
        while !self.waiting.is_empty() {
            match self.under_way {
                Some((_, gives_way)) if reporter.now < gives_way => return,
                Some((id, _)) => reporter.coap.abandon_notification(id),
                None => {}
            }
            if let Some(response) = self.waiting.pop_front() {
                self.send(response, reporter);
            }
        }
        self.waiting = VecDeque::new();
    }

    fn send(&mut self, response: Response, reporter: &mut Reporter<'_>) {
        let now = reporter.now;
        let confirmable = self.path.object() == Some(FIRMWARE) || now >= self.confirmed + CONFIRM_EVERY;
        self.sequence = (self.sequence + 1) & SEQUENCE_MASK;
        let id = reporter.coap.notify(self.token, self.sequence, response, confirmable, now);
        self.under_way = confirmable.then(|| (id, now + reporter.ack_timeout));
        if confirmable {
            self.confirmed = now;
        }
    }

    /// The path is gone: the last notification says so.
    fn end(&mut self, code: Code, reporter: &mut Reporter<'_>) -> Life {
        if let Some((id, _)) = self.under_way {
            reporter.coap.abandon_notification(id);
        }
        self.sequence = (self.sequence + 1) & SEQUENCE_MASK;
        reporter.coap.notify(self.token, self.sequence, Response::new(code), true, reporter.now);
        Life::Ends
    }
}

/// Whether `gt`, `lt` and `st` let a change through: any of them that is met does; without them every change counts.
fn is_worth_telling(attributes: &Attributes, last: Option<f64>, new: Option<f64>) -> bool {
    let Attributes { gt, lt, st, .. } = *attributes;
    let (Some(last), Some(new)) = (last, new) else { return true };
    if (gt, lt, st) == (None, None, None) {
        return true;
    }
    let crosses = |threshold: f64| (last <= threshold) != (new <= threshold) || (last < threshold) != (new < threshold);
    gt.is_some_and(crosses) || lt.is_some_and(crosses) || st.is_some_and(|step| (new - last).abs() >= step)
}

/// Whether a path shows what would be told far too often: neither a flash nor a hundred boards that come at once must flood servers.
fn is_restless(path: Path) -> bool {
    let flashing = || path.object() == Some(FLASHING) && path.resource().is_none_or(|id| RESTLESS.contains(&id));
    path.object() == Some(ATTACHED) || flashing()
}

fn digest(response: &Response) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&response.payload);
    hasher.finish()
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}
