//! Which board a link's device is: a pure function of the configuration, the catalogue and what was seen.
//!
//! In this order: a `[[device]]` entry, USB ids that belong to one board, the answers of the running program, those of
//! the bootloader. What leaves more than one board leaves it unknown. It also says which question would help next, and
//! writes down each step, for `nuncio why`.

use std::collections::BTreeMap;

use globset::GlobMatcher;

use crate::device::{
    BleAddressKind, BleSeen, BoardId, DISKS, Evidence, Link, LinkReport, ProgramQuestion, Question, Questions,
    ServiceSeen, SmpSlot, Sureness, UsbIds, VersionQuestion,
};

use super::asking::{self, Asked};
use super::catalogue::{Board, Catalogue};
use super::file::{AtClue, Clue, FirmataClue, Hex, SmpClue, Strength};
use super::settings::DeviceEntry;
use super::why::{Verdict, WhyStep};

/// At most so many AT commands are tried on one port.
const MAX_COMMANDS: usize = 8;

/// What is known of one link.
pub(super) struct Case<'a> {
    pub(super) catalogue: &'a Catalogue,
    pub(super) entry: Option<&'a DeviceEntry>,
    pub(super) report: &'a LinkReport,
    /// What a disk of the same USB device tells.
    pub(super) beside: Option<&'a Evidence>,
    pub(super) asked: &'a Asked,
    pub(super) allowed: Questions,
    /// Who says that no question may reset it.
    pub(super) spared: Option<String>,
}

/// What follows from it.
#[derive(Debug, Default)]
pub(super) struct Opinion {
    /// The board and what it is known by.
    pub(super) board: Option<(BoardId, Sureness)>,
    /// What to ask next to find out, where asking is allowed.
    pub(super) next: Option<Question>,
    /// How it was come to.
    pub(super) steps: Vec<WhyStep>,
}

impl Opinion {
    fn note(&mut self, what: impl Into<String>, verdict: Verdict, detail: impl Into<String>) {
        self.steps.push(WhyStep::new(what, verdict, detail));
    }
}

/// What a discovery program or a disk tells.
struct Told<'a> {
    by: &'a str,
    protocol: &'a str,
    properties: &'a BTreeMap<String, String>,
}

/// A board that is still possible, and what speaks for it.
struct Candidate<'a> {
    id: &'a BoardId,
    board: &'a Board,
    favoured: Option<Sureness>,
}

