//! Debian's Chromium, driven by puppeteer: a person with a browser.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cache::{peer, program, repository};
use crate::process::Process;

const PATIENCE: Duration = Duration::from_secs(180);

/// A browser with one page.
pub struct Browser {
    process: Process,
    asked: u64,
}

impl Browser {
    /// Starts it.
    pub fn start() -> Self {
        let modules = peer("page", "page/node_modules");
        let chromium = program("page", "chromium");
        let mut command = Command::new(program("page", "node"));
        command.arg(repository().join("tests/peers/browser.mjs")).arg(modules.parent().expect("it lies in a folder"));
        command.env("CHROMIUM", chromium);
        let mut process = Process::start("Chromium", &command, None);
        process.line_after(0, PATIENCE, |line| line.contains("\"ready\"").then_some(()));
        Self { process, asked: 0 }
    }

    /// Does something: see `tests/peers/browser.mjs`. Panics where it cannot.
    pub fn ask(&mut self, op: &str, arguments: Value) -> Value {
        self.asked += 1;
        let (id, mark) = (self.asked, self.process.mark());
        let mut command = arguments;
        command["id"] = json!(id);
        command["op"] = json!(op);
        self.process.tell(&command.to_string());
        let answer: Value = self.process.line_after(mark, PATIENCE, |line| {
            serde_json::from_str(line).ok().filter(|answer: &Value| answer["id"] == id)
        });
        assert!(answer["error"].is_null(), "{op} {command}: {answer:#}");
        answer["value"].clone()
    }

    /// Opens a page; its status.
    pub fn goto(&mut self, url: &str) -> u64 {
        self.ask("goto", json!({ "url": url })).as_u64().unwrap_or_default()
    }

    /// Where it is.
    pub fn url(&mut self) -> String {
        self.ask("url", json!({})).as_str().unwrap_or_default().to_owned()
    }

    /// The text of the first thing that a CSS selector finds.
    pub fn text(&mut self, selector: &str) -> String {
        self.ask("text", json!({ "selector": selector })).as_str().unwrap_or_default().to_owned()
    }

    /// Waits until something that the selector finds has this text in it.
    pub fn waits_for(&mut self, selector: &str, contains: &str) {
        self.ask("await", json!({ "selector": selector, "contains": contains }));
    }

    /// Clicks on what leads to another page.
    pub fn follow(&mut self, selector: &str) -> String {
        self.ask("follow", json!({ "selector": selector })).as_str().unwrap_or_default().to_owned()
    }

    /// Types into a field.
    pub fn fill(&mut self, selector: &str, value: &str) {
        self.ask("fill", json!({ "selector": selector, "value": value }));
    }

    /// Takes a picture of the window.
    pub fn screenshot(&mut self, path: &Path) {
        self.ask("screenshot", json!({ "path": path }));
    }

    /// What axe calls serious or critical on this page.
    pub fn axe(&mut self) -> Vec<String> {
        let findings = self.ask("axe", json!({}));
        findings.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    }

    /// What its console said since the last time.
    pub fn console(&mut self) -> Vec<String> {
        let said = self.ask("console", json!({}));
        said.as_array().into_iter().flatten().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    }
}
