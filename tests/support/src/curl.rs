//! curl: a program with a token.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::cache::{peer, program};

/// What was answered.
#[derive(Debug, Clone)]
pub struct Curled {
    /// The status; 0 where there was no answer.
    pub status: u16,
    /// The head, names in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Curled {
    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Asks once; `arguments` as curl takes them, the URL among them.
pub fn curl(arguments: &[&str]) -> Curled {
    let output = command(arguments).args(["--include"]).output().expect("curl starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut rest = text.as_str();
    // An answer may follow one that only says to go on.
    while let Some(after) = rest.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n") {
        rest = after;
    }
    let (head, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Curled { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// Begins to ask; what comes is read from its standard output.
pub fn curling(arguments: &[&str]) -> Child {
    command(arguments).arg("--no-buffer").stdout(Stdio::piped()).spawn().expect("curl starts")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program("rest", "curl"));
    command.args(["--silent", "--show-error", "--max-time", "120"]).args(arguments);
    command
}

/// schemathesis, which asks an API everything that its description allows, and more.
pub fn schemathesis() -> PathBuf {
    peer("rest", "rest/bin/schemathesis")
}

/// Reads metrics as Prometheus does: the program of `python -c`, with the parser of prometheus-client, and the file.
pub fn parsed_metrics(text: &Path) -> Value {
    const PROGRAM: &str = "\
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
text = open(sys.argv[1]).read()
print(json.dumps([[s.name, s.labels, s.value] for family in parse(text) for s in family.samples]))";
    let output =
        Command::new(peer("rest", "rest/bin/python")).args(["-c", PROGRAM]).arg(text).output().expect("python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
