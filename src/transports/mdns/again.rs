//! What is asked for anew, and when: mdns-sd asks ever more seldom, and never again for what it knows already.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::device::{Link, ServiceType};

/// From the end of a service to the question: several that go at once make one, and mdns-sd repeats it after 1, 2 and 4 s.
const SOON: Duration = Duration::from_millis(250);
/// The shortest time between two such questions for one type, and between two rounds.
const SPACING: Duration = Duration::from_secs(5);
/// Rounds after a new address: one that has only just come up loses packets.
const ROUNDS: u8 = 2;
/// From one service of a round to the next.
const STEP: Duration = Duration::from_millis(100);

/// Types to be asked for, and a round through all that is known because an address came.
/// Whatever happens, questions stay within `SPACING` and `STEP`.
#[derive(Debug, Default)]
pub(super) struct Again {
    types: BTreeMap<ServiceType, Turn>,
    /// Rounds to come.
    rounds: u8,
    /// When the next round may begin.
    round_at: Option<Instant>,
    /// The round that goes on: when its next service is asked, and after which one that comes.
    round: Option<(Instant, Option<Link>)>,
}

#[derive(Debug)]
struct Turn {
    due: Option<Instant>,
    asked: Option<Instant>,
}

impl Again {
    /// There may be more of this type: a service went, and may have come back while its old records lived (RFC 6762, 10.1).
    pub(super) fn ask_for(&mut self, kind: &ServiceType, now: Instant) {
        let turn = self.types.entry(kind.clone()).or_insert(Turn { due: None, asked: None });
        let earliest = turn.asked.map_or(now, |asked| asked + SPACING);
        turn.due.get_or_insert(earliest.max(now + SOON));
    }

    /// This machine has got an address: there may be more to know of what is known already.
    pub(super) fn address_came(&mut self, now: Instant) {
        self.rounds = ROUNDS;
        self.round_at.get_or_insert(now + SOON);
    }

    /// Nobody looks for this type any more.
    pub(super) fn forget(&mut self, kind: &ServiceType) {
        self.types.remove(kind);
    }

    /// When something is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let types = self.types.values().filter_map(|turn| turn.due);
        let round = match &self.round {
            Some((at, _)) => Some(*at),
            None => self.round_at,
        };
        types.chain(round).min()
    }

    /// The types that are asked for now.
    pub(super) fn types(&mut self, now: Instant) -> Vec<ServiceType> {
        let due = self.types.iter_mut().filter(|(_, turn)| turn.due.is_some_and(|due| due <= now));
        let asked = due.map(|(kind, turn)| {
            *turn = Turn { due: None, asked: Some(now) };
            kind.clone()
        });
        asked.collect()
    }

    /// The service that is asked now, of those that are known.
    pub(super) fn service<'a>(&mut self, known: impl Iterator<Item = &'a Link>, now: Instant) -> Option<&'a Link> {
        if self.round.is_none() && self.round_at.is_some_and(|at| at <= now) {
            // The time after the last round counts, too: whoever comes within it waits.
            self.round_at = None;
            if self.rounds > 0 {
                self.rounds -= 1;
                self.round_at = Some(now + SPACING);
                self.round = Some((now, None));
            }
        }
        let (at, after) = self.round.as_mut().filter(|(at, _)| *at <= now)?;
        let mut known = known;
        let next = known.find(|link| after.as_ref().is_none_or(|last| *link > last));
        match next {
            Some(link) => (*at, *after) = (now + STEP, Some(link.clone())),
            None => self.round = None,
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// What is asked within this time, when something happens every 10 ms, and when.
    fn asked(seconds: u64, known: &[Link], mut happens: impl FnMut(&mut Again, Instant)) -> (Vec<u128>, Vec<u128>) {
        let (start, mut again) = (Instant::now(), Again::default());
        let (mut types, mut services, mut now) = (Vec::new(), Vec::new(), start);
        while now < start + Duration::from_secs(seconds) {
            if (now - start).as_millis().is_multiple_of(10) {
                happens(&mut again, now);
            }
            if again.next().is_some_and(|due| due <= now) {
                let at = (now - start).as_millis();
                types.extend(again.types(now).iter().map(|_| at));
                services.extend(again.service(known.iter(), now).map(|_| at));
            }
            now += MILLISECOND;
        }
        assert!(again.next().is_none_or(|due| due + MILLISECOND > now), "what is due was done");
        (types, services)
    }

    #[test]
    fn a_type_is_asked_for_soon_and_however_many_go_not_often() {
        let kind: ServiceType = "_x._tcp".parse().expect("a type");
        let mut once = Some(());
        let alone = asked(20, &[], |again, now| once.take().into_iter().for_each(|()| again.ask_for(&kind, now)));
        assert_eq!(alone.0, [250]);
        let many = asked(20, &[], |again, now| again.ask_for(&kind, now));
        assert_eq!(many.0, [250, 5250, 10250, 15250]);
    }

    #[test]
    fn what_is_known_is_asked_twice_after_an_address_came_and_however_many_come_one_by_one() {
        let links = ["mdns:a._x._tcp", "mdns:b._x._tcp"].map(|link| link.parse().expect("a link"));
        let mut once = Some(());
        let alone = asked(20, &links, |again, now| once.take().into_iter().for_each(|()| again.address_came(now)));
        assert_eq!(alone.1, [250, 350, 5250, 5350]);
        let many = asked(20, &links, Again::address_came);
        assert_eq!(many.1, [250, 350, 5250, 5350, 10250, 10350, 15250, 15350]);
        let mut once = Some(());
        let nothing = asked(20, &[], |again, now| once.take().into_iter().for_each(|()| again.address_came(now)));
        assert_eq!(nothing.1, [0_u128; 0]);
    }
}
