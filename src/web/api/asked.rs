//! Extractors that refuse in the words of the API.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::control::FailureCode;
use crate::web::problem::Problem;

/// What the query says.
#[derive(Debug)]
pub(in crate::web) struct Asked<T>(pub(in crate::web) T);

/// What the body says, as JSON.
#[derive(Debug)]
pub(in crate::web) struct Body<T>(pub(in crate::web) T);

/// What the path says.
#[derive(Debug)]
pub(in crate::web) struct Named<T>(pub(in crate::web) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let asked = Query::<T>::from_request_parts(parts, state).await;
        let refused = |error: QueryRejection| Problem::new(FailureCode::BadRequest, error.body_text());
        asked.map(|Query(asked)| Self(asked)).map_err(refused)
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let named = Path::<T>::from_request_parts(parts, state).await;
        let refused = |error: PathRejection| Problem::new(FailureCode::BadRequest, error.body_text());
        named.map(|Path(named)| Self(named)).map_err(refused)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Json::<T>::from_request(request, state).await;
        let refused = |error: JsonRejection| {
            let code = match error.status() {
                StatusCode::PAYLOAD_TOO_LARGE => FailureCode::TooLarge,
                _ => FailureCode::BadRequest,
            };
            Problem::new(code, error.body_text())
        };
        body.map(|Json(body)| Self(body)).map_err(refused)
    }
}
