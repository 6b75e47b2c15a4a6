//! How an event stands in its record's value and headers (SPEC 2).
//!
//! The data is copied as its sender wrote it, never parsed and printed again: numbers keep their digits.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Draft, fields::Fields};
use crate::catalog::plan::{EventType, Priority, Shape, Topic};

/// Header with the id of an event whose shape has no place for one.
pub const EVENT_ID_HEADER: &str = "event-id";
/// What the header `content-type` of a CloudEvent in structured mode says.
const CLOUD_EVENT: &str = "application/cloudevents+json; charset=utf-8";

/// A checked event, ready to be written.
pub(super) struct Event<'a> {
    pub(super) event_type: &'a EventType,
    pub(super) fields: &'a Fields<'a>,
    pub(super) draft: &'a Draft<'a>,
    pub(super) priority: Option<Priority>,
    pub(super) event_id: &'a str,
}

type Headers = Vec<(String, Vec<u8>)>;

/// The value and headers of the record, in the shape that the topic's publishers write.
pub(super) fn write(topic: &Topic, event: &Event<'_>) -> (Vec<u8>, Headers) {
    match topic.publish_shape {
        Shape::Flat => (flat(event), vec![header(EVENT_ID_HEADER, event.event_id)]),
        Shape::Nested => (nested(topic, event), Vec::new()),
        Shape::Wide => (wide(event), Vec::new()),
        Shape::CloudEvents => (cloud_event(event), vec![header("content-type", CLOUD_EVENT)]),
        Shape::Bare => bare(event),
    }
}

/// The data with `type`, and with what the request gave beside the data where the data does not have it. No time is ever
/// made up: equal views of one millisecond would become one.
fn flat(event: &Event<'_>) -> Vec<u8> {
    let draft = event.draft;
    let beside = [
        ("type", Some(&*event.event_type.name)),
        ("userId", draft.user_id.as_deref()),
        ("source", draft.source.as_deref()),
        ("correlationId", draft.correlation_id.as_deref()),
        ("priority", event.priority.map(Priority::name)),
    ];
    with_fields(event.fields, beside.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

/// The data as it is, with the `id` that was given. There is no envelope, so what else was given stands in headers.
fn bare(event: &Event<'_>) -> (Vec<u8>, Headers) {
    let draft = event.draft;
    let id = draft.event_id.as_deref().or(draft.idempotency_key.as_deref());
    let value = with_fields(event.fields, id.map(|id| ("id", id)).into_iter());
    let beside = [
        (EVENT_ID_HEADER, Some(event.event_id)),
        ("user-id", draft.user_id.as_deref()),
        ("source", draft.source.as_deref()),
        ("correlation-id", draft.correlation_id.as_deref()),
        ("priority", event.priority.map(Priority::name)),
    ];
    (value, beside.into_iter().filter_map(|(name, value)| Some(header(name, value?))).collect())
}

fn nested(topic: &Topic, event: &Event<'_>) -> Vec<u8> {
    let draft = event.draft;
    let metadata = Metadata {
        event_id: event.event_id,
        event_type: &event.event_type.name,
        timestamp: now(),
        version: &event.event_type.version,
        priority: event.priority.unwrap_or(topic.priority).name(),
        source: source(draft),
        correlation_id: draft.correlation_id.as_deref(),
        user_id: draft.user_id.as_deref(),
    };
    // Strings alone: writing them to memory cannot fail.
    serde_json::to_vec(&Nested { metadata, data: draft.data }).unwrap_or_default()
}

/// What the request gave and the form has no place for stands in `metadata`, as other parts of it do.
fn wide(event: &Event<'_>) -> Vec<u8> {
    let draft = event.draft;
    let wide = Wide {
        event_id: event.event_id,
        event_type: &event.event_type.name,
        source: source(draft),
        timestamp: now(),
        version: &event.event_type.version,
        data: draft.data,
        metadata: WideMetadata {
            correlation_id: draft.correlation_id.as_deref(),
            user_id: draft.user_id.as_deref(),
            priority: event.priority.map(Priority::name),
        },
    };
    serde_json::to_vec(&wide).unwrap_or_default()
}

/// A CloudEvent in structured mode. Names of its attributes are lower-case.
fn cloud_event(event: &Event<'_>) -> Vec<u8> {
    let draft = event.draft;
    let event = CloudEvent {
        specversion: "1.0",
        id: event.event_id,
        source: source(draft),
        r#type: &event.event_type.name,
        time: now(),
        datacontenttype: "application/json",
        version: &event.event_type.version,
        priority: event.priority.map(Priority::name),
        correlationid: draft.correlation_id.as_deref(),
        userid: draft.user_id.as_deref(),
        data: draft.data,
    };
    serde_json::to_vec(&event).unwrap_or_default()
}

/// The source, where the shape needs one.
pub(super) fn source<'d>(draft: &'d Draft<'_>) -> &'d str {
    draft.source.as_deref().filter(|source| !source.is_empty()).unwrap_or("streamgauge")
}

fn now() -> String {
    crate::core::time::rfc3339(chrono::Utc::now().timestamp_millis())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wide<'a> {
    event_id: &'a str,
    event_type: &'a str,
    source: &'a str,
    timestamp: String,
    version: &'a str,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "WideMetadata::is_empty")]
    metadata: WideMetadata<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WideMetadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'static str>,
}

impl WideMetadata<'_> {
    fn is_empty(&self) -> bool {
        self.correlation_id.is_none() && self.user_id.is_none() && self.priority.is_none()
    }
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    time: String,
    datacontenttype: &'static str,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    userid: Option<&'a str>,
    data: &'a RawValue,
}

#[derive(Serialize)]
struct Nested<'a> {
    metadata: Metadata<'a>,
    data: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    event_id: &'a str,
    event_type: &'a str,
    timestamp: String,
    version: &'a str,
    priority: &'static str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
}

/// The object with more fields at its beginning, each only where the object has none of its name.
fn with_fields<'n>(fields: &Fields<'_>, more: impl Iterator<Item = (&'n str, &'n str)>) -> Vec<u8> {
    /// Room for the few names and values that are added.
    const ADDED_BYTES: usize = 96;
    let mut out = String::with_capacity(fields.whole().len() + ADDED_BYTES);
    out.push('{');
    for (name, value) in more.filter(|(name, _)| fields.get(name).is_none()) {
        if out.len() > 1 {
            out.push(',');
        }
        push_text(&mut out, name);
        out.push(':');
        push_text(&mut out, value);
    }
    if out.len() > 1 && !fields.is_empty() {
        out.push(',');
    }
    out.push_str(fields.tail());
    out.into_bytes()
}

fn push_text(out: &mut String, text: &str) {
    if text.bytes().any(|byte| byte == b'"' || byte == b'\\' || byte < 0x20) {
        out.push_str(&serde_json::Value::from(text).to_string());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

fn header(name: &str, value: &str) -> (String, Vec<u8>) {
    (name.to_owned(), value.as_bytes().to_vec())
}
