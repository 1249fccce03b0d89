//! What operators see, made from what the rooms know.

use std::collections::HashMap;
use std::path::PathBuf;

use super::Gateway;
use crate::boards::{self, DeviceEntry, KeptOut};
use crate::control::{
    DeviceStatus, GatewayStatus, LinkStatus, RegistrationState, RegistrationStatus, ServerStatus, WayBackStatus,
    WhatWhy, Why, WhyStep, WhyVerdict,
};
use crate::device::{Access, Brake, DeviceId, DeviceInfo, Evidence, GoodImage, Link, LinkReport};
use crate::proxy::{self, ServerSettings, SessionStatus};

impl Gateway {
    pub(super) fn collect<'a>(&self, infos: impl Iterator<Item = &'a DeviceInfo>) -> Vec<DeviceStatus> {
        let access: HashMap<&Link, &Access> =
            self.registry.links().map(|(report, _)| (&report.link, &report.access)).collect();
        infos.map(|info| self.device_status(info, access.get(&info.link).copied())).collect()
    }

    fn device_status(&self, info: &DeviceInfo, access: Option<&Access>) -> DeviceStatus {
        DeviceStatus {
            id: info.id.clone(),
            endpoint: info.endpoint.clone(),
            identity: info.identity.clone(),
            link: info.link.clone(),
            board: info.board.clone(),
            sureness: self.registry.sureness(&info.id),
            present: self.registry.present(&info.id),
            access: access.cloned().unwrap_or(Access::Usable),
            in_use_by: self.leases.holder(&info.link),
            version: info.version.clone(),
            not_updatable: info.not_updatable.clone(),
            quarantined: info.quarantined.clone(),
            way_back: self.ledger.way_back(&info.id),
            registrations: registrations(self.proxy.sessions(&info.id)),
            update: self.ledger.status(&info.id),
        }
    }

    pub(super) fn links(&self) -> Vec<LinkStatus> {
        let unused =
            self.registry.links().filter(|(report, device)| device.is_none() || report.access != Access::Usable);
        let absent = self.absent().map(|device| LinkStatus {
            link: device.link.clone(),
            access: Access::Absent,
            seen: None,
            note: Some(format!("configured as {}", device.name)),
            approvable: false,
        });
        let shown = unused.filter(|(report, device)| device.is_some() || self.is_of_use(&report.link));
        let link = |(report, device): (&LinkReport, Option<&DeviceId>)| {
            link(report, device.is_some(), self.registry.kept_out(&report.link))
        };
        shown.map(link).chain(absent).collect()
    }

    /// Whether operators want to read of a link without a device: not of what strangers announce, nor of a further way to a
    /// device that is here.
    fn is_of_use(&self, link: &Link) -> bool {
        let announced = matches!(link, Link::Service(_) | Link::Ble(_) | Link::Discovered(_));
        !announced || (self.registry.kept_out(link).is_some() && !self.registry.is_double(link))
    }

    /// `[[device]]` entries whose link is not there.
    pub(super) fn absent(&self) -> impl Iterator<Item = &DeviceEntry> {
        self.config.devices.iter().filter(|device| !self.registry.has_link(&device.link))
    }

    pub(super) fn gateway_status(&self) -> GatewayStatus {
        GatewayStatus {
            name: self.config.gateway.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: self.started,
            state: self.config.gateway.state.clone(),
            config: self.config.file().map(PathBuf::from),
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            notes: self.notes.iter().chain(self.obstacles.values()).cloned().collect(),
            endpoint: self.own.as_ref().map(|own| own.info().endpoint.clone()),
            registrations: registrations(self.proxy.own_sessions()),
        }
    }
}

/// A link without a device, or one that cannot be used.
fn link(report: &LinkReport, is_device: bool, kept_out: Option<KeptOut>) -> LinkStatus {
    let note = match (&report.access, is_device) {
        (Access::Usable, false) => Some(format!(
            "board unknown: name it in a [[device]], or let the gateway ask ([serial] questions); `nuncio why {}` tells more",
            report.link
        )),
        (Access::Denied, _) => Some("`[serial] deny` forbids opening it".to_owned()),
        // What else is wrong says its own remedy.
        (Access::Busy { .. } | Access::NotPermitted { .. }, _) | (Access::Usable, true) => None,
        (Access::Absent, _) => None,
    };
    let approvable = kept_out.is_some_and(KeptOut::yields_to_approval);
    let note = kept_out.map(|reason| reason.remark(&report.link)).or(note);
    let seen: Vec<String> = report.evidence.iter().map(describe).collect();
    let seen = (!seen.is_empty()).then(|| seen.join(", "));
    LinkStatus { link: report.link.clone(), access: report.access.clone(), seen, note, approvable }
}

