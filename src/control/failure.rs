//! Why a request was refused.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A refusal, with the remedy where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    /// For programs: which exit code, which HTTP status.
    pub code: FailureCode,
    /// For people: a lowercase fragment.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureCode {
    /// The request is malformed or too large.
    BadRequest,
    /// Client and daemon speak different versions of this protocol.
    WrongProtocol,
    /// There is no such device.
    NoSuchDevice,
    /// There is no such update, or there are several.
    NoSuchUpdate,
    /// Not in this state: another update, a board without a tool, too late to cancel.
    NotNow,
    /// Too many requests at once, or no answer in time.
    Overloaded,
    /// The daemon is stopping.
    Stopping,
    /// No token, or one that is worth nothing.
    Unauthorized,
    /// The token is not good for this, or another site asked.
    Forbidden,
    /// There is nothing of this name.
    NotFound,
    /// It is larger than may be.
    TooLarge,
    /// It took too long to come.
    TooSlow,
    /// Asked too often.
    TooOften,
    /// Anything else.
    Failed,
}

impl Failure {
    /// A refusal without a hint.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// There is no such device.
    pub fn no_such_device(word: &str) -> Self {
        Self::new(FailureCode::NoSuchDevice, format!("there is no device `{word}`"))
            .with_hint("`nuncio devices` lists them")
    }

    pub(super) fn stopping() -> Self {
        Self::new(FailureCode::Stopping, "the daemon is stopping")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
