//! `nuncio status`.

use std::time::Duration;

use nuncio::control::{
    Client, DeviceStatus, GatewayStatus, RegistrationState, RegistrationStatus, Status, UpdateStatus, WayBackStatus,
};
use nuncio::device::{Access, FirmwareState, GoodOrigin, UpdateResult};

use super::code;
use super::output::{or_dash, print, print_json, table, word};

/// Where the values of a device's block begin, in columns.
const INDENT: usize = 14;

pub(crate) async fn status(client: Client, device: Option<String>, json: bool) -> anyhow::Result<u8> {
    let status = client.status(device.as_deref()).await?;
    if json {
        print_json("status/1", &status)?;
    } else {
        print(&rendered(&status, device.is_some()));
    }
    Ok(code::OK)
}

fn rendered(status: &Status, one_device: bool) -> String {
    let mut parts = Vec::new();
    if !one_device {
        parts.push(gateway(&status.gateway));
        parts.push(servers(status));
        if status.devices.is_empty() {
            parts.push("No device is there.".to_owned());
        }
    }
    parts.extend(status.devices.iter().map(device));
    parts.join("\n\n")
}

fn gateway(gateway: &GatewayStatus) -> String {
    let started = time(gateway.started);
    let config = gateway.config.as_ref().map_or_else(|| "the defaults".to_owned(), |file| file.display().to_string());
    let mut lines = vec![
        format!("Gateway {}: nuncio {}, pid {}, up since {started}", gateway.name, gateway.version, gateway.pid),
        format!("Configuration {config}, state in {}", gateway.state.display()),
    ];
    if let Some(endpoint) = &gateway.endpoint {
        let servers = gateway.registrations.iter().map(|one| format!("{}: {}", one.server, registered(one)));
        lines.push(format!("Endpoint {endpoint}; {}", servers.collect::<Vec<_>>().join("; ")));
    }
    lines.extend(gateway.notes.iter().map(|note| format!("Note: {note}")));
    lines.join("\n")
}

fn servers(status: &Status) -> String {
    if status.servers.is_empty() {
        return "No server is configured.".to_owned();
    }
    let rows = status.servers.iter().map(|server| {
        let registered = format!("{}/{}", server.registered, server.devices);
        let error = or_dash(server.last_error.as_deref());
        [server.name.clone(), server.short_id.to_string(), server.uri.clone(), registered, error]
    });
    table(["SERVER", "ID", "URI", "DEVICES", "LAST ERROR"], rows)
}

fn device(device: &DeviceStatus) -> String {
    let mut block = Block(vec![format!("{} ({} at {})", device.id, device.board, device.link)]);
    block.line("endpoint", &device.endpoint);
    if !device.present {
        block.line("link", "gone");
    } else if device.access != Access::Usable {
        block.line("link", &access_sentence(&device.access));
    }
    if let Some(user) = &device.in_use_by {
        block.line("in use by", user);
    }
    let version = device.version.as_ref().map(|version| format!("{} (told by {})", version.text, version.source));
    block.line("version", version.as_deref().unwrap_or("not known"));
    for registration in &device.registrations {
        block.line(&registration.server, &registered(registration));
    }
    block.line("update", &long_update(&device.update));
    if let Some(message) = &device.update.message {
        block.line("", message);
    }
    if let Some(reason) = &device.quarantined {
        block.line("quarantine", reason);
    }
    if let Some(good) = &device.way_back {
        block.line("way back", &way_back(good));
    }
    if let Some(reason) = &device.not_updatable {
        block.line("not updatable", reason);
    }
    block.0.join("\n")
}

fn way_back(good: &WayBackStatus) -> String {
    let version = good.version.as_ref().map_or_else(|| "version unknown".to_owned(), |text| format!("version {text}"));
    let origin = match good.origin {
        GoodOrigin::Proven => "proven here",
        GoodOrigin::Saved => "read from the board before its first flash",
    };
    format!("{version}, {origin} {}, {} bytes", time(good.since), good.size)
}

struct Block(Vec<String>);

impl Block {
    fn line(&mut self, name: &str, value: &str) {
        self.0.push(format!("  {name:INDENT$} {value}").trim_end().to_owned());
    }
}

