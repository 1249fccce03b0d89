//! What to ask of a link next, and whether it may be asked.

use tracing::debug;

use super::{Decision, Registry, Seen};
use crate::boards::asking::{self, Asked};
use crate::boards::catalogue::Board;
use crate::boards::file::Clue;
use crate::boards::identify;
use crate::device::{Access, BoardId, Evidence, Link, LinkReport, Question, Questions};

impl Registry {
    /// The USB product id of what is on a link.
    pub fn usb_product(&self, link: &Link) -> Option<u16> {
        identify::usb(&self.links.get(link)?.report).map(|usb| usb.pid)
    }

    /// What has to be asked before a device has a name: its MAC address, where it does not announce that.
    pub(super) fn first_question(&self, link: &Link, board: &BoardId) -> Option<Question> {
        let seen = self.links.get(link).filter(|seen| seen.device.is_none())?;
        let board = self.catalogue.get(board)?;
        let asks = board.facts.mac_is_asked() && self.media.may_ask(link) && seen.report.access == Access::Usable;
        if !asks || self.entry(&seen.report).is_some() || self.announced(seen).mac.is_some() {
            return None;
        }
        let failed = |question: &Question| {
            matches!(seen.asked.iter().find(|(asked, _)| asking::same(asked, question)), Some((_, Err(_))))
        };
        let mut questions = over_the_air(board, &seen.report).into_iter();
        questions.find(|question| !failed(question) && !seen.asked.settled(question))
    }

    /// What to ask of a device whose board is known: which of its bootloaders it has, and its version.
    pub(super) fn next_for_device(&self, link: &Link) -> Option<Question> {
        let seen = self.links.get(link)?;
        let device = self.devices.get(seen.device.as_ref()?)?;
        let board = self.catalogue.get(&device.info.board)?;
        if !matches!(link, Link::Serial(_)) {
            let mut questions = over_the_air(board, &seen.report).into_iter();
            return questions.find(|question| !seen.asked.settled(question));
        }
        let variants = bootloader_variants(board, &seen.asked).into_iter();
        let ladder = if device.info.version.is_none() { device.profile.version.as_slice() } else { &[] };
        let allowed = self.allowed(seen);
        let mut questions = variants.chain(ladder.iter().map(asking::version));
        questions.find(|question| asking::needs(question) <= allowed && !seen.asked.settled(question))
    }

    pub(super) fn ask(&mut self, link: &Link, question: Option<Question>, decisions: &mut Vec<Decision>) {
        let (Some(seen), Some(question)) = (self.links.get(link), question) else { return };
        let held = seen.device.as_ref().and_then(|id| self.devices.get(id)).is_some_and(|device| device.held);
        let possible = self.media.may_ask(link) && seen.report.access == Access::Usable;
        if held || !possible || seen.asking.is_some() {
            return;
        }
        let port = opens(&question).then(|| port(&seen.report));
        let affordable = port.as_ref().is_none_or(|port| self.budget.left(port));
        let Some(seen) = self.links.get_mut(link) else { return };
        seen.exhausted = !affordable;
        if !affordable {
            return debug!(%link, question = asking::describe(&question), "the port's budget of questions is used up");
        }
        seen.asking = Some(question.clone());
        port.into_iter().for_each(|port| self.budget.spend(port));
        decisions.push(Decision::Ask { link: link.clone(), question });
    }

    /// A question was not asked: it costs nothing.
    pub(super) fn not_asked(&mut self, link: &Link, question: &Question) {
        if let Some(seen) = self.links.get(link).filter(|_| opens(question)) {
            self.budget.give_back(&port(&seen.report));
        }
    }

    /// Time has passed: each port may be opened so many times more.
    pub fn refill_budgets(&mut self, turns: u32) -> Vec<Decision> {
        self.budget.refill(turns);
        let waiting: Vec<Link> =
            self.links.values().filter(|seen| seen.exhausted).map(|seen| seen.report.link.clone()).collect();
        let mut decisions = Vec::new();
        waiting.iter().for_each(|link| self.settle(link, &mut decisions));
        decisions
    }

    /// Whether a port waits until it may be opened again.
    pub fn is_exhausted(&self) -> bool {
        self.links.values().any(|seen| seen.exhausted)
    }

    /// How far questions may go on a link.
    pub(super) fn allowed(&self, seen: &Seen) -> Questions {
        if self.spared(seen).is_some() { Questions::Passive } else { self.questions }
    }

    /// Who says that what is on a link is never reset by a question: its `[[device]]`, or a board that it is or may be.
    pub(super) fn spared(&self, seen: &Seen) -> Option<String> {
        let entry = self.entry(&seen.report);
        if let Some(entry) = entry.filter(|entry| entry.never_reset) {
            return Some(format!("the [[device]] `{}` says `never_reset`", entry.name));
        }
        let named = entry.and_then(|entry| entry.board.as_deref());
        let found = seen.device.as_ref().and_then(|id| self.devices.get(id)).map(|device| device.info.board.as_str());
        let ids = identify::usb(&seen.report).map(|usb| (usb.vid, usb.pid)).filter(|_| named.is_none());
        let mut boards = self.catalogue.iter().filter(|(_, board)| board.never_reset);
        let spared = boards.find(|(id, board)| {
            [named, found].contains(&Some(id.as_str()))
                || ids.is_some_and(|ids| board.usb.iter().any(|one| (one.vid, one.pid) == ids))
        });
        spared.map(|(id, _)| format!("`{id}`, which it is or may be, has `never_reset` in its board file"))
    }
}

/// Whether a question opens a serial port, which is a reset for many boards.
fn opens(question: &Question) -> bool {
    asking::needs(question) > Questions::Passive
}

/// What a port is known by, however often it comes and goes.
fn port(report: &LinkReport) -> String {
    identify::usb(report).map_or_else(|| report.link.to_string(), |usb| format!("usb:{}/{}", usb.path, usb.interface))
}

/// What a device that is not on a wire is asked for its facts.
fn over_the_air(board: &Board, report: &LinkReport) -> Vec<Question> {
    let (characteristics, pointers) = (board.facts.characteristics(), board.facts.pointers());
    if matches!(report.link, Link::Ble(_)) && !characteristics.is_empty() {
        return vec![Question::Gatt { characteristics }];
    }
    let Some(service) = identify::service(report).filter(|_| matches!(report.link, Link::Service(_))) else {
        return Vec::new();
    };
    let service = Box::new(service.clone());
    let api = board.facts.api_is_asked().then(|| Question::Esphome { service: service.clone() });
    let path = board.http.clone().filter(|_| !pointers.is_empty());
    let http = path.map(|path| Question::Http { service: service.clone(), path, pointers });
    let port = board.smp.filter(|_| board.facts.smp_is_asked());
    let smp = port.map(|port| Question::SmpUdp { service, port });
    api.into_iter().chain(http).chain(smp).collect()
}

/// Where a board has bootloaders of several speeds and the flash profile depends on which it is: how to find out.
fn bootloader_variants(board: &Board, asked: &Asked) -> Vec<Question> {
    if asked.evidence().any(|evidence| matches!(evidence, Evidence::Signature { .. })) || board.profiles().len() < 2 {
        return Vec::new();
    }
    let questions = board.clues.iter().filter_map(|clue| match clue {
        Clue::Stk500(clue) => board.profile_at(clue.baud).map(|_| Question::Stk500 { baud: clue.baud }),
        Clue::Stk500v2(clue) => board.profile_at(clue.baud).map(|_| Question::Stk500v2 { baud: clue.baud }),
        _ => None,
    });
    questions.collect()
}
