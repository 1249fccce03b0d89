//! Updates that were.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::layout::{or_dash, outcome, time, took, whole};
use super::problem;
use crate::control::ControlRequest;
use crate::device::{AttemptRecord, HistoryRow, JobOutcome, Requester, UpdateEvidence};
use crate::web::Context;
use crate::web::access::Caller;
use crate::web::api::Named;

/// So many are listed.
const LISTED: u32 = 200;

pub(super) async fn list(State(context): State<Context>, Extension(caller): Extension<Caller>) -> Response {
    let ask = |reply| ControlRequest::History { device: None, failed: false, limit: Some(LISTED), reply };
    match context.0.door.ask(ask).await {
        Err(failure) => problem(&failure.into(), Some(&caller)),
        Ok(history) => {
            let main = html! {
                h1 { "History" }
                div id="live-history" data-live {
                    @for note in &history.notes { p.problem { (note) } }
                    @if history.updates.is_empty() { p.hint { "No update yet." } } @else { (table(&history.updates, true)) }
                    @if history.more > 0 { p.hint { "There are " (history.more) " older ones: " code { "nuncio history" } } }
                }
            };
            whole("History", Some("/history"), Some(&caller), &main).into_response()
        }
    }
}

/// Updates as a table; with their devices where it is not of one alone.
pub(super) fn table(updates: &[HistoryRow], with_device: bool) -> Markup {
    html! {
        table.cards {
            caption.hidden { "Updates" }
            thead {
                tr {
                    th scope="col" { "When" }
                    @if with_device { th scope="col" { "Device" } }
                    th scope="col" { "Outcome" }
                    th scope="col" { "Version" }
                    th scope="col" { "Asked for by" }
                    th scope="col" { "Took" }
                    th scope="col" { "Why" }
                }
            }
            tbody {
                @for row in updates {
                    tr {
                        th scope="row" { a href={ "/updates/" (row.update) } { (time(row.began)) } }
                        @if with_device { td data-label="Device" { a href={ "/devices/" (row.device) } { (row.device) } } }
                        td data-label="Outcome" { (outcome(row.outcome)) }
                        td data-label="Version" {
                            (or_dash(row.version_before.as_deref())) " → "
                            (or_dash(row.version_after.as_deref().or(row.expected_version.as_deref())))
                        }
                        td data-label="Asked for by" { (or_dash(row.requester.as_ref().map(Requester::to_string).as_deref())) }
                        td data-label="Took" { (took(row.took_ms)) }
                        td data-label="Why" { (or_dash(row.reason.as_deref())) }
                    }
                }
            }
        }
    }
}

pub(super) async fn page(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Named(update): Named<String>,
) -> Response {
    match context.0.door.ask(|reply| ControlRequest::Show { update, reply }).await {
        Err(failure) => problem(&failure.into(), Some(&caller)),
        Ok(evidence) => {
            let title = format!("Update of {}", evidence.record.device);
            whole(&title, Some(""), Some(&caller), &whole_update(&evidence)).into_response()
        }
    }
}

fn whole_update(evidence: &UpdateEvidence) -> Markup {
    let record = &evidence.record;
    let version = |version: &Option<crate::device::ReportedVersion>| {
        or_dash(version.as_ref().map(|version| version.text.as_str()))
    };
    html! {
        h1 { "Update of " a href={ "/devices/" (record.device) } { (record.device) } }
        p { (outcome(record.outcome)) " " @if let Some(reason) = &record.reason { (reason) } }
        dl.facts {
            div { dt { "Began" } dd { (time(record.began)) } }
            div { dt { "Ended" } dd { @match record.ended { Some(ended) => (time(ended)), None => (or_dash(None)) } } }
            div { dt { "Flashing and proof" } dd { (took(record.took_ms)) } }
            div { dt { "Asked for by" } dd { (or_dash(record.requester.as_ref().map(Requester::to_string).as_deref())) } }
            div { dt { "Version before" } dd { (version(&record.version_before)) } }
            div { dt { "Version after" } dd { (version(&record.version_after)) } }
            @if let Some(uri) = &record.uri { div { dt { "From" } dd { code { (uri) } } } }
            @if let Some(image) = &record.image {
                div { dt { "Image" } dd { (image.size) " bytes, SHA-256 " code.long { (image.sha256) } } }
                @if let Some(key) = &image.signed_by { div { dt { "Signed by" } dd { code { (key) } } } }
            }
        }
        @for attempt in &evidence.attempts { (run(attempt)) }
        @for damage in &evidence.damaged { p.problem { (damage) } }
    }
}

fn run(attempt: &AttemptRecord) -> Markup {
    html! {
        section {
            h2 { "Run " (attempt.number) @if let Some(tool) = &attempt.tool { " of " (tool) } @if let Some(version) = &attempt.tool_version { " " (version) } }
            p { (time(attempt.began)) " · " (took(attempt.took_ms)) @if let Some(JobOutcome::Failed { class, detail }) = &attempt.outcome { " · " (class) ": " (detail) } }
            pre tabindex="0" aria-label="Command" { code { (attempt.argv.join(" ")) } }
            @if let Some(output) = &attempt.output {
                details { summary { "What it printed" } pre.log tabindex="0" aria-label="Output" { (output.text) } }
            }
        }
    }
}
