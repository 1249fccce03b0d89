//! The gateway itself: how it is, its servers, the brakes.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::layout::{badge, or_dash, time, whole};
use super::problem;
use super::reading::reading;
use crate::control::{BrakeOrder, ControlRequest, Failure, ServerStatus};
use crate::device::{Brake, ShownPoint};
use crate::web::Context;
use crate::web::access::Caller;

pub(super) async fn page(State(context): State<Context>, Extension(caller): Extension<Caller>) -> Response {
    match parts(&context, &caller).await {
        Ok(main) => whole("Gateway", Some("/gateway"), Some(&caller), &main).into_response(),
        Err(failure) => problem(&failure.into(), Some(&caller)),
    }
}

async fn parts(context: &Context, caller: &Caller) -> Result<Markup, Failure> {
    let status = context.0.door.ask(|reply| ControlRequest::Status { device: None, reply }).await?;
    let brakes = context.0.door.ask(|reply| ControlRequest::Brake { order: BrakeOrder::List, reply }).await?.brakes;
    let health = context.0.door.ask(|reply| ControlRequest::Health { reply }).await?;
    let gateway = &status.gateway;
    Ok(html! {
        h1 { "Gateway " (gateway.name) }
        div id="live-gateway" data-live {
            p { @if gateway.notes.is_empty() { (badge("good", "all is well")) } @else { (badge("bad", "wants looking at")) } }
            @if !gateway.notes.is_empty() { ul.troubles { @for note in &gateway.notes { li { (note) } } } }
            dl.facts {
                div { dt { "Version" } dd { (gateway.version) } }
                div { dt { "Since" } dd { (time(gateway.started)) } }
                @if let Some(endpoint) = &gateway.endpoint {
                    div { dt { "Endpoint" } dd { code { (endpoint) } } }
                }
                div { dt { "Process" } dd { (gateway.pid) } }
                div { dt { "Configuration" } dd { code { (or_dash(gateway.config.as_deref().and_then(std::path::Path::to_str))) } } }
                div { dt { "State" } dd { code { (gateway.state.display()) } } }
            }
            (machine(&health))
            (servers(&status.servers))
            (held(&brakes, caller))
        }
        p { a href="/api/v1/openapi.json" { "Description of the API" } " · " a href="/metrics" { "Figures for Prometheus" } }
    })
}

/// The machine that it runs on.
fn machine(points: &[ShownPoint]) -> Markup {
    html! {
        section aria-labelledby="machine" {
            h2 id="machine" { "Its machine" }
            dl.facts {
                @for point in points {
                    div {
                        dt { (point.name.as_deref().unwrap_or(&point.key)) }
                        dd { (or_dash(reading(point).as_deref())) }
                    }
                }
            }
        }
    }
}

fn servers(servers: &[ServerStatus]) -> Markup {
    html! {
        section aria-labelledby="servers" {
            h2 id="servers" { "Servers" }
            @if servers.is_empty() { p.hint { "None is configured: [[server]] in nuncio.toml, or the built-in one." } }
            @else {
                table.cards {
                    caption.hidden { "Servers" }
                    thead { tr { th scope="col" { "Server" } th scope="col" { "URI" } th scope="col" { "Registered" } th scope="col" { "Last failure" } } }
                    tbody {
                        @for server in servers {
                            tr {
                                th scope="row" { (server.name) }
                                td data-label="URI" { code { (server.uri) } }
                                td data-label="Registered" { (server.registered) " of " (server.devices) }
                                td data-label="Last failure" { (or_dash(server.last_error.as_deref())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn held(brakes: &[Brake], caller: &Caller) -> Markup {
    html! {
        section aria-labelledby="brakes" {
            h2 id="brakes" { "Images that are held back" }
            @if brakes.is_empty() { p.hint { "None." } }
            @for brake in brakes {
                div.brake {
                    p {
                        strong { (brake.board) } ": "
                        @match brake.image { Some(image) => { "image " code.long { (image) } }, None => "every image" }
                        " since " (time(brake.since)) @if brake.by_hand { ", by hand" } @else { ", after failures" }
                    }
                    ul { @for failure in &brake.failures { li { (time(failure.at)) " " (failure.device) ": " (failure.reason) } } }
                    @if caller.is_operator() {
                        form method="post" action="/brakes" {
                            input type="hidden" name="order" value="release";
                            input type="hidden" name="what" value=(brake.image.map_or_else(|| brake.board.to_string(), |image| image.to_string()));
                            button { "Let it go" }
                        }
                    }
                }
            }
            @if caller.is_operator() {
                form method="post" action="/brakes" data-confirm="Hold every image back from this type of board?" {
                    input type="hidden" name="order" value="pull";
                    label for="board" { "Hold every image back from boards of type" }
                    input type="text" id="board" name="board" required maxlength="64" autocomplete="off";
                    button { "Hold back" }
                }
            }
        }
    }
}
