//! Listening to a running program: lines that a board's patterns know, and Firmata's report.

use std::path::Path;
use std::time::{Duration, Instant};

use regex::{Regex, RegexBuilder};

use super::super::port::Port;
use super::firmata::{Message, Parser, QUERY_FIRMWARE, QUERY_PINS};
use crate::device::{Answer, Evidence, ListenQuestion, QuestionFailed, ReportedVersion};

/// Longer nobody listens, whatever a board file says.
const MAX_LISTEN: Duration = Duration::from_secs(120);
/// A board that says nothing of itself for so long is asked; its bootloader and its start take up to 4 s.
const ASK_FIRMATA_AFTER: Duration = Duration::from_secs(4);
/// How long the answer about the pins may take; a program without it is known by its name alone.
const PINS_WITHIN: Duration = Duration::from_secs(1);
/// Longest line that is looked at, in bytes; the rest of a longer one is skipped.
const MAX_LINE: usize = 256;
/// What stands before the version is the beginning of a line when it is at least so long, in bytes.
const MIN_HEAD: usize = 4;
/// Largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// Opens the port, restarts the program if asked to, and listens.
pub(super) fn ask(path: &Path, question: &ListenQuestion) -> Result<Answer, QuestionFailed> {
    let mut ear = Ear::new(question)?;
    let mut port = Port::open(path, question.baud)?;
    if question.reset {
        port.pulse_rts();
    } else if !question.banners.is_empty() {
        // A banner comes at the start, and only the first open of a port is one: lines stay up after it.
        port.pulse_dtr();
    }
    let began = Instant::now();
    let until = began + question.within.min(MAX_LISTEN);
    let mut ask_at = question.firmata.then(|| began + ASK_FIRMATA_AFTER).filter(|&at| at < until);
    let mut received = Vec::new();
    loop {
        let more = port.read(&mut received, ask_at.unwrap_or(until))?;
        for byte in received.drain(..) {
            match ear.push(byte) {
                Some(Heard::Line { line, version }) => return Ok(banner(line, version)),
                Some(Heard::Firmata(Message::Firmware { name, major, minor })) => {
                    return Ok(firmata(name, major, minor, pins(&mut port)?));
                }
                Some(Heard::Firmata(_)) | None => {}
            }
        }
        match ask_at {
            Some(at) if Instant::now() >= at => {
                ask_at = None;
                port.write(&QUERY_FIRMWARE)?;
            }
            None if !more => return Ok(Answer::default()),
            _ => {}
        }
    }
}

/// How many pins the board's Firmata knows.
fn pins(port: &mut Port) -> Result<Option<u16>, QuestionFailed> {
    let until = Instant::now() + PINS_WITHIN;
    let mut parser = Parser::default();
    let mut received = Vec::new();
    port.write(&QUERY_PINS)?;
    while port.read(&mut received, until)? {
        for byte in received.drain(..) {
            if let Some(Message::Pins(pins)) = parser.push(byte) {
                return Ok(u16::try_from(pins.len()).ok());
            }
        }
    }
    Ok(None)
}

fn banner(line: String, version: Option<String>) -> Answer {
    let told = version.clone().map(|text| ReportedVersion { text, source: "banner".to_owned() });
    Answer { evidence: vec![Evidence::Banner { line, version }], version: told }
}

fn firmata(name: String, major: u8, minor: u8, pins: Option<u16>) -> Answer {
    let version = ReportedVersion { text: format!("{major}.{minor}"), source: "firmata".to_owned() };
    Answer { evidence: vec![Evidence::Firmata { name, major, minor, pins }], version: Some(version) }
}

/// What was made out in the stream.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Line { line: String, version: Option<String> },
    Firmata(Message),
}

/// Makes out lines and messages in a stream of bytes.
struct Ear {
    banners: Vec<Regex>,
    firmata: Option<Parser>,
    line: Vec<u8>,
    /// The line is longer than what is kept of it.
    long: bool,
}

impl Ear {
    fn new(question: &ListenQuestion) -> Result<Self, QuestionFailed> {
        let compile = |pattern: &String| RegexBuilder::new(pattern).size_limit(MAX_PATTERN).build();
        let banners: Result<_, _> = question.banners.iter().map(compile).collect();
        Ok(Self {
            banners: banners.map_err(|error| QuestionFailed::Failed(format!("no pattern for a banner: {error}")))?,
            firmata: question.firmata.then(Parser::default),
            line: Vec::new(),
            long: false,
        })
    }

