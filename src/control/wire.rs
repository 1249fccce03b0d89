//! The lines on the socket.
//!
//! ```text
//! -> {"protocol":1,"request":"flash","device":"press-3","image":"/tmp/a.hex","version":null}
//! <- {"protocol":1,"reply":"event","body":{"event":"tool-progressed","phase":"write","percent":40}}
//! <- {"protocol":1,"reply":"verdict","body":{...}}
//! ```

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::device::{BuiltinView, TapeLine, UpdateEvent, UpdateEvidence};

use super::{
    BrakeOrder, BrakeReport, DeviceList, Failure, FailureCode, HistoryList, Identified, JoinOrder, JoinReport, Plan,
    Points, Status, TokenOrder, TokenReport, Told, Verdict, Who, Why,
};

/// Version of this protocol; both ends must speak the same.
pub const PROTOCOL: u32 = 1;

/// Longest request, in bytes: a path (4096) escaped to JSON, and names.
pub(super) const MAX_REQUEST: u64 = 32 << 10;

/// Longest reply, in bytes: the status of tens of thousands of devices.
pub(super) const MAX_REPLY: u64 = 128 << 20;

/// A line from the client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct RequestLine {
    pub(super) protocol: u32,
    #[serde(flatten)]
    pub(super) request: Request,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "request")]
pub(super) enum Request {
    Devices,
    Status {
        device: Option<String>,
    },
    Why {
        device: String,
    },
    Flash {
        device: String,
        image: PathBuf,
        version: Option<String>,
        #[serde(default)]
        now: bool,
    },
    Plan {
        device: String,
        image: PathBuf,
        version: Option<String>,
        #[serde(default)]
        now: bool,
    },
    Reach {
        image: PathBuf,
    },
    Rollback {
        device: String,
    },
    Brake {
        #[serde(flatten)]
        order: BrakeOrder,
    },
    Join {
        #[serde(flatten)]
        order: JoinOrder,
    },
    Who {
        device: String,
    },
    Points {
        device: String,
    },
    Record,
    Follow,
    Tokens {
        #[serde(flatten)]
        order: TokenOrder,
    },
    Identify {
        device: String,
    },
    Cancel {
        device: String,
    },
    History {
        device: Option<String>,
        failed: bool,
        limit: Option<u32>,
    },
    Show {
        update: String,
    },
    Builtin,
    Reload,
}

/// A line from the daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ReplyLine {
    pub(super) protocol: u32,
    #[serde(flatten)]
    pub(super) reply: Reply,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply", content = "body")]
pub(super) enum Reply {
    Devices(DeviceList),
    Status(Box<Status>),
    Why(Why),
    Event(UpdateEvent),
    Verdict(Verdict),
    Plan(Box<Plan>),
    /// Where a copy of the image is to be put, when the daemon cannot read it where it lies.
    Reached {
        copies: Option<PathBuf>,
    },
    Brakes(BrakeReport),
    Joined(JoinReport),
    Who(Who),
    Points(Points),
    Identified(Identified),
    Tape(Box<TapeLine>),
    Told(Box<Told>),
    Missed {
        pieces: u64,
    },
    Tokens(TokenReport),
    Cancelled,
    History(HistoryList),
    Update(Box<UpdateEvidence>),
    Builtin(Box<BuiltinView>),
    Reloaded(Vec<String>),
    Failed(Failure),
}

/// The part that stays the same in all versions.
#[derive(Debug, Deserialize)]
struct AnyLine {
    protocol: u32,
}

/// Why no line could be had.
#[derive(Debug)]
pub(super) enum LineError {
    Closed,
    TooLong,
    Io(std::io::Error),
}

/// Reads one line of at most `limit` bytes, without its end.
pub(super) async fn read_line(stream: &mut (impl AsyncBufRead + Unpin), limit: u64) -> Result<Vec<u8>, LineError> {
    let mut line = Vec::new();
    stream.take(limit + 1).read_until(b'\n', &mut line).await.map_err(LineError::Io)?;
    match line.pop() {
        Some(b'\n') => Ok(line),
        Some(_) if line.len() as u64 >= limit => Err(LineError::TooLong),
        _ => Err(LineError::Closed),
    }
}

/// Understands a request.
pub(super) fn parse_request(line: &[u8]) -> Result<Request, Failure> {
    check_protocol(line, "the client")?;
    let parsed: Result<RequestLine, _> = serde_json::from_slice(line);
    parsed
        .map(|line| line.request)
        .map_err(|error| Failure::new(FailureCode::BadRequest, format!("the request cannot be understood: {error}")))
}

/// Understands a reply; a refusal becomes the error.
pub(super) fn parse_reply(line: &[u8]) -> Result<Reply, Failure> {
    check_protocol(line, "the daemon")?;
    let parsed: ReplyLine = serde_json::from_slice(line)
        .map_err(|error| Failure::new(FailureCode::BadRequest, format!("the reply cannot be understood: {error}")))?;
    match parsed.reply {
        Reply::Failed(failure) => Err(failure),
        reply => Ok(reply),
    }
}

fn check_protocol(line: &[u8], who: &str) -> Result<(), Failure> {
    let spoken = serde_json::from_slice::<AnyLine>(line).map(|line| line.protocol).map_err(|error| {
        Failure::new(FailureCode::BadRequest, format!("expected a line of JSON with a `protocol`: {error}"))
    })?;
    if spoken == PROTOCOL {
        return Ok(());
    }
    let message = format!("{who} speaks control protocol {spoken}, expected {PROTOCOL}");
    Err(Failure::new(FailureCode::WrongProtocol, message)
        .with_hint("use the same version of nuncio on both sides; after an upgrade, restart the daemon"))
}

/// Writes one value as a line.
pub(super) async fn write_line<T: Serialize>(stream: &mut (impl AsyncWrite + Unpin), value: &T) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_flat_object() {
        let line = br#"{"protocol":1,"request":"flash","device":"d","image":"/a.hex","version":null}"#;
        let expected = Request::Flash { device: "d".into(), image: "/a.hex".into(), version: None, now: false };
        assert_eq!(parse_request(line), Ok(expected));
    }

    #[test]
    fn another_protocol_is_told_apart_from_nonsense() {
        let failure = parse_request(br#"{"protocol":9,"request":"unheard of"}"#).expect_err("refused");
        assert_eq!(failure.code, FailureCode::WrongProtocol);
        for nonsense in
            [b"".as_slice(), b"\xff\xfe", b"[]", b"{}", br#"{"protocol":1}"#, br#"{"protocol":1,"request":7}"#]
        {
            assert_eq!(parse_request(nonsense).expect_err("refused").code, FailureCode::BadRequest);
        }
    }

    #[test]
    fn an_update_event_reads_back_as_it_was_written() {
        let event = UpdateEvent::ToolProgressed { phase: crate::device::Phase::Write, percent: 40 };
        let line = ReplyLine { protocol: PROTOCOL, reply: Reply::Event(event) };
        let text = serde_json::to_string(&line).expect("written");
        assert_eq!(
            text,
            r#"{"protocol":1,"reply":"event","body":{"event":"tool-progressed","phase":"write","percent":40}}"#
        );
        assert_eq!(parse_reply(text.as_bytes()), Ok(line.reply));
    }
}
