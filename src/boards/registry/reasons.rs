//! Why a device is taken for what it is.

use super::{Device, Registry, Seen};
use crate::boards::catalogue::Board;
use crate::boards::identify::{self, Opinion};
use crate::boards::why::{Verdict, Why, WhyStep};
use crate::boards::{announced, asking};
use crate::device::{
    Access, Answer, DeviceId, Evidence, Identity, Link, Question, QuestionFailed, Sureness, TapeEvent,
};

impl Registry {
    /// What is known now, as it would have been told one after the other.
    pub fn tape(&self) -> Vec<TapeEvent> {
        let answered = |seen: &Seen| {
            let link = seen.report.link.clone();
            let one = move |(question, outcome): &(Question, Result<Answer, QuestionFailed>)| TapeEvent::Answered {
                link: link.clone(),
                question: question.clone(),
                outcome: outcome.clone(),
            };
            seen.asked.iter().map(one).collect::<Vec<_>>()
        };
        let appeared = |seen: &Seen| std::iter::once(TapeEvent::Appeared(seen.report.clone()));
        self.links.values().flat_map(|seen| appeared(seen).chain(answered(seen))).collect()
    }

    /// Why a device is what it is; `None` when its link is not there.
    pub fn why_device(&self, id: &DeviceId) -> Option<Why> {
        self.why_link(&self.devices.get(id)?.info.link)
    }

    /// Why a link's device is what it is, or is not known.
    pub fn why_link(&self, link: &Link) -> Option<Why> {
        let seen = self.links.get(link)?;
        let Opinion { board, mut steps, .. } = self.opinion(seen);
        let device = seen.device.as_ref().and_then(|id| self.devices.get(id));
        for (question, outcome) in seen.asked.iter() {
            let came = outcome.as_ref().map_or_else(ToString::to_string, |answer| identify::told_all(&answer.evidence));
            steps.push(WhyStep::new(asking::describe(question), Verdict::Asked, came));
        }
        if let Some(question) = &seen.asking {
            steps.push(WhyStep::new(asking::describe(question), Verdict::Asked, "no answer yet"));
        }
        if let Some(service) = identify::service(&seen.report) {
            steps.push(WhyStep::new("announcement", Verdict::Noted, identify::announcement(service)));
        }
        for evidence in seen.report.evidence.iter().chain(&seen.beside) {
            if matches!(evidence, Evidence::Discovered { .. }) {
                steps.push(WhyStep::new("discovery", Verdict::Noted, identify::told(evidence)));
            }
        }
        if let Some(ble) = identify::ble(&seen.report) {
            steps.push(WhyStep::new("advertisement", Verdict::Noted, identify::advertisement(ble)));
        }
        if let Some(device) = device {
            steps.push(WhyStep::new("identity", Verdict::Noted, self.how_sure(seen, &device.info.identity)));
            self.explain_facts(seen, &mut steps);
            self.explain_version(seen, device, &mut steps);
        } else if let Some(other) = self.double(link) {
            steps.push(WhyStep::new(
                "identity",
                Verdict::Noted,
                format!("the same device as {other}, over another link"),
            ));
        }
        if let Some(reason) = seen.kept_out {
            steps.push(WhyStep::new("joining", Verdict::Noted, reason.to_string()));
        }
        if seen.report.access != Access::Usable {
            let detail = "the port cannot be used";
            steps.push(WhyStep::new("questions", Verdict::NotAsked, detail));
        }
        if seen.exhausted {
            steps.push(WhyStep::new("questions", Verdict::NotAsked, self.budget.used_up()));
        }
        Some(Why {
            link: link.clone(),
            access: seen.report.access.clone(),
            device: seen.device.clone(),
            identity: device.map(|device| device.info.identity.clone()),
            endpoint: device.map(|device| device.info.endpoint.clone()),
            sureness: board.as_ref().map_or(Sureness::Unknown, |(_, sureness)| *sureness),
            board: board.map(|(board, _)| board),
            steps,
        })
    }

    /// What a device is recognised by, and how far that can be relied on.
    fn how_sure(&self, seen: &Seen, identity: &Identity) -> &'static str {
        let by_chip = seen.asked.evidence().any(|evidence| matches!(evidence, Evidence::EspChip { mac: Some(_), .. }));
        match identity {
            Identity::Mac(_) if by_chip || self.serial_is_mac(&seen.report) => "sure: a MAC address that its chip told",
            Identity::Mac(_) => {
                "fairly sure: a MAC address that it tells of itself; anybody on the network could tell that one"
            }
            Identity::UsbSerial(_) => "sure: a USB serial number that nothing else here has",
            Identity::Ble(_) => "fairly sure: a Bluetooth address that stays, which anybody near could send",
            Identity::Configured(_) => "as sure as its `[[device]]` entry",
            Identity::Host(_) => "not sure: a host name, which anybody may take when it is free",
            Identity::UsbPath(_) => {
                "not sure: the USB socket it hangs on; another board of its type in there would be taken for it"
            }
            Identity::PortPath(_) => "not sure at all: the path of its port, which another board may get",
        }
    }

    fn explain_facts(&self, seen: &Seen, steps: &mut Vec<WhyStep>) {
        let board = self.opinion(seen).board.and_then(|(board, _)| self.catalogue.get(&board));
        let Some(Board { facts, .. }) = board else { return };
        let named = [
            ("MAC address", &facts.mac),
            ("manufacturer", &facts.manufacturer),
            ("model", &facts.model),
            ("serial number", &facts.serial_number),
            ("hardware version", &facts.hardware_version),
            ("bearer", &facts.bearer),
            ("signal", &facts.signal),
        ];
        for (what, sources) in named {
            if let Some((text, source)) = announced::read(sources, &Self::said(seen)) {
                steps.push(WhyStep::new(what, Verdict::Noted, format!("{text} ({source})")));
            }
        }
    }

    fn explain_version(&self, seen: &Seen, device: &Device, steps: &mut Vec<WhyStep>) {
        if let Some(version) = &device.info.version {
            let detail = format!("{} ({})", version.text, version.source);
            steps.push(WhyStep::new("version", Verdict::Matched, detail));
            return;
        }
        for question in device.profile.version.iter().map(asking::version) {
            let needs = asking::needs(&question);
            if needs > self.allowed(seen) && !seen.asked.settled(&question) {
                let what = format!("version: {}", asking::describe(&question));
                let why = self
                    .spared(seen)
                    .map_or_else(|| identify::forbidden(needs).to_owned(), |why| identify::spared(&why));
                steps.push(WhyStep::new(what, Verdict::NotAsked, why));
            }
        }
    }
}
