//! The page: what a person with a browser sees and does. HTML made here, one stylesheet, one script that keeps it live; all
//! of it works without the script, by forms and by loading it again.
//!
//! Everything a device, server or tool has told is text to [`maud`], which escapes it; the policy that `access` sends along
//! forbids every script but ours besides.

mod assets;
mod device;
mod forms;
mod gateway;
mod layout;
mod list;
mod login;
mod reading;
mod update;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maud::html;

use super::access::Caller;
use super::problem::Problem;
use super::{Context, access, body};
use crate::control::FailureCode;

/// Largest form without an image, in bytes.
const MAX_FORM: usize = 16 << 10;

/// What takes a token.
pub(super) fn routes(largest: usize) -> Router<Context> {
    let forms = Router::new()
        .route("/devices/{device}/rollback", post(forms::rollback))
        .route("/devices/{device}/cancel", post(forms::cancel))
        .route("/devices/{device}/identify", post(forms::identify))
        .route("/devices/{device}/rename", post(forms::rename))
        .route("/devices/{device}/forget", post(forms::forget))
        .route("/approve", post(forms::approve))
        .route("/brakes", post(forms::brake))
        .layer(from_fn(body::in_time))
        .layer(DefaultBodyLimit::max(MAX_FORM));
    let images =
        Router::new().route("/devices/{device}/flash", post(forms::flash)).layer(DefaultBodyLimit::max(largest));
    Router::new()
        .route("/", get(list::page))
        .route("/devices/{device}", get(device::page))
        .route("/links", get(device::link_page))
        .route("/history", get(update::list))
        .route("/updates/{update}", get(update::page))
        .route("/gateway", get(gateway::page))
        .merge(forms)
        .merge(images)
}

/// What is open to everybody: the way in, and what it is drawn with.
pub(super) fn open_routes() -> Router<Context> {
    Router::new()
        .route("/login", get(login::page).post(login::login))
        .route("/logout", post(login::logout))
        .layer(from_fn(body::in_time))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .route("/assets/nuncio.css", get(assets::style))
        .route("/assets/nuncio.js", get(assets::script))
        .route("/assets/nuncio.svg", get(assets::icon))
}

/// Where somebody logs in who wanted to go elsewhere. An order is not given by logging in: that leads to the page that it was
/// given on.
pub(super) fn login_for(is_order: bool, uri: &Uri) -> String {
    let next = match uri.path().strip_prefix("/devices/").and_then(|rest| rest.split_once('/')) {
        Some((device, _)) if is_order => format!("/devices/{device}"),
        None if is_order => "/".to_owned(),
        _ => uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned(),
    };
    if next == "/" {
        return "/login".to_owned();
    }
    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    format!("/login?next={next}")
}

/// A refusal as a page.
pub(super) fn problem(problem: &Problem, caller: Option<&Caller>) -> Response {
    let body = html! {
        section.problem {
            h1 { "That did not work" }
            p { (problem.0.message) }
            @if let Some(hint) = &problem.0.hint { p.hint { (hint) } }
            p { a href="/" { "All devices" } }
        }
    };
    let mut response = layout::whole("That did not work", None, caller, &body).into_response();
    *response.status_mut() = problem.status();
    response
}

/// There is nothing at this path.
pub(super) async fn not_found(uri: Uri) -> Response {
    let nothing = Problem::new(FailureCode::NotFound, "there is nothing here");
    access::answer(access::is_api(&uri), nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_logs_in_comes_to_a_page_and_never_to_an_order() {
        for (is_order, wanted, to) in [
            (false, "/", "/login"),
            (false, "/devices/press-3", "/login?next=%2Fdevices%2Fpress-3"),
            (
                false,
                "/links?link=serial%3A%2Fdev%2FttyUSB0",
                "/login?next=%2Flinks%3Flink%3Dserial%253A%252Fdev%252FttyUSB0",
            ),
            (true, "/devices/press-3/rollback", "/login?next=%2Fdevices%2Fpress-3"),
            (true, "/approve", "/login"),
        ] {
            assert_eq!(login_for(is_order, &wanted.parse().expect("a path")), to, "{wanted}");
        }
    }
}
