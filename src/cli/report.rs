//! How a failure ends: the message and hint for people, JSON for programs, the exit code for both.

use nuncio::config::ConfigError;
use nuncio::control::{ClientError, FailureCode};
use serde::Serialize;

use super::{code, output};

/// A failure with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fail {
    pub(crate) code: u8,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

/// `docs/schema/error-1.json`.
#[derive(Debug, Serialize)]
struct ErrorDocument {
    exit_code: u8,
    message: String,
    hint: Option<String>,
}

/// Tells an error; the exit code that goes with it.
pub(crate) fn report(error: &anyhow::Error, json: bool) -> u8 {
    let (exit_code, hint) = classify(error);
    let message = format!("{error:#}");
    if json {
        let document = ErrorDocument { exit_code, message: message.clone(), hint: hint.clone() };
        if let Err(error) = output::print_json("error/1", &document) {
            output::print_aside(&format!("nuncio: {error:#}"));
        }
    }
    let separator = if message.contains('\n') { '\n' } else { ' ' };
    output::print_aside(&format!("nuncio:{separator}{message}"));
    if let Some(hint) = hint {
        output::print_aside(&format!("  hint: {hint}"));
    }
    exit_code
}

fn classify(error: &anyhow::Error) -> (u8, Option<String>) {
    if let Some(fail) = error.downcast_ref::<Fail>() {
        return (fail.code, fail.hint.clone());
    }
    if let Some(error) = error.downcast_ref::<ClientError>() {
        return (of_client(error), error.hint());
    }
    if error.downcast_ref::<ConfigError>().is_some() {
        return (code::USAGE, None);
    }
    (code::FAILED, None)
}

fn of_client(error: &ClientError) -> u8 {
    match error {
        ClientError::NotRunning { .. } | ClientError::NotPermitted { .. } => code::UNREACHABLE,
        ClientError::Broken(_) | ClientError::HungUp => code::UNREACHABLE,
        ClientError::NotHanded { .. } => code::FAILED,
        ClientError::Refused(failure) => match failure.code {
            FailureCode::NoSuchDevice | FailureCode::NoSuchUpdate => code::NO_SUCH_DEVICE,
            FailureCode::NotNow => code::NOT_NOW,
            FailureCode::Stopping => code::UNREACHABLE,
            FailureCode::BadRequest | FailureCode::WrongProtocol | FailureCode::Overloaded | FailureCode::Failed => {
                code::FAILED
            }
            // Said over HTTP only.
            FailureCode::Unauthorized
            | FailureCode::Forbidden
            | FailureCode::NotFound
            | FailureCode::TooLarge
            | FailureCode::TooSlow
            | FailureCode::TooOften => code::FAILED,
        },
    }
}
