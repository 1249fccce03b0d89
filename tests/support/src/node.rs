//! lwm2m-node-lib's server: another DM server that we did not write, driven by lines of JSON.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cache::{peer, program, repository};
use crate::free_udp;
use crate::process::Process;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running server.
pub struct NodeServer {
    process: Process,
    port: u16,
    asked: u64,
}

impl NodeServer {
    /// Starts it on a free port.
    pub fn start() -> Self {
        let modules = peer("node", "node/node_modules");
        let port = free_udp();
        let mut command = Command::new(program("node", "node"));
        command.arg(repository().join("tests/peers/lwm2m-node-server.js")).arg(port.to_string());
        command.current_dir(modules.parent().expect("node_modules lies in a folder"));
        let mut process = Process::start("lwm2m-node-lib", &command, None);
        process.line_after(0, PATIENCE, |line| line.contains("\"ready\"").then_some(()));
        Self { process, port, asked: 0 }
    }

    /// `coap://127.0.0.1:PORT`.
    pub fn uri(&self) -> String {
        format!("coap://127.0.0.1:{}", self.port)
    }

    /// Waits for an endpoint to register and gives what it said: `lifetime`, `version`, `binding`, `links`.
    pub fn await_registration(&mut self, endpoint: &str) -> Value {
        self.await_event(|event| event["event"] == "registration" && event["ep"] == endpoint)
    }

    /// Waits for an event that is liked, from the start.
    pub fn await_event(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.process.line_after(0, PATIENCE, |line| serde_json::from_str(line).ok().filter(|event| wanted(event)))
    }

    /// The values that an observation of a path brought so far.
    pub fn values(&self, path: &str) -> Vec<String> {
        let output = self.process.output();
        let events = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of_path = events.filter(|event| event["event"] == "value" && event["path"] == path);
        of_path.map(|event| event["value"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Does something with a device: see `tests/peers/lwm2m-node-server.js`. The error is the library's own text, which
    /// names CoAP's code.
    pub fn ask(&mut self, op: &str, endpoint: &str, path: &str, value: &Value) -> Result<Value, String> {
        self.asked += 1;
        let id = self.asked;
        let mark = self.process.mark();
        let command = json!({ "id": id, "op": op, "ep": endpoint, "path": path, "value": value });
        self.process.tell(&command.to_string());
        let answer: Value = self.process.line_after(mark, PATIENCE, |line| {
            serde_json::from_str(line).ok().filter(|answer: &Value| answer["id"] == id)
        });
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["value"].clone()),
        }
    }

    /// Read of a resource, as text.
    pub fn read(&mut self, endpoint: &str, path: &str) -> Result<String, String> {
        let value = self.ask("read", endpoint, path, &Value::Null)?;
        Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }
}
