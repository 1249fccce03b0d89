//! Updates: ordered, followed, looked back at; and the brakes.

#![expect(unused_qualifications, reason = "utoipa names parameters as it likes")]

use axum::Json;
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use utoipa::{IntoParams, ToSchema};

use super::asked::{Asked, Body, Named};
use crate::control::{BrakeOrder, BrakeReport, ControlRequest, Failure, FailureCode, HistoryList, Plan, Verdict};
use crate::device::{DeviceId, UpdateEvent, UpdateEvidence};
use crate::web::Context;
use crate::web::problem::{Answered, Problem};
use crate::web::upload::Upload;

/// So many events of an order may wait for it.
const MAX_EVENTS: usize = 64;

/// So many updates of the past are told at once.
const MAX_ROWS: u32 = 1000;

/// Whether to wait for the end.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Waits {
    /// Answer when the update is over, which takes minutes, with how it ended.
    #[serde(default)]
    wait: bool,
}

/// An image and what goes with it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the form is read field by field; this describes it")]
pub(super) struct ImageForm {
    /// The image: Intel HEX, ELF, ESP image, as the board takes it.
    #[schema(content_media_type = "application/octet-stream")]
    image: String,
    /// Its minisign signature, where the site asks for one.
    #[schema(content_media_type = "text/plain")]
    signature: Option<String>,
    /// The version that the new program must report; default: what the image itself says.
    version: Option<String>,
    /// `true`: begin also outside the maintenance window.
    now: Option<bool>,
}

/// An update that goes on by itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    /// The device; `/devices/{device}` and `/events` tell how it goes on.
    device: DeviceId,
}

/// Updates a device with an image, with the same checks, journal and proof as a server's update
///
/// 202: the image is staged and checked, and the update goes on by itself. 200: it is over; see its `outcome`.
#[utoipa::path(post, path = "/devices/{device}/firmware", tag = "updates", params(("device" = String, Path, example = "press-3"), Waits),
    request_body(content = ImageForm, content_type = "multipart/form-data"),
    responses((status = 200, body = Verdict), (status = 202, body = Accepted)))]
pub(super) async fn flash(
    State(context): State<Context>,
    Named(device): Named<String>,
    Asked(waits): Asked<Waits>,
    form: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Result<Response, Problem> {
    let upload = receive(&context, form).await?;
    begin_flash(&context, device, upload).await?.answer(waits.wait).await
}

/// Takes the form.
async fn receive(
    context: &Context,
    form: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Result<Upload, Problem> {
    let form = form.map_err(|error| Problem::new(FailureCode::BadRequest, error.body_text()))?;
    context.0.uploads.receive(form).await
}

/// An update that was ordered, and the files that it needs until it has staged them.
pub(in crate::web) struct Begun {
    device: String,
    events: mpsc::Receiver<UpdateEvent>,
    verdict: oneshot::Receiver<Result<Verdict, Failure>>,
    upload: Option<Upload>,
}

/// How far an update is after a first look.
pub(in crate::web) enum First {
    /// It goes on by itself.
    GoesOn,
    /// It is over already.
    Over(Verdict),
}

pub(in crate::web) async fn begin_flash(context: &Context, device: String, upload: Upload) -> Result<Begun, Problem> {
    let (image, version, now) = (upload.image.clone(), upload.version.clone(), upload.now);
    let word = device.clone();
    let order = |events, verdict| ControlRequest::Flash { device: word, image, version, now, events, verdict };
    begin(context, device, order, Some(upload)).await
}

pub(in crate::web) async fn begin_rollback(context: &Context, device: String) -> Result<Begun, Problem> {
    let word = device.clone();
    begin(context, device, |events, verdict| ControlRequest::Rollback { device: word, events, verdict }, None).await
}

async fn begin(
    context: &Context,
    device: String,
    order: impl FnOnce(mpsc::Sender<UpdateEvent>, oneshot::Sender<Result<Verdict, Failure>>) -> ControlRequest,
    upload: Option<Upload>,
) -> Result<Begun, Problem> {
    let (events_out, events) = mpsc::channel(MAX_EVENTS);
    let (verdict_out, verdict) = oneshot::channel();
    context.0.door.hand_over(order(events_out, verdict_out)).await?;
    Ok(Begun { device, events, verdict, upload })
}

impl Begun {
    /// Waits until the image is staged, or the update over; what is left of it then goes on in a task.
    pub(in crate::web) async fn first(mut self) -> Result<First, Problem> {
        if let Some(verdict) = self.staged().await {
            return ended(verdict).map(First::Over);
        }
        let verdict = self.verdict;
        tokio::spawn(async move {
            // Nobody waits for it; the history has it.
            let _ = verdict.await;
        });
        Ok(First::GoesOn)
    }

    /// Waits until the image is staged, and gives its files and their place up: from then on the update may wait for hours. The
    /// verdict where the update was over before.
    async fn staged(&mut self) -> Option<Result<Result<Verdict, Failure>, oneshot::error::RecvError>> {
        loop {
            tokio::select! {
                biased;
                verdict = &mut self.verdict => return Some(verdict),
                Some(event) = self.events.recv() => if matches!(event, UpdateEvent::ImageStaged { .. }) { break },
            }
        }
        self.upload = None;
        // Nobody reads the others: they are lost, never waited for.
        self.events.close();
        None
    }

    async fn answer(mut self, wait: bool) -> Result<Response, Problem> {
        if wait {
            let verdict = match self.staged().await {
                Some(verdict) => verdict,
                None => self.verdict.await,
            };
            return Ok(Json(ended(verdict)?).into_response());
        }
        let device = DeviceId::new(self.device.as_str());
        Ok(match self.first().await? {
            First::Over(verdict) => Json(verdict).into_response(),
            First::GoesOn => (StatusCode::ACCEPTED, Json(Accepted { device })).into_response(),
        })
    }
}

fn ended(verdict: Result<Result<Verdict, Failure>, oneshot::error::RecvError>) -> Result<Verdict, Problem> {
    let stopping = || Failure::new(FailureCode::Stopping, "the daemon is stopping");
    Ok(verdict.unwrap_or_else(|_| Err(stopping()))?)
}

/// What an update would do, without doing any of it
#[utoipa::path(post, path = "/devices/{device}/plan", tag = "updates", params(("device" = String, Path, example = "press-3")),
    request_body(content = ImageForm, content_type = "multipart/form-data"), responses((status = 200, body = Plan)))]
