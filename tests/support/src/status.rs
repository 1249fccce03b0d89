//! What `nuncio devices --json` and `nuncio status --json` say, by name: the one place that knows their fields.

use serde_json::Value;

/// One device of `nuncio status --json`.
#[derive(Debug, Clone)]
pub struct DeviceView(pub Value);

/// One server of a device.
#[derive(Debug, Clone)]
pub struct ServerView(pub Value);

impl DeviceView {
    /// All devices of an answer.
    pub(crate) fn all(answer: &Value) -> Vec<Self> {
        let devices = answer["devices"].as_array().or_else(|| answer.as_array());
        devices.into_iter().flatten().map(|device| Self(device.clone())).collect()
    }

    /// Its name.
    pub fn id(&self) -> &str {
        self.text("id")
    }

    /// Its endpoint name.
    pub fn endpoint(&self) -> &str {
        self.text("endpoint")
    }

    /// Its board, empty while unknown.
    pub fn board(&self) -> &str {
        self.text("board")
    }

    /// The version that was read from it, empty while none was.
    pub fn version(&self) -> &str {
        self.0["version"]["text"].as_str().unwrap_or_default()
    }

    /// 5/0/3 by name: `idle`, `downloading`, `downloaded`, `updating`.
    pub fn firmware_state(&self) -> &str {
        self.0["update"]["state"].as_str().unwrap_or_default()
    }

    /// 5/0/5 by name.
    pub fn firmware_result(&self) -> &str {
        self.0["update"]["result"].as_str().unwrap_or_default()
    }

    /// Why the last update failed, or why the device cannot be updated.
    pub fn reason(&self) -> &str {
        let update = self.0["update"]["reason"].as_str();
        update.or_else(|| self.0["not_updatable"].as_str()).unwrap_or_default()
    }

    /// Its session at a server of this name.
    pub fn server(&self, name: &str) -> Option<ServerView> {
        let servers = self.0["servers"].as_array()?;
        servers.iter().find(|server| server["name"] == name).map(|server| ServerView(server.clone()))
    }

    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }
}

impl ServerView {
    /// `registered`, or what it is doing instead.
    pub fn state(&self) -> &str {
        self.0["state"].as_str().unwrap_or_default()
    }

    /// The registration id: the last part of the location.
    pub fn registration(&self) -> &str {
        self.0["location"].as_str().unwrap_or_default().rsplit('/').next().unwrap_or_default()
    }
}