impl Case<'_> {
    /// Makes up an opinion.
    pub(super) fn opinion(&self) -> Opinion {
        let mut opinion = Opinion::default();
        if let Some((entry, board)) = self.entry.and_then(|entry| Some((entry, entry.board.as_deref()?))) {
            self.configured(entry, &BoardId::new(board), &mut opinion);
        } else if let Some(service) = service(self.report) {
            let fits = |board: &Board| {
                let fits = board.services.iter().filter_map(|one| Some((one.fits(service)?, one.to_string())));
                fits.max_by_key(|(weight, _)| *weight)
            };
            self.by_announcement(&format!("mDNS {}", service.name.kind()), fits, &mut opinion);
        } else if let Some(seen) = ble(self.report) {
            let fits = |board: &Board| {
                let fits = board.ble.iter().filter_map(|one| Some((one.fits(seen)?, one.to_string())));
                fits.max_by_key(|(weight, _)| *weight)
            };
            if seen.address_kind == BleAddressKind::Rotating {
                let detail = "its address changes every few minutes: it could not be known again";
                opinion.note("Bluetooth address", Verdict::Noted, detail);
            } else {
                self.by_announcement("Bluetooth advertisement", fits, &mut opinion);
            }
        } else if let Some(told) = self.report.evidence.iter().find_map(discovered) {
            self.by_discovery(&told, &mut opinion);
        } else if !matches!(self.report.link, Link::Serial(_)) {
            opinion.note(
                "board",
                Verdict::NotAsked,
                "this kind of link cannot be asked: a [[device]] entry must name the board",
            );
        } else if !self.by_disk(&mut opinion) && !self.by_usb(&mut opinion) {
            self.by_answers(&mut opinion);
        }
        opinion
    }

    /// The user says so. What contradicts it is told, and changes nothing.
    fn configured(&self, entry: &DeviceEntry, id: &BoardId, opinion: &mut Opinion) {
        let what = format!("[[device]] `{}`", entry.name);
        let Some(board) = self.catalogue.get(id) else {
            opinion.note(what, Verdict::Noted, format!("names the board `{id}`, which no board file describes"));
            return;
        };
        opinion.note(what, Verdict::Matched, format!("says that it is `{id}`"));
        opinion.board = Some((id.clone(), Sureness::Configured));
        if let Some(usb) = usb(self.report)
            && let Some(other) = self.owner(usb).filter(|other| *other != id)
        {
            opinion.note(usb_name(usb), Verdict::Contradicts, format!("belongs to `{other}` alone"));
        }
        for evidence in self.asked.evidence() {
            if let Some(Err(reason)) = fits(board, evidence) {
                opinion.note(told(evidence), Verdict::Contradicts, reason);
            }
        }
    }

    /// The board that fits what was announced most closely; `fits` weighs one, and says by what.
    fn by_announcement(&self, what: &str, fits: impl Fn(&Board) -> Option<(usize, String)>, opinion: &mut Opinion) {
        let weighed =
            self.catalogue.iter().filter_map(|(id, board)| fits(board).map(|(weight, clue)| (weight, id, clue)));
        let mut fitting: Vec<(usize, &BoardId, String)> = weighed.collect();
        let closest = fitting.iter().map(|(weight, ..)| *weight).max();
        fitting.retain(|(weight, ..)| Some(*weight) == closest);
        match &fitting[..] {
            [] => opinion.note(what, Verdict::Noted, "no board file names what it announces"),
            [(_, id, clue)] => {
                opinion.note(format!("`{id}`"), Verdict::Matched, format!("it announces {clue}"));
                opinion.board = Some(((*id).clone(), Sureness::Announced));
            }
            _ => {
                let names: Vec<String> = fitting.iter().map(|(_, id, _)| format!("`{id}`")).collect();
                let detail = format!("{} announce alike: a [[device]] entry must say which it is", names.join(" and "));
                opinion.note(what, Verdict::Noted, detail);
            }
        }
    }

    fn by_discovery(&self, told: &Told<'_>, opinion: &mut Opinion) {
        let Told { by, protocol, properties } = *told;
        let fits = |board: &Board| {
            let fits =
                board.discovered.iter().filter_map(|one| Some((one.fits(protocol, properties)?, one.to_string())));
            fits.max_by_key(|(weight, _)| *weight)
        };
        self.by_announcement("discovery", fits, opinion);
        if let Some((_, sureness)) = opinion.board.as_mut().filter(|_| by == DISKS) {
            *sureness = Sureness::Disk;
        }
    }

    /// What the disk beside a tty tells decides, unless the USB ids do. `true`: it has.
    fn by_disk(&self, opinion: &mut Opinion) -> bool {
        let owned = usb(self.report).and_then(|usb| self.owner(usb)).is_some();
        if let Some(told) = self.beside.filter(|_| !owned).and_then(discovered) {
            self.by_discovery(&told, opinion);
        }
        opinion.board.is_some()
    }

    /// USB ids that belong to one board decide. `true`: nothing more can be done.
    fn by_usb(&self, opinion: &mut Opinion) -> bool {
        let Some(usb) = usb(self.report) else {
            opinion.note("USB ids", Verdict::Noted, "this port is not on USB");
            return false;
        };
        if let Some(id) = self.owner(usb) {
            opinion.note(usb_name(usb), Verdict::Matched, format!("belongs to `{id}` alone"));
            opinion.board = Some((id.clone(), Sureness::UsbIds));
            return true;
        }
        let claims: Vec<String> = self.claims(usb).map(|(id, _)| format!("`{id}`")).collect();
        if claims.is_empty() {
            opinion.note(usb_name(usb), Verdict::Noted, "no board file names these ids");
            opinion.note("questions", Verdict::NotAsked, "nothing is known of what may hang on this port");
            return true;
        }
        let detail = format!("does not decide: it may be {}", claims.join(", "));
        opinion.note(usb_name(usb), Verdict::Noted, detail);
        false
    }

    /// What was answered decides, or the next question is named.
    fn by_answers(&self, opinion: &mut Opinion) {
        let mut candidates = self.candidates();
        for evidence in self.asked.evidence() {
            candidates.retain_mut(|candidate| weigh(candidate, evidence, opinion));
        }
        let favoured: Vec<&Candidate<'_>> = candidates.iter().filter(|one| one.favoured.is_some()).collect();
        if let [one] = favoured[..] {
            opinion.board = one.favoured.map(|sureness| (one.id.clone(), sureness));
            return;
        }
        if favoured.len() > 1 {
            let names: Vec<String> = favoured.iter().map(|one| format!("`{}`", one.id)).collect();
            let detail = format!("{} answer alike: a [[device]] entry must say which it is", names.join(" and "));
            opinion.note("answers", Verdict::Noted, detail);
        }
        self.ask_next(&candidates, opinion);
    }

    fn ask_next(&self, candidates: &[Candidate<'_>], opinion: &mut Opinion) {
        let bootloader_told = self.asked.evidence().any(is_bootloader);
        for question in questions(candidates) {
            if self.asked.settled(&question) {
                continue;
            }
            let what = asking::describe(&question);
            let needs = asking::needs(&question);
            if needs == Questions::Bootloader && bootloader_told {
                opinion.note(what, Verdict::NotAsked, "its bootloader has told already what it is");
            } else if let Some(why) = self.spared.as_ref().filter(|_| needs > Questions::Passive) {
                opinion.note(what, Verdict::NotAsked, spared(why));
            } else if needs > self.allowed {
                opinion.note(what, Verdict::NotAsked, forbidden(needs));
            } else if opinion.next.is_none() {
                opinion.next = Some(question);
            }
        }
    }

    /// The boards it may be: those that name its USB ids, or any where there are none.
    fn candidates(&self) -> Vec<Candidate<'_>> {
        let candidate = |(id, board)| Candidate { id, board, favoured: None };
        match usb(self.report) {
            Some(usb) => self.claims(usb).map(candidate).collect(),
            None => self.catalogue.iter().map(candidate).collect(),
        }
    }

    fn claims(&self, usb: &UsbIds) -> impl Iterator<Item = (&BoardId, &Board)> {
        let (vid, pid) = (usb.vid, usb.pid);
        self.catalogue.iter().filter(move |(_, board)| board.usb.iter().any(|one| (one.vid, one.pid) == (vid, pid)))
    }

    /// The board that these ids belong to alone.
    fn owner(&self, usb: &UsbIds) -> Option<&BoardId> {
        let strong = |board: &Board| {
            board.usb.iter().any(|one| (one.vid, one.pid) == (usb.vid, usb.pid) && one.strength == Strength::Strong)
        };
        self.catalogue.iter().find(|(_, board)| strong(board)).map(|(id, _)| id)
    }
}

