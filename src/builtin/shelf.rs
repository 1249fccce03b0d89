//! Where devices fetch what they are offered: HTTP on loopback, GET and HEAD of the images that are under way and of the files
//! beside them, below a path that nobody can guess. What lies there never changes while it does, so a download that broke off
//! goes on where it was.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{self, SeekFrom};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream;
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fs::OFlags;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use url::Url;

use super::names::SIDECARS;

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 16;
/// How long a connection may be silent between requests, and how long it may last.
const HEADER_TIME: Duration = Duration::from_secs(30);
const CONNECTION_TIME: Duration = Duration::from_secs(3600);
/// Pause after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(500);
const CHUNK: usize = 64 * 1024;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// One image.
#[derive(Debug, Clone)]
struct Item {
    folder: PathBuf,
    image: String,
}

/// All that can be fetched.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    base: Url,
    items: Arc<Mutex<HashMap<String, Item>>>,
}

impl Shelf {
    /// An empty one. `secret` is the first part of all paths.
    pub(super) fn new(port: u16, secret: &str) -> Self {
        let base = format!("http://{}:{port}/{secret}/", Ipv4Addr::LOCALHOST);
        Self { base: Url::parse(&base).expect("digits and letters make a URL"), items: Arc::default() }
    }

    /// What all URIs begin with.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Lays an image there; its URI.
    pub(super) fn lay(&self, id: &str, folder: PathBuf, image: &str) -> Url {
        let item = Item { folder, image: image.to_owned() };
        self.items.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), item);
        let mut uri = self.base.clone();
        if let Ok(mut path) = uri.path_segments_mut() {
            path.pop_if_empty().extend([id, image]);
        }
        uri
    }

    /// Takes an image away.
    pub(super) fn take(&self, id: &str) {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// The file that a path means, and whether it is an image.
    fn find(&self, path: &str) -> Option<(String, PathBuf, bool)> {
        let path = path.strip_prefix(self.base.path())?;
        let (id, name) = path.split_once('/')?;
        let name = decoded(name)?;
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let item = items.get(id)?;
        let beside = SIDECARS.iter().any(|ending| name.strip_suffix(ending) == Some(&item.image));
        (name == item.image || beside).then(|| (id.to_owned(), item.folder.join(&name), !beside))
    }

    /// Serves until its task is ended.
    pub(super) async fn serve(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, peer)) if peer.ip().is_loopback() => {
                    let shelf = self.clone();
                    tokio::spawn(async move {
                        let _ = tokio::time::timeout(CONNECTION_TIME, shelf.attend(stream)).await;
                        drop(place);
                    });
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn attend(self, stream: TcpStream) {
        let answer = service_fn(move |request: Request<Incoming>| {
            let shelf = self.clone();
            async move { Ok::<_, Infallible>(shelf.answer(&request).await) }
        });
        let mut connection = http1::Builder::new();
        connection.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(16 * 1024);
        if let Err(error) = connection.serve_connection(TokioIo::new(stream), answer).await {
            tracing::trace!(%error, "a connection broke");
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return bare(StatusCode::METHOD_NOT_ALLOWED);
        }
        let Some((id, path, is_image)) = self.find(request.uri().path()) else { return bare(StatusCode::NOT_FOUND) };
        match file(&path).await {
            Ok((file, size)) => {
                let etag = is_image.then(|| format!("\"{id}-{size}\""));
                let whole = send(request.headers(), file, size, etag).await;
                let response = whole.unwrap_or_else(|_| bare(StatusCode::INTERNAL_SERVER_ERROR));
                if request.method() == Method::HEAD { response.map(|_| empty()) } else { response }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => bare(StatusCode::NOT_FOUND),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "what is under way cannot be read");
                bare(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// Opens a plain file and tells its length.
async fn file(path: &Path) -> io::Result<(File, u64)> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).expect("open flags fit an int");
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(flags);
    let file = tokio::fs::OpenOptions::from(options).open(path).await?;
    let metadata = file.metadata().await?;
    match metadata.is_file() {
        true => Ok((file, metadata.len())),
        false => Err(io::Error::other("it is no plain file")),
    }
}

async fn send(asked: &HeaderMap, mut file: File, size: u64, etag: Option<String>) -> io::Result<Response<Body>> {
    let start = start(asked, size, etag.as_deref());
    if let Some(start) = start {
        file.seek(SeekFrom::Start(start)).await?;
    }
    let length = size - start.unwrap_or(0);
    let mut response = Response::new(body(file, length));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(&etag).ok()) {
        headers.insert(ETAG, etag);
    }
    if let Some(start) = start {
        let range = format!("bytes {start}-{}/{size}", size - 1);
        headers.insert(CONTENT_RANGE, HeaderValue::from_str(&range).expect("digits are a header value"));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// The first byte of `bytes=N-`; whatever else is asked for gets all of it, and so does who knows another file.
fn start(asked: &HeaderMap, size: u64, etag: Option<&str>) -> Option<u64> {
    let text = |name| asked.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let same = text(IF_RANGE).is_none_or(|known| Some(known) == etag);
    let start: u64 = text(RANGE)?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()?;
    (same && start > 0 && start < size).then_some(start)
}

/// So many bytes of a file from where it is, piece by piece. One that has become shorter breaks the connection off.
fn body(file: File, length: u64) -> Body {
    let pieces = stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
        let read = file.read(&mut piece).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        piece.truncate(read);
        Ok(Some((Frame::data(Bytes::from(piece)), (file, left - read as u64))))
    });
    StreamBody::new(pieces).boxed_unsync()
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

fn empty() -> Body {
    Empty::new().map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// What percent signs stand for; `None` for what is no text.
fn decoded(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = (first == b'%').then(|| tail.get(..2).and_then(|pair| str::from_utf8(pair).ok()));
        match code {
            Some(pair) => {
                bytes.push(u8::from_str_radix(pair?, 16).ok()?);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// A shelf with one image, served.
    async fn served() -> (tempfile::TempDir, Shelf, u16) {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a b.hex"), b"0123456789").expect("written");
        std::fs::write(folder.path().join("a b.hex.version"), b"1.3.0\n").expect("written");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("a b.hex.sha256")).expect("linked");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let shelf = Shelf::new(port, "s3cret");
        let uri = shelf.lay("1", folder.path().to_owned(), "a b.hex");
        assert_eq!(uri.as_str(), format!("http://127.0.0.1:{port}/s3cret/1/a%20b.hex"));
        tokio::spawn(shelf.clone().serve(listener));
        (folder, shelf, port)
    }

    async fn says(port: u16, request: &[u8]) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("connected");
        stream.write_all(request).await.expect("asked");
        let mut said = Vec::new();
        // It may hang up in the middle.
        let _ = stream.read_to_end(&mut said).await;
        String::from_utf8_lossy(&said).into_owned()
    }

    async fn asks(port: u16, method: &str, path: &str, more: &str) -> String {
        says(port, format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n").as_bytes()).await
    }

    #[tokio::test]
    async fn an_image_is_fetched_whole_or_from_where_it_broke_off() {
        let (_folder, shelf, port) = served().await;
        let path = "/s3cret/1/a%20b.hex";
        let whole = asks(port, "GET", path, "").await;
        assert!(whole.starts_with("HTTP/1.1 200 ") && whole.ends_with("\r\n\r\n0123456789"), "{whole}");
        let etag = "\"1-10\"";
        assert!(whole.contains(&format!("etag: {etag}")), "{whole}");
        let rest = asks(port, "GET", path, &format!("Range: bytes=4-\r\nIf-Range: {etag}\r\n")).await;
        assert!(rest.starts_with("HTTP/1.1 206 ") && rest.contains("bytes 4-9/10") && rest.ends_with("\r\n\r\n456789"));
        for more in ["Range: bytes=4-\r\nIf-Range: \"other\"\r\n", "Range: bytes=10-\r\n", "Range: bytes=-3\r\n"] {
            assert!(asks(port, "GET", path, more).await.starts_with("HTTP/1.1 200 "), "{more}");
        }
        let head = asks(port, "HEAD", path, "").await;
        assert!(head.contains("content-length: 10") && head.ends_with("\r\n\r\n"), "{head}");
        assert!(asks(port, "GET", "/s3cret/1/a%20b.hex.version", "").await.ends_with("1.3.0\n"));
        shelf.take("1");
        assert!(asks(port, "GET", path, "").await.starts_with("HTTP/1.1 404 "));
    }

    #[tokio::test]
    async fn nothing_else_is_to_be_had() {
        let (_folder, _shelf, port) = served().await;
        for path in [
            "/",
            "/s3cret/",
            "/s3cret/1/",
            "/s3cret/1/a%20b.hex.minisig",
            "/s3cret/1/offer.json",
            "/s3cret/1/..%2fa%20b.hex",
            "/s3cret/1/%2e%2e/%2e%2e/etc/passwd",
            "/s3cret/2/a%20b.hex",
            "/other/1/a%20b.hex",
            "/s3cret/1/a%zzb.hex",
            "/s3cret/1/a%ffb.hex",
        ] {
            let answer = asks(port, "GET", path, "").await;
            assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        }
        let link = asks(port, "GET", "/s3cret/1/a%20b.hex.sha256", "").await;
        assert!(link.starts_with("HTTP/1.1 500 ") && !link.contains("root:"), "{link}");
        assert!(asks(port, "PUT", "/s3cret/1/a%20b.hex", "").await.starts_with("HTTP/1.1 405 "));
        assert!(says(port, &[b'x'; 64 * 1024]).await.len() < 1024, "an endless header is cut");
        assert!(asks(port, "GET", "/s3cret/1/a%20b.hex", "").await.starts_with("HTTP/1.1 200 "));
    }

    proptest::proptest! {
        #[test]
        fn any_name_is_decoded_or_refused(name in ".{0,40}") {
            let _ = decoded(&name);
        }
    }
}
