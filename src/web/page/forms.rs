//! What the page's forms order. Each leads back to where it came from, or says on a page of its own why not.

use axum::Extension;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Multipart, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::problem;
use crate::control::{BrakeOrder, ControlRequest, Failure, FailureCode, JoinOrder, JoinReport, Outcome, Verdict};
use crate::web::Context;
use crate::web::access::Caller;
use crate::web::api::{Begun, First, Named, begin_flash, begin_rollback};
use crate::web::problem::Problem;

type Sent<T> = Result<Form<T>, FormRejection>;

fn back(device: &str, done: Result<(), Problem>, caller: &Caller) -> Response {
    match done {
        Ok(()) => Redirect::to(&format!("/devices/{device}")).into_response(),
        Err(refused) => problem(&refused, Some(caller)),
    }
}

fn read<T>(sent: Sent<T>) -> Result<T, Problem> {
    sent.map(|Form(sent)| sent).map_err(|error| Problem::new(FailureCode::BadRequest, error.body_text()))
}

pub(super) async fn flash(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Named(device): Named<String>,
    form: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Response {
    let begun = async {
        let form = form.map_err(|error| Problem::new(FailureCode::BadRequest, error.body_text()))?;
        let upload = context.0.uploads.receive(form).await?;
        begin_flash(&context, device.clone(), upload).await
    };
    let done = follow(begun.await).await;
    back(&device, done, &caller)
}

pub(super) async fn rollback(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Named(device): Named<String>,
) -> Response {
    let done = follow(begin_rollback(&context, device.clone()).await).await;
    back(&device, done, &caller)
}

/// An update that ends before it goes on by itself has failed, or was there already.
async fn follow(begun: Result<Begun, Problem>) -> Result<(), Problem> {
    match begun?.first().await? {
        First::GoesOn => Ok(()),
        First::Over(Verdict { outcome: Outcome::Proven, .. }) => Ok(()),
        First::Over(verdict) => {
            let reason = verdict.reason.unwrap_or_else(|| "the update was given up".to_owned());
            Err(Problem::new(FailureCode::NotNow, reason))
        }
    }
}

pub(super) async fn cancel(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Named(device): Named<String>,
) -> Response {
    let word = device.clone();
    let done = context.0.door.ask(|reply| ControlRequest::Cancel { device: word, reply }).await;
    back(&device, done.map_err(Problem), &caller)
}

pub(super) async fn identify(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Named(device): Named<String>,
) -> Response {
    let word = device.clone();
    let done = context.0.door.ask(|reply| ControlRequest::Identify { device: word, reply }).await;
    back(&device, done.map(drop).map_err(Problem), &caller)
}

/// Another name.
#[derive(Debug, Deserialize)]
pub(super) struct NewName {
    name: String,
}

pub(super) async fn rename(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Named(device): Named<String>,
    sent: Sent<NewName>,
) -> Response {
    let renamed = async {
        let NewName { name } = read(sent)?;
        join(&context, JoinOrder::Rename { device: device.clone(), name }).await.map_err(Problem)
    };
    match renamed.await {
        Err(refused) => problem(&refused, Some(&caller)),
        Ok(report) => back(report.device.as_ref().map_or(&device, |device| device.as_str()), Ok(()), &caller),
    }
}

/// Whether it is kept out from now on.
#[derive(Debug, Deserialize)]
pub(super) struct Forgetting {
    deny: Option<String>,
}

pub(super) async fn forget(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Named(device): Named<String>,
    sent: Sent<Forgetting>,
) -> Response {
    let forgotten = async {
        let deny = read(sent)?.deny.is_some();
        join(&context, JoinOrder::Forget { device, deny }).await.map_err(Problem)
    };
    to_all(forgotten.await.map(drop), &caller)
}

/// Which one.
#[derive(Debug, Deserialize)]
pub(super) struct Waiting {
    link: String,
}

pub(super) async fn approve(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    sent: Sent<Waiting>,
) -> Response {
    let approved = async {
        let Waiting { link } = read(sent)?;
        join(&context, JoinOrder::Approve { device: link }).await.map_err(Problem)
    };
    to_all(approved.await.map(drop), &caller)
}

fn to_all(done: Result<(), Problem>, caller: &Caller) -> Response {
    match done {
        Ok(()) => Redirect::to("/").into_response(),
        Err(refused) => problem(&refused, Some(caller)),
    }
}

async fn join(context: &Context, order: JoinOrder) -> Result<JoinReport, Failure> {
    context.0.door.ask(|reply| ControlRequest::Join { order, reply }).await
}

/// What is to be done about a brake.
#[derive(Debug, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case")]
pub(super) enum Braking {
    Pull { board: String },
    Release { what: String },
}

pub(super) async fn brake(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    sent: Sent<Braking>,
) -> Response {
    let done = async {
        let order = match read(sent)? {
            Braking::Pull { board } => BrakeOrder::Pull { board, image: None },
            Braking::Release { what } => BrakeOrder::Release { what: Some(what) },
        };
        context.0.door.ask(|reply| ControlRequest::Brake { order, reply }).await.map_err(Problem)
    };
    match done.await {
        Ok(_) => Redirect::to("/gateway").into_response(),
        Err(refused) => problem(&refused, Some(&caller)),
    }
}
