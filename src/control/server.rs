//! The daemon's end of the Unix socket.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncReadExt, AsyncWrite, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::device::UpdateEvent;

use super::handing;
use super::wire::{self, LineError, MAX_REQUEST, PROTOCOL, Reply, ReplyLine, Request};
use super::{ControlRequest, Door, Failure, FailureCode, Feed, Follower, Heard, Told, Verdict};

/// So many clients are served at once; further ones are turned away.
const MAX_CONNECTIONS: usize = 64;
/// A client must have sent its request within this.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// A client must have taken a line within this.
const WRITE_TIME: Duration = Duration::from_secs(10);
/// Pause after the system refused a connection, out of descriptors for example.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// So many lines of a recording may wait for a client: everything there is comes at its beginning.
const MAX_LINES: usize = 16_384;
/// So many events of a flash may wait for a client.
const MAX_EVENTS: usize = 256;

/// The socket. Dropping it removes the file.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon answers there.
    #[error("another nuncio answers on {}", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket is in the way.
    #[error("{} is in the way: it is no socket", .0.display())]
    NoSocket(PathBuf),
    /// The system refused.
    #[error("cannot make the control socket {}", .path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl Listener {
    /// Makes the socket with mode 0660, in place of one that a dead daemon left behind, and its folder where only that is
    /// missing. To be called in a runtime.
    ///
    /// # Errors
    /// When a living daemon or a file is in the way, or the folder does not permit it.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        clear_way(path)?;
        let failed = |source| BindError::Io { path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            DirBuilder::new().mode(0o750).create(folder).map_err(failed)?;
        }
        // Made under another name and renamed when it has its mode: nobody finds it with the wrong one.
        let fresh = path.with_extension(format!("new-{}", std::process::id()));
        let socket = UnixListener::bind(&fresh).map_err(failed)?;
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o660)).map_err(failed)?;
        std::fs::rename(&fresh, path).map_err(failed)?;
        handing::prepare(&handing::folder(path)).map_err(failed)?;
        Ok(Self { socket, path: path.to_owned() })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        handing::clear(&handing::folder(&self.path));
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the control socket could not be removed");
        }
    }
}

fn clear_way(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if !found.file_type().is_socket() => Err(BindError::NoSocket(path.to_owned())),
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => Err(BindError::InUse(path.to_owned())),
        Ok(_) => Ok(()),
    }
}

