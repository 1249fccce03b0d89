//! A web server that takes webhooks: Python's, with a handler that tells what came.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cache::{program, repository};
use crate::free_tcp;
use crate::process::Process;
use crate::tls::Authority;

const PATIENCE: Duration = Duration::from_secs(120);

/// The server.
pub struct WebhookServer {
    process: Process,
    base: String,
}

impl WebhookServer {
    /// Starts it; requests that are signed with this secret are told as that.
    pub fn start(secret: &str) -> Self {
        Self::listen(secret, None)
    }

    /// The same over TLS, with a certificate of this authority.
    pub fn with_tls(authority: &Authority) -> Self {
        Self::listen("", Some(authority))
    }

    fn listen(secret: &str, authority: Option<&Authority>) -> Self {
        let port = free_tcp();
        let mut command = Command::new(program("mqtt", "python3"));
        command.arg(repository().join("tests/peers/webhook.py")).arg(port.to_string()).arg(secret);
        if let Some((certificate, key)) = authority.map(Authority::server) {
            command.arg(certificate).arg(key);
        }
        let mut process = Process::start("webhook.py", &command, None);
        process.line_after(0, PATIENCE, |line| (line == "ready").then_some(()));
        let scheme = if authority.is_some() { "https" } else { "http" };
        Self { process, base: format!("{scheme}://localhost:{port}") }
    }

    /// The URL of a path; how it is answered, `tests/peers/webhook.py` says.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    /// What came to a path so far: `event`, `type`, `signed`, `body`.
    pub fn posts(&self, path: &str) -> Vec<Value> {
        let output = self.process.output();
        let posts = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        posts.filter(|post| post["path"] == format!("/{path}")).collect()
    }

    /// Waits for a post that is liked, from the beginning.
    pub fn await_post(&mut self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/{path}");
        self.process.line_after(0, PATIENCE, |line| {
            serde_json::from_str(line).ok().filter(|post: &Value| post["path"] == path && wanted(post))
        })
    }
}