fn registered(registration: &RegistrationStatus) -> String {
    let mut parts = vec![word(&registration.state)];
    if registration.state == RegistrationState::Registered {
        parts.extend(registration.registration_id.as_ref().map(|id| format!("id {id}")));
        parts.push(format!("lifetime {}", span(registration.lifetime_s)));
        parts.extend(registration.expires_in_s.map(|left| format!("{} left", span(left))));
    }
    parts.extend(registration.retry_in_s.map(|wait| format!("next try in {}", span(wait))));
    let line = parts.join(", ");
    registration.last_error.as_ref().map_or(line.clone(), |error| format!("{line}: {error}"))
}

/// One or two words for a table.
pub(crate) fn short_update(update: &UpdateStatus) -> String {
    match (update.state, update.result) {
        (FirmwareState::Idle, UpdateResult::Initial) => "-".to_owned(),
        (FirmwareState::Idle, UpdateResult::Success) => "proven".to_owned(),
        (FirmwareState::Idle | FirmwareState::Downloaded, result) if is_failure(result) => word(&result),
        (state, _) => match update.percent {
            Some(percent) => format!("{} {percent} %", word(&state)),
            None => word(&state),
        },
    }
}

fn is_failure(result: UpdateResult) -> bool {
    !matches!(result, UpdateResult::Initial | UpdateResult::Success)
}

fn long_update(update: &UpdateStatus) -> String {
    let number = |value: u8| format!("({value})");
    let mut parts = vec![
        format!("{} {}", word(&update.state), number(update.state as u8)),
        format!("result {} {}", word(&update.result), number(update.result as u8)),
    ];
    let progress = update.phase.map(|phase| word(&phase));
    parts.extend(match (progress, update.percent) {
        (Some(phase), Some(percent)) => Some(format!("{phase} {percent} %")),
        (None, Some(percent)) => Some(format!("{percent} %")),
        (phase, None) => phase,
    });
    parts.extend(update.expected_version.as_ref().map(|version| format!("to version {version}")));
    parts.extend(update.requester.as_ref().map(|requester| format!("asked by {requester}")));
    parts.extend(update.changed.map(|changed| format!("since {}", time(changed))));
    parts.join(", ")
}

/// One or two words for a table.
pub(crate) fn access_word(access: &Access) -> String {
    match access {
        Access::Usable => "usable",
        Access::Busy { .. } => "port busy",
        Access::NotPermitted { .. } => "not permitted",
        Access::Denied => "denied",
        Access::Absent => "not there",
    }
    .to_owned()
}

fn access_sentence(access: &Access) -> String {
    match access {
        Access::Usable => "usable".to_owned(),
        Access::Busy { holder, remedy } => format!("busy: held by {holder}; {remedy}"),
        Access::NotPermitted { permissions, remedy } => format!("not permitted ({permissions}); {remedy}"),
        Access::Denied => "denied by the configuration".to_owned(),
        Access::Absent => "not there".to_owned(),
    }
}

fn span(seconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// Local time to the second.
pub(crate) fn time(unix: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_second(unix) else { return unix.to_string() };
    time.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_is_told_in_two_words() {
        let update = |state, result, percent| UpdateStatus { state, result, percent, ..UpdateStatus::default() };
        let told = |state, result, percent| short_update(&update(state, result, percent));
        assert_eq!(told(FirmwareState::Idle, UpdateResult::Initial, None), "-");
        assert_eq!(told(FirmwareState::Idle, UpdateResult::Success, None), "proven");
        assert_eq!(told(FirmwareState::Idle, UpdateResult::IntegrityFailure, None), "integrity failure");
        assert_eq!(told(FirmwareState::Downloaded, UpdateResult::Failed, None), "failed");
        assert_eq!(told(FirmwareState::Updating, UpdateResult::Initial, Some(40)), "updating 40 %");
    }

    #[test]
    fn a_registration_is_told_with_its_id_and_what_is_left() {
        let registration = RegistrationStatus {
            server: "factory".into(),
            short_id: 123,
            state: RegistrationState::Registered,
            registration_id: Some("5a3f".into()),
            lifetime_s: 30,
            expires_in_s: Some(12),
            retry_in_s: None,
            last_error: None,
        };
        assert_eq!(registered(&registration), "registered, id 5a3f, lifetime 30s, 12s left");
        let waiting = RegistrationStatus {
            state: RegistrationState::Waiting,
            retry_in_s: Some(8),
            last_error: Some("no answer".into()),
            ..registration
        };
        assert_eq!(registered(&waiting), "waiting, next try in 8s: no answer");
    }
}
