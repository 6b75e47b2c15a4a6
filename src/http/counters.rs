//! Counters.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    AppState, MAX_ITEMS, Problem,
    after::AfterParams,
    document::values::{CountersBy, Key},
    extract::{KeyPath, Params, Payload, check_key, whole},
};
use crate::runtime::reads::CounterValue;

/// How many names a query by prefix looks at where it does not say.
const DEFAULT_LIMIT: usize = 100;

/// A counter.
#[derive(Serialize, ToSchema)]
pub(super) struct CounterData {
    key: String,
    /// Stored and pending together.
    value: i64,
    /// What the store has.
    stored: i64,
    /// What this process holds unflushed.
    pending: i64,
    /// Whether it was ever counted.
    exists: bool,
}

/// A counter's answer.
#[derive(Serialize, ToSchema)]
pub(super) struct CounterAnswer {
    success: bool,
    data: CounterData,
}

/// A list of counters.
#[derive(Serialize, ToSchema)]
pub(super) struct CountersAnswer {
    success: bool,
    data: Vec<CounterData>,
    /// Where the next page begins; absent at the end and in a query by keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// Counters by name, or by the beginning of their names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CountersQuery {
    /// Names, at most 1,000.
    keys: Option<Vec<String>>,
    /// The beginning of the names; a bounded scan of what is stored.
    prefix: Option<String>,
    /// How many names to look at, at most 1,000; default 100. Only with `prefix`. A page may be shorter, or empty.
    #[serde(default, deserialize_with = "whole")]
    limit: Option<usize>,
    /// Where the former page ended. Only with `prefix`.
    cursor: Option<String>,
}

/// One counter. A key that was never counted is 0, with `exists` false.
#[utoipa::path(get, path = "/api/counters/{key}", tag = "results",
    params(("key" = inline(Key), Path, description = "The counter's name, percent-encoded once more"), AfterParams), responses(
    (status = 200, description = "The counter", body = CounterAnswer),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "after names an unknown topic", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer", body = Problem, content_type = "application/problem+json"),
    (status = 504, description = "The event is not counted yet", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn get(
    State(state): State<AppState>,
    KeyPath(key): KeyPath,
    Params(after): Params<AfterParams>,
) -> Result<Json<CounterAnswer>, Problem> {
    after.wait(&state).await?;
    let mut values = state.parts().reads.counters(vec![key]).await?;
    let value = values.pop().ok_or_else(|| Problem::bad_request("the key was not answered for"))?;
    Ok(Json(CounterAnswer { success: true, data: value.into() }))
}

/// Many counters, by name or by prefix.
#[utoipa::path(post, path = "/api/counters/query", tag = "results", request_body = CountersBy, params(AfterParams), responses(
    (status = 200, description = "The counters", body = CountersAnswer),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "after names an unknown topic", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer", body = Problem, content_type = "application/problem+json"),
    (status = 504, description = "The event is not counted yet", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn query(
    State(state): State<AppState>,
    Params(after): Params<AfterParams>,
    payload: Payload,
) -> Result<Json<CountersAnswer>, Problem> {
    after.wait(&state).await?;
    let reads = &state.parts().reads;
    let (values, cursor) = match payload.json()? {
        CountersQuery { keys: Some(keys), prefix: None, limit: None, cursor: None } => {
            if keys.len() > MAX_ITEMS {
                return Err(Problem::bad_request(format!("at most {MAX_ITEMS} keys, these are {}", keys.len())));
            }
            keys.iter().try_for_each(|key| check_key(key))?;
            (reads.counters(keys).await?, None)
        }
        CountersQuery { keys: None, prefix: Some(prefix), limit, cursor } => {
            let limit = check_limit(limit, DEFAULT_LIMIT)?;
            reads.counters_by_prefix(&prefix, &cursor.unwrap_or_default(), limit).await?
        }
        _ => return Err(Problem::bad_request("give either keys, or prefix with limit and cursor as you like")),
    };
    Ok(Json(CountersAnswer { success: true, data: values.into_iter().map(CounterData::from).collect(), cursor }))
}

/// A number of items within the cap.
pub(super) fn check_limit(limit: Option<usize>, default: usize) -> Result<usize, Problem> {
    match limit.unwrap_or(default) {
        limit @ 1..=MAX_ITEMS => Ok(limit),
        limit => Err(Problem::bad_request(format!("limit is {limit}; it must be 1 to {MAX_ITEMS}"))),
    }
}

impl From<CounterValue> for CounterData {
    fn from(counter: CounterValue) -> Self {
        let CounterValue { key, value, stored, pending, exists } = counter;
        Self { key, value, stored, pending, exists }
    }
}
