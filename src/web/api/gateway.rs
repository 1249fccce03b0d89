//! The gateway itself.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::control::{ControlRequest, GatewayStatus, Status};
use crate::device::ShownPoint;
use crate::web::Context;
use crate::web::problem::{Answered, Problem};

/// The gateway itself, without its devices
#[utoipa::path(get, path = "/gateway", tag = "gateway", responses((status = 200, body = GatewayStatus)))]
pub(super) async fn gateway(State(context): State<Context>) -> Answered<GatewayStatus> {
    Ok(Json(context.0.door.ask(|reply| ControlRequest::Gateway { reply }).await?))
}

/// The gateway, its servers, and all devices
#[utoipa::path(get, path = "/status", tag = "gateway", responses((status = 200, body = Status)))]
pub(super) async fn status(State(context): State<Context>) -> Answered<Status> {
    Ok(Json(context.0.door.ask(|reply| ControlRequest::Status { device: None, reply }).await?))
}

/// How the machine fares that the gateway runs on: load, memory, disk, temperatures, as servers read them of its own endpoint
#[utoipa::path(get, path = "/gateway/health", tag = "gateway", responses((status = 200, body = Vec<ShownPoint>)))]
pub(super) async fn machine(State(context): State<Context>) -> Answered<Vec<ShownPoint>> {
    Ok(Json(context.0.door.ask(|reply| ControlRequest::Health { reply }).await?))
}

/// Has configuration, boards and tools read again; what needs a restart comes back in words
#[utoipa::path(post, path = "/reload", tag = "gateway", responses((status = 200, body = Vec<String>)))]
pub(super) async fn reload(State(context): State<Context>) -> Answered<Vec<String>> {
    Ok(Json(context.0.door.ask(|reply| ControlRequest::Reload { reply }).await?))
}

/// For probes: whether the gateway's event loop answers.
pub(in crate::web) async fn health(State(context): State<Context>) -> Response {
    match context.0.door.ask(|reply| ControlRequest::Gateway { reply }).await {
        Ok(_) => (StatusCode::OK, "ok\n").into_response(),
        Err(failure) => (Problem(failure).status(), "not now\n").into_response(),
    }
}
