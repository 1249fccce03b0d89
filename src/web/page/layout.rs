//! What all pages share: the frame, and how single things are written.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{DOCTYPE, Markup, html};

use crate::control::{DeviceStatus, RegistrationState};
use crate::device::{FirmwareState, UpdateOutcome};
use crate::web::access::Caller;

/// The places of the menu.
const MENU: [(&str, &str); 3] = [("/", "Devices"), ("/history", "History"), ("/gateway", "Gateway")];

/// A whole page around its main part; `here`: the path in the menu.
pub(super) fn whole(title: &str, here: Option<&str>, caller: Option<&Caller>, main: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Nuncio" }
                link rel="icon" href="/assets/nuncio.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/nuncio.css";
                script src="/assets/nuncio.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                @if let Some(caller) = caller {
                    header {
                        a.brand href="/" { "Nuncio" }
                        nav aria-label="Main" {
                            @for (path, name) in MENU {
                                a href=(path) aria-current=[(here == Some(path)).then_some("page")] { (name) }
                            }
                        }
                        @if caller.name.is_some() {
                            form.logout method="post" action="/logout" { button.quiet { "Log out" } }
                        }
                    }
                }
                main id="main" tabindex="-1" { (main) }
                p.live role="status" aria-live="polite" id="said" {}
            }
        }
    }
}

/// A moment, in the gateway's own time.
pub(super) fn time(unix: i64) -> Markup {
    let Ok(at) = Timestamp::from_second(unix) else { return html! { "-" } };
    let shown = at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string();
    html! { time datetime=(at.to_string()) { (shown) } }
}

/// `-` for what is not known.
pub(super) fn or_dash(text: Option<&str>) -> Markup {
    match text.filter(|text| !text.is_empty()) {
        Some(text) => html! { (text) },
        None => html! { span.unknown title="not known" { "–" } },
    }
}

/// A word in a colour, which is never the only thing that tells.
pub(super) fn badge(kind: &str, text: &str) -> Markup {
    html! { span class={ "badge " (kind) } { (text) } }
}

pub(super) fn presence(device: &DeviceStatus) -> Markup {
    match (&device.quarantined, device.present) {
        (Some(_), _) => badge("bad", "quarantine"),
        (None, true) => badge("good", "here"),
        (None, false) => badge("off", "away"),
    }
}

pub(super) fn registration(state: RegistrationState) -> Markup {
    match state {
        RegistrationState::Registered => badge("good", "registered"),
        RegistrationState::Registering => badge("busy", "registering"),
        RegistrationState::Waiting => badge("bad", "tries again"),
        RegistrationState::Idle => badge("off", "not yet"),
        RegistrationState::Deregistering | RegistrationState::Deregistered => badge("off", "left"),
    }
}

/// How an update goes, in one line, with a bar while it moves.
pub(super) fn progress(device: &DeviceStatus) -> Markup {
    let update = &device.update;
    let word = match update.state {
        FirmwareState::Idle => return html! {},
        FirmwareState::Downloading => "downloading",
        FirmwareState::Downloaded => "image is ready",
        FirmwareState::Updating => update.phase.map_or("updating", phase),
    };
    html! {
        span.progress data-progress=(device.id) {
            span.what { (word) }
            @if matches!(update.state, FirmwareState::Downloading | FirmwareState::Updating) {
                progress max="100" value=[update.percent] aria-label={ "Update of " (device.id) } {}
                // Empty at first: what comes live is written into it.
                span.percent { @if let Some(percent) = update.percent { (percent) " %" } }
            }
        }
    }
}

fn phase(phase: crate::device::Phase) -> &'static str {
    use crate::device::Phase;
    match phase {
        Phase::Prepare => "preparing",
        Phase::Write => "writing",
        Phase::Verify => "verifying",
    }
}

pub(super) fn outcome(outcome: UpdateOutcome) -> Markup {
    let kind = match outcome {
        UpdateOutcome::Proven => "good",
        UpdateOutcome::UnderWay => "busy",
        UpdateOutcome::Dropped => "off",
        UpdateOutcome::Failed | UpdateOutcome::Refused | UpdateOutcome::Lost | UpdateOutcome::RolledBack => "bad",
    };
    badge(kind, &outcome.as_str().replace('-', " "))
}

/// A duration from milliseconds, as people say it.
pub(super) fn took(milliseconds: Option<u64>) -> Markup {
    match milliseconds {
        Some(milliseconds) => html! { (format!("{:.1} s", milliseconds as f64 / 1000.0)) },
        None => or_dash(None),
    }
}
