//! Asking a running program in the languages that it may speak, over one opening of the port: it is listened to first, then
//! asked by Improv and SMP in turn, and by AT commands last. The first answer is enough. What was said in none of them is
//! kept, for operators.

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::port::Port;
use super::smp::Deframer;
use super::{at, improv, smp};
use crate::device::{Answer, Evidence, ProgramQuestion, QuestionFailed, plain_text};

/// How long it is listened to before anything is said: the first open may have restarted it.
const LISTEN: Duration = Duration::from_secs(2);
/// How long one answer may take, and how often it is asked for: a program that starts may miss it.
const REPLY: Duration = Duration::from_millis(800);
const TRIES: usize = 3;
/// So much is kept of what was said otherwise, in bytes.
const MAX_SAID: usize = 160;

/// Opens the port and asks.
pub(super) fn ask(path: &Path, question: &ProgramQuestion) -> Result<Answer, QuestionFailed> {
    let mut port = Port::open(path, question.baud)?;
    let mut ear = Ear::default();
    let mut answer = ear.hear(&mut port, LISTEN)?;
    let requests = [question.improv.then(improv::request), question.smp.then(smp::request)];
    let requests: Vec<Vec<u8>> = requests.into_iter().flatten().collect();
    for request in requests.iter().cycle().take(requests.len() * TRIES) {
        if answer.is_some() {
            break;
        }
        port.write(request)?;
        answer = ear.hear(&mut port, REPLY)?;
    }
    match answer {
        Some(Heard::Improv(answer)) => return Ok(answer),
        Some(Heard::Smp(images)) => return smp::finish(&mut port, images),
        None => {}
    }
    let told = if question.at.is_empty() { None } else { at::ask(&mut port, &question.at)? };
    Ok(Answer { evidence: told.or_else(|| ear.said()).into_iter().collect(), version: None })
}

enum Heard {
    Improv(Answer),
    Smp(super::super::super::smp::message::Told),
}

#[derive(Debug, Default)]
struct Ear {
    improv: improv::Parser,
    smp: Deframer,
    said: Vec<u8>,
}

impl Ear {
    fn hear(&mut self, port: &mut Port, within: Duration) -> Result<Option<Heard>, QuestionFailed> {
        let until = Instant::now() + within;
        let mut received = Vec::new();
        while port.read(&mut received, until)? {
            for byte in received.drain(..) {
                if self.said.len() < MAX_SAID {
                    self.said.push(byte);
                }
                if let Some(answer) = self.improv.push(byte) {
                    return Ok(Some(Heard::Improv(answer)));
                }
                if let Some(images) = self.smp.push(byte).and_then(|message| smp::answered(&message)) {
                    return Ok(Some(Heard::Smp(images)));
                }
            }
        }
        Ok(None)
    }

    fn said(&self) -> Option<Evidence> {
        let text = plain_text(String::from_utf8_lossy(&self.said).trim(), MAX_SAID);
        (!text.is_empty()).then_some(Evidence::Said { text })
    }
}
