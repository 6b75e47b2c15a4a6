//! Dead letters: what there is, looked at, replayed, purged.
//!
//! A call does a bounded part and says where the next one goes on (`cursor`): whoever has much to replay calls again, so that no
//! request lasts, and one that breaks off loses nothing. A job that runs by itself would have to be found again after a restart.

mod meant;
mod shown;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use self::{
    meant::{LetterParams, Meant, cursor, spot},
    shown::{LetterData, PurgedData, ReplayedData},
};
use super::{
    AppState, Problem,
    counters::check_limit,
    document::values::{By, Key, LettersCursor, Limit, Place, Rate, Records},
    extract::{KeyPath, None as NoParams, Params, Payload, whole},
};
use crate::{
    core::masking::Masking,
    runtime::dead_letters::{DeadLetterError, PurgeOptions, ReplayOptions},
};

/// How many dead letters a page has where it is not said.
const DEFAULT_LIMIT: usize = 100;
/// Longest name of whoever acts, characters.
pub(super) const MAX_BY_CHARS: usize = 100;

/// All topics.
#[derive(Serialize, ToSchema)]
pub(super) struct WaitingAnswer {
    success: bool,
    data: Vec<WaitingData>,
}

/// How many dead letters of a topic wait.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct WaitingData {
    topic: String,
    /// Where they lie.
    dead_letter_topic: String,
    /// Those that were neither replayed nor purged.
    waiting: i64,
    /// How many of them were found to have each reason.
    reasons: std::collections::BTreeMap<String, u64>,
    /// All were looked at for their reasons; else only the first 5,000.
    complete: bool,
}

/// A page of dead letters.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LettersAnswer {
    success: bool,
    data: Vec<LetterData>,
    /// How many were looked at for this page.
    looked_at: u64,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// What a page shows of each dead letter.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParams {
    /// Most dead letters, at most 1,000; default 100.
    #[param(inline, value_type = Option<Limit>)]
    limit: Option<usize>,
    /// Where the former page ended.
    #[param(inline, value_type = Option<LettersCursor>)]
    cursor: Option<String>,
    /// With the original's headers and value; sensitive fields are masked.
    full: Option<bool>,
}

/// Which dead letters are replayed, and how.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReplayBody {
    /// Which; all that can be replayed where it is absent.
    filter: Option<LetterParams>,
    /// Where the former call ended.
    #[schema(inline, value_type = Option<LettersCursor>)]
    cursor: Option<String>,
    /// Says only what would be replayed.
    dry_run: Option<bool>,
    /// Most records a second.
    #[serde(default, deserialize_with = "whole")]
    #[schema(inline, value_type = Option<Rate>)]
    rate: Option<u32>,
    /// Most records of this call.
    #[serde(default, deserialize_with = "whole")]
    #[schema(inline, value_type = Option<Records>)]
    limit: Option<u64>,
    /// Who does it, for the log.
    #[schema(inline, value_type = Option<By>)]
    by: Option<String>,
}

/// What a replay did.
#[derive(Serialize, ToSchema)]
pub(super) struct ReplayAnswer {
    success: bool,
    data: ReplayedData,
}

/// Which dead letters are purged.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PurgeBody {
    /// Which; `until` alone purges the beginning of each partition, as far as the broker finds nothing younger in it.
    filter: Option<LetterParams>,
    /// All of them.
    all: Option<bool>,
    /// Those before an offset of a partition: `partition:offset`.
    #[schema(inline, value_type = Option<Place>)]
    before: Option<String>,
    /// Where the former call ended.
    #[schema(inline, value_type = Option<LettersCursor>)]
    cursor: Option<String>,
    /// Says only what would be purged.
    dry_run: Option<bool>,
    /// Who does it, for the log.
    #[schema(inline, value_type = Option<By>)]
    by: Option<String>,
}

/// What a purge did.
#[derive(Serialize, ToSchema)]
pub(super) struct PurgeAnswer {
    success: bool,
    data: PurgedData,
}

/// Topics, how many dead letters of each wait, and for which reasons.
#[utoipa::path(get, path = "/api/dlq", tag = "dead letters", responses(
    (status = 200, description = "What there is", body = WaitingAnswer),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 500, description = "Somebody must mend something", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Log or store do not answer", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn topics(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<WaitingAnswer>, Problem> {
    let told = state.parts().dead_letters.topics().await?;
    let data = told
        .into_iter()
        .map(|told| WaitingData {
            dead_letter_topic: crate::catalog::plan::dead_letter_topic(&told.topic),
            topic: told.topic,
            waiting: told.waiting,
            reasons: told.reasons,
            complete: told.is_whole,
        })
        .collect();
    Ok(Json(WaitingAnswer { success: true, data }))
}