/// Why no question is asked that could reset a board.
pub(super) fn spared(why: &str) -> String {
    format!("{why}, and opening its port may reset it")
}

/// Why a question is not asked, as the operator reads it.
pub(super) fn forbidden(needs: Questions) -> &'static str {
    match needs {
        Questions::Bootloader => "it resets the board; `[serial] questions = \"bootloader\"` allows it",
        _ => "it opens the port, which resets many boards; `[serial] questions = \"serial\"` allows it",
    }
}

/// The USB descriptors of a link, where it has some.
pub(super) fn usb(report: &LinkReport) -> Option<&UsbIds> {
    report.evidence.iter().find_map(|evidence| match evidence {
        Evidence::Usb(usb) => Some(usb),
        _ => None,
    })
}

/// The service that a link is, where it is one.
pub(super) fn service(report: &LinkReport) -> Option<&ServiceSeen> {
    report.evidence.iter().find_map(|evidence| match evidence {
        Evidence::Service(service) => Some(service),
        _ => None,
    })
}

/// The advertisement that a link is known by, where it is one.
pub(super) fn ble(report: &LinkReport) -> Option<&BleSeen> {
    report.evidence.iter().find_map(|evidence| match evidence {
        Evidence::Ble(seen) => Some(seen),
        _ => None,
    })
}

