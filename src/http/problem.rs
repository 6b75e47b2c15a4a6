//! Problem answers: `application/problem+json` (RFC 9457).

use std::borrow::Cow;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::RETRY_AFTER_S;
use crate::{
    runtime::{publish::PublishError, reads::ReadError},
    store::StoreError,
};

/// Media type of problems.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Statuses of what may pass by itself: their answers say after what time (`Retry-After`).
pub(super) const MAY_PASS: [StatusCode; 3] =
    [StatusCode::SERVICE_UNAVAILABLE, StatusCode::CONFLICT, StatusCode::GATEWAY_TIMEOUT];

/// What went wrong with a request (RFC 9457).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `urn:streamgauge:problem:…`, or `about:blank` where the status says it all.
    #[serde(rename = "type")]
    kind: Cow<'static, str>,
    /// The kind in words.
    title: Cow<'static, str>,
    /// The status of the answer.
    status: u16,
    /// What is wrong with this very request, and what to do.
    detail: String,
    /// The path that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    instance: Option<Box<str>>,
    /// The known name most like the one that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    nearest: Option<Box<str>>,
}

impl Problem {
    /// A problem that its status names well enough.
    pub(super) fn of(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: detail.into(),
            instance: None,
            nearest: None,
        }
    }

    /// A problem of a named kind.
    pub(super) fn named(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let kind = format!("urn:streamgauge:problem:{code}").into();
        let mut words = code.replace('-', " ");
        if let Some(first) = words.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self { kind, title: words.into(), ..Self::of(status, detail) }
    }

    /// The request itself is wrong.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::of(StatusCode::BAD_REQUEST, detail)
    }

    /// With the known name most like the one that is not known.
    pub(super) fn near(self, nearest: Option<String>) -> Self {
        Self { nearest: nearest.map(String::into_boxed_str), ..self }
    }

    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Says which path was called.
    pub(super) fn at(mut self, path: &str) -> Self {
        self.instance = Some(path.into());
        self
    }

    /// The answer.
    pub(super) fn render(&self) -> Response {
        // Plain strings: writing them to memory cannot fail.
        let mut response = Response::new(Body::from(serde_json::to_vec(self).unwrap_or_default()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if MAY_PASS.contains(&self.status()) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// The edge adds the path and writes the body: a handler does not know its path.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<&PublishError> for Problem {
    fn from(error: &PublishError) -> Self {
        let (status, nearest) = match error {
            PublishError::UnknownTopic { nearest, .. } => (StatusCode::NOT_FOUND, nearest.clone()),
            PublishError::UnknownType { nearest, .. } => (StatusCode::BAD_REQUEST, nearest.clone()),
            PublishError::NoType { .. }
            | PublishError::Missing { .. }
            | PublishError::Schema { .. }
            | PublishError::Invalid(_)
            | PublishError::Refused(_) => (StatusCode::BAD_REQUEST, None),
            PublishError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, None),
            PublishError::InFlight { .. } => (StatusCode::CONFLICT, None),
            PublishError::OtherContent { .. } => (StatusCode::UNPROCESSABLE_ENTITY, None),
            PublishError::Full
            | PublishError::Unavailable(_)
            | PublishError::Unconfirmed(_)
            | PublishError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, None),
        };
        Self { nearest: nearest.map(String::into_boxed_str), ..Self::named(status, error.code(), error.to_string()) }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let detail = error.to_string();
        match error {
            ReadError::Store(StoreError::Unavailable { .. }) => {
                Self::named(StatusCode::SERVICE_UNAVAILABLE, "store-unavailable", detail)
            }
            ReadError::Store(StoreError::NoCursor { .. }) => Self::bad_request(detail),
            ReadError::Store(_) => Self::named(StatusCode::INTERNAL_SERVER_ERROR, "store-refused", detail),
            ReadError::Unsettled => Self::named(StatusCode::SERVICE_UNAVAILABLE, "unsettled", detail),
            ReadError::Invalid(_) => Self::bad_request(detail),
            ReadError::UnknownRanking { nearest, .. } => {
                let nearest = nearest.map(String::into_boxed_str);
                Self { nearest, ..Self::named(StatusCode::NOT_FOUND, "unknown-ranking", detail) }
            }
        }
    }
}
