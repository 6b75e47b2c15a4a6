//! Publishing.
//!
//! Longer than most files, since half of it says what the fields of requests and answers mean.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    AppState, MAX_BATCH_EVENTS, Problem, RETRY_AFTER_S,
    extract::{Form, None as NoParams, Params, Payload},
};
use crate::runtime::publish::{Draft, PublishError, Receipt};

/// An event to publish.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PublishRequest {
    /// Where to: a topic of the catalogue.
    topic: String,
    /// The event's data.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
    /// `critical`, `high`, `normal` or `low`; default: the topic's.
    priority: Option<String>,
    /// The service that it comes from.
    source: Option<String>,
    /// What joins it to other events.
    correlation_id: Option<String>,
    /// The user that it is about.
    user_id: Option<String>,
    /// The record's key; default: the values of the topic's key fields.
    key: Option<String>,
    /// The event's id; default: a new one.
    event_id: Option<String>,
    /// The event's type; default: the topic's only one, else the data's `type`.
    event_type: Option<String>,
}

/// An event of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BatchEvent {
    /// Where to; default: the batch's topic.
    topic: Option<String>,
    /// The event's data.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
    /// As in a single publish.
    priority: Option<String>,
    /// As in a single publish.
    source: Option<String>,
    /// As in a single publish.
    correlation_id: Option<String>,
    /// As in a single publish.
    user_id: Option<String>,
    /// As in a single publish.
    key: Option<String>,
    /// As in a single publish.
    event_id: Option<String>,
    /// As in a single publish.
    event_type: Option<String>,
}

/// A batch. As `application/x-ndjson` each line is an event, and `?topic=` stands for `topic`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest {
    /// Where to.
    topic: Option<String>,
    /// The events, at most 10,000.
    #[schema(value_type = Vec<BatchEvent>)]
    events: Vec<Box<RawValue>>,
}

/// Parameters of a batch.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchParams {
    /// Topic of the events that name none.
    topic: Option<String>,
}

/// A published event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Published {
    success: bool,
    message: &'static str,
    event_id: String,
    topic: String,
    partition: i32,
    offset: i64,
    /// Whether the same event had been published before.
    duplicate: bool,
}

/// The answer to a batch.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchPublished {
    /// Whether every event is published.
    success: bool,
    message: String,
    /// One per event, in order.
    results: Vec<BatchResult>,
}

/// What became of an event of a batch.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchResult {
    success: bool,
    /// The status that a single publish would have had.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

/// Publishes one event. Answered once the broker has it.
#[utoipa::path(post, path = "/api/events/publish", tag = "events", request_body = PublishRequest, responses(
    (status = 200, description = "The broker has the event", body = Published),
    (status = 400, description = "The event is wrong", body = Problem, content_type = "application/problem+json"),
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
    refuse_idempotency_key(&headers)?;
    let request: PublishRequest = payload.json()?;
    let PublishRequest { topic, data, priority, source, correlation_id, user_id, key, event_id, event_type } = request;
    let draft = Draft { data, priority, source, correlation_id, user_id, key, event_id, event_type };
    match count(&state, &topic, state.parts().publisher.publish(&topic, draft).await) {
        Ok(Receipt { event_id, topic, partition, offset }) => Ok(Json(Published {
            success: true,
            message: "Event published successfully",
            event_id,
            topic: topic.to_string(),
            partition,
            offset,
            duplicate: false,
        })),
        Err(error) => Err(Problem::from(&error)),
    }
}

