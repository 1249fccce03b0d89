//! The page.

use axum::Router;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};

use super::Context;
use super::access::Caller;
use super::problem::Problem;
use crate::control::FailureCode;

pub(super) fn routes() -> Router<Context> {
    Router::new()
}

pub(super) fn open_routes() -> Router<Context> {
    Router::new()
}

pub(super) fn login_for(uri: &Uri) -> String {
    format!("/login?next={uri}")
}

pub(super) fn problem(problem: &Problem, _caller: Option<&Caller>) -> Response {
    problem.clone().into_response()
}

pub(super) async fn not_found() -> Response {
    Problem::new(FailureCode::NotFound, "there is nothing here").into_response()
}
