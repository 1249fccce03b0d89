//! A machine on the bench: its clock moved by the test, its outputs kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nuncio::device::{
    Answer, BoardState, DeviceId, FirmwareOrder, FirmwareRight, FirmwareView, FlashProfile, JobEvent, JobFailure,
    JobOutcome, JobStart, JournalEntry, JournalStep, Link, QuestionFailed, Requester, StagedImage, UpdateEvent,
    UpdateId,
};
use nuncio::update::UpdateSettings;
use nuncio::update::machine::{Facts, Input, Machine, Now, Order, Output, Reply, Rules, Ticket};
use nuncio::update::policy::Policy;

use crate::support::{SOAK, image, profile, server, settings, version};

pub(crate) const URI: &str = "http://fw.example/a.hex";

pub(crate) fn link() -> Link {
    "serial:/dev/ttyTEST0".parse().expect("a link")
}

pub(crate) fn other_link() -> Link {
    "serial:/dev/ttyTEST1".parse().expect("a link")
}

pub(crate) fn start() -> JobStart {
    JobStart {
        tool: "tool".into(),
        program: PathBuf::from("/bin/tool"),
        tool_version: None,
        argv: vec!["tool".into()],
        pid: 4711,
        start_time: 1,
        marker: "m".into(),
    }
}

/// A machine with a clock that the test moves, and all that came out of it.
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    pub(crate) began: Instant,
    pub(crate) passed: Duration,
    pub(crate) out: Vec<Output>,
    pub(crate) all: Vec<Output>,
    pub(crate) orders: u128,
}

impl Bench {
    pub(crate) fn new(profile: Arc<FlashProfile>) -> Self {
        Self::with(Machine::new(facts(profile), rules(settings())))
    }

    pub(crate) fn with(machine: Machine) -> Self {
        let began = Instant::now();
        let mut bench = Self { machine, began, passed: Duration::ZERO, out: Vec::new(), all: Vec::new(), orders: 0 };
        bench.drain();
        bench
    }

    pub(crate) fn recovered(
        step: JournalStep,
        view: FirmwareView,
        settings: UpdateSettings,
        profile: Arc<FlashProfile>,
    ) -> Self {
        let entry = JournalEntry {
            update: UpdateId(uuid::Uuid::from_u128(99)),
            device: DeviceId::new("board"),
            requester: server(1),
            step,
            uri: URI.into(),
            version_before: None,
            version: None,
            at: 1000,
            view,
            board: BoardState::Sound,
        };
        let now = Now { instant: Instant::now(), unix: 1000 };
        Self::with(Machine::recover(facts(profile), rules(settings), entry, now))
    }

    pub(crate) fn now(&self) -> Now {
        let unix = 1000 + i64::try_from(self.passed.as_secs()).expect("a short test");
        Now { instant: self.began + self.passed, unix }
    }

    pub(crate) fn drain(&mut self) {
        self.out = self.machine.drain();
        self.all.extend(self.out.iter().cloned());
    }

    pub(crate) fn order(&mut self, requester: Requester, right: FirmwareRight, order: FirmwareOrder) -> Reply {
        self.orders += 1;
        let update = UpdateId(uuid::Uuid::from_u128(self.orders));
        let reply = self.machine.handle_order(Order { update, requester, right, order }, self.now());
        self.drain();
        reply
    }

    pub(crate) fn own(&mut self, order: FirmwareOrder) -> Reply {
        self.order(server(1), FirmwareRight::Own, order)
    }

    pub(crate) fn input(&mut self, input: Input) {
        self.machine.handle(input, self.now());
        self.drain();
    }