/// What a discovery program or a disk tells, where it is that.
fn discovered(evidence: &Evidence) -> Option<Told<'_>> {
    match evidence {
        Evidence::Discovered { by, protocol, properties, .. } => Some(Told { by, protocol, properties }),
        _ => None,
    }
}

/// All that an advertisement says, as an operator reads it.
pub(super) fn advertisement(seen: &BleSeen) -> String {
    let name = seen.name.as_deref().map_or("no name".to_owned(), |name| format!("name `{name}`"));
    let services: Vec<&str> = seen.services.iter().map(String::as_str).collect();
    let data: Vec<String> = seen.data.iter().map(|(of, data)| format!("{of}={data}")).collect();
    format!("{name}; services {}; data {}", listed(&services), listed(&data))
}

fn listed<T: AsRef<str>>(parts: &[T]) -> String {
    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// All that a service says, as an operator reads it.
pub(super) fn announcement(service: &ServiceSeen) -> String {
    let txt: Vec<String> = service.txt.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let ServiceSeen { host, addresses, port, .. } = service;
    format!("host {host} at {}, port {port}; {}", addresses.join(", "), txt.join(", "))
}

fn usb_name(usb: &UsbIds) -> String {
    format!("USB {:04x}:{:04x}", usb.vid, usb.pid)
}

/// Takes a piece of evidence for or against a candidate; `false` rules it out.
fn weigh(candidate: &mut Candidate<'_>, evidence: &Evidence, opinion: &mut Opinion) -> bool {
    let what = || format!("`{}`", candidate.id);
    match fits(candidate.board, evidence) {
        None => true,
        Some(Ok(clue)) => {
            opinion.note(what(), Verdict::Matched, format!("{}, as {clue}", told(evidence)));
            let sureness = if is_bootloader(evidence) { Sureness::Bootloader } else { Sureness::Program };
            candidate.favoured = Some(candidate.favoured.map_or(sureness, |before| before.min(sureness)));
            true
        }
        Some(Err(reason)) => {
            opinion.note(what(), Verdict::Excluded, format!("{}: {reason}", told(evidence)));
            false
        }
    }
}

/// Whether evidence speaks for a board (and which clue says so), against it (and why), or not at all.
fn fits(board: &Board, evidence: &Evidence) -> Option<Result<String, String>> {
    let clues = || board.clues.iter();
    match evidence {
        Evidence::Usb(_)
        | Evidence::Service(_)
        | Evidence::Ble(_)
        | Evidence::Gatt { .. }
        | Evidence::Http { .. }
        | Evidence::Esphome { .. }
        | Evidence::Connected
        | Evidence::Banner { .. }
        | Evidence::Discovered { .. }
        | Evidence::Said { .. } => None,
        Evidence::Improv { firmware, chip, .. } => {
            let fits = |clue: &&Clue| matches!(clue, Clue::Improv(clue) if any(&clue.firmware, firmware) && clue.chip.as_ref().is_none_or(|glob| glob.is_match(chip)));
            fitting(board, Clue::is_improv, fits, "another firmware or chip")
        }
        Evidence::Smp { info, .. } => {
            let fits = |clue: &&Clue| {
                let told =
                    |clue: &SmpClue| clue.info.is_empty() || info.as_ref().is_some_and(|info| any(&clue.info, info));
                matches!(clue, Clue::Smp(clue) if told(clue))
            };
            fitting(board, Clue::is_smp, fits, "another application")
        }
        Evidence::At { values } => {
            let fits = |clue: &&Clue| {
                let told = |clue: &AtClue| values.get(&clue.ask).is_some_and(|answer| any(&clue.answers, answer));
                matches!(clue, Clue::At(clue) if told(clue))
            };
            fitting(board, Clue::is_at, fits, "another module")
        }
        Evidence::Firmata { name, pins, .. } => {
            let mut known = clues().filter(|clue| matches!(clue, Clue::Firmata(_))).peekable();
            known.peek()?;
            match known.find(|clue| matches!(clue, Clue::Firmata(clue) if firmata_fits(clue, name, *pins))) {
                Some(clue) => Some(Ok(clue.to_string())),
                // Without the number of pins there is no saying against a board that goes by it.
                None => pins.is_some().then(|| Err("another Firmata".to_owned())),
            }
        }
        Evidence::Signature { protocol, bytes, baud } => {
            let fits = |clue: &&Clue| match clue {
                Clue::Stk500(clue) => protocol == "stk500" && (clue.signature, clue.baud) == (*bytes, *baud),
                Clue::Stk500v2(clue) => protocol == "stk500v2" && (clue.signature, clue.baud) == (*bytes, *baud),
                _ => false,
            };
            Some(clues().find(fits).map(ToString::to_string).ok_or_else(|| "another bootloader or chip".to_owned()))
        }
        Evidence::EspChip { chip, .. } => {
            let fits = |clue: &&Clue| matches!(clue, Clue::EspRom(clue) if clue.chip == *chip);
            Some(clues().find(fits).map(ToString::to_string).ok_or_else(|| "another chip".to_owned()))
        }
    }
}

/// The clue of a kind that fits; a board that has none of this kind is not spoken of.
fn fitting(
    board: &Board,
    kind: impl Fn(&Clue) -> bool,
    fits: impl Fn(&&Clue) -> bool,
    otherwise: &str,
) -> Option<Result<String, String>> {
    let mut known = board.clues.iter().filter(|clue| kind(clue)).peekable();
    known.peek()?;
    Some(known.find(fits).map(ToString::to_string).ok_or_else(|| otherwise.to_owned()))
}

fn any(globs: &[GlobMatcher], text: &str) -> bool {
    globs.iter().any(|glob| glob.is_match(text))
}

fn firmata_fits(clue: &FirmataClue, name: &str, pins: Option<u16>) -> bool {
    let named = clue.names.is_empty() || clue.names.iter().any(|glob| glob.is_match(name));
    named && clue.pins.is_none_or(|wanted| pins == Some(wanted))
}

fn is_bootloader(evidence: &Evidence) -> bool {
    matches!(evidence, Evidence::Signature { .. } | Evidence::EspChip { .. })
}

/// Evidence as an operator reads it.
pub(super) fn told(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Usb(usb) => usb_name(usb),
        Evidence::Service(service) => format!("it announces {}", service.name),
        Evidence::Ble(seen) => format!("it advertises as {}", seen.address),
        Evidence::Gatt { values } | Evidence::Http { values } | Evidence::Esphome { values } => {
            let told: Vec<String> = values.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("it tells {}", listed(&told))
        }
        Evidence::Connected => "it answers a connect".to_owned(),
        Evidence::Firmata { name, major, minor, pins } => {
            let pins = pins.map_or_else(String::new, |pins| format!(" with {pins} pins"));
            format!("it runs Firmata `{name}` {major}.{minor}{pins}")
        }
        Evidence::Banner { line, .. } => format!("it prints `{line}`"),
        Evidence::Improv { firmware, version, chip, name } => {
            format!("it tells `{firmware}` {version} on `{chip}` by Improv, called `{name}`")
        }
        Evidence::Smp { slots, info } => {
            let slots: Vec<String> = slots.iter().map(slot).collect();
            let info = info.as_ref().map_or_else(String::new, |info| format!("it is `{info}`, "));
            format!("{info}it tells images by SMP: {}", listed(&slots))
        }
        Evidence::At { values } => {
            let told: Vec<String> = values.iter().map(|(command, answer)| format!("`{answer}` to {command}")).collect();
            format!("it answers {}", listed(&told))
        }
        Evidence::Discovered { by, protocol, label, properties } => {
            let told: Vec<String> = properties.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("the discovery `{by}` tells {protocol} `{label}`: {}", listed(&told))
        }
        Evidence::Said { text } => format!("it says nothing that is understood: `{text}`"),
        Evidence::Signature { protocol, bytes, baud } => {
            format!("its bootloader tells {protocol} signature {} at {baud} baud", Hex(*bytes))
        }
        Evidence::EspChip { chip, .. } => format!("its ROM loader tells chip {chip}"),
    }
}

