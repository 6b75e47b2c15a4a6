//! Publishing one event, and what is common to it and to batches.

use std::{borrow::Cow, sync::Arc};

use axum::{Json, extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    AppState, Problem,
    extract::{None as NoParams, Params, Payload},
};
use crate::runtime::publish::{Draft, Receipt};

/// A string of a request, borrowed where it has no escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// An event to publish.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PublishRequest<'a> {
    /// Where to: a topic of the catalogue.
    #[serde(borrow)]
    #[schema(value_type = String)]
    topic: Text<'a>,
    /// The event's data.
    #[serde(borrow)]
    #[schema(value_type = Object)]
    data: &'a RawValue,
    /// `critical`, `high`, `normal` or `low`; default: the topic's.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    priority: Option<Text<'a>>,
    /// The service that it comes from.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    source: Option<Text<'a>>,
    /// What joins it to other events.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    correlation_id: Option<Text<'a>>,
    /// The user that it is about.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    user_id: Option<Text<'a>>,
    /// The record's key; default: the values of the topic's key fields.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    key: Option<Text<'a>>,
    /// The event's id; default: a new one.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    event_id: Option<Text<'a>>,
    /// The event's type; default: the topic's only one, else the data's `type`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    event_type: Option<Text<'a>>,
}

/// A published event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Published {
    success: bool,
    message: &'static str,
    event_id: String,
    #[schema(value_type = String)]
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    /// Whether the same event had been published before.
    duplicate: bool,
}

/// Publishes one event. Answered once the broker has it.
#[utoipa::path(post, path = "/api/events/publish", tag = "events", request_body = PublishRequest, responses(
    (status = 200, description = "The broker has the event", body = Published),
    (status = 400, description = "The event is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "This process does not publish (ROLES)", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "Unknown topic", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The broker does not have the event; try again after Retry-After", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn publish(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Json<Published>, Problem> {
    let publisher = state.publisher()?;
    refuse_idempotency_key(&headers)?;
    let request: PublishRequest<'_> = payload.json()?;
    let PublishRequest { topic, data, priority, source, correlation_id, user_id, key, event_id, event_type } = request;
    let [priority, source, correlation_id, user_id, key, event_id, event_type] =
        [priority, source, correlation_id, user_id, key, event_id, event_type].map(text);
    let draft = Draft { data, priority, source, correlation_id, user_id, key, event_id, event_type };
    let Text(topic) = topic;
    let published = publisher.publish(&topic, &draft).await;
    state.0.metrics.publish_ended(&topic, &published);
    match published {
        Ok(Receipt { event_id, topic, partition, offset }) => Ok(Json(Published {
            success: true,
            message: "Event published successfully",
            event_id,
            topic,
            partition,
            offset,
            duplicate: false,
        })),
        Err(error) => Err(Problem::from(&error)),
    }
}

/// The string that was given.
pub(super) fn text(given: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    given.map(|Text(text)| text)
}

/// Taking the header and doing nothing about it would publish twice what its sender believes to be safe.
pub(super) fn refuse_idempotency_key(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.contains_key("idempotency-key") {
        true => Err(Problem::bad_request("the header Idempotency-Key is not in this version yet: leave it out")),
        false => Ok(()),
    }
}
