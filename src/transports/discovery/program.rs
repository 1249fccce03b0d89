//! One discovery program: started without a shell in a process group of its own, spoken to until it ends, and started again.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::protocol::{Message, Objects};
use super::{DiscoverySettings, News};
use crate::device::plain_text;

/// How long it may take to answer a command.
const ANSWER: Duration = Duration::from_secs(10);
/// How long it may take to end after QUIT.
const QUIT: Duration = Duration::from_secs(1);
/// Pause before it is started again: doubles each time, until it has run for as long as the longest one.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Longest part of a program's own message that is told, in characters.
const MAX_TOLD: usize = 200;

/// Keeps a program running until nobody takes its news.
pub(super) async fn keep(number: usize, settings: DiscoverySettings, news: mpsc::Sender<(usize, News)>) {
    let mut pause = PAUSE;
    loop {
        let began = Instant::now();
        let why = run(number, &settings, &news).await;
        if news.is_closed() {
            return;
        }
        if began.elapsed() >= LONGEST_PAUSE {
            pause = PAUSE;
        }
        let _ = news.send((number, News::Ended(why))).await;
        tokio::select! {
            () = sleep(pause) => {}
            () = news.closed() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Runs it once; why it ended.
async fn run(number: usize, settings: &DiscoverySettings, news: &mpsc::Sender<(usize, News)>) -> String {
    let mut talk = match Talk::start(&settings.program) {
        Ok(talk) => talk,
        Err(error) => return format!("cannot be started: {error}"),
    };
    let told = tokio::select! {
        told = talk.talk(number, &settings.name, news) => told,
        () = news.closed() => Ok(()),
    };
    if told.is_ok() {
        let _ = talk.tell("QUIT\n").await;
    }
    let ended = timeout(QUIT, talk.child.wait()).await;
    match (told, ended) {
        (Err(why), _) => why,
        (Ok(()), Ok(Ok(status))) => format!("ended ({status})"),
        (Ok(()), _) => "does not end".to_owned(),
    }
}

/// A running program. With it, everything that it has started ends.
struct Talk {
    child: Child,
    group: Option<Pid>,
    input: ChildStdin,
    output: ChildStdout,
    objects: Objects,
    received: Vec<u8>,
}

impl Drop for Talk {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // All of it may have ended already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Talk {
    fn start(program: &[String]) -> io::Result<Self> {
        let (name, args) = program.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(name);
        command.args(args).process_group(0).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group, input, output, objects: Objects::default(), received: Vec::new() })
    }

    /// Speaks with it until it ends.
    async fn talk(&mut self, number: usize, by: &str, news: &mpsc::Sender<(usize, News)>) -> Result<(), String> {
        let hello = format!("HELLO 1 \"nuncio {}\"\n", env!("CARGO_PKG_VERSION"));
        let answer = self.command(&hello, "hello").await?;
        if answer.protocol_version != 1 {
            return Err(format!("speaks version {} of the protocol, not 1", answer.protocol_version));
        }
        self.command("START_SYNC\n", "start_sync").await?;
        let mut told = News::Works;
        loop {
            if news.send((number, told)).await.is_err() {
                return Ok(());
            }
            told = loop {
                let Some(Message { event_type, error, message, port, .. }) = self.next().await? else { return Ok(()) };
                if error {
                    return Err(format!("tells an error: {}", plain_text(&message, MAX_TOLD)));
                }
                let port = port.unwrap_or_default();
                match event_type.as_str() {
                    "add" => {
                        if let Some(report) = port.report(by) {
                            break News::There(report);
                        }
                    }
                    "remove" => {
                        if let Some(link) = port.link(by) {
                            break News::Gone(link);
                        }
                    }
                    _ => {}
                }
            };
        }
    }

    async fn tell(&mut self, line: &str) -> io::Result<()> {
        self.input.write_all(line.as_bytes()).await?;
        self.input.flush().await
    }

    /// Gives a command and takes its answer.
    async fn command(&mut self, line: &str, answer: &str) -> Result<Message, String> {
        let word = line.split_whitespace().next().unwrap_or(line);
        self.tell(line).await.map_err(|error| format!("takes no commands: {error}"))?;
        let message = timeout(ANSWER, self.next()).await.map_err(|_| format!("does not answer {word}"))??;
        let message = message.ok_or_else(|| format!("ended instead of answering {word}"))?;
        if message.error || message.event_type != answer {
            return Err(format!("does not take {word}: {}", plain_text(&message.message, MAX_TOLD)));
        }
        Ok(message)
    }

    /// The next message; `None` when it has ended.
    async fn next(&mut self) -> Result<Option<Message>, String> {
        loop {
            let mut bytes = std::mem::take(&mut self.received).into_iter();
            while let Some(byte) = bytes.next() {
                if let Some(message) = self.objects.push(byte)? {
                    self.received = bytes.collect();
                    return Ok(Some(message));
                }
            }
            let mut buffer = [0; 4096];
            match self.output.read(&mut buffer).await {
                Ok(0) => return Ok(None),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) => return Err(format!("cannot be listened to: {error}")),
            }
        }
    }
}
