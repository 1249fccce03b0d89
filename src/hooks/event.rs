//! An event as hooks get it: `docs/schema/hook-1.json`, and a variable for each of its fields.

use serde::Serialize;

use super::settings::HookEvent;
use crate::control::{News, Told};
use crate::device::{BoardId, DeviceId, Sha256Digest, UpdateEvent, UpdateId, plain_text};

/// Longest value of a variable, in characters.
const VARIABLE_MAX: usize = 1024;

/// What has happened.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Event {
    schema: &'static str,
    pub(super) event: HookEvent,
    /// `[gateway] name`.
    gateway: String,
    /// One more than the last one's of all news; begins anew with the gateway.
    pub(super) number: u64,
    /// Seconds since 1970.
    at: i64,
    pub(super) device: DeviceId,
    board: Option<BoardId>,
    server: Option<String>,
    update: Option<UpdateId>,
    version: Option<String>,
    image_sha256: Option<Sha256Digest>,
    tool: Option<String>,
    reason: Option<String>,
}

impl Event {
    /// Of a piece of news; `None` for what no hook is called on.
    pub(super) fn of(told: &Told, gateway: &str) -> Option<Self> {
        let device = told.news.device()?.clone();
        let mut it = Self {
            schema: "hook/1",
            event: HookEvent::DeviceChanged,
            gateway: gateway.to_owned(),
            number: told.number,
            at: told.at,
            device,
            board: None,
            server: None,
            update: None,
            version: None,
            image_sha256: None,
            tool: None,
            reason: None,
        };
        it.event = match &told.news {
            News::DeviceJoined { board, .. } => {
                it.board = Some(board.clone());
                HookEvent::DeviceJoined
            }
            News::DeviceChanged { .. } => HookEvent::DeviceChanged,
            News::DeviceLeft { .. } => HookEvent::DeviceLeft,
            News::DeviceForgotten { .. } => HookEvent::DeviceForgotten,
            News::Registration { server, registered, .. } => {
                it.server = Some(server.clone());
                if *registered { HookEvent::Registered } else { HookEvent::Deregistered }
            }
            News::Update { update, what, .. } => {
                it.update = Some(*update);
                it.of_update(what)?
            }
            News::Firmware { .. } | News::PointsChanged { .. } | News::LinksChanged => return None,
        };
        Some(it)
    }

    fn of_update(&mut self, what: &UpdateEvent) -> Option<HookEvent> {
        Some(match what {
            UpdateEvent::ImageStaged { sha256, version, .. } => {
                (self.image_sha256, self.version) = (Some(*sha256), version.clone());
                HookEvent::ImageStaged
            }
            UpdateEvent::StagingFailed { reason } => self.because(reason, HookEvent::StagingFailed),
            UpdateEvent::Deferred { reason } => self.because(reason, HookEvent::UpdateDeferred),
            UpdateEvent::ToolStarted { tool, .. } => {
                self.tool = Some(tool.clone());
                HookEvent::ToolStarted
            }
            UpdateEvent::Retrying { reason, .. } => self.because(reason, HookEvent::UpdateRetrying),
            UpdateEvent::RollingBack { reason, version } => {
                self.version.clone_from(version);
                self.because(reason, HookEvent::RollingBack)
            }
            UpdateEvent::RolledBack { version } => {
                self.version = version.as_ref().map(|version| version.text.clone());
                HookEvent::RolledBack
            }
            UpdateEvent::Quarantined { reason } => self.because(reason, HookEvent::Quarantined),
            UpdateEvent::Proven { version } => {
                self.version = version.as_ref().map(|version| version.text.clone());
                HookEvent::UpdateProven
            }
            UpdateEvent::UpdateFailed { reason } => self.because(reason, HookEvent::UpdateFailed),
            UpdateEvent::Dropped => HookEvent::UpdateDropped,
            UpdateEvent::DownloadProgressed { .. }
            | UpdateEvent::ToolProgressed { .. }
            | UpdateEvent::ToolSaid { .. }
            | UpdateEvent::ToolPrinted { .. }
            | UpdateEvent::ToolEnded { .. }
            | UpdateEvent::Saving
            | UpdateEvent::BoardSaved { .. }
            | UpdateEvent::NotSaved { .. }
            | UpdateEvent::Proving => return None,
        })
    }

