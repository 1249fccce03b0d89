//! Who else asks the gateway meanwhile: programs over HTTP, an open page, an operator, and servers' lists of who is there.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::crowd::Board;
use super::run::Shared;
use crate::{Daemon, Leshan};

/// How often a program asks for all devices.
const ASKS: Duration = Duration::from_secs(5);
/// How long one page is open.
const PAGE: Duration = Duration::from_secs(170);
/// How often the operator looks, and the servers' lists are compared.
const LOOKS: Duration = Duration::from_secs(60);
/// By then every server knows that a device has come, or has gone: its records live two minutes.
const KNOWN: Duration = Duration::from_secs(200);
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Visitors<'a> {
    pub(super) shared: &'a Shared,
    pub(super) board: &'a Board,
    pub(super) daemon: &'a Daemon,
    pub(super) servers: [&'static Leshan; 2],
    pub(super) socket: PathBuf,
}

impl Visitors<'_> {
    /// A program that asks for all devices.
    pub(super) fn program(&self) {
        while self.shared.pause(ASKS) {
            let answer = self.get("/api/v1/devices");
            if !answer.as_ref().is_ok_and(|text| text.starts_with("HTTP/1.1 200 ") && text.ends_with('}')) {
                let told = answer.unwrap_or_else(|error| error.to_string());
                self.shared.record.event("unanswered", "GET devices", &told.chars().take(200).collect::<String>());
            }
        }
    }

    /// A page that is open, closed and opened again.
    pub(super) fn page(&self) {
        while self.shared.pause(Duration::from_secs(1)) {
            let began = Instant::now();
            let Ok(mut stream) = self.open("/api/v1/events") else {
                self.shared.record.event("unanswered", "GET events", "no connection");
                continue;
            };
            let mut buffer = [0; 16 << 10];
            while began.elapsed() < PAGE && self.shared.pause(Duration::from_millis(200)) {
                // A time limit is silence.
                if let Ok(0) = stream.read(&mut buffer) {
                    self.shared.record.event("unanswered", "GET events", "the stream ended");
                    break;
                }
            }
        }
    }

    /// An operator, and who compares lists.
    pub(super) fn operator(&self) {
        while self.shared.pause(LOOKS) {
            let told = self.daemon.cli(&["status", "--json"]);
            if told.code != Some(0) || told.json()["devices"].is_null() {
                self.shared.record.event("unanswered", "nuncio status", &told.output);
            }
            self.compare();
        }
    }

    fn compare(&self) {
        let before = self.board.all();
        let lists = self.servers.map(Leshan::clients);
        let after = self.board.all();
        for (truth, later) in before.iter().zip(&after) {
            if truth != later || truth.since.elapsed() < KNOWN {
                continue;
            }
            for (server, list) in ["factory", "cloud"].iter().zip(&lists) {
                if list.contains(&truth.endpoint) != truth.present {
                    let is = if truth.present { "here, and not registered" } else { "gone, and registered" };
                    let detail = format!("{is} at {server} after {:.0} s", truth.since.elapsed().as_secs_f64());
                    self.shared.record.event("untrue", &truth.endpoint, &detail);
                }
            }
        }
    }

    fn open(&self, path: &str) -> std::io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: soak\r\nConnection: close\r\n\r\n").as_bytes())?;
        Ok(stream)
    }

    fn get(&self, path: &str) -> std::io::Result<String> {
        let mut stream = self.open(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
    }
}