/// One slot of an SMP server, as an operator reads it.
fn slot(slot: &SmpSlot) -> String {
    let marks = [(slot.active, "active"), (slot.pending, "pending"), (slot.confirmed, "confirmed")];
    let marks: String = marks.iter().filter(|(is, _)| *is).map(|(_, mark)| format!(" {mark}")).collect();
    let hash = slot.hash.get(..8).unwrap_or(&slot.hash);
    format!("{}.{} {} ({hash}){marks}", slot.image, slot.slot, slot.version)
}

/// What an answer amounts to, as an operator reads it.
pub(super) fn told_all(evidence: &[Evidence]) -> String {
    if evidence.is_empty() {
        return "it said nothing of use".to_owned();
    }
    evidence.iter().map(told).collect::<Vec<_>>().join("; ")
}

/// What the candidates can be told apart by, least disturbing first.
fn questions(candidates: &[Candidate<'_>]) -> Vec<Question> {
    let clues = || candidates.iter().flat_map(|one| &one.board.clues);
    let mut ranked: Vec<(u8, u32, Question)> = clues()
        .filter_map(|clue| {
            Some(match clue {
                Clue::Firmata(clue) => (0, clue.baud, asking::firmata(clue.baud)),
                Clue::Improv(_) | Clue::Smp(_) | Clue::At(_) => return None,
                Clue::Stk500(clue) => (2, clue.baud, Question::Stk500 { baud: clue.baud }),
                Clue::Stk500v2(clue) => (3, clue.baud, Question::Stk500v2 { baud: clue.baud }),
                Clue::EspRom(clue) => {
                    let app_offset = common_offset(candidates, clue.baud);
                    (4, clue.baud, Question::EspRom { baud: clue.baud, app_offset })
                }
            })
        })
        .collect();
    ranked.extend(programs(clues()).into_iter().map(|(baud, program)| (1, baud, Question::Program(program))));
    ranked.sort_by_key(|&(rank, baud, _)| (rank, std::cmp::Reverse(baud)));
    ranked.dedup_by(|one, other| one.2 == other.2);
    ranked.into_iter().map(|(_, _, question)| question).collect()
}

/// What running programs are asked, by speed: all languages over one opening of the port.
fn programs<'a>(clues: impl Iterator<Item = &'a Clue>) -> BTreeMap<u32, ProgramQuestion> {
    let mut programs: BTreeMap<u32, ProgramQuestion> = BTreeMap::new();
    let mut at = |baud: u32, ask: &dyn Fn(&mut ProgramQuestion)| {
        ask(programs.entry(baud).or_insert_with(|| ProgramQuestion { baud, ..ProgramQuestion::default() }));
    };
    for clue in clues {
        match clue {
            Clue::Improv(clue) => at(clue.baud, &|program| program.improv = true),
            Clue::Smp(clue) => at(clue.baud, &|program| program.smp = true),
            Clue::At(clue) => at(clue.baud, &|program| {
                if !program.at.contains(&clue.ask) && program.at.len() < MAX_COMMANDS {
                    program.at.push(clue.ask.clone());
                }
            }),
            Clue::Firmata(_) | Clue::Stk500(_) | Clue::Stk500v2(_) | Clue::EspRom(_) => {}
        }
    }
    programs
}

/// Where the candidates with this loader keep their application, if all at the same place: then the version is read
/// along, which spares another reset.
fn common_offset(candidates: &[Candidate<'_>], speed: u32) -> Option<u32> {
    let mut offsets = candidates.iter().flat_map(|one| one.board.version_ladder()).filter_map(|step| match step {
        VersionQuestion::EspAppDesc { baud, offset } if *baud == speed => Some(*offset),
        _ => None,
    });
    let first = offsets.next()?;
    offsets.all(|offset| offset == first).then_some(first)
}