fn describe(evidence: &Evidence) -> String {
    match evidence {
        Evidence::Usb(usb) => {
            let product = usb.product.as_ref().map(|product| format!(" \"{product}\"")).unwrap_or_default();
            format!("USB {:04x}:{:04x}{product} at {}", usb.vid, usb.pid, usb.path)
        }
        Evidence::Service(service) => {
            let addresses = service.addresses.join(", ");
            format!("{} at {addresses} port {}", service.host, service.port)
        }
        Evidence::Ble(seen) => match &seen.name {
            Some(name) => format!("Bluetooth \"{name}\""),
            None => "Bluetooth, without a name".to_owned(),
        },
        Evidence::Gatt { .. } => "tells of itself by Bluetooth".to_owned(),
        Evidence::Esphome { .. } => "tells of itself by ESPHome's native API".to_owned(),
        Evidence::Http { .. } => "tells of itself by HTTP".to_owned(),
        Evidence::Connected => "answers a connect".to_owned(),
        Evidence::Firmata { name, major, minor, .. } => format!("Firmata {name} {major}.{minor}"),
        Evidence::Banner { line, .. } => format!("says \"{line}\""),
        Evidence::Improv { firmware, version, chip, .. } => format!("{firmware} {version} on {chip}"),
        Evidence::Smp { info, .. } => format!("SMP server {}", info.as_deref().unwrap_or_default()),
        Evidence::At { values } => format!("answers \"{}\"", values.values().next().map_or("", String::as_str)),
        Evidence::Discovered { by, protocol, label, .. } => format!("{label}, {protocol} by {by}"),
        Evidence::Said { text } => format!("says \"{text}\""),
        Evidence::Signature { protocol, bytes: [a, b, c], .. } => {
            format!("{protocol} signature {a:02x} {b:02x} {c:02x}")
        }
        Evidence::EspChip { chip, .. } => chip.clone(),
    }
}

fn registrations(sessions: Vec<SessionStatus>) -> Vec<RegistrationStatus> {
    sessions.into_iter().map(registration).collect()
}

fn registration(session: SessionStatus) -> RegistrationStatus {
    let state = state(session.state);
    let segments = session.location.as_deref().map(|location| location.trim_start_matches('/').split('/').collect());
    let registration_id = segments.map(|segments: Vec<&str>| match segments.split_first() {
        Some((_, rest)) if !rest.is_empty() => rest.join("/"),
        _ => segments.join("/"),
    });
    RegistrationStatus {
        server: session.server,
        short_id: session.short_id,
        state,
        registration_id,
        lifetime_s: session.lifetime_s.into(),
        expires_in_s: session.expires_in_s,
        retry_in_s: session.next_attempt_in_s.filter(|_| state == RegistrationState::Waiting),
        last_error: session.last_error,
    }
}

fn state(state: proxy::RegistrationState) -> RegistrationState {
    match state {
        proxy::RegistrationState::Connecting => RegistrationState::Idle,
        proxy::RegistrationState::Registering => RegistrationState::Registering,
        proxy::RegistrationState::Registered | proxy::RegistrationState::Updating => RegistrationState::Registered,
        proxy::RegistrationState::Deregistering => RegistrationState::Deregistering,
        proxy::RegistrationState::Waiting | proxy::RegistrationState::Disabled => RegistrationState::Waiting,
        proxy::RegistrationState::Ended => RegistrationState::Deregistered,
    }
}

/// What a device can go back to, in the words of the control API.
pub(super) fn way_back(good: GoodImage) -> WayBackStatus {
    let GoodImage { image, origin, at } = good;
    WayBackStatus { version: image.version, sha256: image.sha256, size: image.size, origin, since: at }
}

/// What is to be said of brakes, where any hold.
pub(super) fn brakes(brakes: &[Brake]) -> Option<String> {
    let mut boards: Vec<&str> = brakes.iter().filter(|brake| brake.on).map(|brake| brake.board.as_str()).collect();
    boards.dedup();
    let named = boards.join(", ");
    (!boards.is_empty())
        .then(|| format!("images are held back from boards of type {named}: `nuncio brake` tells which, and why"))
}

/// A server with how many of the devices it knows.
pub(super) fn server(settings: &ServerSettings, devices: &[DeviceStatus]) -> ServerStatus {
    let sessions: Vec<&RegistrationStatus> = devices
        .iter()
        .flat_map(|device| &device.registrations)
        .filter(|registration| registration.short_id == settings.short_id)
        .collect();
    ServerStatus {
        name: settings.name.clone(),
        uri: settings.uri.clone(),
        short_id: settings.short_id,
        registered: sessions.iter().filter(|session| session.state == RegistrationState::Registered).count(),
        devices: devices.len(),
        last_error: sessions.iter().find_map(|session| session.last_error.clone()),
    }
}

/// The registry's explanation in the words of the control API.
pub(super) fn why(why: boards::Why) -> Why {
    let step = |step: boards::WhyStep| WhyStep {
        what: step.what,
        verdict: match step.verdict {
            boards::Verdict::Matched => WhyVerdict::Matched,
            boards::Verdict::Excluded => WhyVerdict::Excluded,
            boards::Verdict::Asked => WhyVerdict::Asked,
            boards::Verdict::NotAsked => WhyVerdict::NotAsked,
            boards::Verdict::Noted => WhyVerdict::Noted,
            boards::Verdict::Contradicts => WhyVerdict::Contradicts,
        },
        detail: step.detail,
    };
    Why {
        subject: WhatWhy { device: why.device, link: why.link },
        board: why.board,
        identity: why.identity,
        sureness: Some(why.sureness.to_string()),
        steps: why.steps.into_iter().map(step).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_rule_of_joining_keeps_out_can_be_approved() {
        let port = Link::Serial("/dev/ttyUSB0".into());
        let report =
            LinkReport { link: port, aliases: Vec::new(), access: Access::Usable, evidence: Vec::new(), signal: None };
        for (kept_out, approvable) in [
            (None, false),
            (Some(KeptOut::Denied), false),
            (Some(KeptOut::Unapproved), true),
            (Some(KeptOut::NotAllowed), true),
            (Some(KeptOut::Forgotten), true),
        ] {
            let shown = link(&report, false, kept_out);
            assert_eq!(shown.approvable, approvable, "{kept_out:?}");
            assert_eq!(shown.note.is_some_and(|note| note.contains("board unknown")), kept_out.is_none());
        }
    }
}
