//! Refusals as HTTP has them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use crate::control::{Failure, FailureCode};

/// A refusal on its way to the client: as JSON, in the words of the control API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem(pub(super) Failure);

/// What handlers of the API return.
pub(super) type Answered<T> = Result<Json<T>, Problem>;

impl Problem {
    pub(super) fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self(Failure::new(code, message))
    }

    pub(super) fn status(&self) -> StatusCode {
        status(self.0.code)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status(), Json(self.0)).into_response()
    }
}

/// The status of each kind of refusal.
pub(super) fn status(code: FailureCode) -> StatusCode {
    match code {
        FailureCode::BadRequest | FailureCode::WrongProtocol => StatusCode::BAD_REQUEST,
        FailureCode::Unauthorized => StatusCode::UNAUTHORIZED,
        FailureCode::Forbidden => StatusCode::FORBIDDEN,
        FailureCode::NoSuchDevice | FailureCode::NoSuchUpdate | FailureCode::NotFound => StatusCode::NOT_FOUND,
        FailureCode::TooSlow => StatusCode::REQUEST_TIMEOUT,
        FailureCode::NotNow => StatusCode::CONFLICT,
        FailureCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        FailureCode::TooOften => StatusCode::TOO_MANY_REQUESTS,
        FailureCode::Overloaded | FailureCode::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        FailureCode::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The path is right, the method is not.
pub(super) async fn wrong_method() -> Response {
    let problem = Problem::new(FailureCode::BadRequest, "this path takes another method");
    (StatusCode::METHOD_NOT_ALLOWED, Json(problem.0)).into_response()
}
