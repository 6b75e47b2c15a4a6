//! What became of an event.

use std::collections::BTreeMap;

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    AppState, Problem,
    after::duration,
    document::values::{Key, Wait},
    extract::{KeyPath, Params},
};
use crate::{
    core::time,
    model::Status,
    runtime::{
        reads::ReadError,
        tracking::{Tracked, TrackingError},
    },
};

/// What is asked of an event.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ProcessedParams {
    /// Only what became of it in this group.
    group: Option<String>,
    /// Waits until it is PROCESSED or FAILED, so long at most: `500ms`, `2s`, up to 20s. The answer says how things stand then.
    #[param(inline, value_type = Option<Wait>)]
    wait: Option<String>,
}

/// What became of an event.
#[derive(Serialize, ToSchema)]
pub(super) struct ProcessedAnswer {
    success: bool,
    data: ProcessedData,
}

/// An event of a topic with `track = true`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessedData {
    event_id: String,
    /// Whether it is done, in all groups or the one that was asked for.
    processed: bool,
    /// UNKNOWN, PENDING, PROCESSING, RETRYING, FAILED or PROCESSED: the least finished of the groups, in this order.
    status: &'static str,
    /// By group. Counting's is KAFKA_CONSUMER_GROUP.
    groups: BTreeMap<String, EventGroupData>,
    topic: Option<String>,
    partition: Option<i32>,
    offset: Option<i64>,
    /// When the newest of this came to be, RFC 3339.
    updated_at: Option<String>,
}

/// What became of an event in a group.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventGroupData {
    status: &'static str,
    /// How often it was tried.
    attempts: u32,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The topic of its dead letter.
    #[serde(skip_serializing_if = "Option::is_none")]
    dead_letter: Option<String>,
}

/// What became of an event of a tracked topic. An id of which nothing is known, or not any more, is UNKNOWN.
#[utoipa::path(get, path = "/api/events/processed/{eventId}", tag = "events",
    params(("eventId" = inline(Key), Path, description = "The event's id"), ProcessedParams), responses(
    (status = 200, description = "What became of it", body = ProcessedAnswer),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn get(
    State(state): State<AppState>,
    KeyPath(event_id): KeyPath,
    Params(ProcessedParams { group, wait }): Params<ProcessedParams>,
) -> Result<Json<ProcessedAnswer>, Problem> {
    let tracking = &state.parts().tracking;
    let group = group.as_deref();
    let tracked = match wait.as_deref().map(duration).transpose()? {
        Some(wait) => tracking.wait(&event_id, group, wait).await,
        None => tracking.look(&event_id, group).await.map_err(TrackingError::from),
    };
    let tracked = tracked.map_err(|error| match error {
        TrackingError::Full => Problem::named(StatusCode::SERVICE_UNAVAILABLE, "overloaded", error.to_string()),
        TrackingError::Store(error) => Problem::from(ReadError::Store(error)),
    })?;
    Ok(Json(ProcessedAnswer { success: true, data: describe(event_id, tracked) }))
}

fn describe(event_id: String, tracked: Tracked) -> ProcessedData {
    let Tracked { progress, groups, topic, place, updated_at_ms } = tracked;
    let (partition, offset) = place.unzip();
    let status = progress.map_or("UNKNOWN", crate::model::Progress::name);
    ProcessedData {
        event_id,
        processed: progress == Some(crate::model::Progress::Processed),
        status,
        groups: groups.into_iter().map(|(group, status)| (group.to_string(), describe_group(status))).collect(),
        topic: topic.map(|topic| topic.to_string()),
        partition,
        offset,
        updated_at: updated_at_ms.map(time::rfc3339),
    }
}

fn describe_group(status: Option<Status>) -> EventGroupData {
    let Some(Status { progress, attempts, error, dead_letter, .. }) = status else {
        let status = crate::model::Progress::Pending.name();
        return EventGroupData { status, attempts: 0, error: None, dead_letter: None };
    };
    let text = |text: Option<Box<str>>| text.map(String::from);
    EventGroupData { status: progress.name(), attempts, error: text(error), dead_letter: text(dead_letter) }
}
