//! What the configuration says about hooks.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::control::Secret;
use crate::device::units;

/// Events that hooks may be called on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookEvent {
    /// A device is a client of the servers from now on.
    DeviceJoined,
    /// Something about it is another than before: its link, its version, whether it can be updated.
    DeviceChanged,
    /// It is gone, and may come back.
    DeviceLeft,
    /// An operator had it forgotten.
    DeviceForgotten,
    /// A server knows it now.
    Registered,
    /// A server does not know it any more.
    Deregistered,
    /// An image is staged for it, and checked.
    ImageStaged,
    /// An image was refused, or never arrived.
    StagingFailed,
    /// An update was accepted, but something holds it up.
    UpdateDeferred,
    /// A flash tool was let loose; once for each of its runs.
    ToolStarted,
    /// The tool failed, and is run again.
    UpdateRetrying,
    /// The new firmware is on the board, and proven.
    UpdateProven,
    /// It is not.
    UpdateFailed,
    /// It was given up on request.
    UpdateDropped,
    /// The last good image is put back.
    RollingBack,
    /// It is back, and proven.
    RolledBack,
    /// The board does not tell that it runs.
    Quarantined,
}

/// One `[[hook]]`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookSettings {
    /// What logs and `nuncio status` call it; unique.
    pub name: String,
    /// On which events it is called.
    pub on: Vec<HookEvent>,
    /// Where the event is posted to. Many of these are secrets as a whole.
    pub url: Option<Secret>,
    /// What signs it.
    pub secret: Option<Secret>,
    /// The same in a file, or as one of the service's credentials.
    pub secret_file: Option<PathBuf>,
    /// Further certificate authorities, PEM files.
    #[serde(default)]
    pub ca: Vec<PathBuf>,
    /// How often it is tried again.
    #[serde(default = "five")]
    pub retries: u32,
    /// The program that is called with the event, by its whole path, and its arguments.
    pub program: Option<Vec<String>>,
    /// How long one call may take.
    #[serde(default = "half_a_minute", with = "units::duration")]
    pub timeout: Duration,
}

fn five() -> u32 {
    5
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

impl HookSettings {
    /// What is wrong with it, each with its key.
    pub fn flaws(&self) -> Vec<(&'static str, &'static str)> {
        let mut flaws = Vec::new();
        let mut require = |right: bool, key, flaw| {
            if !right {
                flaws.push((key, flaw));
            }
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let named = (1..=63).contains(&self.name.len()) && self.name.bytes().all(plain);
        require(named, "name", "letters, digits, `.`, `_` and `-`, at most 63");
        require(!self.on.is_empty(), "on", "expected at least one event");
        let ways = (self.url.is_some(), self.program.is_some());
        require(ways != (true, true), "program", "there is a `url` already: a hook does one of both");
        require(ways != (false, false), "name", "expected a `url` or a `program`");
        if let Some(url) = &self.url {
            let parsed = Url::parse(url.reveal()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            require(parsed.is_some_and(|url| url.has_host()), "url", "expected an http or https URL");
        }
        if let Some(program) = &self.program {
            let whole = program.first().is_some_and(|program| program.starts_with('/'));
            require(whole, "program", "expected the program's absolute path, and its arguments");
            let text = program.iter().all(|argument| !argument.contains('\0'));
            require(text, "program", "no argument can hold a NUL");
        }
        let secrets = (self.secret.is_some(), self.secret_file.is_some());
        require(secrets != (true, true), "secret_file", "there is a `secret` already");
        let of_url = self.url.is_some() || (secrets == (false, false) && self.ca.is_empty());
        require(of_url, "program", "`secret`, `secret_file` and `ca` go with a `url` only");
        require(self.secret.as_ref().is_none_or(|secret| !secret.is_empty()), "secret", "expected a secret");
        require(self.retries <= 20, "retries", "expected at most 20");
        flaws
    }
}
