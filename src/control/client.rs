//! The operator's end of the Unix socket.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::device::{BuiltinView, TapeLine, UpdateEvent, UpdateEvidence};

use super::handing::HandedImage;
use super::names::group_name;
use super::wire::{self, LineError, MAX_REPLY, PROTOCOL, Reply, Request, RequestLine};
use super::{
    BrakeOrder, BrakeReport, DeviceList, Failure, FailureCode, Heard, HistoryList, Identified, JoinOrder, JoinReport,
    Plan, Points, Status, TokenOrder, TokenReport, Verdict, Who, Why,
};

/// A daemon that says nothing for so long is stuck (a flash apart, which may take its time).
const REPLY_TIME: Duration = Duration::from_secs(60);

/// Asks a daemon; one connection for each request.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no daemon is running: nobody answers on {}", .socket.display())]
    NotRunning {
        /// Where.
        socket: PathBuf,
    },
    /// Not allowed to ask.
    #[error("not permitted to use {}", .socket.display())]
    NotPermitted {
        /// Where.
        socket: PathBuf,
        /// The command that would help.
        remedy: String,
    },
    /// The daemon cannot read an image where it lies, and it cannot be handed over either.
    #[error("the daemon cannot read the image where it lies, and it could not be copied to {}", .folder.display())]
    NotHanded {
        /// Where the daemon wants it.
        folder: PathBuf,
        /// What is in the way.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the connection to the daemon broke")]
    Broken(#[source] std::io::Error),
    /// The daemon hung up without an answer: it was stopped, or died.
    #[error("the daemon hung up without an answer")]
    HungUp,
    /// The daemon said no.
    #[error("{0}")]
    Refused(Failure),
}

impl ClientError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotRunning { .. } => Some(
                "start it with `systemctl start nuncio` or `nuncio run`; if it runs with another configuration, \
                 name that with --config"
                    .to_owned(),
            ),
            Self::NotPermitted { remedy, .. } => Some(remedy.clone()),
            Self::HungUp => Some("see its log: journalctl -u nuncio".to_owned()),
            Self::Broken(_) | Self::NotHanded { .. } => None,
            Self::Refused(failure) => failure.hint.clone(),
        }
    }
}

