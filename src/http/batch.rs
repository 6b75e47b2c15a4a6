//! Publishing batches: the events read one after the other where they lie in the body, the answer written into one buffer.
//! Longer than most files, since what a batch and its answer are is read beside what is done with them.

use std::ops::Range;

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::{
    AppState, MAX_BATCH_EVENTS, Problem, RETRY_AFTER_S,
    document::values::{EventId, IdempotencyKey, Priority},
    events::{Text, idempotency_key, text, trace},
    extract::{Form, Params, Payload},
};
use crate::runtime::publish::{Batch, Draft, NotStored, Receipt, Trace};

/// About how long an event's part of the answer is: room that is taken at once.
const RESULT_BYTES: usize = 160;

/// An event of a batch.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BatchEvent<'a> {
    /// Where to; default: the batch's topic.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1)]
    topic: Option<Text<'a>>,
    /// The event's data.
    #[serde(borrow)]
    #[schema(value_type = Object)]
    data: &'a RawValue,
    /// As in a single publish.
    #[serde(borrow)]
    #[schema(inline, value_type = Option<Priority>)]
    priority: Option<Text<'a>>,
    /// As in a single publish.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    source: Option<Text<'a>>,
    /// As in a single publish.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    correlation_id: Option<Text<'a>>,
    /// As in a single publish.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1)]
    user_id: Option<Text<'a>>,
    /// As in a single publish.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1)]
    key: Option<Text<'a>>,
    /// As in a single publish.
    #[serde(borrow)]
    #[schema(inline, value_type = Option<EventId>)]
    event_id: Option<Text<'a>>,
    /// As in a single publish.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, min_length = 1)]
    event_type: Option<Text<'a>>,
}

/// A batch. As `application/x-ndjson` each line is an event, and `?topic=` stands for `topic`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchRequest<'a> {
    /// Where to.
    #[schema(min_length = 1)]
    topic: Option<String>,
    /// The events, at most 10,000.
    #[serde(borrow)]
    #[schema(value_type = Vec<BatchEvent>, min_items = 1, max_items = 10000)]
    events: Vec<&'a RawValue>,
}

/// Parameters of a batch.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchParams {
    /// Topic of the events that name none.
    topic: Option<String>,
}

/// The answer to a batch.
#[derive(Serialize, ToSchema)]
pub(super) struct BatchPublished<'a> {
    /// Whether every event is published.
    success: bool,
    message: String,
    /// One per event, in order.
    results: Vec<BatchResult<'a>>,
}

/// What became of an event of a batch.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchResult<'a> {
    success: bool,
    /// The status that a single publish would have had.
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Problem>,
}

