//! A small HTTP/1.1 client for servers on loopback.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any server here thinks about an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// GET of a path at a port of 127.0.0.1; `None` when nobody answers.
pub fn get(port: u16, path: &str) -> Option<Answer> {
    request(port, "GET", path, "", &[])
}

/// Any request; `None` when nobody answers.
pub fn request(port: u16, method: &str, path: &str, content_type: &str, body: &[u8]) -> Option<Answer> {
    let mut reader = open(port, method, path, content_type, "*/*", body)?;
    let (status, chunked, length) = head(&mut reader)?;
    let mut bytes = Vec::new();
    if chunked {
        while let Some(chunk) = chunk(&mut reader) {
            bytes.extend_from_slice(&chunk);
        }
    } else {
        reader.take(length.unwrap_or(u64::MAX)).read_to_end(&mut bytes).ok()?;
    }
    Some(Answer { status, body: bytes })
}

/// Sends a request and gives the stream to read its answer from.
pub(crate) fn open(
    port: u16,
    method: &str,
    path: &str,
    content_type: &str,
    accept: &str,
    body: &[u8],
) -> Option<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let kind = if content_type.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {accept}\r\n{kind}Content-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body).ok()?;
    Some(BufReader::new(stream))
}

/// Status, whether the body is chunked, and its length if that is told.
pub(crate) fn head(reader: &mut BufReader<TcpStream>) -> Option<(u16, bool, Option<u64>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let (mut chunked, mut length) = (false, None);
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            "content-length" => length = value.trim().parse().ok(),
            _ => {}
        }
    }
    Some((status, chunked, length))
}

/// The next chunk of a chunked body; `None` at its end.
pub(crate) fn chunk(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let size = usize::from_str_radix(line.trim().split(';').next()?, 16).ok().filter(|&size| size > 0)?;
    let mut bytes = vec![0; size];
    reader.read_exact(&mut bytes).ok()?;
    reader.read_line(&mut line).ok()?;
    Some(bytes)
}
