//! A file server that can misbehave: ranges, ETags, connections that break off, files that change, redirects.

use std::collections::HashMap;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::tls::Authority;

/// How a path is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// As it should be: ETag, ranges, If-Range.
    Good,
    /// The connection closes after half of the file, so often; good afterwards.
    CloseAtHalf(u32),
    /// The connection closes after half of the file, and then the file is this one.
    ChangeAtHalf(Vec<u8>),
    /// The answer's head comes, and half of the body, and then nothing for ever.
    StallAtHalf,
    /// The second half comes when the test says so: see [`HttpFiles::let_go`].
    HoldAtHalf,
    /// No ETag, no ranges.
    Plain,
    /// 302 to this address.
    Redirect(String),
    /// This status and no body.
    Status(u16),
}

/// One request as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// The Range header.
    pub range: Option<String>,
    /// The If-Range header.
    pub if_range: Option<String>,
}

/// The server; it ends with its process, its threads hold nothing of the test.
pub struct HttpFiles {
    port: u16,
    scheme: &'static str,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    files: HashMap<String, (Vec<u8>, Behaviour)>,
    requests: Vec<Request>,
    let_go: bool,
}

impl HttpFiles {
    pub(crate) fn start() -> Self {
        Self::listen("http", None)
    }

    /// The same over TLS.
    pub fn with_tls(authority: &Authority) -> Self {
        Self::listen("https", Some(authority.server_config()))
    }

    fn listen(scheme: &'static str, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("a bound listener").port();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (shared, tls) = (Arc::clone(&served), tls.clone());
                thread::spawn(move || serve(stream, tls, &shared));
            }
        });
        Self { port, scheme, shared }
    }

    /// `http://127.0.0.1:PORT/`: what `[download] allow` must name.
    pub fn base(&self) -> String {
        format!("{}://127.0.0.1:{}/", self.scheme, self.port)
    }

    /// Serves these bytes at a path and gives its URI.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) -> String {
        self.put_as(path, bytes, Behaviour::Good)
    }

    /// Serves these bytes in this way and gives the URI.
    pub fn put_as(&self, path: &str, bytes: impl Into<Vec<u8>>, behaviour: Behaviour) -> String {
        lock(&self.shared).files.insert(format!("/{path}"), (bytes.into(), behaviour));
        format!("{}{path}", self.base())
    }

    /// From now on nothing is held back.
    pub fn let_go(&self) {
        lock(&self.shared).let_go = true;
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.shared).requests.clone()
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>, shared: &Mutex<Shared>) {
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let connection = ServerConnection::new(config).expect("a flawless TLS configuration");
            Box::new(StreamOwned::new(connection, stream))
        }
    };
    let mut reader = BufReader::new(stream);
    // One request after the other until the client or the behaviour closes the connection.
    while let Some((method, close, request)) = read_request(&mut reader) {
        lock(shared).requests.push(request.clone());
        let kept = answer(reader.get_mut().as_mut(), &method, &request, shared).unwrap_or(false);
        if close || !kept {
            return;
        }
    }
}

/// The next request: its method, whether the connection ends with it, and what matters of it.
fn read_request(reader: &mut impl std::io::BufRead) -> Option<(String, bool, Request)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let method = words.next()?.to_owned();
    let mut close = false;
    let mut request = Request { path: words.next()?.to_owned(), range: None, if_range: None };
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.trim().to_owned()),
            "connection" => close = value.trim().eq_ignore_ascii_case("close"),
            "if-range" => request.if_range = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    Some((method, close, request))
}

/// Answers, and says whether the connection goes on.
fn answer(out: &mut dyn Stream, method: &str, request: &Request, shared: &Mutex<Shared>) -> std::io::Result<bool> {
    let path = request.path.split('?').next().unwrap_or_default();
    let Some((bytes, behaviour)) = take_turn(path, shared) else { return plain(out, 404, "") };
    match behaviour {
        Behaviour::Redirect(to) => return plain(out, 302, &format!("Location: {to}\r\n")),
        Behaviour::Status(status) => return plain(out, status, ""),
        _ => {}
    }
    let etag = etag(&bytes);
    let ranged = behaviour != Behaviour::Plain && request.if_range.as_ref().is_none_or(|known| *known == etag);
    let start = request.range.as_deref().filter(|_| ranged).and_then(range_start).filter(|&start| start < bytes.len());
    let rest = &bytes[start.unwrap_or(0)..];
    let status = if start.is_some() { "206 Partial Content" } else { "200 OK" };
    let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", rest.len());
    if behaviour != Behaviour::Plain {
        head.push_str(&format!("ETag: {etag}\r\nAccept-Ranges: bytes\r\n"));
    }
    if let Some(start) = start {
        head.push_str(&format!("Content-Range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len()));
    }
    out.write_all(format!("{head}\r\n").as_bytes())?;
    let whole = matches!(behaviour, Behaviour::Good | Behaviour::Plain);
    if method != "HEAD" {
        out.write_all(if whole { rest } else { &rest[..rest.len() / 2] })?;
    }
    out.flush()?;
    if behaviour == Behaviour::HoldAtHalf {
        while !lock(shared).let_go {
            thread::sleep(std::time::Duration::from_millis(20));
        }
        out.write_all(&rest[rest.len() / 2..])?;
        out.flush()?;
        return Ok(true);
    }
    if behaviour == Behaviour::StallAtHalf {
        // Until the client gives up.
        std::io::copy(out, &mut std::io::sink())?;
    }
    Ok(whole)
}

/// The file at a path and how it is served this time; a behaviour that is used up turns good.
fn take_turn(path: &str, shared: &Mutex<Shared>) -> Option<(Vec<u8>, Behaviour)> {
    let mut shared = lock(shared);
    let (bytes, behaviour) = shared.files.get_mut(path)?;
    let now = (bytes.clone(), behaviour.clone());
    match &now.1 {
        Behaviour::CloseAtHalf(times) => {
            *behaviour = if *times > 1 { Behaviour::CloseAtHalf(times - 1) } else { Behaviour::Good };
        }
        Behaviour::ChangeAtHalf(other) => {
            bytes.clone_from(other);
            *behaviour = Behaviour::Good;
        }
        _ => {}
    }
    Some(now)
}

fn plain(out: &mut dyn Stream, status: u16, headers: &str) -> std::io::Result<bool> {
    out.write_all(format!("HTTP/1.1 {status} Said\r\n{headers}Content-Length: 0\r\n\r\n").as_bytes())?;
    out.flush()?;
    Ok(true)
}

/// A strong ETag: FNV-1a of the bytes.
fn etag(bytes: &[u8]) -> String {
    let mix = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("\"{:016x}\"", bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix))
}

fn range_start(range: &str) -> Option<usize> {
    range.strip_prefix("bytes=")?.split('-').next()?.parse().ok()
}