    fn push(&mut self, byte: u8) -> Option<Heard> {
        if let Some(message) = self.firmata.as_mut().and_then(|parser| parser.push(byte)) {
            return Some(Heard::Firmata(message));
        }
        match byte {
            b'\n' => return self.end_line(),
            _ if self.line.len() < MAX_LINE => self.line.push(byte),
            _ => self.long = true,
        }
        None
    }

    /// A whole line is there. One that was cut short proves nothing: a version may go on where it ends.
    fn end_line(&mut self) -> Option<Heard> {
        let line = clean(&std::mem::take(&mut self.line));
        if std::mem::take(&mut self.long) {
            return None;
        }
        self.banners.iter().find_map(|banner| told(banner, &line))
    }
}

/// What a line tells by a pattern. A board that is reset while it prints, as by the opening of its port, begins its line
/// anew in the middle of the old one: then the last beginning counts.
fn told(banner: &Regex, line: &str) -> Option<Heard> {
    let found = banner.captures(line)?;
    let whole = || line.to_owned();
    let Some(version) = found.name("version") else { return Some(Heard::Line { version: None, line: whole() }) };
    let head = found.get(0).and_then(|all| line.get(all.start()..version.start())).unwrap_or_default();
    let rest = &line[version.start()..];
    match rest.rfind(head).filter(|_| head.len() >= MIN_HEAD) {
        Some(anew) => told(banner, &rest[anew..]),
        None => Some(Heard::Line { version: Some(version.as_str().to_owned()), line: whole() }),
    }
}

/// Text without its end; colour codes of a boot log (`ESC [ .. m`) are taken out, other control characters replaced.
fn clean(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut clean = String::with_capacity(text.len());
    let mut letters = text.trim_end().chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' && letters.next_if_eq(&'[').is_some() {
            letters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            clean.push(if letter.is_control() { '\u{fffd}' } else { letter });
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ear(banners: &[&str]) -> Ear {
        let banners = banners.iter().map(ToString::to_string).collect();
        let within = Duration::from_secs(1);
        Ear::new(&ListenQuestion { baud: 115_200, banners, firmata: true, reset: false, within }).expect("patterns")
    }

    fn hear(ear: &mut Ear, bytes: &[u8]) -> Vec<Heard> {
        bytes.iter().filter_map(|&byte| ear.push(byte)).collect()
    }

    #[test]
    fn a_line_that_begins_anew_in_its_middle_tells_what_its_last_beginning_tells() {
        for (pattern, line) in [
            (r"^ID board=\S+ fw=(?P<version>\S+)", "ID board=uno fw=1.2.0 project=x"),
            (r"App version:\s+(?P<version>\S+)", "I (29) cpu_start: App version:      1.2.0"),
        ] {
            for cut in 0..line.len() {
                let mut ear = ear(&[pattern]);
                let torn = format!("{}{line}\n", &line[..cut]);
                let heard = torn.bytes().find_map(|byte| ear.push(byte));
                let told = heard.map(|heard| match heard {
                    Heard::Line { version, .. } => version.expect("a version"),
                    Heard::Firmata(message) => panic!("{message:?}"),
                });
                assert!(told.as_deref().is_none_or(|version| version == "1.2.0"), "{torn:?}: {told:?}");
            }
        }
    }

    #[test]
    fn a_version_is_read_from_a_banner_among_other_lines() {
        let mut ear = ear(&[r"^ID board=\S+ fw=(?P<version>\S+)"]);
        let heard = hear(&mut ear, b"\xff\x00rubbish\r\nID board=uno fw=1.2.0\r\n");
        let line = "ID board=uno fw=1.2.0".to_owned();
        assert_eq!(heard, [Heard::Line { line, version: Some("1.2.0".to_owned()) }]);
    }

    #[test]
    fn colours_of_a_boot_log_do_not_hide_the_version() {
        let mut ear = ear(&[r"App version:\s+(?P<version>\S+)"]);
        let heard = hear(&mut ear, b"\x1b[0;32mI (27) app_init: App version:      1.4.2\x1b[0m\r\n");
        assert!(matches!(&heard[..], [Heard::Line { version: Some(version), .. }] if version == "1.4.2"), "{heard:?}");
    }

    #[test]
    fn a_line_without_its_end_or_too_long_proves_nothing() {
        let mut ear = ear(&["^v(?P<version>[0-9]+)"]);
        assert_eq!(hear(&mut ear, b"v12"), []);
        let mut long = b"3456".to_vec();
        long.resize(5000, b'7');
        long.push(b'\n');
        assert_eq!(hear(&mut ear, &long), []);
        assert_eq!(hear(&mut ear, b"v1\n").len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut ear = ear(&["(?P<version>.*)"]);
            hear(&mut ear, &bytes);
            prop_assert!(ear.line.len() <= MAX_LINE);
        }
    }
}
