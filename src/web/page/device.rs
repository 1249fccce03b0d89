//! One device.

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::{badge, or_dash, presence, progress, registration, time, whole};
use super::reading::reading;
use super::{problem, update};
use crate::control::{
    ControlRequest, DeviceStatus, Failure, FailureCode, HistoryList, Points, RegistrationStatus, Why, WhyVerdict,
};
use crate::device::{FirmwareState, Requester, ShownPoint};
use crate::web::Context;
use crate::web::access::Caller;
use crate::web::api::{Named, device_status};

/// Updates shown with a device.
const LAST: u32 = 10;

pub(super) async fn page(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Named(device): Named<String>,
) -> Response {
    match parts(&context, &caller, device).await {
        Ok((title, main)) => whole(&title, Some(""), Some(&caller), &main).into_response(),
        Err(failure) => problem(&failure.into(), Some(&caller)),
    }
}

async fn parts(context: &Context, caller: &Caller, word: String) -> Result<(String, Markup), Failure> {
    let door = &context.0.door;
    let device = device_status(context, word).await?;
    let name = device.id.to_string();
    let asked = name.clone();
    let why = door.ask(|reply| ControlRequest::Why { device: asked, reply }).await?;
    let asked = name.clone();
    let points = door.ask(|reply| ControlRequest::Points { device: asked, reply }).await?;
    let asked = Some(name.clone());
    let history =
        door.ask(|reply| ControlRequest::History { device: asked, failed: false, limit: Some(LAST), reply }).await?;
    let main = html! {
        div data-device=(device.id) {
            h1 { (device.id) }
            div id="live-head" data-live { (head(&device)) }
            section aria-labelledby="firmware" {
                h2 id="firmware" { "Firmware" }
                div id="live-firmware" data-live { (firmware(&device)) }
                @if caller.is_operator() { (flash(&device)) }
                details { summary { "Log of the update" } pre.log id="log" role="log" tabindex="0" aria-label="Log of the update" {} }
            }
            div id="live-rest" data-live {
                (servers(&device.registrations))
                (objects(&device, &points))
                (evidence(&why))
                (past(&history))
            }
            @if caller.is_operator() { (orders(&device)) }
        }
    };
    Ok((name, main))
}

fn head(device: &DeviceStatus) -> Markup {
    html! {
        p { (presence(device)) " " @if let Some(user) = &device.in_use_by { (badge("busy", user)) } }
        @if let Some(reason) = &device.quarantined { p.problem { (reason) } }
        dl.facts {
            div { dt { "Board" } dd { (device.board) } }
            div { dt { "Link" } dd { code { (device.link) } } }
            div { dt { "Endpoint" } dd { code { (device.endpoint) } } }
            div { dt { "Recognised by" } dd { (device.identity.in_words()) } }
        }
    }
}

fn firmware(device: &DeviceStatus) -> Markup {
    let update = &device.update;
    html! {
        dl.facts {
            div {
                dt { "Runs" }
                dd {
                    (or_dash(device.version.as_ref().map(|version| version.text.as_str())))
                    @if let Some(version) = &device.version { span.hint { " as it told: " (version.source) } }
                }
            }
            @if update.state != FirmwareState::Idle {
                div { dt { "Update" } dd { (progress(device)) } }
                div { dt { "Asked for by" } dd { (or_dash(update.requester.as_ref().map(Requester::to_string).as_deref())) } }
                div { dt { "Will be" } dd { (or_dash(update.expected_version.as_deref())) } }
            }
            @if let Some(uri) = &update.uri { div { dt { "From" } dd { code { (uri) } } } }
            @if let Some(way_back) = &device.way_back {
                div {
                    dt { "Way back" }
                    dd { (way_back.version.as_deref().unwrap_or("an image without a version")) span.hint { " of " (time(way_back.since)) } }
                }
            }
        }
        @if let Some(message) = &update.message { p.problem { (message) } }
        @if let Some(reason) = &device.not_updatable { p.hint { "No server can update it: " (reason) } }
    }
}

/// The form that a file is dropped on.
fn flash(device: &DeviceStatus) -> Markup {
    html! {
        @if device.not_updatable.is_none() {
            form.drop id="flash" method="post" action={ "/devices/" (device.id) "/flash" } enctype="multipart/form-data" data-drop {
                p { label for="image" { "New firmware: drop a file here, or choose one" } }
                input type="file" id="image" name="image" required;
                details {
                    summary { "More" }
                    p { label for="signature" { "Signature (.minisig)" } " " input type="file" id="signature" name="signature"; }
                    p { label for="version" { "Version that it must report" } " " input type="text" id="version" name="version" maxlength="64" autocomplete="off"; }
                    p { label { input type="checkbox" name="now"; " Begin also outside the maintenance window" } }
                }
                button.main { "Check and flash" }
                p.hint { "It is checked before the board is touched, and counts only when the board tells its new version." }
            }
        }
    }
}