pub(super) async fn plan(
    State(context): State<Context>,
    Named(device): Named<String>,
    form: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Answered<Plan> {
    let upload = receive(&context, form).await?;
    let (image, version, now) = (upload.image.clone(), upload.version.clone(), upload.now);
    let plan = context.0.door.ask(|reply| ControlRequest::Plan { device, image, version, now, reply }).await?;
    drop(upload);
    Ok(Json(plan))
}

/// Puts the last good image back
///
/// 202: it goes on by itself. 200: it is over; see its `outcome`.
#[utoipa::path(post, path = "/devices/{device}/rollback", tag = "updates", params(("device" = String, Path, example = "press-3"), Waits),
    responses((status = 200, body = Verdict), (status = 202, body = Accepted)))]
pub(super) async fn rollback(
    State(context): State<Context>,
    Named(device): Named<String>,
    Asked(waits): Asked<Waits>,
) -> Result<Response, Problem> {
    begin_rollback(&context, device).await?.answer(waits.wait).await
}

/// Gives up what is staged or under way at a device, unless it is being flashed already
#[utoipa::path(post, path = "/devices/{device}/cancel", tag = "updates", params(("device" = String, Path, example = "press-3")),
    responses((status = 204)))]
pub(super) async fn cancel(
    State(context): State<Context>,
    Named(device): Named<String>,
) -> Result<StatusCode, Problem> {
    context.0.door.ask(|reply| ControlRequest::Cancel { device, reply }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which updates.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only those that failed.
    #[serde(default)]
    failed: bool,
    /// At most so many, the newest; default and most: 1000. `more` tells of the rest.
    limit: Option<u32>,
}

impl Which {
    fn rows(&self) -> u32 {
        self.limit.unwrap_or(MAX_ROWS).min(MAX_ROWS)
    }
}

/// The updates of a device, newest first
#[utoipa::path(get, path = "/devices/{device}/history", tag = "updates", params(("device" = String, Path, example = "press-3"), Which),
    responses((status = 200, body = HistoryList)))]
pub(super) async fn history_of(
    State(context): State<Context>,
    Named(device): Named<String>,
    Asked(which): Asked<Which>,
) -> Answered<HistoryList> {
    list(&context, Some(device), which).await
}

/// The updates of all devices, newest first
#[utoipa::path(get, path = "/history", tag = "updates", params(Which), responses((status = 200, body = HistoryList)))]
pub(super) async fn history(State(context): State<Context>, Asked(which): Asked<Which>) -> Answered<HistoryList> {
    list(&context, None, which).await
}

async fn list(context: &Context, device: Option<String>, which: Which) -> Answered<HistoryList> {
    let (failed, limit) = (which.failed, Some(which.rows()));
    Ok(Json(context.0.door.ask(|reply| ControlRequest::History { device, failed, limit, reply }).await?))
}

/// All that is kept of one update: each attempt with its command, reason and output
#[utoipa::path(get, path = "/updates/{update}", tag = "updates", params(("update" = String, Path)),
    responses((status = 200, body = UpdateEvidence)))]
pub(super) async fn update(State(context): State<Context>, Named(update): Named<String>) -> Answered<UpdateEvidence> {
    Ok(Json(context.0.door.ask(|reply| ControlRequest::Show { update, reply }).await?))
}

/// Which images are held back from which boards
#[utoipa::path(get, path = "/brakes", tag = "updates", responses((status = 200, body = BrakeReport)))]
pub(super) async fn brakes(State(context): State<Context>) -> Answered<BrakeReport> {
    order_brake(&context, BrakeOrder::List).await
}

/// Holds an image back, or lets it go
#[utoipa::path(post, path = "/brakes", tag = "updates", request_body = BrakeOrder,
    responses((status = 200, body = BrakeReport)))]
pub(super) async fn brake(State(context): State<Context>, Body(order): Body<BrakeOrder>) -> Answered<BrakeReport> {
    order_brake(&context, order).await
}

async fn order_brake(context: &Context, order: BrakeOrder) -> Answered<BrakeReport> {
    Ok(Json(context.0.door.ask(|reply| ControlRequest::Brake { order, reply }).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_told_in_pieces() {
        for (limit, rows) in [(None, MAX_ROWS), (Some(3), 3), (Some(u32::MAX), MAX_ROWS), (Some(0), 0)] {
            assert_eq!(Which { failed: false, limit }.rows(), rows, "{limit:?}");
        }
    }
}
