//! `nuncio events`.

use nuncio::control::{Client, Heard, News, Told};
use nuncio::device::UpdateEvent;

use super::code;
use super::output::{document, print, print_aside, word};
use super::status::time;

/// Prints until Ctrl-C, or until the daemon ends.
pub(crate) async fn events(client: Client, device: Option<String>, json: bool) -> anyhow::Result<u8> {
    let mut news = client.follow().await?;
    let follow = async {
        loop {
            match news.next().await? {
                Heard::Missed(pieces) => print_aside(&format!("{pieces} events came too fast and are lost")),
                Heard::Told(told) if !wants(&told, device.as_deref()) => {}
                Heard::Told(told) if json => print(&document("event/1", &*told, false)?),
                Heard::Told(told) => tell(&told),
            }
        }
    };
    tokio::select! {
        ended = follow => ended,
        _ = tokio::signal::ctrl_c() => Ok(code::OK),
    }
}

fn wants(told: &Told, device: Option<&str>) -> bool {
    device.is_none_or(|device| told.news.device().is_some_and(|about| about.as_str() == device))
}

fn tell(told: &Told) {
    if let Some(text) = text(&told.news) {
        print(&format!("{}  {text}", time(told.at)));
    }
}

/// What people want to read of it.
fn text(news: &News) -> Option<String> {
    Some(match news {
        News::DeviceJoined { device, board } => format!("{device}: joined, {board}"),
        News::DeviceChanged { device } => format!("{device}: changed"),
        News::DeviceLeft { device } => format!("{device}: gone"),
        News::DeviceForgotten { device, .. } => format!("{device}: forgotten"),
        News::Registration { device, server, registered: true } => format!("{device}: registered at {server}"),
        News::Registration { device, server, registered: false } => format!("{device}: not registered at {server}"),
        News::Firmware { device, state, result } => {
            format!("{device}: firmware {}, result {}", word(state), word(result))
        }
        News::Update { what: UpdateEvent::ToolSaid { .. } | UpdateEvent::ToolPrinted { .. }, .. } => return None,
        News::Update { device, what, .. } => format!("{device}: {}", event(what)),
        News::PointsChanged { .. } | News::LinksChanged => return None,
    })
}

/// The event's name, and what goes with it in a few words.
fn event(event: &UpdateEvent) -> String {
    let json = serde_json::to_value(event).unwrap_or_default();
    let name = json.get("event").and_then(|name| name.as_str()).unwrap_or("update").replace('-', " ");
    let detail = ["percent", "reason", "version", "tool"].into_iter().find_map(|key| match json.get(key)? {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(format!("{number} %")),
        serde_json::Value::Object(version) => version.get("text").and_then(|text| text.as_str()).map(str::to_owned),
        _ => None,
    });
    detail.map_or(name.clone(), |detail| format!("{name}: {detail}"))
}