impl Client {
    /// A client of the daemon behind a socket.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// All devices, and the ports that are none.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub async fn devices(&self) -> Result<DeviceList, ClientError> {
        match self.ask(Request::Devices).await? {
            Reply::Devices(list) => Ok(list),
            other => Err(unexpected(&other)),
        }
    }

    /// The gateway, its servers, and one device or all.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub async fn status(&self, device: Option<&str>) -> Result<Status, ClientError> {
        match self.ask(Request::Status { device: device.map(str::to_owned) }).await? {
            Reply::Status(status) => Ok(*status),
            other => Err(unexpected(&other)),
        }
    }

    /// Why a device is taken for what it is.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub async fn why(&self, device: &str) -> Result<Why, ClientError> {
        match self.ask(Request::Why { device: device.to_owned() }).await? {
            Reply::Why(why) => Ok(why),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives up what is staged or under way at a device, unless it is being flashed already.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses; [`FailureCode::NotNow`] when it is too late.
    pub async fn cancel(&self, device: &str) -> Result<(), ClientError> {
        match self.ask(Request::Cancel { device: device.to_owned() }).await? {
            Reply::Cancelled => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// The updates that were, of one device or all, newest first.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub async fn history(
        &self,
        device: Option<&str>,
        failed: bool,
        limit: Option<u32>,
    ) -> Result<HistoryList, ClientError> {
        match self.ask(Request::History { device: device.map(str::to_owned), failed, limit }).await? {
            Reply::History(history) => Ok(history),
            other => Err(unexpected(&other)),
        }
    }

    /// All that is kept of one update, named by its id or enough of its beginning or end.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses; [`FailureCode::NoSuchUpdate`] when it is none, or several.
    pub async fn update(&self, id: &str) -> Result<UpdateEvidence, ClientError> {
        match self.ask(Request::Show { update: id.to_owned() }).await? {
            Reply::Update(evidence) => Ok(*evidence),
            other => Err(unexpected(&other)),
        }
    }

    /// Lists the brakes, sets one, or lets some go.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub async fn brake(&self, order: BrakeOrder) -> Result<BrakeReport, ClientError> {
        match self.ask(Request::Brake { order }).await? {
            Reply::Brakes(report) => Ok(report),
            other => Err(unexpected(&other)),
        }
    }

    /// Lets a device join, forgets it, or gives it another name.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub async fn join(&self, order: JoinOrder) -> Result<JoinReport, ClientError> {
        match self.ask(Request::Join { order }).await? {
            Reply::Joined(report) => Ok(report),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes it visible which board a device is; takes some seconds.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses; [`FailureCode::NotNow`] when there is no way, or its link is in use.
    pub async fn identify(&self, device: &str) -> Result<Identified, ClientError> {
        match self.ask(Request::Identify { device: device.to_owned() }).await? {
            Reply::Identified(identified) => Ok(identified),
            other => Err(unexpected(&other)),
        }
    }

    /// Begins to write down what the transports see and say. Dropping the stream ends it.
    ///
    /// # Errors
    /// When the daemon cannot be reached. What it refuses comes out of the stream.
    pub async fn record(&self) -> Result<TapeStream, ClientError> {
        Ok(TapeStream { stream: self.send(Request::Record).await?, half: Vec::new() })
    }

    /// Who has a link, named by itself or by the device on it.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses; [`FailureCode::NoSuchDevice`] when there is none.
    pub async fn who(&self, device: &str) -> Result<Who, ClientError> {
        match self.ask(Request::Who { device: device.to_owned() }).await? {
            Reply::Who(who) => Ok(who),
            other => Err(unexpected(&other)),
        }
    }

    /// Lists the tokens, makes one, or makes one worthless.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub async fn tokens(&self, order: TokenOrder) -> Result<TokenReport, ClientError> {
        match self.ask(Request::Tokens { order }).await? {
            Reply::Tokens(report) => Ok(report),
            other => Err(unexpected(&other)),
        }
    }

    /// Begins to follow what happens. Dropping the stream ends it.
    ///
    /// # Errors
    /// When the daemon cannot be reached. What it refuses comes out of the stream.
    pub async fn follow(&self) -> Result<NewsStream, ClientError> {
        Ok(NewsStream { stream: self.send(Request::Follow).await? })
    }

    /// What a device tells besides what it is.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses; [`FailureCode::NoSuchDevice`] when there is none.
    pub async fn points(&self, device: &str) -> Result<Points, ClientError> {
        match self.ask(Request::Points { device: device.to_owned() }).await? {
            Reply::Points(points) => Ok(points),
            other => Err(unexpected(&other)),
        }
    }

    /// What the built-in server knows.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses; [`FailureCode::NotNow`] where there is no built-in server.
    pub async fn builtin(&self) -> Result<BuiltinView, ClientError> {
        match self.ask(Request::Builtin).await? {
            Reply::Builtin(view) => Ok(*view),
            other => Err(unexpected(&other)),
        }
    }

    /// Has configuration, boards and tools read again; what needs a restart comes back in words.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub async fn reload(&self) -> Result<Vec<String>, ClientError> {
        match self.ask(Request::Reload).await? {
            Reply::Reloaded(notes) => Ok(notes),
            other => Err(unexpected(&other)),
        }
    }

    /// An image as the daemon can read it: where it lies, or a copy that is there as long as the value is. Needed until the
    /// image is staged, or planned with.
    ///
    /// # Errors
    /// When the daemon cannot be reached, or the copy cannot be made.
    pub async fn hand(&self, image: &Path) -> Result<HandedImage, ClientError> {
        match self.ask(Request::Reach { image: image.to_owned() }).await? {
            Reply::Reached { copies: None } => Ok(HandedImage::as_it_is(image)),
            Reply::Reached { copies: Some(folder) } => {
                HandedImage::copied(image, &folder).map_err(|source| ClientError::NotHanded { folder, source })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Begins a flash. Dropping the stream lets it go on unwatched.
    ///
    /// # Errors
    /// When the daemon cannot be reached. What it refuses comes out of the stream.
    pub async fn flash(
        &self,
        device: &str,
        image: &Path,
        version: Option<&str>,
        now: bool,
    ) -> Result<FlashStream, ClientError> {
        let (device, image, version) = (device.to_owned(), image.to_owned(), version.map(str::to_owned));
        let request = Request::Flash { device, image, version, now };
        Ok(FlashStream { stream: self.send(request).await? })
    }

    /// What an update would be, without doing any of it.
    ///
    /// # Errors
    /// When the daemon cannot be reached, or there is no such device. What is wrong with the update stands in the plan.
    pub async fn plan(
        &self,
        device: &str,
        image: &Path,
        version: Option<&str>,
        now: bool,
    ) -> Result<Plan, ClientError> {
        let (device, image, version) = (device.to_owned(), image.to_owned(), version.map(str::to_owned));
        match self.ask(Request::Plan { device, image, version, now }).await? {
            Reply::Plan(plan) => Ok(*plan),
            other => Err(unexpected(&other)),
        }
    }

    /// Begins to put the last good image back; goes on like [`flash`](Self::flash).
    ///
    /// # Errors
    /// When the daemon cannot be reached. What it refuses comes out of the stream.
    pub async fn rollback(&self, device: &str) -> Result<FlashStream, ClientError> {
        Ok(FlashStream { stream: self.send(Request::Rollback { device: device.to_owned() }).await? })
    }

    async fn ask(&self, request: Request) -> Result<Reply, ClientError> {
        let mut stream = self.send(request).await?;
        let silent = || ClientError::Broken(ErrorKind::TimedOut.into());
        timeout(REPLY_TIME, read(&mut stream)).await.map_err(|_| silent())?
    }

    async fn send(&self, request: Request) -> Result<BufReader<UnixStream>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.unreachable(error))?;
        let mut stream = BufReader::new(stream);
        let line = RequestLine { protocol: PROTOCOL, request };
        match wire::write_line(&mut stream, &line).await {
            // A daemon that has no room for us says so and closes: its reply is there to read all the same.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(ClientError::Broken(error)),
            _ => Ok(stream),
        }
    }

    fn unreachable(&self, error: std::io::Error) -> ClientError {
        let socket = self.socket.clone();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotRunning { socket },
            ErrorKind::PermissionDenied => ClientError::NotPermitted { remedy: remedy(&socket), socket },
            _ => ClientError::Broken(error),
        }
    }
}

