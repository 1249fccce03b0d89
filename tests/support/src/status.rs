//! What `nuncio devices --json` and `nuncio status --json` say, by name: the one place here that knows their fields.

use serde_json::Value;

/// One device.
#[derive(Debug, Clone)]
pub struct DeviceView(pub Value);

/// A device's registration at one server.
#[derive(Debug, Clone)]
pub struct ServerView(pub Value);

impl DeviceView {
    /// All devices of an answer.
    pub(crate) fn all(answer: &Value) -> Vec<Self> {
        answer["devices"].as_array().into_iter().flatten().map(|device| Self(device.clone())).collect()
    }

    /// Its name.
    pub fn id(&self) -> &str {
        text(&self.0["id"])
    }

    /// Its endpoint name.
    pub fn endpoint(&self) -> &str {
        text(&self.0["endpoint"])
    }

    /// Its link as a configuration would name it.
    pub fn link(&self) -> &str {
        text(&self.0["link"])
    }

    /// Its board.
    pub fn board(&self) -> &str {
        text(&self.0["board"])
    }

    /// Whether its link is there.
    pub fn present(&self) -> bool {
        self.0["present"].as_bool().unwrap_or_default()
    }

    /// Whether its link may be used: `usable`, `busy`, `not-permitted`, `denied`.
    pub fn access(&self) -> &str {
        text(&self.0["access"]["state"])
    }

    /// Everything about its access: holder, permissions, remedy.
    pub fn access_detail(&self) -> String {
        self.0["access"].to_string()
    }

    /// The version that was read from it, empty while none was.
    pub fn version(&self) -> &str {
        text(&self.0["version"]["text"])
    }

    /// Why no server can update it.
    pub fn not_updatable(&self) -> &str {
        text(&self.0["not_updatable"])
    }

    /// 5/0/3 by name: `idle`, `downloading`, `downloaded`, `updating`.
    pub fn firmware_state(&self) -> &str {
        text(&self.0["update"]["state"])
    }

    /// 5/0/5 by name.
    pub fn firmware_result(&self) -> &str {
        text(&self.0["update"]["result"])
    }

    /// The line that says why an update failed or waits.
    pub fn message(&self) -> &str {
        text(&self.0["update"]["message"])
    }

    /// Its registration at a server of this name.
    pub fn server(&self, name: &str) -> Option<ServerView> {
        let all = self.0["registrations"].as_array()?;
        all.iter().find(|one| one["server"] == name).map(|one| ServerView(one.clone()))
    }
}

impl ServerView {
    /// `registered`, or what it is doing instead.
    pub fn state(&self) -> &str {
        text(&self.0["state"])
    }

    /// The registration id as the server gave it.
    pub fn registration(&self) -> &str {
        text(&self.0["registration_id"])
    }

    /// Lifetime in seconds.
    pub fn lifetime(&self) -> u64 {
        self.0["lifetime_s"].as_u64().unwrap_or_default()
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
