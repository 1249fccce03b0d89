//! Devices: what they are, and whether they are here.

#![expect(unused_qualifications, reason = "utoipa names parameters as it likes")]

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::asked::{Asked, Body, Named};
use crate::control::{
    ControlRequest, DeviceList, DeviceStatus, Failure, Identified, JoinOrder, JoinReport, Points, Who, Why,
};
use crate::web::Context;
use crate::web::problem::Answered;

/// All devices, and the links that are none
#[utoipa::path(get, path = "/devices", tag = "devices", responses((status = 200, body = DeviceList)))]
pub(super) async fn devices(State(context): State<Context>) -> Answered<DeviceList> {
    Ok(Json(context.0.door.ask(|reply| ControlRequest::Devices { reply }).await?))
}

/// One device, by its name, its endpoint name or its link
#[utoipa::path(get, path = "/devices/{device}", tag = "devices", params(("device" = String, Path, example = "press-3")),
    responses((status = 200, body = DeviceStatus)))]
pub(super) async fn device(State(context): State<Context>, Named(device): Named<String>) -> Answered<DeviceStatus> {
    Ok(Json(status(&context, device).await?))
}

/// The status of one device.
pub(in crate::web) async fn status(context: &Context, device: String) -> Result<DeviceStatus, Failure> {
    let word = device.clone();
    let status = context.0.door.ask(|reply| ControlRequest::Status { device: Some(device), reply }).await?;
    status.devices.into_iter().next().ok_or_else(|| Failure::no_such_device(&word))
}

/// Whether it is kept out from now on.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Forgetting {
    /// It may not come again until it is approved.
    #[serde(default)]
    deny: bool,
}

/// Forgets a device: it leaves its servers, and its names are free
#[utoipa::path(delete, path = "/devices/{device}", tag = "devices", params(("device" = String, Path, example = "press-3"), Forgetting),
    responses((status = 200, body = JoinReport)))]
pub(super) async fn forget(
    State(context): State<Context>,
    Named(device): Named<String>,
    Asked(how): Asked<Forgetting>,
) -> Answered<JoinReport> {
    join(&context, JoinOrder::Forget { device, deny: how.deny }).await
}

/// Another name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewName {
    /// Letters, digits, `.`, `_` and `-`.
    name: String,
}

/// Gives a device another name inside this gateway; its endpoint name stays
#[utoipa::path(post, path = "/devices/{device}/rename", tag = "devices", params(("device" = String, Path, example = "press-3")),
    request_body = NewName, responses((status = 200, body = JoinReport)))]
pub(super) async fn rename(
    State(context): State<Context>,
    Named(device): Named<String>,
    Body(new): Body<NewName>,
) -> Answered<JoinReport> {
    join(&context, JoinOrder::Rename { device, name: new.name }).await
}

/// Which one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Waiting {
    /// Its link, as `/devices` lists it.
    link: String,
}

/// Lets a device join that waits for approval, or was kept out
#[utoipa::path(post, path = "/approve", tag = "devices", request_body = Waiting,
    responses((status = 200, body = JoinReport)))]
pub(super) async fn approve(State(context): State<Context>, Body(waiting): Body<Waiting>) -> Answered<JoinReport> {
    join(&context, JoinOrder::Approve { device: waiting.link }).await
}

async fn join(context: &Context, order: JoinOrder) -> Answered<JoinReport> {
    Ok(Json(context.0.door.ask(|reply| ControlRequest::Join { order, reply }).await?))
}

/// Why a device is taken for the board it is taken for; also for a link that is none
#[utoipa::path(get, path = "/devices/{device}/why", tag = "devices", params(("device" = String, Path, example = "press-3")),
    responses((status = 200, body = Why)))]
pub(super) async fn why(State(context): State<Context>, Named(device): Named<String>) -> Answered<Why> {
    Ok(Json(context.0.door.ask(|reply| ControlRequest::Why { device, reply }).await?))
}

/// What a device measures and switches, as servers see it
#[utoipa::path(get, path = "/devices/{device}/points", tag = "devices", params(("device" = String, Path, example = "press-3")),
    responses((status = 200, body = Points)))]
pub(super) async fn points(State(context): State<Context>, Named(device): Named<String>) -> Answered<Points> {
    Ok(Json(context.0.door.ask(|reply| ControlRequest::Points { device, reply }).await?))
}

/// Who has a device's link
#[utoipa::path(get, path = "/devices/{device}/who", tag = "devices", params(("device" = String, Path, example = "press-3")),
    responses((status = 200, body = Who)))]
pub(super) async fn who(State(context): State<Context>, Named(device): Named<String>) -> Answered<Who> {
    Ok(Json(context.0.door.ask(|reply| ControlRequest::Who { device, reply }).await?))
}

/// Makes it visible which board a device is; answers when it has been, after some seconds
#[utoipa::path(post, path = "/devices/{device}/identify", tag = "devices", params(("device" = String, Path, example = "press-3")),
    responses((status = 200, body = Identified)))]
pub(super) async fn identify(State(context): State<Context>, Named(device): Named<String>) -> Answered<Identified> {
    Ok(Json(context.0.door.ask(|reply| ControlRequest::Identify { device, reply }).await?))
}