fn servers(registrations: &[RegistrationStatus]) -> Markup {
    html! {
        section aria-labelledby="servers" {
            h2 id="servers" { "Servers" }
            @if registrations.is_empty() { p.hint { "No server is configured: [[server]] in nuncio.toml, or the built-in one." } }
            @else {
                table.cards {
                    caption.hidden { "Servers" }
                    thead { tr { th scope="col" { "Server" } th scope="col" { "State" } th scope="col" { "Registration" } th scope="col" { "Last failure" } } }
                    tbody {
                        @for one in registrations {
                            tr {
                                th scope="row" { (one.server) " " span.hint { (one.short_id) } }
                                td data-label="State" { (registration(one.state)) }
                                td data-label="Registration" {
                                    code { (or_dash(one.registration_id.as_deref())) }
                                    @if let Some(seconds) = one.expires_in_s { span.hint { " for " (seconds) " s" } }
                                }
                                td data-label="Failure" { (or_dash(one.last_error.as_deref())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What servers read, by its path.
fn objects(device: &DeviceStatus, points: &Points) -> Markup {
    let version = device.version.as_ref().map(|version| version.text.clone());
    let error = if device.quarantined.is_some() { "8 (peripheral malfunction)" } else { "0 (no error)" };
    let state = device.update.state;
    let result = device.update.result;
    html! {
        section aria-labelledby="objects" {
            h2 id="objects" { "What servers read" }
            table.cards {
                caption.hidden { "Resources" }
                thead { tr { th scope="col" { "Path" } th scope="col" { "Resource" } th scope="col" { "Value" } } }
                tbody {
                    (resource("/3/0/3", "Firmware Version", &or_dash(version.as_deref())))
                    (resource("/3/0/11", "Error Code", &html! { (error) }))
                    (resource("/5/0/3", "State", &html! { (state as u8) " (" (word(&state)) ")" }))
                    (resource("/5/0/5", "Update Result", &html! { (result as u8) " (" (word(&result)) ")" }))
                    (resource("/5/0/7", "Package Version", &or_dash(device.update.expected_version.as_deref())))
                    @for point in &points.points { (of_point(point)) }
                }
            }
            @if let (Some(reason), true) = (&points.not_read, !points.points.is_empty()) { p.hint { "Values are not read just now: " (reason) } }
        }
    }
}

fn resource(path: &str, name: &str, value: &Markup) -> Markup {
    html! { tr { th scope="row" { code { (path) } } td data-label="Resource" { (name) } td data-label="Value" { (value) } } }
}

fn of_point(point: &ShownPoint) -> Markup {
    resource(
        &format!("/{}/{}", point.object, point.instance),
        point.name.as_deref().unwrap_or(&point.key),
        &or_dash(reading(point).as_deref()),
    )
}

/// The word that a value has in JSON, with spaces for hyphens.
fn word<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|value| Some(value.as_str()?.replace('-', " "))).unwrap_or_default()
}

fn evidence(why: &Why) -> Markup {
    html! {
        section aria-labelledby="why" {
            h2 id="why" { "Why it is taken for that" }
            p { "It is " strong { (or_dash(why.board.as_ref().map(crate::device::BoardId::as_str))) } ", " (or_dash(why.sureness.as_deref())) "." }
            ul.steps {
                @for step in &why.steps { li { (verdict(step.verdict)) " " strong { (step.what) } " " (step.detail) } }
            }
        }
    }
}

fn verdict(verdict: WhyVerdict) -> Markup {
    match verdict {
        WhyVerdict::Matched => badge("good", "speaks for it"),
        WhyVerdict::Excluded => badge("off", "ruled out"),
        WhyVerdict::Asked => badge("off", "asked"),
        WhyVerdict::NotAsked => badge("off", "not asked"),
        WhyVerdict::Noted => badge("off", "seen"),
        WhyVerdict::Contradicts => badge("bad", "contradicts"),
    }
}

fn past(history: &HistoryList) -> Markup {
    html! {
        section aria-labelledby="past" {
            h2 id="past" { "Its last updates" }
            @if history.updates.is_empty() { p.hint { "None yet." } } @else { (update::table(&history.updates, false)) }
        }
    }
}

fn orders(device: &DeviceStatus) -> Markup {
    let to = |what: &str| format!("/devices/{}/{what}", device.id);
    html! {
        section aria-labelledby="orders" {
            h2 id="orders" { "What you can do" }
            div.orders {
                form method="post" action=(to("identify")) { button { "Make it blink" } }
                @if device.way_back.is_some() {
                    form method="post" action=(to("rollback")) data-confirm={ "Put the last good image back on " (device.id) "?" } { button { "Roll back" } }
                }
                form method="post" action=(to("cancel")) { button { "Give up what is staged" } }
                form method="post" action=(to("rename")) {
                    label for="name" { "Another name" }
                    input type="text" id="name" name="name" required maxlength="63" pattern="[A-Za-z0-9._\\-]+" value=(device.id) autocomplete="off";
                    button { "Rename" }
                }
                form method="post" action=(to("forget")) data-confirm={ "Forget " (device.id) "? It leaves its servers." } {
                    label { input type="checkbox" name="deny"; " and keep it out" }
                    button.danger { "Forget" }
                }
            }
        }
    }
}

/// Which link.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    link: String,
}

/// A link that is no device: why not.
pub(super) async fn link_page(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(Which { link })) = which else {
        let missing = Failure::new(FailureCode::BadRequest, "no link is named");
        return problem(&missing.into(), Some(&caller));
    };
    match context.0.door.ask(|reply| ControlRequest::Why { device: link, reply }).await {
        Ok(why) => {
            let title = why.subject.link.to_string();
            let main = html! { h1 { (title) } (evidence(&why)) };
            whole(&title, Some(""), Some(&caller), &main).into_response()
        }
        Err(failure) => problem(&failure.into(), Some(&caller)),
    }
}
