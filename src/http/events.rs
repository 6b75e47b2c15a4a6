//! Publishing one event, and what is common to it and to batches.

use std::{borrow::Cow, sync::Arc};

use axum::{Json, extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    AppState, Problem,
    document::values::{EventId, IdempotencyKey, Priority},
    extract::{None as NoParams, Params, Payload},
};
use crate::runtime::publish::{Draft, Receipt, Trace};

/// A string of a request, borrowed where it has no escapes.
#[derive(Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// An event to publish.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PublishRequest<'a> {
    /// Where to: a topic of the catalogue.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1)]
    topic: Text<'a>,
    /// The event's data.
    #[serde(borrow)]
    #[schema(value_type = Object)]
    data: &'a RawValue,
    /// Default: the topic's.
    #[serde(borrow)]
    #[schema(inline, value_type = Option<Priority>)]
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
    #[schema(value_type = Option<String>, min_length = 1)]
    user_id: Option<Text<'a>>,
    /// The record's key; default: the values of the topic's key fields.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1)]
    key: Option<Text<'a>>,
    /// The event's id, at most 1,024 bytes; default: the header Idempotency-Key, else a new one. Where it is given, the event is
    /// published once within an hour, however often it is sent.
    #[serde(borrow)]
    #[schema(inline, value_type = Option<EventId>)]
    event_id: Option<Text<'a>>,
    /// The event's type; default: the topic's only one, else the data's `type`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1)]
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
    /// Whether the same event had been published before: nothing was sent, and the others say where it is.
    duplicate: bool,
}

/// Publishes one event. Answered once the broker has it.
#[utoipa::path(post, path = "/api/events/publish", tag = "events", request_body = PublishRequest, params(
    ("Idempotency-Key" = inline(Option<IdempotencyKey>), Header, description = "What the event is published once by, where it has no eventId"),
), responses(
    (status = 200, description = "The broker has the event", body = Published),
    (status = 400, description = "The event is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "This process does not publish (ROLES)", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "Unknown topic", body = Problem, content_type = "application/problem+json"),
    (status = 409, description = "Another request is publishing the event; ask again after Retry-After", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Not JSON", body = Problem, content_type = "application/problem+json"),
    (status = 422, description = "The id was used for an event with other content within the last hour", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The broker does not have the event, or, where it has an id, the store does not answer; try again after Retry-After", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn publish(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Json<Published>, Problem> {
    let publisher = state.publisher()?;
    let idempotency_key = idempotency_key(&headers)?.map(Cow::Borrowed);
    let request: PublishRequest<'_> = payload.json()?;
    let PublishRequest { topic, data, priority, source, correlation_id, user_id, key, event_id, event_type } = request;
    let [priority, source, correlation_id, user_id, key, event_id, event_type] =
        [priority, source, correlation_id, user_id, key, event_id, event_type].map(text);
    let trace = trace(&headers);
    let draft =
        Draft { data, priority, source, correlation_id, user_id, key, event_id, idempotency_key, event_type, trace };
    let Text(topic) = topic;
    let published = publisher.publish(&topic, &draft).await;
    state.0.metrics.publish_ended(&topic, &published);
    match published {
        Ok(Receipt { event_id, topic, partition, offset, is_duplicate }) => Ok(Json(Published {
            success: true,
            message: "Event published successfully",
            event_id,
            topic,
            partition,
            offset,
            duplicate: is_duplicate,
        })),
        Err(error) => Err(Problem::from(&error)),
    }
}

/// The string that was given.
pub(super) fn text(given: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    given.map(|Text(text)| text)
}

/// The trace context of the request, which its events carry on.
pub(super) fn trace(headers: &HeaderMap) -> Trace<'_> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    Trace { parent: text("traceparent"), state: text("tracestate") }
}

/// What the request is to be carried out once by. The draft of its RFC writes it as a string in quotes, most clients without.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    match text.is_empty() {
        false => Ok(Some(text)),
        true => Err(Problem::bad_request("the header Idempotency-Key must be of 1 or more visible ASCII characters")),
    }
}
