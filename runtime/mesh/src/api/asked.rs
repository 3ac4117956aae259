//! What a request says, taken apart so that whatever is wrong with it is told as all other errors are.
// spec: API-2, CLI-5

use super::door::Problem;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use bytes::Bytes;
use serde::de::DeserializeOwned;

fn wrong(status: StatusCode, why: &str, hint: &str) -> Problem {
    Problem::new(status, format!("read the request: {why}"), Some(hint))
}

/// A JSON body.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Asked<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => {
                let status = match rejection {
                    JsonRejection::BytesRejection(_) => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => StatusCode::BAD_REQUEST,
                };
                let hint =
                    "send JSON with `Content-Type: application/json`; GET /v1/openapi.json describes it";
                Err(wrong(status, &rejection.body_text(), hint))
            }
        }
    }
}

/// A body of bytes, read whole.
pub(super) struct Whole(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Whole {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| {
            wrong(rejection.status(), &rejection.body_text(), "send less, and send it to its end")
        })
    }
}

/// The one name in an address.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::<String>::from_request_parts(parts, state).await.map(|Path(name)| Self(name)).map_err(
            |rejection| {
                wrong(
                    StatusCode::BAD_REQUEST,
                    &rejection.body_text(),
                    "write names in addresses as UTF-8, percent-encoded",
                )
            },
        )
    }
}

/// What follows the question mark.
pub(super) struct Queried<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Queried<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Query::<T>::from_request_parts(parts, state).await.map(|Query(value)| Self(value)).map_err(
            |rejection| {
                let hint = "GET /v1/openapi.json says what this address is asked with";
                wrong(StatusCode::BAD_REQUEST, &rejection.body_text(), hint)
            },
        )
    }
}