/// Dead letters of a topic, the oldest of each partition first. What was replayed or purged is left out.
#[utoipa::path(get, path = "/api/dlq/{topic}", tag = "dead letters",
    params(("topic" = inline(Key), Path, description = "The topic that they come from"), LetterParams, PageParams), responses(
    (status = 200, description = "A page", body = LettersAnswer),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No catalogue has the topic", body = Problem, content_type = "application/problem+json"),
    (status = 500, description = "Somebody must mend something", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Log or store do not answer", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(state): State<AppState>,
    KeyPath(topic): KeyPath,
    Meant { filter, page }: Meant,
) -> Result<Json<LettersAnswer>, Problem> {
    let letters = &state.parts().dead_letters;
    let topic = letters.topic(&topic)?;
    let limit = check_limit(page.limit, DEFAULT_LIMIT)?;
    let found = letters.list(topic, &filter.read(topic)?, cursor(page.cursor.as_deref())?, limit).await?;
    let (masking, is_full) = (Masking::of(topic), page.full.unwrap_or_default());
    let show = |letter| LetterData::of(letter, &masking, letters.max_replays(), is_full);
    Ok(Json(LettersAnswer {
        success: true,
        data: found.letters.iter().map(show).collect(),
        looked_at: found.looked_at,
        cursor: found.cursor.map(|cursor| cursor.to_string()),
    }))
}

/// Sends dead letters to their topic again, for the group that failed, each exactly once. A call lasts some seconds at most: while
/// there is a `cursor` in its answer, the next call goes on there.
#[utoipa::path(post, path = "/api/dlq/{topic}/replay", tag = "dead letters", request_body = ReplayBody,
    params(("topic" = inline(Key), Path, description = "The topic that they come from")), responses(
    (status = 200, description = "What was replayed", body = ReplayAnswer),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No catalogue has the topic", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Another replay is at work, or was broken off and is not settled yet", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
    (status = 500, description = "Somebody must mend something", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Log or store do not answer", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn replay(
    State(state): State<AppState>,
    KeyPath(topic): KeyPath,
    Params(NoParams {}): Params<NoParams>,
    payload: Payload,
) -> Result<Json<ReplayAnswer>, Problem> {
    let letters = &state.parts().dead_letters;
    let topic = letters.topic(&topic)?;
    let body: ReplayBody = payload.json()?;
    if body.rate == Some(0) || body.limit == Some(0) {
        return Err(Problem::bad_request("rate and limit begin at 1"));
    }
    let filter = body.filter.unwrap_or_default();
    let options = ReplayOptions { is_dry_run: body.dry_run.unwrap_or_default(), rate: body.rate, limit: body.limit };
    let by = acting(body.by)?;
    let done = letters.replay(topic, &filter.read(topic)?, cursor(body.cursor.as_deref())?, options).await;
    let outcome = match &done {
        Ok(done) => format!("{} replayed, {} refused, {} parked", done.replayed, done.refused, done.parked),
        Err(error) => error.to_string(),
    };
    tracing::info!(topic = %topic.name, by, dry_run = options.is_dry_run, filter = %filter.words(),
        "audit: dlq replay: {outcome}");
    Ok(Json(ReplayAnswer { success: true, data: done?.into() }))
}

/// Purges dead letters: those at the beginning of a partition are deleted, others hidden until all before them are gone.
#[utoipa::path(post, path = "/api/dlq/{topic}/purge", tag = "dead letters", request_body = PurgeBody,
    params(("topic" = inline(Key), Path, description = "The topic that they come from")), responses(
    (status = 200, description = "What was purged", body = PurgeAnswer),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No catalogue has the topic", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "A replay is at work, or was broken off and is not settled yet", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
    (status = 500, description = "Somebody must mend something", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Log or store do not answer", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn purge(
    State(state): State<AppState>,
    KeyPath(topic): KeyPath,
    Params(NoParams {}): Params<NoParams>,
    payload: Payload,
) -> Result<Json<PurgeAnswer>, Problem> {
    let letters = &state.parts().dead_letters;
    let topic = letters.topic(&topic)?;
    let body: PurgeBody = payload.json()?;
    let filter = body.filter.unwrap_or_default();
    let before = body.before.as_deref().map(|text| spot("before", text, &topic.dead_letter_topic())).transpose()?;
    let is_some = !filter.is_empty();
    if [body.all.unwrap_or_default(), before.is_some(), is_some].into_iter().filter(|given| *given).count() != 1 {
        return Err(Problem::bad_request("give one of filter (with something in it), before, or all: true"));
    }
    let options = PurgeOptions { is_dry_run: body.dry_run.unwrap_or_default(), before };
    let by = acting(body.by)?;
    let done = letters.purge(topic, &filter.read(topic)?, cursor(body.cursor.as_deref())?, options).await;
    let outcome = match &done {
        Ok(done) => format!("{} purged, of which {} deleted, {} hidden", done.purged, done.deleted, done.hidden),
        Err(error) => error.to_string(),
    };
    let before = body.before.unwrap_or_default();
    tracing::info!(topic = %topic.name, by, dry_run = options.is_dry_run, filter = %filter.words(), before,
        "audit: dlq purge: {outcome}");
    Ok(Json(PurgeAnswer { success: true, data: done?.into() }))
}

/// Who acts, as they say: this version has no keys to tell it by.
fn acting(by: Option<String>) -> Result<String, Problem> {
    let by = by.unwrap_or_else(|| "unnamed".to_owned());
    if by.chars().count() > MAX_BY_CHARS || by.chars().any(char::is_control) {
        return Err(Problem::bad_request(format!(
            "by has at most {MAX_BY_CHARS} characters, none of them for control"
        )));
    }
    Ok(by)
}

impl From<DeadLetterError> for Problem {
    fn from(error: DeadLetterError) -> Self {
        let detail = error.to_string();
        match error {
            DeadLetterError::UnknownTopic { nearest, .. } => {
                Self::named(StatusCode::NOT_FOUND, "unknown-topic", detail).near(nearest)
            }
            DeadLetterError::Busy { .. } => Self::named(StatusCode::CONFLICT, "replay-under-way", detail),
            error if error.is_retriable() => Self::named(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail),
            _ => Self::named(StatusCode::INTERNAL_SERVER_ERROR, "dead-letters-failed", detail),
        }
    }
}
