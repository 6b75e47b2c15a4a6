//! Events as requests: CloudEvents 1.0 over HTTP, by its protocol binding
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{parcel::Parcel, signature};
use crate::{core::time, model::TopicPartition};

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// The body is the data, the rest are headers `ce-…`.
    #[default]
    Binary,
    /// The body is the event.
    Structured,
    /// The body is a list of up to so many events.
    Batch(usize),
}

/// An event with the attempt that is made now.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// The event.
    pub parcel: &'a Parcel,
    /// Its offset.
    pub offset: i64,
    /// The attempt's number, from 1.
    pub attempt: u32,
}

/// What is posted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Its headers.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// An event in the JSON format of CloudEvents.
#[derive(Serialize)]
struct Structured<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'a str,
    time: String,
    datacontenttype: &'static str,
    attempt: u32,
    origin: String,
    priority: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tracestate: Option<&'a str>,
    data: Option<&'a RawValue>,
}

impl<'a> Structured<'a> {
    fn of(partition: &TopicPartition, sent: &Sent<'a>) -> Self {
        let parcel = sent.parcel;
        let trace = |name: &str| parcel.trace.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
        Self {
            specversion: "1.0",
            id: &parcel.id,
            source: &parcel.source,
            r#type: &parcel.event_type,
            time: time::rfc3339(parcel.time_ms),
            datacontenttype: "application/json",
            attempt: sent.attempt,
            origin: origin(partition, sent.offset),
            priority: parcel.priority.name(),
            traceparent: trace("traceparent"),
            tracestate: trace("tracestate"),
            // It was read as JSON, so it is some.
            data: serde_json::from_slice(parcel.data()).ok(),
        }
    }
}

fn origin(partition: &TopicPartition, offset: i64) -> String {
    format!("{}:{}:{offset}", partition.topic, partition.partition)
}

/// The request for some events of a partition: one, unless the mode is batch. It is signed where there is a key.
pub fn request(
    mode: Mode,
    partition: &TopicPartition,
    events: &[Sent<'_>],
    key: Option<&[u8]>,
    now_ms: i64,
) -> Request {
    let Some(first) = events.first() else { return Request::default() };
    let mut request = match mode {
        Mode::Binary => binary(partition, first),
        Mode::Structured => {
            // Plain values: writing them to memory cannot fail.
            let body = serde_json::to_vec(&Structured::of(partition, first)).unwrap_or_default();
            Request { headers: vec![("content-type", "application/cloudevents+json".to_owned())], body }
        }
        Mode::Batch(_) => {
            let events: Vec<_> = events.iter().map(|sent| Structured::of(partition, sent)).collect();
            let body = serde_json::to_vec(&events).unwrap_or_default();
            Request { headers: vec![("content-type", "application/cloudevents-batch+json".to_owned())], body }
        }
    };
    if let Some(key) = key {
        let id = match mode {
            Mode::Batch(_) => encoded(&format!("{}+{}", origin(partition, first.offset), events.len())),
            _ => encoded(&first.parcel.id),
        };
        let timestamp_s = now_ms.div_euclid(1_000);
        let signature = signature::sign(key, &id, timestamp_s, &request.body);
        request.headers.extend([
            ("webhook-id", id),
            ("webhook-timestamp", timestamp_s.to_string()),
            ("webhook-signature", signature),
        ]);
    }
    request
}

fn binary(partition: &TopicPartition, sent: &Sent<'_>) -> Request {
    let parcel = sent.parcel;
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("ce-specversion", "1.0".to_owned()),
        ("ce-id", encoded(&parcel.id)),
        ("ce-type", encoded(&parcel.event_type)),
        ("ce-source", encoded(&parcel.source)),
        ("ce-time", time::rfc3339(parcel.time_ms)),
        ("ce-attempt", sent.attempt.to_string()),
        ("ce-origin", encoded(&origin(partition, sent.offset))),
        ("ce-priority", parcel.priority.name().to_owned()),
    ];
    headers.extend(parcel.trace.iter().map(|(name, value)| (*name, encoded(value))));
    Request { headers, body: parcel.data().to_vec() }
}

/// An attribute as the value of a header (3.1.3.2 of the binding): what is not printable ASCII, and space, quote and percent,
/// as `%XX` of its UTF-8 bytes.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if !matches!(byte, b'"' | b'%') => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