/// Serves clients until the returned future is dropped, which also hangs up on them.
pub async fn serve(listener: Listener, door: Door, feed: Feed) {
    let mut clients = JoinSet::new();
    let copies: Arc<Path> = handing::folder(&listener.path).into();
    loop {
        while clients.try_join_next().is_some() {}
        match listener.socket.accept().await {
            Ok((stream, _)) if clients.len() < MAX_CONNECTIONS => {
                let (door, feed, copies) = (door.clone(), feed.clone(), Arc::clone(&copies));
                clients.spawn(async move { attend(stream, (&door, &feed), &copies).await });
            }
            Ok((stream, _)) => turn_away(&stream),
            Err(error) => {
                tracing::warn!(%error, "a control connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn turn_away(stream: &UnixStream) {
    let failure = Failure::new(FailureCode::Overloaded, format!("{MAX_CONNECTIONS} clients are being served already"));
    let line = ReplyLine { protocol: PROTOCOL, reply: Reply::Failed(failure) };
    let mut text = serde_json::to_vec(&line).unwrap_or_default();
    text.push(b'\n');
    if stream.try_write(&text).is_err() {
        tracing::debug!("a client was turned away without a word");
    }
}

/// One connection: one request, its replies.
async fn attend(stream: UnixStream, (door, feed): (&Door, &Feed), copies: &Path) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let reply = match timeout(REQUEST_TIME, wire::read_line(&mut reader, MAX_REQUEST)).await {
        Err(_) => Some(refusal(FailureCode::BadRequest, "no request came")),
        Ok(Err(LineError::Closed)) => None,
        Ok(Err(LineError::TooLong)) => Some(refusal(FailureCode::BadRequest, "the request is too long")),
        Ok(Err(LineError::Io(error))) => {
            tracing::debug!(%error, "a control connection broke");
            None
        }
        Ok(Ok(line)) => match wire::parse_request(&line) {
            Ok(request) => handle(request, (door, feed), copies, &mut reader, &mut writer).await,
            Err(failure) => Some(Reply::Failed(failure)),
        },
    };
    if let Some(reply) = reply {
        write(&mut writer, reply).await;
    }
}

fn refusal(code: FailureCode, message: &str) -> Reply {
    Reply::Failed(Failure::new(code, message))
}

/// Whether the daemon can read an image needs no gateway.
async fn reached(image: PathBuf, copies: &Path) -> Reply {
    let readable = tokio::task::spawn_blocking(move || handing::readable(&image)).await.unwrap_or(false);
    Reply::Reached { copies: (!readable).then(|| copies.to_owned()) }
}

async fn handle(
    request: Request,
    (door, feed): (&Door, &Feed),
    copies: &Path,
    reader: &mut (impl AsyncBufRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Option<Reply> {
    Some(match request {
        Request::Devices => reply(door.ask(|reply| ControlRequest::Devices { reply }).await, Reply::Devices),
        Request::Status { device } => {
            reply(door.ask(|reply| ControlRequest::Status { device, reply }).await, |status| {
                Reply::Status(Box::new(status))
            })
        }
        Request::Why { device } => reply(door.ask(|reply| ControlRequest::Why { device, reply }).await, Reply::Why),
        Request::Cancel { device } => {
            reply(door.ask(|reply| ControlRequest::Cancel { device, reply }).await, |()| Reply::Cancelled)
        }
        Request::History { device, failed, limit } => {
            reply(door.ask(|reply| ControlRequest::History { device, failed, limit, reply }).await, Reply::History)
        }
        Request::Show { update } => {
            let wrap = |evidence| Reply::Update(Box::new(evidence));
            reply(door.ask(|reply| ControlRequest::Show { update, reply }).await, wrap)
        }
        Request::Reload => reply(door.ask(|reply| ControlRequest::Reload { reply }).await, Reply::Reloaded),
        Request::Builtin => {
            reply(door.ask(|reply| ControlRequest::Builtin { reply }).await, |view| Reply::Builtin(Box::new(view)))
        }
        Request::Flash { image, .. } | Request::Plan { image, .. } if !image.is_absolute() => {
            refusal(FailureCode::BadRequest, "the path of the image must be absolute")
        }
        Request::Brake { order } => {
            reply(door.ask(|reply| ControlRequest::Brake { order, reply }).await, Reply::Brakes)
        }
        Request::Join { order } => reply(door.ask(|reply| ControlRequest::Join { order, reply }).await, Reply::Joined),
        Request::Identify { device } => {
            reply(door.ask(|reply| ControlRequest::Identify { device, reply }).await, Reply::Identified)
        }
        Request::Points { device } => {
            reply(door.ask(|reply| ControlRequest::Points { device, reply }).await, Reply::Points)
        }
        Request::Who { device } => reply(door.ask(|reply| ControlRequest::Who { device, reply }).await, Reply::Who),
        Request::Flash { device, image, version, now } => {
            let order = |events, verdict| ControlRequest::Flash { device, image, version, now, events, verdict };
            return update(door, order, reader, writer).await;
        }
        Request::Plan { device, image, version, now } => {
            let order = |reply| ControlRequest::Plan { device, image, version, now, reply };
            reply(door.ask(order).await, |plan| Reply::Plan(Box::new(plan)))
        }
        Request::Reach { image } => reached(image, copies).await,
        Request::Tokens { order } => {
            reply(door.ask(|reply| ControlRequest::Tokens { order, reply }).await, Reply::Tokens)
        }
        Request::Follow => return follow_news(feed.follow(), reader, writer).await,
        Request::Record => return record(door, reader, writer).await,
        Request::Rollback { device } => {
            let order = |events, verdict| ControlRequest::Rollback { device, events, verdict };
            return update(door, order, reader, writer).await;
        }
    })
}

/// Orders an update and tells the client how it goes.
async fn update(
    door: &Door,
    order: impl FnOnce(mpsc::Sender<UpdateEvent>, oneshot::Sender<Result<Verdict, Failure>>) -> ControlRequest,
    reader: &mut (impl AsyncBufRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Option<Reply> {
    let (events, told) = mpsc::channel(MAX_EVENTS);
    let (verdict, end) = oneshot::channel();
    match door.hand_over(order(events, verdict)).await {
        Ok(()) => follow(told, end, reader, writer).await,
        Err(failure) => Some(Reply::Failed(failure)),
    }
}

/// Tells a client what happens, until it hangs up.
async fn follow_news(
    mut follower: Follower,
    reader: &mut (impl AsyncBufRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Option<Reply> {
    let mut heard = [0; 64];
    loop {
        tokio::select! {
            news = follower.next() => match news {
                Some(Heard::Told(told)) => if !write(writer, Reply::Told(Box::new(Told::clone(&told)))).await { return None },
                Some(Heard::Missed(pieces)) => if !write(writer, Reply::Missed { pieces }).await { return None },
                None => return Some(Reply::Failed(Failure::stopping())),
            },
            read = reader.read(&mut heard) => if matches!(read, Ok(0) | Err(_)) { return None },
        }
    }
}

/// Tells a client what the transports see and say, until it hangs up or cannot keep up.
async fn record(
    door: &Door,
    reader: &mut (impl AsyncBufRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Option<Reply> {
    let (lines, mut told) = mpsc::channel(MAX_LINES);
    if let Err(failure) = door.hand_over(ControlRequest::Record { lines }).await {
        return Some(Reply::Failed(failure));
    }
    let mut heard = [0; 64];
    loop {
        tokio::select! {
            line = told.recv() => match line {
                Some(line) => if !write(writer, Reply::Tape(Box::new(line))).await { return None },
                None => return Some(refusal(FailureCode::Overloaded, "recording ended: too much happens at once, or too many record")),
            },
            read = reader.read(&mut heard) => if matches!(read, Ok(0) | Err(_)) { return None },
        }
    }
}

/// An answer as a reply.
fn reply<T>(answer: Result<T, Failure>, wrap: impl FnOnce(T) -> Reply) -> Reply {
    answer.map_or_else(Reply::Failed, wrap)
}

/// Tells a client how its flash goes, until the verdict or until it hangs up; the flash goes on either way.
async fn follow(
    mut told: mpsc::Receiver<UpdateEvent>,
    mut end: oneshot::Receiver<Result<Verdict, Failure>>,
    reader: &mut (impl AsyncBufRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> Option<Reply> {
    let mut heard = [0; 64];
    let verdict = loop {
        tokio::select! {
            biased;
            Some(event) = told.recv() => if !write(writer, Reply::Event(event)).await { return None },
            verdict = &mut end => break verdict,
            read = reader.read(&mut heard) => if matches!(read, Ok(0) | Err(_)) { return None },
        }
    };
    // Events that were told before the verdict go out before it.
    while let Ok(event) = told.try_recv() {
        if !write(writer, Reply::Event(event)).await {
            return None;
        }
    }
    Some(match verdict {
        Ok(Ok(verdict)) => Reply::Verdict(verdict),
        Ok(Err(failure)) => Reply::Failed(failure),
        Err(_) => Reply::Failed(Failure::stopping()),
    })
}

/// Whether the client took it.
async fn write(writer: &mut (impl AsyncWrite + Unpin), reply: Reply) -> bool {
    let line = ReplyLine { protocol: PROTOCOL, reply };
    matches!(timeout(WRITE_TIME, wire::write_line(writer, &line)).await, Ok(Ok(())))
}
