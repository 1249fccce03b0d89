//! A small HTTP server of the tests' own, which misbehaves on request.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a client asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) headers: HashMap<String, String>,
    /// How many were asked before.
    pub(crate) number: usize,
}

impl Asked {
    /// First byte of a `Range`.
    pub(crate) fn from(&self) -> Option<usize> {
        self.headers.get("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What it gets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Close after so many bytes of the body.
    pub(crate) cut: Option<usize>,
    /// Then wait so long before closing.
    pub(crate) stall: Duration,
    /// Do not tell the length.
    pub(crate) chunked: bool,
}

pub(crate) fn status(status: u16) -> Answer {
    Answer { status, ..Answer::default() }
}

pub(crate) fn body(bytes: &[u8]) -> Answer {
    Answer { status: 200, body: bytes.to_vec(), ..Answer::default() }
}

/// A file as a good server gives it: with a strong ETag, and in ranges.
pub(crate) fn file(asked: &Asked, bytes: &[u8], etag: &str) -> Answer {
    let etag_header = ("ETag", etag.to_owned());
    let unchanged = asked.headers.get("if-range").is_some_and(|known| known == etag);
    match asked.from().filter(|_| unchanged) {
        Some(from) if from >= bytes.len() => status(416),
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            let headers = vec![etag_header, ("Content-Range", range)];
            Answer { status: 206, headers, body: bytes[from..].to_vec(), ..Answer::default() }
        }
        None => Answer { headers: vec![etag_header], ..body(bytes) },
    }
}

type Handler = dyn Fn(&Asked) -> Answer + Send + Sync;

/// A running server.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Web {
    pub(crate) async fn start(handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::with_tls(None, handler).await
    }

    pub(crate) async fn with_tls(
        tls: Option<TlsAcceptor>,
        handler: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (handler, seen): (Arc<Handler>, _) = (Arc::new(handler), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, seen, tls) = (Arc::clone(&handler), Arc::clone(&seen), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &*handler, &seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &*handler, &seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, asked }
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Targets that were asked, sidecars left out.
    pub(crate) fn images_asked(&self) -> Vec<Asked> {
        let beside = |asked: &Asked| [".sha256", ".version", ".minisig"].iter().any(|end| asked.target.contains(end));
        self.asked.lock().expect("asked").iter().filter(|asked| !beside(asked)).cloned().collect()
    }

    pub(crate) fn was_asked(&self, target: &str) -> bool {
        self.asked.lock().expect("asked").iter().any(|asked| asked.target == target)
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, handler: &Handler, seen: &Mutex<Vec<Asked>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    let asked = {
        let mut seen = seen.lock().expect("asked");
        let number = seen.iter().filter(|before| before.target == target).count();
        let asked = Asked { target, headers, number };
        seen.push(asked.clone());
        asked
    };
    answer(&mut stream, handler(&asked)).await;
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), answer: Answer) {
    let mut head = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !answer.chunked {
        head += &format!("Content-Length: {}\r\n", answer.body.len());
    }
    head += "\r\n";
    let end = answer.cut.unwrap_or(answer.body.len());
    // A client that went away is what some tests are about.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&answer.body[..end]).await;
    let _ = stream.flush().await;
    tokio::time::sleep(answer.stall).await;
    let _ = stream.shutdown().await;
}
