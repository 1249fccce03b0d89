//! Bodies that are no image: small ones, which come as a whole before anything is done with them.

use std::time::Duration;

use axum::RequestExt;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::timeout;

use super::access;
use super::problem::Problem;
use crate::control::FailureCode;

/// A body must have come within this, the whole of it.
const BODY_TIME: Duration = Duration::from_secs(10);

/// Has the body come first. How large it may be is said by axum's `DefaultBodyLimit`, which lies around this.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    let is_api = access::is_api(request.uri());
    let (parts, body) = request.into_parts();
    let coming = Request::from_parts(parts.clone(), body).extract::<Bytes, _>();
    let problem = match timeout(BODY_TIME, coming).await {
        Ok(Ok(bytes)) => return next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(error)) => refusal(&error),
        Err(_) => Problem::new(FailureCode::TooSlow, "what was to be sent did not come in time"),
    };
    access::answer(is_api, problem)
}

fn refusal(error: &BytesRejection) -> Problem {
    let code = match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => FailureCode::TooLarge,
        _ => FailureCode::BadRequest,
    };
    Problem::new(code, error.body_text())
}
