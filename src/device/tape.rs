//! What transports saw and said, one line after the other: recorded from one gateway, played to another.

use std::collections::BTreeMap;

use super::{Answer, Evidence, Link, LinkReport, Question, QuestionFailed, Questions, masked_uri, sounds_secret};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct TapeLine {
    /// When, in milliseconds since recording began.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub event: TapeEvent,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", tag = "tape")]
pub enum TapeEvent {
    /// The first line.
    Began {
        /// Version of the tape's layout.
        schema: u32,
        /// Version of the gateway.
        version: String,
        /// How far it might go with its questions.
        questions: Questions,
    },
    /// A link is there.
    Appeared(LinkReport),
    /// Something about it is different.
    Changed(LinkReport),
    /// It is not there any more.
    Vanished {
        /// Which.
        link: Link,
    },
    /// A question was asked, and that came of it.
    Answered {
        /// Over this link.
        link: Link,
        /// This was asked.
        question: Question,
        /// What came.
        outcome: Result<Answer, QuestionFailed>,
    },
}

/// The layout of tapes.
pub const TAPE_SCHEMA: u32 = 1;

impl TapeEvent {
    /// The same without what may be secret: values of keys that sound like it, and credentials in URIs.
    #[must_use]
    pub fn without_secrets(mut self) -> Self {
        match &mut self {
            Self::Appeared(report) | Self::Changed(report) => report.evidence.iter_mut().for_each(clean),
            Self::Answered { question, outcome, .. } => {
                if let Question::Http { service, .. }
                | Question::SmpUdp { service, .. }
                | Question::Esphome { service } = question
                {
                    clean_all(&mut service.txt);
                }
                if let Ok(answer) = outcome {
                    answer.evidence.iter_mut().for_each(clean);
                }
            }
            Self::Began { .. } | Self::Vanished { .. } => {}
        }
        self
    }
}

fn clean(evidence: &mut Evidence) {
    match evidence {
        Evidence::Service(service) => clean_all(&mut service.txt),
        Evidence::Discovered { properties, .. } => clean_all(properties),
        Evidence::Http { values } | Evidence::Gatt { values } | Evidence::Esphome { values } => clean_all(values),
        _ => {}
    }
}

fn clean_all(values: &mut BTreeMap<String, String>) {
    for (key, value) in values {
        if sounds_secret(key) {
            "***".clone_into(value);
        } else if value.contains("://") {
            *value = masked_uri(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Access;

    #[test]
    fn a_line_reads_back_without_secrets() {
        let values = [("api_password", "hunter2"), ("ver", "1.0"), ("url", "http://u:p@h/x")];
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let link: Link = "mdns:a._x._tcp".parse().expect("a link");
        let question = Question::Gatt { characteristics: vec!["2a26".to_owned()] };
        let answer = Answer { evidence: vec![Evidence::Http { values }], version: None };
        for event in [
            TapeEvent::Answered { link: link.clone(), question: question.clone(), outcome: Ok(answer) },
            TapeEvent::Answered { link: link.clone(), question, outcome: Err(QuestionFailed::Busy("x".to_owned())) },
            TapeEvent::Vanished { link: link.clone() },
            TapeEvent::Appeared(LinkReport {
                link,
                aliases: Vec::new(),
                access: Access::Usable,
                evidence: vec![Evidence::Connected],
                signal: Some(-70),
            }),
        ] {
            let line = TapeLine { at_ms: 5, event: event.without_secrets() };
            let text = serde_json::to_string(&line).expect("written");
            assert!(!text.contains("hunter2") && !text.contains("u:p@"), "{text}");
            assert_eq!(serde_json::from_str::<TapeLine>(&text).expect(&text), line);
        }
    }
}