/// Publishes many events, each by itself. 200 where all are published, else 207 with a status for each; 503 where the
/// broker has none of them.
#[utoipa::path(post, path = "/api/events/publish-batch", tag = "events", params(BatchParams),
    request_body(content((BatchRequest = "application/json"), (BatchEvent = "application/x-ndjson"))), responses(
    (status = 200, description = "The broker has every event", body = BatchPublished),
    (status = 207, description = "Some events are not published", body = BatchPublished),
    (status = 400, description = "The batch is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Neither JSON nor NDJSON", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The broker has none of the events; try again after Retry-After", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn publish_batch(
    State(state): State<AppState>,
    Params(params): Params<BatchParams>,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Problem> {
    refuse_idempotency_key(&headers)?;
    let items = read_batch(&payload, params.topic)?;
    let mut results: Vec<Option<BatchResult>> = Vec::with_capacity(items.len());
    let (mut places, mut topics, mut drafts) = (Vec::new(), Vec::new(), Vec::new());
    for (place, item) in items.into_iter().enumerate() {
        match item {
            Ok((topic, draft)) => {
                results.push(None);
                places.push(place);
                topics.push(topic);
                drafts.push(draft);
            }
            Err(problem) => results.push(Some(failed(problem))),
        }
    }
    let drafts = topics.iter().map(String::as_str).zip(drafts).collect();
    let answers = state.parts().publisher.publish_batch(drafts).await;
    for ((place, topic), answer) in places.into_iter().zip(&topics).zip(answers) {
        results[place] = Some(match count(&state, topic, answer) {
            Ok(receipt) => stored(receipt),
            Err(error) => failed(Problem::from(&error)),
        });
    }
    answer_batch(results.into_iter().flatten().collect())
}

type Item = Result<(String, Draft), Problem>;

/// The events of a batch; one that is wrong does not keep the others back.
fn read_batch(payload: &Payload, topic: Option<String>) -> Result<Vec<Item>, Problem> {
    let items: Vec<Item> = match payload.form {
        Form::Json => {
            let batch: BatchRequest = payload.json()?;
            let topic = batch.topic.or(topic);
            check_size(batch.events.len())?;
            batch.events.iter().map(|event| read_event(event.get().as_bytes(), topic.as_deref())).collect()
        }
        Form::Lines => {
            let is_blank = |line: &&[u8]| line.iter().all(u8::is_ascii_whitespace);
            let lines = payload.bytes.split(|byte| *byte == b'\n').filter(|line| !is_blank(line));
            check_size(lines.clone().take(MAX_BATCH_EVENTS + 1).count())?;
            lines.map(|line| read_event(line, topic.as_deref())).collect()
        }
    };
    Ok(items)
}

fn check_size(events: usize) -> Result<(), Problem> {
    match events {
        0 => Err(Problem::bad_request("the batch has no events")),
        1..=MAX_BATCH_EVENTS => Ok(()),
        _ => Err(Problem::of(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a batch has at most {MAX_BATCH_EVENTS} events: send it in parts"),
        )),
    }
}

fn read_event(text: &[u8], batch_topic: Option<&str>) -> Item {
    let event: BatchEvent =
        serde_json::from_slice(text).map_err(|error| Problem::bad_request(format!("the event: {error}")))?;
    let BatchEvent { topic, data, priority, source, correlation_id, user_id, key, event_id, event_type } = event;
    let topic = topic.or_else(|| batch_topic.map(str::to_owned));
    let topic = topic.ok_or_else(|| Problem::bad_request("neither the event nor the batch names a topic"))?;
    Ok((topic, Draft { data, priority, source, correlation_id, user_id, key, event_id, event_type }))
}

fn answer_batch(results: Vec<BatchResult>) -> Result<Response, Problem> {
    const UNAVAILABLE: u16 = 503;
    let (total, published) = (results.len(), results.iter().filter(|result| result.success).count());
    if results.iter().all(|result| result.status == UNAVAILABLE) {
        let first = results.into_iter().find_map(|result| result.error);
        return Err(first.unwrap_or_else(|| Problem::of(StatusCode::SERVICE_UNAVAILABLE, "nothing was published")));
    }
    let must_retry = results.iter().any(|result| result.status == UNAVAILABLE);
    let (status, message) = match published == total {
        true => (StatusCode::OK, format!("Batch published successfully ({total} events)")),
        false => (StatusCode::MULTI_STATUS, format!("Batch published in part ({published} of {total} events)")),
    };
    let body = BatchPublished { success: published == total, message, results };
    let mut response = (status, Json(body)).into_response();
    if must_retry {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    Ok(response)
}

fn stored(receipt: Receipt) -> BatchResult {
    BatchResult {
        success: true,
        status: StatusCode::OK.as_u16(),
        event_id: Some(receipt.event_id),
        topic: Some(receipt.topic.to_string()),
        partition: Some(receipt.partition),
        offset: Some(receipt.offset),
        duplicate: Some(false),
        error: None,
    }
}

fn failed(problem: Problem) -> BatchResult {
    BatchResult {
        success: false,
        status: problem.status().as_u16(),
        event_id: None,
        topic: None,
        partition: None,
        offset: None,
        duplicate: None,
        error: Some(problem),
    }
}

/// Taking the header and doing nothing about it would publish twice what its sender believes to be safe.
fn refuse_idempotency_key(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.contains_key("idempotency-key") {
        true => Err(Problem::bad_request("the header Idempotency-Key is not in this version yet: leave it out")),
        false => Ok(()),
    }
}

fn count(state: &AppState, topic: &str, result: Result<Receipt, PublishError>) -> Result<Receipt, PublishError> {
    match &result {
        Ok(_) => state.0.metrics.published(topic),
        Err(error) => state.0.metrics.publish_failed(topic, error.code()),
    }
    result
}
