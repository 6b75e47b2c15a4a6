//! Uniques, histories, sets and rankings.

use std::ops::RangeInclusive;

use axum::{Json, extract::State};
use chrono::{NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    AppState, Problem,
    counters::check_limit,
    document::values::{Day, Key, Limit, Time},
    extract::{KeyPath, Params},
};
use crate::core::time;

const DEFAULT_HISTORY: usize = 100;
const DEFAULT_MEMBERS: usize = 100;
const DEFAULT_TRENDING: usize = 10;
/// The years that RFC 3339 can write, 0 to 9999, milliseconds since 1970.
const YEARS_MS: RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Parameters of a unique.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct UniquesParams {
    /// UTC day, `2026-11-21`; default: today. Only for keys that are counted by day.
    #[param(inline, value_type = Option<Day>)]
    day: Option<String>,
}

/// Parameters of a history.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryParams {
    /// Most items, at most 1,000; default 100.
    #[param(inline, value_type = Option<Limit>)]
    limit: Option<usize>,
}

/// Parameters of a set.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct SetsParams {
    /// Asks whether this element is in, instead of listing.
    element: Option<String>,
    /// Where the former page ended.
    cursor: Option<String>,
    /// Members to aim for, at most 1,000; default 100. A page may hold a few more or fewer.
    #[param(inline, value_type = Option<Limit>)]
    limit: Option<usize>,
}

/// Parameters of a ranking.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct TrendingParams {
    /// The window's label; default: the first that the rule has.
    window: Option<String>,
    /// A time in the window, RFC 3339 or milliseconds since 1970; default: now.
    #[param(inline, value_type = Option<Time>)]
    at: Option<String>,
    /// Most items, at most 1,000; default 10.
    #[param(inline, value_type = Option<Limit>)]
    limit: Option<usize>,
}

/// An answer.
#[derive(Serialize, ToSchema)]
pub(super) struct Answer<T> {
    success: bool,
    data: T,
}

/// Distinct elements, approximate (HyperLogLog).
#[derive(Serialize, ToSchema)]
pub(super) struct UniqueData {
    key: String,
    exists: bool,
    value: u64,
    /// The day; null where the key is counted for ever.
    day: Option<String>,
}

/// The newest elements first.
#[derive(Serialize, ToSchema)]
pub(super) struct HistoryData {
    key: String,
    exists: bool,
    items: Vec<HistoryItem>,
}

/// An element of a history.
#[derive(Serialize, ToSchema)]
pub(super) struct HistoryItem {
    element: String,
    /// Time of the event, RFC 3339.
    time: String,
}

/// A page of a set, or whether an element is in it.
#[derive(Serialize, ToSchema)]
pub(super) struct SetData {
    key: String,
    exists: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    element: Option<String>,
    /// Whether the element is in; only where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    member: Option<bool>,
    /// Elements; only where none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<String>>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// The greatest sums of a window.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TrendingData {
    key: String,
    exists: bool,
    window: String,
    /// When the window begins, RFC 3339.
    window_start: String,
    items: Vec<TrendingItem>,
}

/// An element of a ranking.
#[derive(Serialize, ToSchema)]
pub(super) struct TrendingItem {
    element: String,
    sum: i64,
}