    /// Lets time pass, timer by timer.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.passed + time;
        while let Some(at) = self.machine.poll_timeout().filter(|at| *at <= self.began + end) {
            self.passed = self.passed.max(at.saturating_duration_since(self.began));
            self.machine.handle_timeout(self.now());
            self.drain();
        }
        self.passed = end;
    }

    pub(crate) fn told(&self) -> (u8, u8) {
        (self.machine.view().state as u8, self.machine.view().result as u8)
    }

    /// The last output that `pick` takes.
    pub(crate) fn last<T>(&self, pick: impl Fn(&Output) -> Option<T>) -> T {
        self.all.iter().rev().find_map(pick).expect("such an output")
    }

    pub(crate) fn ticket(&self, name: &str) -> Ticket {
        self.last(|output| ask(output).filter(|(asked, _)| *asked == name).map(|(_, ticket)| ticket))
    }

    pub(crate) fn reason(&self) -> String {
        self.last(|output| match output {
            Output::Event(_, UpdateEvent::UpdateFailed { reason } | UpdateEvent::StagingFailed { reason }) => {
                Some(reason.clone())
            }
            _ => None,
        })
    }

    pub(crate) fn journal(&self) -> JournalStep {
        self.last(|output| match output {
            Output::Journal { entry, .. } | Output::Close { entry, .. } => Some(entry.step.clone()),
            _ => None,
        })
    }

    pub(crate) fn has(&self, wanted: impl Fn(&Output) -> bool) -> bool {
        self.out.iter().any(wanted)
    }

    // Steps of the way, each from the one before.

    pub(crate) fn fetched(&mut self) {
        assert_eq!(self.own(FirmwareOrder::Fetch(URI.into())), Reply::Done);
    }

    pub(crate) fn received(&mut self, image: StagedImage) {
        let ticket = self.ticket("download");
        self.input(Input::Received { ticket, result: Ok(image) });
    }

    pub(crate) fn journalled(&mut self) {
        let ticket = self.ticket("journal");
        self.input(Input::Journalled { ticket, result: Ok(()) });
    }

    pub(crate) fn staged(&mut self, expected: Option<&str>) {
        self.fetched();
        self.received(image(expected));
        self.journalled();
        assert_eq!(self.told(), (2, 0));
    }

    pub(crate) fn executed(&mut self, expected: Option<&str>) {
        self.staged(expected);
        assert_eq!(self.own(FirmwareOrder::Execute), Reply::Done);
    }

    pub(crate) fn leased(&mut self) {
        let ticket = self.ticket("lease");
        self.input(Input::Leased { ticket });
    }

    /// The lease for a question, where it has to be asked for anew.
    pub(crate) fn leased_again(&mut self) {
        assert!(self.has(|output| matches!(output, Output::TakeLease { .. })));
        self.leased();
    }

    pub(crate) fn job(&mut self, event: JobEvent) {
        let ticket = self.ticket("tool");
        self.input(Input::Job { ticket, event });
    }

    pub(crate) fn flashing(&mut self, expected: Option<&str>) {
        self.executed(expected);
        self.leased();
        self.job(JobEvent::Ready(start()));
        self.journalled();
        assert!(self.has(|output| matches!(output, Output::ReleaseTool)));
        assert_eq!(self.told(), (3, 0));
    }

    pub(crate) fn verified(&mut self, expected: Option<&str>) {
        self.flashing(expected);
        self.job(JobEvent::Ended(JobOutcome::Verified { bytes: 400 }));
    }

    pub(crate) fn returned(&mut self, link: Link) {
        let ticket = self.ticket("return");
        self.input(Input::Returned { ticket, link });
    }

    pub(crate) fn asked(&mut self, expected: Option<&str>) {
        self.verified(expected);
        self.returned(link());
        self.pass(SOAK);
        assert!(self.has(|output| matches!(output, Output::Ask { .. })));
    }

    pub(crate) fn tells(&mut self, told: Option<&str>) {
        let answer = Answer { evidence: Vec::new(), version: told.map(version) };
        self.answers(Ok(answer));
    }

    pub(crate) fn answers(&mut self, result: Result<Answer, QuestionFailed>) {
        let ticket = self.ticket("ask");
        self.input(Input::Told { ticket, result });
    }
}

pub(crate) fn facts(profile: Arc<FlashProfile>) -> Facts {
    Facts {
        device: DeviceId::new("board"),
        profile,
        link: Some(link()),
        version: Some(version("1.0")),
        goods: Arc::default(),
        worked: None,
        power_cycle: false,
    }
}

pub(crate) fn rules(settings: UpdateSettings) -> Arc<Rules> {
    Arc::new(Rules { settings, policy: Policy::default() })
}

/// What an output asks for, and the ticket of the answer.
pub(crate) fn ask(output: &Output) -> Option<(&'static str, Ticket)> {
    match output {
        Output::Download { ticket, .. } => Some(("download", *ticket)),
        Output::Copy { ticket, .. } => Some(("copy", *ticket)),
        Output::Check { ticket, .. } => Some(("check", *ticket)),
        Output::Recheck { ticket, .. } => Some(("recheck", *ticket)),
        Output::Journal { ticket: Some(ticket), .. } => Some(("journal", *ticket)),
        Output::TakeLease { ticket, .. } => Some(("lease", *ticket)),
        Output::StartTool { ticket, .. } => Some(("tool", *ticket)),
        Output::AwaitReturn { ticket, .. } => Some(("return", *ticket)),
        Output::Ask { ticket, .. } => Some(("ask", *ticket)),
        Output::KeepSaved { ticket, .. } => Some(("kept", *ticket)),
        Output::PowerCycle { ticket } => Some(("power", *ticket)),
        _ => None,
    }
}

pub(crate) fn board() -> Arc<FlashProfile> {
    profile(1, SOAK)
}

pub(crate) fn failed(class: JobFailure) -> JobEvent {
    JobEvent::Ended(JobOutcome::Failed { class, detail: "it says so".into() })
}
