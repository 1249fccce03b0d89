//! Recording what the transports see and say, and playing it in their place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::Gateway;
use crate::config::Replay;
use crate::device::{Answer, Link, Question, QuestionFailed, TAPE_SCHEMA, TapeEvent, TapeLine};
use crate::transports;

/// So many may record at once.
const MAX_RECORDINGS: usize = 4;

/// Those who record.
#[derive(Debug, Default)]
pub(super) struct Recordings(Vec<(Instant, mpsc::Sender<TapeLine>)>);

impl Recordings {
    /// Whether anybody wants to know.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes something down. Who does not keep up is left: half a tape would lie.
    fn note(&mut self, event: &TapeEvent) {
        self.0.retain(|(began, lines)| {
            let at_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            lines.try_send(TapeLine { at_ms, event: event.clone() }).is_ok()
        });
    }
}

impl Gateway {
    /// Begins a recording: what is known now comes first.
    pub(super) fn begin_tape(&mut self, lines: mpsc::Sender<TapeLine>) {
        if self.recordings.0.len() >= MAX_RECORDINGS {
            return tracing::warn!("too many record already");
        }
        let mut whole = Recordings(vec![(Instant::now(), lines)]);
        let (version, questions) = (env!("CARGO_PKG_VERSION").to_owned(), self.config.serial.questions);
        whole.note(&TapeEvent::Began { schema: TAPE_SCHEMA, version, questions });
        self.registry.tape().into_iter().for_each(|event| whole.note(&event.without_secrets()));
        self.recordings.0.append(&mut whole.0);
    }

    pub(super) fn note_link(&mut self, event: &transports::Event) {
        if self.recordings.is_empty() {
            return;
        }
        let event = match event {
            transports::Event::Appeared(report) => TapeEvent::Appeared(report.clone()),
            transports::Event::Changed(report) => TapeEvent::Changed(report.clone()),
            transports::Event::Vanished(link) => TapeEvent::Vanished { link: link.clone() },
            transports::Event::Trouble { .. } => return,
        };
        self.recordings.note(&event.without_secrets());
    }

    pub(super) fn note_answer(&mut self, link: &Link, question: &Question, outcome: &Result<Answer, QuestionFailed>) {
        if self.recordings.is_empty() {
            return;
        }
        let (link, question, outcome) = (link.clone(), question.clone(), outcome.clone());
        self.recordings.note(&TapeEvent::Answered { link, question, outcome }.without_secrets());
    }
}

/// A question over a link, and what came of it.
type Answered = (Link, Question, Result<Answer, QuestionFailed>);

/// A tape that is played in place of the transports.
#[derive(Debug, Clone)]
pub(super) struct Player {
    answers: Arc<Mutex<VecDeque<Answered>>>,
}

impl Player {
    /// Begins to play.
    pub(super) fn start(replay: &Replay, links: mpsc::Sender<transports::Event>) -> Self {
        let mut answers = VecDeque::new();
        let mut events = Vec::new();
        for TapeLine { at_ms, event } in replay.lines.iter().cloned() {
            match event {
                TapeEvent::Began { .. } => {}
                TapeEvent::Appeared(report) => events.push((at_ms, transports::Event::Appeared(report))),
                TapeEvent::Changed(report) => events.push((at_ms, transports::Event::Changed(report))),
                TapeEvent::Vanished { link } => events.push((at_ms, transports::Event::Vanished(link))),
                TapeEvent::Answered { link, question, outcome } => answers.push_back((link, question, outcome)),
            }
        }
        let at_once = replay.at_once;
        tokio::spawn(async move {
            let began = tokio::time::Instant::now();
            for (at_ms, event) in events {
                if !at_once {
                    tokio::time::sleep_until(began + Duration::from_millis(at_ms)).await;
                }
                if links.send(event).await.is_err() {
                    return;
                }
            }
        });
        Self { answers: Arc::new(Mutex::new(answers)) }
    }

    /// What came of a question then; each answer is given once.
    pub(super) fn answer(&self, link: &Link, question: &Question) -> Result<Answer, QuestionFailed> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let at = answers.iter().position(|(over, asked, _)| over == link && covers(asked, question));
        match at.and_then(|at| answers.remove(at)) {
            Some((.., outcome)) => outcome,
            None => Err(QuestionFailed::Failed("that was not asked when this was recorded".to_owned())),
        }
    }
}

/// Whether what was asked then is what is asked now: a newer board file may want to know more of the same answer.
fn covers(then: &Question, now: &Question) -> bool {
    match (then, now) {
        (Question::Http { path: then, .. }, Question::Http { path: now, .. }) => then == now,
        (Question::Gatt { .. }, Question::Gatt { .. }) | (Question::Esphome { .. }, Question::Esphome { .. }) => true,
        (then, now) => then == now,
    }
}
