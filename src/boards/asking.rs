//! Questions and what came of them, as the registry keeps them for one link.

use std::time::Duration;

use crate::device::{
    Answer, Evidence, ListenQuestion, ProgramQuestion, Question, QuestionFailed, Questions, ReportedVersion,
    ServiceSeen, VersionQuestion,
};

/// How long a board may take to report its Firmata: its bootloader and start take up to 4 s, then it is asked once.
const FIRMATA_WITHIN: Duration = Duration::from_secs(8);

type Outcome = Result<Answer, QuestionFailed>;

/// The questions that were asked over a link since its device appeared there, and those of them whose answer on the
/// version is void. At most one entry for each question that the board files know.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    all: Vec<(Question, Outcome)>,
    void: Vec<Question>,
}

impl Asked {
    /// Keeps what came of a question, instead of what came of it before.
    pub(super) fn keep(&mut self, question: Question, outcome: Result<Answer, QuestionFailed>) {
        self.all.retain(|(other, _)| !same(other, &question));
        self.void.retain(|other| !same(other, &question));
        self.all.push((question, outcome));
    }

    /// Whether asking again would tell nothing new. What could not be asked because somebody had the port may be.
    pub(super) fn settled(&self, question: &Question) -> bool {
        let waiting = |outcome: &Result<_, _>| {
            matches!(outcome, Err(QuestionFailed::Busy(_) | QuestionFailed::NotPermitted | QuestionFailed::Gone))
        };
        let elsewhere = |other: &Question, outcome: &Result<_, _>| outcome.is_err() && is_elsewhere(other, question);
        let settles = |(other, outcome): &(Question, _)| !waiting(outcome) && !elsewhere(other, outcome);
        let void = self.void.iter().any(|other| same(other, question));
        !void && self.all.iter().filter(|(other, _)| same(other, question)).any(settles)
    }

    /// All that was learnt, in the order of asking.
    pub(super) fn evidence(&self) -> impl Iterator<Item = &Evidence> {
        self.all.iter().filter_map(|(_, outcome)| outcome.as_ref().ok()).flat_map(|answer| &answer.evidence)
    }

    /// The version that was told last.
    pub(super) fn version(&self) -> Option<&ReportedVersion> {
        self.all.iter().rev().find_map(|(_, outcome)| outcome.as_ref().ok()?.version.as_ref())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(Question, Result<Answer, QuestionFailed>)> {
        self.all.iter()
    }

    /// Forgets what was told of versions: another program may run now. What tells the board stays.
    pub(super) fn forget_versions(&mut self) {
        let Self { all, void } = self;
        all.retain_mut(|(question, outcome)| {
            let Ok(answer) = outcome else { return true };
            if answer.version.take().is_some() {
                void.push(question.clone());
            }
            answer.evidence.iter().any(|evidence| !matches!(evidence, Evidence::Banner { .. }))
        });
    }
}

/// How far one must be allowed to go to ask this.
pub(super) fn needs(question: &Question) -> Questions {
    match question {
        // Reading over the network or the air restarts nothing; whether that is allowed at all, is asked elsewhere.
        Question::Gatt { .. } | Question::Http { .. } | Question::Esphome { .. } | Question::SmpUdp { .. } => {
            Questions::Passive
        }
        Question::Listen(_) | Question::Program(_) => Questions::Serial,
        Question::Stk500 { .. } | Question::Stk500v2 { .. } | Question::EspRom { .. } => Questions::Bootloader,
    }
}

/// Whether two questions would be answered alike: how long one waits, and what else one reads, makes no other question.
pub(super) fn same(one: &Question, other: &Question) -> bool {
    match (one, other) {
        (Question::Listen(one), Question::Listen(other)) => {
            (one.baud, one.firmata, one.reset) == (other.baud, other.firmata, other.reset)
                && one.banners == other.banners
        }
        (Question::Program(one), Question::Program(other)) => {
            one.baud == other.baud
                && (one.improv || !other.improv)
                && (one.smp || !other.smp)
                && other.at.iter().all(|command| one.at.contains(command))
        }
        (Question::SmpUdp { port, .. }, Question::SmpUdp { port: other, .. }) => port == other,
        (Question::EspRom { baud: one, app_offset: at }, Question::EspRom { baud: other, app_offset: sought }) => {
            one == other && (sought.is_none() || at == sought)
        }
        (Question::Http { path, pointers, .. }, Question::Http { path: other, pointers: others, .. }) => {
            (path, pointers) == (other, others)
        }
        (Question::Esphome { .. }, Question::Esphome { .. }) => true,
        (one, other) => one == other,
    }
}

/// Whether a device on a network is to be asked where it was not asked before.
fn is_elsewhere(before: &Question, now: &Question) -> bool {
    let (Some(before), Some(now)) = (service(before), service(now)) else { return false };
    before.port != now.port || now.addresses.iter().any(|address| !before.addresses.contains(address))
}

fn service(question: &Question) -> Option<&ServiceSeen> {
    match question {
        Question::Http { service, .. } | Question::Esphome { service } | Question::SmpUdp { service, .. } => {
            Some(service)
        }
        _ => None,
    }
}

/// The question that makes a running Firmata report.
pub(super) fn firmata(baud: u32) -> Question {
    let within = FIRMATA_WITHIN;
    Question::Listen(ListenQuestion { baud, banners: Vec::new(), firmata: true, reset: false, within })
}

/// The question for a step of a version ladder.
pub(super) fn version(step: &VersionQuestion) -> Question {
    match step {
        VersionQuestion::Listen(listen) => Question::Listen(listen.clone()),
        VersionQuestion::Program(program) => Question::Program(program.clone()),
        VersionQuestion::EspAppDesc { baud, offset } => Question::EspRom { baud: *baud, app_offset: Some(*offset) },
    }
}

/// A question as an operator reads it.
pub(super) fn describe(question: &Question) -> String {
    match question {
        Question::Listen(listen) if listen.banners.is_empty() => format!("Firmata at {} baud", listen.baud),
        Question::Listen(listen) => format!("banner at {} baud", listen.baud),
        Question::Program(program) => describe_program(program),
        Question::SmpUdp { port, .. } => format!("SMP over UDP port {port}"),
        Question::Stk500 { baud } => format!("stk500 signature at {baud} baud"),
        Question::Stk500v2 { baud } => format!("stk500v2 signature at {baud} baud"),
        Question::EspRom { baud, .. } => format!("esp-rom chip at {baud} baud"),
        Question::Gatt { characteristics } => format!("{} Bluetooth characteristics", characteristics.len()),
        Question::Http { path, .. } => format!("HTTP {path}"),
        Question::Esphome { .. } => "ESPHome's native API".to_owned(),
    }
}

fn describe_program(program: &ProgramQuestion) -> String {
    let languages = [(program.improv, "Improv"), (program.smp, "SMP"), (!program.at.is_empty(), "AT")];
    let asked: Vec<&str> = languages.iter().filter(|(asked, _)| *asked).map(|(_, name)| *name).collect();
    format!("{} at {} baud", asked.join(", "), program.baud)
}