/// How many distinct elements a key has seen, on a day or ever.
#[utoipa::path(get, path = "/api/uniques/{key}", tag = "results",
    params(("key" = inline(Key), Path, description = "Without the day"), UniquesParams), responses(
    (status = 200, description = "The estimate", body = Answer<UniqueData>),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn uniques(
    State(state): State<AppState>,
    KeyPath(key): KeyPath,
    Params(params): Params<UniquesParams>,
) -> Result<Json<Answer<UniqueData>>, Problem> {
    if let Some(day) = params.day.as_deref().filter(|day| !is_day(day)) {
        return Err(Problem::bad_request(format!("day is {day:?}; it must be a day like 2026-11-21")));
    }
    let today = time::day_of(Utc::now().timestamp_millis());
    let found = state.parts().reads.unique(&key, params.day, &today).await?;
    answer(UniqueData { key, exists: found.value.is_some(), value: found.value.unwrap_or(0), day: found.day })
}

/// The newest elements of a key.
#[utoipa::path(get, path = "/api/history/{key}", tag = "results",
    params(("key" = inline(Key), Path), HistoryParams), responses(
    (status = 200, description = "Newest first", body = Answer<HistoryData>),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn history(
    State(state): State<AppState>,
    KeyPath(key): KeyPath,
    Params(params): Params<HistoryParams>,
) -> Result<Json<Answer<HistoryData>>, Problem> {
    let limit = check_limit(params.limit, DEFAULT_HISTORY)?;
    let found = state.parts().reads.history(&key, limit).await?;
    let exists = !found.is_empty();
    let items = found.into_iter().map(|item| HistoryItem { element: item.element, time: time::rfc3339(item.time_ms) });
    answer(HistoryData { key, exists, items: items.collect() })
}

/// The members of a set, or whether an element is one.
#[utoipa::path(get, path = "/api/sets/{key}", tag = "results", params(("key" = inline(Key), Path), SetsParams), responses(
    (status = 200, description = "A page of members, or whether the element is in", body = Answer<SetData>),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn sets(
    State(state): State<AppState>,
    KeyPath(key): KeyPath,
    Params(params): Params<SetsParams>,
) -> Result<Json<Answer<SetData>>, Problem> {
    let reads = &state.parts().reads;
    if let Some(element) = params.element {
        if params.cursor.is_some() || params.limit.is_some() {
            return Err(Problem::bad_request("element asks about one element: leave cursor and limit out"));
        }
        let (exists, member) = reads.is_member(&key, &element).await?;
        let (element, member) = (Some(element), Some(member));
        return answer(SetData { key, exists, element, member, members: None, cursor: None });
    }
    let limit = check_limit(params.limit, DEFAULT_MEMBERS)?;
    let cursor = params.cursor.unwrap_or_default();
    let page = reads.members(&key, &cursor, limit).await?;
    // A page may be empty while another follows, and a later page says nothing about the set being there at all.
    let exists = !page.members.is_empty() || page.cursor.is_some() || !cursor.is_empty();
    answer(SetData { key, exists, element: None, member: None, members: Some(page.members), cursor: page.cursor })
}

/// The greatest sums of a ranking's window.
#[utoipa::path(get, path = "/api/trending/{key}", tag = "results",
    params(("key" = inline(Key), Path, description = "Without window and start"), TrendingParams), responses(
    (status = 200, description = "Greatest first", body = Answer<TrendingData>),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No rule makes this ranking", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn trending(
    State(state): State<AppState>,
    KeyPath(key): KeyPath,
    Params(params): Params<TrendingParams>,
) -> Result<Json<Answer<TrendingData>>, Problem> {
    let limit = check_limit(params.limit, DEFAULT_TRENDING)?;
    let at_ms = params.at.as_deref().map_or_else(|| Ok(Utc::now().timestamp_millis()), parse_time)?;
    let found = state.parts().reads.ranking(&key, params.window.as_deref(), at_ms, limit).await?;
    let exists = !found.items.is_empty();
    let window_start = time::rfc3339(found.start_ms);
    let items = found.items.into_iter().map(|item| TrendingItem { element: item.element, sum: item.sum }).collect();
    answer(TrendingData { key, exists, window: found.window, window_start, items })
}

fn parse_time(text: &str) -> Result<i64, Problem> {
    let parsed = text.parse().ok().or_else(|| time::parse_rfc3339_ms(text));
    parsed.filter(|ms| YEARS_MS.contains(ms)).ok_or_else(|| {
        Problem::bad_request(format!(
            "at is {text:?}; it must be RFC 3339 (a + written as %2B) or milliseconds since 1970, of the years 0 to 9999"
        ))
    })
}

/// Keys name days in one way only, so `2026-1-5` would find nothing.
fn is_day(text: &str) -> bool {
    text.len() == "2026-11-21".len() && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

fn answer<T>(data: T) -> Result<Json<Answer<T>>, Problem> {
    Ok(Json(Answer { success: true, data }))
}
