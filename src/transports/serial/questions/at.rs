//! Modules that take commands in lines: `+++` makes them listen, each command ends with CR LF, `AT+EXIT` makes them pass
//! bytes on again, as the Bluno does (wiki.dfrobot.com, "Bluno: Configure the BLE through AT command").

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::port::Port;
use crate::device::{Evidence, QuestionFailed, plain_text};

const ENTER: &[u8] = b"+++";
const LEAVE: &[u8] = b"AT+EXIT\r\n";
/// How long one answer may take.
const REPLY: Duration = Duration::from_secs(1);
/// Longest answer that is kept, in characters.
const MAX_TEXT: usize = 64;

/// Asks the commands one after the other, and leaves the mode whatever came of it.
pub(super) fn ask(port: &mut Port, commands: &[String]) -> Result<Option<Evidence>, QuestionFailed> {
    let told = ask_all(port, commands);
    port.write(LEAVE)?;
    port.drain(Duration::from_millis(100))?;
    let values = told?;
    Ok((!values.is_empty()).then_some(Evidence::At { values }))
}

fn ask_all(port: &mut Port, commands: &[String]) -> Result<BTreeMap<String, String>, QuestionFailed> {
    let mut values = BTreeMap::new();
    // What answers nothing to this, or says something else, is none.
    let entered = line(port, ENTER)?;
    if !entered.is_some_and(|line| line.contains("AT")) {
        return Ok(values);
    }
    for command in commands {
        if let Some(answer) = line(port, format!("{command}\r\n").as_bytes())? {
            values.insert(command.clone(), answer);
        }
    }
    Ok(values)
}

/// The first line of the answer that says something.
fn line(port: &mut Port, request: &[u8]) -> Result<Option<String>, QuestionFailed> {
    port.discard();
    port.write(request)?;
    let until = Instant::now() + REPLY;
    let mut received = Vec::new();
    loop {
        if let Some(line) = first_line(&received) {
            return Ok(Some(line));
        }
        if !port.read(&mut received, until)? {
            return Ok(None);
        }
    }
}

fn first_line(received: &[u8]) -> Option<String> {
    let (whole, _) = received.split_at(received.iter().rposition(|byte| *byte == b'\n')?);
    let mut lines = whole.split(|byte| *byte == b'\n').map(|line| String::from_utf8_lossy(line));
    lines.find_map(|line| Some(plain_text(line.trim(), MAX_TEXT)).filter(|line| !line.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_whole_line_that_says_something() {
        assert_eq!(first_line(b"V1.9"), None);
        assert_eq!(first_line(b"\r\n"), None);
        assert_eq!(first_line(b"\r\n V1.97\x01\r\nOK\r\n").as_deref(), Some("V1.97\u{fffd}"));
    }
}
