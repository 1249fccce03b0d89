//! What the page is drawn with, part of the program.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

/// Long enough to spare a slow line, short enough to see an upgrade.
const KEPT: &str = "max-age=600";

pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("assets/nuncio.css"))
}

pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("assets/nuncio.js"))
}

pub(super) async fn icon() -> Response {
    file("image/svg+xml", include_str!("assets/nuncio.svg"))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, KEPT)], text).into_response()
}