/// The group that may use the socket is the group of the first thing on its path that can be looked at.
fn remedy(socket: &Path) -> String {
    let group = socket.ancestors().find_map(|path| std::fs::metadata(path).ok()).map(|found| found.gid());
    match group {
        Some(group) if group != 0 => {
            let group = group_name(group);
            format!("join the group `{group}` (sudo usermod -aG {group} $USER, then log in again), or use sudo")
        }
        _ => "use sudo".to_owned(),
    }
}

/// What a flash tells.
#[derive(Debug, Clone, PartialEq)]
pub enum FlashItem {
    /// Something happened.
    Event(UpdateEvent),
    /// It is over; nothing follows.
    Verdict(Verdict),
}

/// A flash that is being watched.
#[derive(Debug)]
pub struct FlashStream {
    stream: BufReader<UnixStream>,
}

impl FlashStream {
    /// What happens next. Not to be cancelled and called again: a half-read line would be lost.
    ///
    /// # Errors
    /// When the daemon refused, hung up or cannot be understood.
    pub async fn next(&mut self) -> Result<FlashItem, ClientError> {
        match read(&mut self.stream).await? {
            Reply::Event(event) => Ok(FlashItem::Event(event)),
            Reply::Verdict(verdict) => Ok(FlashItem::Verdict(verdict)),
            other => Err(unexpected(&other)),
        }
    }
}

/// What happens, followed.
#[derive(Debug)]
pub struct NewsStream {
    stream: BufReader<UnixStream>,
}

impl NewsStream {
    /// What happens next. Not to be cancelled and called again: a half-read line would be lost.
    ///
    /// # Errors
    /// When the daemon refused, hung up or cannot be understood.
    pub async fn next(&mut self) -> Result<Heard, ClientError> {
        match read(&mut self.stream).await? {
            Reply::Told(told) => Ok(Heard::Told(Arc::new(*told))),
            Reply::Missed { pieces } => Ok(Heard::Missed(pieces)),
            other => Err(unexpected(&other)),
        }
    }
}

/// What is being recorded.
#[derive(Debug)]
pub struct TapeStream {
    stream: BufReader<UnixStream>,
    half: Vec<u8>,
}

impl TapeStream {
    /// The next line. May be cancelled and called again.
    ///
    /// # Errors
    /// When the daemon refused, hung up or cannot be understood.
    pub async fn next(&mut self) -> Result<TapeLine, ClientError> {
        loop {
            if self.half.ends_with(b"\n") {
                let line = std::mem::take(&mut self.half);
                return match wire::parse_reply(line.trim_ascii_end()).map_err(ClientError::Refused)? {
                    Reply::Tape(line) => Ok(*line),
                    other => Err(unexpected(&other)),
                };
            }
            let taken = self.stream.fill_buf().await.map_err(ClientError::Broken)?;
            if taken.is_empty() {
                return Err(ClientError::HungUp);
            }
            let length = taken.iter().position(|byte| *byte == b'\n').map_or(taken.len(), |at| at + 1);
            self.half.extend_from_slice(&taken[..length]);
            self.stream.consume(length);
        }
    }
}

async fn read(stream: &mut BufReader<UnixStream>) -> Result<Reply, ClientError> {
    let line = wire::read_line(stream, MAX_REPLY).await.map_err(|error| match error {
        LineError::Closed => ClientError::HungUp,
        LineError::TooLong => ClientError::Broken(std::io::Error::other("the reply is too long")),
        LineError::Io(error) => ClientError::Broken(error),
    })?;
    wire::parse_reply(&line).map_err(ClientError::Refused)
}

fn unexpected(reply: &Reply) -> ClientError {
    tracing::debug!(?reply, "not what was asked for");
    ClientError::Refused(Failure::new(FailureCode::Failed, "the daemon answered something else"))
}
