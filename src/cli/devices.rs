//! `nuncio devices`.

use nuncio::control::{Client, DeviceList, DeviceStatus, LinkStatus, RegistrationState};
use nuncio::device::{Access, FirmwareState};

use super::output::{or_dash, print, print_json, table, word};
use super::{code, status};

/// Prints them as `nuncio devices` does.
pub(super) fn render(list: &DeviceList) {
    print(&rendered(list));
}

/// Whether every server knows it, and there is one.
pub(super) fn is_registered(device: &DeviceStatus) -> bool {
    let all = device.registrations.iter().all(|one| one.state == RegistrationState::Registered);
    all && !device.registrations.is_empty()
}

pub(crate) async fn devices(client: Client, json: bool) -> anyhow::Result<u8> {
    let list = client.devices().await?;
    if json {
        print_json("devices/1", &list)?;
    } else {
        print(&rendered(&list));
    }
    Ok(code::OK)
}

fn rendered(list: &DeviceList) -> String {
    let mut parts = Vec::new();
    if list.devices.is_empty() {
        parts.push("No device is there.".to_owned());
    } else {
        let header = ["NAME", "BOARD", "VERSION", "LINK", "SERVERS", "UPDATE"];
        parts.push(table(header, list.devices.iter().map(row)));
    }
    if !list.links.is_empty() {
        let rows = list.links.iter().map(|link| [link.link.to_string(), seen(link), remark(link)]);
        parts.push(table(["NO DEVICE", "SEEN", "REMARK"], rows));
    }
    parts.join("\n\n")
}

fn row(device: &DeviceStatus) -> [String; 6] {
    let registered = device.registrations.iter().filter(|one| one.state == RegistrationState::Registered).count();
    [
        device.id.to_string(),
        device.board.to_string(),
        or_dash(device.version.as_ref().map(|version| version.text.as_str())),
        device.link.to_string(),
        format!("{registered}/{}", device.registrations.len()),
        update(device),
    ]
}

fn update(device: &DeviceStatus) -> String {
    match (&device.access, &device.update.state) {
        _ if !device.present => "device is gone".to_owned(),
        (Access::Usable, FirmwareState::Idle) if device.not_updatable.is_some() => "not updatable".to_owned(),
        (Access::Usable, _) => status::short_update(&device.update),
        (access, FirmwareState::Idle) => status::access_word(access),
        _ => status::short_update(&device.update),
    }
}

fn seen(link: &LinkStatus) -> String {
    or_dash(link.seen.as_deref())
}

fn remark(link: &LinkStatus) -> String {
    let access = match &link.access {
        Access::Usable => None,
        Access::Busy { holder, remedy } => Some(format!("busy: held by {holder}; {remedy}")),
        Access::NotPermitted { permissions, remedy } => Some(format!("not permitted ({permissions}); {remedy}")),
        access @ Access::Denied => Some(word(access)),
        Access::Absent => Some("not there".to_owned()),
    };
    let denied = matches!(link.access, Access::Denied).then(|| "denied by the configuration".to_owned());
    let parts = [denied.or(access), link.note.clone()];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
    or_dash(Some(&text))
}