    fn because(&mut self, reason: &str, event: HookEvent) -> HookEvent {
        self.reason = Some(reason.to_owned());
        event
    }

    /// As a JSON document.
    pub(super) fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain fields are always written")
    }

    /// Its event as it is written.
    pub(super) fn name(&self) -> String {
        word(&self.event)
    }

    /// As variables of an environment: `NUNCIO_EVENT`, `NUNCIO_DEVICE` and so on; what is not known is not there.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let fields = serde_json::to_value(self).ok();
        let fields = fields.as_ref().and_then(|fields| fields.as_object()).into_iter().flatten();
        let text = |value: &serde_json::Value| match value {
            serde_json::Value::Null => None,
            serde_json::Value::String(text) => Some(plain_text(text, VARIABLE_MAX)),
            other => Some(other.to_string()),
        };
        let variable = |(name, value): (&String, &serde_json::Value)| {
            Some((format!("NUNCIO_{}", name.to_uppercase()), text(value)?))
        };
        fields.filter(|(name, _)| *name != "schema").filter_map(variable).collect()
    }
}

fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(news: News) -> Told {
        Told { number: 7, at: 1_700_000_000, news }
    }

    #[test]
    fn an_update_that_failed_says_why_in_json_and_in_variables() {
        let what = UpdateEvent::UpdateFailed { reason: "proof: it tells\n1.2".to_owned() };
        let update = UpdateId(uuid::Uuid::from_u128(1));
        let event = Event::of(&told(News::Update { device: DeviceId::new("a\0b"), update, what }), "pi").expect("one");
        let json: serde_json::Value = serde_json::from_slice(&event.json()).expect("JSON");
        assert_eq!((&json["event"], &json["gateway"]), (&"update-failed".into(), &"pi".into()));
        assert_eq!(json["reason"], "proof: it tells\n1.2");
        let variables = event.variables();
        let of = |name: &str| variables.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(of("NUNCIO_EVENT"), Some("update-failed"));
        assert_eq!((of("NUNCIO_DEVICE"), of("NUNCIO_NUMBER")), (Some("a\u{fffd}b"), Some("7")));
        assert_eq!(of("NUNCIO_REASON"), Some("proof: it tells\u{fffd}1.2"));
        assert_eq!((of("NUNCIO_VERSION"), of("NUNCIO_SCHEMA")), (None, None));
    }

    #[test]
    fn every_event_is_documented_and_no_other() {
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../docs/schema/hook-1.json")).expect("the schema is JSON");
        let documented: Vec<HookEvent> =
            serde_json::from_value(schema["properties"]["event"]["enum"].clone()).expect("each of them is an event");
        // The last one in the order of the type: all that come before it are there, too.
        assert_eq!(documented.len(), HookEvent::Quarantined as usize + 1);
        let written = include_str!("../../config/nuncio.toml");
        let comment = written.split("# The events:").nth(1).and_then(|rest| rest.split("# [[hook]]").next());
        let words = comment.expect("the events are listed").replace(['#', '.', ',', '\n'], " ");
        let listed: Vec<&str> = words.split_whitespace().collect();
        assert_eq!(listed, documented.iter().map(word).collect::<Vec<_>>());
    }

    #[test]
    fn progress_and_values_call_nobody() {
        let update = UpdateId(uuid::Uuid::from_u128(1));
        let device = DeviceId::new("d");
        for news in [
            News::LinksChanged,
            News::PointsChanged { device: device.clone() },
            News::Update { device, update, what: UpdateEvent::Proving },
        ] {
            assert!(Event::of(&told(news), "pi").is_none());
        }
    }
}
