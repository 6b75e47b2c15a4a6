//! What is configured.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AppState, Problem,
    extract::{None as NoParams, Params},
};
use crate::catalog::plan::{EventType, Topic};

/// The topics.
#[derive(Serialize, ToSchema)]
pub(super) struct TopicsAnswer {
    success: bool,
    data: Vec<TopicData>,
}

/// A topic of the catalogues in force.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopicData {
    topic: String,
    /// The catalogue that it comes from.
    catalog: String,
    /// Fields that choose the partition.
    key: Vec<String>,
    /// Accepted shapes.
    shapes: Vec<&'static str>,
    /// The shape that publishing writes.
    publish_shape: &'static str,
    partitions: i32,
    /// The topic that takes its dead letters.
    dead_letters: String,
    events: Vec<EventData>,
}

/// An event type.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventData {
    #[serde(rename = "type")]
    name: String,
    version: String,
    /// Fields that must be there.
    required: Vec<String>,
    rules: usize,
}

/// The topics of the catalogues in force and their event types.
#[utoipa::path(get, path = "/api/topics", tag = "service", responses(
    (status = 200, description = "What is configured", body = TopicsAnswer),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<TopicsAnswer>, Problem> {
    let data = state.parts().catalog.topics.iter().map(|topic| describe(topic)).collect();
    Ok(Json(TopicsAnswer { success: true, data }))
}

fn describe(topic: &Topic) -> TopicData {
    TopicData {
        topic: topic.name.to_string(),
        catalog: topic.catalog.clone(),
        key: names(topic, &topic.key),
        shapes: topic.shapes.iter().map(|shape| shape.name()).collect(),
        publish_shape: topic.publish_shape.name(),
        partitions: topic.partitions,
        dead_letters: topic.dead_letter_topic(),
        events: topic.events.iter().map(|event| describe_event(topic, event)).collect(),
    }
}

fn describe_event(topic: &Topic, event: &EventType) -> EventData {
    EventData {
        name: event.name.to_string(),
        version: event.version.to_string(),
        required: names(topic, &event.required),
        rules: event.rules.len(),
    }
}

fn names(topic: &Topic, slots: &[u16]) -> Vec<String> {
    slots.iter().filter_map(|slot| topic.fields.get(usize::from(*slot))).map(|name| name.to_string()).collect()
}
