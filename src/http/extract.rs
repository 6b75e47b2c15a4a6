//! What handlers take: query parameters, keys, bodies. Strict: what is not known is refused by name, never ignored.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, header, request::Parts},
    response::IntoResponse,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};

use super::{BODY_READ_TIMEOUT, MAX_BODY_BYTES, MAX_KEY_BYTES, Problem};

/// The query parameters of a request, all of them known.
pub(super) struct Params<T>(pub(super) T);

/// No query parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct None {}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => Err(Problem::bad_request(rejection.body_text())),
        }
    }
}

/// The key in a path, percent-decoded once: a counter named `a%3Ab` is asked for as `a%253Ab`.
pub(super) struct KeyPath(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(key) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
        check_key(&key)?;
        Ok(Self(key))
    }
}

/// A key that could be one.
pub(super) fn check_key(key: &str) -> Result<(), Problem> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(Problem::bad_request(format!("a key has 1 to {MAX_KEY_BYTES} bytes, this one {}", key.len())));
    }
    Ok(())
}

/// The form of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON value.
    Json,
    /// One JSON value per line.
    Lines,
}

/// A body, decompressed, and its form.
pub(super) struct Payload {
    pub(super) form: Form,
    pub(super) bytes: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Payload {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let form = form_of(&request)?;
        let reading = Bytes::from_request(request, state);
        match tokio::time::timeout(BODY_READ_TIMEOUT, reading).await {
            Ok(Ok(bytes)) => Ok(Self { form, bytes }),
            Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Problem::of(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body, decompressed, has more than {MAX_BODY_BYTES} bytes: send it in parts"),
            )),
            Ok(Err(rejection)) => Err(Problem::of(rejection.status(), rejection.body_text())),
            Err(_) => Err(Problem::of(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not come within {} s", BODY_READ_TIMEOUT.as_secs()),
            )),
        }
    }
}

impl Payload {
    /// Reads the body as one JSON value.
    pub(super) fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        if self.form != Form::Json {
            return Err(unsupported("application/json"));
        }
        serde_json::from_slice(&self.bytes).map_err(|error| Problem::bad_request(format!("the body: {error}")))
    }
}

fn form_of(request: &Request) -> Result<Form, Problem> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(Form::Json),
        "application/x-ndjson" => Ok(Form::Lines),
        _ => Err(unsupported("application/json (for batches also application/x-ndjson)")),
    }
}

fn unsupported(wanted: &str) -> Problem {
    Problem::of(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the body must come with content-type {wanted}"))
}

/// A whole number from 0, however it is written: to JSON Schema 5.0 is one.
pub(super) fn whole<'de, D: Deserializer<'de>, N: TryFrom<i64>>(deserializer: D) -> Result<Option<N>, D::Error> {
    /// Up to here every whole number is a double.
    const MAX_EXACT: f64 = 9_007_199_254_740_992.0;
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    let is_whole = |float: &f64| float.fract() == 0.0 && (0.0..MAX_EXACT).contains(float);
    let whole = number.as_i64().or_else(|| number.as_f64().filter(is_whole).map(|float| float as i64));
    let fitting = whole.and_then(|whole| N::try_from(whole).ok());
    fitting.map(Some).ok_or_else(|| de::Error::custom(format_args!("{number} is no whole number that fits here")))
}

/// What no route answers.
pub(super) async fn not_found() -> impl IntoResponse {
    Problem::of(StatusCode::NOT_FOUND, "there is no such route; GET /openapi.json lists them")
}