/// Publishes many events, each by itself: 200 where all are published, else 207 with a status for each; 503 where none is.
#[utoipa::path(post, path = "/api/events/publish-batch", tag = "events", params(BatchParams,
    ("Idempotency-Key" = inline(Option<IdempotencyKey>), Header, description = "Stands for an eventId of each event that has none: itself, a hyphen, and the event's place in the batch, from 0")),
    request_body(content((BatchRequest = "application/json"), (BatchEvent = "application/x-ndjson"))), responses(
    (status = 200, description = "The broker has every event", body = BatchPublished),
    (status = 207, description = "Some events are not published", body = BatchPublished),
    (status = 400, description = "The batch is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 403, description = "This process does not publish (ROLES)", body = Problem, content_type = "application/problem+json"),
    (status = 413, description = "Too large", body = Problem, content_type = "application/problem+json"),
    (status = 415, description = "Neither JSON nor NDJSON", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "None of the events is published; try again after Retry-After", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn publish_batch(
    State(state): State<AppState>,
    Params(params): Params<BatchParams>,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Problem> {
    let (batch, trace) = (state.publisher()?.batch(), trace(&headers));
    let once_by = idempotency_key(&headers)?;
    let mut reading = Reading { state: &state, trace, once_by, batch, refused: Vec::new(), events: 0 };
    reading.read(&payload, params.topic.as_deref())?;
    let Reading { batch, refused, .. } = reading;
    // Its events are copied into records by now, which wait for the broker within the producer's cap.
    drop(payload);
    let published = batch.publish().await;
    state.0.metrics.publishes_ended(&published);
    answer(&in_order(published, refused))
}

/// A batch while it is read. An event that is wrong does not keep the others back.
struct Reading<'s> {
    state: &'s AppState,
    /// Of the request, which all of its events carry on.
    trace: Trace<'s>,
    /// Of the request: each event gets one of its own from it.
    once_by: Option<&'s str>,
    batch: Batch<'s>,
    /// What is wrong with the events that are, by their places.
    refused: Vec<(usize, Problem)>,
    events: usize,
}

impl Reading<'_> {
    fn read(&mut self, payload: &Payload, topic: Option<&str>) -> Result<(), Problem> {
        if payload.form == Form::Json {
            let request: BatchRequest<'_> = payload.json()?;
            let topic = request.topic.as_deref().or(topic);
            check_size(request.events.len())?;
            request.events.iter().for_each(|event| self.add(serde_json::from_str(event.get()), topic));
            return Ok(());
        }
        let lines = Lines::of(&payload.bytes);
        check_size(lines.clone().take(MAX_BATCH_EVENTS + 1).count())?;
        // Checked once for the whole body; a body that is not UTF-8 has its bad lines found one by one.
        match simdutf8::basic::from_utf8(&payload.bytes) {
            Ok(text) => lines.for_each(|line| self.add(serde_json::from_str(&text[line]), topic)),
            Err(_) => lines.for_each(|line| self.add(serde_json::from_slice(&payload.bytes[line]), topic)),
        }
        Ok(())
    }

    fn add(&mut self, event: serde_json::Result<BatchEvent<'_>>, batch_topic: Option<&str>) {
        if let Err(problem) = self.try_add(event, batch_topic) {
            self.refused.push((self.events, problem));
        }
        self.events += 1;
    }

    fn try_add(&mut self, event: serde_json::Result<BatchEvent<'_>>, batch_topic: Option<&str>) -> Result<(), Problem> {
        let event = event.map_err(|error| Problem::bad_request(format!("the event: {error}")))?;
        let BatchEvent { topic, data, priority, source, correlation_id, user_id, key, event_id, event_type } = event;
        let topic = topic.as_ref().map(|Text(topic)| &**topic).or(batch_topic);
        let topic = topic.ok_or_else(|| Problem::bad_request("neither the event nor the batch names a topic"))?;
        let [priority, source, correlation_id, user_id, key, event_id, event_type] =
            [priority, source, correlation_id, user_id, key, event_id, event_type].map(text);
        let trace = self.trace;
        let once_by = self.once_by.filter(|_| event_id.is_none());
        let idempotency_key = once_by.map(|once_by| format!("{once_by}-{}", self.events).into());
        let draft = Draft {
            data,
            priority,
            source,
            correlation_id,
            user_id,
            key,
            event_id,
            idempotency_key,
            event_type,
            trace,
        };
        self.batch.add(topic, &draft).map_err(|error| {
            self.state.0.metrics.publish_failed(topic, error.code());
            Problem::from(&error)
        })
    }
}

/// Where the lines of a body are, without those that are blank.
#[derive(Clone)]
struct Lines<'b> {
    bytes: &'b [u8],
    ends: memchr::Memchr<'b>,
    begin: usize,
}

impl<'b> Lines<'b> {
    fn of(bytes: &'b [u8]) -> Self {
        Self { bytes, ends: memchr::memchr_iter(b'\n', bytes), begin: 0 }
    }
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        while self.begin < self.bytes.len() {
            let line = self.begin..self.ends.next().unwrap_or(self.bytes.len());
            self.begin = line.end + 1;
            if !self.bytes[line.clone()].iter().all(u8::is_ascii_whitespace) {
                return Some(line);
            }
        }
        None
    }
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

type Answered = Result<Receipt, Box<Problem>>;

/// What became of each event, in order: `refused` were not sent, `published` are all others.
fn in_order(published: Vec<Result<Receipt, NotStored>>, refused: Vec<(usize, Problem)>) -> Vec<Answered> {
    let mut answers: Vec<Answered> = Vec::with_capacity(published.len() + refused.len());
    let mut refused = refused.into_iter().peekable();
    for result in published {
        while let Some((_, problem)) = refused.next_if(|(place, _)| *place == answers.len()) {
            answers.push(Err(Box::new(problem)));
        }
        answers.push(result.map_err(|failure| Box::new(Problem::from(&failure.error))));
    }
    answers.extend(refused.map(|(_, problem)| Err(Box::new(problem))));
    answers
}

fn answer(answers: &[Answered]) -> Result<Response, Problem> {
    let is_unavailable =
        |answer: &Answered| answer.as_ref().is_err_and(|problem| problem.status() == StatusCode::SERVICE_UNAVAILABLE);
    let (total, published) = (answers.len(), answers.iter().filter(|answer| answer.is_ok()).count());
    if let Some(Err(first)) = answers.first()
        && answers.iter().all(is_unavailable)
    {
        return Err(Problem::clone(first));
    }
    let (status, message) = match published == total {
        true => (StatusCode::OK, format!("Batch published successfully ({total} events)")),
        false => (StatusCode::MULTI_STATUS, format!("Batch published in part ({published} of {total} events)")),
    };
    let results = answers.iter().map(BatchResult::of).collect();
    let mut body = Vec::with_capacity((total + 1) * RESULT_BYTES);
    // Plain values: writing them to memory cannot fail.
    let _ = serde_json::to_writer(&mut body, &BatchPublished { success: published == total, message, results });
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    let is_in_flight =
        |answer: &Answered| answer.as_ref().is_err_and(|problem| problem.status() == StatusCode::CONFLICT);
    if answers.iter().any(|answer| is_unavailable(answer) || is_in_flight(answer)) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
    }
    Ok(response)
}

impl<'a> BatchResult<'a> {
    fn of(answer: &'a Answered) -> Self {
        match answer {
            Ok(Receipt { event_id, topic, partition, offset, is_duplicate }) => Self {
                success: true,
                status: StatusCode::OK.as_u16(),
                event_id: Some(event_id),
                topic: Some(topic),
                partition: Some(*partition),
                offset: Some(*offset),
                duplicate: Some(*is_duplicate),
                error: None,
            },
            Err(problem) => Self {
                success: false,
                status: problem.status().as_u16(),
                event_id: None,
                topic: None,
                partition: None,
                offset: None,
                duplicate: None,
                error: Some(problem),
            },
        }
    }
}
